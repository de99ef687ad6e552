"""The JSON of ``kmem run --json`` and ``kmem compare --json``: fixed names in a fixed order, for programs.

Addresses and masks are strings (``"0xffff888005e65000"``), because many JSON readers lose the low bits of 64-bit
numbers; sizes, counts and times are numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kmem.errors import KmemError

RUN_KEYS = (
    "verdict",
    "findings",
    "dmesg",
    "module",
    "init",
    "exit",
    "allocations",
    "unsupported",
    "seed",
    "release",
    "config",
    "proc",
    "timings",
    "hashes",
    "failing",
    "allowed",
    "injected",
    "schedules",
)
"""The names in the object of ``kmem run --json``, in order; ``error`` follows when the verdict is ``error``."""

EMPTY: dict[str, Any] = {
    "verdict": "error",
    "findings": [],
    "dmesg": [],
    "allocations": {"count": 0, "bytes": 0, "live": 0},
    "unsupported": [],
    "proc": {},
    "timings": {},
    "hashes": {},
    "failing": [],
    "allowed": [],
    "injected": [],
    "schedules": {},
}


def run_json(run: Mapping[str, Any], error: KmemError | None = None) -> str:
    """Return the object of one run; *error* is what kept it from being finished."""
    document = {key: run.get(key, EMPTY.get(key)) for key in RUN_KEYS}
    if error is not None:
        document["verdict"] = "error"
        document["error"] = {"slug": error.slug, "message": error.message, "remedy": error.remedy}
    return json.dumps(document, indent=2, ensure_ascii=False)


def rows_json(rows: Sequence[Mapping[str, Any]], **facts: object) -> str:
    """Return the object of one comparison: *facts* about the machine, then the rows."""
    return json.dumps({**facts, "rows": list(rows)}, indent=2, ensure_ascii=False)
