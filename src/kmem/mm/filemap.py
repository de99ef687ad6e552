"""The page cache (mm/filemap.c, mm/truncate.c; 6.1): clean pages of one file, which give way when memory is short.

A page of the cache holds one reference, is up to date, is on a file LRU list and leads by ``mapping`` to its file, of
which it is the page ``index``. It takes order-0 movable memory, so that reclaim can drop it and compaction can move it.

Simplified: all pages are clean, hold zeros and belong to one file, ``kdata.page_cache``; they are found through the LRU
lists only.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_NORETRY, __GFP_NOWARN, __GFP_ZERO, GFP_HIGHUSER_MOVABLE
from kmem.lib.jit import address, container_of, entry, jit
from kmem.mm.events import MM_PAGE_ALLOC, MM_PAGE_FREE, emit
from kmem.mm.mm_inline import (
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_FILE,
    NR_FILE_PAGES,
    PG_UPTODATE,
    folio_add_lru,
    page_cache_release,
)
from kmem.mm.mm_types import page
from kmem.mm.mmzone import PAGE_SIZE, PG_ACTIVE, kernel, mod_node_page_state, page_pgdat, page_to_pfn, priv
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_free import free_unref_page
from kmem.mm.vm_event_item import DROP_PAGECACHE, PGACTIVATE, count_vm_item

READAHEAD_GFP = GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN | __GFP_ZERO
"""``readahead_gfp_mask()`` of an ordinary file, and wiped: a file of zeros."""


@jit
def emit_page(k: Any, kind: int, p: Any) -> None:
    """The event of a page that the cache takes or gives back: not on behalf of the code that runs."""
    v = priv(k)
    site = v.call_site
    v.call_site = 0
    emit(k, kind, page_to_pfn(p), 0, PAGE_SIZE, READAHEAD_GFP, -1, 0, 0)
    v.call_site = site


@jit
def filemap_add_folio(k: Any, p: Any, active: int) -> None:
    """``filemap_add_folio()``: a new page joins the cache; *active*: it was used twice already."""
    mapping = k.page_cache
    p.mapping = address(mapping)
    p.index = mapping.read
    mapping.read = mapping.read + 1
    mapping.nrpages = mapping.nrpages + 1
    p.flags = p.flags | (1 << PG_UPTODATE) | ((1 << PG_ACTIVE) if active else 0)
    mod_node_page_state(k, page_pgdat(k, p), NR_FILE_PAGES, 1)
    folio_add_lru(k, p)


@jit
def filemap_remove_folio(k: Any, p: Any) -> None:
    """``__filemap_remove_folio()``: the cache forgets the page, whose reference is the caller's now."""
    k.page_cache.nrpages = k.page_cache.nrpages - 1
    p.mapping = 0
    mod_node_page_state(k, page_pgdat(k, p), NR_FILE_PAGES, -1)


@entry
def k_fill_page_cache(ram: Any, pages: int, active: int) -> int:
    """``page_cache_ra_unbounded()``: read *pages* of the file, as far as memory goes; how many."""
    k = kernel(ram)
    done = 0
    while done < pages:
        p = alloc_pages_node(k, READAHEAD_GFP, 0, 0)
        if not p:
            break
        emit_page(k, MM_PAGE_ALLOC, p)
        filemap_add_folio(k, p, active)
        if active:
            count_vm_item(k, PGACTIVATE, 1)
        done += 1
    return done


@entry
def k_drop_pagecache(ram: Any) -> int:
    """``drop_pagecache_sb()``, as ``/proc/sys/vm/drop_caches`` does: every page of the cache is freed; how many."""
    k = kernel(ram)
    done = 0
    for node in range(k.nr_node_ids):
        for lru in range(LRU_INACTIVE_FILE, LRU_ACTIVE_FILE + 1):
            head = k.node_data[node].__lruvec.lists[lru]
            link = head.next
            while link != head:
                p = container_of(link, page, "lru")
                link = link.next
                if p.mapping == address(k.page_cache) and p._refcount == 1:
                    filemap_remove_folio(k, p)
                    page_cache_release(k, p)
                    p._refcount = 0
                    emit_page(k, MM_PAGE_FREE, p)
                    free_unref_page(k, p, 0)
                    done += 1
    count_vm_item(k, DROP_PAGECACHE, 1)
    return done
