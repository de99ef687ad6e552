"""LRU lists of user pages (mm/swap.c, include/linux/mm_inline.h; 6.1).

A page joins its list at once, where the kernel collects fifteen on the CPU first; leaving is when the last reference
goes, as in the kernel.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.layout import enums
from kmem.lib.jit import entry, jit, ptr
from kmem.lib.kstructs import RELEASE
from kmem.lib.list import INIT_LIST_HEAD, list_add, list_del
from kmem.mm.features import PAGE_FLAG
from kmem.mm.mm_types import pglist_data
from kmem.mm.mmzone import (
    kernel,
    mod_node_page_state,
    mod_zone_page_state,
    page_pgdat,
    page_to_nid,
    page_zone,
)
from kmem.mm.page_free import put_page as put_last

_node, _zone = (enums(RELEASE)[name] for name in ("node_stat_item", "zone_stat_item"))
LRU_INACTIVE_ANON, NR_LRU_LISTS = 0, 5
NR_LRU_BASE, NR_ZONE_LRU_BASE = _node["NR_LRU_BASE"], _zone["NR_ZONE_LRU_BASE"]
NR_ANON_MAPPED, NR_FILE_MAPPED = _node["NR_ANON_MAPPED"], _node["NR_FILE_MAPPED"]
PG_ACTIVE, PG_SWAPBACKED, PG_UPTODATE = (PAGE_FLAG[f"PG_{name}"] for name in ("active", "swapbacked", "uptodate"))
PG_LRU, PG_ANON_EXCLUSIVE = PAGE_FLAG["PG_lru"], enums(RELEASE)["pageflags"]["PG_anon_exclusive"]


@entry
def k_lruvec_init(ram: Any, pgdat: int) -> int:
    """``lruvec_init()``: a node's lists, empty."""
    node = ptr(pglist_data, pgdat, kernel(ram))
    for lru in range(NR_LRU_LISTS):
        INIT_LIST_HEAD(node.__lruvec.lists[lru])
    return 0


@jit
def update_lru_size(k: Any, p: Any, lru: int, n: int) -> None:
    """``update_lru_size()``: *n* more pages on the list."""
    mod_node_page_state(k, page_pgdat(k, p), NR_LRU_BASE + lru, n)
    mod_zone_page_state(page_zone(k, p), NR_ZONE_LRU_BASE + lru, n)


@jit
def lru_of(p: Any) -> int:
    """``folio_lru_list()`` of an anonymous page."""
    return LRU_INACTIVE_ANON + ((p.flags >> PG_ACTIVE) & 1)


@jit
def lru_cache_add(k: Any, p: Any) -> None:
    """``folio_add_lru()``: onto the list that the page's flags say."""
    lru = lru_of(p)
    p.flags = p.flags | (1 << PG_LRU)
    list_add(p.lru, k.node_data[page_to_nid(p)].__lruvec.lists[lru])
    update_lru_size(k, p, lru, 1)


@jit
def lru_del(k: Any, p: Any) -> None:
    """``__page_cache_release()``: off its list, if it is on one."""
    if p.flags & (1 << PG_LRU):
        update_lru_size(k, p, lru_of(p), -1)
        list_del(p.lru)
        p.flags = p.flags & ~(1 << PG_LRU | 1 << PG_ACTIVE)


@jit
def put_user_page(k: Any, p: Any) -> None:
    """``void put_page(struct page *page)`` of a page that may be on a list."""
    if p._refcount == 1:
        lru_del(k, p)
    put_last(k, p)
