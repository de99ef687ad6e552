"""The lines of a kernel log, without what differs from boot to boot: time stamps, carriage returns, pids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

STAMP = re.compile(r"^\[ *\d+\.\d+\] ")
STEP = re.compile(r"@@STEP (\d+) ([im]):\S*?([\w-]+)\.ko ?(.*)")
MARK = re.compile(r"@@STEP (\d+)")
NUMBER = re.compile(r"(?:0x)?[0-9a-f]+$")


@dataclass(frozen=True, slots=True)
class Step:
    """What one module printed, and the kernel while it was loaded."""

    module: str
    parameters: dict[str, str]
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """The parameters as on the command line."""
        return " ".join(f"{key}={value}" for key, value in self.parameters.items())


def parameters(words: str) -> dict[str, str]:
    """Module parameters as insmod takes them."""
    return dict(word.split("=", 1) for word in words.split())


def steps_of_serial(text: str) -> list[Step]:
    """Divide a console log at its ``@@STEP`` marks.

    A mark in the kernel's log begins a step. The command stands in that mark too, or in a line of the shell's with the
    same number. Only lines with a time stamp are the kernel's.
    """
    commands: dict[int, tuple[str, str]] = {}
    lines: dict[int, list[str]] = {}
    current = -1
    for raw in text.splitlines():
        line = raw.rstrip("\r")
        from_kernel = STAMP.match(line) is not None
        line = STAMP.sub("", line)
        command = STEP.match(line)
        if command:
            commands[int(command[1])] = command[3], command[4]
        mark = MARK.match(line)
        if mark and from_kernel:
            current = int(mark[1])
        elif from_kernel:
            lines.setdefault(current, []).append(line)
    return [
        Step(module, parameters(words), tuple(lines.get(number, ())))
        for number, (module, words) in sorted(commands.items())
    ]


def lines_of_dmesg(records: Iterable[dict[str, object]]) -> tuple[str, ...]:
    """Return the lines of the ``dmesg`` of ``kmem run --json``; a record may hold several."""
    return tuple(line for record in records for line in str(record["text"]).split("\n"))


def number(text: str, base: int = 10) -> int | str:
    """Return a number where *text* is one, and *text* where not."""
    return int(text, base) if NUMBER.match(text) else text


def pairs(text: str, base: int = 10) -> dict[str, int | str]:
    """Read ``name value name value …``."""
    words = text.split()
    return {name: number(value, base) for name, value in zip(words[::2], words[1::2], strict=True)}
