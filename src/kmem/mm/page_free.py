"""Giving pages back: coalescing, per-cpu lists, free-time checks (the freeing half of mm/page_alloc.c, 6.1).

A free block of order *o* is its first page: PageBuddy, order in ``private``, linked by ``lru`` into
``zone.free_area[o].free_list[migratetype]``. Its buddy is the block whose pfn differs in bit *o* only. Small blocks
stay for a while on the CPU's lists (``per_cpu_pages``), one list for each order up to 3 and migrate type, and are
given back in batches.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import address, container_of, entry, fill, jit, ptr
from kmem.lib.list import INIT_LIST_HEAD, list_add, list_add_tail, list_del, list_empty, list_move_tail
from kmem.mm.codes import UP_BAD_PAGE
from kmem.mm.features import FOLIO_ORDER, PAGE_BLOCK_EXACT, PAGE_CHECKS, PCP_HIGH_AUTO
from kmem.mm.mm_types import KDATA, kdata, page, per_cpu_pages
from kmem.mm.mmzone import (
    LAST_CPUPID,
    MAX_ORDER,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    NODES_PGSHIFT,
    NR_FREE_PAGES,
    PAGE_ALLOC_COSTLY_ORDER,
    PAGE_FLAGS_CHECK_AT_FREE,
    PAGE_FLAGS_CHECK_AT_PREP,
    PAGE_SHIFT,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    PAGES_PER_SECTION,
    ZONE_NORMAL,
    ZONES_PGSHIFT,
    clear_buddy,
    compound_order,
    count_vm_events,
    get_pageblock_migratetype,
    kernel,
    mod_zone_page_state,
    page_buddy,
    page_head,
    page_to_pfn,
    page_to_virt,
    page_zone,
    pfn_to_page,
    priv,
    set_buddy_order,
    set_pageblock_migratetype,
)
from kmem.mm.shuffle import SHUFFLE_ORDER, shuffle_pick_tail
from kmem.mm.upcalls import tell
from kmem.mm.vm_events import EV_PGFREE

NR_LOWORDER_PCP_LISTS = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1)
NR_PCP_LISTS = NR_LOWORDER_PCP_LISTS + 2
CONFIG_PCP_BATCH_SCALE_MAX = 5
PAGE_MAPPING_FLAGS = 3
PCPF_PREV_FREE_HIGH_ORDER, PCPF_FREE_HIGH_BATCH = 1, 2
ZONE_BELOW_HIGH = 2
PAGE_FLAGS_SECOND = 0xFF
"""Of the flags of a compound page's second page, those that mean something else there (as far as they are in use)."""


@jit
def mod_zone_free(z: Any, n: int) -> None:
    """``__mod_zone_page_state(zone, NR_FREE_PAGES, n)``."""
    mod_zone_page_state(z, NR_FREE_PAGES, n)


@jit
def add_to_free_list(p: Any, z: Any, order: int, migratetype: int, tail: bool) -> None:
    """``add_to_free_list()`` and ``add_to_free_list_tail()``."""
    area = z.free_area[order]
    if tail:
        list_add_tail(p.lru, area.free_list[migratetype])
    else:
        list_add(p.lru, area.free_list[migratetype])
    area.nr_free = area.nr_free + 1


@jit
def account_freepages(z: Any, n: int, migratetype: int) -> None:
    """``account_freepages()``: *n* more free pages of a type; isolated ones count as none."""
    if migratetype != MIGRATE_ISOLATE:
        mod_zone_free(z, n)
        if PAGE_BLOCK_EXACT and migratetype == MIGRATE_HIGHATOMIC:
            z.nr_free_highatomic = z.nr_free_highatomic + n


@jit
def move_to_free_list(p: Any, z: Any, order: int, old_type: int, migratetype: int) -> None:
    """``move_to_free_list()``: a free block changes its migrate type."""
    list_move_tail(p.lru, z.free_area[order].free_list[migratetype])
    if PAGE_BLOCK_EXACT:
        account_freepages(z, -(1 << order), old_type)
        account_freepages(z, 1 << order, migratetype)
    if order == MAX_ORDER - 1:
        grow_deferred(ptr(kdata, KDATA, z), z)


@jit
def change_pageblock_range(k: Any, pfn: int, order: int, migratetype: int) -> None:
    """``change_pageblock_range()``: every page block of a block of *order*."""
    for i in range(1 << (order - PAGEBLOCK_ORDER)):
        set_pageblock_migratetype(k, pfn + i * PAGEBLOCK_NR_PAGES, migratetype)


@jit
def grow_deferred(k: Any, z: Any) -> None:
    """As ``deferred_grow_zone()``: once a zone's list of largest blocks is empty, link the next section's.

    Boot counted them as free. Of each block only the first ``struct page`` is made.
    """
    pgdat = z.zone_pgdat
    pfn, end = pgdat.first_deferred_pfn, k.deferred_end[z.node]
    head = z.free_area[MAX_ORDER - 1].free_list[MIGRATE_MOVABLE]
    if end == 0 or z != pgdat.node_zones[ZONE_NORMAL] or not list_empty(head):
        return
    stop = min(pfn + PAGES_PER_SECTION, end)
    while pfn < stop:
        p = pfn_to_page(k, pfn)
        p.flags = LAST_CPUPID | (ZONE_NORMAL << ZONES_PGSHIFT) | (z.node << NODES_PGSHIFT)
        p._mapcount = -1
        set_buddy_order(p, MAX_ORDER - 1)
        list_add_tail(p.lru, head)
        pfn += 1 << (MAX_ORDER - 1)
    pgdat.first_deferred_pfn = pfn
    if pfn >= end:
        pgdat.first_deferred_pfn = -1
        k.deferred_end[z.node] = 0


@jit
def init_free_block(p: Any) -> None:
    """Initialise all ``struct page`` of a block of the largest order but the first, as that is: free, of its zone."""
    flags = p.flags
    for i in range(1, 1 << (MAX_ORDER - 1)):
        tail = p + i
        tail.flags = flags
        tail._mapcount = -1
        INIT_LIST_HEAD(tail.lru)


@jit
def del_page_from_free_list(p: Any, z: Any, order: int) -> None:
    """``del_page_from_free_list()``; the block may be one that boot left untouched but for its first page."""
    list_del(p.lru)
    clear_buddy(p)
    if order == MAX_ORDER - 1:
        grow_deferred(ptr(kdata, KDATA, z), z)
        if (p + 1).flags == 0:
            init_free_block(p)
    area = z.free_area[order]
    area.nr_free = area.nr_free - 1


@jit
def find_buddy(k: Any, z: Any, pfn: int, order: int) -> int:
    """``find_buddy_page_pfn()``: the buddy's pfn if it is free, of this order and in this zone; else -1."""
    buddy_pfn = pfn ^ (1 << order)
    if buddy_pfn < z.zone_start_pfn or buddy_pfn >= z.zone_start_pfn + z.spanned_pages:
        return -1
    buddy = pfn_to_page(k, buddy_pfn)
    if not page_buddy(buddy) or buddy.private != order or page_zone(k, buddy) != z:
        return -1
    return buddy_pfn


@jit
def mergeable(migratetype: int) -> bool:
    """``migratetype_is_mergeable()``."""
    return migratetype < MIGRATE_PCPTYPES


@jit
def free_one_block(k: Any, z: Any, pfn: int, order: int, migratetype: int, to_tail: bool) -> None:
    """``__free_one_page()``: put a block on the free lists, merged with every free buddy.

    *to_tail* is FPI_TO_TAIL. A block whose merged form is about to be completed goes to the tail too, so that it is
    left alone for a while.
    """
    account_freepages(z, 1 << order, migratetype)
    buddy_pfn = 0
    while order < MAX_ORDER - 1:
        buddy_pfn = find_buddy(k, z, pfn, order)
        if buddy_pfn < 0:
            break
        if order >= PAGEBLOCK_ORDER:
            buddy_mt = get_pageblock_migratetype(k, buddy_pfn)
            if migratetype != buddy_mt and not (mergeable(migratetype) and mergeable(buddy_mt)):
                break
            if PAGE_BLOCK_EXACT and migratetype != buddy_mt:
                change_pageblock_range(k, buddy_pfn, order, migratetype)
        del_page_from_free_list(pfn_to_page(k, buddy_pfn), z, order)
        pfn = buddy_pfn & pfn
        order += 1
    p = pfn_to_page(k, pfn)
    set_buddy_order(p, order)
    if not to_tail and k.shuffle_page_alloc and order >= SHUFFLE_ORDER:
        to_tail = shuffle_pick_tail(k)
    elif not to_tail and order < MAX_ORDER - 2:
        higher_pfn = (pfn ^ (1 << order)) & pfn
        to_tail = find_buddy(k, z, higher_pfn, order + 1) >= 0
    add_to_free_list(p, z, order, migratetype, to_tail)


@jit
def _bad_page(k: Any, p: Any) -> bool:
    """Whether a page that is being freed looks wrong (``free_page_is_bad()``); tells so. Where checks have to be asked
    for at boot, none does.
    """
    if not PAGE_CHECKS:
        return False
    bad = p._mapcount != -1 or p.mapping != 0 or p._refcount != 0 or p.memcg_data != 0
    bad = bad or p.flags & PAGE_FLAGS_CHECK_AT_FREE != 0
    if bad:
        tell(k, UP_BAD_PAGE, page_to_pfn(p), 0, 0, 0)
        p._mapcount = -1
    return bad


@jit
def free_pages_prepare(k: Any, p: Any, order: int, check: bool) -> bool:
    """``free_pages_prepare()``: undo the compound page, check, clear, wipe; False if the page must not be reused.

    Without CONFIG_DEBUG_VM the first page of a block that goes to a CPU's list is not checked now (*check*), but when
    it leaves that list.
    """
    bad = 0
    if order > 0:
        compound = page_head(p)
        n = 1 << order
        if FOLIO_ORDER and compound:
            second = p + 1
            second.flags = second.flags & ~PAGE_FLAGS_SECOND
        for i in range(1, n):
            tail = p + i
            if compound:
                tail.compound_head = 0
                tail.mapping = 0
            if _bad_page(k, tail):
                bad += 1
                continue
            tail.flags = tail.flags & ~PAGE_FLAGS_CHECK_AT_PREP
    if p.mapping & PAGE_MAPPING_FLAGS:
        p.mapping = 0
    if check and _bad_page(k, p):
        bad += 1
    if bad:
        return False
    p.flags = p.flags & ~PAGE_FLAGS_CHECK_AT_PREP
    p.private = 0
    if k.init_on_free:
        fill(k, page_to_virt(p), 0, 1 << (PAGE_SHIFT + order))
    return True


@jit
def this_cpu_pages(k: Any, z: Any) -> Any:
    """``this_cpu_ptr(zone->per_cpu_pageset)``."""
    return cpu_pages(k, z, priv(k).cpu)


@jit
def cpu_pages(k: Any, z: Any, cpu: int) -> Any:
    """``per_cpu_ptr(zone->per_cpu_pageset, cpu)``."""
    return ptr(per_cpu_pages, address(z.per_cpu_pageset) + k.__per_cpu_offset[cpu], k)


@jit
def free_pcppages_bulk(k: Any, z: Any, count: int, pcp: Any, pindex: int) -> None:
    """``free_pcppages_bulk()``: give *count* pages of the CPU's lists back, round robin, starting at list *pindex*."""
    count = min(count, pcp.count)
    first, last = 0, NR_PCP_LISTS - 1
    pindex -= 1
    while count > 0:
        while True:
            pindex += 1
            if pindex > last:
                pindex = first
            if not list_empty(pcp.lists[pindex]):
                break
            if PAGE_BLOCK_EXACT:
                continue
            if pindex == last:
                last -= 1
            if pindex == first:
                first += 1
        lst = pcp.lists[pindex]
        order = pindex_to_order(pindex)
        while True:
            p = container_of(lst.prev, page, "lru")
            migratetype = get_pageblock_migratetype(k, page_to_pfn(p)) if PAGE_BLOCK_EXACT else p.index
            list_del(p.lru)
            count -= 1 << order
            pcp.count = pcp.count - (1 << order)
            if z.nr_isolate_pageblock:
                migratetype = get_pageblock_migratetype(k, page_to_pfn(p))
            if not _bad_page(k, p):
                free_one_block(k, z, page_to_pfn(p), order, migratetype, False)
            if count <= 0 or list_empty(lst):
                break


@jit
def order_to_pindex(migratetype: int, order: int) -> int:
    """``order_to_pindex()``: the per-cpu list for blocks of *order* (0 to 3, or 9)."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        return NR_LOWORDER_PCP_LISTS + (1 if migratetype == MIGRATE_MOVABLE else 0)
    return MIGRATE_PCPTYPES * order + migratetype


@jit
def pindex_to_order(pindex: int) -> int:
    """``pindex_to_order()``."""
    return PAGEBLOCK_ORDER if pindex >= NR_LOWORDER_PCP_LISTS else pindex // MIGRATE_PCPTYPES


@jit
def pcp_allowed_order(order: int) -> bool:
    """``pcp_allowed_order()``."""
    return order <= PAGE_ALLOC_COSTLY_ORDER or order == PAGEBLOCK_ORDER


@jit
def nr_pcp_high(pcp: Any, z: Any, batch: int, free_high: bool) -> int:
    """``nr_pcp_high()``: from how many pages on a CPU gives some back: adapted to what it frees, where it adapts."""
    if not PCP_HIGH_AUTO:
        return 0 if free_high else pcp.high
    low, most = pcp.high_min, pcp.high_max
    pcp.high = max(low, min(pcp.high, most))
    high = pcp.high
    if not high:
        return 0
    if free_high:
        pcp.high = max(high - (batch << CONFIG_PCP_BATCH_SCALE_MAX), low)
        return 0
    if low == most:
        return high
    if z.flags & (1 << ZONE_BELOW_HIGH):
        pcp.high = max(high - max(pcp.free_count, batch), low)
        return max(pcp.count, low)
    if pcp.count >= high and pcp.high < pcp.free_count + batch:
        pcp.high = max(low, min(pcp.free_count + batch, most))
    return high


@jit
def nr_pcp_free(pcp: Any, high: int, batch: int, free_high: bool) -> int:
    """``nr_pcp_free()``: how many pages to give back now; more each time nothing was allocated in between."""
    if PCP_HIGH_AUTO:
        if free_high:
            return min(pcp.count, batch << CONFIG_PCP_BATCH_SCALE_MAX)
        if high < batch:
            return 1
        return min(max(pcp.free_count, batch), high - batch)
    if free_high:
        return pcp.count
    if high < batch:
        return 1
    most = high - batch
    grown = batch << pcp.free_factor
    if grown < most and pcp.free_factor < CONFIG_PCP_BATCH_SCALE_MAX:
        pcp.free_factor = pcp.free_factor + 1
    return max(batch, min(grown, most))


@jit
def frees_in_a_row(pcp: Any, order: int, small: bool) -> bool:
    """Whether blocks of order 1 to 3 (*small*) are freed one after the other, so that all are given back
    (``free_unref_page_commit()``).
    """
    if not PCP_HIGH_AUTO:
        return pcp.free_factor != 0 and small
    free_high = False
    if small:
        free_high = pcp.free_count >= pcp.batch and pcp.flags & PCPF_PREV_FREE_HIGH_ORDER != 0
        free_high = free_high and (not pcp.flags & PCPF_FREE_HIGH_BATCH or pcp.count >= pcp.batch)
        pcp.flags = pcp.flags | PCPF_PREV_FREE_HIGH_ORDER
    else:
        pcp.flags = pcp.flags & ~PCPF_PREV_FREE_HIGH_ORDER
    if pcp.free_count < pcp.batch << CONFIG_PCP_BATCH_SCALE_MAX:
        pcp.free_count = pcp.free_count + (1 << order)
    return free_high


@jit
def free_unref_page(k: Any, p: Any, order: int) -> None:
    """``free_unref_page()``: a block of at most order 3 (or 9) goes to the CPU's list."""
    if not free_pages_prepare(k, p, order, False):
        return
    pfn = page_to_pfn(p)
    migratetype = get_pageblock_migratetype(k, pfn)
    if not PAGE_BLOCK_EXACT:
        p.index = migratetype
    z = page_zone(k, p)
    pcp_type = migratetype
    if migratetype >= MIGRATE_PCPTYPES:
        if migratetype == MIGRATE_ISOLATE:
            free_one_block(k, z, pfn, order, migratetype, False)
            return
        pcp_type = MIGRATE_MOVABLE
    pcp = this_cpu_pages(k, z)
    count_vm_events(k, EV_PGFREE, 1 << order)
    pindex = order_to_pindex(pcp_type, order)
    if PCP_HIGH_AUTO:
        pcp.alloc_factor = pcp.alloc_factor >> 1
    list_add(p.lru, pcp.lists[pindex])
    pcp.count = pcp.count + (1 << order)
    small = order != 0 and order <= PAGE_ALLOC_COSTLY_ORDER
    free_high = frees_in_a_row(pcp, order, small)
    high = nr_pcp_high(pcp, z, pcp.batch, free_high)
    if pcp.count >= high:
        free_pcppages_bulk(k, z, nr_pcp_free(pcp, high, pcp.batch, free_high), pcp, pindex)


@jit
def free_pages_ok(k: Any, p: Any, order: int, to_tail: bool) -> None:
    """``__free_pages_ok()``: a block goes straight to the free lists."""
    if not free_pages_prepare(k, p, order, True):
        return
    pfn = page_to_pfn(p)
    if PAGE_BLOCK_EXACT:
        part = min(order, PAGEBLOCK_ORDER)  # split_large_buddy(): each page block may have a type of its own
        for at in range(pfn, pfn + (1 << order), 1 << part):
            free_one_block(k, page_zone(k, p), at, part, get_pageblock_migratetype(k, at), to_tail)
    else:
        free_one_block(k, page_zone(k, p), pfn, order, get_pageblock_migratetype(k, pfn), to_tail)
    count_vm_events(k, EV_PGFREE, 1 << order)


@jit
def free_the_page(k: Any, p: Any, order: int) -> None:
    """``free_the_page()``: by order, to the CPU's lists or to the zone's."""
    if pcp_allowed_order(order):
        free_unref_page(k, p, order)
    else:
        free_pages_ok(k, p, order, False)


@jit
def free_pages(k: Any, p: Any, order: int) -> None:
    """``void __free_pages(struct page *page, unsigned int order)``: drop a reference, free at the last.

    As in C, a non-compound block whose head is still referenced elsewhere loses its tail pages here.
    """
    head = page_head(p)
    p._refcount = p._refcount - 1
    if p._refcount == 0:
        free_the_page(k, p, order)
    elif not head:
        while order > 0:
            order -= 1
            free_the_page(k, p + (1 << order), order)


@jit
def put_page(k: Any, p: Any) -> None:
    """``void put_page(struct page *page)``."""
    p._refcount = p._refcount - 1
    if p._refcount == 0:
        free_the_page(k, p, compound_order(p))


@jit
def drain_zone_pages(k: Any, z: Any, cpu: int) -> int:
    """``drain_pages_zone()``: give back everything on a CPU's lists; how many pages that were."""
    pcp = cpu_pages(k, z, cpu)
    n: int = pcp.count
    at_once = pcp.batch << CONFIG_PCP_BATCH_SCALE_MAX if PCP_HIGH_AUTO else n
    while pcp.count:
        free_pcppages_bulk(k, z, min(pcp.count, at_once), pcp, 0)
    return n


@jit
def drain_all_pages(k: Any) -> int:
    """``drain_all_pages()``: every CPU, every zone."""
    n = 0
    for node in range(k.nr_node_ids):
        for i in range(4):
            z = k.node_data[node].node_zones[i]
            if z.managed_pages:
                for cpu in range(k.nr_cpu_ids):
                    n += drain_zone_pages(k, z, cpu)
    return n


@entry
def k_drain_all_pages(ram: Any) -> int:
    """Entry for :func:`drain_all_pages`."""
    return drain_all_pages(kernel(ram))
