from __future__ import annotations

import pytest

from kmem.machine.percpu import PAGE, PerCpu


class Flat:
    """Memory from *base*."""

    def __init__(self, base: int, size: int) -> None:
        self.base = base
        self.data = bytearray(size)

    def read(self, addr: int, n: int) -> bytes:
        return bytes(self.data[addr - self.base : addr - self.base + n])

    def write(self, addr: int, data: bytes) -> None:
        self.data[addr - self.base : addr - self.base + len(data)] = data


BASE = 0xFFFF_8880_0100_0000


def test_the_canary_is_where_the_compiler_looks_for_it() -> None:
    areas = PerCpu(BASE, 2)
    memory = Flat(BASE, areas.size)
    areas.initialise(memory, canary=0x1122_3344_5566_7700)
    assert areas.offset("fixed_percpu_data") == 0
    for cpu in range(2):
        assert memory.read(areas.gs_base(cpu) + 40, 8) == bytes.fromhex("0077665544332211")


def test_each_cpu_knows_itself() -> None:
    areas = PerCpu(BASE, 3)
    memory = Flat(BASE, areas.size)
    areas.initialise(memory)
    for cpu in range(3):
        assert areas.read(memory, "cpu_number", cpu) == cpu
        assert areas.read(memory, "this_cpu_off", cpu) == areas.gs_base(cpu) == BASE + cpu * areas.unit_size


def test_variables_do_not_overlap_and_are_aligned() -> None:
    areas = PerCpu(BASE, 1)
    wanted = [("a", 1, 1), ("b", 8, 8), ("c", 3, 2), ("d", 64, 64), ("e", 4096, 4096), ("f", 4, 4)]
    for name, size, align in wanted:
        assert areas.allocate(name, size, align) % align == 0
    ends = 0
    for variable in areas.variables:
        assert variable.offset >= ends
        ends = variable.offset + variable.size
    assert areas.used == ends


def test_offsets_are_small_numbers() -> None:
    """PC-relative code of modules reaches a per-cpu symbol only as a small absolute value."""
    areas = PerCpu(BASE, 2)
    assert 0 <= areas.allocate("x", 8) < areas.unit_size < 1 << 31


def test_variables_are_apart_and_cut_to_size() -> None:
    areas = PerCpu(BASE, 2)
    memory = Flat(BASE, areas.size)
    areas.allocate("byte", 1, 1)
    areas.allocate("next", 1, 1)
    areas.write(memory, "byte", 0, 0x1FF)
    areas.write(memory, "byte", 1, 7)
    assert [areas.read(memory, name, cpu) for name in ("byte", "next") for cpu in range(2)] == [0xFF, 7, 0, 0]


def test_the_offset_table_covers_missing_cpus() -> None:
    areas = PerCpu(BASE, 2)
    table = areas.per_cpu_offset(4)
    words = [int.from_bytes(table[at : at + 8], "little") for at in range(0, 32, 8)]
    assert words == [BASE, BASE + areas.unit_size, 0, 0]


def test_bad_requests_are_refused() -> None:
    areas = PerCpu(BASE, 1, unit_size=PAGE)
    with pytest.raises(ValueError, match="there already"):
        areas.allocate("cpu_number", 4)
    with pytest.raises(ValueError, match="power of two"):
        areas.allocate("x", 4, 3)
    with pytest.raises(MemoryError, match="no room"):
        areas.allocate("y", PAGE)
    with pytest.raises(ValueError, match="no CPU 1"):
        areas.gs_base(1)
    with pytest.raises(ValueError, match="whole pages"):
        PerCpu(BASE + 8, 1)
    with pytest.raises(KeyError):
        areas.offset("nobody")
