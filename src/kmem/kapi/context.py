"""What the running code may do: preemption count and interrupt flag, where the kernel keeps them.

``__preempt_count`` is a per-cpu word (arch/x86/include/asm/preempt.h): preemption, soft and hard interrupt and NMI
counts, with bit 31 inverted "need resched". The interrupt flag is the CPU's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

PREEMPT_OFFSET, SOFTIRQ_OFFSET, SOFTIRQ_DISABLE_OFFSET, HARDIRQ_OFFSET, NMI_OFFSET = 1, 1 << 8, 1 << 9, 1 << 16, 1 << 20
IN_INTERRUPT = 0xFFFF00
PREEMPT_NEED_RESCHED = 1 << 31
EFLAGS_IF = 1 << 9


class Word(Protocol):
    """Guest memory, as far as needed here."""

    def u32(self, addr: int) -> int: ...
    def set_u32(self, addr: int, value: int) -> None: ...


class CpuContext:
    """The context of the CPU whose ``__preempt_count`` is at *count_at*.

    *flags* and *set_flags* read and write EFLAGS. Complaints go to *on_sleep(function, file, line)* and
    *on_schedule()*.
    """

    def __init__(self, mem: Word, count_at: int, flags: Callable[[], int], set_flags: Callable[[int], None]) -> None:
        self._mem, self._at, self._flags, self._set_flags = mem, count_at, flags, set_flags
        self.on_sleep: Callable[[str, str, int], None] = lambda function, file, line: None
        self.rcu_depth: Callable[[], int] = lambda: 0
        self.on_schedule: Callable[[], None] = lambda: None
        self.on_wait: Callable[[], None] = lambda: None
        self._at_boot = False
        mem.set_u32(count_at, PREEMPT_NEED_RESCHED)

    def use(self, count_at: int) -> None:
        """The CPU whose ``__preempt_count`` is at *count_at* is the one."""
        self._at = count_at

    @property
    def preempt_count(self) -> int:
        """``preempt_count()``."""
        return self._mem.u32(self._at) & ~PREEMPT_NEED_RESCHED

    def add(self, value: int) -> None:
        """``__preempt_count_add()``; negative to subtract."""
        self._mem.set_u32(self._at, self._mem.u32(self._at) + value)

    def preempt_disable(self) -> None:
        """``preempt_disable()``."""
        self.add(PREEMPT_OFFSET)

    def preempt_enable(self) -> None:
        """``preempt_enable()``."""
        self.add(-PREEMPT_OFFSET)

    def irqs_disabled(self) -> bool:
        """``irqs_disabled()``."""
        return not self._flags() & EFLAGS_IF

    def local_irq_save(self) -> int:
        """``local_irq_save()``: disables interrupts; the flags as they were."""
        flags = self._flags()
        self._set_flags(flags & ~EFLAGS_IF)
        return flags

    def local_irq_restore(self, flags: int) -> None:
        """``local_irq_restore()``."""
        self._set_flags((self._flags() & ~EFLAGS_IF) | (flags & EFLAGS_IF))

    def local_irq_disable(self) -> None:
        """``local_irq_disable()``."""
        self._set_flags(self._flags() & ~EFLAGS_IF)

    def local_irq_enable(self) -> None:
        """``local_irq_enable()``."""
        self._set_flags(self._flags() | EFLAGS_IF)

    def local_bh_disable(self) -> None:
        """``local_bh_disable()``."""
        self.add(SOFTIRQ_DISABLE_OFFSET)

    def local_bh_enable(self) -> None:
        """``local_bh_enable()``."""
        self.add(-SOFTIRQ_DISABLE_OFFSET)

    def in_interrupt(self) -> bool:
        """``in_interrupt()``."""
        return bool(self.preempt_count & IN_INTERRUPT)

    def atomic(self) -> bool:
        """Whether sleeping is forbidden now."""
        return self.preempt_count != 0 or self.sleep_forbidden()

    def sleep_forbidden(self) -> bool:
        """Whether an RCU reader runs or interrupts are off."""
        return (self.rcu_depth() > 0 or self.irqs_disabled()) and not self._at_boot

    @contextmanager
    def as_at_boot(self) -> Iterator[None]:
        """For what a kernel does when it starts and the model when it is first needed: nothing forbids to sleep."""
        before, count = self._at_boot, self.preempt_count
        self._at_boot = True
        self.add(-count)
        try:
            yield
        finally:
            self.add(count)
            self._at_boot = before

    def might_sleep(self, function: str, file: str, line: int) -> None:
        """``might_sleep()``: complains if the context forbids it."""
        if self.atomic():
            self.on_sleep(function, file, line)

    def schedule_debug(self) -> None:
        """The check on entry to the scheduler."""
        if self.preempt_count:
            self.on_schedule()
        elif self.sleep_forbidden():
            self.on_wait()
