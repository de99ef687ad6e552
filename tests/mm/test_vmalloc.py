"""vmalloc, vmap and vm_map_ram: what each call gives, where it lies, what becomes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kmem.abi.address import MODULES_END, MODULES_VADDR, PAGE_OFFSET, VMALLOC_START
from kmem.abi.gfp import __GFP_NOFAIL, __GFP_NOWARN, GFP_ATOMIC, GFP_DMA32, GFP_KERNEL
from kmem.lib.cstruct import CoreFault
from kmem.machine.fault import AccessFault
from kmem.machine.paging import AddressSpace
from kmem.mm import places
from kmem.mm.mm_types import vm_struct
from kmem.mm.proc_vmalloc import vmallocinfo
from tests.mm.booted import MIB, BootedMm, expect_consistent
from tests.mm.conftest import Boot

PAGE = 4096
HARDIRQ, SOFTIRQ, NMI, PREEMPT = 0x10000, 0x100, 0x100000, 1
VM_MAP, VM_MAP_PUT_PAGES, VM_USERMAP = 4, 0x200, 8


def memory(mm: BootedMm) -> AddressSpace:
    return AddressSpace(mm.ram, mm.boot.cr3)


def pages_of(mm: BootedMm, count: int) -> tuple[list[int], int]:
    """Fresh pages, and the address of an array of them."""
    pages = [mm.alloc_pages(GFP_KERNEL, 0) for _ in range(count)]
    array = mm.kmalloc(8 * count)
    memory(mm).write(array, b"".join(page.to_bytes(8, "little") for page in pages))
    return pages, array


def in_context(mm: BootedMm, context: int) -> None:
    mm.moment = lambda: (0, context, 0, 0, 0)


def stopped(call: Callable[..., object], *args: int) -> None:
    """The call ends in a BUG."""
    with pytest.raises(CoreFault):
        call(*args)


def warned(mm: BootedMm, what: str = "UP_WARN") -> list[int]:
    return [told[1] for told in mm.told if told[0] == what]


def test_vzalloc_is_zeroed_and_vmalloc_is_not(boot: Boot) -> None:
    mm = boot("plain")
    p = mm.vmalloc(3 * PAGE)
    memory(mm).write(p, b"x" * 3 * PAGE)
    mm.vfree(p)
    assert b"x" in memory(mm).read(mm.vmalloc(3 * PAGE), 3 * PAGE)
    assert memory(mm).read(mm.vzalloc(3 * PAGE), 3 * PAGE) == bytes(3 * PAGE)


def test_vmalloc_of_nothing_warns(boot: Boot) -> None:
    mm = boot("plain")
    assert mm.vmalloc(0) == 0
    assert warned(mm) == [places.VMALLOC_ZERO]


def test_vmalloc_array_and_vcalloc_refuse_an_overflow(boot: Boot) -> None:
    mm = boot("plain")
    assert mm.vmalloc_array(1 << 33, 1 << 33) == 0
    assert mm.vcalloc(1 << 63, 2) == 0
    assert not mm.told
    p = mm.vcalloc(3, 1000)
    assert memory(mm).read(p, 3000) == bytes(3000)


def test_vmalloc_32_takes_pages_below_4_gib(boot: Boot) -> None:
    mm = boot("plain", ram=5 << 30)
    p, q = mm.vmalloc(64 * PAGE), mm.vmalloc_32(64 * PAGE)
    assert any(mm.phys_of(p + i * PAGE) >= 4 << 30 for i in range(64))
    assert all(mm.phys_of(q + i * PAGE) < 4 << 30 for i in range(64))
    assert all(mm.phys_of(mm.vmalloc(PAGE, GFP_KERNEL | GFP_DMA32)) < 4 << 30 for _ in range(8))


def test_vmalloc_user_is_zeroed_and_says_so_in_vmallocinfo(boot: Boot) -> None:
    mm = boot("plain", no_hash_pointers=True)
    p = mm.vmalloc_user(2 * PAGE)
    assert mm.view.ptr(vm_struct, mm.find_vm_area(p)).flags & VM_USERMAP
    assert f"0x{p:016x}-0x{p + 3 * PAGE:016x}   12288 pages=2 vmalloc user N0=2\n" in vmallocinfo(mm)


def test_vmalloc_huge_maps_2_mib_pages_and_small_ones_as_always(boot: Boot) -> None:
    mm = boot("plain")
    p, q = mm.vmalloc_huge(2 * MIB), mm.vmalloc_huge(2 * MIB - 1)
    assert p % (2 * MIB) == 0
    assert [mm.vmalloc_to_page(p + i * PAGE) - mm.vmalloc_to_page(p) for i in (1, 511)] == [64, 511 * 64]
    assert memory(mm).walk(p)[-1][0] == "PMD"
    assert memory(mm).walk(q)[-1][0] == "PTE"
    expect_consistent(mm)


def test_vmalloc_huge_falls_back_to_small_pages_when_memory_is_in_pieces(boot: Boot) -> None:
    mm = boot("plain", ram=96 * MIB)
    held = []
    while p := mm.alloc_pages(GFP_KERNEL | __GFP_NOWARN, 0):
        held.append(p)
    for page in held[::2]:
        mm.free_pages(page, 0)
    mm.told.clear()
    p = mm.vmalloc_huge(4 * MIB)
    assert p
    assert memory(mm).walk(p)[-1][0] == "PTE"
    expect_consistent(mm)


def test_a_large_mapping_takes_the_place_of_an_empty_table(boot: Boot) -> None:
    mm = boot("plain")
    small = [mm.vmalloc(60 * PAGE) for _ in range(40)]
    for p in small:
        mm.vfree(p)
    mm.vm_unmap_aliases()
    p = mm.vmalloc_huge(2 * MIB)
    assert small[0] <= p < small[-1]
    assert memory(mm).walk(p)[-1][0] == "PMD"
    expect_consistent(mm)


def test_permissions_of_a_part_split_a_large_mapping(boot: Boot) -> None:
    mm = boot("plain")
    p = mm.vmalloc_huge(2 * MIB)
    before = [mm.vmalloc_to_pfn(p + i * PAGE) for i in range(512)]
    assert mm.set_memory(p + PAGE, 1, write=False, execute=False) == 0
    assert memory(mm).walk(p)[-1][0] == "PTE"
    assert [mm.vmalloc_to_pfn(p + i * PAGE) for i in range(512)] == before
    with pytest.raises(AccessFault):
        memory(mm).set_u8(p + PAGE, 1)
    memory(mm).set_u8(p + 2 * PAGE, 1)
    expect_consistent(mm)


def test_a_page_array_above_a_page_is_itself_vmalloc_memory(boot: Boot) -> None:
    mm = boot("plain", no_hash_pointers=True)
    mm.moment = lambda: (0xFFFFFFFFC0001234, 0, 0, 0, 0)
    p = mm.vmalloc(513 * PAGE)
    outer, inner = vmallocinfo(mm).splitlines()
    assert outer.endswith(" pages=513 vmalloc vpages N0=513")
    assert inner.endswith(" pages=2 vmalloc N0=2")
    assert outer.split()[2] == inner.split()[2], "the array is charged to the same caller"
    mm.vfree(p)
    assert "vmalloc" not in vmallocinfo(mm)
    expect_consistent(mm)


def test_vmalloc_above_what_there_is_fails_and_says_so(boot: Boot) -> None:
    mm = boot("plain")
    assert mm.vmalloc(1 << 40) == 0
    assert mm.vmalloc(1 << 40, GFP_KERNEL | __GFP_NOWARN) == 0
    assert mm.upcalls["UP_VMALLOC_FAILED"] == 1


def test_a_module_area_that_is_full_is_reported(boot: Boot) -> None:
    mm = boot("plain")
    assert mm.vmalloc_node_range(PAGE, 1, MODULES_VADDR, MODULES_VADDR + 2 * PAGE)
    assert mm.vmalloc_node_range(PAGE, 1, MODULES_VADDR, MODULES_VADDR + 2 * PAGE) == 0
    assert [told[1] for told in mm.told if told[0] == "UP_VMALLOC_FAILED"] == [5, 3]
    assert MODULES_VADDR <= mm.vmalloc_node_range(PAGE, 1, MODULES_VADDR, MODULES_END) < MODULES_END


def test_vmalloc_with_gfp_atomic_works_in_a_task(boot: Boot) -> None:
    mm = boot("plain")
    assert mm.vmalloc(2 * PAGE, GFP_ATOMIC)


def test_vmalloc_in_an_interrupt_is_a_bug(boot: Boot) -> None:
    mm = boot("plain")
    for context in (HARDIRQ, SOFTIRQ, NMI):
        in_context(mm, context)
        stopped(mm.vmalloc, PAGE, GFP_ATOMIC)
    assert warned(mm, "UP_BUG") == [places.VMALLOC_IN_INTERRUPT] * 3


def test_nofail_gets_its_pages_though_every_other_allocation_fails(boot: Boot) -> None:
    mm = boot("plain")
    mm.core.private.fail_after = 0
    assert mm.vmalloc(2 * PAGE) == 0
    assert mm.vmalloc(2 * PAGE, GFP_KERNEL | __GFP_NOFAIL)
    mm.core.private.fail_after = -1


def test_vfree_in_an_interrupt_waits_for_somebody_who_may_sleep(boot: Boot) -> None:
    mm = boot("plain")
    p, q = mm.vmalloc(3 * PAGE), mm.vmalloc(2 * PAGE)
    in_context(mm, HARDIRQ)
    mm.vfree(p)
    mm.vfree(q)
    assert mm.find_vm_area(p)
    assert memory(mm).u64(q) == p, "the list goes through the first words"
    in_context(mm, PREEMPT)
    mm.run_work()
    assert mm.find_vm_area(p), "nobody else runs while the task cannot be preempted"
    in_context(mm, 0)
    mm.run_work()
    assert not mm.find_vm_area(p)
    assert not mm.find_vm_area(q)
    assert not mm.told
    expect_consistent(mm)


def test_vfree_atomic_waits_too(boot: Boot) -> None:
    mm = boot("plain")
    p = mm.vmalloc(PAGE)
    mm.vfree_atomic(p)
    mm.vfree_atomic(0)
    assert mm.find_vm_area(p)
    mm.vfree(mm.vmalloc(PAGE))
    assert not mm.find_vm_area(p)
    expect_consistent(mm)


def test_vfree_in_an_nmi_is_a_bug(boot: Boot) -> None:
    mm = boot("plain")
    p = mm.vmalloc(PAGE)
    in_context(mm, NMI)
    stopped(mm.vfree, p)
    stopped(mm.vfree_atomic, p)
    assert warned(mm, "UP_BUG") == [places.VFREE_IN_NMI, places.VFREE_ATOMIC_IN_NMI]


def test_vfree_of_what_is_no_area_warns(boot: Boot) -> None:
    mm = boot("plain")
    p = mm.vmalloc(PAGE)
    mm.vfree(p + 8)
    mm.vfree(p + 64 * PAGE)
    mm.vfree(p)
    mm.vfree(p)
    mm.vfree(0)
    assert warned(mm) == [places.VFREE_BAD_ADDRESS, places.VFREE_NONEXISTENT, places.VFREE_NONEXISTENT]


def test_addresses_are_not_reused_before_the_purge(boot: Boot) -> None:
    mm = boot("plain")
    p = mm.vmalloc(PAGE)
    mm.vfree(p)
    assert mm.vmalloc(PAGE) > p
    flushes = mm.upcalls["UP_TLB_FLUSH"]
    mm.vm_unmap_aliases()
    assert mm.upcalls["UP_TLB_FLUSH"] == flushes + 1
    assert mm.vmalloc(PAGE) == p


def test_too_many_lazy_pages_are_purged_by_themselves(boot: Boot) -> None:
    mm = boot("plain", ram=256 * MIB, cpus=1)
    first = mm.vmalloc(PAGE)
    mm.vfree(first)
    for _ in range(9):
        assert mm.upcalls["UP_TLB_FLUSH"] == 0
        mm.vfree(mm.vmalloc(4 * MIB - PAGE))
        if mm.upcalls["UP_TLB_FLUSH"]:
            break
    assert mm.upcalls["UP_TLB_FLUSH"] == 1
    assert mm.view.kdata.vmap_lazy_nr == 0
    assert mm.vmalloc(PAGE) == first


def test_the_purge_has_to_wait_while_the_task_cannot_be_preempted(boot: Boot) -> None:
    mm = boot("plain", ram=256 * MIB, cpus=1)
    areas = [mm.vmalloc(16 * MIB) for _ in range(3)]
    in_context(mm, PREEMPT)
    for p in areas:
        mm.vfree(p)
    assert mm.upcalls["UP_TLB_FLUSH"] == 0
    in_context(mm, 0)
    mm.run_work()
    assert mm.upcalls["UP_TLB_FLUSH"] == 1


def test_vmap_maps_the_same_pages_twice(boot: Boot) -> None:
    mm = boot("plain", no_hash_pointers=True)
    pages, array = pages_of(mm, 3)
    p = mm.vmap_array(array, 3, VM_MAP, 0x163)
    memory(mm).write(p + PAGE, b"seen through the direct map")
    assert memory(mm).read(mm.page_to_virt(pages[1]), 4) == b"seen"
    assert memory(mm).walk(p)[-1][1] >> 63, "never executable"
    assert f"0x{p:016x}-0x{p + 4 * PAGE:016x}   16384 vmap\n" in vmallocinfo(mm)
    mm.vunmap(p)
    with pytest.raises(AccessFault):
        memory(mm).u8(p)
    for page in pages:
        mm.free_pages(page, 0)
    expect_consistent(mm)


def test_vmap_put_pages_gives_pages_and_array_to_vfree(boot: Boot) -> None:
    mm = boot("plain")
    mm.vfree(mm.vmap([mm.alloc_pages(GFP_KERNEL, 0)], VM_MAP | VM_MAP_PUT_PAGES))
    mm.drain()
    free = mm.zone_free()
    _, array = pages_of(mm, 5)
    p = mm.vmap_array(array, 5, VM_MAP | VM_MAP_PUT_PAGES, 0x163)
    assert mm.view.kdata.nr_vmalloc_pages == 0
    mm.vfree(p)
    mm.drain()
    assert mm.zone_free() == free
    assert not mm.told
    expect_consistent(mm)


def test_vmap_refuses_a_page_that_is_none(boot: Boot) -> None:
    mm = boot("plain")
    pages, array = pages_of(mm, 2)
    memory(mm).set_u64(array + 8, 0)
    assert mm.vmap_array(array, 2, VM_MAP, 0x163) == 0
    memory(mm).set_u64(array + 8, pages[0] + (1 << 30))
    assert mm.vmap_array(array, 2, VM_MAP, 0x163) == 0
    assert mm.vmap_array(array, 0, VM_MAP, 0x163) == 0
    assert warned(mm) == [places.VMAP_NO_PAGE, places.VMAP_BAD_PFN]
    expect_consistent(mm)


def test_vmap_pfn_takes_only_what_is_not_ram(boot: Boot) -> None:
    mm = boot("plain", no_hash_pointers=True)
    array = mm.kmalloc(16)
    memory(mm).set_u64(array, 0xFEB00)
    memory(mm).set_u64(array + 8, 0xFEB07)
    p = mm.vmap_pfn(array, 2, 0x163)
    assert [mm.phys_of(p), mm.phys_of(p + PAGE)] == [0xFEB00000, 0xFEB07000]
    assert f"0x{p:016x}-0x{p + 3 * PAGE:016x}   12288 ioremap\n" in vmallocinfo(mm)
    memory(mm).set_u64(array, 100)
    assert mm.vmap_pfn(array, 2, 0x163) == 0
    assert warned(mm) == [places.VMAP_PFN_VALID]
    mm.vunmap(p)
    expect_consistent(mm)


def test_vunmap_in_an_interrupt_is_a_bug(boot: Boot) -> None:
    mm = boot("plain")
    in_context(mm, SOFTIRQ)
    stopped(mm.vunmap, 0)
    assert warned(mm, "UP_BUG") == [places.VUNMAP_IN_INTERRUPT]


def test_vm_map_ram_cuts_powers_of_two_from_a_block_of_the_cpu(boot: Boot) -> None:
    mm = boot("plain", no_hash_pointers=True)
    _, array = pages_of(mm, 5)
    first, second = mm.vm_map_ram(array, 3), mm.vm_map_ram(array, 5)
    assert first % MIB == 0
    assert second == first + 4 * PAGE
    mm.on_cpu(1)
    assert mm.vm_map_ram(array, 1) == first + MIB, "every CPU has its own"
    mm.on_cpu(0)
    assert f"0x{first:016x}-0x{first + MIB:016x} 1048576 vm_map_ram\n" in vmallocinfo(mm)
    mm.vm_unmap_ram(first, 3)
    assert mm.vm_map_ram(array, 2) == first + 12 * PAGE, "what was unmapped is not cut again"
    expect_consistent(mm)


def test_more_than_64_pages_get_an_area_without_a_block_and_without_a_guard_page(boot: Boot) -> None:
    mm = boot("plain", no_hash_pointers=True)
    _, array = pages_of(mm, 65)
    p = mm.vm_map_ram(array, 65)
    assert f"0x{p:016x}-0x{p + 65 * PAGE:016x}  266240 vm_map_ram\n" in vmallocinfo(mm)
    assert mm.vm_map_ram(array, 65) == p + 65 * PAGE
    mm.vm_unmap_ram(p, 65)
    with pytest.raises(AccessFault):
        memory(mm).u8(p)
    expect_consistent(mm)


def test_a_block_goes_when_all_of_it_is_dirty_or_a_purge_finds_nothing_in_use(boot: Boot) -> None:
    mm = boot("plain")
    _, array = pages_of(mm, 64)
    whole = [mm.vm_map_ram(array, 64) for _ in range(4)]
    for p in whole:
        mm.vm_unmap_ram(p, 64)
    assert mm.view.kdata.vmap_lazy_nr == 256
    part = mm.vm_map_ram(array, 64)
    mm.vm_unmap_aliases()
    assert mm.view.kdata.vmap_lazy_nr == 0
    mm.vm_unmap_ram(part, 64)
    mm.vm_unmap_aliases()
    assert mm.vm_map_ram(array, 1) == whole[0]
    expect_consistent(mm)


def test_vm_unmap_ram_of_other_addresses_is_a_bug(boot: Boot) -> None:
    mm = boot("plain")
    for p in (0, PAGE_OFFSET, 0xFFFFFFFFC0000000, VMALLOC_START + 8):
        stopped(mm.vm_unmap_ram, p, 1)
    stopped(mm.vm_unmap_ram, VMALLOC_START, 65)
    assert warned(mm, "UP_BUG") == [
        places.VM_UNMAP_RAM_NULL,
        places.VM_UNMAP_RAM_BELOW,
        places.VM_UNMAP_RAM_ABOVE,
        places.VM_UNMAP_RAM_MISALIGNED,
        places.VM_UNMAP_RAM_NO_AREA,
    ]


def test_vread_fills_holes_with_zeros_and_reads_no_device(boot: Boot) -> None:
    mm = boot("plain")
    p = mm.vmalloc(PAGE)
    io = mm.ioremap(0xFEB00000, PAGE)
    memory(mm).write(p, b"A" * PAGE)
    assert mm.vread(p + PAGE - 4, 4 + PAGE + 2) == b"AAAA" + bytes(PAGE + 2)
    assert mm.vread(io, 8) == bytes(8)
    assert mm.vread(io + 16 * MIB, 8) == b""


def test_addresses_are_told_apart(boot: Boot) -> None:
    mm = boot("plain")
    p, module = mm.vmalloc(PAGE), mm.core.k_module_alloc(PAGE)
    assert [mm.is_vmalloc_addr(x) for x in (p, module, mm.kmalloc(8))] == [True, False, False]
    assert [mm.is_vmalloc_or_module_addr(x) for x in (p, module, mm.kmalloc(8))] == [True, True, False]
    assert mm.vmalloc_to_page(p + PAGE) == 0
    assert mm.vmalloc_to_pfn(p) == mm.phys_of(p) // PAGE


def test_only_user_areas_are_mapped_into_a_process(boot: Boot) -> None:
    mm = boot("plain")
    p, q = mm.vmalloc_user(3 * PAGE), mm.vmalloc(3 * PAGE)
    assert mm.vmalloc_range_pages(p, 1, PAGE + 1) == [mm.vmalloc_to_page(p + i * PAGE) for i in (1, 2)]
    assert mm.vmalloc_range_pages(p, 1, 3 * PAGE) == -22
    assert mm.vmalloc_range_pages(p + 8, 0, PAGE) == -22
    assert mm.vmalloc_range_pages(p, 1 << 52, PAGE) == -22
    assert mm.vmalloc_range_pages(q, 0, PAGE) == -22
    assert mm.vmalloc_range_pages(q + MIB, 0, PAGE) == -22


@pytest.mark.parametrize("failing", range(6))
def test_a_vmalloc_that_fails_leaves_nothing_behind(boot: Boot, failing: int) -> None:
    """The page that is missing is the 1st, 2nd … of all that is taken: pages, page tables, descriptors."""
    mm = boot("plain", ram=96 * MIB)
    mm.vfree(mm.vmalloc(600 * PAGE))
    mm.vm_unmap_aliases()
    held = []
    while p := mm.alloc_pages(GFP_KERNEL | __GFP_NOWARN, 0):
        held.append(p)
    for _ in range(failing):
        mm.free_pages(held.pop(), 0)
    mm.drain()
    free = mm.zone_free()
    assert mm.vmalloc(600 * PAGE, GFP_KERNEL | __GFP_NOWARN) == 0
    mm.vm_unmap_aliases()
    mm.drain()
    assert mm.zone_free() == free
    assert mm.view.kdata.nr_vmalloc_pages == 0
    expect_consistent(mm)
