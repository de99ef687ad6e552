"""The page allocator's front: zones, watermarks, reserves, and what it means to fail (mm/page_alloc.c, 6.1).

A request names the highest zone that it can use by its gfp mask; the node's zonelist is tried from there downwards. A
zone may be used while its free pages stay above a watermark; below it only requests that may not sleep, or that free
memory, go on. Simplified here: no swap and no page cache yet, so direct reclaim gives back what lies on per-cpu lists
and reserved page blocks; compaction does not move pages.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import (
    __GFP_COMP,
    __GFP_DIRECT_RECLAIM,
    __GFP_HIGH,
    __GFP_KSWAPD_RECLAIM,
    __GFP_MEMALLOC,
    __GFP_MOVABLE,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_RECLAIMABLE,
    __GFP_RETRY_MAYFAIL,
    __GFP_THISNODE,
    __GFP_ZERO,
)
from kmem.lib.jit import address, container_of, entry, fill, jit, lshr, ptr
from kmem.lib.list import INIT_LIST_HEAD, list_empty
from kmem.mm import places
from kmem.mm.codes import UP_ALLOC_FAILED, UP_OUT_OF_MEMORY
from kmem.mm.events import MM_PAGE_ALLOC, MM_PAGE_FREE, emit, inner_fails, may_fail
from kmem.mm.features import FOLIO_ORDER, GFP_ATOMIC_BIT, HIGHATOMIC_MINIMUM, PAGE_BLOCK_EXACT, PCP_HIGH_AUTO
from kmem.mm.mm_types import folio, page
from kmem.mm.mmzone import (
    MAX_ORDER,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    NR_FREE_PAGES,
    PAGE_ALLOC_COSTLY_ORDER,
    PAGE_SHIFT,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    PG_HEAD,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    count_vm_events,
    get_pageblock_migratetype,
    kernel,
    numa_node_id,
    page_to_pfn,
    page_to_virt,
    set_pageblock_migratetype,
    virt_to_page,
)
from kmem.mm.page_free import (
    ZONE_BELOW_HIGH,
    change_pageblock_range,
    drain_all_pages,
    free_pages,
    mergeable,
    move_to_free_list,
)
from kmem.mm.page_rmqueue import (
    ALLOC_CPUSET,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    move_freepages_block,
    no_page,
    rmqueue,
)
from kmem.mm.upcalls import tell, warn
from kmem.mm.vm_events import EV_PGALLOC_FAIL, EV_ZEROED

COMPOUND_PAGE_DTOR = 1
ANY_NODE = -1
"""A node mask with all nodes, which is what no mask means."""
TAIL_MAPPING = 0xDEAD000000000400 - (1 << 64)


@jit
def gfp_zone(gfp: int) -> int:
    """``enum zone_type gfp_zone(gfp_t flags)``: the highest zone that may be used (no highmem on x86-64)."""
    if gfp & 0x01:
        return ZONE_DMA
    if gfp & 0x04:
        return ZONE_DMA32
    if gfp & 0x0A == 0x0A:
        return ZONE_MOVABLE
    return ZONE_NORMAL


@jit
def gfp_migratetype(gfp: int) -> int:
    """``int gfp_migratetype(const gfp_t gfp_flags)``."""
    return (gfp & (__GFP_MOVABLE | __GFP_RECLAIMABLE)) >> 3


@jit
def zone_watermark_ok(z: Any, order: int, mark: int, zoneidx: int, alloc_flags: int) -> bool:
    """``__zone_watermark_ok()``: enough pages would remain, and a block of *order* is there."""
    free = z.vm_stat[NR_FREE_PAGES] - ((1 << order) - 1)
    if not alloc_flags & ALLOC_RESERVES:
        free -= z.nr_free_highatomic if PAGE_BLOCK_EXACT else z.nr_reserved_highatomic
    least = mark
    if alloc_flags & ALLOC_MIN_RESERVE:
        least -= least // 2
        if alloc_flags & ALLOC_NON_BLOCK:
            least -= least // 4
    if alloc_flags & ALLOC_OOM:
        least -= least // 2
    if free <= least + z.lowmem_reserve[zoneidx]:
        return False
    if order == 0:
        return True
    for o in range(order, MAX_ORDER):
        area = z.free_area[o]
        if area.nr_free:
            for mt in range(MIGRATE_PCPTYPES):
                if not list_empty(area.free_list[mt]):
                    return True
            if alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) and not list_empty(area.free_list[MIGRATE_HIGHATOMIC]):
                return True
    return False


@jit
def prep_compound_page(p: Any, order: int) -> None:
    """``prep_compound_page()``: head and tails."""
    p.flags = p.flags | (1 << PG_HEAD)
    for i in range(1, 1 << order):
        tail = p + i
        tail.mapping = TAIL_MAPPING
        tail.compound_head = address(p) + 1
        tail.private = 0
    if FOLIO_ORDER:
        f = ptr(folio, address(p), p)
        f._flags_1 = (f._flags_1 & ~0xFF) | order
        f._folio_nr_pages = 1 << order
        f._large_mapcount = -1
        f._entire_mapcount = -1
        f._nr_pages_mapped = 0
        f._pincount = 0
        if order > 1:
            INIT_LIST_HEAD(f._deferred_list)
        return
    first = p + 1
    first.compound_dtor = COMPOUND_PAGE_DTOR
    first.compound_order = order
    first.compound_nr = 1 << order
    first.compound_mapcount = -1
    first.compound_pincount = 0


@jit
def prep_new_page(k: Any, p: Any, order: int, gfp: int) -> None:
    """``prep_new_page()``: reference, wipe, make compound."""
    p.private = 0
    p._refcount = 1
    if gfp & __GFP_ZERO or k.init_on_alloc:
        fill(k, page_to_virt(p), 0, 1 << (PAGE_SHIFT + order))
        count_vm_events(k, EV_ZEROED, 1 << (PAGE_SHIFT + order))
    if order and gfp & __GFP_COMP:
        prep_compound_page(p, order)
    p.compound_head = 0  # clear_page_pfmemalloc(); no page of ours remembers that it came from the reserves


@jit
def reserve_highatomic_pageblock(k: Any, z: Any, p: Any, order: int) -> None:
    """``reserve_highatomic_pageblock()``: keep this page block for high-order requests that may not sleep; at most 1
    %.
    """
    most = z.managed_pages // 100
    if HIGHATOMIC_MINIMUM:
        if most < PAGEBLOCK_NR_PAGES:
            return
        most = (most + PAGEBLOCK_NR_PAGES - 1) & ~(PAGEBLOCK_NR_PAGES - 1)
    else:
        most += PAGEBLOCK_NR_PAGES
    if z.nr_reserved_highatomic >= most:
        return
    pfn = page_to_pfn(p)
    if not mergeable(get_pageblock_migratetype(k, pfn)):
        return
    if PAGE_BLOCK_EXACT:
        if order >= PAGEBLOCK_ORDER:
            change_pageblock_range(k, pfn, order, MIGRATE_HIGHATOMIC)
            z.nr_reserved_highatomic = z.nr_reserved_highatomic + (1 << order)
        elif move_freepages_block(k, z, p, MIGRATE_HIGHATOMIC) >= 0:
            z.nr_reserved_highatomic = z.nr_reserved_highatomic + PAGEBLOCK_NR_PAGES
        return
    z.nr_reserved_highatomic = z.nr_reserved_highatomic + PAGEBLOCK_NR_PAGES
    set_pageblock_migratetype(k, pfn, MIGRATE_HIGHATOMIC)
    move_freepages_block(k, z, p, MIGRATE_HIGHATOMIC)


@jit
def node_zonelist(k: Any, node: int, gfp: int) -> Any:
    """``struct zonelist *node_zonelist(int nid, gfp_t flags)``: of this node alone with ``__GFP_THISNODE``."""
    return k.node_data[node].node_zonelists[1 if gfp & __GFP_THISNODE else 0]


@jit
def next_zones_zonelist(lst: Any, i: int, zoneidx: int, nodes: int) -> int:
    """``next_zones_zonelist()``: from number *i* on, the first zone that is no higher than *zoneidx* and whose node is
    in the mask *nodes* (ANY_NODE: all); the number of the NULL at the end if there is none.
    """
    while lst._zonerefs[i].zone:
        if lst._zonerefs[i].zone_idx <= zoneidx and lshr(nodes, lst._zonerefs[i].zone.node) & 1:
            break
        i += 1
    return i


@jit
def unreserve_highatomic_pageblock(k: Any, gfp: int, node: int, nodes: int) -> bool:
    """Give one reserved page block back to everybody (the kernel's ``force=true``); False if there was none."""
    zoneidx, migratetype = gfp_zone(gfp), gfp_migratetype(gfp)
    lst = node_zonelist(k, node, gfp)
    i = next_zones_zonelist(lst, 0, zoneidx, nodes)
    while lst._zonerefs[i].zone:
        z = lst._zonerefs[i].zone
        i = next_zones_zonelist(lst, i + 1, zoneidx, nodes)
        for order in range(MAX_ORDER):
            head = z.free_area[order].free_list[MIGRATE_HIGHATOMIC]
            if list_empty(head):
                continue
            p = container_of(head.next, page, "lru")
            pfn = page_to_pfn(p)
            if get_pageblock_migratetype(k, pfn) == MIGRATE_HIGHATOMIC:
                size = max(PAGEBLOCK_NR_PAGES, 1 << order) if PAGE_BLOCK_EXACT else PAGEBLOCK_NR_PAGES
                z.nr_reserved_highatomic = max(z.nr_reserved_highatomic - size, 0)
            if PAGE_BLOCK_EXACT:
                if order >= PAGEBLOCK_ORDER:
                    move_to_free_list(p, z, order, MIGRATE_HIGHATOMIC, migratetype)
                    change_pageblock_range(k, pfn, order, migratetype)
                    return True
                if move_freepages_block(k, z, p, migratetype) > 0:
                    return True
                continue
            set_pageblock_migratetype(k, pfn, migratetype)
            if move_freepages_block(k, z, p, migratetype):
                return True
    return False


@jit
def may_ignore_boost(gfp: int, alloc_flags: int) -> bool:
    """Whether an order-0 request goes by the watermark without its boost: one that is atomic, or has a reserve."""
    if GFP_ATOMIC_BIT:
        return gfp & 0x200 != 0
    return alloc_flags & ALLOC_MIN_RESERVE != 0


@jit
def get_page_from_freelist(k: Any, gfp: int, order: int, alloc_flags: int, node: int, nodes: int) -> Any:
    """``get_page_from_freelist()``: the first zone of *node*'s zonelist, of those on *nodes*, that can give the
    block.
    """
    zoneidx, migratetype = gfp_zone(gfp), gfp_migratetype(gfp)
    lst = node_zonelist(k, node, gfp)
    first = next_zones_zonelist(lst, 0, zoneidx, nodes)
    preferred = lst._zonerefs[first].zone
    while True:
        no_fallback = alloc_flags & ALLOC_NOFRAGMENT
        again = False
        i = first
        while True:
            z = lst._zonerefs[i].zone
            if not z:
                break
            i = next_zones_zonelist(lst, i + 1, zoneidx, nodes)
            if no_fallback and k.nr_node_ids > 1 and z.node != preferred.node:
                again = True  # a block of another type on this node is better than another node
                break
            if PCP_HIGH_AUTO and not z.flags & (1 << ZONE_BELOW_HIGH):
                high = z._watermark[WMARK_HIGH] + z.watermark_boost
                if not zone_watermark_ok(z, order, high, zoneidx, alloc_flags):
                    z.flags = z.flags | (1 << ZONE_BELOW_HIGH)
            mark = z._watermark[alloc_flags & 3] + z.watermark_boost
            ok = zone_watermark_ok(z, order, mark, zoneidx, alloc_flags)
            if (
                not ok
                and order == 0
                and may_ignore_boost(gfp, alloc_flags)
                and z.watermark_boost
                and alloc_flags & 3 == WMARK_MIN
            ):
                ok = zone_watermark_ok(z, order, z._watermark[WMARK_MIN], zoneidx, alloc_flags)
            if not ok and not alloc_flags & ALLOC_NO_WATERMARKS:
                continue
            p = rmqueue(k, preferred, z, order, alloc_flags, migratetype)
            if p:
                prep_new_page(k, p, order, gfp)
                if alloc_flags & ALLOC_HIGHATOMIC:
                    reserve_highatomic_pageblock(k, z, p, order)
                return p
        if not no_fallback and not again:
            return no_page(k)
        alloc_flags &= ~ALLOC_NOFRAGMENT


@jit
def gfp_to_alloc_flags(gfp: int, order: int) -> int:
    """``gfp_to_alloc_flags()``: what the slow path may do."""
    flags = WMARK_MIN | ALLOC_CPUSET | (gfp & (__GFP_HIGH | __GFP_KSWAPD_RECLAIM))
    if not gfp & __GFP_DIRECT_RECLAIM:
        if not gfp & __GFP_NOMEMALLOC:
            flags |= ALLOC_NON_BLOCK
            if order > 0 and flags & ALLOC_MIN_RESERVE:
                flags |= ALLOC_HIGHATOMIC
        if flags & ALLOC_MIN_RESERVE:
            flags &= ~ALLOC_CPUSET
    return flags


@jit
def alloc_pages_slowpath(k: Any, gfp: int, order: int, node: int, nodes: int) -> Any:
    """``__alloc_pages_slowpath()``: lower watermarks, reserves, reclaim, and the decision to fail or to kill."""
    alloc_flags = gfp_to_alloc_flags(gfp, order)
    p = get_page_from_freelist(k, gfp, order, alloc_flags, node, nodes)
    if p:
        return p
    if gfp & __GFP_MEMALLOC and not gfp & __GFP_NOMEMALLOC:
        p = get_page_from_freelist(k, gfp, order, ALLOC_NO_WATERMARKS, node, nodes)
        if p:
            return p
    if gfp & __GFP_DIRECT_RECLAIM:
        for _ in range(16):
            drain_all_pages(k)
            while True:
                p = get_page_from_freelist(k, gfp, order, alloc_flags & ~ALLOC_KSWAPD, node, nodes)
                if p:
                    return p
                if not unreserve_highatomic_pageblock(k, gfp, node, nodes):
                    break
            if gfp & __GFP_NORETRY or (
                order > PAGE_ALLOC_COSTLY_ORDER and not gfp & (__GFP_RETRY_MAYFAIL | __GFP_NOFAIL)
            ):
                break
            if gfp & __GFP_RETRY_MAYFAIL and not gfp & __GFP_NOFAIL:
                break
            if not tell(k, UP_OUT_OF_MEMORY, gfp, order, node, 0):
                break
        if gfp & __GFP_NOFAIL:
            p = get_page_from_freelist(k, gfp, order, ALLOC_NO_WATERMARKS, node, nodes)
            if p:
                return p
    count_vm_events(k, EV_PGALLOC_FAIL, 1)
    if not gfp & __GFP_NOWARN:
        tell(k, UP_ALLOC_FAILED, gfp, order, node, 0)
    return p


@jit
def alloc_flags_nofragment(k: Any, z: Any, gfp: int) -> int:
    """``alloc_flags_nofragment()``: whether to spare blocks of other types first, which needs a lower zone beside
    *z*.
    """
    flags: int = gfp & __GFP_KSWAPD_RECLAIM
    if not z or address(z) != address(z.zone_pgdat.node_zones[ZONE_NORMAL]):
        return flags
    if k.nr_node_ids > 1 and not z.zone_pgdat.node_zones[ZONE_DMA32].present_pages:
        return flags
    return flags | ALLOC_NOFRAGMENT


@jit
def alloc_pages_nodemask(k: Any, gfp: int, order: int, node: int, nodes: int) -> Any:
    """``__alloc_pages()``: a block of 2^order pages near *node*, on one of *nodes* (a mask, ANY_NODE: all), or NULL.

    Above the largest order: NULL, and a warning unless ``__GFP_NOWARN``.
    """
    if order >= MAX_ORDER:
        if not gfp & __GFP_NOWARN:
            warn(k, places.ALLOC_PAGES_ORDER, order, gfp)
        return no_page(k)
    if inner_fails(k, gfp):
        return no_page(k)
    lst = node_zonelist(k, node, gfp)
    preferred = lst._zonerefs[next_zones_zonelist(lst, 0, gfp_zone(gfp), nodes)].zone
    alloc_flags = WMARK_LOW | alloc_flags_nofragment(k, preferred, gfp)
    p = get_page_from_freelist(k, gfp, order, alloc_flags, node, nodes)
    if not p:
        p = alloc_pages_slowpath(k, gfp, order, node, nodes)
    return p


@jit
def alloc_pages_node(k: Any, gfp: int, order: int, node: int) -> Any:
    """``alloc_pages_node()``: near *node*, or near this CPU for NUMA_NO_NODE (-1)."""
    return alloc_pages_nodemask(k, gfp, order, node if node >= 0 else numa_node_id(k), ANY_NODE)


@jit
def alloc_pages(k: Any, gfp: int, order: int, node: int) -> Any:
    """``struct page *alloc_pages(gfp_t gfp, unsigned int order)`` on *node* (-1: any), with its trace event."""
    if not may_fail(k, gfp):
        return no_page(k)
    p = alloc_pages_node(k, gfp, order, node)
    emit(k, MM_PAGE_ALLOC, page_to_pfn(p) if p else -1, 0, 4096 << order, gfp, node, 0, order)
    return p


@jit
def free_pages_traced(k: Any, p: Any, order: int) -> None:
    """:func:`free_pages` with its trace event."""
    emit(k, MM_PAGE_FREE, page_to_pfn(p), 0, 4096 << order, 0, -1, 0, order)
    free_pages(k, p, order)


@jit
def get_free_pages(k: Any, gfp: int, order: int) -> int:
    """``unsigned long __get_free_pages(gfp_t gfp_mask, unsigned int order)``."""
    p = alloc_pages(k, gfp & ~0x02, order, -1)
    return page_to_virt(p) if p else 0


@entry
def k_alloc_pages(ram: Any, gfp: int, order: int, node: int) -> int:
    """Entry for :func:`alloc_pages`; the address of the ``struct page``."""
    return address(alloc_pages(kernel(ram), gfp, order, node))


@entry
def k_alloc_pages_nodemask(ram: Any, gfp: int, order: int, node: int, nodes: int) -> int:
    """Entry for :func:`alloc_pages_nodemask`, with its trace event; the address of the ``struct page``."""
    k = kernel(ram)
    if not may_fail(k, gfp):
        return 0
    p = alloc_pages_nodemask(k, gfp, order, node, nodes)
    emit(k, MM_PAGE_ALLOC, page_to_pfn(p) if p else -1, 0, 4096 << order, gfp, node, 0, order)
    return address(p)


@entry
def k_free_pages(ram: Any, p: int, order: int) -> int:
    """Entry for :func:`free_pages_traced`."""
    k = kernel(ram)
    free_pages_traced(k, ptr(page, p, k), order)
    return 0


@entry
def k_get_free_pages(ram: Any, gfp: int, order: int) -> int:
    """Entry for :func:`get_free_pages`."""
    return get_free_pages(kernel(ram), gfp, order)


@entry
def k_free_pages_addr(ram: Any, addr: int, order: int) -> int:
    """``void free_pages(unsigned long addr, unsigned int order)``."""
    k = kernel(ram)
    if addr:
        free_pages_traced(k, virt_to_page(k, addr), order)
    return 0
