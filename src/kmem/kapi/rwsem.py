"""Reader-writer semaphores (kernel/locking/rwsem.c), 6.1.

The count word is the kernel's: bit 0 a writer, bit 1 somebody waits, readers in units of 0x100; the owner word has bit
0 set for readers.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Guest, Host
from kmem.kapi.lists import add_tail, del_init, entries, init_list_head, is_empty, is_unlinked
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
from kmem.sched.core import READ, WRITE
from kmem.sched.layout import TASK_NORMAL, WAITER

FILE = "kernel/locking/rwsem.c"
WRITER_LOCKED, WAITERS, HANDOFF, READER_BIAS, READER_OWNED, NONSPINNABLE = 1, 2, 4, 0x100, 1, 2
_NO_READ = 0x8000000000000007
"""Bits of the count that keep a reader out."""

_MASK64 = (1 << 64) - 1


@export(faithful)
def __init_rwsem(k: Host, sem: int, name: int, key: int) -> None:
    """``void __init_rwsem(struct rw_semaphore *sem, const char *name, struct lock_class_key *key)``

    kernel/locking/rwsem.c, 6.1.
    """
    layout = k.layout["rw_semaphore"]
    k.mem.fill(sem, 0, layout.size)
    init_list_head(k, sem + layout.offset("wait_list"))


def _count(k: Host, sem: int) -> int:
    return k.mem.u64(sem + k.layout["rw_semaphore"].offset("count"))


def _add(k: Host, sem: int, delta: int) -> None:
    k.mem.set_u64(sem + k.layout["rw_semaphore"].offset("count"), (_count(k, sem) + delta) & _MASK64)


def _set_owner(k: Host, sem: int, owner: int) -> None:
    k.mem.set_u64(sem + k.layout["rw_semaphore"].offset("owner"), owner)


def _own_as_reader(k: Host, sem: int) -> None:
    old = k.mem.u64(sem + k.layout["rw_semaphore"].offset("owner"))
    _set_owner(k, sem, k.current | READER_OWNED | old & NONSPINNABLE)


def _try_read(k: Host, sem: int) -> bool:
    if _count(k, sem) & _NO_READ:
        return False
    _add(k, sem, READER_BIAS)
    _own_as_reader(k, sem)
    k.tasks.acquired(sem, "rwsem")
    return True


def _try_write(k: Host, sem: int) -> bool:
    if _count(k, sem):
        return False
    _add(k, sem, WRITER_LOCKED)
    _set_owner(k, sem, k.current)
    k.tasks.acquired(sem, "rwsem")
    return True


def _down(k: Host, sem: int, name: str, line: int, state: int = TASK_UNINTERRUPTIBLE, *, write: bool) -> int | Guest:
    k.context.might_sleep(name, FILE, line)
    if (_try_write if write else _try_read)(k, sem):
        return 0
    owner = k.mem.u64(sem + k.layout["rw_semaphore"].offset("owner"))
    if _count(k, sem) & WRITER_LOCKED and owner == k.current:
        stuck(k, "deadlock", f"{name}() of a semaphore that this task already holds as a writer", address=sem)
    return _down_slow(k, sem, state, write)


def _waiters(k: Host, sem: int) -> int:
    return sem + k.layout["rw_semaphore"].offset("wait_list")


def _down_slow(k: Host, sem: int, state: int, write: bool) -> Guest:
    """``rwsem_down_read_slowpath()`` and its twin. The waiter is {list, task, type}; a reader is given the semaphore by
    the one that lets go and then has no task in its waiter; a writer takes it when it is first and finds it free.
    """
    k.sched.start()
    task = k.current
    waiter = k.sched.record(task) + WAITER
    if is_unlinked(k, waiter):
        k.mem.set_u64(waiter + 16, task)
        k.mem.set_u32(waiter + 24, 0 if write else 1)
        add_tail(k, waiter, _waiters(k, sem))
        _set_count(k, sem, _count(k, sem) | WAITERS)
    while k.mem.u64(waiter + 16):
        if write and k.mem.u64(_waiters(k, sem)) == waiter and not _count(k, sem) & ~(WAITERS | HANDOFF):
            _dequeue(k, sem, waiter)
            _add(k, sem, WRITER_LOCKED)
            _set_owner(k, sem, task)
            break
        set_task_state(k, state)
        yield from block(k, WRITE if write else READ, sem)
    k.tasks.acquired(sem, "rwsem")
    set_task_state(k, TASK_RUNNING)
    return 0


def _set_count(k: Host, sem: int, count: int) -> None:
    k.mem.set_u64(sem + k.layout["rw_semaphore"].offset("count"), count)


def _dequeue(k: Host, sem: int, waiter: int) -> None:
    k.mem.set_u64(waiter + 16, 0)
    del_init(k, waiter)
    if is_empty(k, _waiters(k, sem)):
        _set_count(k, sem, _count(k, sem) & ~(WAITERS | HANDOFF))


def _wake(k: Host, sem: int) -> None:
    """``rwsem_mark_wake()``: wake a writer that is first; else give the semaphore to all readers that wait."""
    if not _count(k, sem) & WAITERS or _count(k, sem) & WRITER_LOCKED:
        return
    first = k.mem.u64(_waiters(k, sem))
    if not k.mem.u32(first + 24):
        if not _count(k, sem) & ~(WAITERS | HANDOFF):
            k.sched.wake(k.mem.u64(first + 16), TASK_NORMAL | TASK_KILLABLE)
        return
    for waiter in entries(k, _waiters(k, sem)):
        if k.mem.u32(waiter + 24):
            task = k.mem.u64(waiter + 16)
            _dequeue(k, sem, waiter)
            _add(k, sem, READER_BIAS)
            _set_owner(k, sem, task | READER_OWNED)
            k.sched.wake(task, TASK_NORMAL | TASK_KILLABLE)


def _up(k: Host, sem: int, name: str, held: bool) -> None:
    if not held:
        k.finding("api-misuse", f"{name}() of a semaphore that is not held that way", address=sem)


@export(LOCKS)
def down_read(k: Host, sem: int) -> int | Guest:
    """``void down_read(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    return _down(k, sem, "down_read", 1519, write=False)


@export(LOCKS)
def down_read_interruptible(k: Host, sem: int) -> int | Guest:
    """``int down_read_interruptible(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1. No signals arrive: always 0.
    """
    return _down(k, sem, "down_read_interruptible", 1528, TASK_INTERRUPTIBLE, write=False)


@export(LOCKS)
def down_read_killable(k: Host, sem: int) -> int | Guest:
    """``int down_read_killable(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    return _down(k, sem, "down_read_killable", 1542, TASK_KILLABLE, write=False)


@export(LOCKS)
def down_read_trylock(k: Host, sem: int) -> int:
    """``int down_read_trylock(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1. 1 if the lock could be taken.
    """
    return int(_try_read(k, sem))


@export(LOCKS)
def down_write(k: Host, sem: int) -> int | Guest:
    """``void down_write(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    return _down(k, sem, "down_write", 1572, write=True)


@export(LOCKS)
def down_write_killable(k: Host, sem: int) -> int | Guest:
    """``int down_write_killable(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    return _down(k, sem, "down_write_killable", 1583, TASK_KILLABLE, write=True)


@export(LOCKS)
def down_write_trylock(k: Host, sem: int) -> int:
    """``int down_write_trylock(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    return int(_try_write(k, sem))


@export(LOCKS)
def up_read(k: Host, sem: int) -> None:
    """``void up_read(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1. The owner word keeps the last reader.
    """
    _up(k, sem, "up_read", _count(k, sem) >= READER_BIAS)
    _add(k, sem, -READER_BIAS)
    if _count(k, sem) < READER_BIAS:
        k.tasks.released(sem)
    _wake(k, sem)


@export(LOCKS)
def up_write(k: Host, sem: int) -> None:
    """``void up_write(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    _up(k, sem, "up_write", _count(k, sem) & WRITER_LOCKED != 0)
    _set_owner(k, sem, 0)
    _add(k, sem, -WRITER_LOCKED)
    k.tasks.released(sem)
    _wake(k, sem)


@export(LOCKS)
def downgrade_write(k: Host, sem: int) -> None:
    """``void downgrade_write(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1. The writer becomes a reader.
    """
    _up(k, sem, "downgrade_write", _count(k, sem) & WRITER_LOCKED != 0)
    _add(k, sem, READER_BIAS - WRITER_LOCKED)
    _own_as_reader(k, sem)
    _wake(k, sem)
