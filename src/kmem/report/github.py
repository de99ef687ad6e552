"""Annotations for GitHub Actions: lines on standard output that appear beside the driver's source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kmem.report.cases import line


def github(run: Mapping[str, Any]) -> str:
    """Return one ``::error`` line a finding, and one for a run that did not come to its end."""
    lines = []
    for finding in run["findings"]:
        place = {"title": f"kmem: {finding['kind']}"}
        if finding["file"]:
            place = {"file": finding["file"], "line": str(finding["line"]), **place}
        lines.append(_command(place, line(finding)))
    for call in run.get("unsupported", ()):
        lines.append(_command({"title": "kmem: unsupported"}, f"kmem does not have {call['symbol']}() yet"))
    return "\n".join(lines)


def _command(properties: Mapping[str, str], message: str) -> str:
    shown = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::error {shown}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
