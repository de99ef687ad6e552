"""LRU lists: which a page is on, and getting on and off (include/linux/mm_inline.h, mm/swap.c; 6.1).

A node has five lists: inactive and active for anonymous pages and for files, and the unevictable. A page on a list has
PG_lru; PG_active says which of the two. New pages go to the head, reclaim takes from the tail.

Simplified: no memory control groups, so the node's own ``lruvec`` holds all; a page joins its list at once, where the
kernel collects fifteen on the CPU first.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.layout import enums
from kmem.lib.jit import jit
from kmem.lib.kstructs import RELEASE
from kmem.lib.list import INIT_LIST_HEAD, list_add, list_del
from kmem.mm.mmzone import (
    PG_ACTIVE,
    PG_LRU,
    mod_node_page_state,
    mod_zone_page_state,
    page_pgdat,
    page_to_nid,
    page_zone,
)

_NODE, _ZONE, _FLAGS = (enums(RELEASE)[name] for name in ("node_stat_item", "zone_stat_item", "pageflags"))
LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE, LRU_UNEVICTABLE, NR_LRU_LISTS = range(6)
LRU_ACTIVE, LRU_FILE = 1, 2
NR_LRU_BASE, NR_ZONE_LRU_BASE = _NODE["NR_LRU_BASE"], _ZONE["NR_ZONE_LRU_BASE"]
NR_ISOLATED_ANON, NR_FILE_PAGES = _NODE["NR_ISOLATED_ANON"], _NODE["NR_FILE_PAGES"]
PG_SWAPBACKED, PG_UNEVICTABLE = _FLAGS["PG_swapbacked"], _FLAGS["PG_unevictable"]
PG_UPTODATE, PG_REFERENCED, PG_WORKINGSET = _FLAGS["PG_uptodate"], _FLAGS["PG_referenced"], _FLAGS["PG_workingset"]
PG_DIRTY, PG_WRITEBACK, PG_LOCKED = _FLAGS["PG_dirty"], _FLAGS["PG_writeback"], _FLAGS["PG_locked"]


@jit
def lruvec_init(pgdat: Any) -> None:
    """``lruvec_init()``: a node's lists, empty."""
    for lru in range(NR_LRU_LISTS):
        INIT_LIST_HEAD(pgdat.__lruvec.lists[lru])


@jit
def page_lru(p: Any) -> int:
    """``folio_test_lru(page)``."""
    return p.flags >> PG_LRU & 1


@jit
def page_is_file_lru(p: Any) -> int:
    """``page_is_file_lru()``."""
    return 0 if p.flags >> PG_SWAPBACKED & 1 else 1


@jit
def folio_lru_list(p: Any) -> int:
    """``folio_lru_list()``: the list that the page's flags say."""
    if p.flags >> PG_UNEVICTABLE & 1:
        return LRU_UNEVICTABLE
    lru = LRU_INACTIVE_FILE if page_is_file_lru(p) else LRU_INACTIVE_ANON
    return lru + (p.flags >> PG_ACTIVE & 1)


@jit
def update_lru_size(k: Any, p: Any, lru: int, n: int) -> None:
    """``update_lru_size()``: *n* more pages on the list, for the node and for the page's zone."""
    mod_node_page_state(k, page_pgdat(k, p), NR_LRU_BASE + lru, n)
    mod_zone_page_state(page_zone(k, p), NR_ZONE_LRU_BASE + lru, n)


@jit
def lru_list(k: Any, p: Any) -> Any:
    """The head of the list that the page belongs on."""
    return k.node_data[page_to_nid(p)].__lruvec.lists[folio_lru_list(p)]


@jit
def lruvec_add_folio(k: Any, p: Any) -> None:
    """``lruvec_add_folio()``: onto the head of its list."""
    list_add(p.lru, lru_list(k, p))
    update_lru_size(k, p, folio_lru_list(p), 1)


@jit
def lruvec_del_folio(k: Any, p: Any) -> None:
    """``lruvec_del_folio()``: off its list, PG_lru as it is."""
    list_del(p.lru)
    update_lru_size(k, p, folio_lru_list(p), -1)


@jit
def folio_add_lru(k: Any, p: Any) -> None:
    """``folio_add_lru()``."""
    p.flags = p.flags | (1 << PG_LRU)
    lruvec_add_folio(k, p)


@jit
def page_cache_release(k: Any, p: Any) -> None:
    """``__page_cache_release()``: a page that nobody holds any more leaves its list."""
    if page_lru(p):
        lruvec_del_folio(k, p)
        p.flags = p.flags & ~(1 << PG_LRU | 1 << PG_ACTIVE | 1 << PG_UNEVICTABLE)
