"""User pages: faults that bring them, zaps that take them, copies on write (mm/memory.c, arch/x86/mm/fault.c; 6.1).

Nothing is taken when memory is mapped. The first read of a private page maps the one zero page; the first write
takes an order-0 movable page, wiped, counts it in ``rss_stat`` and puts it on the LRU. A write to a page that is
shared, with the zero page or after a fork, takes a copy.

Simplified: no huge pages (as with ``transparent_hugepage=never``), no swap, no NUMA hinting; memory that is shared and
anonymous is not shmem. The TLB is flushed by the caller, who owns the CPU.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_ZERO, GFP_HIGHUSER_MOVABLE
from kmem.lib.cstruct import Struct
from kmem.lib.jit import address, copy, jit, load64, ptr, store64
from kmem.mm.codes import (
    ACCESS_EXEC,
    ACCESS_WRITE,
    EBUSY,
    EINVAL,
    ENOMEM,
)
from kmem.mm.events import MM_PAGE_ALLOC, MM_PAGE_FREE, emit
from kmem.mm.mm_inline import PG_UPTODATE, folio_add_lru
from kmem.mm.mm_types import mm_struct, page, vm_area_struct
from kmem.mm.mmzone import (
    PAGE_SIZE,
    count_vm_events,
    page_to_pfn,
    page_to_virt,
    pfn_to_page,
    priv,
)
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.pgalloc import next_present, user_slot
from kmem.mm.pgtable import ACCESSED, DIRTY, NX, PFN_MASK, PRESENT, RW, USER
from kmem.mm.rmap import (
    anon_vma_prepare,
    page_add_file_rmap,
    page_add_new_anon_rmap,
    page_anon,
    page_remove_rmap,
)
from kmem.mm.swap import PG_ANON_EXCLUSIVE, put_user_page
from kmem.mm.vm_events import EV_PGFAULT, EV_PTE_CLEAR, EV_PTE_SET

VM_READ, VM_WRITE, VM_EXEC, VM_SHARED = 1, 2, 4, 8
VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC, VM_MAYSHARE = 0x10, 0x20, 0x40, 0x80
VM_GROWSDOWN, VM_PFNMAP, VM_LOCKED, VM_IO = 0x100, 0x400, 0x2000, 0x4000
VM_DONTCOPY, VM_DONTEXPAND, VM_ACCOUNT, VM_NORESERVE = 0x20000, 0x40000, 0x100000, 0x200000
VM_DONTDUMP, VM_SOFTDIRTY, VM_MIXEDMAP = 0x4000000, 0x8000000, 0x10000000
VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP
VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC

PROTNONE, SPECIAL, SOFT_DIRTY = 1 << 8, 1 << 9, 1 << 11
PTE_PRESENT = PRESENT | PROTNONE
PAGE_NONE = ACCESSED | PROTNONE
CHANGE_MASK = PFN_MASK | ACCESSED | DIRTY | SPECIAL | SOFT_DIRTY | 0x18
"""``_PAGE_CHG_MASK``: what ``pte_modify()`` leaves."""

MM_FILEPAGES, MM_ANONPAGES = 0, 1
FAULT_OK, FAULT_OOM, FAULT_SIGBUS, FAULT_DRIVER = 0, 1, 2, 8
_counters = mm_struct.field("rss_stat")
if _counters.kind == "array":  # 6.2: percpu_counter
    assert _counters.element is not None
    _RSS = _counters.offset + Struct.registry["percpu_counter"].field("count").offset
    _RSS_STEP = _counters.element.size
else:
    _RSS, _RSS_STEP = _counters.offset, 8


@jit
def no_vma(k: Any) -> Any:
    """``(struct vm_area_struct *)NULL``."""
    return ptr(vm_area_struct, 0, k)


@jit
def get_mm_counter(mm: Any, member: int) -> int:
    """``get_mm_counter()``."""
    return load64(mm, address(mm) + _RSS + member * _RSS_STEP)


@jit
def add_mm_counter(mm: Any, member: int, n: int) -> None:
    """``add_mm_counter()``."""
    at = address(mm) + _RSS + member * _RSS_STEP
    store64(mm, at, load64(mm, at) + n)


@jit
def vm_get_page_prot(flags: int) -> int:
    """``vm_get_page_prot()``: the bits of a new entry; a private page is never writable at first."""
    if not flags & VM_ACCESS_FLAGS:
        return PAGE_NONE
    prot = PRESENT | USER | ACCESSED
    if not flags & VM_EXEC:
        prot |= NX
    if flags & (VM_SHARED | VM_WRITE) == VM_SHARED | VM_WRITE:
        prot |= RW
    return prot


@jit
def emit_page(k: Any, kind: int, p: Any) -> None:
    """The event of a page that a process takes or gives back: not on behalf of the code that runs."""
    v = priv(k)
    site = v.call_site
    v.call_site = 0
    emit(k, kind, page_to_pfn(p), 0, PAGE_SIZE, GFP_HIGHUSER_MOVABLE, -1, 0, 0)
    v.call_site = site


@jit
def alloc_user_page(k: Any, gfp: int) -> Any:
    """``alloc_page_vma()``."""
    p = alloc_pages_node(k, gfp, 0, -1)
    if p:
        emit_page(k, MM_PAGE_ALLOC, p)
    return p


@jit
def put_page(k: Any, p: Any) -> None:
    """``void put_page(struct page *page)``, with the event if it was the last reference."""
    if p._refcount == 1:
        emit_page(k, MM_PAGE_FREE, p)
    put_user_page(k, p)


@jit
def vm_normal_page(k: Any, entry: int) -> Any:
    """``vm_normal_page()``: the page that is counted as mapped by this entry, or NULL."""
    if entry & SPECIAL or not entry & PTE_PRESENT:
        return ptr(page, 0, k)
    return pfn_to_page(k, (entry & PFN_MASK) >> 12)


@jit
def maybe_mkwrite(entry: int, flags: int) -> int:
    """``maybe_mkwrite(pte_mkdirty(pte), vma)``."""
    entry |= DIRTY | SOFT_DIRTY
    return entry | RW if flags & VM_WRITE else entry


@jit
def map_anonymous(k: Any, mm: Any, vma: Any, addr: int, slot: int, p: Any) -> None:
    """The end of ``do_anonymous_page()`` and ``wp_page_copy()``: a new page of ours at *slot*."""
    p.flags = p.flags | (1 << PG_UPTODATE)
    page_add_new_anon_rmap(k, p, vma, addr)
    folio_add_lru(k, p)
    store64(k, slot, maybe_mkwrite(vma.vm_page_prot.pgprot | (page_to_pfn(p) << 12), vma.vm_flags))
    count_vm_events(k, EV_PTE_SET, 1)


@jit
def do_anonymous_page(k: Any, mm: Any, vma: Any, addr: int, slot: int, write: bool) -> int:
    """``do_anonymous_page()``."""
    if not write and not vma.vm_flags & VM_SHARED:
        zero = k.empty_zero_page & PFN_MASK
        store64(k, slot, zero | vma.vm_page_prot.pgprot | SPECIAL)
        count_vm_events(k, EV_PTE_SET, 1)
        return FAULT_OK
    if not anon_vma_prepare(k, mm, vma):
        return FAULT_OOM
    p = alloc_user_page(k, GFP_HIGHUSER_MOVABLE | __GFP_ZERO)
    if not p:
        return FAULT_OOM
    add_mm_counter(mm, MM_ANONPAGES, 1)
    map_anonymous(k, mm, vma, addr, slot, p)
    return FAULT_OK


@jit
def do_wp_page(k: Any, mm: Any, vma: Any, addr: int, slot: int) -> int:
    """``do_wp_page()``: a write to a present page that the entry does not let be written."""
    entry = load64(k, slot)
    old = vm_normal_page(k, entry)
    if vma.vm_flags & VM_SHARED:
        store64(k, slot, maybe_mkwrite(entry, vma.vm_flags))
        return FAULT_OK
    if old and page_anon(old) and (old.flags & (1 << PG_ANON_EXCLUSIVE) or old._refcount == 1):
        old.flags = old.flags | (1 << PG_ANON_EXCLUSIVE)
        store64(k, slot, maybe_mkwrite(entry, vma.vm_flags))
        return FAULT_OK
    if not anon_vma_prepare(k, mm, vma):
        return FAULT_OOM
    zero = entry & PFN_MASK == k.empty_zero_page & PFN_MASK
    p = alloc_user_page(k, GFP_HIGHUSER_MOVABLE | __GFP_ZERO if zero else GFP_HIGHUSER_MOVABLE)
    if not p:
        return FAULT_OOM
    if not zero:
        copy(k, page_to_virt(p), page_to_virt(pfn_to_page(k, (entry & PFN_MASK) >> 12)), PAGE_SIZE)
    if not old:
        add_mm_counter(mm, MM_ANONPAGES, 1)
    elif not page_anon(old):
        add_mm_counter(mm, MM_FILEPAGES, -1)
        add_mm_counter(mm, MM_ANONPAGES, 1)
    map_anonymous(k, mm, vma, addr, slot, p)
    if old:
        page_remove_rmap(k, old)
        put_page(k, old)
    return FAULT_OK


@jit
def handle_mm_fault(k: Any, mm: Any, vma: Any, addr: int, access: int) -> int:
    """``handle_mm_fault()``: make *addr*, which lies in *vma*, accessible; a code FAULT_*."""
    count_vm_events(k, EV_PGFAULT, 1)
    addr &= ~(PAGE_SIZE - 1)
    slot = user_slot(k, mm, addr, 0, True)
    if not slot:
        return FAULT_OOM
    entry = load64(k, slot)
    if not entry & PTE_PRESENT:
        if vma.vm_ops:
            return FAULT_DRIVER
        if vma.vm_file:
            return FAULT_SIGBUS
        return do_anonymous_page(k, mm, vma, addr, slot, access == ACCESS_WRITE)
    if access == ACCESS_WRITE and not entry & RW:
        return do_wp_page(k, mm, vma, addr, slot)
    store64(k, slot, entry | ACCESSED | (DIRTY | SOFT_DIRTY if access == ACCESS_WRITE else 0))
    return FAULT_OK


@jit
def access_error(vma: Any, access: int) -> bool:
    """``access_error()``: whether the area forbids the access."""
    if access == ACCESS_WRITE:
        return vma.vm_flags & VM_WRITE == 0
    if access == ACCESS_EXEC:
        return vma.vm_flags & VM_EXEC == 0
    return vma.vm_flags & VM_ACCESS_FLAGS == 0


@jit
def user_phys(k: Any, mm: Any, addr: int, access: int) -> int:
    """The physical address behind a user address if the tables let the user access it so, else -1.

    As the CPU does, marks the entry accessed, and dirty for a write.
    """
    slot = user_slot(k, mm, addr, 0, False)
    if not slot:
        return -1
    entry = load64(k, slot)
    if entry & (PRESENT | USER) != PRESENT | USER:
        return -1
    if (access == ACCESS_WRITE and not entry & RW) or (access == ACCESS_EXEC and entry & NX):
        return -1
    marks = ACCESSED | DIRTY if access == ACCESS_WRITE else ACCESSED
    if entry & marks != marks:
        store64(k, slot, entry | marks)
    return (entry & PFN_MASK) | (addr & (PAGE_SIZE - 1))


@jit
def zap_page_range(k: Any, mm: Any, start: int, end: int) -> int:
    """``zap_pte_range()`` over a whole range: every entry cleared, every page given back; how many entries there
    were.
    """
    found = 0
    addr = next_present(k, mm, start, end)
    while addr < end:
        slot = user_slot(k, mm, addr, 0, False)
        entry = load64(k, slot)
        if entry & PTE_PRESENT:
            store64(k, slot, 0)
            count_vm_events(k, EV_PTE_CLEAR, 1)
            found += 1
            p = vm_normal_page(k, entry)
            if p:
                add_mm_counter(mm, MM_ANONPAGES if page_anon(p) else MM_FILEPAGES, -1)
                page_remove_rmap(k, p)
                put_page(k, p)
        addr = next_present(k, mm, addr + PAGE_SIZE, end)
    return found


@jit
def change_protection(k: Any, mm: Any, vma: Any, start: int, end: int) -> int:
    """``change_protection()``: the present entries of the range get the area's permissions; how many there are.

    A page that is dirty and nobody else's becomes writable at once.
    """
    found = 0
    prot = vma.vm_page_prot.pgprot
    addr = next_present(k, mm, start, end)
    while addr < end:
        slot = user_slot(k, mm, addr, 0, False)
        entry = load64(k, slot)
        if entry & PTE_PRESENT:
            found += 1
            new = (entry & CHANGE_MASK) | (prot & ~CHANGE_MASK) | (prot & ACCESSED)
            p = vm_normal_page(k, entry)
            if (
                vma.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE
                and entry & DIRTY
                and p
                and page_anon(p)
                and p.flags & (1 << PG_ANON_EXCLUSIVE)
            ):
                new |= RW
            store64(k, slot, new)
        addr = next_present(k, mm, addr + PAGE_SIZE, end)
    return found


@jit
def insert_page(k: Any, mm: Any, vma: Any, addr: int, p: Any) -> int:
    """``insert_page()``: map a page of the kernel's for the user (``vm_insert_page()``)."""
    if page_anon(p) or p._refcount == 0:
        return EINVAL
    slot = user_slot(k, mm, addr, 0, True)
    if not slot:
        return ENOMEM
    if load64(k, slot) & PTE_PRESENT:
        return EBUSY
    p._refcount = p._refcount + 1
    add_mm_counter(mm, MM_FILEPAGES, 1)
    page_add_file_rmap(k, p)
    store64(k, slot, vma.vm_page_prot.pgprot | (page_to_pfn(p) << 12))
    return 0


@jit
def insert_pfn(k: Any, mm: Any, vma: Any, addr: int, pfn: int, prot: int) -> int:
    """``insert_pfn()``: map a page frame that nobody counts."""
    slot = user_slot(k, mm, addr, 0, True)
    if not slot:
        return ENOMEM
    if load64(k, slot) & PTE_PRESENT:
        return EBUSY
    store64(k, slot, (pfn << 12) | prot | SPECIAL)
    return 0


@jit
def mm_at(k: Any, addr: int) -> Any:
    """``(struct mm_struct *)addr``."""
    return ptr(mm_struct, addr, k)
