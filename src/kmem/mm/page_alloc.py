"""The page allocator's front: what a request is, and what it comes to (mm/page_alloc.c, 6.1).

A request that finds a zone above its low watermark takes the block and is done (:mod:`kmem.mm.page_freelist`). Any
other takes the slow path (:mod:`kmem.mm.page_slowpath`).
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_KSWAPD_RECLAIM, __GFP_NOWARN
from kmem.lib.jit import address, entry, jit, ptr
from kmem.mm import places
from kmem.mm.current import current_gfp_context
from kmem.mm.events import MM_PAGE_ALLOC, MM_PAGE_FREE, emit, inner_fails, may_fail
from kmem.mm.mm_types import page
from kmem.mm.mmzone import (
    MAX_ORDER,
    WMARK_LOW,
    ZONE_DMA32,
    ZONE_NORMAL,
    kernel,
    numa_node_id,
    page_to_pfn,
    page_to_virt,
    page_zone,
    page_zonenum,
    virt_to_page,
)
from kmem.mm.page_free import free_pages
from kmem.mm.page_freelist import ANY_NODE, get_page_from_freelist, gfp_zone, next_zones_zonelist, node_zonelist
from kmem.mm.page_rmqueue import ALLOC_NOFRAGMENT, ZONE_BOOSTED_WATERMARK, no_page
from kmem.mm.page_slowpath import alloc_pages_slowpath
from kmem.mm.upcalls import warn
from kmem.mm.vmscan import run_kswapds, wakeup_kswapd


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
    gfp = current_gfp_context(k, gfp)
    lst = node_zonelist(k, node, gfp)
    preferred = lst._zonerefs[next_zones_zonelist(lst, 0, gfp_zone(gfp), nodes)].zone
    alloc_flags = WMARK_LOW | alloc_flags_nofragment(k, preferred, gfp)
    p = get_page_from_freelist(k, gfp, order, alloc_flags, node, nodes)
    if not p:
        p = alloc_pages_slowpath(k, gfp, order, node, nodes)
    if p:
        z = page_zone(k, p)
        if z.flags & (1 << ZONE_BOOSTED_WATERMARK):
            z.flags = z.flags & ~(1 << ZONE_BOOSTED_WATERMARK)
            wakeup_kswapd(k, z, 0, page_zonenum(p))
    if k.kswapd_wake:
        run_kswapds(k, gfp)
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
    emit(k, MM_PAGE_ALLOC, page_to_pfn(p) if p else -1, 4096 << order, 4096 << order, gfp, node, 0, order)
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
