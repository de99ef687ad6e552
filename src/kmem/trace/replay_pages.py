"""The pages of a trace that is replayed, compiled: blocks of them, and slabs."""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get8, get32, get64, put64
from kmem.lib.jit import always_inline, jit, noinline, ult
from kmem.mm.events import MM_PAGE_ALLOC
from kmem.mm.mmzone import page_to_pfn, page_to_virt, pfn_to_page, virt_to_page
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_exact import split_page
from kmem.mm.page_free import free_pages
from kmem.trace.replay_objects import alloc_chain, free_chain, free_object
from kmem.trace.replay_state import (
    B_PFN,
    B_WHAT,
    B_WHO,
    BLOCK_MASK,
    BLOCK_ORDER,
    BLOCK_USED,
    BLOCK_WIDTH,
    BLOCKS,
    CACHE_WORDS,
    CACHES,
    CHAIN,
    FAILED,
    INFERRED_PAGE,
    K_CAME,
    K_ORDER,
    K_SIZE,
    K_WENT,
    MAPPED_ABOVE,
    MAPPED_PAGES,
    OBJECT_MASK,
    OBJECT_WIDTH,
    OBJECTS,
    PAGE_FAILED,
    PAGE_OFFSET,
    PAGES_LIVE,
    PAGES_TO_SLAB,
    PLACEMENT,
    PLAIN,
    REPEATED_PAGES,
    SLAB,
    SLAB_GFP,
    SPLIT,
    UNKNOWN_PAGES,
)
from kmem.trace.scan import C_GFP, C_ORDER, C_PTR, at, put
from kmem.trace.table import remove, seek


@noinline
def free_slab_pages(k: Any, state: int, pfn: int, order: int, c: int, time: int, cpu: int) -> None:
    """The pages of a slab of cache number *c* went back: what lives in it was freed without an event."""
    row = at(state, CACHES) + 8 * CACHE_WORDS * c
    put(row, K_WENT, at(row, K_WENT) + 1)
    size = at(row, K_SIZE)
    first = (pfn << 12) + at(state, PAGE_OFFSET)
    for i in range((4096 << order) // size):
        e = seek(at(state, OBJECTS), at(state, OBJECT_MASK), OBJECT_WIDTH, first + i * size)
        if get64(e):
            free_object(k, state, e, time, cpu, True)
            put(state, INFERRED_PAGE, at(state, INFERRED_PAGE) + 1)


@always_inline
def block(state: int, pfn: int) -> int:
    """The address of the entry of the block at a recorded page frame."""
    return seek(at(state, BLOCKS), at(state, BLOCK_MASK), BLOCK_WIDTH, pfn + 1)


@noinline
def drop_block(state: int, e: int) -> None:
    """Take out the entry of a block."""
    remove(at(state, BLOCKS), at(state, BLOCK_MASK), BLOCK_WIDTH, e)
    put(state, BLOCK_USED, at(state, BLOCK_USED) - 1)


@noinline
def put_block(state: int, pfn: int, model: int, order: int, what: int, c: int, pair: int) -> None:
    """Set the entry of a block."""
    e = block(state, pfn)
    if get64(e) == 0:
        put64(e, pfn + 1)
        put(state, BLOCK_USED, at(state, BLOCK_USED) + 1)
    put64(e + 8 * B_PFN, model)
    put64(e + 8 * B_WHAT, order | what << 8 | c << 16)
    put64(e + 8 * B_WHO, pair)


@noinline
def free_model_pages(k: Any, state: int, model: int, order: int, what: int) -> None:
    """Give a block of the model back; page by page if it was split."""
    if what == CHAIN:
        put(state, MAPPED_PAGES, at(state, MAPPED_PAGES) - free_chain(k, page_to_virt(pfn_to_page(k, model))))
    elif what == SPLIT:
        for i in range(1 << order):
            free_pages(k, pfn_to_page(k, model + i), 0)
    else:
        free_pages(k, pfn_to_page(k, model), order)


@noinline
def slab_page(k: Any, state: int, recorded: int, c: int) -> None:
    """An object of cache number *c* is allocated at *recorded*: its pages are a slab's. What the model allocated for
    them, when their own event came, goes back; its slab allocator takes its own.
    """
    row = at(state, CACHES) + 8 * CACHE_WORDS * c
    order = at(row, K_ORDER)
    pfn = ((recorded - at(state, PAGE_OFFSET)) >> 12) & ~((1 << order) - 1)
    e = block(state, pfn)
    if get64(e):
        word = get64(e + 8 * B_WHAT)
        what = word >> 8 & 0xFF
        if what == SLAB:
            if word >> 16 != c:
                put64(e + 8 * B_WHAT, order | SLAB << 8 | c << 16)
            return
        if get64(e + 8 * B_PFN) >= 0:
            free_model_pages(k, state, get64(e + 8 * B_PFN), word & 0xFF, what)
            put(state, PAGES_LIVE, at(state, PAGES_LIVE) - (1 << (word & 0xFF)))
        put(state, PAGES_TO_SLAB, at(state, PAGES_TO_SLAB) + 1)
        put(row, K_CAME, at(row, K_CAME) + 1)
    put_block(state, pfn, -1, order, SLAB, c, 0)


@jit
def split_until(k: Any, state: int, pfn: int, order: int) -> int:
    """The entry of the block of this *order* at *pfn*, after splitting the one that it lies in; the empty one if there
    is none.
    """
    e = block(state, pfn)
    if get64(e) and get64(e + 8 * B_WHAT) & 0xFF == order:
        return e
    for above in range(order + 1, BLOCK_ORDER + 1):
        head = pfn & ~((1 << above) - 1)
        e = block(state, head)
        word = get64(e + 8 * B_WHAT)
        if get64(e) == 0 or word & 0xFF < above or (word >> 8 & 0xFF) in (SLAB, CHAIN):
            continue
        model, pair, size = get64(e + 8 * B_PFN), get64(e + 8 * B_WHO), word & 0xFF
        if (word >> 8 & 0xFF) == PLAIN and model >= 0:
            split_page(k, pfn_to_page(k, model), size)
        drop_block(state, e)
        while size > order:
            size -= 1
            half = 1 << size
            if pfn >= head + half:
                put_block(state, head, model, size, SPLIT, 0, pair)
                head += half
                if model >= 0:
                    model += half
            else:
                put_block(state, head + half, model + half if model >= 0 else -1, size, SPLIT, 0, pair)
        put_block(state, head, model, size, SPLIT, 0, pair)
        return block(state, pfn)
    return block(state, pfn)


@noinline
def page_event(k: Any, state: int, columns: int, i: int, kind: int, time: int, cpu: int) -> None:
    """Pages are allocated or freed."""
    pfn = get64(at(columns, C_PTR) + 8 * i)
    order = get8(at(columns, C_ORDER) + i)
    if pfn < 0 or order > BLOCK_ORDER or pfn >> 40:
        put(state, FAILED, at(state, FAILED) + 1)
        return
    if kind == MM_PAGE_ALLOC:
        e = block(state, pfn)
        if get64(e):
            put(state, REPEATED_PAGES, at(state, REPEATED_PAGES) + 1)
            release(k, state, e, pfn, time, cpu)
        gfp = get32(at(columns, C_GFP) + 4 * i)
        p = alloc_pages_node(k, (gfp & PLACEMENT) | SLAB_GFP, order, -1)
        model = -1
        if p:
            model = page_to_pfn(p)
            put(state, PAGES_LIVE, at(state, PAGES_LIVE) + (1 << order))
        else:
            put(state, PAGE_FAILED, at(state, PAGE_FAILED) + 1)
        put_block(state, pfn, model, order, PLAIN, 0, 0)
        return
    e = split_until(k, state, pfn, order)
    if get64(e):
        release(k, state, e, pfn, time, cpu)
    else:
        put(state, UNKNOWN_PAGES, at(state, UNKNOWN_PAGES) + (1 << order))


@jit
def release(k: Any, state: int, e: int, pfn: int, time: int, cpu: int) -> None:
    """What the entry *e* says is at *pfn* is no longer there."""
    word = get64(e + 8 * B_WHAT)
    order, what, c, model = word & 0xFF, word >> 8 & 0xFF, word >> 16, get64(e + 8 * B_PFN)
    drop_block(state, e)
    if what == SLAB:
        free_slab_pages(k, state, pfn, order, c, time, cpu)
    elif model >= 0:
        free_model_pages(k, state, model, order, what)
        put(state, PAGES_LIVE, at(state, PAGES_LIVE) - (1 << order))


@noinline
def map_block(k: Any, state: int, recorded: int, requested: int) -> None:
    """What was allocated as a block of pages becomes single pages, if pages are mapped above a size."""
    above = at(state, MAPPED_ABOVE)
    if above == 0 or not ult(above, requested):
        return
    e = block(state, (recorded - at(state, PAGE_OFFSET)) >> 12)
    word, model = get64(e + 8 * B_WHAT), get64(e + 8 * B_PFN)
    if get64(e) == 0 or word >> 8 & 0xFF != PLAIN or model < 0:
        return
    order = word & 0xFF
    free_model_pages(k, state, model, order, PLAIN)
    put(state, PAGES_LIVE, at(state, PAGES_LIVE) - (1 << order))
    count = min((requested + 4095) >> 12, 1 << order)
    first = alloc_chain(k, count)
    if first == 0:
        put(state, PAGE_FAILED, at(state, PAGE_FAILED) + 1)
    else:
        put(state, MAPPED_PAGES, at(state, MAPPED_PAGES) + count)
    put64(e + 8 * B_PFN, page_to_pfn(virt_to_page(k, first)) if first else -1)
    put64(e + 8 * B_WHAT, order | CHAIN << 8)
