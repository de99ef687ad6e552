"""Fragments of pages (mm/page_alloc.c), 6.1: small pieces cut from the end of a page block that counts them.

The cache takes a large number of references to its page at once and gives one away with each piece.
"""

from __future__ import annotations

from kmem.abi import gfp
from kmem.abi.page_flags import PG_head
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

PAGE_SIZE = 4096
MAX_SIZE, MAX_ORDER = 32768, 3
"""PAGE_FRAG_CACHE_MAX_SIZE and its order."""


class _Cache:
    """The ``struct page_frag_cache`` at *address*."""

    def __init__(self, k: Host, address: int) -> None:
        layout = k.layout["page_frag_cache"]
        self.mem = k.mem
        self.va, self.offset, self.size, self.bias, self.pfmemalloc = (
            address + layout.offset(member) for member in ("va", "offset", "size", "pagecnt_bias", "pfmemalloc")
        )


def _refcount(k: Host, page: int) -> int:
    return page + k.layout["page"].offset("_refcount")


def _refill(k: Host, nc: _Cache, gfp_mask: int) -> int:
    """``__page_frag_cache_refill()``: a block of order 3 if that is easy, else a page; 0 when there is none."""
    easy = gfp_mask | gfp.__GFP_COMP | gfp.__GFP_NOWARN | gfp.__GFP_NORETRY | gfp.__GFP_NOMEMALLOC
    page, size = k.mm.alloc_pages(easy, MAX_ORDER), MAX_SIZE
    if not page:
        page, size = k.mm.alloc_pages(gfp_mask, 0), PAGE_SIZE
    k.mem.set_u16(nc.size, size)
    k.mem.set_u64(nc.va, k.mm.page_to_virt(page) if page else 0)
    if page:
        k.mem.set_u32(_refcount(k, page), k.mem.u32(_refcount(k, page)) + MAX_SIZE)
        k.mem.set_u8(nc.pfmemalloc, 0)
        k.mem.set_u32(nc.bias, MAX_SIZE + 1)
        k.mem.set_u16(nc.offset, size)
    return page


@export(faithful, alias="__page_frag_alloc_align")
def page_frag_alloc_align(k: Host, nc: int, fragsz: int, gfp_mask: int, align_mask: int) -> int:
    """``void *page_frag_alloc_align(struct page_frag_cache *nc, unsigned int fragsz, gfp_t gfp_mask, unsigned int
    align_mask)``

    mm/page_alloc.c, 6.1. The end of what is left of the block; NULL when no page can be had, or *fragsz* is more than
    the block. A block that everybody has given back is used again.
    """
    cache = _Cache(k, nc)
    if not k.mem.u64(cache.va) and not _refill(k, cache, gfp_mask):
        return 0
    offset = k.mem.u16(cache.offset) - fragsz
    while offset < 0:
        page = k.mm.virt_to_page(k.mem.u64(cache.va))
        left = k.mem.u32(_refcount(k, page)) - k.mem.u32(cache.bias)
        size = k.mem.u16(cache.size)
        if left:
            k.mem.set_u32(_refcount(k, page), left)
            if not _refill(k, cache, gfp_mask):
                return 0
            offset = k.mem.u16(cache.offset) - fragsz
            continue
        k.mem.set_u32(_refcount(k, page), MAX_SIZE + 1)
        k.mem.set_u32(cache.bias, MAX_SIZE + 1)
        offset = size - fragsz
        if offset < 0:
            return 0
    k.mem.set_u32(cache.bias, k.mem.u32(cache.bias) - 1)
    offset &= align_mask
    k.mem.set_u16(cache.offset, offset)
    return k.mem.u64(cache.va) + offset


@export(faithful)
def __page_frag_cache_drain(k: Host, page: int, count: int) -> None:
    """``void __page_frag_cache_drain(struct page *page, unsigned int count)``

    mm/page_alloc.c, 6.1. Drops *count* references; the block is freed with the last.
    """
    k.mm.page_ref_sub(page, count)


@export(faithful)
def page_frag_free(k: Host, addr: int) -> None:
    """``void page_frag_free(void *addr)``

    mm/page_alloc.c, 6.1. Drops the piece's reference.
    """
    page, layout = k.mm.virt_to_page(addr), k.layout["page"]
    head = k.mem.u64(page + layout.offset("compound_head"))
    if head & 1 and not k.mem.u64(page + layout.offset("flags")) >> PG_head & 1:
        page = head - 1
    k.mm.page_ref_sub(page, 1)
