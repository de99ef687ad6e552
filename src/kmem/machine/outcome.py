"""How a run of guest code ends, as values."""

from __future__ import annotations

from dataclasses import dataclass

from kmem.machine.fault import Fault, Regs


@dataclass(frozen=True, slots=True)
class Returned:
    """The function returned; *value* is rax, unsigned."""

    value: int


@dataclass(frozen=True, slots=True)
class Faulted:
    """The CPU raised an exception, or a trapped kernel function touched memory that it may not."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class OutOfBudget:
    """The instruction budget is used up. The run can go on: `Cpu.resume` with *regs*."""

    regs: Regs


@dataclass(frozen=True, slots=True)
class Stopped:
    """The code did something that ends a run without being an exception:

    *reason* says what (``hlt``, ``syscall``, ``idle``).
    """

    reason: str
    regs: Regs


@dataclass(frozen=True, slots=True)
class Resumed:
    """A trap handler asks to go on with *regs*: the end of an interrupt."""

    regs: Regs


Outcome = Returned | Faulted | OutOfBudget | Stopped | Resumed


class EndRun(Exception):
    """A trap handler raises it to end the run around it with *outcome*."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome
