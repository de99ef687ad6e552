"""The page allocator's exports (mm/page_alloc.c, mm/swap.c), 6.1. The work is done by `Host.mm`."""

from __future__ import annotations

from kmem.abi import gfp
from kmem.abi.page_flags import page_flags
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Host

PAGE_SIZE = 4096

data("empty_zero_page", PAGE_SIZE, align=PAGE_SIZE, doc="A page of zeros, arch/x86/kernel/head_64.S.")
data(
    "zero_pfn",
    8,
    lambda k: (k.mem.translate(k.address_of("empty_zero_page")) // PAGE_SIZE).to_bytes(8, "little"),
    doc="Page frame number of empty_zero_page, mm/memory.c.",
)


def page_size(k: Host) -> int:
    """``sizeof(struct page)``."""
    return k.layout["page"].size


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
    for index in range(1, 1 << order):
        _set_refcount(k, page + index * page_size(k), 1)


@export(simplified("pages that are not needed are freed through the per-CPU lists"))
def alloc_pages_exact(k: Host, size: int, gfp_mask: int) -> int:
    """``void *alloc_pages_exact(size_t size, gfp_t gfp_mask)``

    mm/page_alloc.c, 6.1. No more pages than *size* needs, contiguous.
    """
    if gfp_mask & (gfp.__GFP_COMP | gfp.__GFP_HIGHMEM):
        k.warn("mm/page_alloc.c", 5930, "alloc_pages_exact", once=True)
        gfp_mask &= ~(gfp.__GFP_COMP | gfp.__GFP_HIGHMEM)
    pages = -(-size // PAGE_SIZE)
    order = (pages - 1).bit_length() if pages else 52
    addr = k.mm.get_free_pages(gfp_mask, order)
    if addr:
        page = k.mm.virt_to_page(addr)
        split_page(k, page, order)
        for index in range(pages, 1 << order):
            k.mm.free_pages(page + index * page_size(k), 0)
    return addr


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
    page = k.layout["page"]
    order = 0
    bits, flags = page_flags(k.release.name), k.mem.u64(folio + page.offset("flags"))
    if flags >> bits.bit("PG_head") & 1:
        order_at = "flags" if "folio-order" in k.release.features else "compound_order"
        order = k.mem.u8(folio + page.size + page.offset(order_at))
    # The allocator drops the last reference itself: give it one.
    _set_refcount(k, folio, 1)
    if flags >> bits.bit("PG_lru") & 1:
        k.user.put_page(folio)
    else:
        k.mm.free_pages(folio, order)
