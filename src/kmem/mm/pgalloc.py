"""The page tables of a process (arch/x86/mm/pgtable.c, and the table half of mm/memory.c; 6.1).

A process has a top table of its own whose upper half repeats the kernel's; all tables below that half are shared. The
lower half starts empty: a table comes from the page allocator when the first page in its range is mapped, and goes back
when the areas around it are gone. A top table's ``struct page`` is on ``pgd_list`` and leads to the address space.

Simplified: on a machine with memory above 4 GiB a top table comes from below, where the emulated CPU can load it.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_ACCOUNT, __GFP_ZERO, GFP_KERNEL
from kmem.lib.jit import address, copy, jit, load64, store64
from kmem.lib.list import list_add, list_del
from kmem.mm.mmzone import (
    NR_PAGETABLE,
    PAGE_SIZE,
    PAGE_TYPE_NONE,
    TYPE_TABLE,
    count_vm_events,
    mod_node_page_state,
    page_pgdat,
    page_to_virt,
    phys_to_virt,
    virt_to_page,
    virt_to_phys,
)
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_free import free_pages
from kmem.mm.pgtable import ACCESSED, DIRTY, PFN_MASK, PRESENT, RW, USER, entry_at
from kmem.mm.vm_events import EV_PAGE_TABLE

GFP_PGTABLE_USER = GFP_KERNEL | __GFP_ZERO | __GFP_ACCOUNT
GFP_DMA32 = 0x4
PAGE_TABLE = PRESENT | RW | USER | ACCESSED | DIRTY
PGD_ALLOCATION_ORDER = 1
"""The kernel is built with page table isolation: the second page is for the copy that user mode would run on."""
KERNEL_HALF = PAGE_SIZE // 2
USER_END = 1 << 47


@jit
def pgd_alloc(k: Any, mm: Any) -> bool:
    """``pgd_alloc()``: the top table, with the kernel's half; False if memory is short."""
    gfp = GFP_PGTABLE_USER | (GFP_DMA32 if k.max_pfn > 1 << 20 else 0)
    p = alloc_pages_node(k, gfp, PGD_ALLOCATION_ORDER, 0)
    if not p:
        return False
    pgd = page_to_virt(p)
    copy(k, pgd + KERNEL_HALF, k.swapper_pg_dir + KERNEL_HALF, KERNEL_HALF)
    mm.pgd = pgd
    p.index = address(mm)  # ptdesc->pt_mm
    list_add(p.lru, k.pgd_list)
    return True


@jit
def pgd_free(k: Any, mm: Any) -> None:
    """``pgd_free()``."""
    p = virt_to_page(k, mm.pgd)
    list_del(p.lru)
    p.index = 0
    mm.pgd = 0
    free_pages(k, p, PGD_ALLOCATION_ORDER)


@jit
def alloc_table(k: Any, mm: Any, level: int) -> int:
    """``pte_alloc_one()``, ``pmd_alloc_one()`` and ``pud_alloc_one()``: a table of *level* 0, 1 or 2; 0 without memory.

    The two lower kinds are marked and counted, all three belong to ``mm->pgtables_bytes``.
    """
    p = alloc_pages_node(k, GFP_PGTABLE_USER, 0, -1)
    if not p:
        return 0
    if level < 2:
        p.page_type = TYPE_TABLE
        mod_node_page_state(k, page_pgdat(k, p), NR_PAGETABLE, 1)
    mm.pgtables_bytes = mm.pgtables_bytes + PAGE_SIZE
    count_vm_events(k, EV_PAGE_TABLE, 1)
    return page_to_virt(p)


@jit
def free_table(k: Any, mm: Any, table: int, level: int) -> None:
    """``pte_free_tlb()`` and its kin."""
    p = virt_to_page(k, table)
    if level < 2:
        p.page_type = PAGE_TYPE_NONE
        mod_node_page_state(k, page_pgdat(k, p), NR_PAGETABLE, -1)
    mm.pgtables_bytes = mm.pgtables_bytes - PAGE_SIZE
    free_pages(k, p, 0)


@jit
def user_slot(k: Any, mm: Any, addr: int, level: int, alloc: bool) -> int:
    """Address of the entry of *level* (0: PTE) for the user address *addr*; 0 if a table is missing, or cannot be had.

    ``__handle_mm_fault()`` and ``follow_pte()`` walk so.
    """
    table = mm.pgd
    at = 3
    while at > level:
        slot = entry_at(table, addr, at)
        entry = load64(k, slot)
        if entry & PRESENT:
            table = phys_to_virt(entry & PFN_MASK)
        else:
            if not alloc:
                return 0
            table = alloc_table(k, mm, at - 1)
            if not table:
                return 0
            store64(k, slot, virt_to_phys(table) | PAGE_TABLE)
        at -= 1
    return entry_at(table, addr, level)


@jit
def next_present(k: Any, mm: Any, addr: int, end: int) -> int:
    """The first address from *addr* (page aligned) on whose PTE table exists; *end* or above if there is none."""
    while addr < end:
        table = mm.pgd
        at = 3
        while at > 0:
            entry = load64(k, entry_at(table, addr, at))
            if not entry & PRESENT:
                break
            table = phys_to_virt(entry & PFN_MASK)
            at -= 1
        if at == 0:
            return addr
        span = 1 << (12 + 9 * at)
        addr = (addr & ~(span - 1)) + span
    return addr


@jit
def free_pgd_range(k: Any, mm: Any, addr: int, end: int, floor: int, ceiling: int) -> None:
    """``free_pgd_range()``: the tables whose whole range lies between the neighbouring areas, from the lowest up.

    *floor* is where the area before ends, *ceiling* where the one behind begins (0: there is none).
    """
    top = ceiling if ceiling else USER_END
    for level in range(3):
        span = 1 << (21 + 9 * level)
        at = addr & ~(span - 1)
        while at < end:
            slot = user_slot(k, mm, at, level + 1, False)
            if not slot:
                wide = span << 9
                at = (at & ~(wide - 1)) + wide
                continue
            entry = load64(k, slot)
            if entry & PRESENT and at >= floor and at + span <= top:
                store64(k, slot, 0)
                free_table(k, mm, phys_to_virt(entry & PFN_MASK), level)
            at += span
