"""vmalloc and kvmalloc (mm/vmalloc.c, mm/util.c), 6.1. The work is done by `Host.mm`."""

from __future__ import annotations

from kmem.abi import gfp
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

PAGE_SIZE = 4096
SIZE_MAX = (1 << 64) - 1
ZERO_SIZE_PTR = 16
ZEROED = gfp.GFP_KERNEL | gfp.__GFP_ZERO


@export(faithful)
def vmalloc(k: Host, size: int) -> int:
    """``void *vmalloc(unsigned long size)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmalloc(size, gfp.GFP_KERNEL)


@export(faithful)
def vzalloc(k: Host, size: int) -> int:
    """``void *vzalloc(unsigned long size)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vzalloc(size)


@export(faithful)
def vmalloc_node(k: Host, size: int, node: int) -> int:
    """``void *vmalloc_node(unsigned long size, int node)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmalloc(size, gfp.GFP_KERNEL, node)


@export(faithful)
def vzalloc_node(k: Host, size: int, node: int) -> int:
    """``void *vzalloc_node(unsigned long size, int node)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmalloc(size, ZEROED, node)


@export(faithful)
def __vmalloc(k: Host, size: int, gfp_mask: int) -> int:
    """``void *__vmalloc(unsigned long size, gfp_t gfp_mask)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmalloc(size, gfp_mask)


@export(faithful)
def __vmalloc_node(k: Host, size: int, align: int, gfp_mask: int, node: int, caller: int) -> int:
    """``void *__vmalloc_node(unsigned long size, unsigned long align, gfp_t gfp_mask, int node, const void *caller)``

    mm/vmalloc.c, 6.1. Exported with CONFIG_TEST_VMALLOC_MODULE only.
    """
    return k.mm.vmalloc(size, gfp_mask, node, align)


@export(faithful)
def vmalloc_huge(k: Host, size: int, gfp_mask: int) -> int:
    """``void *vmalloc_huge(unsigned long size, gfp_t gfp_mask)``

    mm/vmalloc.c, 6.1. Mapped with 2 MiB pages where there are any, for sizes from 2 MiB on.
    """
    return k.mm.vmalloc_huge(size, gfp_mask)


@export(faithful)
def vmalloc_user(k: Host, size: int) -> int:
    """``void *vmalloc_user(unsigned long size)``

    mm/vmalloc.c, 6.1. Zeroed, and fit for remap_vmalloc_range().
    """
    return k.mm.vmalloc_user(size)


@export(faithful)
def vmalloc_32(k: Host, size: int) -> int:
    """``void *vmalloc_32(unsigned long size)``

    mm/vmalloc.c, 6.1. Of pages below 4 GiB.
    """
    return k.mm.vmalloc_32(size)


@export(faithful)
def vmalloc_32_user(k: Host, size: int) -> int:
    """``void *vmalloc_32_user(unsigned long size)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmalloc_32_user(size)


def _array(k: Host, n: int, size: int, flags: int) -> int:
    return k.mm.vmalloc(n * size, flags) if n * size <= SIZE_MAX else 0


@export(faithful)
def __vmalloc_array(k: Host, n: int, size: int, flags: int) -> int:
    """``void *__vmalloc_array(size_t n, size_t size, gfp_t flags)``

    mm/util.c, 6.1. NULL when the product overflows.
    """
    return _array(k, n, size, flags)


@export(faithful)
def vmalloc_array(k: Host, n: int, size: int) -> int:
    """``void *vmalloc_array(size_t n, size_t size)``

    mm/util.c, 6.1.
    """
    return _array(k, n, size, gfp.GFP_KERNEL)


@export(faithful)
def __vcalloc(k: Host, n: int, size: int, flags: int) -> int:
    """``void *__vcalloc(size_t n, size_t size, gfp_t flags)``

    mm/util.c, 6.1.
    """
    return _array(k, n, size, flags | gfp.__GFP_ZERO)


@export(faithful)
def vcalloc(k: Host, n: int, size: int) -> int:
    """``void *vcalloc(size_t n, size_t size)``

    mm/util.c, 6.1.
    """
    return _array(k, n, size, ZEROED)


@export(faithful)
def vfree(k: Host, addr: int) -> None:
    """``void vfree(const void *addr)``

    mm/vmalloc.c, 6.1. NULL is allowed. In an interrupt the memory is freed later, by a worker.
    """
    k.mm.vfree(addr)


@export(faithful, private=True)
def vfree_atomic(k: Host, addr: int) -> None:
    """``void vfree_atomic(const void *addr)``

    mm/vmalloc.c, 6.1. Freed later, by a worker. Not exported to modules.
    """
    k.mm.vfree_atomic(addr)


@export(faithful)
def vmap(k: Host, pages: int, count: int, flags: int, prot: int) -> int:
    """``void *vmap(struct page **pages, unsigned int count, unsigned long flags, pgprot_t prot)``

    mm/vmalloc.c, 6.1. With VM_MAP_PUT_PAGES vfree() gives back the array and a reference to each page.
    """
    return k.mm.vmap_array(pages, count, flags, prot)


@export(faithful)
def vmap_pfn(k: Host, pfns: int, count: int, prot: int) -> int:
    """``void *vmap_pfn(unsigned long *pfns, unsigned int count, pgprot_t prot)``

    mm/vmalloc.c, 6.1. Only for page frames without a ``struct page``.
    """
    return k.mm.vmap_pfn(pfns, count, prot)


@export(faithful)
def vunmap(k: Host, addr: int) -> None:
    """``void vunmap(const void *addr)``

    mm/vmalloc.c, 6.1. NULL is allowed.
    """
    k.mm.vunmap(addr)


@export(faithful)
def vm_map_ram(k: Host, pages: int, count: int, node: int) -> int:
    """``void *vm_map_ram(struct page **pages, unsigned int count, int node)``

    mm/vmalloc.c, 6.1. Up to 64 pages out of a block of the CPU.
    """
    return k.mm.vm_map_ram(pages, count, node)


@export(faithful)
def vm_unmap_ram(k: Host, mem: int, count: int) -> None:
    """``void vm_unmap_ram(const void *mem, unsigned int count)``

    mm/vmalloc.c, 6.1.
    """
    k.mm.vm_unmap_ram(mem, count)


@export(faithful)
def vm_unmap_aliases(k: Host) -> None:
    """``void vm_unmap_aliases(void)``

    mm/vmalloc.c, 6.1. What was unmapped lazily is flushed from the TLB now.
    """
    k.mm.vm_unmap_aliases()


@export(faithful)
def is_vmalloc_addr(k: Host, x: int) -> bool:
    """``bool is_vmalloc_addr(const void *x)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.is_vmalloc_addr(x)


@export(faithful, private=True)
def is_vmalloc_or_module_addr(k: Host, x: int) -> int:
    """``int is_vmalloc_or_module_addr(const void *x)``

    mm/vmalloc.c, 6.1.
    """
    return int(k.mm.is_vmalloc_or_module_addr(x))


@export(faithful)
def vmalloc_to_page(k: Host, vmalloc_addr: int) -> int:
    """``struct page *vmalloc_to_page(const void *vmalloc_addr)``

    mm/vmalloc.c, 6.1. NULL when nothing is mapped there.
    """
    return k.mm.vmalloc_to_page(vmalloc_addr)


@export(faithful)
def vmalloc_to_pfn(k: Host, vmalloc_addr: int) -> int:
    """``unsigned long vmalloc_to_pfn(const void *vmalloc_addr)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmalloc_to_pfn(vmalloc_addr)


@export(faithful)
def kvmalloc_node(k: Host, size: int, flags: int, node: int) -> int:
    """``void *kvmalloc_node(size_t size, gfp_t flags, int node)``

    mm/util.c, 6.1. kmalloc() first, vmalloc() if that fails and the flags allow it.
    """
    return k.mm.kvmalloc(size, flags, node)


@export(faithful)
def kvfree(k: Host, addr: int) -> None:
    """``void kvfree(const void *addr)``

    mm/util.c, 6.1.
    """
    k.mm.kvfree(addr)


@export(faithful)
def kvfree_sensitive(k: Host, addr: int, len_: int) -> None:
    """``void kvfree_sensitive(const void *addr, size_t len)``

    mm/util.c, 6.1. Zeroes *len* bytes first.
    """
    if addr > ZERO_SIZE_PTR:
        k.mem.fill(addr, 0, len_)
        k.mm.kvfree(addr)


@export(faithful)
def kvrealloc(k: Host, p: int, oldsize: int, newsize: int, flags: int) -> int:
    """``void *kvrealloc(const void *p, size_t oldsize, size_t newsize, gfp_t flags)``

    mm/util.c, 6.1. Never shrinks; on failure NULL, and *p* stays.
    """
    if oldsize >= newsize:
        return p
    new = k.mm.kvmalloc(newsize, flags)
    if new:
        k.mem.write(new, k.mem.read(p, oldsize) if oldsize else b"")
        k.mm.kvfree(p)
    return new
