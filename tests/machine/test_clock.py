from __future__ import annotations

import pytest

from kmem.machine.clock import NS_PER_INSTRUCTION, TSC_KHZ, Clock


def test_time_passes_by_advance_only() -> None:
    clock = Clock()
    assert (clock.ns, clock.ns) == (0, 0)
    clock.advance(1_500)
    assert clock.ns == 1_500
    assert Clock(7).ns == 7


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="back"):
        Clock().advance(-1)


def test_time_passes_with_instructions_from_when_they_are_attached() -> None:
    executed = 1000
    clock = Clock(50)
    clock.attach(lambda: executed)
    assert clock.ns == 50
    executed += 300
    assert clock.ns == 50 + 300 * NS_PER_INSTRUCTION
    clock.advance(5)
    assert clock.ns == 55 + 300 * NS_PER_INSTRUCTION


def test_attaching_another_machine_does_not_jump() -> None:
    clock = Clock()
    clock.attach(lambda: 1000)
    clock.advance(9)
    clock.attach(lambda: 5)
    assert clock.ns == 9


def test_a_rollback_sets_the_time() -> None:
    executed = 10
    clock = Clock()
    clock.attach(lambda: executed)
    executed = 500
    clock.set(3)
    assert clock.ns == 3
    executed += 2
    assert clock.ns == 3 + 2 * NS_PER_INSTRUCTION


def test_time_stamp_counter_runs_at_its_frequency() -> None:
    clock = Clock(1_000_000_000)
    assert clock.tsc == TSC_KHZ * 1000
    clock.advance((1 << 63) - 1)
    assert 0 <= clock.tsc < 1 << 64
