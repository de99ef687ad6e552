"""Virtual memory through page tables in RAM: what translates, what is refused, and how the refusal is described."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.abi.address import PAGE_OFFSET
from kmem.machine.fault import AccessFault
from kmem.machine.paging import NX, PRESENT, PSE, RW, AddressSpace
from kmem.machine.ram import Ram

MIB = 1 << 20
PAGE = 4096
VM = 0xFFFFC90000000000
CR3, PUD, PMD, PTE = 0x1000, 0x2000, 0x3000, 0x4000
TABLE = PRESENT | RW


def entry(ram: Ram, table: int, addr: int, shift: int, value: int) -> None:
    at = table + (addr >> shift & 511) * 8
    ram.mem[at : at + 8] = value.to_bytes(8, "little")


@pytest.fixture
def memory() -> AddressSpace:
    """Pages 0 (writable), 1 (read only), 3 (writable, elsewhere), a 2 MiB page, and the rest absent."""
    ram = Ram(8 * MIB)
    entry(ram, CR3, VM, 39, PUD | TABLE)
    entry(ram, PUD, VM, 30, PMD | TABLE)
    entry(ram, PMD, VM, 21, PTE | TABLE)
    entry(ram, PTE, VM, 12, 0x10000 | PRESENT | RW | NX)
    entry(ram, PTE, VM + PAGE, 12, 0x20000 | PRESENT)
    entry(ram, PTE, VM + 3 * PAGE, 12, 0x30000 | PRESENT | RW)
    entry(ram, PTE, VM + 4 * PAGE, 12, 0x40000 | RW)
    entry(ram, PMD, VM + 2 * MIB, 21, 4 * MIB | PRESENT | RW | PSE)
    entry(ram, PMD, VM + 4 * MIB, 21, 5 * MIB | PRESENT)
    return AddressSpace(ram, CR3)


def refused(memory: AddressSpace, addr: int, access: str) -> AccessFault:
    with pytest.raises(AccessFault) as caught:
        memory.u8(addr) if access == "read" else memory.set_u8(addr, 1)
    return caught.value


def test_the_direct_map_is_an_addition(memory: AddressSpace) -> None:
    assert memory.translate(PAGE_OFFSET + 0x1234) == 0x1234
    memory.write(PAGE_OFFSET + 0x12345, b"data")
    assert bytes(memory.ram.mem[0x12345:0x12349]) == b"data"
    assert memory.translate(PAGE_OFFSET + 8 * MIB - 1) == 8 * MIB - 1


def test_a_page_translates_byte_by_byte(memory: AddressSpace) -> None:
    assert memory.translate(VM) == 0x10000
    assert memory.translate(VM + PAGE - 1) == 0x10FFF
    assert memory.translate(VM + 3 * PAGE + 5) == 0x30005
    assert [name for name, _ in memory.walk(VM)] == ["PGD", "PUD", "PMD", "PTE"]


def test_a_large_page_translates_without_a_table(memory: AddressSpace) -> None:
    assert memory.translate(VM + 2 * MIB + 0x54321) == 4 * MIB + 0x54321
    assert [name for name, _ in memory.walk(VM + 2 * MIB)] == ["PGD", "PUD", "PMD"]


@pytest.mark.parametrize("addr", [VM + 2 * PAGE, VM + 4 * PAGE, VM - 1, VM + 6 * MIB, VM + (1 << 30), 0, 0x1000])
def test_what_is_not_mapped_is_refused(memory: AddressSpace, addr: int) -> None:
    for access in ("read", "write"):
        fault = refused(memory, addr, access)
        assert (fault.address, fault.access, fault.present) == (addr, access, False)


def test_a_middle_entry_that_is_not_present_hides_everything_below(memory: AddressSpace) -> None:
    entry(memory.ram, PUD, VM, 30, PMD | RW)
    assert not refused(memory, VM, "read").present


def test_a_read_only_page_refuses_writes_only(memory: AddressSpace) -> None:
    assert memory.u8(VM + PAGE) == 0
    assert refused(memory, VM + PAGE, "write").present


def test_a_read_only_table_makes_everything_below_read_only(memory: AddressSpace) -> None:
    entry(memory.ram, PMD, VM, 21, PTE | PRESENT)
    assert memory.u8(VM) == 0
    assert refused(memory, VM, "write").present


def test_a_change_of_the_tables_is_seen_at_once(memory: AddressSpace) -> None:
    memory.set_u64(VM, 7)
    entry(memory.ram, PTE, VM, 12, 0x50000 | PRESENT | RW)
    assert memory.u64(VM) == 0
    entry(memory.ram, PTE, VM, 12, 0)
    refused(memory, VM, "read")


@pytest.mark.parametrize("addr", [1 << 47, 0x8000_0000_0000_0000, 0xFFFF_7FFF_FFFF_FFFF, 0xDEAD_0000_0000_0100])
def test_non_canonical_addresses_are_refused(memory: AddressSpace, addr: int) -> None:
    refused(memory, addr, "read")


def test_an_access_across_pages_follows_each(memory: AddressSpace) -> None:
    entry(memory.ram, PTE, VM + PAGE, 12, 0x60000 | PRESENT | RW)
    memory.write(VM + PAGE - 3, b"abcdef")
    assert bytes(memory.ram.mem[0x10FFD:0x11000]) == b"abc"
    assert bytes(memory.ram.mem[0x60000:0x60003]) == b"def"
    assert memory.read(VM + PAGE - 3, 6) == b"abcdef"
    assert memory.u32(VM + PAGE - 2) == int.from_bytes(b"bcde", "little")


def test_nothing_is_written_if_a_part_is_refused(memory: AddressSpace) -> None:
    with pytest.raises(AccessFault) as caught:
        memory.write(VM + PAGE - 2, b"xxxx")
    assert caught.value.address == VM + PAGE
    assert bytes(memory.ram.mem[0x10FFE:0x11000]) == bytes(2)
    with pytest.raises(AccessFault):
        memory.fill(VM + 3 * PAGE, 0xFF, 2 * PAGE)
    assert memory.u8(VM + 3 * PAGE) == 0


def test_an_entry_that_leads_out_of_ram_is_refused(memory: AddressSpace) -> None:
    entry(memory.ram, PTE, VM, 12, 0xFEB00000 | PRESENT | RW)
    assert refused(memory, VM, "read").present
    entry(memory.ram, PMD, VM + 6 * MIB, 21, 0xFEB00000 | TABLE)
    refused(memory, VM + 6 * MIB, "read")


def test_the_end_of_the_direct_map_is_the_end(memory: AddressSpace) -> None:
    with pytest.raises(AccessFault):
        memory.u64(PAGE_OFFSET + 8 * MIB - 4)
    with pytest.raises(AccessFault):
        memory.read(PAGE_OFFSET + 8 * MIB - 4, 8)
    assert memory.read(PAGE_OFFSET + 8 * MIB - 4, 4) == bytes(4)


def test_strings_end_at_nul_at_the_limit_or_with_a_fault(memory: AddressSpace) -> None:
    memory.write(VM + PAGE - 4, b"abcd")
    assert memory.cstr(VM + PAGE - 4) == b"abcd"
    assert memory.cstr(VM + PAGE - 4, limit=2) == b"ab"
    memory.fill(VM + 3 * PAGE, ord("x"), PAGE)
    with pytest.raises(AccessFault) as caught:
        memory.cstr(VM + 3 * PAGE, limit=2 * PAGE)
    assert caught.value.address == VM + 4 * PAGE
    assert memory.cstr(VM + 3 * PAGE) == b"x" * PAGE


@given(value=st.integers(-(1 << 63), (1 << 64) - 1), at=st.integers(0, PAGE - 8))
def test_numbers_of_every_width(value: int, at: int) -> None:
    memory = SHARED
    for base in (VM, PAGE_OFFSET + 0x20000):
        addr = base + at
        for bits, put, get in (
            (8, memory.set_u8, memory.u8),
            (16, memory.set_u16, memory.u16),
            (32, memory.set_u32, memory.u32),
            (64, memory.set_u64, memory.u64),
        ):
            put(addr, value)
            assert get(addr) == value & (1 << bits) - 1
        memory.set_u64(addr, value)
        unsigned = value & (1 << 64) - 1
        assert memory.s64(addr) == unsigned - (1 << 64 if unsigned >> 63 else 0)
        assert memory.s32(addr) % (1 << 32) == unsigned % (1 << 32)
        assert -(1 << 31) <= memory.s32(addr) < 1 << 31


def _mapped() -> AddressSpace:
    ram = Ram(2 * MIB)
    entry(ram, CR3, VM, 39, PUD | TABLE)
    entry(ram, PUD, VM, 30, PMD | TABLE)
    entry(ram, PMD, VM, 21, PTE | TABLE)
    entry(ram, PTE, VM, 12, 0x10000 | TABLE)
    return AddressSpace(ram, CR3)


SHARED = _mapped()
