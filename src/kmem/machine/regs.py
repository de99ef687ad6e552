"""The registers of the emulated CPU:

Unicorn's numbers for them, and their exchange with `kmem.machine.fault.Regs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmem.machine.fault import Regs
from kmem.machine.uc import RegBatch

if TYPE_CHECKING:
    from kmem.machine.uc import Engine

EFLAGS_FIXED, EFLAGS_TF, EFLAGS_IF, EFLAGS_RF = 1 << 1, 1 << 8, 1 << 9, 1 << 16

RAX, RBP, RBX, RCX, RDI, RDX, RIP, RSI, RSP = 35, 36, 37, 38, 39, 40, 41, 43, 44
R8, R9, R10, R11, R12, R13, R14, R15 = 106, 107, 108, 109, 110, 111, 112, 113
EFLAGS, RFLAGS = 25, 253
CR0, CR2, CR3, CR4, DR0 = 50, 52, 53, 54, 66
CS, SS = 11, 49
FS_BASE, GS_BASE = 250, 251
"""UC_X86_REG_* of unicorn/x86.h."""

CONTROL = {"CR0": CR0, "CR3": CR3, "CR4": CR4, "gs base": GS_BASE, "cs": CS, "ss": SS}
"""What code in a kernel module has no business to change; cs holds the privilege level."""

_GENERAL = (RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15)
BY_NAME = {
    **dict(zip(("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"), range(8), strict=True)),
    **{f"r{number}": number for number in range(8, 16)},
    "rip": 16,
}
"""Position of a register in `values`, by name."""


def values(regs: Regs) -> tuple[int, ...]:
    """All fields of *regs*, in their order."""
    r = regs
    return (
        *(r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp),
        *(r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15),
        *(r.rip, r.eflags),
    )


class RegisterFile:
    """Reads and writes all general registers of an engine at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._all = RegBatch((*_GENERAL, RIP, RFLAGS))
        self._writable = RegBatch((*_GENERAL, RFLAGS))
        self._control = RegBatch(tuple(CONTROL.values()))
        self._end = RegBatch((RIP, RAX))

    def read(self) -> Regs:
        """The registers as they are."""
        return Regs(*self._all.read(self._engine))

    def write(self, regs: Regs) -> None:
        """Set everything but rip, which a run is given when it starts.

        The resume and single-step flags are dropped.
        """
        new = values(regs)
        eflags = new[17] & ~(EFLAGS_RF | EFLAGS_TF) | EFLAGS_FIXED
        self._writable.write(self._engine, (*new[:16], eflags))

    def control(self) -> tuple[int, ...]:
        """The registers of `CONTROL`, in its order."""
        return self._control.read(self._engine)

    def end(self) -> tuple[int, ...]:
        """rip and rax."""
        return self._end.read(self._engine)
