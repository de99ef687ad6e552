"""From a zonelist to a block of pages: zones, watermarks, the atomic reserve (mm/page_alloc.c, 6.1).

A request names the highest zone that it can use by its gfp mask; the node's zonelist is tried from there downwards. A
zone may be used while its free pages stay above a watermark, less what the request may take of the reserves.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_COMP, __GFP_MOVABLE, __GFP_NOFAIL, __GFP_RECLAIMABLE, __GFP_THISNODE, __GFP_ZERO
from kmem.lib.jit import address, container_of, fill, jit, lshr, ptr
from kmem.lib.list import INIT_LIST_HEAD, list_empty
from kmem.mm import places
from kmem.mm.features import FOLIO_ORDER, GFP_ATOMIC_BIT, HIGHATOMIC_MINIMUM, PAGE_BLOCK_EXACT, PCP_HIGH_AUTO
from kmem.mm.mm_types import folio, page
from kmem.mm.mmzone import (
    MAX_ORDER,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    NR_FREE_PAGES,
    PAGE_SHIFT,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    PG_HEAD,
    WMARK_HIGH,
    WMARK_MIN,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    count_vm_events,
    get_pageblock_migratetype,
    page_to_pfn,
    page_to_virt,
    set_pageblock_migratetype,
)
from kmem.mm.page_free import ZONE_BELOW_HIGH, change_pageblock_range, mergeable, move_to_free_list
from kmem.mm.page_rmqueue import (
    ALLOC_HIGHATOMIC,
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
from kmem.mm.upcalls import warn
from kmem.mm.vm_events import EV_ZEROED

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
def watermark_ok(z: Any, order: int, mark: int, zoneidx: int, alloc_flags: int, free: int) -> bool:
    """``__zone_watermark_ok()``: with *free* pages, enough would remain, and a block of *order* is there."""
    free -= (1 << order) - 1
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
def zone_watermark_ok(z: Any, order: int, mark: int, zoneidx: int, alloc_flags: int) -> bool:
    """``zone_watermark_ok()``: :func:`watermark_ok` with the pages that are free now."""
    return watermark_ok(z, order, mark, zoneidx, alloc_flags, z.vm_stat[NR_FREE_PAGES])


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
def unreserve_highatomic_pageblock(k: Any, gfp: int, node: int, nodes: int, force: bool) -> bool:
    """``unreserve_highatomic_pageblock()``: give one reserved page block back to everybody; False if there was none.

    The last page block of a zone goes only by *force*.
    """
    zoneidx, migratetype = gfp_zone(gfp), gfp_migratetype(gfp)
    lst = node_zonelist(k, node, gfp)
    i = next_zones_zonelist(lst, 0, zoneidx, nodes)
    while lst._zonerefs[i].zone:
        z = lst._zonerefs[i].zone
        i = next_zones_zonelist(lst, i + 1, zoneidx, nodes)
        if not force and z.nr_reserved_highatomic <= PAGEBLOCK_NR_PAGES:
            continue
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
            if gfp & __GFP_NOFAIL and order > 1:
                warn(k, places.ALLOC_NOFAIL_ORDER, order, gfp)
            p = rmqueue(k, preferred, z, order, alloc_flags, migratetype)
            if p:
                prep_new_page(k, p, order, gfp)
                if alloc_flags & ALLOC_HIGHATOMIC:
                    reserve_highatomic_pageblock(k, z, p, order)
                return p
        if not no_fallback and not again:
            return no_page(k)
        alloc_flags &= ~ALLOC_NOFRAGMENT
