"""Many objects at once (mm/slub.c, 6.1).

The array of objects is ``words`` of the private area: Python copies it from and to the caller's, which may lie in any
kind of memory.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.slab_flags import SLAB_CONSISTENCY_CHECKS
from kmem.lib.jit import address, entry, fill, jit, ptr, store64
from kmem.mm.events import KFREE, KMEM_CACHE_ALLOC, KMEM_CACHE_FREE, emit, may_fail
from kmem.mm.kmalloc import cache_from_obj, free_large_kmalloc
from kmem.mm.mm_types import kmem_cache
from kmem.mm.mmzone import count_vm_events, kernel, page_slab, priv, virt_to_head_page
from kmem.mm.slub import slab_alloc_slow, slab_free, want_init_on_alloc, want_init_on_free
from kmem.mm.slub_freelist import get_freepointer, next_tid, set_freepointer, slab_of_page, this_cpu_slab, virt_to_slab
from kmem.mm.vm_events import EV_SLAB_FASTPATH, EV_ZEROED

LOOKAHEAD = 3


@jit
def kmem_cache_alloc_bulk(k: Any, s: Any, gfp: int, size: int) -> int:
    """``int kmem_cache_alloc_bulk(struct kmem_cache *s, gfp_t flags, size_t size, void **p)``: *size* objects or 0.

    The kernel traces no event here; ours are for those who keep account of what is alive. It moves ``c->tid`` on before
    every slow path; here only if objects were taken since, so that a call that fails at once changes nothing.
    """
    if not may_fail(k, gfp):
        return 0
    words = priv(k).words
    c = this_cpu_slab(k, s)
    got = 0
    taken = False
    while got < size:
        obj: int = c.freelist
        if obj:
            c.freelist = get_freepointer(k, s, obj)
            taken = True
            count_vm_events(k, EV_SLAB_FASTPATH, 1)
        else:
            if taken:
                c.tid = next_tid(c.tid)
                taken = False
            obj = slab_alloc_slow(k, s, gfp, -1, c, s.object_size)
            if not obj:
                break
        words[got] = obj
        if want_init_on_free(k, s):
            store64(k, obj + s.offset, 0)
        got += 1
    if got < size:
        free_bulk(k, s, got)
        return 0
    if taken:
        c.tid = next_tid(c.tid)
    for i in range(got):
        if want_init_on_alloc(k, s, gfp):
            fill(k, words[i], 0, s.object_size)
            count_vm_events(k, EV_ZEROED, s.object_size)
        emit(k, KMEM_CACHE_ALLOC, words[i], s.object_size, s.size, gfp, -1, address(s), 0)
    return got


@jit
def free_bulk(k: Any, s: Any, size: int) -> None:
    """``kmem_cache_free_bulk()``: from the last on, objects of one slab as one chain; *s* NULL: each to its cache.

    ``build_detached_freelist()`` looks at most three other slabs' objects ahead for more of the same slab, and sorts
    what it has taken behind what is left.
    """
    words = priv(k).words
    while size:
        size -= 1
        obj: int = words[size]
        head = virt_to_head_page(k, obj)
        if not s and not page_slab(head):
            free_large_kmalloc(k, head, obj)
            continue
        sl = slab_of_page(head)
        owner = sl.slab_cache
        if s:
            owner = s
        if s and (k.hardened or s.flags & SLAB_CONSISTENCY_CHECKS):
            owner = cache_from_obj(k, s, obj)
            if not owner:
                continue
        tail = obj
        first = obj
        count = 1
        lookahead = LOOKAHEAD
        set_freepointer(k, owner, obj, 0)
        same = size
        at = size
        while at:
            at -= 1
            obj = words[at]
            if virt_to_slab(k, obj) == sl:
                set_freepointer(k, owner, obj, first)
                first = obj
                count += 1
                same -= 1
                if at != same:
                    words[at] = words[same]
                    words[same] = obj
                continue
            lookahead -= 1
            if not lookahead:
                break
        size = same
        slab_free(k, owner, sl, first, tail, count)


@jit
def tell_freed(k: Any, s: Any, size: int) -> None:
    """The events of a bulk free, which the kernel does not trace."""
    words = priv(k).words
    for i in range(size):
        emit(k, KMEM_CACHE_FREE if s else KFREE, words[i], 0, 0, 0, -1, address(s), 0)


@entry
def k_kmem_cache_alloc_bulk(ram: Any, s: int, gfp: int, size: int) -> int:
    """Entry for :func:`kmem_cache_alloc_bulk`; the objects are in ``words``."""
    k = kernel(ram)
    return kmem_cache_alloc_bulk(k, ptr(kmem_cache, s, k), gfp, size)


@entry
def k_kmem_cache_free_bulk(ram: Any, s: int, size: int) -> int:
    """``void kmem_cache_free_bulk(struct kmem_cache *s, size_t size, void **p)``; the objects are in ``words``."""
    k = kernel(ram)
    cache = ptr(kmem_cache, s, k)
    tell_freed(k, cache, size)
    free_bulk(k, cache, size)
    return 0
