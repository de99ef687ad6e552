"""vmalloc: pages from anywhere, made contiguous by page tables (mm/vmalloc.c, 6.1).

An area is a ``struct vm_struct`` (what it is for, its pages) tied to a busy ``vmap_area`` (where it is). It is
followed by an unmapped guard page, which its ``size`` includes. Freeing unmaps at once and returns the pages, but the
addresses wait for the next purge. Simplified: in interrupt context vfree works at once, where the kernel defers it to
a work queue.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.address import MODULES_END, MODULES_VADDR, VMALLOC_END, VMALLOC_START
from kmem.abi.gfp import __GFP_NOWARN, __GFP_ZERO, GFP_KERNEL
from kmem.lib.cstruct import s64
from kmem.lib.jit import address, entry, fls64, jit, load64, ptr, store64
from kmem.mm import places
from kmem.mm.codes import EXCEEDS, NO_AREA, NO_PAGES, UP_VMALLOC_FAILED
from kmem.mm.events import IOREMAP, IOUNMAP, VFREE, VMALLOC, emit, may_fail
from kmem.mm.mm_types import page, vm_struct
from kmem.mm.mmzone import PAGE_SHIFT, PAGE_SIZE, is_vmalloc_addr, kernel, page_to_pfn, phys_to_virt, priv
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_free import free_pages
from kmem.mm.pgtable import (
    NX,
    PAGE_KERNEL,
    PAGE_KERNEL_NOCACHE,
    PMD_SIZE,
    change_page,
    lookup,
    map_huge,
    map_page,
    page_at_phys,
    vunmap_range,
)
from kmem.mm.slab_common import KMALLOC_MAX_CACHE_SIZE, kfree_object, kmalloc_from
from kmem.mm.upcalls import bug, tell, warn
from kmem.mm.vmap_area import (
    alloc_vmap_area,
    find_vmap_area,
    free_vmap_area_lazy,
    purge_vmap_area_lazy,
    vmap_init_free_space,
)

VM_IOREMAP, VM_ALLOC, VM_MAP, VM_USERMAP, VM_DMA_COHERENT, VM_UNINITIALIZED, VM_NO_GUARD = (1 << n for n in range(7))
VM_MAP_PUT_PAGES, VM_ALLOW_HUGE_VMAP = 0x200, 0x400
IOREMAP_MAX_ORDER = 30
IN_INTERRUPT = 0xFFFF00
"""Bits of the context: soft interrupt, hard interrupt, NMI."""

_START, _END = s64(VMALLOC_START), s64(VMALLOC_END) + 1
_MODULES, _MODULES_END = s64(MODULES_VADDR), s64(MODULES_END)


@jit
def no_area(k: Any) -> Any:
    """``(struct vm_struct *)NULL``."""
    return ptr(vm_struct, 0, k)


@jit
def get_vm_area_node(k: Any, size: int, align: int, flags: int, start: int, end: int) -> Any:
    """``__get_vm_area_node()``: addresses for *size* bytes and their guard page; NULL if there are none."""
    if priv(k).context & IN_INTERRUPT:
        bug(k, places.VMALLOC_IN_INTERRUPT, size, flags)
    size = (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)
    if size == 0:
        return no_area(k)
    if flags & VM_IOREMAP:
        align = 1 << max(PAGE_SHIFT, min(fls64(size - 1), IOREMAP_MAX_ORDER))
    got = kmalloc_from(k, 64, GFP_KERNEL | __GFP_ZERO, -1)
    area = ptr(vm_struct, got, k)
    if not got:
        return area
    if not flags & VM_NO_GUARD:
        size += PAGE_SIZE
    va = alloc_vmap_area(k, size, align, start, end)
    if not va:
        kfree_object(k, got)
        return no_area(k)
    area.flags = flags
    area.addr = va.va_start
    area.size = va.va_end - va.va_start
    area.caller = priv(k).call_site
    va.vm = area
    return area


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
    free_vmap_area_lazy(k, va)
    return area


@jit
def fill_area(k: Any, area: Any, pages: int, gfp: int, node: int, prot: int, order: int) -> int:
    """The second half of ``__vmalloc_area_node()``: take pages, note them in the array at *pages*, map them; 0, or why
    not.
    """
    count = area_bytes(area) >> PAGE_SHIFT
    area.pages = pages
    area.page_order = order
    got = 0
    while got < count:
        p = alloc_pages_node(k, gfp | __GFP_NOWARN, order, node)
        if not p:
            return NO_PAGES
        for i in range(1 << order):
            sub = p + i
            sub._refcount = 1
            store_page(k, pages, got + i, address(sub))
        got += 1 << order
        area.nr_pages = got
        k.nr_vmalloc_pages = k.nr_vmalloc_pages + (1 << order)
    addr = area.addr
    i = 0
    while i < count:
        at = addr + (i << PAGE_SHIFT)
        phys = page_to_pfn(ptr(page, load_page(k, pages, i), k)) << PAGE_SHIFT
        good = map_huge(k, at, phys, prot) if order else map_page(k, at, phys, prot)
        if not good:
            return NO_PAGES
        i += 1 << order
    return 0


@jit
def alloc_page_array(k: Any, size: int, node: int) -> int:
    """Zeroed memory for the array of an area's pages: kmalloc up to a page, else an inner vmalloc; 0 on failure."""
    if size <= PAGE_SIZE:
        return kmalloc_from(k, size, GFP_KERNEL | __GFP_ZERO, node)
    area = get_vm_area_node(k, size, PAGE_SIZE, VM_ALLOC, _START, _END)
    if not area:
        return 0
    inner = (size + PAGE_SIZE - 1) // PAGE_SIZE * 8
    pages = 0
    if inner <= KMALLOC_MAX_CACHE_SIZE:
        pages = kmalloc_from(k, inner, GFP_KERNEL | __GFP_ZERO, node)
    if pages and fill_area(k, area, pages, GFP_KERNEL | __GFP_ZERO, node, PAGE_KERNEL, 0) == 0:
        return area.addr
    remove_vm_area(k, area.addr)
    if pages:
        release_pages(k, area)
        kfree_object(k, pages)
    kfree_object(k, address(area))
    return 0


@jit
def release_pages(k: Any, area: Any) -> None:
    """Free the pages of an area, in order."""
    pages = area.pages
    for i in range(area.nr_pages):
        free_pages(k, ptr(page, load_page(k, pages, i), k), 0)
    if not area.flags & VM_MAP_PUT_PAGES:
        k.nr_vmalloc_pages = k.nr_vmalloc_pages - area.nr_pages
    area.nr_pages = 0


@jit
def alloc_area_pages(k: Any, area: Any, gfp: int, node: int, prot: int, order: int) -> int:
    """``__vmalloc_area_node()``: pages for the area, mapped; 0, or why not."""
    pages = alloc_page_array(k, (area_bytes(area) >> PAGE_SHIFT) * 8, node)
    if not pages:
        return NO_AREA
    return fill_area(k, area, pages, gfp, node, prot, order)


@jit
def store_page(k: Any, pages: int, index: int, value: int) -> None:
    """``pages[index] = value``; the array may itself be vmalloc memory."""
    at = pages + 8 * index
    if is_vmalloc_addr(at):
        at = phys_direct(k, at)
    store64(k, at, value)


@jit
def load_page(k: Any, pages: int, index: int) -> int:
    """``pages[index]``."""
    at = pages + 8 * index
    if is_vmalloc_addr(at):
        at = phys_direct(k, at)
    return load64(k, at)


@jit
def phys_direct(k: Any, addr: int) -> int:
    """The direct-map address of what *addr* maps."""
    return phys_to_virt(lookup(k, addr))


@jit
def free_area_pages(k: Any, area: Any) -> None:
    """The pages of an area and the array of them (which may be an inner vmalloc, whose own array never is)."""
    release_pages(k, area)
    pages = area.pages
    if is_vmalloc_addr(pages):
        inner = remove_vm_area(k, pages)
        release_pages(k, inner)
        kfree_object(k, inner.pages)
        kfree_object(k, address(inner))
    elif pages:
        kfree_object(k, pages)


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
    order = 0
    real_size, real_align = size, align
    if vm_flags & VM_ALLOW_HUGE_VMAP and size >= PMD_SIZE:
        order = 9
        align = max(align, PMD_SIZE)
        size = (size + PMD_SIZE - 1) & ~(PMD_SIZE - 1)
    while True:
        area = get_vm_area_node(k, size, align, VM_ALLOC | VM_UNINITIALIZED | vm_flags, start, end)
        if area:
            if alloc_area_pages(k, area, gfp, max(node, 0), prot, order) == 0:
                area.flags = area.flags & ~VM_UNINITIALIZED
                return area.addr
            remove_vm_area(k, area.addr)
            free_area_pages(k, area)
            kfree_object(k, address(area))
        elif not gfp & __GFP_NOWARN:
            tell(k, UP_VMALLOC_FAILED, NO_AREA, real_size, gfp, node)
        if order == 0:
            return 0
        order = 0
        size, align = real_size, real_align


@jit
def vmalloc_node(k: Any, size: int, align: int, gfp: int, vm_flags: int, node: int) -> int:
    """``__vmalloc_node()`` with its event."""
    got = 0
    if may_fail(k, gfp):
        got = vmalloc_node_range(k, size, align, _START, _END, gfp, PAGE_KERNEL, vm_flags, node)
    emit(k, VMALLOC, got, size, (size + 4095) & ~4095, gfp, node, 0, 0)
    return got


@jit
def vfree(k: Any, addr: int) -> None:
    """``void vfree(const void *addr)``: NULL does nothing; an address that is no area's warns."""
    emit(k, VFREE, addr, 0, 0, 0, -1, 0, 0)
    if addr == 0:
        return
    if addr & 4095:
        warn(k, places.VFREE_BAD_ADDRESS, addr, 0)
        return
    area = remove_vm_area(k, addr)
    if not area:
        warn(k, places.VFREE_NONEXISTENT, addr, 0)
        return
    if area.flags & (VM_ALLOC | VM_MAP_PUT_PAGES):
        free_area_pages(k, area)
    kfree_object(k, address(area))


@jit
def vmalloc_to_page(k: Any, addr: int) -> int:
    """``struct page *vmalloc_to_page(const void *vmalloc_addr)``; 0 if nothing is mapped there."""
    phys = lookup(k, addr)
    return address(page_at_phys(k, phys)) if phys >= 0 else 0


@entry
def k_vmalloc_init(ram: Any, cache: int) -> int:
    """``vmalloc_init()``; *cache* is the cache of vmap_areas."""
    vmap_init_free_space(kernel(ram), cache)
    return 0


@entry
def k_vmalloc(ram: Any, size: int, align: int, gfp: int, vm_flags: int, node: int) -> int:
    """Entry for :func:`vmalloc_node`."""
    return vmalloc_node(kernel(ram), size, align, gfp, vm_flags, node)


@entry
def k_vfree(ram: Any, addr: int) -> int:
    """Entry for :func:`vfree`."""
    vfree(kernel(ram), addr)
    return 0


@entry
def k_module_alloc(ram: Any, size: int) -> int:
    """``void *module_alloc(unsigned long size)`` (arch/x86/kernel/module.c): in the module area, writable, not
    executable yet.
    """
    k = kernel(ram)
    return vmalloc_node_range(k, size, PAGE_SIZE, _MODULES, _MODULES_END, GFP_KERNEL, PAGE_KERNEL, 0, -1)


@entry
def k_module_memfree(ram: Any, addr: int) -> int:
    """``void module_memfree(void *module_region)``."""
    k = kernel(ram)
    area = remove_vm_area(k, addr)
    if area:
        free_area_pages(k, area)
        kfree_object(k, address(area))
        purge_vmap_area_lazy(k)
    return 0


@entry
def k_vmap(ram: Any, pages: int, count: int, flags: int, prot: int) -> int:
    """``void *vmap(struct page **pages, unsigned int count, unsigned long flags, pgprot_t prot)``."""
    k = kernel(ram)
    if count <= 0 or count > k.totalram_pages or not may_fail(k, GFP_KERNEL):
        return 0
    area = get_vm_area_node(k, count << PAGE_SHIFT, PAGE_SIZE, flags | VM_MAP, _START, _END)
    if not area:
        return 0
    for i in range(count):
        p = ptr(page, load_page(k, pages, i), k)
        if not map_page(k, area.addr + (i << PAGE_SHIFT), page_to_pfn(p) << PAGE_SHIFT, prot | NX):
            remove_vm_area(k, area.addr)
            kfree_object(k, address(area))
            return 0
    if flags & VM_MAP_PUT_PAGES:
        area.pages = pages
        area.nr_pages = count
    emit(k, VMALLOC, area.addr, count << PAGE_SHIFT, count << PAGE_SHIFT, GFP_KERNEL, -1, 0, 0)
    return area.addr


@entry
def k_vunmap(ram: Any, addr: int) -> int:
    """``void vunmap(const void *addr)``."""
    k = kernel(ram)
    if addr:
        emit(k, VFREE, addr, 0, 0, 0, -1, 0, 0)
        area = remove_vm_area(k, addr)
        if area:
            kfree_object(k, address(area))
        else:
            warn(k, places.VFREE_NONEXISTENT, addr, 0)
    return 0


@entry
def k_ioremap(ram: Any, phys: int, size: int) -> int:
    """``void __iomem *ioremap(resource_size_t phys_addr, unsigned long size)`` (arch/x86/mm/ioremap.c): uncached; RAM
    is refused.
    """
    k = kernel(ram)
    offset = phys & 4095
    first = phys - offset
    length = (size + offset + 4095) & ~4095
    if size <= 0 or not may_fail(k, GFP_KERNEL):
        return 0
    area = get_vm_area_node(k, length, PAGE_SIZE, VM_IOREMAP, _START, _END)
    if not area:
        return 0
    area.phys_addr = first
    for at in range(0, length, PAGE_SIZE):
        map_page(k, area.addr + at, first + at, PAGE_KERNEL_NOCACHE)
    emit(k, IOREMAP, area.addr + offset, size, length, GFP_KERNEL, -1, 0, 0)
    return area.addr + offset


@entry
def k_iounmap(ram: Any, addr: int) -> int:
    """``void iounmap(volatile void __iomem *addr)``."""
    k = kernel(ram)
    emit(k, IOUNMAP, addr, 0, 0, 0, -1, 0, 0)
    area = remove_vm_area(k, addr & ~4095)
    if area:
        kfree_object(k, address(area))
    return 0


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


@entry
def k_set_memory(ram: Any, addr: int, count: int, writable: int, executable: int) -> int:
    """``set_memory_{ro,rw,x,nx}()`` on *count* pages; 0, or -EINVAL if one is not mapped with 4 KiB."""
    k = kernel(ram)
    for i in range(count):
        if not change_page(k, addr + (i << PAGE_SHIFT), writable != 0, executable != 0):
            return -22
    return 0


@entry
def k_vm_unmap_aliases(ram: Any) -> int:
    """``vm_unmap_aliases()``: purge now."""
    purge_vmap_area_lazy(kernel(ram))
    return 0
