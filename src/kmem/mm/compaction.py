"""Compaction: moving pages together so that large blocks become free (mm/compaction.c, mm/migrate.c; 6.1).

Two scanners walk a zone towards each other. From below, a page block at a time, the migration scanner isolates pages
that can move: those on the LRU lists. From above the free scanner isolates free pages of movable blocks. Each of the
former is copied into one of the latter, and what it leaves may merge. A zone in which that did not help is left alone
for 2, 4 … 64 attempts; a page block without anything to move is marked and skipped.

Simplified: the scanners go in steps, without the searches of the free lists that the kernel tries first; a block that
is formed is taken from the free lists, never captured on its way there; neither kcompactd nor proactive compaction.
Pages that a process maps are moved by :mod:`kmem.mm.migrate` (``UP_MIGRATE_PAGE``).
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_FS, __GFP_IO
from kmem.lib.jit import address, container_of, copy, fill, jit
from kmem.lib.list import list_add, list_del, list_empty
from kmem.mm.codes import UP_MIGRATE_PAGE
from kmem.mm.current import fatal_signal_pending
from kmem.mm.mm_inline import (
    NR_ISOLATED_ANON,
    PG_DIRTY,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_UNEVICTABLE,
    PG_UPTODATE,
    PG_WORKINGSET,
    PG_WRITEBACK,
    folio_add_lru,
    lruvec_del_folio,
    page_is_file_lru,
    page_lru,
)
from kmem.mm.mm_types import page
from kmem.mm.mmzone import (
    MAX_NR_ZONES,
    MAX_ORDER,
    MIGRATE_MOVABLE,
    NR_FREE_PAGES,
    PAGE_ALLOC_COSTLY_ORDER,
    PAGE_SIZE,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    PG_ACTIVE,
    PG_HEAD,
    PG_LRU,
    WMARK_LOW,
    WMARK_MIN,
    compound_order,
    get_pageblock_migratetype,
    get_pageblock_skip,
    mod_node_page_state,
    page_buddy,
    page_pgdat,
    page_to_pfn,
    page_to_virt,
    pfn_to_page,
    priv,
    set_pageblock_migratetype,
    set_pageblock_skip,
)
from kmem.mm.page_free import (
    account_freepages,
    del_page_from_free_list,
    drain_zone_pages,
    free_unref_page,
    mergeable,
)
from kmem.mm.page_freelist import (
    gfp_migratetype,
    gfp_zone,
    next_zones_zonelist,
    node_zonelist,
    watermark_ok,
    zone_watermark_ok,
)
from kmem.mm.page_rmqueue import find_suitable_fallback
from kmem.mm.upcalls import tell
from kmem.mm.vm_event_item import (
    COMPACTFREE_SCANNED,
    COMPACTISOLATED,
    COMPACTMIGRATE_SCANNED,
    PGMIGRATE_FAIL,
    PGMIGRATE_SUCCESS,
    count_vm_item,
)

(
    COMPACT_NOT_SUITABLE_ZONE,
    COMPACT_SKIPPED,
    COMPACT_DEFERRED,
    COMPACT_NO_SUITABLE_PAGE,
    COMPACT_CONTINUE,
    COMPACT_COMPLETE,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_CONTENDED,
    COMPACT_SUCCESS,
) = range(9)
MIN_COMPACT_PRIORITY, MIN_COMPACT_COSTLY_PRIORITY, INIT_COMPACT_PRIORITY = 0, 1, 2
DEF_COMPACT_PRIORITY, COMPACT_PRIO_ASYNC = 1, 2
COMPACT_MAX_DEFER_SHIFT = 6
COMPACT_CLUSTER_MAX = 32
EXTFRAG_THRESHOLD = 500
ENOMEM, PAGE_MAPPING_FLAGS = -12, 3
ISOLATE_NONE, ISOLATE_SUCCESS = 0, 1


@jit
def compact_gap(order: int) -> int:
    """``compact_gap()``: free pages that compaction for *order* wants besides."""
    return 2 << order


@jit
def fragmentation_index(z: Any, order: int) -> int:
    """``fragmentation_index()``: towards 0, memory is short; towards 1000, it is in pieces; -1000, a block is free."""
    free_pages = 0
    blocks = 0
    for o in range(MAX_ORDER):
        n: int = z.free_area[o].nr_free
        blocks += n
        free_pages += n << o
        if o >= order and n:
            return -1000
    if blocks == 0:
        return 0
    return 1000 - (1000 + (free_pages * 1000 >> order)) // blocks


@jit
def compaction_suitable_with(z: Any, order: int, alloc_flags: int, zoneidx: int, free: int) -> int:
    """``__compaction_suitable()``, with *free* pages taken as free."""
    mark = z._watermark[alloc_flags & 3] + z.watermark_boost
    if zone_watermark_ok(z, order, mark, zoneidx, alloc_flags):
        return COMPACT_SUCCESS
    least = WMARK_LOW if order > PAGE_ALLOC_COSTLY_ORDER else WMARK_MIN
    mark = z._watermark[least] + z.watermark_boost + compact_gap(order)
    return COMPACT_CONTINUE if watermark_ok(z, 0, mark, zoneidx, 0, free) else COMPACT_SKIPPED


@jit
def compaction_suitable(z: Any, order: int, alloc_flags: int, zoneidx: int) -> int:
    """``compaction_suitable()``: SUCCESS (not needed), CONTINUE, or SKIPPED: it could not help."""
    found = compaction_suitable_with(z, order, alloc_flags, zoneidx, z.vm_stat[NR_FREE_PAGES])
    if found == COMPACT_CONTINUE and order > PAGE_ALLOC_COSTLY_ORDER:
        index = fragmentation_index(z, order)
        if 0 <= index <= EXTFRAG_THRESHOLD:
            return COMPACT_SKIPPED
    return found


# deferring, and what is remembered of page blocks


@jit
def defer_compaction(z: Any, order: int) -> None:
    """``defer_compaction()``: it did not help; leave the zone alone for longer."""
    z.compact_considered = 0
    z.compact_defer_shift = min(z.compact_defer_shift + 1, COMPACT_MAX_DEFER_SHIFT)
    z.compact_order_failed = min(z.compact_order_failed, order)


@jit
def compaction_deferred(z: Any, order: int) -> bool:
    """``compaction_deferred()``: whether to skip the zone this time."""
    limit = 1 << z.compact_defer_shift
    if order < z.compact_order_failed:
        return False
    z.compact_considered = z.compact_considered + 1
    if z.compact_considered >= limit:
        z.compact_considered = limit
        return False
    return True


@jit
def compaction_defer_reset(z: Any, order: int, alloc_success: bool) -> None:
    """``compaction_defer_reset()``: it did help."""
    if alloc_success:
        z.compact_considered = 0
        z.compact_defer_shift = 0
    if order >= z.compact_order_failed:
        z.compact_order_failed = order + 1


@jit
def compaction_restarting(z: Any, order: int) -> bool:
    """``compaction_restarting()``: the first attempt after the longest pause."""
    if order < z.compact_order_failed:
        return False
    return z.compact_defer_shift == COMPACT_MAX_DEFER_SHIFT and z.compact_considered >= 1 << z.compact_defer_shift


@jit
def zone_end_pfn(z: Any) -> int:
    """``zone_end_pfn()``."""
    return z.zone_start_pfn + z.spanned_pages


@jit
def reset_cached_positions(z: Any) -> None:
    """``reset_cached_positions()``: the scanners begin at the ends of the zone again."""
    z.compact_cached_migrate_pfn[0] = z.zone_start_pfn
    z.compact_cached_migrate_pfn[1] = z.zone_start_pfn
    z.compact_cached_free_pfn = (zone_end_pfn(z) - 1) & ~(PAGEBLOCK_NR_PAGES - 1)


@jit
def reset_isolation_zone(k: Any, z: Any) -> None:
    """``__reset_isolation_suitable()``: forget which page blocks had nothing; the scanners start anew."""
    if not z.compact_blockskip_flush:
        return
    z.compact_blockskip_flush = 0
    block = z.zone_start_pfn & ~(PAGEBLOCK_NR_PAGES - 1)
    while block < zone_end_pfn(z):
        set_pageblock_skip(k, block, False)
        block += PAGEBLOCK_NR_PAGES
    z.compact_init_migrate_pfn = z.zone_start_pfn
    z.compact_init_free_pfn = (zone_end_pfn(z) - 1) & ~(PAGEBLOCK_NR_PAGES - 1)
    reset_cached_positions(z)


@jit
def reset_isolation_suitable(k: Any, pgdat: Any) -> None:
    """``reset_isolation_suitable()``: what kswapd does before it sleeps."""
    for i in range(MAX_NR_ZONES):
        z = pgdat.node_zones[i]
        if z.present_pages:
            reset_isolation_zone(k, z)


@jit
def update_cached_migrate(cc: Any, z: Any, pfn: int) -> None:
    """``update_cached_migrate()``: where the migration scanner goes on next time."""
    pfn = (pfn + PAGEBLOCK_NR_PAGES) & ~(PAGEBLOCK_NR_PAGES - 1)
    if pfn > z.compact_cached_migrate_pfn[0]:
        z.compact_cached_migrate_pfn[0] = pfn
    if cc.sync and pfn > z.compact_cached_migrate_pfn[1]:
        z.compact_cached_migrate_pfn[1] = pfn


# the free scanner


@jit
def isolate_free_page(k: Any, z: Any, p: Any, order: int) -> int:
    """``__isolate_free_page()``: take a free block off its list; how many pages, 0 below the watermark."""
    if not zone_watermark_ok(z, 0, z._watermark[WMARK_MIN] + (1 << order), 0, 0):
        return 0
    del_page_from_free_list(p, z, order)
    account_freepages(z, -(1 << order), get_pageblock_migratetype(k, page_to_pfn(p)))
    if order >= PAGEBLOCK_ORDER - 1:
        pfn = page_to_pfn(p)
        end = pfn + (1 << order) - 1
        while pfn < end:
            if mergeable(get_pageblock_migratetype(k, pfn)):
                set_pageblock_migratetype(k, pfn, MIGRATE_MOVABLE)
            pfn += PAGEBLOCK_NR_PAGES
    return 1 << order


@jit
def split_map_pages(k: Any, p: Any, order: int) -> None:
    """``split_map_pages()`` of one block: single pages, referenced, the last in front."""
    for i in range(1 << order):
        single = p + i
        single._refcount = 1
        single.private = 0
        single.index = 0
        list_add(single.lru, k.freepages)
    if k.init_on_alloc:
        fill(k, page_to_virt(p), 0, PAGE_SIZE << order)


@jit
def isolate_freepages_block(k: Any, cc: Any, z: Any, start: int, end: int, stride: int) -> int:
    """``isolate_freepages_block()``: free pages of one page block, until there are enough; where it stopped."""
    pfn = start
    isolated = 0
    while pfn < end:
        cc.total_free_scanned = cc.total_free_scanned + 1
        p = pfn_to_page(k, pfn)
        if p.flags & (1 << PG_HEAD):
            pfn += 1 << compound_order(p)
            continue
        if not page_buddy(p):
            pfn += stride
            continue
        order: int = p.private
        n = isolate_free_page(k, z, p, order)
        if n == 0:
            break
        split_map_pages(k, p, order)
        cc.total_free_scanned = cc.total_free_scanned + n - 1
        cc.nr_freepages = cc.nr_freepages + n
        isolated += n
        pfn += n
        if cc.nr_migratepages <= cc.nr_freepages:
            break
    if isolated:
        count_vm_item(k, COMPACTISOLATED, isolated)
    return min(pfn, end)


@jit
def suitable_migration_target(k: Any, cc: Any, pfn: int) -> bool:
    """``suitable_migration_target()``: a movable page block that is not wholly free."""
    p = pfn_to_page(k, pfn)
    if page_buddy(p) and p.private >= PAGEBLOCK_ORDER:
        return False
    return cc.ignore_block_suitable != 0 or get_pageblock_migratetype(k, pfn) == MIGRATE_MOVABLE


@jit
def isolate_freepages(k: Any, cc: Any, z: Any) -> None:
    """``isolate_freepages()``: from page blocks downwards, until there is a page for each that is to move."""
    start: int = cc.free_pfn
    block = start & ~(PAGEBLOCK_NR_PAGES - 1)
    low = (cc.migrate_pfn + PAGEBLOCK_NR_PAGES) & ~(PAGEBLOCK_NR_PAGES - 1)
    stride = 1 if cc.sync else COMPACT_CLUSTER_MAX
    while block >= low:
        end = min(block + PAGEBLOCK_NR_PAGES, zone_end_pfn(z))
        first = max(start, z.zone_start_pfn)
        if suitable_migration_target(k, cc, max(block, z.zone_start_pfn)) and (
            cc.ignore_skip_hint or not get_pageblock_skip(k, block)
        ):
            before = cc.nr_freepages
            start = isolate_freepages_block(k, cc, z, first, end, stride)
            if start == end:
                set_pageblock_skip(k, block, True)
                z.compact_cached_free_pfn = min(z.compact_cached_free_pfn, block)
            if cc.nr_freepages >= cc.nr_migratepages:
                if start >= end:
                    start = block - PAGEBLOCK_NR_PAGES
                break
            if start < end:
                break
            stride = 1 if cc.nr_freepages > before else min(COMPACT_CLUSTER_MAX, stride << 1)
        block -= PAGEBLOCK_NR_PAGES
        start = block
    cc.free_pfn = start


# the migration scanner


@jit
def isolate_page(k: Any, p: Any) -> None:
    """Take a page off its LRU list, with a reference, onto ``k.migratepages``."""
    p._refcount = p._refcount + 1
    lruvec_del_folio(k, p)
    p.flags = p.flags & ~(1 << PG_LRU)
    mod_node_page_state(k, page_pgdat(k, p), NR_ISOLATED_ANON + page_is_file_lru(p), 1)
    list_add(p.lru, k.migratepages)


@jit
def putback_page(k: Any, p: Any) -> None:
    """``putback_movable_pages()`` of one page, which is on no list."""
    mod_node_page_state(k, page_pgdat(k, p), NR_ISOLATED_ANON + page_is_file_lru(p), -1)
    p._refcount = p._refcount - 1
    if p._refcount:
        folio_add_lru(k, p)
    else:
        p.flags = p.flags & ~(1 << PG_ACTIVE | 1 << PG_UNEVICTABLE)
        free_unref_page(k, p, 0)


@jit
def putback_movable_pages(k: Any, cc: Any) -> None:
    """``putback_movable_pages()``: everything isolated goes back on its list."""
    while not list_empty(k.migratepages):
        p = container_of(k.migratepages.next, page, "lru")
        list_del(p.lru)
        putback_page(k, p)
    cc.nr_migratepages = 0


@jit
def movable(k: Any, cc: Any, p: Any) -> bool:
    """Whether ``isolate_migratepages_block()`` takes the page: on a list, not pinned, fit for the request's context."""
    if not page_lru(p) or p._refcount == 0:
        return False
    anonymous = p.mapping & 1 != 0
    if not anonymous and (p.mapping == 0 or not cc.gfp_mask & __GFP_FS):
        return False
    if anonymous and p._refcount > p._mapcount + 1:
        return False
    return not (not cc.sync and p.flags & (1 << PG_WRITEBACK | 1 << PG_DIRTY) and not anonymous)


@jit
def isolate_migratepages_block(k: Any, cc: Any, z: Any, low: int, end: int) -> None:
    """``isolate_migratepages_block()``: up to 32 movable pages of one page block; ``cc.migrate_pfn`` is the next pfn.

    An asynchronous request wants whole blocks of its order: one page that cannot move gives the block up.
    """
    isolated = 0
    scanned = 0
    first = low
    skip_on_failure = cc.sync == 0
    size = 1 << cc.order
    next_skip = (low + size) & ~(size - 1)
    while low < end:
        if skip_on_failure and low >= next_skip:
            if isolated:
                break
            next_skip = (low + size) & ~(size - 1)
        scanned += 1
        p = pfn_to_page(k, low)
        if page_buddy(p):
            low += 1 << p.private
            continue
        step = 1
        if p.flags & (1 << PG_HEAD):
            step = 1 << compound_order(p)
        elif movable(k, cc, p):
            isolate_page(k, p)
            cc.nr_migratepages = cc.nr_migratepages + 1
            isolated += 1
            low += 1
            if cc.nr_migratepages >= COMPACT_CLUSTER_MAX and not cc.rescan:
                break
            continue
        low += step
        if skip_on_failure:
            if isolated:
                putback_movable_pages(k, cc)
                isolated = 0
            low = max(low, next_skip)
    low = min(low, end)
    if low == end and (isolated == 0 or cc.rescan):
        if first & (PAGEBLOCK_NR_PAGES - 1) == 0 and not cc.ignore_skip_hint:
            set_pageblock_skip(k, first, True)
        update_cached_migrate(cc, z, low - 1)
    cc.total_migrate_scanned = cc.total_migrate_scanned + scanned
    if isolated:
        count_vm_item(k, COMPACTISOLATED, isolated)
    cc.migrate_pfn = low


@jit
def suitable_migration_source(k: Any, cc: Any, pfn: int) -> bool:
    """``suitable_migration_source()``: an asynchronous request scans page blocks of its own type only."""
    p = pfn_to_page(k, pfn)
    if p.flags & (1 << PG_HEAD) and compound_order(p) >= PAGEBLOCK_ORDER:
        return False
    return cc.sync != 0 or get_pageblock_migratetype(k, pfn) == cc.migratetype


@jit
def isolate_migratepages(k: Any, cc: Any, z: Any) -> int:
    """``isolate_migratepages()``: from the first page block on that has something to move, up to the free scanner."""
    low: int = cc.migrate_pfn
    end = (low + PAGEBLOCK_NR_PAGES) & ~(PAGEBLOCK_NR_PAGES - 1)
    while end <= cc.free_pfn:
        block = max(end - PAGEBLOCK_NR_PAGES, z.zone_start_pfn)
        skip = low & (PAGEBLOCK_NR_PAGES - 1) == 0 and not cc.ignore_skip_hint and get_pageblock_skip(k, low)
        if not skip:
            if suitable_migration_source(k, cc, block):
                isolate_migratepages_block(k, cc, z, low, end)
                break
            update_cached_migrate(cc, z, end - 1)
        low = end
        cc.migrate_pfn = low
        end += PAGEBLOCK_NR_PAGES
    return ISOLATE_SUCCESS if cc.nr_migratepages else ISOLATE_NONE


# moving


@jit
def move_to_new_folio(k: Any, p: Any, new: Any) -> bool:
    """``move_to_new_folio()``: contents, flags and place in the cache, or in its address spaces, go to *new*."""
    if p.mapping & PAGE_MAPPING_FLAGS or p._mapcount >= 0:
        if not tell(k, UP_MIGRATE_PAGE, page_to_pfn(p), page_to_pfn(new), 0, 0):
            return False
    else:
        if p.mapping != address(k.page_cache) or p._refcount != 2:
            return False
        copy(k, page_to_virt(new), page_to_virt(p), PAGE_SIZE)
        new.mapping = p.mapping
        new.index = p.index
        new._refcount = 2
        p._refcount = 1
        p.mapping = 0
        p.index = 0
    kept = 1 << PG_REFERENCED | 1 << PG_UPTODATE | 1 << PG_ACTIVE | 1 << PG_WORKINGSET | 1 << PG_DIRTY
    kept |= 1 << PG_SWAPBACKED | 1 << PG_UNEVICTABLE
    new.flags = new.flags | (p.flags & kept)
    p.flags = p.flags & ~(1 << PG_ACTIVE | 1 << PG_UNEVICTABLE)
    return True


@jit
def migrate_pages(k: Any, cc: Any, z: Any) -> int:
    """``migrate_pages()`` with ``compaction_alloc()``: each isolated page into an isolated free one.

    0, the number of pages that could not move (they are back on their lists), or -ENOMEM with the rest still isolated.
    """
    failed = 0
    moved = 0
    result = 0
    while not list_empty(k.migratepages):
        if list_empty(k.freepages):
            isolate_freepages(k, cc, z)
            if list_empty(k.freepages):
                result = ENOMEM
                break
        p = container_of(k.migratepages.next, page, "lru")
        list_del(p.lru)
        new = container_of(k.freepages.next, page, "lru")
        list_del(new.lru)
        cc.nr_freepages = cc.nr_freepages - 1
        if move_to_new_folio(k, p, new):
            mod_node_page_state(k, page_pgdat(k, p), NR_ISOLATED_ANON + page_is_file_lru(p), -1)
            new._refcount = new._refcount - 1
            folio_add_lru(k, new)
            p._refcount = 0
            free_unref_page(k, p, 0)
            moved += 1
        else:
            putback_page(k, p)
            list_add(new.lru, k.freepages)
            cc.nr_freepages = cc.nr_freepages + 1
            failed += 1
    count_vm_item(k, PGMIGRATE_SUCCESS, moved)
    count_vm_item(k, PGMIGRATE_FAIL, failed)
    cc.nr_migratepages = 0
    return result if result else failed


# one zone, all zones


@jit
def compact_scanners_met(cc: Any) -> bool:
    """``compact_scanners_met()``."""
    return cc.free_pfn >> PAGEBLOCK_ORDER <= cc.migrate_pfn >> PAGEBLOCK_ORDER


@jit
def compact_finished(k: Any, cc: Any, z: Any) -> int:
    """``compact_finished()``: CONTINUE, SUCCESS with a block free that the request could take, or why it is over."""
    if compact_scanners_met(cc):
        reset_cached_positions(z)
        z.compact_blockskip_flush = 1
        return COMPACT_COMPLETE if cc.whole_zone else COMPACT_PARTIAL_SKIPPED
    if cc.migrate_pfn & (PAGEBLOCK_NR_PAGES - 1):
        return COMPACT_CONTINUE
    for order in range(cc.order, MAX_ORDER):
        if not list_empty(z.free_area[order].free_list[cc.migratetype]):
            return COMPACT_SUCCESS
        if find_suitable_fallback(z, order, cc.migratetype) != -1 and can_steal(k, cc, order):
            return COMPACT_SUCCESS
    return COMPACT_CONTENDED if fatal_signal_pending(k) else COMPACT_CONTINUE


@jit
def can_steal(k: Any, cc: Any, order: int) -> bool:
    """``can_steal_fallback()``, as compaction asks it."""
    return order >= PAGEBLOCK_ORDER // 2 or cc.migratetype != MIGRATE_MOVABLE


@jit
def release_freepages(k: Any, cc: Any, z: Any) -> None:
    """``release_freepages()``: what the free scanner has too much goes back; it begins there next time."""
    high = 0
    while not list_empty(k.freepages):
        p = container_of(k.freepages.next, page, "lru")
        list_del(p.lru)
        p._refcount = 0
        high = max(high, page_to_pfn(p))
        free_unref_page(k, p, 0)
    cc.nr_freepages = 0
    high &= ~(PAGEBLOCK_NR_PAGES - 1)
    if high > z.compact_cached_free_pfn:
        z.compact_cached_free_pfn = high


@jit
def place_scanners(cc: Any, z: Any) -> None:
    """Where ``compact_zone()`` lets its scanners begin: at the ends, or where they were."""
    start, last = z.zone_start_pfn, zone_end_pfn(z) - 1
    if cc.whole_zone:
        cc.migrate_pfn = start
        cc.free_pfn = last & ~(PAGEBLOCK_NR_PAGES - 1)
        return
    cc.migrate_pfn = z.compact_cached_migrate_pfn[cc.sync]
    cc.free_pfn = z.compact_cached_free_pfn
    if cc.free_pfn < start or cc.free_pfn > last:
        cc.free_pfn = last & ~(PAGEBLOCK_NR_PAGES - 1)
        z.compact_cached_free_pfn = cc.free_pfn
    if cc.migrate_pfn < start or cc.migrate_pfn > last:
        cc.migrate_pfn = start
        z.compact_cached_migrate_pfn[0] = start
        z.compact_cached_migrate_pfn[1] = start
    if cc.migrate_pfn <= z.compact_init_migrate_pfn:
        cc.whole_zone = 1


@jit
def compact_zone(k: Any, cc: Any, z: Any) -> int:
    """``compact_zone()``: a ``COMPACT_*`` result."""
    cc.total_migrate_scanned = 0
    cc.total_free_scanned = 0
    cc.nr_migratepages = 0
    cc.nr_freepages = 0
    suitable = compaction_suitable(z, cc.order, cc.alloc_flags, cc.highest_zoneidx)
    if suitable != COMPACT_CONTINUE:
        return suitable
    if compaction_restarting(z, cc.order):
        reset_isolation_zone(k, z)
    place_scanners(cc, z)
    last_migrated = -1
    block = ~(PAGEBLOCK_NR_PAGES - 1)
    result = compact_finished(k, cc, z)
    while result == COMPACT_CONTINUE:
        start: int = cc.migrate_pfn
        cc.rescan = 1 if last_migrated >= 0 and last_migrated & block == start & block else 0
        if isolate_migratepages(k, cc, z) == ISOLATE_SUCCESS:
            last_migrated = start
            error = migrate_pages(k, cc, z)
            if error:
                putback_movable_pages(k, cc)
                if error == ENOMEM and not compact_scanners_met(cc):
                    result = COMPACT_CONTENDED
                    break
                if not cc.sync:
                    size = 1 << cc.order
                    cc.migrate_pfn = (cc.migrate_pfn - 1 + size) & ~(size - 1)
                    last_migrated = -1
        if last_migrated >= 0 and last_migrated < cc.migrate_pfn & ~((1 << cc.order) - 1):
            drain_zone_pages(k, z, priv(k).cpu)
            last_migrated = -1
        result = compact_finished(k, cc, z)
    release_freepages(k, cc, z)
    count_vm_item(k, COMPACTMIGRATE_SCANNED, cc.total_migrate_scanned)
    count_vm_item(k, COMPACTFREE_SCANNED, cc.total_free_scanned)
    return result


@jit
def try_to_compact_pages(k: Any, gfp: int, order: int, alloc_flags: int, node: int, nodes: int, prio: int) -> int:
    """``try_to_compact_pages()``: zone by zone, until one has the block; a ``COMPACT_*`` result."""
    result = COMPACT_SKIPPED
    if not gfp & __GFP_IO:
        return result
    zoneidx = gfp_zone(gfp)
    lst = node_zonelist(k, node, gfp)
    cc = priv(k).cc
    i = next_zones_zonelist(lst, 0, zoneidx, nodes)
    while lst._zonerefs[i].zone:
        z = lst._zonerefs[i].zone
        i = next_zones_zonelist(lst, i + 1, zoneidx, nodes)
        if prio > MIN_COMPACT_PRIORITY and compaction_deferred(z, order):
            result = max(result, COMPACT_DEFERRED)
            continue
        cc.gfp_mask = gfp
        cc.order = order
        cc.migratetype = gfp_migratetype(gfp)
        cc.alloc_flags = alloc_flags
        cc.highest_zoneidx = zoneidx
        cc.sync = 0 if prio == COMPACT_PRIO_ASYNC else 1
        cc.whole_zone = 1 if prio == MIN_COMPACT_PRIORITY else 0
        cc.ignore_skip_hint = cc.whole_zone
        cc.ignore_block_suitable = cc.whole_zone
        status = compact_zone(k, cc, z)
        result = max(result, status)
        if status == COMPACT_SUCCESS:
            compaction_defer_reset(z, order, False)
            break
        if prio != COMPACT_PRIO_ASYNC and status in (COMPACT_COMPLETE, COMPACT_PARTIAL_SKIPPED):
            defer_compaction(z, order)
        if fatal_signal_pending(k):
            break
    return result


@jit
def init_compaction(z: Any) -> None:
    """``zone_init_internals()`` and ``init_zone_compact()``: a new zone's scanners."""
    z.compact_init_migrate_pfn = z.zone_start_pfn
    z.compact_init_free_pfn = (zone_end_pfn(z) - 1) & ~(PAGEBLOCK_NR_PAGES - 1)
    reset_cached_positions(z)
