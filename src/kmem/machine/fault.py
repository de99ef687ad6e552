"""Faults as values: what the CPU, or a kernel function acting for it, could not do."""

from __future__ import annotations

from dataclasses import dataclass, field

DE, DB, BP, UD, DF, GP, PF = 0, 1, 3, 6, 8, 13, 14
"""x86 exception vectors that the model reports."""

PF_PROT, PF_WRITE, PF_USER, PF_RSVD, PF_INSTR = 1, 2, 4, 8, 16
"""Bits of the page fault error code (``enum x86_pf_error_code``, arch/x86/include/asm/trap_pf.h)."""


@dataclass(slots=True)
class Regs:
    """General registers at a fault, named as ``struct pt_regs`` prints them."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rbp: int = 0
    rsp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    eflags: int = 0x246


@dataclass(frozen=True, slots=True)
class Fault:
    """One exception.

    *address* is CR2 for a page fault and the effective address for a general protection fault (0 when unknown).
    """

    vector: int
    error_code: int = 0
    address: int = 0
    regs: Regs = field(default_factory=Regs)


class AccessFault(Exception):
    """Python code acting as the kernel touched guest memory that it may not touch.

    *access* is ``read``, ``write`` or ``exec``. The executor turns this into the page fault or general protection fault
    (non-canonical address) that the same access by machine code would have caused.
    """

    def __init__(self, address: int, size: int, access: str, *, present: bool = False) -> None:
        super().__init__(f"{access} of {size} bytes at {address:#018x}")
        self.address = address
        self.size = size
        self.access = access
        self.present = present
