"""A page to look at: one HTML file with everything in it, which asks nothing of any network.

The data is JSON in the page, the drawing is plain JavaScript beside it (``assets/``); nothing is fetched, so that it
opens from a disk, from a mail, in years. What was left out to keep it small, it says itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from kmem.sanitizers.kmemleak import FREES, SPACE

SCRIPTS = ("core", "timeline", "frames", "slab", "space", "walk", "tables", "steps", "main")
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def page(title: str, data: Mapping[str, Any]) -> str:
    """The whole file."""
    assets = files("kmem.report") / "assets"

    def read(name: str) -> str:
        return (assets / name).read_text("utf-8")

    # "</script" would end the element that holds the data, "<!--" hide its end
    text = json.dumps(
        {**data, "spaces": SPACE, "frees": sorted(FREES)}, separators=(",", ":"), ensure_ascii=False
    ).replace("<", "\\u003c")
    slots = {
        "title": title.replace("&", "&amp;").replace("<", "&lt;"),
        "style": read("page.css"),
        "data": text,
        "script": "\n".join(read(f"{name}.js") for name in SCRIPTS),
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], read("page.html"))


def run_page(run: Mapping[str, Any]) -> str:
    """The page of ``kmem run --html``."""
    name = run["module"]["name"]
    seen = run["seen"]
    data = {
        "kind": "run",
        "title": name,
        "facts": {
            "command": f"kmem run {run['path']}",
            "kernel": f"Linux {run['release']} ({run['config']})",
            "seed": run["seed"],
            "init": run["init"],
            "exit": run["exit"],
        },
        "verdict": run["verdict"],
        "findings": [_finding(finding) for finding in run["findings"]],
        "log": [[record["time"], record["level"], record["text"]] for record in run["dmesg"]],
        **{key: seen.get(key) for key in ("timeline", "steps", "events", "sites", "moments", "memory")},
    }
    return page(f"kmem run {name}", data)


def _finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("kind", "message", "function", "file", "line", "address", "event", "text", "count", "reproduce")
    return {name: finding.get(name) for name in wanted}
