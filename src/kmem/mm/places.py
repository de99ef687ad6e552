"""Places in the mm where the kernel warns or stops: an integer in compiled code, a file, line and function in the
report.
"""

from __future__ import annotations

from typing import NamedTuple

from kmem.abi.release import release


class Place(NamedTuple):
    """Where a kernel warning or BUG comes from, as 6.1.192 prints it; *once*: only the first time."""

    file: str
    line: int
    function: str
    once: bool


(
    ALLOC_PAGES_ORDER,
    VMALLOC_ZERO,
    KVMALLOC_INT_MAX,
    SLUB_DOUBLE_FREE,
    VMALLOC_IN_INTERRUPT,
    VFREE_NONEXISTENT,
    KFREE_NOT_SLAB,
) = range(7)
VFREE_BAD_ADDRESS, VFREE_IN_NMI, CACHE_WRONG, FREE_NOT_SLAB, IOREMAP_RAM = range(7, 12)
(
    VFREE_ATOMIC_IN_NMI,
    VUNMAP_IN_INTERRUPT,
    VMAP_WITHOUT_GUARD,
    VMAP_MAPPED_ALREADY,
    VMAP_NO_PAGE,
    VMAP_BAD_PFN,
    VMAP_PFN_VALID,
    VB_ALLOC_ZERO,
    VB_ALLOC_TOO_LARGE,
    VB_FREE_TOO_LARGE,
    VB_FREE_STILL_FREE,
    VM_UNMAP_RAM_NULL,
    VM_UNMAP_RAM_BELOW,
    VM_UNMAP_RAM_ABOVE,
    VM_UNMAP_RAM_MISALIGNED,
    VM_UNMAP_RAM_NO_AREA,
    IOREMAP_INVALID,
    IOUNMAP_ISA,
    MEMREMAP_MIXED,
    MEMREMAP_RAM,
) = range(100, 120)
ALLOC_ATOMIC_RECLAIM, ALLOC_NOFAIL_OOM, ALLOC_NOFAIL_NOWAIT, ALLOC_NOFAIL_MEMALLOC, ALLOC_NOFAIL_COSTLY = range(12, 17)
ALLOC_NOFAIL_ORDER = 17
ALLOC_PAGES_EXACT, CACHE_STILL_USED, CONTIG_IN_USE, USERCOPY_REGION, CTOR_ZERO = range(200, 205)

PLACES: dict[int, Place] = {
    ALLOC_PAGES_ORDER: Place("mm/page_alloc.c", 5634, "__alloc_pages", True),
    VMALLOC_ZERO: Place("mm/vmalloc.c", 3227, "__vmalloc_node_range", True),
    KVMALLOC_INT_MAX: Place("mm/util.c", 596, "kvmalloc_node", True),
    SLUB_DOUBLE_FREE: Place("mm/slub.c", 419, "__slab_free", False),
    VMALLOC_IN_INTERRUPT: Place("mm/vmalloc.c", 2554, "__get_vm_area_node", False),
    VFREE_NONEXISTENT: Place("mm/vmalloc.c", 2758, "__vunmap", False),
    VFREE_BAD_ADDRESS: Place("mm/vmalloc.c", 2752, "__vunmap", False),
    VFREE_IN_NMI: Place("mm/vmalloc.c", 2854, "vfree", False),
    KFREE_NOT_SLAB: Place("mm/slab_common.c", 904, "free_large_kmalloc", True),
    FREE_NOT_SLAB: Place("mm/slab.h", 630, "virt_to_cache", True),
    IOREMAP_RAM: Place("arch/x86/mm/ioremap.c", 211, "__ioremap_caller", True),
    VFREE_ATOMIC_IN_NMI: Place("mm/vmalloc.c", 2818, "vfree_atomic", False),
    VUNMAP_IN_INTERRUPT: Place("mm/vmalloc.c", 2878, "vunmap", False),
    VMAP_WITHOUT_GUARD: Place("mm/vmalloc.c", 2913, "vmap", True),
    VMAP_MAPPED_ALREADY: Place("mm/vmalloc.c", 541, "vmap_small_pages_range_noflush", False),
    VMAP_NO_PAGE: Place("mm/vmalloc.c", 545, "vmap_small_pages_range_noflush", False),
    VMAP_BAD_PFN: Place("mm/vmalloc.c", 549, "vmap_small_pages_range_noflush", False),
    VMAP_PFN_VALID: Place("mm/vmalloc.c", 2950, "vmap_pfn_apply", True),
    VB_ALLOC_ZERO: Place("mm/vmalloc.c", 2129, "vm_map_ram", False),
    VB_ALLOC_TOO_LARGE: Place("mm/vmalloc.c", 2128, "vm_map_ram", False),
    VB_FREE_TOO_LARGE: Place("mm/vmalloc.c", 2179, "vm_unmap_ram", False),
    VB_FREE_STILL_FREE: Place("mm/vmalloc.c", 2200, "vm_unmap_ram", False),
    VM_UNMAP_RAM_NULL: Place("mm/vmalloc.c", 2281, "vm_unmap_ram", False),
    VM_UNMAP_RAM_BELOW: Place("mm/vmalloc.c", 2282, "vm_unmap_ram", False),
    VM_UNMAP_RAM_ABOVE: Place("mm/vmalloc.c", 2283, "vm_unmap_ram", False),
    VM_UNMAP_RAM_MISALIGNED: Place("mm/vmalloc.c", 2284, "vm_unmap_ram", False),
    VM_UNMAP_RAM_NO_AREA: Place("mm/vmalloc.c", 2295, "vm_unmap_ram", False),
    IOREMAP_INVALID: Place("arch/x86/mm/ioremap.c", 201, "__ioremap_caller", True),
    IOUNMAP_ISA: Place("arch/x86/mm/ioremap.c", 467, "iounmap", False),
    MEMREMAP_MIXED: Place("kernel/iomem.c", 81, "memremap", True),
    MEMREMAP_RAM: Place("kernel/iomem.c", 107, "memremap", True),
    ALLOC_ATOMIC_RECLAIM: Place("mm/page_alloc.c", 5118, "__alloc_pages_slowpath.constprop.0", True),
    ALLOC_NOFAIL_OOM: Place("mm/page_alloc.c", 4526, "__alloc_pages_slowpath.constprop.0", True),
    ALLOC_NOFAIL_NOWAIT: Place("mm/page_alloc.c", 5367, "__alloc_pages_slowpath.constprop.0", True),
    ALLOC_NOFAIL_MEMALLOC: Place("mm/page_alloc.c", 5375, "__alloc_pages_slowpath.constprop.0", True),
    ALLOC_NOFAIL_COSTLY: Place("mm/page_alloc.c", 5383, "__alloc_pages_slowpath.constprop.0", True),
    ALLOC_NOFAIL_ORDER: Place("mm/page_alloc.c", 3891, "get_page_from_freelist", True),
    ALLOC_PAGES_EXACT: Place("mm/page_alloc.c", 5930, "alloc_pages_exact", True),
    CACHE_STILL_USED: Place("mm/slab_common.c", 493, "kmem_cache_destroy", False),
    CONTIG_IN_USE: Place("mm/page_alloc.c", 9508, "free_contig_range", False),
    USERCOPY_REGION: Place("mm/slab_common.c", 320, "kmem_cache_create_usercopy", False),
    CTOR_ZERO: Place("mm/slub.c", 2001, "new_slab", True),
    CACHE_WRONG: Place("mm/slab.h", 665, "cache_from_obj", False),
}


_NAMES = {value: name for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)}


def place(where: int, of: str) -> Place:
    """The place in release *of*: what its data say, else where 6.1.192 has it."""
    found = release(of).places.get(_NAMES[where])
    return Place(*found) if found else PLACES[where]
