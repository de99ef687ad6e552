"""Replaying, compiled: each event becomes a call of the model, on the machine at *ram*.

The trace's objects are looked up by their recorded address and have an object of the model each. Three kinds of frees
are not in a trace and are inferred: an address that is handed out again was freed before; objects whose slab's pages
are freed were freed; and pages of which an object is allocated are a slab's, which the model allocates by itself.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.address import PAGE_OFFSET as DIRECT_MAP
from kmem.lib.cstruct import s64
from kmem.lib.host import get8, get16, get32, get64, prefetch, put64
from kmem.lib.jit import always_inline, entry, fls64, jit, load64, lshr, noinline, ptr, store64, ult
from kmem.mm.events import KFREE, KMALLOC, KMEM_CACHE_ALLOC, KMEM_CACHE_FREE, MM_PAGE_ALLOC, MM_PAGE_FREE
from kmem.mm.mm_types import kmem_cache
from kmem.mm.mmzone import (
    MAX_NR_ZONES,
    MAX_ORDER,
    NR_SLAB_RECLAIMABLE_B,
    NR_SLAB_UNRECLAIMABLE_B,
    kernel,
    page_to_pfn,
    page_to_virt,
    pfn_to_page,
    priv,
    virt_to_page,
)
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_exact import split_page
from kmem.mm.page_free import free_pages
from kmem.mm.slub import flush_all, slab_alloc_node, slab_free
from kmem.mm.slub_freelist import oo_objects, slab_address, virt_to_slab
from kmem.mm.slub_node import inc_slabs_node, no_cpu_slab, slab_nid, slab_pages
from kmem.trace.first import (
    CLASSES,
    LARGEST,
    WIDTH,
    cache_of_event,
    cache_of_shape,
    cache_of_slot,
    kmalloc_class,
)
from kmem.trace.scan import (
    C_ALLOCATED,
    C_CPU,
    C_GFP,
    C_KIND,
    C_ORDER,
    C_PTR,
    C_REQUESTED,
    C_SITE,
    C_TASK,
    C_TIME,
    at,
    put,
)
from kmem.trace.table import home, remove, seek, soon

# The state.
COLUMNS, N, OBJECTS, OBJECT_MASK, OBJECT_USED, BLOCKS, BLOCK_MASK, BLOCK_USED = range(8)
CACHES, CACHE_OF, CLASS_OF, PAGE_OFFSET, SITES, SITE_MASK, SITE_USED, SITE_ROOM = range(8, 16)
TASKS, TASK_MASK, TASK_USED, TASK_ROOM, LIFETIMES, FROM, TO, CPUS = range(16, 24)
TASK_ROWS, SITE_ROWS, FIRST, REUSES, CLASS_ROWS, SITE_CACHES, SITE_CACHE_MASK, MAPPED_ABOVE = range(24, 32)
"""The last are of what-ifs: the cache of a requested size, of a call site; the size above which pages are mapped."""
# Counts.
(EVENTS, UNKNOWN_FREES, NULL_FREES, UNKNOWN_CACHES, FAILED, INFERRED_REUSE, INFERRED_PAGE, PAGES_TO_SLAB) = range(
    32, 40
)
LARGE, UNKNOWN_PAGES, PAGE_FAILED, REPEATED_PAGES, PAGES_LIVE, INFERRED_SILENT, MAPPED_PAGES, MAPPED_ROW = range(40, 48)
HOST, HOST_PAGES = 48, 49
"""Where physical 0 and the first page's descriptor are in the host's memory."""
STATE_WORDS = 64

# An object: its recorded address, the model's, cache and CPU, site and task, time, requested and allocated bytes.
O_KEY, O_OBJECT, O_CACHE, O_WHO, O_TIME, O_REQUESTED, O_ALLOCATED, O_MORE = range(8)
OBJECT_WIDTH = 64
COUNTED, MAPPED = 1, 2
"""What an object may be: counted, as allocated in the part of the trace that is asked for; single pages, mapped."""
# A block of pages: its recorded page frame plus 1; the model's; order and what it is; site and task.
B_KEY, B_PFN, B_WHAT, B_WHO = range(4)
BLOCK_WIDTH = 32
PLAIN, SLAB, SPLIT, CHAIN = 1, 2, 3, 4
"""A block is a whole, a slab, a part of a block that was freed in parts, or single pages in its stead."""

# A cache: what it is, then counts.
(K_MODEL, K_SIZE, K_ORDER, K_PER_SLAB, K_ALLOCS, K_FREES, K_INFERRED, K_UNKNOWN) = range(8)
(K_LIVE, K_PEAK, K_REQUESTED, K_CROSS, K_LIFE, K_FAILED, K_LIFETIMES, K_TOTAL) = range(8, 16)
K_CAME, K_WENT, K_BYTES = 16, 17, 18
CACHE_WORDS = 20
# A call site or a task: counts.
(W_ALLOCS, W_FREES, W_LIVE, W_BYTES, W_REQUESTED, W_TOTAL, W_ASKED, W_CROSS) = range(8)
(W_LIFE, W_PEAK, W_CACHE, W_Q1, W_Q2, W_Q3, W_LIFETIMES, W_KEY) = range(8, 16)
WHO_WORDS = 16
WHO_WIDTH = 16
LIVES = 64
"""How many counts a call site has of lives that ended with its address handed out again: one each power of two."""

SLAB_GFP = 0x800 | 0x2000 | 0x10000
"""``__GFP_KSWAPD_RECLAIM | __GFP_NOWARN | __GFP_NORETRY``: what the recorded kernel reclaimed is in the trace."""
PLACEMENT = 0x1F
"""The bits of a gfp mask that say from where: zone and mobility, the same in all releases."""
HIGHMEM = 0x2
"""``__GFP_HIGHMEM``, which what is mapped may come from."""
BLOCK_ORDER = 10
DIRECT = s64(DIRECT_MAP)
FAR, NEAR = 24, 10
"""How many events before one of them its entries are asked for, and what they lead to."""


@always_inline
def who(table: int, mask: int, rows: int, state: int, used: int, room: int, key: int) -> int:
    """The number of a call site or task; 0 (all others) when there are too many."""
    e = seek(table, mask, WHO_WIDTH, key)
    if get64(e) == 0:
        n = at(state, used)
        if n >= room:
            return 0
        put64(e, key)
        put64(e + 8, n)
        put(rows + 8 * WHO_WORDS * n, W_KEY, key)
        put(state, used, n + 1)
    return get64(e + 8)


@always_inline
def count_alloc(row: int, requested: int, allocated: int) -> None:
    """An allocation by a site or task."""
    put(row, W_ALLOCS, at(row, W_ALLOCS) + 1)
    put(row, W_LIVE, at(row, W_LIVE) + 1)
    put(row, W_REQUESTED, at(row, W_REQUESTED) + requested)
    put(row, W_ASKED, at(row, W_ASKED) + requested)
    put(row, W_TOTAL, at(row, W_TOTAL) + allocated)
    live = at(row, W_BYTES) + allocated
    put(row, W_BYTES, live)
    if live > at(row, W_PEAK):
        put(row, W_PEAK, live)


@always_inline
def count_free(row: int, requested: int, allocated: int, life: int, cross: bool) -> None:
    """A free of what a site or task allocated; a *life* below 0 is not known."""
    put(row, W_FREES, at(row, W_FREES) + 1)
    put(row, W_LIVE, at(row, W_LIVE) - 1)
    put(row, W_REQUESTED, at(row, W_REQUESTED) - requested)
    put(row, W_BYTES, at(row, W_BYTES) - allocated)
    if life >= 0:
        put(row, W_LIFE, at(row, W_LIFE) + life)
        put(row, W_LIFETIMES, at(row, W_LIFETIMES) + 1)
    if cross:
        put(row, W_CROSS, at(row, W_CROSS) + 1)


@always_inline
def site_row(state: int, pair: int) -> int:
    """The counts of the call site in a pair of site and task."""
    return at(state, SITE_ROWS) + 8 * WHO_WORDS * (pair & 0xFFFFFFFF)


@always_inline
def task_row(state: int, pair: int) -> int:
    """The counts of the task in a pair of site and task."""
    return at(state, TASK_ROWS) + 8 * WHO_WORDS * (pair >> 32)


@always_inline
def who_pair(state: int, columns: int, i: int) -> int:
    """The numbers of the call site and the task of an event, in one."""
    site = who(
        at(state, SITES),
        at(state, SITE_MASK),
        at(state, SITE_ROWS),
        state,
        SITE_USED,
        at(state, SITE_ROOM),
        get64(at(columns, C_SITE) + 8 * i) + 1,
    )
    task = who(
        at(state, TASKS),
        at(state, TASK_MASK),
        at(state, TASK_ROWS),
        state,
        TASK_USED,
        at(state, TASK_ROOM),
        get32(at(columns, C_TASK) + 4 * i) + 1,
    )
    return site | task << 32


@jit
def free_object(k: Any, state: int, e: int, time: int, cpu: int, inferred: bool) -> None:
    """Free the model's object of the entry *e*, and take the entry out."""
    obj = get64(e + 8 * O_OBJECT)
    where = get64(e + 8 * O_CACHE)
    row = at(state, CACHES) + 8 * CACHE_WORDS * (where & 0xFFFF)
    put(row, K_BYTES, at(row, K_BYTES) - get64(e + 8 * O_REQUESTED))
    if get64(e + 8 * O_MORE) & MAPPED:
        put(state, MAPPED_PAGES, at(state, MAPPED_PAGES) - free_chain(k, obj))
    elif obj:
        sl = virt_to_slab(k, obj)
        slab_free(k, sl.slab_cache, sl, obj, obj, 1)
    if get64(e + 8 * O_MORE) & COUNTED:
        born = get64(e + 8 * O_TIME)
        life = -1
        cross = not inferred and (where >> 16) & 0xFFFF != cpu
        requested, allocated = get64(e + 8 * O_REQUESTED), get64(e + 8 * O_ALLOCATED)
        put(row, K_REQUESTED, at(row, K_REQUESTED) - requested)
        if not inferred:
            life = time - born
            put(row, K_LIFE, at(row, K_LIFE) + life)
            put(row, K_LIFETIMES, at(row, K_LIFETIMES) + 1)
            bucket = at(state, LIFETIMES) + 8 * (fls64(life) & 63)
            put64(bucket, get64(bucket) + 1)
        if cross:
            put(row, K_CROSS, at(row, K_CROSS) + 1)
        pair = get64(e + 8 * O_WHO)
        count_free(site_row(state, pair), requested, allocated, life, cross)
        count_free(task_row(state, pair), requested, allocated, life, cross)
    put(row, K_LIVE, at(row, K_LIVE) - 1)
    if inferred:
        put(row, K_INFERRED, at(row, K_INFERRED) + 1)
    else:
        put(row, K_FREES, at(row, K_FREES) + 1)
    remove(at(state, OBJECTS), at(state, OBJECT_MASK), OBJECT_WIDTH, e)
    put(state, OBJECT_USED, at(state, OBJECT_USED) - 1)


@jit
def put_object(state: int, recorded: int, obj: int, c: int, cpu: int) -> int:
    """A new entry for an object of cache number *c*; its address."""
    e = seek(at(state, OBJECTS), at(state, OBJECT_MASK), OBJECT_WIDTH, recorded)
    put64(e + 8 * O_KEY, recorded)
    put64(e + 8 * O_OBJECT, obj)
    put64(e + 8 * O_CACHE, c | cpu << 16)
    put64(e + 8 * O_MORE, 0)
    put64(e + 8 * O_REQUESTED, at(at(state, CACHES) + 8 * CACHE_WORDS * c, K_SIZE))
    put(state, OBJECT_USED, at(state, OBJECT_USED) + 1)
    row = at(state, CACHES) + 8 * CACHE_WORDS * c
    live = at(row, K_LIVE) + 1
    put(row, K_LIVE, live)
    if live > at(row, K_PEAK):
        put(row, K_PEAK, live)
    return e


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


@noinline
def free_chain(k: Any, first: int) -> int:
    """Give single pages back, each of which says where the next is; how many."""
    count = 0
    while first:
        following = load64(k, first)
        free_pages(k, virt_to_page(k, first), 0)
        first = following
        count += 1
    return count


@noinline
def alloc_chain(k: Any, count: int) -> int:
    """The first of *count* single pages, each of which says where the next is; 0 if there are not as many."""
    first = 0
    for _ in range(count):
        p = alloc_pages_node(k, SLAB_GFP | HIGHMEM, 0, -1)
        if not p:
            free_chain(k, first)
            return 0
        here = page_to_virt(p)
        store64(k, here, first)
        first = here
    return first


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


@always_inline
def redirected(state: int, site: int, gfp: int, requested: int, c: int) -> int:
    """The number of the cache that *requested* bytes are taken from, where the recorded kernel took them from *c*."""
    above = at(state, MAPPED_ABOVE)
    if above and ult(above, requested):
        return at(state, MAPPED_ROW)
    if at(state, SITE_CACHES):
        e = seek(at(state, SITE_CACHES), at(state, SITE_CACHE_MASK), WIDTH, site + 1)
        if get64(e):
            return get64(e + 8) - 1
    if at(state, CLASS_ROWS) and requested <= LARGEST:
        kind = kmalloc_class(8, gfp) // CLASSES
        n = get16(at(state, CLASS_ROWS) + 2 * (kind * (LARGEST // 8 + 1) + ((requested + 7) >> 3)))
        if n:
            return n - 1
    return c


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


@jit
def alloc_event(k: Any, state: int, columns: int, i: int, kind: int, time: int, cpu: int) -> None:
    """An object is allocated."""
    recorded = get64(at(columns, C_PTR) + 8 * i)
    if ult(recorded, 4096):
        put(state, FAILED, at(state, FAILED) + 1)
        return
    known = cache_of_event(columns, i, kind, at(state, CACHE_OF), at(state, CLASS_OF))
    if known == 0 and kind != KMALLOC:
        known = cache_of_shape(at(state, FIRST), columns, i)
    if known == 0 and kind != KMALLOC:
        known = cache_of_slot(at(state, FIRST), recorded, get64(at(columns, C_SITE) + 8 * i))
    if known == 0 and kind == KMALLOC:
        map_block(k, state, recorded, get64(at(columns, C_REQUESTED) + 8 * i))
    if known == 0:
        large = kind == KMALLOC
        put(state, LARGE if large else UNKNOWN_CACHES, at(state, LARGE if large else UNKNOWN_CACHES) + 1)
        return
    c = known - 1
    e = seek(at(state, OBJECTS), at(state, OBJECT_MASK), OBJECT_WIDTH, recorded)
    if get64(e):
        if get64(e + 8 * O_MORE) & COUNTED:
            life = at(state, REUSES) + 8 * (LIVES * (get64(e + 8 * O_WHO) & 0xFFFFFFFF))
            life += 8 * (fls64(time - get64(e + 8 * O_TIME)) & (LIVES - 1))
            put64(life, get64(life) + 1)
        free_object(k, state, e, time, cpu, True)
        put(state, INFERRED_REUSE, at(state, INFERRED_REUSE) + 1)
    slab_page(k, state, recorded, c)
    requested, allocated = get64(at(columns, C_REQUESTED) + 8 * i), get64(at(columns, C_ALLOCATED) + 8 * i)
    more = 0
    if kind == KMALLOC:
        c = redirected(state, get64(at(columns, C_SITE) + 8 * i), get32(at(columns, C_GFP) + 4 * i), requested, c)
        known = c + 1
        more = MAPPED if c == at(state, MAPPED_ROW) else 0
    row = at(state, CACHES) + 8 * CACHE_WORDS * c
    if more:
        obj = alloc_chain(k, (requested + 4095) >> 12)
        put(state, MAPPED_PAGES, at(state, MAPPED_PAGES) + ((requested + 4095) >> 12 if obj else 0))
    else:
        obj = slab_alloc_node(k, ptr(kmem_cache, at(row, K_MODEL), k), SLAB_GFP, -1, requested)
    if obj == 0:
        put(row, K_FAILED, at(row, K_FAILED) + 1)
        more = 0
    e = put_object(state, recorded, obj, c, cpu)
    put(row, K_BYTES, at(row, K_BYTES) + requested)
    put64(e + 8 * O_REQUESTED, requested)
    put64(e + 8 * O_MORE, more)
    put64(e + 8 * O_TIME, time)
    if ult(time, at(state, FROM)) or ult(at(state, TO), time):
        return
    pair = who_pair(state, columns, i)
    put64(e + 8 * O_WHO, pair)
    put64(e + 8 * O_ALLOCATED, allocated)
    put64(e + 8 * O_MORE, COUNTED | more)
    put(row, K_ALLOCS, at(row, K_ALLOCS) + 1)
    put(row, K_REQUESTED, at(row, K_REQUESTED) + requested)
    put(row, K_TOTAL, at(row, K_TOTAL) + requested)
    site = site_row(state, pair)
    put(site, W_CACHE, known)
    count_alloc(site, requested, allocated)
    count_alloc(task_row(state, pair), requested, allocated)


@jit
def free_event(k: Any, state: int, columns: int, i: int, kind: int, time: int, cpu: int) -> None:
    """An object is freed."""
    recorded = get64(at(columns, C_PTR) + 8 * i)
    if ult(recorded, 4096):
        put(state, NULL_FREES, at(state, NULL_FREES) + 1)
        return
    e = seek(at(state, OBJECTS), at(state, OBJECT_MASK), OBJECT_WIDTH, recorded)
    if get64(e):
        free_object(k, state, e, time, cpu, False)
        return
    put(state, UNKNOWN_FREES, at(state, UNKNOWN_FREES) + 1)
    if kind == KMEM_CACHE_FREE:
        known = cache_of_event(columns, i, kind, at(state, CACHE_OF), at(state, CLASS_OF))
        if known:
            row = at(state, CACHES) + 8 * CACHE_WORDS * (known - 1)
            put(row, K_UNKNOWN, at(row, K_UNKNOWN) + 1)


@always_inline
def look_far(state: int, columns: int, i: int) -> None:
    """The entry of event *i* is needed soon."""
    ahead = get64(at(columns, C_PTR) + 8 * i)
    if get8(at(columns, C_KIND) + i) in (MM_PAGE_ALLOC, MM_PAGE_FREE):
        soon(at(state, BLOCKS), at(state, BLOCK_MASK), BLOCK_WIDTH, ahead + 1)
    else:
        soon(at(state, OBJECTS), at(state, OBJECT_MASK), OBJECT_WIDTH, ahead)


@always_inline
def look_near(state: int, columns: int, i: int) -> None:
    """What the entry of event *i* leads to is needed soon: an object that is freed and its page's descriptor, the entry
    of the slab in which one is allocated.
    """
    kind = get8(at(columns, C_KIND) + i)
    recorded = get64(at(columns, C_PTR) + 8 * i)
    if kind in (KFREE, KMEM_CACHE_FREE):
        e = at(state, OBJECTS) + home(recorded, at(state, OBJECT_MASK)) * OBJECT_WIDTH
        if get64(e) == recorded:
            phys = get64(e + 8 * O_OBJECT) - DIRECT
            prefetch(at(state, HOST) + phys)
            prefetch(at(state, HOST_PAGES) + (lshr(phys, 12) << 6))
    elif kind in (KMALLOC, KMEM_CACHE_ALLOC):
        known = cache_of_event(columns, i, kind, at(state, CACHE_OF), at(state, CLASS_OF))
        if known:
            order = at(at(state, CACHES) + 8 * CACHE_WORDS * (known - 1), K_ORDER)
            pfn = ((recorded - at(state, PAGE_OFFSET)) >> 12) & ~((1 << order) - 1)
            soon(at(state, BLOCKS), at(state, BLOCK_MASK), BLOCK_WIDTH, pfn + 1)


@entry
def k_trace_replay(ram: Any, state: int) -> int:
    """Replay a batch of events; how many. The tables have room for one entry more an event."""
    k = kernel(ram)
    v = priv(k)
    columns, n = at(state, COLUMNS), at(state, N)
    cpus = at(state, CPUS)
    for i in range(n):
        look_far(state, columns, min(i + FAR, n - 1))
        look_near(state, columns, min(i + NEAR, n - 1))
        kind = get8(at(columns, C_KIND) + i)
        if kind > MM_PAGE_FREE:
            continue
        time = get64(at(columns, C_TIME) + 8 * i)
        cpu = get16(at(columns, C_CPU) + 2 * i)
        v.cpu = cpu if cpu < cpus else cpu % cpus
        if kind in (MM_PAGE_ALLOC, MM_PAGE_FREE):
            page_event(k, state, columns, i, kind, time, cpu)
        elif kind in (KFREE, KMEM_CACHE_FREE):
            free_event(k, state, columns, i, kind, time, cpu)
        else:
            alloc_event(k, state, columns, i, kind, time, cpu)
    put(state, EVENTS, at(state, EVENTS) + n)
    return n


@entry
def k_trace_silent(ram: Any, state: int, end: int, longest: int) -> int:
    """Free the objects that are older at *end* than *longest* has for their call site (0: than any time); how many."""
    k = kernel(ram)
    mask = at(state, OBJECT_MASK)
    table = at(state, OBJECTS)
    count, slot = 0, 0
    while slot <= mask:
        e = table + slot * OBJECT_WIDTH
        if get64(e) and get64(e + 8 * O_MORE) & COUNTED:
            limit = get64(longest + 8 * (get64(e + 8 * O_WHO) & 0xFFFFFFFF))
            if limit and ult(limit, end - get64(e + 8 * O_TIME)):
                free_object(k, state, e, end, 0, True)
                count += 1
                continue
        slot += 1
    put(state, INFERRED_SILENT, at(state, INFERRED_SILENT) + count)
    return count


@entry
def k_trace_cpu_slab(ram: Any, s: int, objects: int, count: int, cpu: int) -> int:
    """Free *count* objects of one full slab on a CPU that has no slab of the cache *s*: it becomes the CPU's."""
    k = kernel(ram)
    v = priv(k)
    cache = ptr(kmem_cache, s, k)
    v.cpu = cpu
    for i in range(count):
        obj = get64(objects + 8 * i)
        slab_free(k, cache, virt_to_slab(k, obj), obj, obj, 1)
    obj = slab_alloc_node(k, cache, SLAB_GFP, -1, cache.object_size)
    slab_free(k, cache, virt_to_slab(k, obj), obj, obj, 1)
    v.cpu = 0
    return count


@entry
def k_trace_sample(ram: Any, out: int) -> int:
    """Write the free blocks of each order, of all zones together, to *out*; the pages of all slabs."""
    k = kernel(ram)
    for order in range(MAX_ORDER):
        count = 0
        for node in range(k.nr_node_ids):
            for index in range(MAX_NR_ZONES):
                count += k.node_data[node].node_zones[index].free_area[order].nr_free
        put64(out + 8 * order, count)
    pages: int = k.vm_node_stat[NR_SLAB_RECLAIMABLE_B] + k.vm_node_stat[NR_SLAB_UNRECLAIMABLE_B]
    return pages


@noinline
def full_slabs(k: Any, s: Any, out: int, count: int) -> int:
    """Allocate all objects of as many slabs as *count* objects fill, without touching the objects: there is no free
    pointer in a slab that is full. Write their addresses to *out*; how many there are.
    """
    done = 0
    if no_cpu_slab(k, s) or s.ctor:
        return 0
    while count - done >= oo_objects(s.oo.x):
        sl = slab_pages(k, s, SLAB_GFP, -1)
        if not sl:
            break
        sl.inuse = sl.objects
        inc_slabs_node(s, slab_nid(sl), sl.objects)
        start = slab_address(sl) + s.red_left_pad
        for i in range(sl.objects):
            put64(out + 8 * (done + i), start + i * s.size)
        done += sl.objects
    return done


@entry
def k_trace_fill(ram: Any, s: int, out: int, count: int) -> int:
    """Allocate *count* objects of the cache *s* and write their addresses to *out*; how many there were."""
    k = kernel(ram)
    cache = ptr(kmem_cache, s, k)
    for i in range(full_slabs(k, cache, out, count), count):
        obj = slab_alloc_node(k, cache, SLAB_GFP, -1, cache.object_size)
        if obj == 0:
            return i
        put64(out + 8 * i, obj)
    return count


@entry
def k_trace_empty(ram: Any, s: int, objects: int, count: int) -> int:
    """Free *count* objects of the cache *s*, the addresses of which are at *objects*; no CPU keeps a slab."""
    k = kernel(ram)
    cache = ptr(kmem_cache, s, k)
    flush_all(k, cache)
    for i in range(count):
        obj = get64(objects + 8 * i)
        slab_free(k, cache, virt_to_slab(k, obj), obj, obj, 1)
    flush_all(k, cache)
    return count


@entry
def k_trace_know(ram: Any, state: int, recorded: int, objects: int, count: int, c: int) -> int:
    """Objects that lived before the trace: *count* recorded addresses, and the model's objects."""
    for i in range(count):
        put_object(state, get64(recorded + 8 * i), get64(objects + 8 * i), c, 0)
    return count


@entry
def k_trace_slabs(ram: Any, state: int, pfns: int, count: int, c: int) -> int:
    """Slabs that were there before the trace: *count* page frames."""
    order = at(at(state, CACHES) + 8 * CACHE_WORDS * c, K_ORDER)
    for i in range(count):
        put_block(state, get64(pfns + 8 * i), -1, order, SLAB, c, 0)
    return count
