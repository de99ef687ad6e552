"""Simulated time: it passes as code executes, and by nothing else.

One instruction of guest code takes `NS_PER_INSTRUCTION`; the code of a trap is guest code too, so every call of an
exported function takes its 10 to 20 ns. What else takes time (a sleeping function, a slow device) says so with
`Clock.advance`. The same run reads the same times on every host.
"""

from __future__ import annotations

from collections.abc import Callable

NS_PER_INSTRUCTION = 1
TSC_KHZ = 2_000_000
"""Frequency of the time stamp counter: 2 GHz."""
BOOT_REAL_TIME = 1_700_000_000
"""Wall clock at boot, seconds since 1970; a constant, so that runs are alike."""


def _nothing() -> int:
    return 0


class Clock:
    """Nanoseconds since boot."""

    __slots__ = ("_advanced", "_instructions")

    def __init__(self, ns: int = 0) -> None:
        self._advanced = ns
        self._instructions: Callable[[], int] = _nothing

    def attach(self, instructions: Callable[[], int]) -> None:
        """Let time pass with *instructions*, the number of instructions that the machine has executed so far."""
        self._advanced = self.ns - instructions() * NS_PER_INSTRUCTION
        self._instructions = instructions

    @property
    def ns(self) -> int:
        """Nanoseconds since boot."""
        return self._advanced + self._instructions() * NS_PER_INSTRUCTION

    def advance(self, ns: int) -> None:
        """Let *ns* nanoseconds pass. Raises ValueError for a negative number: time does not go back."""
        if ns < 0:
            raise ValueError(f"time cannot go back by {-ns} ns")
        self._advanced += ns

    @property
    def tsc(self) -> int:
        """The time stamp counter, as ``rdtsc`` reads it: 64 bits, `TSC_KHZ`."""
        return self.ns * TSC_KHZ // 1_000_000 & 0xFFFF_FFFF_FFFF_FFFF

    def set(self, ns: int) -> None:
        """Set the time, for a rollback to an earlier state."""
        self._advanced += ns - self.ns
