"""Mapping pages that are there already: vmap, vmap_pfn, and the per-CPU blocks of vm_map_ram (mm/vmalloc.c, 6.1).

A block is 1 MiB of addresses that one CPU cuts small mappings from, in powers of two, from the bottom up and never
twice. What is unmapped only makes it dirty; when all is dirty, or all that was handed out is and somebody purges, its
addresses go back.

Private layout: the blocks are found through a list (``vmap_blocks``, by the member ``purge``), not an xarray.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import GFP_KERNEL
from kmem.lib.jit import container_of, entry, fls64, jit, load64, ptr, sizeof
from kmem.lib.list import list_add_tail, list_del
from kmem.mm import places
from kmem.mm.events import VFREE, VMALLOC, emit, may_fail
from kmem.mm.mm_types import page, vmap_block
from kmem.mm.mmzone import PAGE_SHIFT, PAGE_SIZE, kernel, page_to_pfn, priv
from kmem.mm.pgtable import (
    NX,
    PAGE_KERNEL,
    change_page,
    find_slot,
    lookup_address,
    map_page,
    vunmap_range,
)
from kmem.mm.slab_common import kfree_object, kmalloc_from
from kmem.mm.upcalls import bug, warn
from kmem.mm.vm_flags import IN_INTERRUPT, VM_IOREMAP, VM_MAP_PUT_PAGES, VM_NO_GUARD
from kmem.mm.vmalloc import (
    END,
    START,
    free_vm_area,
    get_vm_area,
    load_page,
    run_work,
    vunmap_area,
)
from kmem.mm.vmap_area import (
    VMAP_BBMAP_BITS,
    alloc_vmap_area,
    find_vmap_area,
    free_vmap_area_noflush,
    free_vmap_block,
    purge_vmap_area_lazy,
    vm_unmap_aliases,
    vmap_init_free_space,
)

VMAP_MAX_ALLOC = 64
VMAP_BLOCK_SIZE = VMAP_BBMAP_BITS * PAGE_SIZE
_SPECIAL = 1 << 9
"""``_PAGE_SPECIAL``: no ``struct page`` is behind the entry."""


@jit
def vmap_pages(k: Any, addr: int, pages: int, count: int, prot: int) -> bool:
    """``vmap_pages_range()``: map *count* pages of an array; False at the first that is none or cannot be mapped."""
    for i in range(count):
        p = ptr(page, load_page(k, pages, i), k)
        at = addr + (i << PAGE_SHIFT)
        slot = find_slot(k, at, 0, True)
        if not slot:
            return False
        if load64(k, slot) != 0:
            warn(k, places.VMAP_MAPPED_ALREADY, at, 0)
            return False
        if not p:
            warn(k, places.VMAP_NO_PAGE, at, 0)
            return False
        pfn = page_to_pfn(p)
        if pfn < 0 or pfn >= k.max_pfn:
            warn(k, places.VMAP_BAD_PFN, at, 0)
            return False
        map_page(k, at, pfn << PAGE_SHIFT, prot)
    return True


@jit
def vmap(k: Any, pages: int, count: int, flags: int, prot: int) -> int:
    """``vmap()``: the address at which the pages of an array are mapped one behind the other, or 0.

    With ``VM_MAP_PUT_PAGES`` the array and a reference to each page are vfree's to give back.
    """
    if flags & VM_NO_GUARD:
        warn(k, places.VMAP_WITHOUT_GUARD, flags, 0)
        flags &= ~VM_NO_GUARD
    if count > k.totalram_pages or not may_fail(k, GFP_KERNEL):
        return 0
    area = get_vm_area(k, count << PAGE_SHIFT, flags)
    if not area:
        return 0
    if not vmap_pages(k, area.addr, pages, count, prot | NX):
        vunmap_area(k, area.addr, False)
        return 0
    if flags & VM_MAP_PUT_PAGES:
        area.pages = pages
        area.nr_pages = count
    return area.addr


@jit
def vmap_pfn(k: Any, pfns: int, count: int, prot: int) -> int:
    """``vmap_pfn()``: as vmap for page frames that have no ``struct page``; others warn and give 0."""
    if not may_fail(k, GFP_KERNEL):
        return 0
    area = get_vm_area(k, count << PAGE_SHIFT, VM_IOREMAP)
    if not area:
        return 0
    for i in range(count):
        pfn = load_page(k, pfns, i)
        if 0 <= pfn < k.max_pfn:
            warn(k, places.VMAP_PFN_VALID, pfn, 0)
            free_vm_area(k, area)
            return 0
        if not map_page(k, area.addr + (i << PAGE_SHIFT), pfn << PAGE_SHIFT, prot | NX | _SPECIAL):
            free_vm_area(k, area)
            return 0
    return area.addr


@jit
def pages_order(count: int) -> int:
    """``get_order()`` of *count* pages."""
    return fls64(count - 1) if count else 52


@jit
def new_vmap_block(k: Any, order: int, gfp: int) -> int:
    """``new_vmap_block()``: the address of the first 2^order pages of a new block of this CPU, or 0."""
    got = kmalloc_from(k, sizeof(vmap_block), gfp, -1)
    vb = ptr(vmap_block, got, k)
    if not got:
        return 0
    va = alloc_vmap_area(k, VMAP_BLOCK_SIZE, VMAP_BLOCK_SIZE, START, END, -1, gfp)
    if not va:
        kfree_object(k, got)
        return 0
    vb.va = va
    vb.free = VMAP_BBMAP_BITS - (1 << order)
    vb.dirty = 0
    vb.dirty_min = VMAP_BBMAP_BITS
    vb.dirty_max = 0
    list_add_tail(vb.free_list, k.vmap_block_queue[priv(k).cpu])
    list_add_tail(vb.purge, k.vmap_blocks)
    return va.va_start


@jit
def vb_alloc(k: Any, count: int, gfp: int) -> int:
    """``vb_alloc()``: addresses for *count* pages out of a block of this CPU, or 0."""
    if count > VMAP_MAX_ALLOC:
        bug(k, places.VB_ALLOC_TOO_LARGE, count, 0)
    if count == 0:
        warn(k, places.VB_ALLOC_ZERO, 0, 0)
        return 0
    order = pages_order(count)
    head = k.vmap_block_queue[priv(k).cpu]
    link = head.next
    while link != head:
        vb = container_of(link, vmap_block, "free_list")
        if vb.free >= 1 << order:
            addr = vb.va.va_start + ((VMAP_BBMAP_BITS - vb.free) << PAGE_SHIFT)
            vb.free = vb.free - (1 << order)
            if vb.free == 0:
                list_del(vb.free_list)
            return addr
        link = link.next
    return new_vmap_block(k, order, gfp)


@jit
def find_block(k: Any, addr: int) -> Any:
    """``xa_load(&vmap_blocks, addr_to_vb_idx(addr))``: the block that *addr* lies in, or NULL."""
    start = addr & ~(VMAP_BLOCK_SIZE - 1)
    head = k.vmap_blocks
    link = head.next
    while link != head:
        vb = container_of(link, vmap_block, "purge")
        if vb.va.va_start == start:
            return vb
        link = link.next
    return ptr(vmap_block, 0, k)


@jit
def vb_free(k: Any, addr: int, count: int) -> None:
    """``vb_free()``: unmap what `vb_alloc` gave; its addresses are used again when the whole block is."""
    if count > VMAP_MAX_ALLOC:
        bug(k, places.VB_FREE_TOO_LARGE, count, 0)
    order = pages_order(count)
    offset = (addr & (VMAP_BLOCK_SIZE - 1)) >> PAGE_SHIFT
    vb = find_block(k, addr)
    vunmap_range(k, addr, addr + (count << PAGE_SHIFT))
    vb.dirty_min = min(vb.dirty_min, offset)
    vb.dirty_max = max(vb.dirty_max, offset + (1 << order))
    vb.dirty = vb.dirty + (1 << order)
    if vb.dirty == VMAP_BBMAP_BITS:
        if vb.free:
            bug(k, places.VB_FREE_STILL_FREE, addr, 0)
        free_vmap_block(k, vb)


@jit
def vm_unmap_ram(k: Any, mem: int, count: int) -> None:
    """``vm_unmap_ram()``; an address that vm_map_ram cannot have given stops the kernel."""
    if mem == 0:
        bug(k, places.VM_UNMAP_RAM_NULL, mem, count)
    if mem > 0 or mem < START:
        bug(k, places.VM_UNMAP_RAM_BELOW, mem, count)
    if mem > END:
        bug(k, places.VM_UNMAP_RAM_ABOVE, mem, count)
    if mem & (PAGE_SIZE - 1):
        bug(k, places.VM_UNMAP_RAM_MISALIGNED, mem, count)
    if count <= VMAP_MAX_ALLOC:
        vb_free(k, mem, count)
        return
    va = find_vmap_area(k, mem)
    if not va:
        bug(k, places.VM_UNMAP_RAM_NO_AREA, mem, count)
    vunmap_range(k, va.va_start, va.va_end)
    free_vmap_area_noflush(k, va)


@jit
def vm_map_ram(k: Any, pages: int, count: int, node: int) -> int:
    """``vm_map_ram()``: as vmap, without an area of its own for up to 64 pages, and without a guard page."""
    if not may_fail(k, GFP_KERNEL):
        return 0
    if count <= VMAP_MAX_ALLOC:
        addr = vb_alloc(k, count, GFP_KERNEL)
        if addr == 0:
            return 0
    else:
        va = alloc_vmap_area(k, count << PAGE_SHIFT, PAGE_SIZE, START, END, node, GFP_KERNEL)
        if not va:
            return 0
        addr = va.va_start
    if not vmap_pages(k, addr, pages, count, PAGE_KERNEL):
        vm_unmap_ram(k, addr, count)
        return 0
    return addr


@entry
def k_vmalloc_init(ram: Any, cache: int) -> int:
    """``vmalloc_init()``; *cache* is the cache of vmap_areas."""
    vmap_init_free_space(kernel(ram), cache)
    return 0


@entry
def k_vmap(ram: Any, pages: int, count: int, flags: int, prot: int) -> int:
    """Entry for :func:`vmap`, with its event; *pages* is the address of an array."""
    k = kernel(ram)
    run_work(k)
    got = vmap(k, pages, count, flags, prot)
    emit(k, VMALLOC, got, count << PAGE_SHIFT, count << PAGE_SHIFT, GFP_KERNEL, -1, 0, 0)
    return got


@entry
def k_vmap_pfn(ram: Any, pfns: int, count: int, prot: int) -> int:
    """Entry for :func:`vmap_pfn`, with its event; *pfns* is the address of an array."""
    k = kernel(ram)
    got = vmap_pfn(k, pfns, count, prot)
    emit(k, VMALLOC, got, count << PAGE_SHIFT, count << PAGE_SHIFT, GFP_KERNEL, -1, 0, 0)
    return got


@entry
def k_vunmap(ram: Any, addr: int) -> int:
    """``void vunmap(const void *addr)``: NULL does nothing; in an interrupt the kernel stops."""
    k = kernel(ram)
    if priv(k).context & IN_INTERRUPT:
        bug(k, places.VUNMAP_IN_INTERRUPT, addr, 0)
    if addr:
        emit(k, VFREE, addr, 0, 0, 0, -1, 0, 0)
        vunmap_area(k, addr, False)
        run_work(k)
    return 0


@entry
def k_vm_map_ram(ram: Any, pages: int, count: int, node: int) -> int:
    """Entry for :func:`vm_map_ram`, with its event."""
    k = kernel(ram)
    got = vm_map_ram(k, pages, count, node)
    emit(k, VMALLOC, got, count << PAGE_SHIFT, count << PAGE_SHIFT, GFP_KERNEL, node, 0, 0)
    return got


@entry
def k_vm_unmap_ram(ram: Any, mem: int, count: int) -> int:
    """Entry for :func:`vm_unmap_ram`, with its event."""
    k = kernel(ram)
    emit(k, VFREE, mem, 0, 0, 0, -1, 0, 0)
    vm_unmap_ram(k, mem, count)
    run_work(k)
    return 0


@entry
def k_vm_unmap_aliases(ram: Any) -> int:
    """Entry for :func:`vm_unmap_aliases`."""
    vm_unmap_aliases(kernel(ram))
    return 0


@entry
def k_module_memfree(ram: Any, addr: int) -> int:
    """``void module_memfree(void *module_region)``: with a purge at once, as for all memory whose permissions were
    changed.
    """
    k = kernel(ram)
    vunmap_area(k, addr, True)
    purge_vmap_area_lazy(k)
    return 0


@entry
def k_lookup_address(ram: Any, addr: int) -> int:
    """Entry for :func:`lookup_address`."""
    return lookup_address(kernel(ram), addr)


@entry
def k_set_memory(ram: Any, addr: int, count: int, writable: int, executable: int) -> int:
    """``set_memory_{ro,rw,x,nx}()`` on *count* pages; 0, or -EINVAL if one is not mapped."""
    k = kernel(ram)
    for i in range(count):
        if not change_page(k, addr + (i << PAGE_SHIFT), writable != 0, executable != 0):
            return -22
    return 0
