"""The kernel's page tables as the mm writes them: mapping and unmapping ranges (mm/vmalloc.c,
arch/x86/include/asm/pgtable*.h).

Four levels of 512 entries; a table page comes from the page allocator, zeroed. Entries hold physical addresses. An
entry of the second level may map 2 MiB; it becomes a table when a part of it is to have other permissions
(`split_large_page`), and takes the place of a table that maps nothing any more (`map_huge`).

Simplified: nothing is mapped with 1 GiB.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.lib.jit import container_of, jit, load64, lshr, store64
from kmem.mm.mm_types import page
from kmem.mm.mmzone import (
    NR_PAGETABLE,
    PAGE_SIZE,
    TYPE_TABLE,
    count_vm_events,
    is_vmalloc_or_module_addr,
    mod_node_page_state,
    page_pgdat,
    page_to_virt,
    pfn_to_page,
    phys_to_virt,
    virt_to_phys,
)
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_free import free_pages
from kmem.mm.tlb import flush_tlb_kernel_range
from kmem.mm.vm_events import EV_PAGE_TABLE, EV_PTE_CLEAR, EV_PTE_SET

PRESENT, RW, USER, PWT, PCD, ACCESSED, DIRTY, PSE, GLOBAL = (1 << n for n in range(9))
PAT, PAT_LARGE = 1 << 7, 1 << 12
"""The third bit of the caching attribute, in an entry that maps 4 KiB and in one that maps 2 MiB."""
NX = -(1 << 63)
KERNPG_TABLE = PRESENT | RW | ACCESSED | DIRTY
PAGE_KERNEL = PRESENT | RW | ACCESSED | DIRTY | GLOBAL | NX
PAGE_KERNEL_EXEC = PRESENT | RW | ACCESSED | DIRTY | GLOBAL
PFN_MASK = 0x000FFFFFFFFFF000
PMD_SIZE = 1 << 21


@jit
def entry_at(table: int, addr: int, level: int) -> int:
    """Address of the entry for *addr* in the table at *table*; level 3 is the PGD, 0 the page table."""
    return table + ((lshr(addr, 12 + 9 * level) & 511) << 3)


@jit
def next_table(k: Any, slot: int, alloc: bool, counted: bool) -> int:
    """The table that the entry at *slot* points to, made if it is missing; 0 if there is none.

    Of the kernel's own tables only those of 2 MiB entries are *counted* (``pgtable_pmd_page_ctor()``).
    """
    entry = load64(k, slot)
    if entry & PRESENT:
        if entry & PSE:
            return 0
        return phys_to_virt(entry & PFN_MASK)
    if not alloc:
        return 0
    p = alloc_pages_node(k, GFP_KERNEL | __GFP_ZERO, 0, -1)
    if not p:
        return 0
    if counted:
        p.page_type = TYPE_TABLE
        mod_node_page_state(k, page_pgdat(k, p), NR_PAGETABLE, 1)
    count_vm_events(k, EV_PAGE_TABLE, 1)
    table = page_to_virt(p)
    store64(k, slot, virt_to_phys(table) | KERNPG_TABLE)
    if slot & ~4095 == k.swapper_pg_dir:
        sync_global_pgds(k, slot)
    return table


@jit
def sync_global_pgds(k: Any, slot: int) -> None:
    """``sync_global_pgds()``: every process gets the entry that is new at *slot* of the kernel's own top table."""
    head = k.pgd_list
    link = head.next
    while link and link != head:
        pgd = page_to_virt(container_of(link, page, "lru"))
        store64(k, pgd + (slot & 4095), load64(k, slot))
        link = link.next


@jit
def find_slot(k: Any, addr: int, level: int, alloc: bool) -> int:
    """Address of the entry of *level* (0: PTE, 1: PMD) that maps *addr*; 0 if a table is missing."""
    table = k.swapper_pg_dir
    at = 3
    while at > level:
        table = next_table(k, entry_at(table, addr, at), alloc, at == 2)
        if not table:
            return 0
        at -= 1
    return entry_at(table, addr, level)


@jit
def map_page(k: Any, addr: int, phys: int, prot: int) -> bool:
    """Map one 4 KiB page; False if a table could not be had."""
    slot = find_slot(k, addr, 0, True)
    if not slot:
        return False
    store64(k, slot, phys | prot)
    count_vm_events(k, EV_PTE_SET, 1)
    return True


@jit
def map_huge(k: Any, addr: int, phys: int, prot: int) -> bool:
    """``vmap_try_huge_pmd()``: map one 2 MiB page; False if a table could not be had.

    A table that is there from earlier mappings maps nothing any more: it is freed (``pmd_free_pte_page()``).
    """
    slot = find_slot(k, addr, 1, True)
    if not slot:
        return False
    entry = load64(k, slot)
    if entry & PRESENT and not entry & PSE:
        store64(k, slot, 0)
        flush_tlb_kernel_range(k, addr, addr + PAGE_SIZE)
        free_pages(k, page_at_phys(k, entry & PFN_MASK), 0)
    large = (prot & ~PAT) | PSE
    if prot & PAT:
        large |= PAT_LARGE
    store64(k, slot, phys | large)
    count_vm_events(k, EV_PTE_SET, 1)
    return True


@jit
def map_range(k: Any, addr: int, phys: int, size: int, prot: int) -> bool:
    """``ioremap_page_range()``: map physically contiguous memory, with 2 MiB pages where both addresses allow it."""
    at = 0
    while at < size:
        if (addr + at) % PMD_SIZE == 0 and (phys + at) % PMD_SIZE == 0 and size - at >= PMD_SIZE:
            if not map_huge(k, addr + at, phys + at, prot):
                return False
            at += PMD_SIZE
        else:
            if not map_page(k, addr + at, phys + at, prot):
                return False
            at += PAGE_SIZE
    return True


@jit
def split_large_page(k: Any, slot: int) -> bool:
    """``split_large_page()``: make the 2 MiB entry at *slot* a table of 512 entries that map the same; False if there
    is no page for the table.
    """
    large = load64(k, slot)
    p = alloc_pages_node(k, GFP_KERNEL, 0, -1)
    if not p:
        return False
    table = page_to_virt(p)
    phys = large & PFN_MASK & ~(PMD_SIZE - 1)
    prot = (large & ~PFN_MASK) & ~PSE
    if large & PAT_LARGE:
        prot |= PAT
    for i in range(512):
        store64(k, table + 8 * i, (phys + (i << 12)) | prot)
    count_vm_events(k, EV_PAGE_TABLE, 1)
    store64(k, slot, virt_to_phys(table) | KERNPG_TABLE)
    flush_tlb_kernel_range(k, 0, 0)
    return True


@jit
def vunmap_range(k: Any, start: int, end: int) -> None:
    """``vunmap_range_noflush()``: clear the entries; the TLB may still know them."""
    addr = start
    while addr < end:
        slot = find_slot(k, addr, 1, False)
        if not slot:
            addr = (addr & ~(PMD_SIZE - 1)) + PMD_SIZE
            continue
        entry = load64(k, slot)
        if entry & PRESENT and entry & PSE:
            store64(k, slot, 0)
            count_vm_events(k, EV_PTE_CLEAR, 1)
            addr = (addr & ~(PMD_SIZE - 1)) + PMD_SIZE
            continue
        slot = find_slot(k, addr, 0, False)
        if not slot:
            addr = (addr & ~(PMD_SIZE - 1)) + PMD_SIZE
            continue
        if load64(k, slot) & PRESENT:
            store64(k, slot, 0)
            count_vm_events(k, EV_PTE_CLEAR, 1)
        addr += 4096


@jit
def lookup(k: Any, addr: int) -> int:
    """The physical address behind *addr*, or -1 if it is not mapped; 4 KiB and 2 MiB pages."""
    table = k.swapper_pg_dir
    level = 3
    while True:
        entry = load64(k, entry_at(table, addr, level))
        if not entry & PRESENT:
            return -1
        if level == 0 or entry & PSE:
            mask = (1 << (12 + 9 * level)) - 1
            return (entry & PFN_MASK & ~mask) | (addr & mask)
        table = phys_to_virt(entry & PFN_MASK)
        level -= 1


@jit
def lookup_address(k: Any, addr: int) -> int:
    """``lookup_address()``: where the entry stands that *addr* is mapped with or would be, plus its level (1: 4 KiB,
    2: 2 MiB …); 0 with only the level if a table is missing.
    """
    table = k.swapper_pg_dir
    at = 3
    while at >= 0:
        slot = entry_at(table, addr, at)
        entry = load64(k, slot)
        if at == 0 or (entry and (entry & PSE or not entry & PRESENT)):
            return slot | (at + 1)
        if not entry:
            return at + 1
        table = phys_to_virt(entry & PFN_MASK)
        at -= 1
    return 0


@jit
def linear(k: Any, addr: int) -> int:
    """Where *addr* lies in the direct map; an address that no page table entry maps is returned as it is, so that an
    access faults where it should.
    """
    if is_vmalloc_or_module_addr(addr):
        phys = lookup(k, addr)
        if phys >= 0:
            return phys_to_virt(phys)
    return addr


@jit
def change_page(k: Any, addr: int, writable: bool, executable: bool) -> bool:
    """Set the permissions of one mapped 4 KiB page (``set_memory_ro()``, ``set_memory_x()`` …); a 2 MiB page that it is
    a part of is split.
    """
    large = find_slot(k, addr, 1, False)
    if not large:
        return False
    if load64(k, large) & (PRESENT | PSE) == PRESENT | PSE and not split_large_page(k, large):
        return False
    slot = find_slot(k, addr, 0, False)
    if not slot or not load64(k, slot) & PRESENT:
        return False
    entry = load64(k, slot) & ~(RW | NX)
    if writable:
        entry |= RW
    if not executable:
        entry |= NX
    store64(k, slot, entry)
    return True


@jit
def page_at_phys(k: Any, phys: int) -> Any:
    """``pfn_to_page(PHYS_PFN(phys))``."""
    return pfn_to_page(k, lshr(phys, 12))
