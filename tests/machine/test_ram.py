"""Simulated RAM: what is written stays, what was never touched costs nothing, snapshots come back exactly."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP, VMEMMAP_START
from kmem.lib.cstruct import ANY, DIRECT, IMAGE, PRIVATE, PRIVATE_SIZE, VMEMMAP, CoreFault, s64
from kmem.machine.ram import Ram

MIB = 1 << 20
PAGE = 4096


def write(ram: Ram, at: int, data: bytes) -> None:
    ram.mem[at : at + len(data)] = data


def test_the_size_is_a_multiple_of_a_large_page() -> None:
    with pytest.raises(ValueError, match="2 MiB"):
        Ram(3 * MIB)


def test_fresh_memory_is_zero_and_costs_nothing() -> None:
    ram = Ram(1 << 40)
    write(ram, (1 << 40) - 8, b"the last")
    assert ram.populated() == [((1 << 40) - PAGE, 1 << 40)]
    assert bytes(ram.mem[1 << 39 : (1 << 39) + 64]) == bytes(64)


def test_physical_address_0_is_behind_the_private_area() -> None:
    ram = Ram(2 * MIB)
    ram.whole[0] = 7
    assert ram.mem[0] == 0
    ram.mem[0] = 9
    assert ram.whole[PRIVATE_SIZE] == 9
    assert len(ram.mem) == 2 * MIB


def test_the_hash_is_of_contents_not_of_history() -> None:
    one, other = Ram(8 * MIB), Ram(8 * MIB)
    assert one.hash() == other.hash()
    write(one, 5 * MIB, b"x")
    assert one.hash() != other.hash()
    write(other, 4 * MIB, bytes(3 * PAGE))  # touched, but zero
    write(other, 5 * MIB, b"x")
    assert one.hash() == other.hash()
    write(other, 5 * MIB, b"\0")
    write(other, 5 * MIB + PAGE, b"x")
    assert one.hash() != other.hash()


def test_the_hash_ignores_the_private_area() -> None:
    ram = Ram(2 * MIB)
    before = ram.hash()
    ram.whole[PRIVATE_SIZE // 2] = 1
    assert ram.hash() == before


def test_rollback_needs_a_snapshot() -> None:
    with pytest.raises(RuntimeError, match="no snapshot"):
        Ram(2 * MIB).rollback()


def test_rollback_returns_to_the_last_snapshot() -> None:
    ram = Ram(4 * MIB)
    write(ram, 0, b"first")
    ram.snapshot()
    write(ram, 0, b"later")
    write(ram, 3 * MIB, b"and elsewhere")
    ram.rollback()
    assert (bytes(ram.mem[:5]), bytes(ram.mem[3 * MIB : 3 * MIB + 3])) == (b"first", bytes(3))
    write(ram, PAGE, b"second")
    ram.snapshot()
    write(ram, PAGE, b"------")
    ram.rollback()
    ram.rollback()
    assert (bytes(ram.mem[:5]), bytes(ram.mem[PAGE : PAGE + 6])) == (b"first", b"second")


def test_the_private_area_rolls_back_too() -> None:
    ram = Ram(2 * MIB)
    ram.whole[100] = 1
    ram.snapshot()
    ram.whole[100] = 2
    ram.rollback()
    assert ram.whole[100] == 1


def test_pages_written_since_the_snapshot_are_known() -> None:
    ram = Ram(4 * MIB)
    write(ram, 0, b"x")
    ram.snapshot()
    assert ram.dirty_runs() == []
    write(ram, MIB, b"a")
    write(ram, MIB + PAGE, b"b")
    write(ram, 3 * MIB, b"c")
    first = PRIVATE_SIZE // PAGE
    assert ram.dirty_runs() == [(first + MIB // PAGE, 2), (first + 3 * MIB // PAGE, 1)]
    assert ram.populated() == [(0, PAGE), (MIB, MIB + 2 * PAGE), (3 * MIB, 3 * MIB + PAGE)]


def test_rollback_does_not_depend_on_the_size() -> None:
    def seconds(ram: Ram) -> float:
        ram.snapshot()
        best = 1.0
        for _ in range(20):
            write(ram, 0, b"x")
            start = time.perf_counter()
            ram.rollback()
            best = min(best, time.perf_counter() - start)
        return best

    small, large = seconds(Ram(64 * MIB)), seconds(Ram(1 << 40))
    assert large < max(20 * small, 0.005)


def test_closing_gives_the_memory_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    ram = Ram(2 * MIB)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    ram.close()
    ram.close()
    assert len(os.listdir("/proc/self/fd")) == before


Place = tuple[str, int, int]


@pytest.mark.parametrize(
    ("window", "base", "phys", "size"),
    [
        (DIRECT, PAGE_OFFSET, 0, 4 * MIB),
        (VMEMMAP, VMEMMAP_START, MIB, 64 << 10),
        (IMAGE, START_KERNEL_MAP, 0, 4 * MIB),
    ],
)
def test_windows_lead_to_physical_memory_and_end(window: str, base: int, phys: int, size: int) -> None:
    ram = Ram(4 * MIB)
    ram.place_mem_map(MIB, 64 << 10)
    for which in (window, ANY):
        assert ram.offset(which, s64(base), 8, False) == PRIVATE_SIZE + phys
        assert ram.offset(which, s64(base + size - 8), 8, True) == PRIVATE_SIZE + phys + size - 8
        for addr in (base - 1, base + size):
            with pytest.raises(CoreFault) as caught:
                ram.offset(which, s64(addr), 1, True)
            assert caught.value.write
    assert ram.phys(s64(base + 5)) == phys + 5
    assert ram.phys(s64(base - 1)) is None
    assert ram.offset(PRIVATE, -PRIVATE_SIZE, 8, False) == 0


class RamMachine(RuleBasedStateMachine):
    """RAM against a bytearray."""

    @initialize()
    def make(self) -> None:
        self.ram = Ram(2 * MIB)
        self.now = bytearray(2 * MIB)
        self.then: bytes | None = None

    @rule(at=st.integers(0, 2 * MIB - 1), data=st.binary(min_size=1, max_size=3 * PAGE))
    def write(self, at: int, data: bytes) -> None:
        data = data[: 2 * MIB - at]
        write(self.ram, at, data)
        self.now[at : at + len(data)] = data

    @rule()
    def snapshot(self) -> None:
        self.ram.snapshot()
        self.then = bytes(self.now)

    @precondition(lambda self: self.then is not None)
    @rule()
    def rollback(self) -> None:
        self.ram.rollback()
        assert self.then is not None
        self.now[:] = self.then

    @rule()
    def compare(self) -> None:
        assert self.ram.mem == self.now
        other = Ram(2 * MIB)
        other.mem[:] = self.now
        assert self.ram.hash() == other.hash()

    def teardown(self) -> None:
        if hasattr(self, "ram"):
            assert self.ram.mem == self.now
            self.ram.close()


RamMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20)
TestRam: Callable[..., Any] = RamMachine.TestCase
