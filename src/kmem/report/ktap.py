"""``--ktap F``: the run in the kernel's own format for test results (Documentation/dev-tools/ktap.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kmem.report.cases import cases


def ktap(run: Mapping[str, Any]) -> str:
    """Return the lines: one test, the module, with its cases below it."""
    listed = list(cases(run))
    lines = ["KTAP version 1", "1..1", "    KTAP version 1", f"    1..{len(listed)}"]
    for number, case in enumerate(listed, 1):
        lines += [f"    # {line}" for problem in case.problems for line in problem.split("\n")]
        skipped = f" # SKIP {case.skipped}" if case.skipped else ""
        lines.append(f"    {'not ok' if case.problems else 'ok'} {number} {case.name}{skipped}")
    bad = any(case.problems for case in listed)
    lines.append(f"{'not ok' if bad else 'ok'} 1 {run['module']['name']}")
    return "\n".join(lines) + "\n"
