"""Sleeping locks: mutexes, reader-writer semaphores, semaphores; and reference counts."""

from __future__ import annotations

import pytest

from kmem.kapi.host import Stuck
from tests.kapi.fakehost import FakeHost

U64 = 1 << 64
ETIME = U64 - 62


@pytest.fixture
def mutex(k: FakeHost) -> int:
    lock = k.put(b"\xff" * 32)
    k.run("__mutex_init", lock, 0, 0)
    return lock


@pytest.fixture
def rwsem(k: FakeHost) -> int:
    sem = k.put(b"\xff" * 40)
    k.run("__init_rwsem", sem, 0, 0)
    return sem


def semaphore(k: FakeHost, count: int) -> int:
    sem = k.alloc(24)
    k.mem.set_u32(sem + 4, count)
    k.mem.set_u64(sem + 8, sem + 8)
    k.mem.set_u64(sem + 16, sem + 8)
    return sem


def test_a_new_mutex_is_free_and_has_no_waiters(mutex: int, k: FakeHost) -> None:
    assert k.mem.read(mutex, 16) == bytes(16)
    assert k.mem.u64(mutex + 16) == k.mem.u64(mutex + 24) == mutex + 16
    assert k.run("mutex_is_locked", mutex) == 0


@pytest.mark.parametrize(
    "name", ["mutex_lock", "mutex_lock_interruptible", "mutex_lock_killable", "mutex_lock_io", "mutex_trylock"]
)
def test_the_owner_of_a_mutex_is_the_task(name: str, mutex: int, k: FakeHost) -> None:
    assert k.run(name, mutex) == (name == "mutex_trylock")
    assert k.mem.u64(mutex) == k.current
    assert k.run("mutex_is_locked", mutex) == 1
    assert k.run("mutex_trylock", mutex) == 0
    k.run("mutex_unlock", mutex)
    assert k.mem.u64(mutex) == 0
    assert k.findings == []
    assert k.context.preempt == 0


def test_locking_a_mutex_may_sleep(mutex: int, k: FakeHost) -> None:
    k.run("mutex_lock", mutex)
    assert k.context.asked == ["mutex_lock kernel/locking/mutex.c:283"]
    k.run("mutex_trylock", mutex)
    assert len(k.context.asked) == 1


def test_locking_a_mutex_twice_is_a_deadlock(mutex: int, k: FakeHost) -> None:
    k.run("mutex_lock", mutex)
    with pytest.raises(Stuck):
        k.run("mutex_lock", mutex)
    assert k.findings == [("deadlock", "mutex_lock() of a mutex that this task already holds")]


def test_unlocking_anothers_mutex_is_misuse(mutex: int, k: FakeHost) -> None:
    k.run("mutex_unlock", mutex)
    k.mem.set_u64(mutex, k.alloc(64))
    k.run("mutex_unlock", mutex)
    assert [message for _, message in k.findings] == [
        "mutex_unlock() of a mutex that is not locked",
        "mutex_unlock() of a mutex that another task holds",
    ]


def test_the_last_reference_takes_the_mutex(mutex: int, k: FakeHost) -> None:
    count = k.put((2).to_bytes(4, "little"))
    assert k.run("atomic_dec_and_mutex_lock", count, mutex) == 0
    assert k.mem.u64(mutex) == 0
    assert k.run("atomic_dec_and_mutex_lock", count, mutex) == 1
    assert (k.mem.u32(count), k.mem.u64(mutex)) == (0, k.current)


# Reader-writer semaphores


def count_and_owner(k: FakeHost, sem: int) -> tuple[int, int]:
    return k.mem.u64(sem), k.mem.u64(sem + 8)


def test_readers_of_an_rwsem(rwsem: int, k: FakeHost) -> None:
    for name in ("down_read", "down_read_interruptible", "down_read_killable"):
        assert k.run(name, rwsem) == 0
    assert k.run("down_read_trylock", rwsem) == 1
    assert count_and_owner(k, rwsem) == (0x400, k.current | 1)
    assert k.run("down_write_trylock", rwsem) == 0
    for _ in range(4):
        k.run("up_read", rwsem)
    assert count_and_owner(k, rwsem) == (0, k.current | 1)
    assert k.findings == []


def test_a_writer_of_an_rwsem_can_become_a_reader(rwsem: int, k: FakeHost) -> None:
    k.run("down_write", rwsem)
    assert count_and_owner(k, rwsem) == (1, k.current)
    assert k.run("down_read_trylock", rwsem) == 0
    k.run("downgrade_write", rwsem)
    assert count_and_owner(k, rwsem) == (0x100, k.current | 1)
    k.run("up_read", rwsem)
    k.run("down_write_killable", rwsem)
    k.run("up_write", rwsem)
    assert count_and_owner(k, rwsem) == (0, 0)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("down_write", "down_read", "down_read() of a semaphore that this task already holds as a writer"),
        ("down_read", "down_write", "no task can go on"),
    ],
)
def test_an_rwsem_that_is_held_is_a_deadlock(first: str, second: str, message: str, rwsem: int, k: FakeHost) -> None:
    k.run(first, rwsem)
    with pytest.raises(Stuck):
        k.run(second, rwsem)
    assert k.findings == [("deadlock", message)]


@pytest.mark.parametrize("name", ["up_read", "up_write", "downgrade_write"])
def test_releasing_an_rwsem_that_is_not_held_is_misuse(name: str, rwsem: int, k: FakeHost) -> None:
    k.run(name, rwsem)
    assert k.findings == [("api-misuse", f"{name}() of a semaphore that is not held that way")]


# Semaphores


def test_a_semaphore_counts(k: FakeHost) -> None:
    sem = semaphore(k, 3)
    for name in ("down", "down_interruptible", "down_killable"):
        assert k.run(name, sem) == 0
    assert k.mem.u32(sem + 4) == 0
    assert k.run("down_trylock", sem) == 1
    k.run("up", sem)
    assert k.run("down_trylock", sem) == 0
    with pytest.raises(Stuck):
        k.run("down", sem)
    assert k.findings[0][0] == "deadlock"


def test_down_timeout_waits_and_gives_up(k: FakeHost) -> None:
    sem = semaphore(k, 1)
    assert k.run("down_timeout", sem, 25) == 0
    assert k.clock.ns == 10**9
    assert k.run("down_timeout", sem, 25) == ETIME
    assert k.clock.ns == 10**9 + 104_000_000


# Reference counts


@pytest.mark.parametrize(
    ("kind", "line", "text"),
    [
        (0, 19, "saturated; leaking memory"),
        (2, 25, "addition on 0; use-after-free"),
        (3, 28, "underflow; use-after-free"),
        (4, 31, "decrement hit 0; leaking memory"),
        (9, 34, "unknown saturation event!?"),
    ],
)
def test_a_refcount_saturates_and_warns_once(kind: int, line: int, text: str, k: FakeHost) -> None:
    count = k.alloc(4)
    for _ in range(2):
        k.run("refcount_warn_saturate", count, kind)
    assert k.mem.u32(count) == 0xC0000000
    assert k.warnings == [f"lib/refcount.c:{line} refcount_warn_saturate: refcount_t: {text}."]


@pytest.mark.parametrize(("value", "result", "left"), [(1, 0, 1), (2, 1, 1), (0, 1, 0), (0xC0000000, 1, 0xC0000000)])
def test_refcount_dec_not_one(value: int, result: int, left: int, k: FakeHost) -> None:
    count = k.put(value.to_bytes(4, "little"))
    assert k.run("refcount_dec_not_one", count) == result
    assert k.mem.u32(count) == left
    assert len(k.warnings) == (value == 0)


def test_refcount_dec_if_one(k: FakeHost) -> None:
    count = k.put((2).to_bytes(4, "little"))
    assert k.run("refcount_dec_if_one", count) == 0
    k.mem.set_u32(count, 1)
    assert k.run("refcount_dec_if_one", count) == 1
    assert k.mem.u32(count) == 0


def test_the_last_refcount_takes_the_mutex(mutex: int, k: FakeHost) -> None:
    count = k.put((2).to_bytes(4, "little"))
    assert k.run("refcount_dec_and_mutex_lock", count, mutex) == 0
    assert k.run("refcount_dec_and_mutex_lock", count, mutex) == 1
    assert (k.mem.u32(count), k.mem.u64(mutex)) == (0, k.current)
