"""The form of a recorded line: everything but its numbers, and where these stand."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent

_NUMBER = re.compile(r"( *)(?<![\w(.])(\d+)(?=[ ,:)]|$)")


def golden(name: str) -> list[str]:
    """The lines of a recorded text, without their line ends (blanks before these stay)."""
    return (HERE / f"{name}.txt").read_text(encoding="ascii").split("\n")[:-1]


def _right(width: int) -> str:
    """A number that ends at a column, *width* after what stands before it; a longer one pushes the rest."""
    fits = [f" {{{width - digits}}}\\d{{{digits}}}" for digits in range(1, width)]
    return "(?:" + "|".join([*fits, f" ?\\d{{{width},}}"]) + ")"


def form(line: str, *, right: bool) -> re.Pattern[str]:
    """What *line* looks like with other numbers, which end at a column (*right*) or begin at one."""
    pattern, at = "", 0
    for match in _NUMBER.finditer(line):
        blanks = len(match[1])
        pattern += re.escape(line[at : match.start()])
        pattern += _right(len(match[0])) if right and blanks else f" {{{blanks}}}\\d+"
        at = match.end()
    return re.compile(pattern + re.escape(line[at:]))
