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
from kmem.lib.jit import always_inline, entry, fls64, jit, lshr, ptr, ult
from kmem.mm.events import KFREE, KMALLOC, KMEM_CACHE_ALLOC, KMEM_CACHE_FREE, MM_PAGE_ALLOC, MM_PAGE_FREE
from kmem.mm.mm_types import kmem_cache
from kmem.mm.mmzone import MAX_NR_ZONES, MAX_ORDER, NR_SLAB_RECLAIMABLE_B, NR_SLAB_UNRECLAIMABLE_B, kernel, priv
from kmem.mm.slub import slab_alloc_node
from kmem.trace.first import CLASSES, LARGEST, WIDTH, cache_of_event, cache_of_shape, cache_of_slot, kmalloc_class
from kmem.trace.replay_counts import count_alloc, site_row, task_row, who_pair
from kmem.trace.replay_objects import alloc_chain, free_object, put_object
from kmem.trace.replay_pages import map_block, page_event, slab_page
from kmem.trace.replay_state import (
    BLOCK_MASK,
    BLOCK_WIDTH,
    BLOCKS,
    CACHE_OF,
    CACHE_WORDS,
    CACHES,
    CLASS_OF,
    CLASS_ROWS,
    COLUMNS,
    COUNTED,
    CPUS,
    EVENTS,
    FAILED,
    FIRST,
    FROM,
    HOST,
    HOST_PAGES,
    INFERRED_REUSE,
    INFERRED_SILENT,
    K_ALLOCS,
    K_BYTES,
    K_FAILED,
    K_MODEL,
    K_ORDER,
    K_REQUESTED,
    K_TOTAL,
    K_UNKNOWN,
    LARGE,
    LIVES,
    MAPPED,
    MAPPED_ABOVE,
    MAPPED_PAGES,
    MAPPED_ROW,
    NULL_FREES,
    O_ALLOCATED,
    O_MORE,
    O_OBJECT,
    O_REQUESTED,
    O_TIME,
    O_WHO,
    OBJECT_MASK,
    OBJECT_WIDTH,
    OBJECTS,
    PAGE_OFFSET,
    REUSES,
    SITE_CACHE_MASK,
    SITE_CACHES,
    SLAB_GFP,
    TO,
    UNKNOWN_CACHES,
    UNKNOWN_FREES,
    W_CACHE,
    N,
)
from kmem.trace.scan import C_ALLOCATED, C_CPU, C_GFP, C_KIND, C_PTR, C_REQUESTED, C_SITE, C_TIME, at, put
from kmem.trace.table import home, seek, soon

DIRECT = s64(DIRECT_MAP)
FAR, NEAR = 24, 10
"""How many events before one of them its entries are asked for, and what they lead to."""


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
