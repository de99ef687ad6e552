"""What the parser finds: one `Report` for each thing that the kernel said had gone wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from kmem.oops.text import Line


class Frame(NamedTuple):
    """One line of a call trace."""

    line: int
    name: str
    offset: int | None
    size: int | None
    module: str
    reliable: bool
    """False where the kernel printed ``?``: the address was found on the stack, not by unwinding."""
    context: str
    """``IRQ``, ``SOFTIRQ``, ``NMI`` … when the trace says so, else empty."""
    where: str
    """``file:line`` when the log has it."""

    def __str__(self) -> str:
        offset = "" if self.offset is None else f"+{self.offset:#x}" + (f"/{self.size:#x}" if self.size else "")
        return self.name + offset + (f" [{self.module}]" if self.module else "")


class Fact(NamedTuple):
    """Something that a line says, by the name of the pattern that found it."""

    line: int
    values: dict[str, str]


@dataclass(slots=True)
class Code:
    """The bytes of a ``Code:`` line."""

    line: int
    units: tuple[int, ...]
    width: int
    """Bytes of a unit: 1 on x86, 2 or 4 elsewhere."""
    trap: int | None
    """Index of the unit that the kernel marked, or None."""


@dataclass(slots=True)
class Report:
    """One report of a kernel, as far as its text goes."""

    kind: str
    line: int
    """Line of the headline."""
    headline: str
    lines: list[Line] = field(default_factory=list)
    arch: str = ""
    """``x86-64``, ``x86-32``, ``arm``, ``arm64``, ``riscv``, ``powerpc``, ``s390``, ``mips`` or empty."""
    release: str = ""
    comm: str = ""
    pid: int | None = None
    cpu: int | None = None
    taint: str = ""
    number: int | None = None
    """The number in ``[#1]``."""
    error_code: int | None = None
    address: int | None = None
    access: str = ""
    """``read``, ``write``, ``fetch`` or empty."""
    pc: Frame | None = None
    lr: Frame | None = None
    regs: dict[str, int] = field(default_factory=dict)
    reg_line: int = 0
    code: Code | None = None
    frames: list[Frame] = field(default_factory=list)
    alloc_frames: list[Frame] = field(default_factory=list)
    free_frames: list[Frame] = field(default_factory=list)
    stack: dict[int, int] = field(default_factory=dict)
    """Stack words by their address, where the log has addresses."""
    saved: list[tuple[int, int]] = field(default_factory=list)
    """Registers that an arm backtrace prints between its frames: (line, value)."""
    facts: dict[str, list[Fact]] = field(default_factory=dict)
    function: str = ""
    """The function that the title names; empty when no trustworthy one is in the log."""
    title: str = ""

    def fact(self, name: str) -> Fact | None:
        """The first fact called *name*, if any."""
        found = self.facts.get(name)
        return found[0] if found else None

    def value(self, name: str, key: str) -> str:
        """The text of *key* in the first fact *name*, empty when the log has none."""
        found = self.fact(name)
        return found.values.get(key) or "" if found else ""

    @property
    def bits(self) -> int:
        """Bits of a pointer."""
        if self.arch and self.arch not in ("mips", "powerpc"):
            return 32 if self.arch in ("x86-32", "arm") else 64
        return 64 if self.address is not None and self.address >> 32 else 32

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor of the kernel release; (2, n) for 2.6.n; (0, 0) when the log does not say."""
        words = self.release.replace("-", ".").split(".")
        numbers = [int(word) for word in words[:3] if word.isdecimal() and len(word) < 6]
        if numbers[:2] == [2, 6]:
            return (2, numbers[2] if len(numbers) > 2 else 0)
        return (numbers[0], numbers[1]) if len(numbers) > 1 else (0, 0)

    def trace(self) -> list[Frame]:
        """The frame of the program counter, then those of the call trace that were unwound, or all when none was."""
        frames = [frame for frame in self.frames if frame.reliable] or self.frames
        return [self.pc, *frames] if self.pc else frames
