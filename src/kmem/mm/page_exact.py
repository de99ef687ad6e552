"""Pages by number, not by order: split blocks, exact ranges, many single pages (mm/page_alloc.c, 6.1)."""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_COMP, __GFP_HIGHMEM
from kmem.lib.jit import address, entry, jit, ptr
from kmem.mm import places
from kmem.mm.events import MM_PAGE_ALLOC, MM_PAGE_FREE, emit, inner_fails, may_fail
from kmem.mm.mm_types import page
from kmem.mm.mmzone import (
    MAX_ORDER,
    PAGE_SIZE,
    WMARK_LOW,
    compound_order,
    count_vm_events,
    kernel,
    numa_node_id,
    page_buddy,
    page_to_pfn,
    page_to_virt,
    page_zonenum,
    pfn_to_page,
    priv,
)
from kmem.mm.page_alloc import alloc_pages, alloc_pages_nodemask
from kmem.mm.page_free import free_pages_ok, free_the_page, this_cpu_pages
from kmem.mm.page_freelist import (
    gfp_migratetype,
    gfp_zone,
    next_zones_zonelist,
    node_zonelist,
    prep_new_page,
    zone_watermark_ok,
)
from kmem.mm.page_rmqueue import take_pcplist, zone_statistics
from kmem.mm.slub_geometry import get_order
from kmem.mm.upcalls import warn
from kmem.mm.vm_events import EV_PGALLOC


@jit
def split_page(k: Any, p: Any, order: int) -> None:
    """``void split_page(struct page *page, unsigned int order)``: a reference of its own for each page of the block."""
    for i in range(1, 1 << order):
        (p + i)._refcount = 1


@jit
def alloc_pages_exact(k: Any, size: int, gfp: int, node: int) -> int:
    """``void *alloc_pages_exact_nid(int nid, size_t size, gfp_t gfp_mask)``: a block, less the pages behind *size*.

    What is left over goes back to the tail of the free lists, page by page. Compound pages are refused with a warning.
    """
    if gfp & (__GFP_COMP | __GFP_HIGHMEM):
        warn(k, places.ALLOC_PAGES_EXACT, size, gfp)
        gfp &= ~(__GFP_COMP | __GFP_HIGHMEM)
    order = get_order(size) if size else 52
    p = alloc_pages(k, gfp, order, node)
    if not p:
        return 0
    split_page(k, p, order)
    for i in range((size + PAGE_SIZE - 1) // PAGE_SIZE, 1 << order):
        (p + i)._refcount = 0
        emit(k, MM_PAGE_FREE, page_to_pfn(p + i), 0, PAGE_SIZE, 0, -1, 0, 0)
        free_pages_ok(k, p + i, 0, True)
    return page_to_virt(p)


@jit
def bulk_zone(gfp: int, nr_pages: int, lst: Any, first: int, nodes: int) -> Any:
    """The zone that stays *nr_pages* above its low watermark, on the node of zonelist entry *first*; NULL for none."""
    i = first
    preferred = lst._zonerefs[first].zone
    while lst._zonerefs[i].zone:
        z = lst._zonerefs[i].zone
        if z.node != preferred.node:
            break
        mark = z._watermark[WMARK_LOW] + z.watermark_boost + nr_pages
        if zone_watermark_ok(z, 0, mark, lst._zonerefs[first].zone_idx, WMARK_LOW):
            return z
        i = next_zones_zonelist(lst, i + 1, gfp_zone(gfp), nodes)
    while lst._zonerefs[i].zone:
        i += 1
    return lst._zonerefs[i].zone


@jit
def bulk_from_zone(k: Any, gfp: int, node: int, nodes: int, nr_pages: int) -> int:
    """What the CPU's list of one zone gives of *nr_pages*, into ``words``; how many pages."""
    lst = node_zonelist(k, node, gfp)
    first = next_zones_zonelist(lst, 0, gfp_zone(gfp), nodes)
    z = bulk_zone(gfp, nr_pages, lst, first, nodes)
    if not z:
        return 0
    words = priv(k).words
    pcp = this_cpu_pages(k, z)
    got = 0
    while got < nr_pages:
        p = take_pcplist(k, z, 0, gfp_migratetype(gfp), WMARK_LOW, pcp)
        if not p:
            break
        prep_new_page(k, p, 0, gfp)
        words[got] = address(p)
        got += 1
    if got:
        count_vm_events(k, EV_PGALLOC + page_zonenum(ptr(page, words[0], k)), got)
    for _ in range(got):
        zone_statistics(k, lst._zonerefs[first].zone, z)
    return got


@jit
def alloc_pages_bulk(k: Any, gfp: int, node: int, nodes: int, nr_pages: int) -> int:
    """``unsigned long __alloc_pages_bulk(…)``: up to *nr_pages* single pages into ``words``; how many it are.

    As many as the CPU's list of one zone of the nearest node gives, at least one if any memory is left.
    """
    if nr_pages <= 0 or not may_fail(k, gfp):
        return 0
    words = priv(k).words
    got = 0
    if nr_pages > 1:
        if inner_fails(k, gfp):
            return 0
        got = bulk_from_zone(k, gfp, node, nodes, nr_pages)
    if got == 0:
        p = alloc_pages_nodemask(k, gfp, 0, node, nodes)
        if p:
            words[0] = address(p)
            got = 1
    for i in range(got):
        emit(k, MM_PAGE_ALLOC, page_to_pfn(ptr(page, words[i], k)), PAGE_SIZE, PAGE_SIZE, gfp, node, 0, 0)
    return got


@jit
def page_ref_sub(k: Any, p: Any, count: int) -> bool:
    """``page_ref_sub_and_test()``, and the page is freed with its last reference (``__page_frag_cache_drain()``)."""
    p._refcount = p._refcount - count
    if p._refcount:
        return False
    order = compound_order(p)
    emit(k, MM_PAGE_FREE, page_to_pfn(p), 0, PAGE_SIZE << order, 0, -1, 0, order)
    free_the_page(k, p, order)
    return True


@jit
def is_free_buddy_page(k: Any, p: Any) -> bool:
    """``bool is_free_buddy_page(struct page *page)``: whether the page lies in a free block."""
    pfn = page_to_pfn(p)
    for order in range(MAX_ORDER):
        head = pfn_to_page(k, pfn & ~((1 << order) - 1))
        if page_buddy(head) and head.private >= order:
            return True
    return False


@entry
def k_split_page(ram: Any, p: int, order: int) -> int:
    """Entry for :func:`split_page`."""
    k = kernel(ram)
    split_page(k, ptr(page, p, k), order)
    return 0


@entry
def k_alloc_pages_exact(ram: Any, size: int, gfp: int, node: int) -> int:
    """Entry for :func:`alloc_pages_exact`."""
    return alloc_pages_exact(kernel(ram), size, gfp, node)


@entry
def k_alloc_pages_bulk(ram: Any, gfp: int, node: int, nodes: int, nr_pages: int) -> int:
    """Entry for :func:`alloc_pages_bulk`; without a *node* (-1) near this CPU."""
    k = kernel(ram)
    return alloc_pages_bulk(k, gfp, node if node >= 0 else numa_node_id(k), nodes, nr_pages)


@entry
def k_page_ref_sub(ram: Any, p: int, count: int) -> int:
    """Entry for :func:`page_ref_sub`."""
    k = kernel(ram)
    return 1 if page_ref_sub(k, ptr(page, p, k), count) else 0


@entry
def k_is_free_buddy_page(ram: Any, p: int) -> int:
    """Entry for :func:`is_free_buddy_page`."""
    k = kernel(ram)
    return 1 if is_free_buddy_page(k, ptr(page, p, k)) else 0
