"""A run as test cases with names that stay: what JUnit and KTAP have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kmem.report.text import EXIT


@dataclass(frozen=True)
class Case:
    """One case: *problems* are lines, none for a case that passed; *skipped* says why it was not tried."""

    name: str
    problems: tuple[str, ...] = ()
    skipped: str = ""
    file: str = ""
    line: int = 0


def cases(run: Mapping[str, Any]) -> Iterator[Case]:
    """init, exit, what the checks found, leaks, and each try of ``--fail-each``."""
    init, ended = run.get("init"), run.get("exit")
    missing = [f"{call['symbol']}: kmem does not have this function" for call in run.get("unsupported", ())]
    failed = init is None or init < 0
    why = "init did not return" if init is None else f"init returned {init}"
    yield Case("init", (why, *missing) if failed else ())
    skipped = EXIT[ended] if ended in ("none", "not run") else ""
    yield Case("exit", () if skipped or ended == "done" or failed else (EXIT[""], *missing), skipped or "")
    leaks = [finding for finding in run["findings"] if finding["kind"] == "leak"]
    others = [finding for finding in run["findings"] if finding["kind"] != "leak"]
    for name, found in (("checks", others), ("leaks", leaks)):
        lines = tuple(line(finding) for finding in found)
        places = [(finding["file"], finding["line"]) for finding in found if finding["file"]]
        file, number = places[0] if places else ("", 0)
        yield Case(name, lines, "", file, number)
    for one in run.get("failing") or ():
        what = f"allocation {one['number']}{' and all after it' if one['lasting'] else ''} fails"
        bad = f"{one['call']} at {one['site']} failed: {one['outcome']}; findings: {one['findings']}"
        yield Case(what, (bad,) if one["findings"] else ())


def line(finding: Mapping[str, Any]) -> str:
    """The one line of a finding."""
    again = f" ({finding['count']} times)" if finding.get("count", 1) > 1 else ""
    return f"{finding['kind']}: {finding['message']}{again}"
