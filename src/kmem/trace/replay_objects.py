"""The objects of a trace that is replayed, compiled: an entry for each, and an object of the model."""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get64, put64
from kmem.lib.jit import fls64, jit, load64, noinline, store64
from kmem.mm.mmzone import page_to_virt, virt_to_page
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_free import free_pages
from kmem.mm.slub import slab_free
from kmem.mm.slub_freelist import virt_to_slab
from kmem.trace.replay_counts import count_free, site_row, task_row
from kmem.trace.replay_state import (
    CACHE_WORDS,
    CACHES,
    COUNTED,
    HIGHMEM,
    K_BYTES,
    K_CROSS,
    K_FREES,
    K_INFERRED,
    K_LIFE,
    K_LIFETIMES,
    K_LIVE,
    K_PEAK,
    K_REQUESTED,
    K_SIZE,
    LIFETIMES,
    MAPPED,
    MAPPED_PAGES,
    O_ALLOCATED,
    O_CACHE,
    O_KEY,
    O_MORE,
    O_OBJECT,
    O_REQUESTED,
    O_TIME,
    O_WHO,
    OBJECT_MASK,
    OBJECT_USED,
    OBJECT_WIDTH,
    OBJECTS,
    SLAB_GFP,
)
from kmem.trace.scan import at, put
from kmem.trace.table import remove, seek


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
