"""Pages of a process in the kernel's hands, and driver mappings (mm/gup.c, mm/memory.c; 6.1)."""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import address, entry, jit, ptr
from kmem.mm.codes import ACCESS_READ, ACCESS_WRITE, EFAULT, EINVAL
from kmem.mm.features import NODE_STAT
from kmem.mm.memory import (
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_IO,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    insert_page,
    insert_pfn,
    mm_at,
    put_page,
    zap_page_range,
)
from kmem.mm.mm_types import page, vm_area_struct
from kmem.mm.mmap import user_access
from kmem.mm.mmzone import (
    PAGE_SHIFT,
    PAGE_SIZE,
    compound_head,
    kernel,
    mod_node_page_state,
    page_pgdat,
    pfn_to_page,
)
from kmem.mm.vma import find_vma

GUP_PIN_COUNTING_BIAS = 1024
NR_FOLL_PIN_ACQUIRED, NR_FOLL_PIN_RELEASED = NODE_STAT["NR_FOLL_PIN_ACQUIRED"], NODE_STAT["NR_FOLL_PIN_RELEASED"]


@jit
def get_user_page(k: Any, mm: Any, addr: int, write: bool, pin: bool) -> int:
    """``__get_user_pages()`` for one page: the address of its ``struct page`` with a reference, or an error.

    Frames that nobody counts (VM_PFNMAP, VM_IO) are refused. A pin is 1,024 references, ``GUP_PIN_COUNTING_BIAS``.
    """
    vma = find_vma(k, mm, addr)
    if vma and vma.vm_start <= addr and vma.vm_flags & (VM_IO | VM_PFNMAP):
        return EFAULT
    if vma and vma.vm_start <= addr and not vma.vm_flags & (VM_WRITE if write else VM_READ):
        return EFAULT
    phys = user_access(k, mm, addr, ACCESS_WRITE if write else ACCESS_READ)
    if phys < 0:
        return phys
    p = pfn_to_page(k, phys >> PAGE_SHIFT)
    head = compound_head(p)
    head._refcount = head._refcount + (GUP_PIN_COUNTING_BIAS if pin else 1)
    if pin:
        mod_node_page_state(k, page_pgdat(k, head), NR_FOLL_PIN_ACQUIRED, 1)
    return address(p)


@jit
def unpin_user_page(k: Any, p: Any) -> None:
    """``unpin_user_page()``."""
    head = compound_head(p)
    mod_node_page_state(k, page_pgdat(k, head), NR_FOLL_PIN_RELEASED, 1)
    head._refcount = head._refcount - (GUP_PIN_COUNTING_BIAS - 1)
    put_page(k, head)


@entry
def k_get_user_page(ram: Any, mm: int, addr: int, write: int, pin: int) -> int:
    """Entry for :func:`get_user_page`."""
    k = kernel(ram)
    return get_user_page(k, mm_at(k, mm), addr & ~(PAGE_SIZE - 1), write != 0, pin != 0)


@entry
def k_unpin_user_page(ram: Any, p: int) -> int:
    """Entry for :func:`unpin_user_page`."""
    k = kernel(ram)
    unpin_user_page(k, ptr(page, p, k))
    return 0


@entry
def k_put_page(ram: Any, p: int) -> int:
    """``void put_page(struct page *page)``, tail pages included."""
    k = kernel(ram)
    put_page(k, compound_head(ptr(page, p, k)))
    return 0


@entry
def k_vm_insert_page(ram: Any, vma: int, addr: int, p: int) -> int:
    """``int vm_insert_page(struct vm_area_struct *vma, unsigned long addr, struct page *page)``."""
    k = kernel(ram)
    v = ptr(vm_area_struct, vma, k)
    if addr < v.vm_start or addr >= v.vm_end:
        return EFAULT
    if ptr(page, p, k)._refcount == 0:
        return EINVAL
    v.vm_flags = v.vm_flags | VM_MIXEDMAP
    return insert_page(k, v.vm_mm, v, addr & ~(PAGE_SIZE - 1), ptr(page, p, k))


@entry
def k_insert_pfn(ram: Any, vma: int, addr: int, pfn: int, prot: int) -> int:
    """``vmf_insert_pfn_prot()``: an error, or 0. *prot* 0: that of the area."""
    k = kernel(ram)
    v = ptr(vm_area_struct, vma, k)
    if addr < v.vm_start or addr >= v.vm_end:
        return EFAULT
    return insert_pfn(k, v.vm_mm, v, addr & ~(PAGE_SIZE - 1), pfn, prot if prot else v.vm_page_prot.pgprot)


@entry
def k_remap_pfn_range(ram: Any, vma: int, addr: int, pfn: int, size: int, prot: int) -> int:
    """``remap_pfn_range()``: physical memory into an area, which becomes VM_IO and VM_PFNMAP.

    A private writable area must be mapped as a whole.
    """
    k = kernel(ram)
    v = ptr(vm_area_struct, vma, k)
    if addr & (PAGE_SIZE - 1):
        return EINVAL
    if v.vm_flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE:
        if addr != v.vm_start or addr + size != v.vm_end:
            return EINVAL
        v.vm_pgoff = pfn
    v.vm_flags = v.vm_flags | VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP
    end = (addr + size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)
    while addr < end:
        error = insert_pfn(k, v.vm_mm, v, addr, pfn, prot)
        if error:
            return error
        addr += PAGE_SIZE
        pfn += 1
    return 0


@entry
def k_zap_range(ram: Any, mm: int, addr: int, size: int) -> int:
    """``zap_page_range_single()``: the pages go, the area stays."""
    k = kernel(ram)
    return zap_page_range(k, mm_at(k, mm), addr, addr + size)
