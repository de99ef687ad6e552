"""Counting semaphores (kernel/locking/semaphore.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import ETIME
from kmem.kapi.export import export
from kmem.kapi.host import Host
from kmem.kapi.sched import sleep_until, stuck
from kmem.kapi.spinlock import LOCKS
from kmem.kapi.timekeeping import TICK_NSEC

FILE = "kernel/locking/semaphore.c"


def _add(k: Host, sem: int, delta: int) -> None:
    at = sem + k.layout["semaphore"].offset("count")
    k.mem.set_u32(at, k.mem.u32(at) + delta & 0xFFFFFFFF)


def _try(k: Host, sem: int) -> bool:
    if k.mem.s32(sem + k.layout["semaphore"].offset("count")) <= 0:
        return False
    _add(k, sem, -1)
    return True


def _down(k: Host, sem: int, name: str, line: int) -> None:
    k.context.might_sleep(name, FILE, line)
    if not _try(k, sem):
        message = f"{name}() of a semaphore that is taken, and nobody is left who could release it"
        stuck(k, "deadlock", message, address=sem)


@export(LOCKS)
def down(k: Host, sem: int) -> None:
    """``void down(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1.
    """
    _down(k, sem, "down", 59)


@export(LOCKS)
def down_interruptible(k: Host, sem: int) -> int:
    """``int down_interruptible(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1. No signals arrive: always 0.
    """
    _down(k, sem, "down_interruptible", 83)
    return 0


@export(LOCKS)
def down_killable(k: Host, sem: int) -> int:
    """``int down_killable(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1.
    """
    _down(k, sem, "down_killable", 110)
    return 0


@export(LOCKS)
def down_trylock(k: Host, sem: int) -> int:
    """``int down_trylock(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1. 0 if the semaphore could be taken, 1 if not.
    """
    return int(not _try(k, sem))


@export(LOCKS)
def down_timeout(k: Host, sem: int, timeout: int) -> int:
    """``int down_timeout(struct semaphore *sem, long timeout)``

    kernel/locking/semaphore.c, 6.1. -ETIME after *timeout* ticks, which pass if the semaphore is taken.
    """
    k.context.might_sleep("down_timeout", FILE, 165)
    if _try(k, sem):
        return 0
    sleep_until(k, (k.clock.ns // TICK_NSEC + max(timeout, 0)) * TICK_NSEC)
    return -ETIME


@export(LOCKS)
def up(k: Host, sem: int) -> None:
    """``void up(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1. May be called by a task that did not take it.
    """
    _add(k, sem, 1)
