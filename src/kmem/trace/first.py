"""What a trace tells of the time before it, compiled: which objects lived and which slots were free at its beginning.

The first event of a slot decides. An object that is freed lived; a slot that is allocated from a slab which the trace
did not see being allocated was free. Pages likewise.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get8, get16, get32, get64, put8, put64
from kmem.lib.jit import always_inline, entry, jit, ult
from kmem.mm.events import KFREE, KMALLOC, KMEM_CACHE_ALLOC, KMEM_CACHE_FREE, MM_PAGE_ALLOC, MM_PAGE_FREE
from kmem.trace.scan import C_ALLOCATED, C_CACHE, C_CPU, C_GFP, C_KIND, C_ORDER, C_PTR, C_REQUESTED, C_SITE, at, put
from kmem.trace.table import move_all, remove, seek, soon

F_COLUMNS, F_N, F_SLOTS, F_SLOT_MASK, F_SLOT_USED, F_BLOCKS, F_BLOCK_MASK, F_BLOCK_USED = range(8)
F_CACHE_OF, F_CLASS_OF, F_ORDER_OF, F_PAGE_OFFSET, F_SITES, F_SITE_MASK, F_SITE_USED = range(8, 15)
F_SHAPES, F_SHAPE_MASK = 15, 16
FIRST_WORDS = 24

LIVED, WAS_FREE, YOUNG, UNSEEN = 1, 2, 3, 4
"""The slot's object lived; it was free; its slab is younger; its slab is younger, and its allocation was not traced."""
SLOT_WIDTH, WIDTH = 32, 16
"""Of a slot: address; what, the CPU of its first event, and cache; the call site of its last allocation; the turn of
its first event, and its last cache. Of a block and of a site: key and value.
"""
ALIVE, FIRST_ALLOC, FIRST_FREE = 0xFF, 0x100, 0x200
"""Of a block of pages: the order plus 1 while it lives; what came first."""

AHEAD = 12
"""How many events before one of them its entries are asked for."""
NORMAL, RECLAIM, CGROUP, DMA = range(4)
CLASSES = 16
GFP_DMA, GFP_RECLAIMABLE, GFP_ACCOUNT = 0x01, 0x10, 0x400000
LARGEST = 8192
NO_ORDER = 255
"""The order of a cache that the recording does not list, until its first slab is seen."""


@always_inline
def kmalloc_class(allocated: int, gfp: int) -> int:
    """Which kmalloc cache gives *allocated* bytes: type and class in one number, -1 beyond them."""
    if allocated > LARGEST or allocated <= 0:
        return -1
    index = 3
    while (1 << index) < allocated:
        index += 1
    if 64 < allocated <= 96:
        index = 1
    elif 128 < allocated <= 192:
        index = 2
    kind = NORMAL
    if gfp & GFP_DMA:
        kind = DMA
    elif gfp & GFP_RECLAIMABLE:
        kind = RECLAIM
    elif gfp & GFP_ACCOUNT:
        kind = CGROUP
    return kind * CLASSES + index


@always_inline
def cache_of_event(columns: int, i: int, kind: int, cache_of: int, class_of: int) -> int:
    """The number of the cache that an event is about, plus 1; 0 if it does not say."""
    if kind == KMALLOC:
        c = kmalloc_class(get64(at(columns, C_ALLOCATED) + 8 * i), get32(at(columns, C_GFP) + 4 * i))
        return get16(class_of + 2 * c) if c >= 0 else 0
    if kind == KFREE:
        return 0
    return get16(cache_of + 2 * get32(at(columns, C_CACHE) + 4 * i))


@jit
def block_lives(f: int, ptr: int, known: int) -> bool:
    """Whether the slab at *ptr* was allocated since the trace began. *known*: its cache plus 1, or 0."""
    pfn = (ptr - at(f, F_PAGE_OFFSET)) >> 12
    if pfn < 0:
        return False
    first, last = 0, 3
    if known:
        told = get8(at(f, F_ORDER_OF) + known - 1)
        if told != NO_ORDER:
            first = told
            last = told
    for order in range(first, last + 1):
        e = seek(at(f, F_BLOCKS), at(f, F_BLOCK_MASK), WIDTH, (pfn & ~((1 << order) - 1)) + 1)
        if get64(e) and (get64(e + 8) & ALIVE) > order:
            if known:
                put8(at(f, F_ORDER_OF) + known - 1, order)
            return True
    return False


@always_inline
def note_block(f: int, pfn: int, order: int, allocated: bool) -> None:
    """A block of pages was allocated or freed."""
    e = seek(at(f, F_BLOCKS), at(f, F_BLOCK_MASK), WIDTH, pfn + 1)
    if get64(e) == 0:
        put64(e, pfn + 1)
        put64(e + 8, (FIRST_ALLOC if allocated else FIRST_FREE) | order << 16)
        put(f, F_BLOCK_USED, at(f, F_BLOCK_USED) + 1)
    if not allocated and get64(e + 8) & FIRST_ALLOC:  # it came and went: there is no more to know
        remove(at(f, F_BLOCKS), at(f, F_BLOCK_MASK), WIDTH, e)
        put(f, F_BLOCK_USED, at(f, F_BLOCK_USED) - 1)
        return
    put64(e + 8, (get64(e + 8) & ~ALIVE) | (order + 1 if allocated else 0))


@always_inline
def cache_of_slot(f: int, ptr: int, site: int) -> int:
    """The cache plus 1 of an allocation that does not name it: that which its free names, or frees of the same site's;
    0 if there was none.
    """
    e = seek(at(f, F_SLOTS), at(f, F_SLOT_MASK), SLOT_WIDTH, ptr)
    if get64(e) and get64(e + 24) >> 32:
        return get64(e + 24) >> 32
    e = seek(at(f, F_SITES), at(f, F_SITE_MASK), WIDTH, site + 1)
    return get64(e + 8) if get64(e) else 0


@always_inline
def cache_of_shape(f: int, columns: int, i: int) -> int:
    """The only cache, plus 1, of which objects have the sizes that an allocation says; 0 if there are others."""
    key = (get64(at(columns, C_ALLOCATED) + 8 * i) << 32) + get64(at(columns, C_REQUESTED) + 8 * i) + 1
    e = seek(at(f, F_SHAPES), at(f, F_SHAPE_MASK), WIDTH, key)
    return get64(e + 8) if get64(e) else 0


@jit
def learn_site(f: int, site: int, known: int) -> None:
    """What *site* allocated was of this cache."""
    e = seek(at(f, F_SITES), at(f, F_SITE_MASK), WIDTH, site + 1)
    if get64(e) == 0:
        if at(f, F_SITE_USED) * 2 > at(f, F_SITE_MASK):
            return
        put64(e, site + 1)
        put(f, F_SITE_USED, at(f, F_SITE_USED) + 1)
    put64(e + 8, known)


@jit
def note_slot(f: int, columns: int, i: int, kind: int, ptr: int) -> None:
    """An object is allocated or freed."""
    known = cache_of_event(columns, i, kind, at(f, F_CACHE_OF), at(f, F_CLASS_OF))
    allocated = kind in (KMALLOC, KMEM_CACHE_ALLOC)
    if allocated and known == 0:
        if kind == KMALLOC:
            return
        known = cache_of_shape(f, columns, i)
    e = seek(at(f, F_SLOTS), at(f, F_SLOT_MASK), SLOT_WIDTH, ptr)
    site = get64(at(columns, C_SITE) + 8 * i) if allocated and known == 0 else 0
    if get64(e):
        if known:
            if get64(e + 8) >> 32 == 0 and (get64(e + 8) & 0xFF == YOUNG or not block_lives(f, ptr, known)):
                put64(e + 8, get64(e + 8) | known << 32)
            put64(e + 24, (get64(e + 24) & 0xFFFFFFFF) | known << 32)
            if not allocated and get64(e + 16):
                learn_site(f, get64(e + 16), known)
        put64(e + 16, site)
        return
    young = block_lives(f, ptr, known)
    if young and (known or not allocated):
        return
    put64(e, ptr)
    put(f, F_SLOT_USED, at(f, F_SLOT_USED) + 1)
    what = (YOUNG if young else WAS_FREE) if allocated else (UNSEEN if young else LIVED)
    put64(e + 8, what | get16(at(columns, C_CPU) + 2 * i) << 8 | known << 32)
    put64(e + 16, site)
    put64(e + 24, at(f, F_SLOT_USED) | known << 32)


@entry
def t_first(ram: Any, f: int) -> int:
    """Take note of a batch of events; how many slots are known. The tables have room for one a event."""
    columns = at(f, F_COLUMNS)
    last = at(f, F_N) - 1
    for i in range(last + 1):
        j = min(i + AHEAD, last)
        ahead = get64(at(columns, C_PTR) + 8 * j)
        if get8(at(columns, C_KIND) + j) in (MM_PAGE_ALLOC, MM_PAGE_FREE):
            soon(at(f, F_BLOCKS), at(f, F_BLOCK_MASK), WIDTH, ahead + 1)
        else:
            soon(at(f, F_SLOTS), at(f, F_SLOT_MASK), SLOT_WIDTH, ahead)
        kind = get8(at(columns, C_KIND) + i)
        ptr = get64(at(columns, C_PTR) + 8 * i)
        if kind in (MM_PAGE_ALLOC, MM_PAGE_FREE):
            if not ult(1 << 40, ptr):
                note_block(f, ptr, get8(at(columns, C_ORDER) + i) & 31, kind == MM_PAGE_ALLOC)
            continue
        if kind > KMEM_CACHE_FREE or ult(ptr, 4096):
            continue
        note_slot(f, columns, i, kind, ptr)
    return at(f, F_SLOT_USED)


@entry
def t_grow(ram: Any, old: int, old_mask: int, new: int, mask: int, width: int) -> int:
    """Entry for :func:`kmem.trace.table.move_all`."""
    return move_all(old, old_mask, new, mask, width)
