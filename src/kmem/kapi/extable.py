"""Exception tables: where code goes on that faulted where it may (arch/x86/mm/extable.c, 6.1)."""

from __future__ import annotations

from kmem.machine.fault import Fault, Regs
from kmem.modules.tables import ExceptionEntry

EX_TYPE_FAULT, EX_TYPE_UACCESS, EX_TYPE_COPY, EX_TYPE_IMM_REG, EX_TYPE_UCOPY_LEN = 2, 3, 4, 17, 19
EX_TYPE_DEFAULT = 1
EX_FLAG_CLEAR_AX, EX_FLAG_CLEAR_DX = 1 << 12, 1 << 13
REGISTERS = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *(f"r{number}" for number in range(8, 16)),
)
MASK64 = (1 << 64) - 1


def fixup_exception(entry: ExceptionEntry, fault: Fault) -> bool:
    """``fixup_exception()``: change the registers of *fault* as the entry's type says; False for a type of which no
    module is known to have entries (MSR accesses, FPU state, BPF, SGX, loads padded with zeros).
    """
    regs, kind = fault.regs, entry.data & 0xFF
    imm = ((entry.data >> 16) & 0xFFFF ^ 0x8000) - 0x8000
    register = REGISTERS[entry.data >> 8 & 0xF]
    if kind == EX_TYPE_FAULT:
        regs.rax = fault.vector
    elif kind == EX_TYPE_IMM_REG:
        setattr(regs, register, imm & MASK64)
    elif kind == EX_TYPE_UCOPY_LEN:
        regs.rcx = (imm * regs.rcx + getattr(regs, register)) & MASK64
    elif kind not in (EX_TYPE_DEFAULT, EX_TYPE_UACCESS, EX_TYPE_COPY):
        return False
    _clear(regs, entry.data)
    regs.rip = entry.fixup
    return True


def _clear(regs: Regs, data: int) -> None:
    if data & EX_FLAG_CLEAR_AX:
        regs.rax = 0
    if data & EX_FLAG_CLEAR_DX:
        regs.rdx = 0
