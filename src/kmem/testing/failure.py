"""A finding as the failure of a test: its line, and the driver's own lines that it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kmem.sanitizers.report import Finding

AROUND = 2


def shown(findings: Sequence[Finding]) -> str:
    """All findings, each with the lines of the driver."""
    return "\n\n".join("\n".join(_one(finding)) for finding in findings)


def _one(finding: Finding) -> list[str]:
    lines = [str(finding)]
    if finding.file:
        lines += excerpt(finding.file, finding.line)
    thing = finding.object
    for what, place in (("allocated", thing.allocated_at), ("freed", thing.freed_at)) if thing else ():
        file, _, number = place.rpartition(":")
        if number.isdigit() and (file, int(number)) != (finding.file, finding.line):
            lines += [f"  {what} here:", *excerpt(file, int(number), 0)]
    return lines


def excerpt(file: str, line: int, around: int = AROUND) -> list[str]:
    """The lines around *line*, which is marked; nothing if the source is not there."""
    try:
        source = Path(file).read_text(errors="replace").splitlines()
    except OSError:
        return []
    first = max(line - 1 - around, 0)
    return [
        f"{'>' if number == line else ' '} {number:5}  {text.expandtabs(4)}".rstrip()
        for number, text in enumerate(source[first : line + around], first + 1)
    ]
