"""vmalloc and kvmalloc (mm/vmalloc.c, mm/util.c), 6.1. The work is done by `Host.mm`."""

from __future__ import annotations

from kmem.abi import gfp
from kmem.kapi.export import export, faithful, simplified, stub
from kmem.kapi.host import Host

PAGE_SIZE = 4096
SIZE_MAX = (1 << 64) - 1
ZERO_SIZE_PTR = 16
VM_MAP = 4
PAGE_KERNEL = 0x8000000000000163
"""Page protection of ordinary kernel data: present, writable, accessed, dirty, global, not executable."""

ZEROED = gfp.GFP_KERNEL | gfp.__GFP_ZERO
_NO_USER = simplified("there is no user memory to map the area into")


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


@export(simplified("mapped with 4 KiB pages like any other"))
def vmalloc_huge(k: Host, size: int, gfp_mask: int) -> int:
    """``void *vmalloc_huge(unsigned long size, gfp_t gfp_mask)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmalloc(size, gfp_mask)


@export(_NO_USER)
def vmalloc_user(k: Host, size: int) -> int:
    """``void *vmalloc_user(unsigned long size)``

    mm/vmalloc.c, 6.1. Zeroed.
    """
    return k.mm.vmalloc(size, ZEROED)


@export(faithful)
def vmalloc_32(k: Host, size: int) -> int:
    """``void *vmalloc_32(unsigned long size)``

    mm/vmalloc.c, 6.1. Of pages below 4 GiB.
    """
    return k.mm.vmalloc(size, gfp.GFP_DMA32 | gfp.GFP_KERNEL)


@export(_NO_USER)
def vmalloc_32_user(k: Host, size: int) -> int:
    """``void *vmalloc_32_user(unsigned long size)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmalloc(size, gfp.GFP_DMA32 | ZEROED)


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

    mm/vmalloc.c, 6.1. NULL is allowed.
    """
    k.mm.vfree(addr)


@export(faithful)
def vmap(k: Host, pages: int, count: int, flags: int, prot: int) -> int:
    """``void *vmap(struct page **pages, unsigned int count, unsigned long flags, pgprot_t prot)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmap([k.mem.u64(pages + 8 * index) for index in range(count)], flags, prot)


@export(faithful)
def vunmap(k: Host, addr: int) -> None:
    """``void vunmap(const void *addr)``

    mm/vmalloc.c, 6.1. NULL is allowed.
    """
    k.mm.vunmap(addr)


@export(simplified("an area of its own, not part of a shared block"))
def vm_map_ram(k: Host, pages: int, count: int, node: int) -> int:
    """``void *vm_map_ram(struct page **pages, unsigned int count, int node)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.vmap([k.mem.u64(pages + 8 * index) for index in range(count)], VM_MAP, PAGE_KERNEL)


@export(simplified("an area of its own, not part of a shared block"))
def vm_unmap_ram(k: Host, mem: int, count: int) -> None:
    """``void vm_unmap_ram(const void *mem, unsigned int count)``

    mm/vmalloc.c, 6.1.
    """
    k.mm.vunmap(mem)


@export(stub)
def vm_unmap_aliases(k: Host) -> None:
    """``void vm_unmap_aliases(void)``

    mm/vmalloc.c, 6.1. Lazily unmapped areas stay until the next purge.
    """


@export(faithful)
def is_vmalloc_addr(k: Host, x: int) -> bool:
    """``bool is_vmalloc_addr(const void *x)``

    mm/vmalloc.c, 6.1.
    """
    return k.mm.is_vmalloc_addr(x)


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
    return k.mm.page_to_pfn(k.mm.vmalloc_to_page(vmalloc_addr))


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
