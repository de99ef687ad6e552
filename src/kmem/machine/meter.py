"""The instruction budget: machine code in a block hook that counts down at native speed.

Unicorn calls the hook at the start of every translated block; the code subtracts the block's size in bytes from a
counter and, below zero, calls uc_emu_stop, which ends the run before the block is executed. So the decision depends
on nothing but the code that was executed: the same run with the same budget stops at the same instruction on every
host. An iteration of a ``rep`` instruction is a block of its own. A budget is given in instructions of
`BYTES_PER_INSTRUCTION` bytes.

Cost against no hook, on x86-64 (benchmarks/bench_trap.py): 12 % for code with a call or branch every five
instructions, 25 % for a loop over bytes, 45 % for an empty loop. The alternatives: uc_emu_start with a count is 50
times slower, a Python hook 100 times; a timeout costs a thread for every run and stops somewhere else every time.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING

from kmem.machine import uc

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmem.machine.uc import Engine

BYTES_PER_INSTRUCTION = 4
_UNLIMITED = 1 << 60
_MASK = (1 << 64) - 1

_OVERDRAFT = 4096
"""Bytes that an uninterruptible stretch may take beyond the budget."""

_MACHINE_CODE = {
    #   sub %rdx,(%rcx); js 1f; ret
    # 1: mov %rsi,%rax; sub 16(%rcx),%rax; cmp 24(%rcx),%rax; jae 2f; cmpq $-4096,(%rcx); jl 2f; ret
    # 2: jmp *8(%rcx)
    "x86_64": bytes.fromhex("482911 7801 c3 4889f0 482b4110 483b4118 730a 48813900f0ffff 7c01 c3 ff6108"),
    #   ldr x4,[x3]; subs x4,x4,w2,uxtw; str x4,[x3]; b.mi 1f; ret
    # 1: ldp x5,x6,[x3,#16]; sub x5,x1,x5; cmp x5,x6; b.hs 2f; cmn x4,#4096; b.lt 2f; ret
    # 2: ldr x5,[x3,#8]; br x5
    "aarch64": bytes.fromhex(
        "640040f9 844022eb 640000f9 44000054 c0035fd6"
        "651841a9 250005cb bf0006eb 82000054 9f0440b1 4b000054 c0035fd6 650440f9 a0001fd6"
    ),
}
"""``void count(uc_engine *uc, uint64_t address, uint32_t size, struct counter *counter)`` with

    struct counter { int64_t left; void (*stop)(uc_engine *); uint64_t low, length; };

where code from *low* on, *length* bytes, is uninterruptible.
"""


class Meter:
    """Counts the bytes of code that an engine executes, and ends the run when its budget is used up.

    Must be made before the engine translates any code, and be its only block hook (Unicorn then calls it directly).
    """

    def __init__(self, engine: Engine, *, native: bool = True) -> None:
        self._counter = (ctypes.c_int64 * 4)(0, engine.function("uc_emu_stop"))
        self._limit = self._done = self._depth = 0
        machine_code = _MACHINE_CODE.get(os.uname().machine) if native else None
        if machine_code is None:
            engine.hook(uc.HOOK_BLOCK, uc.BLOCK_HOOK(self._count_slowly(engine)))
        else:
            self._code = _Executable(machine_code)
            engine.hook(uc.HOOK_BLOCK, self._code.address, user_data=ctypes.addressof(self._counter))

    def _count_slowly(self, engine: Engine) -> Callable[[int, int, int, object], None]:
        """The same in Python, for hosts whose machine code is not known here."""
        counter, stop = self._counter, engine.stop

        def count(_engine: int, address: int, size: int, _data: object) -> None:
            counter[0] -= size
            inside = 0 <= address - (counter[2] & _MASK) < counter[3]
            if counter[0] < (-_OVERDRAFT if inside else 0):
                stop()

        return count

    def uninterruptible(self, low: int, length: int) -> None:
        """Never stop in the *length* bytes of code from *low*, but behind them."""
        self._counter[2], self._counter[3] = low - (low >> 63 << 64), length

    @property
    def instructions(self) -> int:
        """Instructions executed since the machine was made."""
        return (self._done + self._limit - self._left()) // BYTES_PER_INSTRUCTION

    @property
    def exhausted(self) -> bool:
        """Whether the running budget is used up."""
        return self._counter[0] < 0

    def charge(self, instructions: int) -> None:
        """Count *instructions* that were not executed here: the run stops if they were more than it had left."""
        self._counter[0] -= instructions * BYTES_PER_INSTRUCTION

    def _left(self) -> int:
        return max(self._counter[0], 0)

    def begin(self, budget: int) -> int | None:
        """Start counting down from *budget* instructions, or from what is left to the run that this one is nested in.

        Returns what `end` wants.
        """
        left = self._left()
        self._done += self._limit - left
        limit = min(budget, _UNLIMITED) * BYTES_PER_INSTRUCTION
        outer = left if self._depth else None
        self._depth += 1
        self._limit = self._counter[0] = limit if outer is None else min(limit, outer)
        return outer

    def allow(self, budget: int) -> None:
        """From a hook: leave the running code *budget* instructions."""
        change = min(budget, _UNLIMITED) * BYTES_PER_INSTRUCTION - self._counter[0]
        self._counter[0] += change
        self._limit += change

    def shorten(self, budget: int) -> None:
        """From a hook: leave the running code at most *budget* instructions."""
        if budget * BYTES_PER_INSTRUCTION < self._counter[0]:
            self.allow(budget)

    def end(self, outer: int | None) -> None:
        """Stop counting; the run around this one goes on with what it has left."""
        used = self._limit - self._left()
        self._done += used
        self._depth -= 1
        self._limit = self._counter[0] = 0 if outer is None else outer - used


class _Executable:
    """A page of machine code; never writable and executable at once."""

    def __init__(self, machine_code: bytes) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._page.write(machine_code)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        libc = ctypes.CDLL(None, use_errno=True)
        protection = mmap.PROT_READ | mmap.PROT_EXEC
        if libc.mprotect(ctypes.c_void_p(self.address), ctypes.c_size_t(mmap.PAGESIZE), protection):
            raise OSError(ctypes.get_errno(), "mprotect")
