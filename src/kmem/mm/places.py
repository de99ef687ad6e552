"""Places in the mm where the kernel warns or stops: an integer in compiled code, a file, line and function in the
report.
"""

from __future__ import annotations

from typing import NamedTuple


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
    CACHE_WRONG: Place("mm/slab.h", 665, "cache_from_obj", False),
}
