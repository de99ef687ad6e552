"""Ranges of page frames: page blocks are isolated, what is free in them is taken (mm/page_isolation.c, the
``alloc_contig_*`` half of mm/page_alloc.c, 6.1).

An isolated block has MIGRATE_ISOLATE: its free pages stand on lists of their own, where no allocation looks, and do not
count as free. Simplified: no page is migrated; a range with a movable page in use is busy (-EBUSY) where the kernel
would move the page away.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import ctz, entry, fls64, jit
from kmem.mm.codes import UP_CONTIG_IN_USE
from kmem.mm.events import MM_PAGE_ALLOC, emit, may_fail
from kmem.mm.features import PAGE_BLOCK_EXACT
from kmem.mm.mmzone import (
    MAX_ORDER,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    PAGE_SIZE,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    PG_HEAD,
    PG_LRU,
    PG_RESERVED,
    compound_head,
    compound_order,
    get_pageblock_migratetype,
    kernel,
    numa_node_id,
    page_buddy,
    page_to_pfn,
    page_zone,
    pfn_to_page,
    set_pageblock_migratetype,
)
from kmem.mm.page_alloc import free_pages_traced
from kmem.mm.page_exact import split_page
from kmem.mm.page_free import (
    del_page_from_free_list,
    drain_all_pages,
    find_buddy,
    free_one_block,
    mergeable,
    mod_zone_free,
)
from kmem.mm.page_freelist import gfp_zone, prep_new_page
from kmem.mm.page_rmqueue import move_freepages_block
from kmem.mm.upcalls import tell

EBUSY = 16
MAX_ORDER_NR_PAGES = 1 << (MAX_ORDER - 1)


@jit
def is_isolated(k: Any, pfn: int) -> bool:
    """``is_migrate_isolate_page()``."""
    return get_pageblock_migratetype(k, pfn) == MIGRATE_ISOLATE


@jit
def unmovable_page(k: Any, pfn: int, end: int) -> int:
    """``has_unmovable_pages()``: the first frame of the range that holds what cannot be moved away, -1 for none."""
    while pfn < end:
        p = pfn_to_page(k, pfn)
        if p.flags & (1 << PG_RESERVED):
            return pfn
        head = compound_head(p)
        if head.flags & (1 << PG_HEAD):
            if not head.flags & (1 << PG_LRU):
                return pfn
            pfn = page_to_pfn(head) + (1 << compound_order(head))
            continue
        if not p._refcount:
            pfn += 1 << p.private if page_buddy(p) else 1
            continue
        if not p.flags & (1 << PG_LRU):
            return pfn
        pfn += 1
    return -1


@jit
def set_migratetype_isolate(k: Any, pfn: int, start: int, end: int) -> int:
    """``set_migratetype_isolate()``: the page block of *pfn*, if nothing of *start* to *end* in it is in the way."""
    block = pfn & ~(PAGEBLOCK_NR_PAGES - 1)
    if is_isolated(k, block):
        return -EBUSY
    if unmovable_page(k, max(pfn, start), min(block + PAGEBLOCK_NR_PAGES, end)) >= 0:
        return -EBUSY
    p = pfn_to_page(k, pfn)
    z = page_zone(k, p)
    if PAGE_BLOCK_EXACT:
        if move_freepages_block(k, z, p, MIGRATE_ISOLATE) < 0:
            return -EBUSY
    else:
        set_pageblock_migratetype(k, block, MIGRATE_ISOLATE)
        mod_zone_free(z, -move_freepages_block(k, z, p, MIGRATE_ISOLATE))
    z.nr_isolate_pageblock = z.nr_isolate_pageblock + 1
    return 0


@jit
def unset_migratetype_isolate(k: Any, pfn: int, migratetype: int) -> None:
    """``unset_migratetype_isolate()``: a large free block is freed anew, so that it merges with its buddy."""
    if not is_isolated(k, pfn):
        return
    p = pfn_to_page(k, pfn)
    z = page_zone(k, p)
    taken = -1
    if page_buddy(p):
        order: int = p.private
        if PAGEBLOCK_ORDER <= order < MAX_ORDER - 1:
            buddy = find_buddy(k, z, pfn, order)
            if buddy >= 0 and not is_isolated(k, buddy):
                del_page_from_free_list(p, z, order)
                taken = order
    if taken < 0:
        moved = move_freepages_block(k, z, p, migratetype)
        if not PAGE_BLOCK_EXACT:
            mod_zone_free(z, moved)
    set_pageblock_migratetype(k, pfn, migratetype)
    if taken >= 0:
        free_one_block(k, z, pfn, taken, migratetype, True)
    z.nr_isolate_pageblock = z.nr_isolate_pageblock - 1


@jit
def split_free_page(k: Any, pfn: int, order: int, first: int) -> None:
    """``split_free_page()``: cut a free block so that no part crosses its page number *first*, each part going to the
    lists of its own page block.
    """
    z = page_zone(k, pfn_to_page(k, pfn))
    if not is_isolated(k, pfn):
        mod_zone_free(z, -(1 << order))
    del_page_from_free_list(pfn_to_page(k, pfn), z, order)
    at = pfn
    left = first
    while at < pfn + (1 << order):
        part = min(ctz(at) if at else order, fls64(left) - 1)
        free_one_block(k, z, at, part, get_pageblock_migratetype(k, at), False)
        at += 1 << part
        left -= 1 << part
        if left == 0:
            left = (1 << order) - (at - pfn)


@jit
def isolate_single_pageblock(k: Any, boundary: int, before: bool, isolated: bool, migratetype: int) -> int:
    """``isolate_single_pageblock()``: the block at one end of a range, so that no free block crosses that end."""
    block = boundary - PAGEBLOCK_NR_PAGES if before else boundary
    z = page_zone(k, pfn_to_page(k, block))
    pfn = max(block & ~(MAX_ORDER_NR_PAGES - 1), z.zone_start_pfn)
    if not isolated:
        failed = set_migratetype_isolate(k, block, block, block + PAGEBLOCK_NR_PAGES)
        if failed:
            return failed
    if (boundary if before else boundary - 1) >= k.max_pfn:
        return 0
    while pfn < boundary:
        p = pfn_to_page(k, pfn)
        if page_buddy(p):
            order: int = p.private
            if pfn + (1 << order) > boundary:
                split_free_page(k, pfn, order, boundary - pfn)
                continue
            pfn += 1 << order
            continue
        head = compound_head(p)
        if head.flags & (1 << PG_HEAD):
            end = page_to_pfn(head) + (1 << compound_order(head))
            if end > boundary:
                if not isolated:
                    unset_migratetype_isolate(k, block, migratetype)
                return -EBUSY
            pfn = end
            continue
        pfn += 1
    return 0


@jit
def undo_isolate_page_range(k: Any, start: int, end: int, migratetype: int) -> None:
    """``undo_isolate_page_range()``."""
    pfn = start & ~(PAGEBLOCK_NR_PAGES - 1)
    while pfn < end:
        unset_migratetype_isolate(k, pfn, migratetype)
        pfn += PAGEBLOCK_NR_PAGES


@jit
def start_isolate_page_range(k: Any, start: int, end: int, migratetype: int) -> int:
    """``start_isolate_page_range()``: all page blocks of the range, or none (-EBUSY)."""
    first = start & ~(PAGEBLOCK_NR_PAGES - 1)
    last = (end + PAGEBLOCK_NR_PAGES - 1) & ~(PAGEBLOCK_NR_PAGES - 1)
    failed = isolate_single_pageblock(k, first, False, False, migratetype)
    if failed:
        return failed
    failed = isolate_single_pageblock(k, last, True, first == last - PAGEBLOCK_NR_PAGES, migratetype)
    if failed:
        unset_migratetype_isolate(k, first, migratetype)
        return failed
    pfn = first + PAGEBLOCK_NR_PAGES
    while pfn < last - PAGEBLOCK_NR_PAGES:
        if set_migratetype_isolate(k, pfn, start, end):
            undo_isolate_page_range(k, first, pfn, migratetype)
            unset_migratetype_isolate(k, last - PAGEBLOCK_NR_PAGES, migratetype)
            return -EBUSY
        pfn += PAGEBLOCK_NR_PAGES
    return 0


@jit
def outer_start_of(k: Any, start: int) -> int:
    """The first frame of the free block that *start* lies in; *start* if it is in none."""
    outer = start
    for order in range(MAX_ORDER):
        outer &= ~((1 << order) - 1)
        p = pfn_to_page(k, outer)
        if page_buddy(p):
            return outer if outer + (1 << p.private) > start else start
    return start


@jit
def isolated_and_free(k: Any, start: int, end: int) -> bool:
    """``test_pages_isolated()``."""
    pfn = start
    while pfn < end:
        if not is_isolated(k, pfn):
            return False
        pfn += PAGEBLOCK_NR_PAGES
    pfn = start
    while pfn < end:
        p = pfn_to_page(k, pfn)
        if not page_buddy(p):
            return False
        pfn += 1 << p.private
    return True


@jit
def free_contig_range(k: Any, pfn: int, nr_pages: int) -> None:
    """``void free_contig_range(unsigned long pfn, unsigned long nr_pages)``: page by page; pages that others still
    refer to are warned about.
    """
    busy = 0
    for i in range(nr_pages):
        p = pfn_to_page(k, pfn + i)
        if p._refcount != 1:
            busy += 1
        free_pages_traced(k, p, 0)
    if busy:
        tell(k, UP_CONTIG_IN_USE, busy, 0, 0, 0)


@jit
def isolate_freepages_range(k: Any, start: int, end: int) -> int:
    """``isolate_freepages_range()``: take the free blocks from *start* on as single pages; where they end."""
    pfn = start
    while pfn < end:
        p = pfn_to_page(k, pfn)
        order: int = p.private
        z = page_zone(k, p)
        del_page_from_free_list(p, z, order)
        if order >= PAGEBLOCK_ORDER - 1:
            at = pfn
            while at < pfn + (1 << order) - 1:
                if mergeable(get_pageblock_migratetype(k, at)):
                    set_pageblock_migratetype(k, at, MIGRATE_MOVABLE)
                at += PAGEBLOCK_NR_PAGES
        prep_new_page(k, p, order, 0)
        split_page(k, p, order)
        pfn += 1 << order
    return pfn


@jit
def alloc_contig_range(k: Any, start: int, end: int, migratetype: int, gfp: int) -> int:
    """``int alloc_contig_range(unsigned long start, unsigned long end, unsigned migratetype, gfp_t gfp_mask)``: exactly
    these frames, each a page by itself; 0, or -EBUSY if one of them is in use.

    The page blocks have *migratetype* afterwards.
    """
    if not may_fail(k, gfp) or start >= end or end > k.max_pfn:
        return -EBUSY
    failed = start_isolate_page_range(k, start, end, migratetype)
    if failed:
        return failed
    drain_all_pages(k)
    outer = outer_start_of(k, start)
    if isolated_and_free(k, outer, end):
        outer_end = isolate_freepages_range(k, outer, end)
        emit(k, MM_PAGE_ALLOC, start, (end - start) * PAGE_SIZE, (end - start) * PAGE_SIZE, gfp, -1, 0, 0)
        if outer != start:
            free_contig_range(k, outer, start - outer)
        if outer_end != end:
            free_contig_range(k, end, outer_end - end)
    else:
        failed = -EBUSY
    undo_isolate_page_range(k, start, end, migratetype)
    return failed


@jit
def range_valid_contig(k: Any, z: Any, pfn: int, nr_pages: int) -> bool:
    """``pfn_range_valid_contig()``."""
    if pfn + nr_pages > k.max_pfn:
        return False
    for i in range(nr_pages):
        p = pfn_to_page(k, pfn + i)
        if p.flags & (1 << PG_RESERVED) or page_zone(k, p) != z:
            return False
    return True


@jit
def alloc_contig_pages(k: Any, nr_pages: int, gfp: int, node: int) -> int:
    """``struct page *alloc_contig_pages(unsigned long nr_pages, gfp_t gfp_mask, int nid, nodemask_t *nodemask)``: the
    first range that can be had, aligned to its own size if that is a power of two; its frame, -1 for none.
    """
    lst = k.node_data[node if node >= 0 else numa_node_id(k)].node_zonelists[0]
    zoneidx = gfp_zone(gfp)
    i = 0
    while lst._zonerefs[i].zone:
        z = lst._zonerefs[i].zone
        index = lst._zonerefs[i].zone_idx
        i += 1
        if index > zoneidx:
            continue
        pfn = (z.zone_start_pfn + nr_pages - 1) & ~(nr_pages - 1)
        while pfn + nr_pages <= z.zone_start_pfn + z.spanned_pages:
            valid = range_valid_contig(k, z, pfn, nr_pages)
            if valid and alloc_contig_range(k, pfn, pfn + nr_pages, MIGRATE_MOVABLE, gfp) == 0:
                return pfn
            pfn += nr_pages
    return -1


@entry
def k_alloc_contig_range(ram: Any, start: int, end: int, migratetype: int, gfp: int) -> int:
    """Entry for :func:`alloc_contig_range`; the error as a positive number."""
    return -alloc_contig_range(kernel(ram), start, end, migratetype, gfp)


@entry
def k_alloc_contig_pages(ram: Any, nr_pages: int, gfp: int, node: int) -> int:
    """Entry for :func:`alloc_contig_pages`: the frame plus one, 0 for none."""
    return alloc_contig_pages(kernel(ram), nr_pages, gfp, node) + 1


@entry
def k_free_contig_range(ram: Any, pfn: int, nr_pages: int) -> int:
    """Entry for :func:`free_contig_range`."""
    free_contig_range(kernel(ram), pfn, nr_pages)
    return 0
