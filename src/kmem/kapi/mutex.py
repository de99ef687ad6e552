"""Mutexes (kernel/locking/mutex.c), 6.1. The owner word holds the task that has the lock."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Guest, Host
from kmem.kapi.lists import add_tail, del_init, init_list_head, is_empty, is_unlinked
from kmem.kapi.sched import (
    TASK_INTERRUPTIBLE,
    TASK_KILLABLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    block,
    set_task_state,
    stuck,
)
from kmem.kapi.spinlock import LOCKS
from kmem.sched.core import MUTEX
from kmem.sched.layout import TASK_NORMAL, WAITER

FILE = "kernel/locking/mutex.c"
_FLAGS, _WAITERS, _HANDOFF = 7, 1, 2


@export(faithful)
def __mutex_init(k: Host, lock: int, name: int, key: int) -> None:
    """``void __mutex_init(struct mutex *lock, const char *name, struct lock_class_key *key)``

    kernel/locking/mutex.c, 6.1.
    """
    mutex = k.layout["mutex"]
    k.mem.fill(lock, 0, mutex.size)
    init_list_head(k, lock + mutex.offset("wait_list"))


def _owner(k: Host, lock: int) -> int:
    return k.mem.u64(lock + k.layout["mutex"].offset("owner"))


def _set_owner(k: Host, lock: int, owner: int) -> None:
    k.mem.set_u64(lock + k.layout["mutex"].offset("owner"), owner)


def _try(k: Host, lock: int) -> bool:
    owner = _owner(k, lock)
    if owner & ~_FLAGS or owner & _HANDOFF:
        return False
    _set_owner(k, lock, k.current | owner & _FLAGS)
    k.tasks.acquired(lock, "mutex")
    return True


def _lock(k: Host, lock: int, name: str, line: int, state: int = TASK_UNINTERRUPTIBLE) -> int | Guest:
    k.context.might_sleep(name, FILE, line)
    if _try(k, lock):
        return 0
    if _owner(k, lock) & ~_FLAGS == k.current:
        stuck(k, "deadlock", f"{name}() of a mutex that this task already holds", address=lock)
    return _lock_slow(k, lock, state)


def _lock_slow(k: Host, lock: int, state: int) -> Guest:
    """``__mutex_lock_common()``: the waiter is {list, task}. One that was woken in vain is handed the lock next."""
    k.sched.start()
    mutex, task = k.layout["mutex"], k.current
    waiter = k.sched.record(task) + WAITER
    if is_unlinked(k, waiter):
        k.mem.set_u64(waiter + 16, task)
        add_tail(k, waiter, lock + mutex.offset("wait_list"))
    woken = False
    while _owner(k, lock) & ~_FLAGS != task and not _try(k, lock):
        _set_owner(k, lock, _owner(k, lock) | _WAITERS | (_HANDOFF if woken else 0))
        set_task_state(k, state)
        yield from block(k, MUTEX, lock)
        woken = k.mem.u64(lock + mutex.offset("wait_list")) == waiter
    k.tasks.acquired(lock, "mutex")
    del_init(k, waiter)
    flags = 0 if is_empty(k, lock + mutex.offset("wait_list")) else _WAITERS
    _set_owner(k, lock, task | flags)
    set_task_state(k, TASK_RUNNING)
    return 0


@export(LOCKS)
def mutex_lock(k: Host, lock: int) -> int | Guest:
    """``void mutex_lock(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1.
    """
    return _lock(k, lock, "mutex_lock", 283)


@export(LOCKS)
def mutex_lock_interruptible(k: Host, lock: int) -> int | Guest:
    """``int mutex_lock_interruptible(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1. No signals arrive: always 0.
    """
    return _lock(k, lock, "mutex_lock_interruptible", 979, TASK_INTERRUPTIBLE)


@export(LOCKS)
def mutex_lock_killable(k: Host, lock: int) -> int | Guest:
    """``int mutex_lock_killable(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1.
    """
    return _lock(k, lock, "mutex_lock_killable", 1003, TASK_KILLABLE)


@export(LOCKS)
def mutex_lock_io(k: Host, lock: int) -> int | Guest:
    """``void mutex_lock_io(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1.
    """
    return _lock(k, lock, "mutex_lock_io", 283)


@export(LOCKS)
def mutex_trylock(k: Host, lock: int) -> int:
    """``int mutex_trylock(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1. 1 if the lock could be taken.
    """
    return int(_try(k, lock))


@export(LOCKS)
def mutex_unlock(k: Host, lock: int) -> None:
    """``void mutex_unlock(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1. Unlocking what this task does not hold is a finding; the kernel says nothing.
    """
    word = _owner(k, lock)
    owner, flags = word & ~_FLAGS, word & _FLAGS
    if owner != k.current:
        state = "another task holds" if owner else "is not locked"
        k.finding("api-misuse", f"mutex_unlock() of a mutex that {state}", address=lock)
    k.tasks.released(lock)
    if not flags:
        _set_owner(k, lock, 0)
        return
    first = k.mem.u64(lock + k.layout["mutex"].offset("wait_list"))
    next_owner = k.mem.u64(first + 16)
    _set_owner(k, lock, next_owner | _WAITERS if flags & _HANDOFF else flags)
    k.sched.wake(next_owner, TASK_NORMAL | TASK_KILLABLE)


@export(faithful)
def mutex_is_locked(k: Host, lock: int) -> bool:
    """``bool mutex_is_locked(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1.
    """
    return _owner(k, lock) & ~_FLAGS != 0


@export(LOCKS)
def atomic_dec_and_mutex_lock(k: Host, cnt: int, lock: int) -> int | Guest:
    """``int atomic_dec_and_mutex_lock(atomic_t *cnt, struct mutex *lock)``

    kernel/locking/mutex.c, 6.1. 1, with the lock held, if the count became 0.
    """
    if k.mem.s32(cnt) != 1:
        k.mem.set_u32(cnt, k.mem.s32(cnt) - 1 & 0xFFFFFFFF)
        return 0
    k.context.might_sleep("mutex_lock", FILE, 283)
    if not _try(k, lock):
        return _dec_and_lock(k, cnt, lock)
    k.mem.set_u32(cnt, 0)
    return 1


def _dec_and_lock(k: Host, cnt: int, lock: int) -> Guest:
    yield from _lock_slow(k, lock, TASK_UNINTERRUPTIBLE)
    count = k.mem.s32(cnt) - 1
    k.mem.set_u32(cnt, count & 0xFFFFFFFF)
    if count:
        mutex_unlock(k, lock)
    return int(not count)
