"""Zones, page frames and page blocks (include/linux/mmzone.h, page-flags.h, mm.h).

Private layout: the bits of all page blocks (4 each) are in one array, where the kernel has one for each section;
``struct mem_section`` is not kept.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.address import (
    MODULES_END,
    MODULES_VADDR,
    PAGE_OFFSET,
    START_KERNEL_MAP,
    VMALLOC_END,
    VMALLOC_START,
    VMEMMAP_START,
)
from kmem.lib.cstruct import s64
from kmem.lib.jit import address, always_inline, jit, load32, load64, lshr, ptr, root, shl, store64, ult
from kmem.mm.features import BLOCK_ORDER, FOLIO_ORDER, NODE_STAT, PAGE_FLAG, PAGE_TYPE_BYTE
from kmem.mm.mm_types import KDATA, MAX_NODES, PRIVATE_AT, kdata, page, private

PAGE_SHIFT, PAGE_SIZE = 12, 4096
MAX_ORDER = 11
"""The number of orders (NR_PAGE_ORDERS where MAX_PAGE_ORDER is inclusive): the largest block is order 10, 4 MiB."""
PAGEBLOCK_ORDER = BLOCK_ORDER
PAGEBLOCK_NR_PAGES = 1 << PAGEBLOCK_ORDER
PAGE_ALLOC_COSTLY_ORDER = 3
PAGES_PER_SECTION = 1 << 15

ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE, ZONE_DEVICE, MAX_NR_ZONES = range(6)
MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_HIGHATOMIC, MIGRATE_ISOLATE, MIGRATE_TYPES = range(6)
MIGRATE_PCPTYPES = 3

WMARK_MIN, WMARK_LOW, WMARK_HIGH = range(3)

PG_LOCKED, PG_LRU, PG_ACTIVE = PAGE_FLAG["PG_locked"], PAGE_FLAG["PG_lru"], PAGE_FLAG["PG_active"]
PG_RESERVED, PG_PRIVATE, PG_PRIVATE_2 = PAGE_FLAG["PG_reserved"], PAGE_FLAG["PG_private"], PAGE_FLAG["PG_private_2"]
PG_WRITEBACK, PG_WORKINGSET, PG_HEAD = PAGE_FLAG["PG_writeback"], PAGE_FLAG["PG_workingset"], PAGE_FLAG["PG_head"]
PG_SLAB = PAGE_FLAG.get("PG_slab", -1)
"""-1 where being a slab is a page type."""
NODES_PGSHIFT, ZONES_PGSHIFT = 54, 51
NODES_MASK, ZONES_MASK = 0x3FF, 0x7
LAST_CPUPID = 0x1FFFFF << 30
"""Every page that never ran under NUMA balancing has this field set; it shows as lastcpupid=0x1fffff."""
PAGE_FLAGS_CHECK_AT_FREE = (
    1 << PG_LRU
    | 1 << PG_LOCKED
    | 1 << PG_PRIVATE
    | 1 << PG_PRIVATE_2
    | 1 << PG_WRITEBACK
    | 1 << PG_RESERVED
    | 1 << PG_ACTIVE
    | (0 if PAGE_TYPE_BYTE else 1 << PG_SLAB)
)
PAGE_FLAGS_CHECK_AT_PREP = (1 << PAGE_FLAG["PG_hwpoison"]) - 1

PAGE_TYPE_NONE = 0xFFFFFFFF
PAGE_TYPE_MASK = 0xFF000000 if PAGE_TYPE_BYTE else 0xF0000080
TYPE_BUDDY = 0xF0000000 if PAGE_TYPE_BYTE else 0xFFFFFF7F
TYPE_TABLE = 0xF2000000 if PAGE_TYPE_BYTE else 0xFFFFFDFF
TYPE_SLAB = 0xF5000000
"""Values of ``page_type``: a clear bit, or a value of the top byte."""

NR_FREE_PAGES = 0
"""Index into ``zone.vm_stat`` (enum zone_stat_item)."""
NR_SLAB_RECLAIMABLE_B, NR_SLAB_UNRECLAIMABLE_B = (
    NODE_STAT["NR_SLAB_RECLAIMABLE_B"],
    NODE_STAT["NR_SLAB_UNRECLAIMABLE_B"],
)
NR_KERNEL_STACK_KB, NR_PAGETABLE = NODE_STAT["NR_KERNEL_STACK_KB"], NODE_STAT["NR_PAGETABLE"]
"""Indices into ``pgdat.vm_stat`` (enum node_stat_item)."""
NUMA_HIT, NUMA_MISS, NUMA_FOREIGN, NUMA_INTERLEAVE_HIT, NUMA_LOCAL, NUMA_OTHER = range(6)
"""Indices into ``zone.vm_numa_event`` (enum numa_stat_item)."""

_DIRECT, _IMAGE, _VMEMMAP = s64(PAGE_OFFSET), s64(START_KERNEL_MAP), s64(VMEMMAP_START)
_VMALLOC_START, _VMALLOC_END = s64(VMALLOC_START), s64(VMALLOC_END)
_MODULES_VADDR, _MODULES_END = s64(MODULES_VADDR), s64(MODULES_END)


@jit
def kernel(ram: Any) -> Any:
    """The kernel's variables in *ram*."""
    return root(kdata, KDATA, ram)


@always_inline
def priv(k: Any) -> Any:
    """The model's private area beside the RAM of *k*."""
    return ptr(private, PRIVATE_AT, k)


@always_inline
def count_vm_events(k: Any, item: int, n: int) -> None:
    """``count_vm_events()``: *n* more of *item*."""
    k.vm_events[item] = k.vm_events[item] + n


@jit
def mod_node_page_state(k: Any, pgdat: Any, item: int, n: int) -> None:
    """``mod_node_page_state()``: *n* more of *item* (enum node_stat_item), for the node and for the machine.

    Slabs are told in bytes and kept in pages, as everything else.
    """
    if item in (NR_SLAB_RECLAIMABLE_B, NR_SLAB_UNRECLAIMABLE_B):
        n >>= PAGE_SHIFT
    pgdat.vm_stat[item] = pgdat.vm_stat[item] + n
    k.vm_node_stat[item] = k.vm_node_stat[item] + n


@jit
def mod_zone_page_state(z: Any, item: int, n: int) -> None:
    """``mod_zone_page_state()``: *n* more of *item* (enum zone_stat_item), for the zone and for the machine."""
    k = ptr(kdata, KDATA, z)
    z.vm_stat[item] = z.vm_stat[item] + n
    k.vm_zone_stat[item] = k.vm_zone_stat[item] + n


@jit
def count_numa_event(k: Any, z: Any, item: int) -> None:
    """``__count_numa_event()``: one more of *item* (enum numa_stat_item), for the zone and for the machine."""
    z.vm_numa_event[item] = z.vm_numa_event[item] + 1
    k.vm_numa_event[item] = k.vm_numa_event[item] + 1


@jit
def pfn_to_page(k: Any, pfn: int) -> Any:
    """``struct page *pfn_to_page(unsigned long pfn)``."""
    return ptr(page, _VMEMMAP + pfn * 64, k)


@jit
def page_to_pfn(p: Any) -> int:
    """``unsigned long page_to_pfn(struct page *page)``."""
    return (address(p) - _VMEMMAP) >> 6


@jit
def page_to_virt(p: Any) -> int:
    """``void *page_to_virt(struct page *page)``: its address in the direct map."""
    return _DIRECT + (page_to_pfn(p) << PAGE_SHIFT)


@always_inline
def virt_to_phys(x: int) -> int:
    """``__phys_addr()``: direct map or kernel image."""
    if ult(x, _IMAGE):
        return x - _DIRECT
    return x - _IMAGE


@jit
def phys_to_virt(x: int) -> int:
    """``void *phys_to_virt(phys_addr_t address)``."""
    return _DIRECT + x


@always_inline
def virt_to_page(k: Any, x: int) -> Any:
    """``struct page *virt_to_page(const void *x)``; the direct map and the kernel image only, as in C unchecked."""
    return pfn_to_page(k, virt_to_phys(x) >> PAGE_SHIFT)


@always_inline
def compound_head(p: Any) -> Any:
    """The head of the compound page that *p* belongs to, or *p* (page-flags.h)."""
    head = p.compound_head
    if head & 1:
        return ptr(page, head - 1, p)
    return p


@always_inline
def virt_to_head_page(k: Any, x: int) -> Any:
    """``struct page *virt_to_head_page(const void *x)``."""
    return compound_head(virt_to_page(k, x))


@jit
def is_vmalloc_addr(x: int) -> int:
    """``bool is_vmalloc_addr(const void *x)``."""
    return 1 if _VMALLOC_START <= x <= _VMALLOC_END else 0


@jit
def is_vmalloc_or_module_addr(x: int) -> int:
    """``int is_vmalloc_or_module_addr(const void *x)``."""
    return 1 if _MODULES_VADDR <= x < _MODULES_END else is_vmalloc_addr(x)


@jit
def numa_node_id(k: Any) -> int:
    """``int numa_node_id(void)``: this CPU's node, from its per-cpu variable ``numa_node``."""
    return load32(k, k.__per_cpu_offset[priv(k).cpu] + k.numa_node_offset)


@jit
def page_zonenum(p: Any) -> int:
    """``enum zone_type page_zonenum(const struct page *page)``."""
    return lshr(p.flags, ZONES_PGSHIFT) & ZONES_MASK


@jit
def node_distance(k: Any, a: int, b: int) -> int:
    """``int __node_distance(int from, int to)``: 10 to itself."""
    return k.numa_distance[a * MAX_NODES + b]


@jit
def page_to_nid(p: Any) -> int:
    """``int page_to_nid(const struct page *page)``."""
    return lshr(p.flags, NODES_PGSHIFT) & NODES_MASK


@jit
def page_pgdat(k: Any, p: Any) -> Any:
    """``pg_data_t *page_pgdat(const struct page *page)``."""
    return k.node_data[page_to_nid(p)]


@jit
def page_zone(k: Any, p: Any) -> Any:
    """``struct zone *page_zone(const struct page *page)``."""
    return k.node_data[page_to_nid(p)].node_zones[page_zonenum(p)]


@jit
def page_buddy(p: Any) -> bool:
    """``PageBuddy(page)``: heads a free block."""
    return p.page_type & PAGE_TYPE_MASK == 0xF0000000


@jit
def set_buddy_order(p: Any, order: int) -> None:
    """``set_buddy_order()``: order in ``private``, and PageBuddy."""
    p.private = order
    p.page_type = TYPE_BUDDY


@jit
def clear_buddy(p: Any) -> None:
    """``__ClearPageBuddy`` and ``private`` = 0."""
    p.page_type = PAGE_TYPE_NONE
    p.private = 0


@always_inline
def page_slab(p: Any) -> bool:
    """``PageSlab(page)``."""
    if PAGE_TYPE_BYTE:
        return p.page_type & PAGE_TYPE_MASK == TYPE_SLAB
    return p.flags & (1 << PG_SLAB) != 0


@jit
def set_page_slab(p: Any) -> None:
    """``__folio_set_slab()``."""
    if PAGE_TYPE_BYTE:
        p.page_type = TYPE_SLAB
    else:
        p.flags = p.flags | (1 << PG_SLAB)


@jit
def clear_page_slab(p: Any) -> None:
    """``__folio_clear_slab()``; ``page_mapcount_reset()``."""
    if not PAGE_TYPE_BYTE:
        p.flags = p.flags & ~(1 << PG_SLAB)
    p.page_type = PAGE_TYPE_NONE


@jit
def page_head(p: Any) -> bool:
    """``PageHead(page)``."""
    return p.flags & (1 << PG_HEAD) != 0


@jit
def compound_order(p: Any) -> int:
    """``unsigned int compound_order(struct page *page)``."""
    if not page_head(p):
        return 0
    if FOLIO_ORDER:
        return (p + 1).flags & 0xFF
    return (p + 1).compound_order


# Page block bits: 4 a block, 16 blocks a word. The kernel keeps them by 128 MiB section; here all are in one array.


@jit
def _pageblock_word(k: Any, pfn: int) -> int:
    return k.pageblock_flags + (lshr(pfn, PAGEBLOCK_ORDER + 4) << 3)


@jit
def get_pageblock_migratetype(k: Any, pfn: int) -> int:
    """``get_pageblock_migratetype()``."""
    shift = (lshr(pfn, PAGEBLOCK_ORDER) & 15) * 4
    return lshr(load64(k, _pageblock_word(k, pfn)), shift) & 7


@jit
def set_pageblock_migratetype(k: Any, pfn: int, migratetype: int) -> None:
    """``set_pageblock_migratetype()``."""
    if k.page_group_by_mobility_disabled and migratetype < MIGRATE_PCPTYPES:
        migratetype = MIGRATE_UNMOVABLE
    word = _pageblock_word(k, pfn)
    shift = (lshr(pfn, PAGEBLOCK_ORDER) & 15) * 4
    store64(k, word, (load64(k, word) & ~shl(7, shift)) | shl(migratetype, shift))


PB_MIGRATE_SKIP = 3
"""The fourth bit of a page block: compaction found nothing there lately."""


@jit
def get_pageblock_skip(k: Any, pfn: int) -> bool:
    """``get_pageblock_skip()``."""
    shift = (lshr(pfn, PAGEBLOCK_ORDER) & 15) * 4 + PB_MIGRATE_SKIP
    return lshr(load64(k, _pageblock_word(k, pfn)), shift) & 1 != 0


@jit
def set_pageblock_skip(k: Any, pfn: int, skip: bool) -> None:
    """``set_pageblock_skip()`` and ``clear_pageblock_skip()``."""
    word = _pageblock_word(k, pfn)
    bit = shl(1, (lshr(pfn, PAGEBLOCK_ORDER) & 15) * 4 + PB_MIGRATE_SKIP)
    old = load64(k, word)
    store64(k, word, old | bit if skip else old & ~bit)
