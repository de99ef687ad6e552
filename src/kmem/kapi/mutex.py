"""Mutexes (kernel/locking/mutex.c), 6.1. The owner word holds the task that has the lock."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.lists import init_list_head
from kmem.kapi.sched import stuck
from kmem.kapi.spinlock import LOCKS

FILE = "kernel/locking/mutex.c"
_FLAGS = 7


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


def _lock(k: Host, lock: int, name: str, line: int) -> None:
    k.context.might_sleep(name, FILE, line)
    owner = _owner(k, lock)
    if owner:
        holder = "this task already holds" if owner & ~_FLAGS == k.current else "another task holds"
        stuck(k, "deadlock", f"{name}() of a mutex that {holder}", address=lock)
    _set_owner(k, lock, k.current)


@export(LOCKS)
def mutex_lock(k: Host, lock: int) -> None:
    """``void mutex_lock(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1.
    """
    _lock(k, lock, "mutex_lock", 283)


@export(LOCKS)
def mutex_lock_interruptible(k: Host, lock: int) -> int:
    """``int mutex_lock_interruptible(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1. No signals arrive: always 0.
    """
    _lock(k, lock, "mutex_lock_interruptible", 979)
    return 0


@export(LOCKS)
def mutex_lock_killable(k: Host, lock: int) -> int:
    """``int mutex_lock_killable(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1.
    """
    _lock(k, lock, "mutex_lock_killable", 1003)
    return 0


@export(LOCKS)
def mutex_lock_io(k: Host, lock: int) -> None:
    """``void mutex_lock_io(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1.
    """
    _lock(k, lock, "mutex_lock_io", 283)


@export(LOCKS)
def mutex_trylock(k: Host, lock: int) -> int:
    """``int mutex_trylock(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1. 1 if the lock could be taken.
    """
    if _owner(k, lock):
        return 0
    _set_owner(k, lock, k.current)
    return 1


@export(LOCKS)
def mutex_unlock(k: Host, lock: int) -> None:
    """``void mutex_unlock(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1. Unlocking what this task does not hold is a finding; the kernel says nothing.
    """
    owner = _owner(k, lock) & ~_FLAGS
    if owner != k.current:
        state = "another task holds" if owner else "is not locked"
        k.finding("api-misuse", f"mutex_unlock() of a mutex that {state}", address=lock)
    _set_owner(k, lock, 0)


@export(faithful)
def mutex_is_locked(k: Host, lock: int) -> bool:
    """``bool mutex_is_locked(struct mutex *lock)``

    kernel/locking/mutex.c, 6.1.
    """
    return _owner(k, lock) & ~_FLAGS != 0


@export(LOCKS)
def atomic_dec_and_mutex_lock(k: Host, cnt: int, lock: int) -> int:
    """``int atomic_dec_and_mutex_lock(atomic_t *cnt, struct mutex *lock)``

    kernel/locking/mutex.c, 6.1. 1, with the lock held, if the count became 0.
    """
    count = k.mem.s32(cnt) - 1
    if not count:
        _lock(k, lock, "mutex_lock", 283)
    k.mem.set_u32(cnt, count & 0xFFFFFFFF)
    return int(not count)
