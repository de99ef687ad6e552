"""Spin locks and reader-writer spin locks (kernel/locking/spinlock.c), 6.1.

The lock words are the kernel's: a queued spin lock holds 1 in its first byte; a queued rwlock counts readers in units
of 0x200 above a writer's byte 0xff. A CPU that finds a lock taken lets the others run until the word has changed.
"""

from __future__ import annotations

from collections.abc import Callable

from kmem.kapi.export import export, family, simplified
from kmem.kapi.host import Guest, Host
from kmem.kapi.sched import stuck

QR_BIAS, QW_LOCKED, QW_MASK = 0x200, 0xFF, 0x1FF

LOCKS = simplified("a CPU that spins lets the others run, without a queue; no signals arrive")

_Take = Callable[[Host, int], bool]


def _try_spin(k: Host, lock: int) -> bool:
    if k.mem.u32(lock):
        return False
    k.mem.set_u32(lock, 1)
    return True


def _try_read(k: Host, lock: int) -> bool:
    count = k.mem.u32(lock)
    if count & QW_MASK:
        return False
    k.mem.set_u32(lock, count + QR_BIAS)
    return True


def _try_write(k: Host, lock: int) -> bool:
    if k.mem.u32(lock):
        return False
    k.mem.set_u32(lock, QW_LOCKED)
    return True


def _release_spin(k: Host, lock: int) -> bool:
    held = k.mem.u8(lock) != 0
    k.mem.set_u8(lock, 0)
    return held


def _release_read(k: Host, lock: int) -> bool:
    count = k.mem.u32(lock)
    k.mem.set_u32(lock, (count - QR_BIAS) & 0xFFFFFFFF)
    return count >= QR_BIAS


def _release_write(k: Host, lock: int) -> bool:
    held = k.mem.u8(lock) == QW_LOCKED
    k.mem.set_u8(lock, 0)
    return held


def _acquire(k: Host, lock: int, name: str, take: _Take, result: int = 0) -> int | Guest:
    """Take the lock, and return *result*."""
    if take(k, lock):
        k.tasks.acquired(lock, "spinlock")
        return result
    return _spin(k, lock, name, take, result)


def _spin(k: Host, lock: int, name: str, take: _Take, result: int) -> Guest:
    """Another CPU holds the lock, or nobody who could ever release it."""
    holder = k.tasks.held.get(lock)
    if not k.sched.on or (holder and holder[0] == k.current):
        stuck(k, "deadlock", f"{name}() of a lock that is held, and nobody is left who could release it", address=lock)
    while not take(k, lock):
        yield from k.sched.spin(lock)
    k.tasks.acquired(lock, "spinlock")
    return result


def _release(k: Host, lock: int, name: str, release: _Take) -> None:
    if not release(k, lock):
        k.finding("api-misuse", f"{name}() of a lock that is not held", address=lock)
    k.tasks.released(lock)
    if k.sched.on:
        k.sched.let_spinners_look()


def spin_lock(k: Host, lock: int) -> int | Guest:
    """``spin_lock()``."""
    k.context.preempt_disable()
    return _acquire(k, lock, "_raw_spin_lock", _try_spin)


def spin_unlock(k: Host, lock: int) -> None:
    """``spin_unlock()``."""
    _release(k, lock, "_raw_spin_unlock", _release_spin)
    k.context.preempt_enable()


def _declare_lock(kind: str, ctype: str, take: _Take, release: _Take) -> None:
    prefix = f"_raw_{kind}"

    def lock(k: Host, lock: int) -> int | Guest:
        k.context.preempt_disable()
        return _acquire(k, lock, f"{prefix}_lock", take)

    def lock_irqsave(k: Host, lock: int) -> int | Guest:
        flags = k.context.local_irq_save()
        k.context.preempt_disable()
        return _acquire(k, lock, f"{prefix}_lock_irqsave", take, flags)

    def lock_irq(k: Host, lock: int) -> int | Guest:
        k.context.local_irq_disable()
        k.context.preempt_disable()
        return _acquire(k, lock, f"{prefix}_lock_irq", take)

    def lock_bh(k: Host, lock: int) -> int | Guest:
        k.context.local_bh_disable()
        k.context.preempt_disable()
        return _acquire(k, lock, f"{prefix}_lock_bh", take)

    def trylock(k: Host, lock: int) -> int:
        k.context.preempt_disable()
        if take(k, lock):
            k.tasks.acquired(lock, "spinlock")
            return 1
        k.context.preempt_enable()
        return 0

    def unlock(k: Host, lock: int) -> None:
        _release(k, lock, f"{prefix}_unlock", release)
        k.context.preempt_enable()

    def unlock_irqrestore(k: Host, lock: int, flags: int) -> None:
        _release(k, lock, f"{prefix}_unlock_irqrestore", release)
        k.context.local_irq_restore(flags)
        k.context.preempt_enable()

    def unlock_irq(k: Host, lock: int) -> None:
        _release(k, lock, f"{prefix}_unlock_irq", release)
        k.context.local_irq_enable()
        k.context.preempt_enable()

    def unlock_bh(k: Host, lock: int) -> None:
        _release(k, lock, f"{prefix}_unlock_bh", release)
        k.context.preempt_enable()
        k.context.local_bh_enable()

    for handler, prototype, what in (
        (lock, "void %s_lock(%s *lock)", "Disables preemption and takes the lock."),
        (
            lock_irqsave,
            "unsigned long %s_lock_irqsave(%s *lock)",
            "Disables interrupts first; returns the flags register.",
        ),
        (lock_irq, "void %s_lock_irq(%s *lock)", "Disables interrupts first."),
        (lock_bh, "void %s_lock_bh(%s *lock)", "Disables softirqs first."),
        (trylock, "int %s_trylock(%s *lock)", "1 if the lock could be taken."),
        (unlock, "void %s_unlock(%s *lock)", "Releases the lock and enables preemption."),
        (unlock_irqrestore, "void %s_unlock_irqrestore(%s *lock, unsigned long flags)", "Restores interrupts, too."),
        (unlock_irq, "void %s_unlock_irq(%s *lock)", "Enables interrupts, too."),
        (unlock_bh, "void %s_unlock_bh(%s *lock)", "Enables softirqs, too."),
    ):
        family(LOCKS, prototype % (prefix, ctype), f"kernel/locking/spinlock.c, 6.1. {what}", handler)


_declare_lock("spin", "raw_spinlock_t", _try_spin, _release_spin)
_declare_lock("read", "rwlock_t", _try_read, _release_read)
_declare_lock("write", "rwlock_t", _try_write, _release_write)


@export(LOCKS)
def _raw_spin_trylock_bh(k: Host, lock: int) -> int:
    """``int _raw_spin_trylock_bh(raw_spinlock_t *lock)``

    kernel/locking/spinlock.c, 6.1. 1 if the lock could be taken.
    """
    k.context.local_bh_disable()
    k.context.preempt_disable()
    if _try_spin(k, lock):
        k.tasks.acquired(lock, "spinlock")
        return 1
    k.context.preempt_enable()
    k.context.local_bh_enable()
    return 0


@export(LOCKS)
def _raw_write_lock_nested(k: Host, lock: int, subclass: int) -> int | Guest:
    """``void _raw_write_lock_nested(rwlock_t *lock, int subclass)``

    kernel/locking/spinlock.c, 6.1. The subclass is for lockdep.
    """
    k.context.preempt_disable()
    return _acquire(k, lock, "_raw_write_lock_nested", _try_write)
