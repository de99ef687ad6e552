"""Reader-writer semaphores (kernel/locking/rwsem.c), 6.1.

The count word is the kernel's: bit 0 a writer, readers in units of 0x100; the owner word has bit 0 set for readers.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.lists import init_list_head
from kmem.kapi.sched import stuck
from kmem.kapi.spinlock import LOCKS

FILE = "kernel/locking/rwsem.c"
WRITER_LOCKED, READER_BIAS, READER_OWNED, NONSPINNABLE = 1, 0x100, 1, 2
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
    return True


def _try_write(k: Host, sem: int) -> bool:
    if _count(k, sem):
        return False
    _add(k, sem, WRITER_LOCKED)
    _set_owner(k, sem, k.current)
    return True


def _down(k: Host, sem: int, name: str, line: int, *, write: bool) -> None:
    k.context.might_sleep(name, FILE, line)
    if not (_try_write if write else _try_read)(k, sem):
        holder = "a writer" if _count(k, sem) & WRITER_LOCKED else "a reader"
        message = f"{name}() of a semaphore that {holder} holds, and nobody is left who could release it"
        stuck(k, "deadlock", message, address=sem)


def _up(k: Host, sem: int, name: str, held: bool) -> None:
    if not held:
        k.finding("api-misuse", f"{name}() of a semaphore that is not held that way", address=sem)


@export(LOCKS)
def down_read(k: Host, sem: int) -> None:
    """``void down_read(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    _down(k, sem, "down_read", 1519, write=False)


@export(LOCKS)
def down_read_interruptible(k: Host, sem: int) -> int:
    """``int down_read_interruptible(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1. No signals arrive: always 0.
    """
    _down(k, sem, "down_read_interruptible", 1528, write=False)
    return 0


@export(LOCKS)
def down_read_killable(k: Host, sem: int) -> int:
    """``int down_read_killable(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    _down(k, sem, "down_read_killable", 1542, write=False)
    return 0


@export(LOCKS)
def down_read_trylock(k: Host, sem: int) -> int:
    """``int down_read_trylock(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1. 1 if the lock could be taken.
    """
    return int(_try_read(k, sem))


@export(LOCKS)
def down_write(k: Host, sem: int) -> None:
    """``void down_write(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    _down(k, sem, "down_write", 1572, write=True)


@export(LOCKS)
def down_write_killable(k: Host, sem: int) -> int:
    """``int down_write_killable(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    _down(k, sem, "down_write_killable", 1583, write=True)
    return 0


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


@export(LOCKS)
def up_write(k: Host, sem: int) -> None:
    """``void up_write(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1.
    """
    _up(k, sem, "up_write", _count(k, sem) & WRITER_LOCKED != 0)
    _set_owner(k, sem, 0)
    _add(k, sem, -WRITER_LOCKED)


@export(LOCKS)
def downgrade_write(k: Host, sem: int) -> None:
    """``void downgrade_write(struct rw_semaphore *sem)``

    kernel/locking/rwsem.c, 6.1. The writer becomes a reader.
    """
    _up(k, sem, "downgrade_write", _count(k, sem) & WRITER_LOCKED != 0)
    _add(k, sem, READER_BIAS - WRITER_LOCKED)
    _own_as_reader(k, sem)
