"""Addresses and what they are worth (arch/x86/mm/physaddr.c), 6.1."""

from __future__ import annotations

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host


@export(faithful)
def __virt_addr_valid(k: Host, x: int) -> bool:
    """``bool __virt_addr_valid(unsigned long x)``

    arch/x86/mm/physaddr.c, 6.1. Whether *x* lies in the direct map or the kernel image, on a page that has a ``struct
    page``.
    """
    phys = x - START_KERNEL_MAP if x >= START_KERNEL_MAP else x - PAGE_OFFSET
    if x >= START_KERNEL_MAP and phys >= 1 << 30:
        return False
    return phys >= 0 and phys >> 12 < k.mm.max_pfn()
