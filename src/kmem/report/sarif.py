"""``--sarif F``: the findings in SARIF 2.1.0, which editors and code scanning services show beside the source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
NOTES = frozenset(("leak", "uninitialised-leak", "warning", "api-misuse"))
"""Kinds that are a warning; all others are an error."""


def sarif(run: Mapping[str, Any], version: str) -> str:
    """Return the document; *version* is that of kmem."""
    kinds = sorted({finding["kind"] for finding in run["findings"]})
    driver = {
        "name": "kmem",
        "semanticVersion": version,
        "rules": [{"id": kind, "shortDescription": {"text": kind.replace("-", " ")}} for kind in kinds],
    }
    results = [_result(run, finding, kinds) for finding in run["findings"]]
    invocation = {"executionSuccessful": run["verdict"] in ("clean", "findings")}
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [invocation], "results": results}],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _result(run: Mapping[str, Any], finding: Mapping[str, Any], kinds: list[str]) -> dict[str, Any]:
    kind = finding["kind"]
    result: dict[str, Any] = {
        "ruleId": kind,
        "ruleIndex": kinds.index(kind),
        "level": "warning" if kind in NOTES else "error",
        "message": {"text": finding["message"]},
        "occurrenceCount": finding.get("count", 1),
    }
    if finding["file"]:
        where = _location(finding["file"], finding["line"])
        if finding["function"]:
            where["logicalLocations"] = [{"name": finding["function"], "kind": "function"}]
        result["locations"] = [where]
    thing = finding["object"] or {}
    related = []
    for what in ("allocated_at", "freed_at"):
        file, _, line = (thing.get(what) or "").rpartition(":")
        if file and line.isdigit():
            related.append({**_location(file, int(line)), "message": {"text": what.removesuffix("_at") + " here"}})
    if related:
        result["relatedLocations"] = [{"id": number, **one} for number, one in enumerate(related)]
    cause = f"{run['module']['name']} {kind} {finding['function']} {finding['file']}"
    result["partialFingerprints"] = {"cause/v1": sha256(cause.encode()).hexdigest()[:16]}
    if finding.get("text"):
        result["properties"] = {"report": "\n".join(finding["text"]), "reproduce": finding.get("reproduce", "")}
    return result


def _location(file: str, line: int) -> dict[str, Any]:
    uri = PurePath(file).as_uri() if PurePath(file).is_absolute() else quote(file)
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": max(line, 1)}}}
