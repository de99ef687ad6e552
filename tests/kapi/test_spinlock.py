"""Spin locks and reader-writer locks: words, counts, flags."""

from __future__ import annotations

import pytest

from kmem.kapi.host import Stuck
from tests.kapi.fakehost import FakeHost

IF = 0x200
KINDS = {"spin": 1, "read": 0x200, "write": 0xFF}
"""What a lock taken in this way holds."""

kinds = pytest.mark.parametrize("kind", sorted(KINDS))


def state(k: FakeHost) -> tuple[int, int, bool]:
    """Preemption depth, softirq depth, interrupts off."""
    return k.context.preempt, k.context.softirq, k.context.irqs_disabled()


@kinds
def test_lock_and_unlock(kind: str, k: FakeHost) -> None:
    lock = k.alloc(8)
    k.run(f"_raw_{kind}_lock", lock)
    assert (k.mem.u32(lock), state(k)) == (KINDS[kind], (1, 0, False))
    k.run(f"_raw_{kind}_unlock", lock)
    assert (k.mem.u32(lock), state(k)) == (0, (0, 0, False))


@kinds
def test_irqsave_and_irqrestore(kind: str, k: FakeHost) -> None:
    lock = k.alloc(8)
    k.context.flags = IF | 0x1
    flags = k.run(f"_raw_{kind}_lock_irqsave", lock)
    assert flags == IF | 0x1
    assert state(k) == (1, 0, True)
    k.run(f"_raw_{kind}_unlock_irqrestore", lock, flags)
    assert (state(k), k.mem.u32(lock)) == ((0, 0, False), 0)


def test_nested_irqsave_leaves_interrupts_off(k: FakeHost) -> None:
    a, b = k.alloc(8), k.alloc(8)
    outer = k.run("_raw_spin_lock_irqsave", a)
    inner = k.run("_raw_spin_lock_irqsave", b)
    k.run("_raw_spin_unlock_irqrestore", b, inner)
    assert state(k) == (1, 0, True)
    k.run("_raw_spin_unlock_irqrestore", a, outer)
    assert state(k) == (0, 0, False)


@kinds
def test_irq_and_bh(kind: str, k: FakeHost) -> None:
    lock = k.alloc(8)
    k.run(f"_raw_{kind}_lock_irq", lock)
    assert state(k) == (1, 0, True)
    k.run(f"_raw_{kind}_unlock_irq", lock)
    assert state(k) == (0, 0, False)
    k.run(f"_raw_{kind}_lock_bh", lock)
    assert (state(k), k.context.preempt_count) == ((1, 1, False), 0x201)
    k.run(f"_raw_{kind}_unlock_bh", lock)
    assert (state(k), k.mem.u32(lock)) == ((0, 0, False), 0)


@kinds
def test_trylock(kind: str, k: FakeHost) -> None:
    lock = k.alloc(8)
    assert k.run(f"_raw_{kind}_trylock", lock) == 1
    assert (k.mem.u32(lock), state(k)) == (KINDS[kind], (1, 0, False))
    k.mem.set_u32(lock, KINDS["write"])
    assert k.run(f"_raw_{kind}_trylock", lock) == 0
    assert state(k) == (1, 0, False)


def test_trylock_bh(k: FakeHost) -> None:
    lock = k.alloc(8)
    assert k.run("_raw_spin_trylock_bh", lock) == 1
    assert k.run("_raw_spin_trylock_bh", lock) == 0
    assert k.context.preempt_count == 0x201


def test_readers_share_and_keep_writers_out(k: FakeHost) -> None:
    lock = k.alloc(8)
    k.run("_raw_read_lock", lock)
    k.run("_raw_read_lock", lock)
    assert k.mem.u32(lock) == 0x400
    assert k.run("_raw_write_trylock", lock) == 0
    k.run("_raw_read_unlock", lock)
    k.run("_raw_read_unlock", lock)
    assert k.run("_raw_write_trylock", lock) == 1
    assert k.run("_raw_read_trylock", lock) == 0


@kinds
def test_a_lock_that_is_held_is_a_deadlock(kind: str, k: FakeHost) -> None:
    lock = k.alloc(8)
    k.run("_raw_write_lock", lock)
    with pytest.raises(Stuck):
        k.run(f"_raw_{kind}_lock", lock)
    message = f"_raw_{kind}_lock() of a lock that is held, and nobody is left who could release it"
    assert k.findings == [("deadlock", message)]


@kinds
def test_releasing_what_is_not_held_is_misuse(kind: str, k: FakeHost) -> None:
    k.run(f"_raw_{kind}_unlock", k.alloc(8))
    assert k.findings == [("api-misuse", f"_raw_{kind}_unlock() of a lock that is not held")]
    assert k.context.preempt == -1


def test_write_lock_nested(k: FakeHost) -> None:
    lock = k.alloc(8)
    k.run("_raw_write_lock_nested", lock, 1)
    assert (k.mem.u32(lock), state(k)) == (0xFF, (1, 0, False))


def test_local_bh_enable_undoes_what_the_count_says(k: FakeHost) -> None:
    k.context.local_bh_disable()
    k.context.preempt_disable()
    k.run("__local_bh_enable_ip", 0, 0x201)
    assert state(k) == (0, 0, False)
