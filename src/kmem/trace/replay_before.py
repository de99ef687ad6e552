"""What was there before the trace that is replayed, compiled."""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get64, put64
from kmem.lib.jit import entry, noinline, ptr
from kmem.mm.mm_types import kmem_cache
from kmem.mm.mmzone import kernel, priv
from kmem.mm.slub import flush_all, slab_alloc_node, slab_free
from kmem.mm.slub_freelist import oo_objects, slab_address, virt_to_slab
from kmem.mm.slub_node import inc_slabs_node, no_cpu_slab, slab_nid, slab_pages
from kmem.trace.replay_objects import put_object
from kmem.trace.replay_pages import put_block
from kmem.trace.replay_state import CACHE_WORDS, CACHES, K_ORDER, SLAB, SLAB_GFP
from kmem.trace.scan import at


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
