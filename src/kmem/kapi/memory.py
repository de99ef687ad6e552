"""Kernel memory in a user's address space: what drivers' mmap and fault handlers call (mm/memory.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import EBUSY, EFAULT, EINVAL, ENOMEM, ENXIO
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host

PAGE = 4096
VM_PFNMAP, VM_DONTEXPAND, VM_DONTDUMP = 0x400, 0x40000, 0x4000000
VM_FAULT_OOM, VM_FAULT_SIGBUS, VM_FAULT_NOPAGE = 1, 2, 0x100


def _vma(k: Host, vma: int, member: str) -> int:
    return k.mem.u64(vma + k.layout["vm_area_struct"].offset(member))


@export(simplified("memory types are not tracked, and no cache attribute is refused"))
def remap_pfn_range(k: Host, vma: int, addr: int, pfn: int, size: int, prot: int) -> int:
    """``int remap_pfn_range(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn, unsigned long size,
    pgprot_t prot)``

    mm/memory.c, 6.1. The frames are not counted; the area becomes VM_IO and VM_PFNMAP.
    """
    return k.user.remap_pfn_range(vma, addr, pfn, size, prot)


@export(faithful)
def vm_iomap_memory(k: Host, vma: int, start: int, len_: int) -> int:
    """``int vm_iomap_memory(struct vm_area_struct *vma, phys_addr_t start, unsigned long len)``

    mm/memory.c, 6.1. As much of the physical range as the area asks for.
    """
    if start + len_ >> 64:
        return -EINVAL
    pages = (len_ + start % PAGE + PAGE - 1) >> 12
    pgoff, length = _vma(k, vma, "vm_pgoff"), _vma(k, vma, "vm_end") - _vma(k, vma, "vm_start")
    if pgoff > pages or length >> 12 > pages - pgoff:
        return -EINVAL
    first = _vma(k, vma, "vm_start")
    return remap_pfn_range(k, vma, first, (start >> 12) + pgoff, length, _vma(k, vma, "vm_page_prot"))


@export(faithful)
def vm_insert_page(k: Host, vma: int, addr: int, page: int) -> int:
    """``int vm_insert_page(struct vm_area_struct *vma, unsigned long addr, struct page *page)``

    mm/memory.c, 6.1. The page is counted: one more reference and one more mapping.
    """
    return k.user.insert_page(vma, addr, page)


@export(faithful)
def vm_map_pages(k: Host, vma: int, pages: int, num: int) -> int:
    """``int vm_map_pages(struct vm_area_struct *vma, struct page **pages, unsigned long num)``

    mm/memory.c, 6.1. The whole area, from page ``vm_pgoff`` of the array on.
    """
    return _map_pages(k, vma, pages, num, _vma(k, vma, "vm_pgoff"))


@export(faithful)
def vm_map_pages_zero(k: Host, vma: int, pages: int, num: int) -> int:
    """``int vm_map_pages_zero(struct vm_area_struct *vma, struct page **pages, unsigned long num)``

    mm/memory.c, 6.1. The whole area, from the first page of the array on.
    """
    return _map_pages(k, vma, pages, num, 0)


def _map_pages(k: Host, vma: int, pages: int, num: int, offset: int) -> int:
    start, end = _vma(k, vma, "vm_start"), _vma(k, vma, "vm_end")
    count = (end - start) >> 12
    if offset >= num or count > num - offset:
        return -ENXIO
    for n in range(count):
        error = vm_insert_page(k, vma, start + n * PAGE, k.mem.u64(pages + 8 * (offset + n)))
        if error:
            return error
    return 0


def _vmf_insert(k: Host, vma: int, addr: int, pfn: int, prot: int) -> int:
    error = k.user.insert_pfn(vma, addr, pfn, prot)
    if error == -EFAULT:
        return VM_FAULT_SIGBUS
    return VM_FAULT_OOM if error == -ENOMEM else VM_FAULT_NOPAGE if error in (0, -EBUSY) else VM_FAULT_SIGBUS


@export(faithful)
def vmf_insert_pfn_prot(k: Host, vma: int, addr: int, pfn: int, pgprot: int) -> int:
    """``vm_fault_t vmf_insert_pfn_prot(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
    pgprot_t pgprot)``

    mm/memory.c, 6.1.
    """
    return _vmf_insert(k, vma, addr, pfn, pgprot)


@export(faithful)
def vmf_insert_pfn(k: Host, vma: int, addr: int, pfn: int) -> int:
    """``vm_fault_t vmf_insert_pfn(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn)``

    mm/memory.c, 6.1.
    """
    return _vmf_insert(k, vma, addr, pfn, 0)


@export(faithful)
def zap_vma_ptes(k: Host, vma: int, address: int, size: int) -> None:
    """``void zap_vma_ptes(struct vm_area_struct *vma, unsigned long address, unsigned long size)``

    mm/memory.c, 6.1. Only in an area of VM_PFNMAP, and inside it.
    """
    inside = _vma(k, vma, "vm_start") <= address <= address + size <= _vma(k, vma, "vm_end")
    if inside and _vma(k, vma, "vm_flags") & VM_PFNMAP:
        k.user.zap(vma, address, size)


@export(faithful)
def vm_get_page_prot(k: Host, vm_flags: int) -> int:
    """``pgprot_t vm_get_page_prot(unsigned long vm_flags)``

    arch/x86/mm/pgprot.c, 6.1.
    """
    if not vm_flags & 7:
        return 0x120
    writable = 2 if vm_flags & 0xA == 0xA else 0
    return 0x25 | writable | (0 if vm_flags & 4 else 1 << 63)


@export(faithful)
def remap_vmalloc_range(k: Host, vma: int, addr: int, pgoff: int) -> int:
    """``int remap_vmalloc_range(struct vm_area_struct *vma, void *addr, unsigned long pgoff)``

    mm/vmalloc.c, 6.1. The pages of vmalloc_user() memory, counted; -EINVAL for other memory and beyond its end.
    """
    start, end = _vma(k, vma, "vm_start"), _vma(k, vma, "vm_end")
    if start % PAGE:
        return -EINVAL
    pages = k.mm.vmalloc_range_pages(addr, pgoff, end - start)
    if isinstance(pages, int):
        return pages
    for at, page in zip(range(start, end, PAGE), pages, strict=True):
        failed = k.user.insert_page(vma, at, page)
        if failed:
            return failed
    flags = vma + k.layout["vm_area_struct"].offset("vm_flags")
    k.mem.set_u64(flags, k.mem.u64(flags) | VM_DONTEXPAND | VM_DONTDUMP)
    return 0
