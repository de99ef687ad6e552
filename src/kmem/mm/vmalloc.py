"""vmalloc: pages from anywhere, made contiguous by page tables (mm/vmalloc.c, 6.1).

An area is a ``struct vm_struct`` (what it is for, its pages) tied to a busy ``vmap_area`` (where it is). It is
followed by an unmapped guard page, which its ``size`` includes. Freeing clears the page table entries at once and
returns the pages, but the addresses wait for the next purge, and until then a CPU that has used them may go on doing
so.

What must not be freed where it stands (vfree in an interrupt, vfree_atomic) waits in a list of the CPU; the list and a
purge that is due are worked off (`run_work`) at the next place in this file where the task may sleep, and when a
module's code has ended.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.address import MODULES_END, MODULES_VADDR, VMALLOC_END, VMALLOC_START
from kmem.abi.gfp import __GFP_NOFAIL, __GFP_NOWARN, __GFP_ZERO, GFP_KERNEL, GFP_RECLAIM_MASK
from kmem.lib.cstruct import s64
from kmem.lib.jit import address, entry, fls64, jit, load64, ptr, sizeof, store64
from kmem.mm import places
from kmem.mm.codes import EXCEEDS, NO_AREA, NO_AREA_RETRYING, UP_VMALLOC_FAILED
from kmem.mm.events import VFREE, VMALLOC, emit, may_fail
from kmem.mm.features import VM_REQUESTED_SIZE
from kmem.mm.kmalloc import kfree
from kmem.mm.mm_types import page, vm_struct
from kmem.mm.mmzone import PAGE_SHIFT, PAGE_SIZE, is_vmalloc_addr, kernel, page_to_pfn, priv
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_free import free_pages
from kmem.mm.pgtable import PAGE_KERNEL, PMD_SIZE, linear, lookup, map_huge, map_page, page_at_phys, vunmap_range
from kmem.mm.slab_common import kfree_object, kmalloc_from
from kmem.mm.upcalls import bug, tell, warn
from kmem.mm.vm_flags import (
    IN_INTERRUPT,
    IN_NMI,
    VM_ALLOC,
    VM_ALLOW_HUGE_VMAP,
    VM_IOREMAP,
    VM_MAP_PUT_PAGES,
    VM_NO_GUARD,
    VM_UNINITIALIZED,
)
from kmem.mm.vmap_area import alloc_vmap_area, drain_vmap_area_work, find_vmap_area, free_vmap_area_noflush

IOREMAP_MAX_ORDER = 30

START, END = s64(VMALLOC_START), s64(VMALLOC_END)
"""The window of ``vmalloc()``; the last byte is never handed out, as in the kernel."""
_MODULES, _MODULES_END = s64(MODULES_VADDR), s64(MODULES_END)


@jit
def no_area(k: Any) -> Any:
    """``(struct vm_struct *)NULL``."""
    return ptr(vm_struct, 0, k)


@jit
def get_vm_area_node(
    k: Any, size: int, align: int, flags: int, start: int, end: int, node: int, gfp: int, caller: int
) -> Any:
    """``__get_vm_area_node()``: addresses for *size* bytes and their guard page; NULL if there are none."""
    if priv(k).context & IN_INTERRUPT:
        bug(k, places.VMALLOC_IN_INTERRUPT, size, flags)
    asked = size
    size = (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)
    if size == 0:
        return no_area(k)
    if flags & VM_IOREMAP:
        align = 1 << max(PAGE_SHIFT, min(fls64(size - 1), IOREMAP_MAX_ORDER))
    gfp &= GFP_RECLAIM_MASK
    got = kmalloc_from(k, sizeof(vm_struct), gfp | __GFP_ZERO, node)
    area = ptr(vm_struct, got, k)
    if not got:
        return area
    if not flags & VM_NO_GUARD:
        size += PAGE_SIZE
    va = alloc_vmap_area(k, size, align, start, end, node, gfp)
    if not va:
        kfree_object(k, got)
        return no_area(k)
    area.flags = flags
    area.addr = va.va_start
    area.size = va.va_end - va.va_start
    area.caller = caller
    if VM_REQUESTED_SIZE:
        area.requested_size = asked
    va.vm = area
    return area


@jit
def get_vm_area(k: Any, size: int, flags: int) -> Any:
    """``get_vm_area_caller()``."""
    return get_vm_area_node(k, size, 1, flags, START, END, -1, GFP_KERNEL, priv(k).call_site)


@jit
def area_bytes(area: Any) -> int:
    """``get_vm_area_size()``: without the guard page."""
    return area.size if area.flags & VM_NO_GUARD else area.size - PAGE_SIZE


@jit
def remove_vm_area(k: Any, addr: int) -> Any:
    """``remove_vm_area()``: unmap the area that *addr* lies in; it is the caller's now. NULL if there is none."""
    va = find_vmap_area(k, addr)
    if not va or not va.vm:
        return no_area(k)
    area = va.vm
    va.vm = no_area(k)
    vunmap_range(k, va.va_start, va.va_end)
    free_vmap_area_noflush(k, va)
    return area


@jit
def free_vm_area(k: Any, area: Any) -> None:
    """``void free_vm_area(struct vm_struct *area)``."""
    remove_vm_area(k, area.addr)
    kfree_object(k, address(area))


@jit
def store_page(k: Any, pages: int, index: int, value: int) -> None:
    """``pages[index] = value``; the array may lie anywhere that page tables map."""
    store64(k, linear(k, pages + 8 * index), value)


@jit
def load_page(k: Any, pages: int, index: int) -> int:
    """``pages[index]``."""
    return load64(k, linear(k, pages + 8 * index))


@jit
def vm_area_alloc_pages(k: Any, area: Any, gfp: int, node: int, order: int, count: int) -> int:
    """``vm_area_alloc_pages()``: note *count* pages in the area's array, from blocks of *order*; how many it got.

    Blocks are split: each page is freed by itself. Large ones are not insisted on.
    """
    pages = area.pages
    if order:
        gfp &= ~__GFP_NOFAIL
    got = 0
    while got < count:
        p = alloc_pages_node(k, gfp | __GFP_NOWARN, order, node)
        if not p:
            return got
        for i in range(1 << order):
            sub = p + i
            sub._refcount = 1
            store_page(k, pages, got + i, address(sub))
        got += 1 << order
    return got


@jit
def map_area(k: Any, area: Any, prot: int, order: int) -> bool:
    """``vmap_pages_range()`` for the pages of an area; False if a page table could not be had."""
    addr, pages, count = area.addr, area.pages, area.nr_pages
    for i in range(0, count, 1 << order):
        at = addr + (i << PAGE_SHIFT)
        phys = page_to_pfn(ptr(page, load_page(k, pages, i), k)) << PAGE_SHIFT
        good = map_huge(k, at, phys, prot) if order else map_page(k, at, phys, prot)
        if not good:
            return False
    return True


@jit
def release_area(k: Any, area: Any) -> int:
    """Free the pages of an unmapped area, and the array of them if it is a kmalloc object; the array otherwise."""
    pages = area.pages
    for i in range(area.nr_pages):
        free_pages(k, ptr(page, load_page(k, pages, i), k), 0)
    if area.flags & VM_MAP_PUT_PAGES == 0:
        k.nr_vmalloc_pages = k.nr_vmalloc_pages - area.nr_pages
    if is_vmalloc_addr(pages):
        return pages
    if pages and area.flags & VM_MAP_PUT_PAGES:
        kfree(k, pages)  # the caller's own allocation: everybody is told
    elif pages:
        kfree_object(k, pages)
    return 0


@jit
def vunmap_area(k: Any, addr: int, deallocate_pages: bool) -> None:
    """``__vunmap()``: unmap the area that *addr* lies in and free what belongs to it; other addresses warn.

    The array of pages may lie in an area of its own, whose array may again; they go from the outermost inwards,
    and their descriptors the other way round.
    """
    outer = no_area(k)
    while addr:
        if addr & (PAGE_SIZE - 1):
            warn(k, places.VFREE_BAD_ADDRESS, addr, 0)
            break
        area = remove_vm_area(k, addr)
        if not area:
            warn(k, places.VFREE_NONEXISTENT, addr, 0)
            break
        addr = release_area(k, area) if deallocate_pages else 0
        area.next = outer
        outer = area
    while outer:
        area = outer
        outer = area.next
        kfree_object(k, address(area))


@jit
def area_for(k: Any, size: int, align: int, flags: int, start: int, end: int, node: int, gfp: int, caller: int) -> Any:
    """`get_vm_area_node`, reported when it fails, and repeated for ``__GFP_NOFAIL``."""
    while True:
        area = get_vm_area_node(k, size, align, flags, start, end, node, gfp, caller)
        if area:
            return area
        if not gfp & __GFP_NOWARN:
            tell(k, UP_VMALLOC_FAILED, NO_AREA_RETRYING if gfp & __GFP_NOFAIL else NO_AREA, size, gfp, node)
        if not gfp & __GFP_NOFAIL:
            return area


@jit
def fill_area(k: Any, area: Any, gfp: int, prot: int, node: int, order: int) -> bool:
    """Take the pages of an area whose array is there, and map them."""
    count = area_bytes(area) >> PAGE_SHIFT
    area.page_order = order
    area.nr_pages = vm_area_alloc_pages(k, area, gfp, node, order, count)
    k.nr_vmalloc_pages = k.nr_vmalloc_pages + area.nr_pages
    if area.nr_pages != count or not map_area(k, area, prot, order):
        return False
    area.flags = area.flags & ~VM_UNINITIALIZED
    return True


@jit
def alloc_page_array(k: Any, top: Any, gfp: int, node: int) -> bool:
    """Zeroed memory for the array of an area's pages: kmalloc up to a page, else an area of its own, which needs one
    too; False if there is none.
    """
    gfp = (gfp & GFP_RECLAIM_MASK) | __GFP_ZERO
    area = top
    count = area_bytes(area) >> PAGE_SHIFT
    good = True
    while good and count * 8 > PAGE_SIZE:
        inner = area_for(k, count * 8, 1, VM_ALLOC | VM_UNINITIALIZED, START, END, node, gfp, top.caller)
        if inner:
            inner.next = area
            area = inner
            count = area_bytes(area) >> PAGE_SHIFT
        else:
            good = False
    if good:
        area.pages = kmalloc_from(k, count * 8, gfp, node)
        good = area.pages != 0
    while good and area != top:
        good = fill_area(k, area, gfp, PAGE_KERNEL, node, 0)
        if good:
            outer = area.next
            outer.pages = area.addr
            area.next = no_area(k)
            area = outer
    while area != top:
        outer = area.next
        vunmap_area(k, area.addr, True)
        area = outer
    return good


@jit
def area_node(
    k: Any, size: int, align: int, start: int, end: int, gfp: int, prot: int, vm_flags: int, node: int, caller: int
) -> int:
    """``__vmalloc_node_range()`` behind its checks of the size, and ``__vmalloc_area_node()``."""
    order = 0
    real_align = align
    nodes = k.nr_node_ids if node < 0 else 1
    if vm_flags & VM_ALLOW_HUGE_VMAP and size // nodes >= PMD_SIZE:
        order = 9
        align = max(align, PMD_SIZE)
    while True:
        step = PAGE_SIZE << order
        flags = VM_ALLOC | VM_UNINITIALIZED | vm_flags
        area = area_for(k, (size + step - 1) & ~(step - 1), align, flags, start, end, node, gfp, caller)
        if area:
            if VM_REQUESTED_SIZE:
                area.requested_size = size
            if alloc_page_array(k, area, gfp, node):
                if fill_area(k, area, gfp, prot, node, order):
                    return area.addr
                vunmap_area(k, area.addr, True)
            else:
                free_vm_area(k, area)
        if order == 0:
            return 0
        order = 0
        align = real_align


@jit
def vmalloc_node_range(
    k: Any, size: int, align: int, start: int, end: int, gfp: int, prot: int, vm_flags: int, node: int
) -> int:
    """``__vmalloc_node_range()``: the address of *size* mapped bytes, or 0.

    Too large a size and a missing area are reported unless ``__GFP_NOWARN``; a lack of pages never is, because the
    pages are asked for with that flag.
    """
    if size == 0:
        warn(k, places.VMALLOC_ZERO, size, 0)
        return 0
    if size < 0 or size >> PAGE_SHIFT > k.totalram_pages:
        if not gfp & __GFP_NOWARN:
            tell(k, UP_VMALLOC_FAILED, EXCEEDS, size, gfp, node)
        return 0
    return area_node(k, size, align, start, end, gfp, prot, vm_flags, node, priv(k).call_site)


@jit
def vmalloc_node(k: Any, size: int, align: int, gfp: int, vm_flags: int, node: int) -> int:
    """``__vmalloc_node()`` with its event."""
    got = 0
    if may_fail(k, gfp):
        got = vmalloc_node_range(k, size, align, START, END, gfp, PAGE_KERNEL, vm_flags, node)
    emit(k, VMALLOC, got, size, (size + 4095) & ~4095, gfp, node, 0, 0)
    return got


@jit
def run_work(k: Any) -> None:
    """What other tasks do for vmalloc as soon as this one lets them: ``free_work()`` and ``drain_vmap_area_work()``.

    Nothing where the task must not be preempted.
    """
    if priv(k).context:
        return
    for cpu in range(k.nr_cpu_ids):
        addr = k.vfree_deferred[cpu]
        k.vfree_deferred[cpu] = 0
        while addr:
            following = load64(k, linear(k, addr))
            vunmap_area(k, addr, True)
            addr = following
    drain_vmap_area_work(k)


@jit
def vfree_deferred(k: Any, addr: int) -> None:
    """``__vfree_deferred()``: the area waits, linked through its first word."""
    cpu = priv(k).cpu
    store64(k, linear(k, addr), k.vfree_deferred[cpu])
    k.vfree_deferred[cpu] = addr


@jit
def vfree(k: Any, addr: int) -> None:
    """``void vfree(const void *addr)``: NULL does nothing; an address that is no area's warns. In an interrupt the
    memory stays until the list of the CPU is worked off; in an NMI the kernel stops.
    """
    if priv(k).context & IN_NMI:
        bug(k, places.VFREE_IN_NMI, addr, 0)
    emit(k, VFREE, addr, 0, 0, 0, -1, 0, 0)
    if addr == 0:
        return
    if priv(k).context & IN_INTERRUPT:
        vfree_deferred(k, addr)
        return
    vunmap_area(k, addr, True)
    run_work(k)


@jit
def vmalloc_to_page(k: Any, addr: int) -> int:
    """``struct page *vmalloc_to_page(const void *vmalloc_addr)``; 0 if nothing is mapped there."""
    phys = lookup(k, addr)
    return address(page_at_phys(k, phys)) if phys >= 0 else 0


@entry
def k_vmalloc(ram: Any, size: int, align: int, gfp: int, vm_flags: int, node: int) -> int:
    """Entry for :func:`vmalloc_node`."""
    k = kernel(ram)
    run_work(k)
    return vmalloc_node(k, size, align, gfp, vm_flags, node)


@entry
def k_vmalloc_range(
    ram: Any, size: int, align: int, start: int, end: int, gfp: int, prot: int, vm_flags: int, node: int
) -> int:
    """Entry for :func:`vmalloc_node_range`, with its event."""
    k = kernel(ram)
    got = 0
    if may_fail(k, gfp):
        got = vmalloc_node_range(k, size, align, start, end, gfp, prot, vm_flags, node)
    emit(k, VMALLOC, got, size, (size + 4095) & ~4095, gfp, node, 0, 0)
    return got


@entry
def k_vfree(ram: Any, addr: int) -> int:
    """Entry for :func:`vfree`."""
    vfree(kernel(ram), addr)
    return 0


@entry
def k_vfree_atomic(ram: Any, addr: int) -> int:
    """``void vfree_atomic(const void *addr)``: as vfree in an interrupt, wherever it is called."""
    k = kernel(ram)
    if priv(k).context & IN_NMI:
        bug(k, places.VFREE_ATOMIC_IN_NMI, addr, 0)
    emit(k, VFREE, addr, 0, 0, 0, -1, 0, 0)
    if addr:
        vfree_deferred(k, addr)
    return 0


@entry
def k_run_work(ram: Any) -> int:
    """Entry for :func:`run_work`."""
    run_work(kernel(ram))
    return 0


@entry
def k_module_alloc(ram: Any, size: int) -> int:
    """``void *module_alloc(unsigned long size)`` (arch/x86/kernel/module.c): in the module area, writable, not
    executable yet.
    """
    k = kernel(ram)
    return vmalloc_node_range(k, size, PAGE_SIZE, _MODULES, _MODULES_END, GFP_KERNEL, PAGE_KERNEL, 0, -1)


@entry
def k_find_vm_area(ram: Any, addr: int) -> int:
    """``find_vm_area()``: the ``struct vm_struct`` that *addr* lies in, or 0."""
    k = kernel(ram)
    va = find_vmap_area(k, addr)
    return address(va.vm) if va else 0


@entry
def k_vmalloc_to_page(ram: Any, addr: int) -> int:
    """Entry for :func:`vmalloc_to_page`."""
    return vmalloc_to_page(kernel(ram), addr)


@entry
def k_lookup(ram: Any, addr: int) -> int:
    """Entry for :func:`lookup`: physical address, or -1."""
    return lookup(kernel(ram), addr)
