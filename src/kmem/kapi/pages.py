"""The page allocator's exports (mm/page_alloc.c, mm/swap.c), 6.1. The work is done by `Host.mm`."""

from __future__ import annotations

from kmem.abi import gfp
from kmem.abi.page_flags import page_flags
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.lists import add, entries, init_list_head

PAGE_SIZE = 4096

data("empty_zero_page", PAGE_SIZE, align=PAGE_SIZE, doc="A page of zeros, arch/x86/kernel/head_64.S.")
data(
    "zero_pfn",
    8,
    lambda k: (k.mem.translate(k.address_of("empty_zero_page")) // PAGE_SIZE).to_bytes(8, "little"),
    doc="Page frame number of empty_zero_page, mm/memory.c.",
)


def _set_refcount(k: Host, page: int, count: int) -> None:
    k.mem.set_u32(page + k.layout["page"].offset("_refcount"), count)


@export(faithful)
def alloc_pages(k: Host, gfp_mask: int, order: int) -> int:
    """``struct page *alloc_pages(gfp_t gfp, unsigned int order)``

    mm/mempolicy.c, 6.1. The local node is preferred.
    """
    return k.mm.alloc_pages(gfp_mask, order)


def _nodes(k: Host, nodemask: int) -> int:
    """The mask at *nodemask*; the first word of it, as there are 64 nodes at most. NULL is all nodes."""
    return k.mem.u64(nodemask) if nodemask else -1


@export(faithful)
def __alloc_pages(k: Host, gfp_mask: int, order: int, preferred_nid: int, nodemask: int) -> int:
    """``struct page *__alloc_pages(gfp_t gfp, unsigned int order, int preferred_nid, nodemask_t *nodemask)``

    mm/page_alloc.c, 6.1. From the nodes of the mask (NULL: all), the nearest to the preferred one first.
    """
    return k.mm.alloc_pages_nodemask(gfp_mask, order, preferred_nid, _nodes(k, nodemask))


@export(faithful)
def __folio_alloc(k: Host, gfp_mask: int, order: int, preferred_nid: int, nodemask: int) -> int:
    """``struct folio *__folio_alloc(gfp_t gfp, unsigned int order, int preferred_nid, nodemask_t *nodemask)``

    mm/page_alloc.c, 6.1. A compound page.
    """
    return k.mm.alloc_pages_nodemask(gfp_mask | gfp.__GFP_COMP, order, preferred_nid, _nodes(k, nodemask))


@export(faithful)
def folio_alloc(k: Host, gfp_mask: int, order: int) -> int:
    """``struct folio *folio_alloc(gfp_t gfp, unsigned int order)``

    mm/mempolicy.c, 6.1.
    """
    return k.mm.alloc_pages(gfp_mask | gfp.__GFP_COMP, order)


@export(faithful)
def __free_pages(k: Host, page: int, order: int) -> None:
    """``void __free_pages(struct page *page, unsigned int order)``

    mm/page_alloc.c, 6.1. Drops one reference.
    """
    k.mm.free_pages(page, order)


@export(faithful, alias="get_free_pages_noprof")
def __get_free_pages(k: Host, gfp_mask: int, order: int) -> int:
    """``unsigned long __get_free_pages(gfp_t gfp_mask, unsigned int order)``

    mm/page_alloc.c, 6.1. The address in the direct map, or 0.
    """
    return k.mm.get_free_pages(gfp_mask, order)


@export(faithful)
def get_zeroed_page(k: Host, gfp_mask: int) -> int:
    """``unsigned long get_zeroed_page(gfp_t gfp_mask)``

    mm/page_alloc.c, 6.1.
    """
    return k.mm.get_free_pages(gfp_mask | gfp.__GFP_ZERO, 0)


@export(faithful)
def free_pages(k: Host, addr: int, order: int) -> None:
    """``void free_pages(unsigned long addr, unsigned int order)``

    mm/page_alloc.c, 6.1. 0 is allowed.
    """
    if addr:
        k.mm.free_pages_addr(addr, order)


@export(faithful)
def split_page(k: Host, page: int, order: int) -> None:
    """``void split_page(struct page *page, unsigned int order)``

    mm/page_alloc.c, 6.1. Afterwards each page of a block that is not compound is freed by itself.
    """
    k.mm.split_page(page, order)


@export(faithful)
def alloc_pages_exact(k: Host, size: int, gfp_mask: int) -> int:
    """``void *alloc_pages_exact(size_t size, gfp_t gfp_mask)``

    mm/page_alloc.c, 6.1. No more pages than *size* needs, contiguous.
    """
    return k.mm.alloc_pages_exact(size, gfp_mask)


@export(faithful)
def free_pages_exact(k: Host, virt: int, size: int) -> None:
    """``void free_pages_exact(void *virt, size_t size)``

    mm/page_alloc.c, 6.1.
    """
    for addr in range(virt, virt + -(-size // PAGE_SIZE) * PAGE_SIZE, PAGE_SIZE):
        k.mm.free_pages_addr(addr, 0)


@export(faithful)
def __folio_put(k: Host, folio: int) -> None:
    """``void __folio_put(struct folio *folio)``

    mm/swap.c, 6.1. Frees a page or compound page whose last reference the caller, an inline, has dropped.
    """
    # The allocator drops the last reference itself: give it one.
    _set_refcount(k, folio, 1)
    if k.mem.u64(folio + k.layout["page"].offset("flags")) >> page_flags(k.release.name).bit("PG_lru") & 1:
        k.user.put_page(folio)
    else:
        k.mm.page_ref_sub(folio, 1)


@export(faithful, alias="alloc_pages_bulk_noprof")
def __alloc_pages_bulk(
    k: Host, gfp_mask: int, preferred_nid: int, nodemask: int, nr_pages: int, page_list: int, page_array: int
) -> int:
    """``unsigned long __alloc_pages_bulk(gfp_t gfp, int preferred_nid, nodemask_t *nodemask, int nr_pages, struct
    list_head *page_list, struct page **page_array)``

    mm/page_alloc.c, 6.1. Single pages, to the front of the list or into the empty places of the array. Returns how many
    places are filled up to the last one, which may be fewer than *nr_pages*.
    """
    filled = 0
    if page_array:
        while filled < nr_pages and k.mem.u64(page_array + 8 * filled):
            filled += 1
    if nr_pages <= 0 or (page_array and filled == nr_pages):
        return filled
    places = [n for n in range(filled, nr_pages) if not (page_array and k.mem.u64(page_array + 8 * n))]
    pages = k.mm.alloc_pages_bulk(gfp_mask, len(places), preferred_nid, _nodes(k, nodemask))
    lru = k.layout["page"].offset("lru")
    for place, page in zip(places, pages, strict=False):
        if page_list:
            add(k, page + lru, page_list)
        else:
            k.mem.set_u64(page_array + 8 * place, page)
    if len(pages) == len(places):
        return nr_pages
    return places[len(pages)] if pages else filled


@export(faithful)
def put_pages_list(k: Host, pages: int) -> None:
    """``void put_pages_list(struct list_head *pages)``

    mm/swap.c, 6.1. Drops one reference of each page of the list and empties it.
    """
    lru = k.layout["page"].offset("lru")
    for entry in entries(k, pages):
        k.mm.page_ref_sub(entry - lru, 1)
    init_list_head(k, pages)


@export(faithful)
def is_free_buddy_page(k: Host, page: int) -> bool:
    """``bool is_free_buddy_page(struct page *page)``

    mm/page_alloc.c, 6.1. Whether the page lies in a free block.
    """
    return k.mm.is_free_buddy_page(page)


@export(simplified("pages in use are not migrated away: -EBUSY"))
def alloc_contig_range(k: Host, start: int, end: int, migratetype: int, gfp_mask: int) -> int:
    """``int alloc_contig_range(unsigned long start, unsigned long end, unsigned migratetype, gfp_t gfp_mask)``

    mm/page_alloc.c, 6.1. These page frames, each a page by itself; 0, or -EBUSY.
    """
    return k.mm.alloc_contig_range(start, end, migratetype, gfp_mask)


@export(faithful)
def free_contig_range(k: Host, pfn: int, nr_pages: int) -> None:
    """``void free_contig_range(unsigned long pfn, unsigned long nr_pages)``

    mm/page_alloc.c, 6.1. Page by page; warns of pages that others still refer to.
    """
    k.mm.free_contig_range(pfn, nr_pages)
