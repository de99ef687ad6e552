"""Counting semaphores (kernel/locking/semaphore.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import ETIME
from kmem.kapi.export import export
from kmem.kapi.host import Guest, Host
from kmem.kapi.lists import add_tail, del_init, is_empty, is_unlinked
from kmem.kapi.sched import (
    TASK_INTERRUPTIBLE,
    TASK_KILLABLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    block,
    set_task_state,
)
from kmem.kapi.spinlock import LOCKS
from kmem.kapi.timer import deadline_of
from kmem.sched.core import FOREVER, SEMAPHORE
from kmem.sched.layout import TASK_NORMAL, WAITER

FILE = "kernel/locking/semaphore.c"


def _add(k: Host, sem: int, delta: int) -> None:
    at = sem + k.layout["semaphore"].offset("count")
    k.mem.set_u32(at, k.mem.u32(at) + delta & 0xFFFFFFFF)


def _try(k: Host, sem: int) -> bool:
    if k.mem.s32(sem + k.layout["semaphore"].offset("count")) <= 0:
        return False
    _add(k, sem, -1)
    return True


def _down(k: Host, sem: int, name: str, line: int, state: int) -> int | Guest:
    k.context.might_sleep(name, FILE, line)
    return 0 if _try(k, sem) else _down_slow(k, sem, state, FOREVER)


def _down_slow(k: Host, sem: int, state: int, deadline: int) -> Guest:
    """``__down_common()``: the waiter is {list, task, up}; who lets go sets *up* and wakes."""
    k.sched.start()
    task = k.current
    waiter = k.sched.record(task) + WAITER
    if is_unlinked(k, waiter) and not k.sched.resuming:
        k.mem.set_u64(waiter + 16, task)
        k.mem.set_u32(waiter + 24, 0)
        add_tail(k, waiter, sem + k.layout["semaphore"].offset("wait_list"))
    while not k.mem.u32(waiter + 24):
        set_task_state(k, state)
        late = yield from block(k, SEMAPHORE, sem, deadline)
        if late and not k.mem.u32(waiter + 24):
            del_init(k, waiter)
            return -ETIME
    set_task_state(k, TASK_RUNNING)
    return 0


@export(LOCKS)
def down(k: Host, sem: int) -> int | Guest:
    """``void down(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1.
    """
    return _down(k, sem, "down", 59, TASK_UNINTERRUPTIBLE)


@export(LOCKS)
def down_interruptible(k: Host, sem: int) -> int | Guest:
    """``int down_interruptible(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1. No signals arrive: always 0.
    """
    return _down(k, sem, "down_interruptible", 83, TASK_INTERRUPTIBLE)


@export(LOCKS)
def down_killable(k: Host, sem: int) -> int | Guest:
    """``int down_killable(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1.
    """
    return _down(k, sem, "down_killable", 110, TASK_KILLABLE)


@export(LOCKS)
def down_trylock(k: Host, sem: int) -> int:
    """``int down_trylock(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1. 0 if the semaphore could be taken, 1 if not.
    """
    return int(not _try(k, sem))


@export(LOCKS)
def down_timeout(k: Host, sem: int, timeout: int) -> int | Guest:
    """``int down_timeout(struct semaphore *sem, long timeout)``

    kernel/locking/semaphore.c, 6.1. -ETIME after *timeout* ticks, which pass if the semaphore is taken.
    """
    k.context.might_sleep("down_timeout", FILE, 165)
    if _try(k, sem):
        return 0
    return _down_slow(k, sem, TASK_UNINTERRUPTIBLE, deadline_of(k, max(timeout, 0)))


@export(LOCKS)
def up(k: Host, sem: int) -> None:
    """``void up(struct semaphore *sem)``

    kernel/locking/semaphore.c, 6.1. May be called by a task that did not take it.
    """
    waiters = sem + k.layout["semaphore"].offset("wait_list")
    if is_empty(k, waiters):
        _add(k, sem, 1)
        return
    first = k.mem.u64(waiters)
    del_init(k, first)
    k.mem.set_u32(first + 24, 1)
    k.sched.wake(k.mem.u64(first + 16), TASK_NORMAL | TASK_KILLABLE)
