"""Variable arguments of guest functions, as the System V x86-64 ABI passes them.

`VaArgs` yields the integer and pointer arguments behind the last named one: first what is left of the six argument
registers, then the caller's stack. A guest ``va_list`` is read the same way. (Kernel code passes no floating point.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmem.kapi.host import Memory

# struct __va_list_tag: gp_offset u32, fp_offset u32, overflow_arg_area void *, reg_save_area void *
_OVERFLOW_ARG_AREA, _REG_SAVE_AREA = 8, 16
_GP_END = 48


class VaArgs:
    """The arguments that are left; each `next_…` consumes one eight-byte slot."""

    __slots__ = ("_at", "_mem", "_registers")

    def __init__(self, mem: Memory, registers: Sequence[int], stack: int) -> None:
        """*registers* are the argument registers that are left, in order; *stack* is the address of the first stack
        slot."""
        self._mem = mem
        self._registers = list(registers[::-1])
        self._at = stack

    @classmethod
    def of_list(cls, mem: Memory, va_list: int) -> VaArgs:
        """The arguments of the guest ``va_list`` at *va_list*. The structure is not advanced, as if it had been
        copied."""
        gp_offset = mem.u32(va_list)
        save = mem.u64(va_list + _REG_SAVE_AREA)
        registers = [mem.u64(save + offset) for offset in range(gp_offset, _GP_END, 8)]
        return cls(mem, registers, mem.u64(va_list + _OVERFLOW_ARG_AREA))

    def next_u64(self) -> int:
        """``va_arg(ap, unsigned long)``, or a pointer."""
        if self._registers:
            return self._registers.pop()
        value = self._mem.u64(self._at)
        self._at += 8
        return value

    def next_s64(self) -> int:
        """``va_arg(ap, long)``."""
        return (self.next_u64() ^ (1 << 63)) - (1 << 63)

    def next_u32(self) -> int:
        """``va_arg(ap, unsigned int)``."""
        return self.next_u64() & 0xFFFFFFFF

    def next_s32(self) -> int:
        """``va_arg(ap, int)``."""
        return ((self.next_u64() & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
