"""Addresses and what they are worth (arch/x86/mm/physaddr.c), 6.1."""

from __future__ import annotations

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP
from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host
from kmem.mm.vm_flags import WC, WT

_PWT, _PCD, _PAT = 0x08, 0x10, 0x80
PROTVAL = (0, _PWT, _PCD, _PWT | _PCD, _PAT | _PCD | _PWT, _PAT | _PWT)
"""Bits of a 4 KiB entry by ``enum page_cache_mode``: WB, WC, UC-, UC, WT, WP."""

for _mask in ("__default_kernel_pte_mask", "__supported_pte_mask"):
    data(_mask, 8, b"\xff" * 8, doc="Bits that page table entries may have: all. arch/x86/mm/init_64.c.")


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


@export(faithful)
def lookup_address(k: Host, address: int, level: int) -> int:
    """``pte_t *lookup_address(unsigned long address, unsigned int *level)``

    arch/x86/mm/pat/set_memory.c, 6.1. The page table entry, also of a large page; NULL where a table is missing.
    """
    entry, depth = k.mm.lookup_address(address)
    k.mem.set_u32(level, depth)
    return entry


@export(faithful)
def cachemode2protval(k: Host, pcm: int) -> int:
    """``unsigned long cachemode2protval(enum page_cache_mode pcm)``

    arch/x86/mm/init.c, 6.1. The bits of a page table entry for a kind of caching.
    """
    return PROTVAL[pcm]


@export(faithful)
def pgprot_writecombine(k: Host, prot: int) -> int:
    """``pgprot_t pgprot_writecombine(pgprot_t prot)``

    arch/x86/mm/pat/memtype.c, 6.1.
    """
    return prot | PROTVAL[WC]


@export(faithful)
def pgprot_writethrough(k: Host, prot: int) -> int:
    """``pgprot_t pgprot_writethrough(pgprot_t prot)``

    arch/x86/mm/pat/memtype.c, 6.1.
    """
    return prot | PROTVAL[WT]
