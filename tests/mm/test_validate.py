"""Every invariant notices the damage that it is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kmem.abi.address import PAGE_OFFSET, VMALLOC_START
from kmem.abi.slab_flags import SLAB_TYPESAFE_BY_RCU
from kmem.lib.cstruct import s64, u64
from kmem.lib.kstructs import list_head
from kmem.mm.mm_types import kmem_cache, kmem_cache_cpu, mm_struct, page, vm_area_struct, vm_struct, vmap_area
from kmem.mm.user import ACCESS_WRITE, UserMemory
from kmem.mm.validate import INVARIANTS, check
from kmem.mm.validate_slub import RCU_FREE_SLAB
from tests.mm.booted import MIB, BootedMm

Damage = Callable[[BootedMm], None]


def busy(config: str) -> BootedMm:
    """A machine that has something of everything."""
    mm = BootedMm(config, ram=96 * MIB)
    for cpu in (0, 1):
        mm.on_cpu(cpu)
        objects = [mm.kmalloc(size) for size in (8, 64, 200, 1024, 5000) for _ in range(40)]
        for obj in objects[::3]:
            mm.kfree(obj)
    mm.alloc_pages(0xCC0 | 0x40000, 4)
    mm.alloc_pages(0xCC0, 2)
    mm.vfree(mm.vmalloc(50000))
    mm.vmalloc(70000)
    mm.vmalloc(30 * 4096)
    mm.fill_page_cache(MIB)
    assert check(mm) == []
    return mm


def dma32(mm: BootedMm) -> Any:
    return mm.view.kdata.node_data[0].node_zones[1]


def free_block(mm: BootedMm, order: int = 10) -> Any:
    """The first page of a free block."""
    z = dma32(mm)
    for o in range(order, -1, -1):
        for mt in range(4):
            head = z.free_area[o].free_list[mt]
            if head.next != head:
                return mm.view.page(mm.view.pfn(head.next._addr - 8))
    raise AssertionError("no free block")


def cache(mm: BootedMm, name: str = "kmalloc-64") -> Any:
    return next(s for s in mm.view.caches() if mm.view.cache_name(s) == name)


def cpu_slab(mm: BootedMm, s: Any, cpu: int = 0) -> Any:
    offsets = getattr(mm.view.kdata, "__per_cpu_offset")
    return mm.view.ptr(kmem_cache_cpu, s.cpu_slab._addr + offsets[cpu])


def some_slab(mm: BootedMm, name: str = "kmalloc-64") -> Any:
    """A slab of the cache: a CPU's current one, else the first partial one of the node."""
    s = cache(mm, name)
    current = cpu_slab(mm, s).slab or cpu_slab(mm, s, 1).slab
    return current or mm.view.slab(mm.view.page(mm.view.pfn(s.node[0].partial.next._addr - 8)))


def areas(mm: BootedMm) -> list[Any]:
    return list(mm.view.vmap_areas())


def put(target: Any, member: str, change: Callable[[int], int]) -> None:
    setattr(target, member, change(getattr(target, member)))


def damage_b1(mm: BootedMm) -> None:
    put(dma32(mm).free_area[10], "nr_free", lambda n: n + 1)


def damage_b1_total(mm: BootedMm) -> None:
    dma32(mm).vm_stat[0] = dma32(mm).vm_stat[0] - 1


def damage_b2(mm: BootedMm) -> None:
    page = free_block(mm)
    shifted = page + 1
    shifted.lru.next, shifted.lru.prev = page.lru.next, page.lru.prev
    page.lru.prev.next, page.lru.next.prev = shifted.lru, shifted.lru


def damage_b3(mm: BootedMm) -> None:
    page = free_block(mm, 9)
    order = page.private
    other = page + (1 << (order - 1))
    z, mt_head = dma32(mm), page.lru.prev
    area = z.free_area[order]
    page.lru.next.prev, page.lru.prev.next = mt_head, page.lru.next
    area.nr_free = area.nr_free - 1
    lower = z.free_area[order - 1].free_list[1]
    for half in (page, other):
        half.private, half.page_type = order - 1, 0xFFFFFF7F
        half.lru.next, half.lru.prev = lower.next, lower
        lower.next.prev = half.lru
        lower.next = half.lru
    z.free_area[order - 1].nr_free = z.free_area[order - 1].nr_free + 2


def damage_b4(mm: BootedMm) -> None:
    free_block(mm).lru.prev = mm.view.ptr(vmap_area, 0).list


def damage_b5(mm: BootedMm) -> None:
    put(free_block(mm), "private", lambda order: order - 1)


def damage_b5_mark(mm: BootedMm) -> None:
    free_block(mm).page_type = 0xFFFFFFFF


def damage_b6(mm: BootedMm) -> None:
    (free_block(mm) + 3)._refcount = 1


def damage_b6_flag(mm: BootedMm) -> None:
    put(free_block(mm) + 5, "flags", lambda flags: flags | 1)


def damage_b7(mm: BootedMm) -> None:
    head = mm.alloc_pages(0xCC0 | 0x40000, 3)
    mm.view.page(mm.view.pfn(head) + 5).compound_head = 0


def damage_b7_reference(mm: BootedMm) -> None:
    pages = [mm.view.page(mm.view.pfn(mm.alloc_pages(0xCC0, 0))) for _ in range(8)]
    found = {mm.view.pfn(page._addr): page for page in pages}
    even = next(pfn for pfn in found if pfn % 2 == 0 and pfn - 1 in found)
    found[even]._refcount = 0


def damage_b11(mm: BootedMm) -> None:
    dma32(mm)._watermark[1] = 0


def damage_b11_reserve(mm: BootedMm) -> None:
    mm.view.kdata.node_data[0].node_zones[0].lowmem_reserve[2] = 1


def damage_b12(mm: BootedMm) -> None:
    dma32(mm).nr_reserved_highatomic = 512


def damage_b13(mm: BootedMm) -> None:
    from kmem.mm.mm_types import per_cpu_pages

    offset = getattr(mm.view.kdata, "__per_cpu_offset")[0]
    put(mm.view.ptr(per_cpu_pages, dma32(mm).per_cpu_pageset._addr + offset), "count", lambda n: n + 1)


def damage_b14(mm: BootedMm) -> None:
    put(free_block(mm) + 7, "flags", lambda flags: flags ^ (1 << 51))


def damage_s1(mm: BootedMm) -> None:
    put(some_slab(mm), "inuse", lambda n: n - 1)


def damage_s2(mm: BootedMm) -> None:
    c = cpu_slab(mm, cache(mm))
    c.freelist = c.freelist + 1


def damage_s3(mm: BootedMm) -> None:
    s = cache(mm)
    c = cpu_slab(mm, s)
    c.slab.freelist = c.freelist


def damage_s4(mm: BootedMm) -> None:
    put(cache(mm, "kmalloc-1k").node[0], "nr_slabs", lambda n: n - 1)


def damage_s4_list(mm: BootedMm) -> None:
    n = next(s.node[0] for s in mm.view.caches() if s.node[0].nr_partial)
    n.partial.next, n.partial.prev, n.nr_partial = n.partial, n.partial, 0


def damage_s5(mm: BootedMm) -> None:
    c = cpu_slab(mm, cache(mm))
    c.slab = mm.view.slab(mm.view.page(0))
    c.freelist = 0


def damage_s6(mm: BootedMm) -> None:
    put(cache(mm, "kmalloc-512"), "inuse", lambda n: n + 8)


def damage_s6_order(mm: BootedMm) -> None:
    s = cache(mm, "kmalloc-8k")
    s.oo.x = (4 << 16) + 8


def damage_s7(mm: BootedMm) -> None:
    put(cache(mm), "random", lambda n: n ^ s64(u64(n)))


def damage_s8(mm: BootedMm) -> None:
    obj = mm.kmalloc(64)
    mm.ram.mem[obj - PAGE_OFFSET + 64] = 0


def damage_s8_poison(mm: BootedMm) -> None:
    obj = mm.kmalloc(64)
    mm.kfree(obj)
    mm.ram.mem[obj - PAGE_OFFSET + 5] = 0


def damage_s9(mm: BootedMm) -> None:
    k = mm.view.kdata
    k.kmalloc_caches[0][6] = k.kmalloc_caches[0][7]


def damage_s15(mm: BootedMm) -> None:
    some_slab(mm).slab_list.prev = mm.view.ptr(list_head, RCU_FREE_SLAB)


def damage_v1(mm: BootedMm) -> None:
    put(areas(mm)[0], "va_end", lambda end: end + 0x1000)


def damage_v1_tree(mm: BootedMm) -> None:
    node = mm.view.kdata.vmap_area_root.rb_node
    node.rb_left, node.rb_right = node.rb_right, node.rb_left


def damage_v2(mm: BootedMm) -> None:
    vm = mm.view.ptr(vm_struct, areas(mm)[0].vm._addr)
    vm.flags = vm.flags & ~0x40
    slot = pte_slot(mm, u64(areas(mm)[0].va_end) - 4096)
    mm.ram.mem[slot : slot + 8] = (0x8000000000000163 | 0x100000).to_bytes(8, "little")


def pte_slot(mm: BootedMm, addr: int) -> int:
    """Physical address of the 4 KiB entry that maps *addr*."""
    table = mm.boot.cr3
    for shift in (39, 30, 21):
        at = table + (addr >> shift & 511) * 8
        table = int.from_bytes(mm.ram.mem[at : at + 8], "little") & 0x000FFFFFFFFFF000
    return table + (addr >> 12 & 511) * 8


def damage_v3(mm: BootedMm) -> None:
    area = mm.view.ptr(vmap_area, mm.view.kdata.free_vmap_area_root.rb_node._addr - vmap_area.field("rb_node").offset)
    put(area, "subtree_max_size", lambda n: n - 4096)


def damage_v3_hole(mm: BootedMm) -> None:
    head = mm.view.kdata.purge_vmap_area_list
    area = mm.view.ptr(vmap_area, head.next._addr - vmap_area.field("list").offset)
    put(area, "va_start", lambda start: start + 4096)


def damage_v4(mm: BootedMm) -> None:
    put(mm.view.kdata, "nr_vmalloc_pages", lambda n: n + 1)


def damage_v4_page(mm: BootedMm) -> None:
    vm = next(va.vm for va in areas(mm) if va.vm.nr_pages)
    at = u64(vm.pages) - PAGE_OFFSET
    mm.ram.mem[at : at + 8] = mm.ram.mem[at + 8 : at + 16]


def damage_v5(mm: BootedMm) -> None:
    slot = pte_slot(mm, VMALLOC_START + (300 << 12))
    mm.ram.mem[slot : slot + 8] = (0x8000000000000163 | 0x100000).to_bytes(8, "little")


def damage_p1(mm: BootedMm) -> None:
    slot = pte_slot(mm, u64(areas(mm)[0].va_start))
    phys = mm.view.pfn(free_block(mm)._addr) << 12
    mm.ram.mem[slot : slot + 8] = (0x8000000000000163 | phys).to_bytes(8, "little")


def damage_p2(mm: BootedMm) -> None:
    mm.view.kdata.vm_node_stat[38] = 0


def damage_t1(mm: BootedMm) -> None:
    put(mm.view.kdata, "vmap_lazy_nr", lambda n: n + 1)


def damage_s19(mm: BootedMm) -> None:
    mm.view.kdata.vm_node_stat[6] = mm.view.kdata.vm_node_stat[6] - 1


def damage_s13(mm: BootedMm) -> None:
    cache(mm, "kmalloc-128").refcount = 2


def damage_s13_never(mm: BootedMm) -> None:
    mm.view.ptr(kmem_cache, mm.kmem_cache_create("rcu", 100, 0, SLAB_TYPESAFE_BY_RCU)).refcount = 2


def pmd_slot(mm: BootedMm, addr: int) -> int:
    """Physical address of the 2 MiB entry that maps *addr*."""
    table = mm.boot.cr3
    for shift in (39, 30):
        at = table + (addr >> shift & 511) * 8
        table = int.from_bytes(mm.ram.mem[at : at + 8], "little") & 0x000FFFFFFFFFF000
    return table + (addr >> 21 & 511) * 8


def change(mm: BootedMm, slot: int, bits: int) -> None:
    """Flip *bits* of the entry at physical *slot*."""
    entry = int.from_bytes(mm.ram.mem[slot : slot + 8], "little") ^ bits
    mm.ram.mem[slot : slot + 8] = entry.to_bytes(8, "little")


def damage_p3(mm: BootedMm) -> None:
    # the walker takes the direct map for granted: a hole in it is where the two disagree
    change(mm, pmd_slot(mm, PAGE_OFFSET + (32 << 20)), 1)


def damage_p4(mm: BootedMm) -> None:
    change(mm, pte_slot(mm, u64(areas(mm)[0].va_start)), 1 << 63)


def damage_p4_direct_map(mm: BootedMm) -> None:
    change(mm, pmd_slot(mm, PAGE_OFFSET + (32 << 20)), 1 << 63 | 2)


def damage_p4_user(mm: BootedMm) -> None:
    at = mm.boot.cr3
    mm.ram.mem[at : at + 8] = mm.ram.mem[at + 8 * 273 : at + 8 * 274]


def damage_p5(mm: BootedMm) -> None:
    area = mm.core.k_vmalloc(4 << 20, 1, 0xCC0, 0x400, -1)
    change(mm, pmd_slot(mm, area), 1 << 13)


def process(mm: BootedMm) -> tuple[UserMemory, int, int]:
    """A process with two pages of memory: the machine's users, its address space, and where the pages are."""
    user = UserMemory(mm)
    user.start()
    task = user.new_task("app")
    assert user.exec(task) == 0
    space = user.mm_of(task)
    at = user.mmap(space, 0, 4 * 4096, 3, 0x22)
    for number in range(2):
        assert user.access(space, at + number * 4096, ACCESS_WRITE) >= 0
    assert check(mm) == []
    return user, space, at


def user_slot(mm: BootedMm, space: int, addr: int, levels: int = 3) -> int:
    """Physical address of the entry that maps a user address; with fewer *levels* that of a table."""
    table = u64(mm.view.ptr(mm_struct, space).pgd) - PAGE_OFFSET
    shifts = (39, 30, 21, 12)
    for shift in shifts[:levels]:
        at = table + (addr >> shift & 511) * 8
        table = int.from_bytes(mm.ram.mem[at : at + 8], "little") & 0x000FFFFFFFFFF000
    return table + (addr >> shifts[levels] & 511) * 8


def damage_u1(mm: BootedMm) -> None:
    _, space, _ = process(mm)
    put(mm.view.ptr(mm_struct, space), "map_count", lambda n: n + 1)


def damage_u1_committed(mm: BootedMm) -> None:
    process(mm)
    put(mm.view.kdata, "vm_committed_as", lambda n: n - 1)


def damage_u2(mm: BootedMm) -> None:
    _, space, at = process(mm)
    table = user_slot(mm, space, at) // 4096
    put(mm.view.page(table), "page_type", lambda kind: 0xFFFFFFFF)


def damage_u2_kernel_half(mm: BootedMm) -> None:
    _, space, _ = process(mm)
    change(mm, u64(mm.view.ptr(mm_struct, space).pgd) - PAGE_OFFSET + 8 * 300, 1 << 20)


def damage_u3(mm: BootedMm) -> None:
    user, space, at = process(mm)
    vma = mm.view.ptr(vm_area_struct, user.find_vma(space, at))
    put(vma, "vm_start", lambda start: start + 4096)


def damage_u3_writable(mm: BootedMm) -> None:
    user, space, at = process(mm)
    put(mm.view.ptr(vm_area_struct, user.find_vma(space, at)), "vm_flags", lambda flags: flags & ~2)


def damage_u4(mm: BootedMm) -> None:
    user, space, at = process(mm)
    put(mm.view.page(user.translate(space, at) >> 12), "_mapcount", lambda n: n + 1)


def damage_u5(mm: BootedMm) -> None:
    _, space, at = process(mm)
    slot = user_slot(mm, space, at)
    mm.ram.mem[slot : slot + 8] = bytes(8)


def damage_l1_user(mm: BootedMm) -> None:
    user, space, at = process(mm)
    put(mm.view.page(user.translate(space, at) >> 12), "flags", lambda flags: flags & ~(1 << 4))


def damage_t6(mm: BootedMm) -> None:
    put(dma32(mm), "managed_pages", lambda n: n + 1)


def lru_page(mm: BootedMm) -> Any:
    head = mm.view.kdata.node_data[0].__lruvec.lists[2]
    return mm.view.ptr(page, head.next._addr - page.field("lru").offset)


def damage_l1(mm: BootedMm) -> None:
    put(lru_page(mm), "flags", lambda flags: flags & ~(1 << 4))


def damage_l1_active(mm: BootedMm) -> None:
    put(lru_page(mm), "flags", lambda flags: flags | 1 << 5)


def damage_l1_count(mm: BootedMm) -> None:
    dma32(mm).vm_stat[3] = dma32(mm).vm_stat[3] - 1


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]
CONFIG = {"s7": "debian", "s8": "debug"}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__.removeprefix("damage_"))
def test_damage_is_found_by_its_invariant(damage: Damage) -> None:
    family = damage.__name__.split("_")[1]
    mm = busy(CONFIG.get(family, "plain"))
    damage(mm)
    assert family.upper() in {violation.slug for violation in check(mm)}


def test_every_invariant_has_its_damage() -> None:
    assert {damage.__name__.split("_")[1].upper() for damage in DAMAGES} == INVARIANTS.keys()


def test_an_invariant_can_be_asked_alone() -> None:
    mm = busy("plain")
    damage_b1(mm)
    assert {violation.slug for violation in INVARIANTS["B1"](mm.view)} == {"B1"}
    assert INVARIANTS["B5"](mm.view) == []
