"""ioremap: device memory in the vmalloc area (arch/x86/mm/ioremap.c, 6.1).

What lies at the physical addresses, and whether they are RAM, the caller has found out (`kmem.mm.api.Mm.ioremap`).
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import GFP_KERNEL
from kmem.lib.jit import address, entry, jit
from kmem.mm.events import IOREMAP, IOUNMAP, emit, may_fail
from kmem.mm.memtype import cachemode2protval, is_new_memtype_allowed, memtype_free, memtype_reserve
from kmem.mm.mmzone import PAGE_SIZE, kernel
from kmem.mm.pgtable import PAGE_KERNEL, map_range
from kmem.mm.slab_common import kfree_object
from kmem.mm.vm_flags import NOT_ALLOWED, VM_IOREMAP, WB
from kmem.mm.vmalloc import area_bytes, free_vm_area, get_vm_area, remove_vm_area, run_work
from kmem.mm.vmap_area import find_vmap_area


@jit
def ioremap_caller(k: Any, phys: int, size: int, pcm: int, ram: int) -> int:
    """``__ioremap_caller()`` behind its checks: the address, or a negative error number, or NOT_ALLOWED with the type
    that others have. *ram*: reserved pages of RAM, which have no memtype.
    """
    offset = phys & (PAGE_SIZE - 1)
    first = phys - offset
    length = (size + offset + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)
    new = pcm
    if not ram:
        new = memtype_reserve(k, first, first + length, pcm)
        if new < 0:
            return new
        if new != pcm and not is_new_memtype_allowed(first, first + length, pcm, new):
            memtype_free(k, first, first + length)
            return NOT_ALLOWED | new
    area = get_vm_area(k, length, VM_IOREMAP)
    if area:
        area.phys_addr = first
        prot = PAGE_KERNEL if new == WB else PAGE_KERNEL | cachemode2protval(new)
        if map_range(k, area.addr, first, length, prot):
            return area.addr + offset
        free_vm_area(k, area)
    if not ram:
        memtype_free(k, first, first + length)
    return 0


@entry
def k_ioremap(ram: Any, phys: int, size: int, pcm: int, of_ram: int) -> int:
    """Entry for :func:`ioremap_caller`, with its event."""
    k = kernel(ram)
    run_work(k)
    got = ioremap_caller(k, phys, size, pcm, of_ram) if may_fail(k, GFP_KERNEL) else 0
    failed = -4096 < got < 4096
    length = (size + (phys & 4095) + 4095) & ~4095
    emit(k, IOREMAP, 0 if failed else got, size, length, GFP_KERNEL, -1, 0, 0)
    return got


@entry
def k_iounmap(ram: Any, addr: int, of_ram: int) -> int:
    """``void iounmap(volatile void __iomem *addr)`` for the address of a mapping; -1 if it is none's."""
    k = kernel(ram)
    va = find_vmap_area(k, addr & ~(PAGE_SIZE - 1))
    if not va or not va.vm:
        return -1
    emit(k, IOUNMAP, addr, 0, 0, 0, -1, 0, 0)
    area = va.vm
    if not of_ram:
        memtype_free(k, area.phys_addr, area.phys_addr + area_bytes(area))
    remove_vm_area(k, addr)
    kfree_object(k, address(area))
    run_work(k)
    return 0
