"""Taking pages off the free lists: splitting, fallback between migrate types, per-cpu refill (mm/page_alloc.c, 6.1)."""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import container_of, jit, ptr
from kmem.lib.list import list_add_tail, list_del, list_empty
from kmem.mm.features import PAGE_BLOCK_EXACT, PCP_HIGH_AUTO
from kmem.mm.mm_types import page
from kmem.mm.mmzone import (
    MAX_ORDER,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    NUMA_FOREIGN,
    NUMA_HIT,
    NUMA_LOCAL,
    NUMA_MISS,
    NUMA_OTHER,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    WMARK_HIGH,
    count_numa_event,
    count_vm_events,
    get_pageblock_migratetype,
    numa_node_id,
    page_buddy,
    page_to_pfn,
    page_zonenum,
    pfn_to_page,
    set_buddy_order,
    set_pageblock_migratetype,
)
from kmem.mm.page_free import (
    CONFIG_PCP_BATCH_SCALE_MAX,
    ZONE_BELOW_HIGH,
    account_freepages,
    add_to_free_list,
    change_pageblock_range,
    del_page_from_free_list,
    mod_zone_free,
    move_to_free_list,
    order_to_pindex,
    pcp_allowed_order,
    this_cpu_pages,
)
from kmem.mm.vm_events import EV_EXTFRAG, EV_PCP_REFILL, EV_PGALLOC

ALLOC_NO_WATERMARKS, ALLOC_OOM, ALLOC_NON_BLOCK, ALLOC_MIN_RESERVE, ALLOC_CPUSET = 0x04, 0x08, 0x10, 0x20, 0x40
ALLOC_NOFRAGMENT, ALLOC_HIGHATOMIC, ALLOC_KSWAPD = 0x100, 0x200, 0x800
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM
"""What an allocation may do (mm/internal.h); the two lowest bits are the watermark to keep."""

ZONE_BOOSTED_WATERMARK = 0
"""Bit of ``zone.flags``: kswapd is to be woken for a boost."""


@jit
def no_page(k: Any) -> Any:
    """``(struct page *)NULL``."""
    return ptr(page, 0, k)


@jit
def expand(k: Any, z: Any, p: Any, low: int, high: int, migratetype: int) -> None:
    """``expand()``: cut a block of order *high* down to *low*, freeing the upper halves."""
    while high > low:
        high -= 1
        half = p + (1 << high)
        add_to_free_list(half, z, high, migratetype, False)
        set_buddy_order(half, high)


@jit
def rmqueue_smallest(k: Any, z: Any, order: int, migratetype: int) -> Any:
    """``__rmqueue_smallest()``: the smallest free block of the type that is large enough, cut to size."""
    for current_order in range(order, MAX_ORDER):
        head = z.free_area[current_order].free_list[migratetype]
        if list_empty(head):
            continue
        p = container_of(head.next, page, "lru")
        del_page_from_free_list(p, z, current_order)
        expand(k, z, p, order, current_order, migratetype)
        if PAGE_BLOCK_EXACT:
            account_freepages(z, -(1 << order), migratetype)
        else:
            p.index = migratetype
        return p
    return no_page(k)


@jit
def fallback_type(migratetype: int, i: int) -> int:
    """``fallbacks[migratetype][i]``: what to take from when a type has run out."""
    if migratetype == MIGRATE_UNMOVABLE:
        return MIGRATE_RECLAIMABLE if i == 0 else MIGRATE_MOVABLE
    if migratetype == MIGRATE_MOVABLE:
        return MIGRATE_RECLAIMABLE if i == 0 else MIGRATE_UNMOVABLE
    return MIGRATE_UNMOVABLE if i == 0 else MIGRATE_MOVABLE


@jit
def can_steal_fallback(k: Any, order: int, start_mt: int) -> bool:
    """``can_steal_fallback()``: whether to take the whole page block over."""
    if order >= PAGEBLOCK_ORDER // 2 or k.page_group_by_mobility_disabled:
        return True
    return start_mt in (MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE)


@jit
def find_suitable_fallback(z: Any, order: int, migratetype: int) -> int:
    """``find_suitable_fallback()``: the type to take a block of *order* from, or -1."""
    area = z.free_area[order]
    if area.nr_free == 0:
        return -1
    for i in range(2):
        candidate = fallback_type(migratetype, i)
        if not list_empty(area.free_list[candidate]):
            return candidate
    return -1


@jit
def move_freepages_block(k: Any, z: Any, p: Any, migratetype: int) -> int:
    """``move_freepages_block()``: all free pages of the page block change their type; how many.

    Where page blocks are exact the block's own type changes with them, and -1 says that it is not wholly in the zone.
    """
    pfn = page_to_pfn(p)
    start = pfn & ~(PAGEBLOCK_NR_PAGES - 1)
    end = start + PAGEBLOCK_NR_PAGES
    old_type = get_pageblock_migratetype(k, pfn)
    if PAGE_BLOCK_EXACT:
        if start < z.zone_start_pfn or end > z.zone_start_pfn + z.spanned_pages:
            return -1
        set_pageblock_migratetype(k, pfn, migratetype)
    if start < z.zone_start_pfn:
        start = pfn
    if end > z.zone_start_pfn + z.spanned_pages:
        return 0
    moved = 0
    while start < end:
        candidate = pfn_to_page(k, start)
        if not page_buddy(candidate):
            start += 1
            continue
        order = candidate.private
        move_to_free_list(candidate, z, order, old_type, migratetype)
        start += 1 << order
        moved += 1 << order
    return moved


@jit
def boost_watermark(k: Any, z: Any) -> bool:
    """``boost_watermark()``: after mixing types in a block, keep more memory free for a while; False in a tiny zone."""
    factor = k.watermark_boost_factor
    if not factor or z.managed_pages < PAGEBLOCK_NR_PAGES * 4:
        return False
    high = z._watermark[WMARK_HIGH]
    most = high // 10000 * factor + high % 10000 * factor // 10000
    if most:
        z.watermark_boost = min(z.watermark_boost + PAGEBLOCK_NR_PAGES, max(PAGEBLOCK_NR_PAGES, most))
    return most != 0


@jit
def steal_suitable_fallback(k: Any, z: Any, p: Any, start_type: int, whole_block: bool, kswapd: bool) -> None:
    """``steal_suitable_fallback()``: turn a free block of another type, and perhaps its page block, into ours."""
    order: int = p.private
    old_type = get_pageblock_migratetype(k, page_to_pfn(p))
    if old_type != MIGRATE_HIGHATOMIC:
        if order >= PAGEBLOCK_ORDER:
            for i in range(1 << (order - PAGEBLOCK_ORDER)):
                set_pageblock_migratetype(k, page_to_pfn(p) + i * PAGEBLOCK_NR_PAGES, start_type)
        else:
            if boost_watermark(k, z) and kswapd:
                z.flags = z.flags | (1 << ZONE_BOOSTED_WATERMARK)
            if whole_block:
                free = move_freepages_block(k, z, p, start_type)
                alike = 0
                if start_type != MIGRATE_MOVABLE and old_type == MIGRATE_MOVABLE:
                    alike = PAGEBLOCK_NR_PAGES - free
                if free:
                    if free + alike >= 1 << (PAGEBLOCK_ORDER - 1) or k.page_group_by_mobility_disabled:
                        set_pageblock_migratetype(k, page_to_pfn(p), start_type)
                    return
    move_to_free_list(p, z, order, old_type, start_type)


@jit
def free_in_block(k: Any, z: Any, p: Any) -> int:
    """``prep_move_freepages_block()``: free pages of the page block that *p* is in; -1 if it is not wholly in the zone.

    The model has no movable pages in use that could be counted.
    """
    start = page_to_pfn(p) & ~(PAGEBLOCK_NR_PAGES - 1)
    if start < z.zone_start_pfn or start + PAGEBLOCK_NR_PAGES > z.zone_start_pfn + z.spanned_pages:
        return -1
    free = 0
    pfn = start
    while pfn < start + PAGEBLOCK_NR_PAGES:
        candidate = pfn_to_page(k, pfn)
        if page_buddy(candidate):
            free += 1 << candidate.private
            pfn += 1 << candidate.private
        else:
            pfn += 1
    return free


@jit
def try_to_steal_block(k: Any, z: Any, p: Any, current_order: int, order: int, start_type: int) -> Any:
    """``try_to_steal_block()``: a block of *order* out of a page block that becomes ours as a whole, or NULL."""
    block_type = get_pageblock_migratetype(k, page_to_pfn(p))
    if block_type == MIGRATE_HIGHATOMIC:
        return no_page(k)
    if current_order >= PAGEBLOCK_ORDER:
        del_page_from_free_list(p, z, current_order)
        account_freepages(z, -(1 << current_order), block_type)
        change_pageblock_range(k, page_to_pfn(p), current_order, start_type)
        expand(k, z, p, order, current_order, start_type)
        account_freepages(z, (1 << current_order) - (1 << order), start_type)
        return p
    boost_watermark(k, z)
    free = free_in_block(k, z, p)
    if free < 0:
        return no_page(k)
    alike = PAGEBLOCK_NR_PAGES - free if start_type != MIGRATE_MOVABLE and block_type == MIGRATE_MOVABLE else 0
    if free + alike >= 1 << (PAGEBLOCK_ORDER - 1) or k.page_group_by_mobility_disabled:
        move_freepages_block(k, z, p, start_type)
        return rmqueue_smallest(k, z, order, start_type)
    return no_page(k)


@jit
def rmqueue_claim(k: Any, z: Any, order: int, start_type: int, alloc_flags: int) -> Any:
    """``__rmqueue_claim()``: take over a page block of another type, from the largest free block down."""
    min_order = order
    if order < PAGEBLOCK_ORDER and alloc_flags & ALLOC_NOFRAGMENT:
        min_order = PAGEBLOCK_ORDER
    current_order = MAX_ORDER - 1
    while current_order >= min_order:
        fallback = find_suitable_fallback(z, current_order, start_type)
        if fallback != -1:
            if not can_steal_fallback(k, current_order, start_type):
                break
            p = container_of(z.free_area[current_order].free_list[fallback].next, page, "lru")
            p = try_to_steal_block(k, z, p, current_order, order, start_type)
            if p:
                count_vm_events(k, EV_EXTFRAG, 1)
                return p
        current_order -= 1
    return no_page(k)


@jit
def rmqueue_steal(k: Any, z: Any, order: int, start_type: int) -> Any:
    """``__rmqueue_steal()``: the smallest block of another type, whose page block stays as it is."""
    for current_order in range(order, MAX_ORDER):
        fallback = find_suitable_fallback(z, current_order, start_type)
        if fallback != -1:
            p = container_of(z.free_area[current_order].free_list[fallback].next, page, "lru")
            del_page_from_free_list(p, z, current_order)
            expand(k, z, p, order, current_order, fallback)
            account_freepages(z, -(1 << order), fallback)
            count_vm_events(k, EV_EXTFRAG, 1)
            return p
    return no_page(k)


@jit
def rmqueue_ours(k: Any, z: Any, order: int, migratetype: int, alloc_flags: int) -> Any:
    """A block of the type, or of a page block that can be claimed for it (``__rmqueue()`` up to RMQUEUE_CLAIM)."""
    p = rmqueue_smallest(k, z, order, migratetype)
    if not p:
        p = rmqueue_claim(k, z, order, migratetype, alloc_flags)
    return p


@jit
def rmqueue_fallback(k: Any, z: Any, order: int, start_type: int, alloc_flags: int) -> bool:
    """``__rmqueue_fallback()``: make a block of another type ours, the largest first; False if there is none."""
    min_order = order
    if order < PAGEBLOCK_ORDER and alloc_flags & ALLOC_NOFRAGMENT:
        min_order = PAGEBLOCK_ORDER
    current_order = MAX_ORDER - 1
    fallback = -1
    while current_order >= min_order:
        fallback = find_suitable_fallback(z, current_order, start_type)
        if fallback != -1:
            break
        current_order -= 1
    if fallback == -1:
        return False
    can_steal = can_steal_fallback(k, current_order, start_type)
    if not can_steal and start_type == MIGRATE_MOVABLE and current_order > order:
        for smaller in range(order, MAX_ORDER):
            fallback = find_suitable_fallback(z, smaller, start_type)
            if fallback != -1:
                current_order = smaller
                can_steal = can_steal_fallback(k, smaller, start_type)
                break
    p = container_of(z.free_area[current_order].free_list[fallback].next, page, "lru")
    steal_suitable_fallback(k, z, p, start_type, can_steal, alloc_flags & ALLOC_KSWAPD != 0)
    count_vm_events(k, EV_EXTFRAG, 1)
    return True


@jit
def rmqueue_type(k: Any, z: Any, order: int, migratetype: int, alloc_flags: int) -> Any:
    """``__rmqueue()``: a block of the type, stealing one from another type if need be."""
    if PAGE_BLOCK_EXACT:
        p = rmqueue_ours(k, z, order, migratetype, alloc_flags)
        if not p and not alloc_flags & ALLOC_NOFRAGMENT:
            p = rmqueue_steal(k, z, order, migratetype)
        return p
    while True:
        p = rmqueue_smallest(k, z, order, migratetype)
        if p or not rmqueue_fallback(k, z, order, migratetype, alloc_flags):
            return p


@jit
def rmqueue_bulk(k: Any, z: Any, order: int, count: int, lst: Any, migratetype: int, alloc_flags: int) -> int:
    """``rmqueue_bulk()``: move up to *count* blocks from the zone to a CPU's list; how many."""
    allocated = 0
    stealing = False  # once a block was stolen nothing better is looked for, as the zone stays locked
    for _ in range(count):
        if stealing:
            p = rmqueue_steal(k, z, order, migratetype)
        elif PAGE_BLOCK_EXACT:
            p = rmqueue_ours(k, z, order, migratetype, alloc_flags)
            if not p and not alloc_flags & ALLOC_NOFRAGMENT:
                p = rmqueue_steal(k, z, order, migratetype)
                stealing = True
        else:
            p = rmqueue_type(k, z, order, migratetype, alloc_flags)
        if not p:
            break
        list_add_tail(p.lru, lst)
        allocated += 1
    if not PAGE_BLOCK_EXACT:
        mod_zone_free(z, -(allocated << order))
    count_vm_events(k, EV_PCP_REFILL, 1)
    return allocated


@jit
def nr_pcp_alloc(pcp: Any, z: Any, order: int) -> int:
    """``nr_pcp_alloc()``: how many blocks to fetch from the zone at once: more each time nothing was freed in between,
    where that adapts.
    """
    batch = pcp.batch
    if PCP_HIGH_AUTO:
        pcp.high = max(pcp.high_min, min(pcp.high, pcp.high_max))
        if pcp.high < pcp.batch:
            return 1
        if order == 0:
            batch = batch << pcp.alloc_factor
        if pcp.high_min != pcp.high_max and not z.flags & (1 << ZONE_BELOW_HIGH):
            pcp.high = min(pcp.high + batch, pcp.high_max)
        if order == 0:
            most = max(pcp.high - pcp.count - pcp.batch, pcp.batch)
            if batch <= most and pcp.alloc_factor < CONFIG_PCP_BATCH_SCALE_MAX:
                pcp.alloc_factor = pcp.alloc_factor + 1
            batch = min(batch, most)
    if batch > 1:
        batch = max(batch >> order, 2)
    return batch


@jit
def take_pcplist(k: Any, z: Any, order: int, migratetype: int, alloc_flags: int, pcp: Any) -> Any:
    """``__rmqueue_pcplist()``: a block from a CPU's list, refilled if it is empty."""
    lst = pcp.lists[order_to_pindex(migratetype, order)]
    if list_empty(lst):
        batch = nr_pcp_alloc(pcp, z, order)
        pcp.count = pcp.count + (rmqueue_bulk(k, z, order, batch, lst, migratetype, alloc_flags) << order)
        if list_empty(lst):
            return no_page(k)
    p = container_of(lst.next, page, "lru")
    list_del(p.lru)
    pcp.count = pcp.count - (1 << order)
    return p


@jit
def rmqueue_pcplist(k: Any, z: Any, order: int, migratetype: int, alloc_flags: int) -> Any:
    """``rmqueue_pcplist()``: a block from this CPU's list."""
    pcp = this_cpu_pages(k, z)
    if PCP_HIGH_AUTO:
        pcp.free_count = pcp.free_count >> 1
    else:
        pcp.free_factor = pcp.free_factor >> 1
    return take_pcplist(k, z, order, migratetype, alloc_flags, pcp)


@jit
def rmqueue_buddy(k: Any, z: Any, order: int, alloc_flags: int, migratetype: int) -> Any:
    """``rmqueue_buddy()``: a block from the zone itself."""
    p = no_page(k)
    if alloc_flags & ALLOC_HIGHATOMIC:
        p = rmqueue_smallest(k, z, order, MIGRATE_HIGHATOMIC)
    if not p:
        p = rmqueue_type(k, z, order, migratetype, alloc_flags)
        if not p and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
            p = rmqueue_smallest(k, z, order, MIGRATE_HIGHATOMIC)
    if p and not PAGE_BLOCK_EXACT:
        mod_zone_free(z, -(1 << order))
    return p


@jit
def zone_statistics(k: Any, preferred: Any, z: Any) -> None:
    """``zone_statistics()``: whether an allocation went where it was wanted, and whether that is this CPU's node."""
    if z.node == preferred.node:
        count_numa_event(k, z, NUMA_HIT)
    else:
        count_numa_event(k, z, NUMA_MISS)
        count_numa_event(k, preferred, NUMA_FOREIGN)
    count_numa_event(k, z, NUMA_LOCAL if z.node == numa_node_id(k) else NUMA_OTHER)


@jit
def rmqueue(k: Any, preferred: Any, z: Any, order: int, alloc_flags: int, migratetype: int) -> Any:
    """``rmqueue()``: a block of *order* from zone *z*, or NULL; *preferred* is the zone that was wanted."""
    p = no_page(k)
    if pcp_allowed_order(order):
        p = rmqueue_pcplist(k, z, order, migratetype, alloc_flags)
    if not p:
        p = rmqueue_buddy(k, z, order, alloc_flags, migratetype)
    if p:
        count_vm_events(k, EV_PGALLOC + page_zonenum(p), 1 << order)
        zone_statistics(k, preferred, z)
    return p
