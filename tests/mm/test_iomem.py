"""I/O memory: how it is mapped and cached, what may be mapped, who has claimed it."""

from __future__ import annotations

import pytest

from kmem.abi.address import PAGE_OFFSET
from kmem.machine.paging import AddressSpace
from kmem.mm import places
from kmem.mm.proc import text
from tests.mm.booted import MIB, BootedMm, expect_consistent
from tests.mm.conftest import Boot

PAGE = 4096
DEVICE, HOLE = 0xFEB00000, 0x20000000
PWT, PCD, PAT, PAT_LARGE = 0x8, 0x10, 0x80, 0x1000


class Machine:
    """A machine whose complaints are kept."""

    def __init__(self, mm: BootedMm) -> None:
        self.mm = mm
        self.log: list[str] = []
        self.warned: list[int] = []
        mm.printk = lambda level, line: self.log.append(line)
        mm.warn = lambda place, message: self.warned.append(place)

    def entry(self, p: int) -> tuple[str, int]:
        """Level and caching bits of what maps *p*."""
        level, entry = AddressSpace(self.mm.ram, self.mm.boot.cr3).walk(p)[-1]
        return level, entry & ((PWT | PCD | PAT) if level == "PTE" else (PWT | PCD | PAT_LARGE))


@pytest.fixture
def machine(boot: Boot) -> Machine:
    return Machine(boot("plain", no_hash_pointers=True))


def test_each_kind_of_mapping_has_its_bits(machine: Machine) -> None:
    mm = machine.mm
    for remap, bits in (
        (mm.ioremap, PCD),
        (mm.ioremap_wc, PWT),
        (mm.ioremap_wt, PWT | PCD | PAT),
        (mm.ioremap_uc, PWT | PCD),
        (mm.ioremap_cache, PCD),
    ):
        p = remap(DEVICE, PAGE)
        assert machine.entry(p) == ("PTE", bits)
        mm.iounmap(p)
    p = mm.ioremap_cache(HOLE, PAGE)
    assert machine.entry(p) == ("PTE", 0), "what the MTRRs allow is written back"
    assert mm.ioremap_prot(DEVICE, PAGE, 0x163 | PWT)
    expect_consistent(mm)


def test_two_mebibytes_are_mapped_as_one_and_keep_the_attribute_bit(machine: Machine) -> None:
    p = machine.mm.ioremap_wt(DEVICE & -2 * MIB, 4 * MIB)
    assert machine.entry(p) == ("PMD", PWT | PCD | PAT_LARGE)
    machine.mm.iounmap(p)
    expect_consistent(machine.mm)


def test_a_second_mapping_is_cached_as_the_first(machine: Machine) -> None:
    mm = machine.mm
    first = mm.ioremap(DEVICE, PAGE)
    assert machine.entry(mm.ioremap_wc(DEVICE, PAGE)) == ("PTE", PCD)
    cached = mm.ioremap_cache(HOLE, PAGE)
    assert mm.ioremap(HOLE, PAGE) == 0
    assert machine.log == ["ioremap error for 0x20000000-0x20001000, requested 0x2, got 0x0"]
    mm.iounmap(first)
    mm.iounmap(cached)


def test_types_that_differ_among_themselves_are_a_conflict(machine: Machine) -> None:
    mm = machine.mm
    mm.ioremap(DEVICE, PAGE)
    mm.ioremap_wc(DEVICE + PAGE, PAGE)
    assert mm.ioremap(DEVICE, 2 * PAGE) == 0
    assert mm.upcalls["UP_MEMTYPE"] == 2
    assert machine.log == ["ioremap memtype_reserve failed -16"]


def test_memory_is_refused_unless_it_is_reserved(machine: Machine) -> None:
    mm = machine.mm
    assert mm.ioremap(100 * MIB, PAGE) == 0
    assert mm.ioremap(1 << 45, PAGE) == 0
    assert machine.warned == [places.IOREMAP_RAM, places.IOREMAP_INVALID]
    assert mm.ioremap(16 * MIB, PAGE), "the kernel's own image is reserved"


def test_iounmap_of_what_is_no_mapping_is_complained_about(machine: Machine) -> None:
    machine.mm.iounmap(machine.mm.ioremap(DEVICE, PAGE) + 16 * MIB)
    machine.mm.iounmap(PAGE_OFFSET)
    assert len(machine.log) == 1
    assert machine.log[0].startswith("iounmap: bad address")


def test_memremap_of_memory_is_the_direct_map(machine: Machine) -> None:
    mm = machine.mm
    assert mm.memremap(100 * MIB, PAGE, 1) == PAGE_OFFSET + 100 * MIB
    assert mm.memremap(100 * MIB, PAGE, 4) == 0
    p = mm.memremap(DEVICE, PAGE, 4)
    assert machine.entry(p) == ("PTE", PWT)
    mm.memunmap(p)
    mm.memunmap(PAGE_OFFSET + 100 * MIB)
    assert mm.memremap(DEVICE, PAGE, 0) == 0
    assert machine.warned == [places.MEMREMAP_RAM]


def test_a_region_is_claimed_once_and_shown_in_iomem(machine: Machine) -> None:
    mm = machine.mm
    assert mm.request_mem_region(DEVICE, 0x2000, "device")
    assert mm.request_mem_region(DEVICE + 0x1000, 0x2000, "other") == 0
    assert mm.request_mem_region(DEVICE + 0x2000, 0x1000, "other")
    assert mm.request_mem_region(100 * MIB, PAGE, "memory") == 0
    shown = text(mm, "iomem").splitlines()
    at = shown.index("feb00000-feb01fff : device")
    assert shown[at + 1] == "feb02000-feb02fff : other"
    mm.release_mem_region(DEVICE, 0x2000)
    assert "feb00000-feb01fff : device" not in text(mm, "iomem").splitlines()
    assert mm.request_mem_region(DEVICE, 0x1000, "again")


def test_a_region_descends_into_what_is_not_busy(machine: Machine) -> None:
    mm = machine.mm
    outer = mm.request_mem_region(DEVICE, 0x10000, "bus")
    mm.resources.at(outer).flags &= ~0x80000000
    assert mm.request_mem_region(DEVICE + 0x1000, 0x1000, "device")
    assert "  feb01000-feb01fff : device" in text(mm, "iomem").splitlines()
    mm.ioremap(DEVICE + 0xF000, 0x2000)
    assert machine.log[0].startswith("resource sanity check: requesting [mem 0x00000000feb0f000-0x00000000feb10fff]")
    assert machine.log[1].endswith("mapping multiple BARs")


def test_releasing_what_was_not_claimed_is_complained_about(machine: Machine) -> None:
    machine.mm.release_mem_region(DEVICE, 0x1000)
    assert machine.log == ["Trying to free nonexistent resource <0x00000000feb00000-0x00000000feb00fff>"]
