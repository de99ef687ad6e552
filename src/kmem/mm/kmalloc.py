"""kmalloc and its family: the calls that drivers make (mm/slab_common.c, include/linux/slab.h; 6.1)."""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_COMP, __GFP_ZERO, GFP_KERNEL
from kmem.abi.slab_flags import (
    SLAB_CONSISTENCY_CHECKS,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from kmem.lib.jit import address, always_inline, copy, entry, fill, jit, noinline, ptr, ult
from kmem.mm import places
from kmem.mm.codes import UP_FIX_FLAGS, UP_WRONG_CACHE
from kmem.mm.events import KFREE, KMALLOC, KMEM_CACHE_ALLOC, KMEM_CACHE_FREE, emit, may_fail
from kmem.mm.mm_types import kmem_cache, slab
from kmem.mm.mmzone import (
    NR_SLAB_UNRECLAIMABLE_B,
    PAGE_SIZE,
    compound_order,
    kernel,
    mod_node_page_state,
    page_pgdat,
    page_slab,
    page_to_virt,
    priv,
    virt_to_head_page,
)
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_free import free_pages
from kmem.mm.slab_common import (
    KMALLOC_MAX_CACHE_SIZE,
    kfree_object,
    kmalloc_from,
    kmalloc_slab,
    kmem_cache_create,
    kmem_cache_destroy,
    kmem_cache_init,
    rcu_destroy_caches,
)
from kmem.mm.slub import flush_all, kmem_cache_free_one, shrink_node, slab_alloc_node, slab_free
from kmem.mm.slub_debug import get_orig_size, slub_debug_orig_size
from kmem.mm.slub_freelist import get_freepointer, slab_of_page, this_cpu_slab, virt_to_slab
from kmem.mm.slub_geometry import get_order
from kmem.mm.slub_node import GFP_SLAB_BUG_MASK, get_node, release_slab
from kmem.mm.upcalls import tell, warn

ZERO_SIZE_PTR = 16
"""What an allocation of 0 bytes gives: not NULL, and not to be touched."""


@always_inline
def zero_or_null(p: int) -> bool:
    """``ZERO_OR_NULL_PTR(x)``."""
    return 0 <= p <= ZERO_SIZE_PTR


@noinline
def kmalloc_large_node(k: Any, size: int, gfp: int, node: int) -> int:
    """``__kmalloc_large_node()``: whole pages, compound, for sizes above 8 KiB."""
    order = get_order(size)
    if gfp & GFP_SLAB_BUG_MASK:
        gfp = tell(k, UP_FIX_FLAGS, gfp, 0, 0, 0)
    p = alloc_pages_node(k, gfp | __GFP_COMP, order, node)
    if not p:
        return 0
    mod_node_page_state(k, page_pgdat(k, p), NR_SLAB_UNRECLAIMABLE_B, PAGE_SIZE << order)
    return page_to_virt(p)


@always_inline
def try_kmalloc(k: Any, size: int, gfp: int, node: int) -> int:
    """:func:`kmalloc_node` without its trace event."""
    if size > KMALLOC_MAX_CACHE_SIZE or size < 0:
        return kmalloc_large_node(k, size, gfp, node) if size > 0 and may_fail(k, gfp) else 0
    if size == 0:
        return ZERO_SIZE_PTR
    return slab_alloc_node(k, kmalloc_slab(k, size, gfp), gfp, node, size) if may_fail(k, gfp) else 0


@noinline
def trace_kmalloc(k: Any, got: int, size: int, gfp: int, node: int) -> None:
    """``trace_kmalloc()``."""
    if size > KMALLOC_MAX_CACHE_SIZE:
        order = get_order(size)
        emit(k, KMALLOC, got, size, PAGE_SIZE << order, gfp, node, 0, order)
    elif size < 0:
        emit(k, KMALLOC, got, size, 0, gfp, node, 0, 0)
    elif size:
        s = kmalloc_slab(k, size, gfp)
        emit(k, KMALLOC, got, size, s.size, gfp, node, address(s), 0)


@always_inline
def kmalloc_node(k: Any, size: int, gfp: int, node: int) -> int:
    """``__kmalloc_node()``: *size* bytes, physically contiguous; 0 on failure, ZERO_SIZE_PTR for nothing."""
    got = try_kmalloc(k, size, gfp, node)
    if priv(k).listening:
        trace_kmalloc(k, got, size, gfp, node)
    return got


@noinline
def free_large_kmalloc(k: Any, p: Any, obj: int) -> None:
    """``free_large_kmalloc()``: order 0 means that it never was one, which the kernel warns about (and frees
    anyway).
    """
    order = compound_order(p)
    if order == 0:
        warn(k, places.KFREE_NOT_SLAB, obj, address(p))
    mod_node_page_state(k, page_pgdat(k, p), NR_SLAB_UNRECLAIMABLE_B, -(PAGE_SIZE << order))
    free_pages(k, p, order)


@always_inline
def kfree(k: Any, obj: int) -> None:
    """``void kfree(const void *object)``: NULL and ZERO_SIZE_PTR do nothing; nothing else is checked, as in C."""
    emit(k, KFREE, obj, 0, 0, 0, -1, 0, 0)
    if zero_or_null(obj):
        return
    p = virt_to_head_page(k, obj)
    if not page_slab(p):
        free_large_kmalloc(k, p, obj)
        return
    sl = slab_of_page(p)
    slab_free(k, sl.slab_cache, sl, obj, obj, 1)


@jit
def ksize(k: Any, obj: int) -> int:
    """``size_t ksize(const void *object)``: the bytes that really belong to the object."""
    if zero_or_null(obj):
        return 0
    p = virt_to_head_page(k, obj)
    if not page_slab(p):
        return PAGE_SIZE << compound_order(p)
    return slab_ksize(slab_of_page(p).slab_cache)


@jit
def slab_ksize(s: Any) -> int:
    """``slab_ksize()``: with checks on, no more than what was declared."""
    if s.flags & (SLAB_RED_ZONE | SLAB_POISON):
        return s.object_size
    if s.flags & (SLAB_TYPESAFE_BY_RCU | SLAB_STORE_USER):
        return s.inuse
    return s.size


@jit
def krealloc(k: Any, p: int, size: int, gfp: int) -> int:
    """``void *krealloc(const void *p, size_t new_size, gfp_t flags)``: moves only if the object is too small.

    What an object that stays has behind *size* is wiped if the boot or the caller wants memory wiped.
    """
    if size == 0:
        kfree(k, p)
        return ZERO_SIZE_PTR
    old = ksize(k, p)
    if not ult(old, size):
        if k.init_on_alloc or gfp & __GFP_ZERO:
            fill(k, p + size, 0, old - size)
        return p
    got = kmalloc_node(k, size, gfp, -1)
    if got:
        copy(k, got, p, old)
        kfree(k, p)
    return got


@jit
def kmem_cache_alloc(k: Any, s: Any, gfp: int, node: int) -> int:
    """``void *kmem_cache_alloc_node(struct kmem_cache *s, gfp_t gfpflags, int node)``."""
    got = slab_alloc_node(k, s, gfp, node, s.object_size) if may_fail(k, gfp) else 0
    emit(k, KMEM_CACHE_ALLOC, got, s.object_size, s.size, gfp, node, address(s), 0)
    return got


@noinline
def cache_from_obj(k: Any, s: Any, obj: int) -> Any:
    """``cache_from_obj()`` with hardening or checks: the cache that the object really came from, with a warning if that
    is not *s*, and NULL for what is in no slab.
    """
    head = virt_to_head_page(k, obj)
    if not page_slab(head):
        warn(k, places.FREE_NOT_SLAB, obj, address(s))
        return ptr(kmem_cache, 0, k)
    real = slab_of_page(head).slab_cache
    if real != s:
        tell(k, UP_WRONG_CACHE, address(s), address(real), obj, 0)
    return real


@jit
def kmem_cache_free(k: Any, s: Any, obj: int) -> None:
    """``void kmem_cache_free(struct kmem_cache *s, void *x)``: with hardening or checks, to the cache it really came
    from.
    """
    if k.hardened or s.flags & SLAB_CONSISTENCY_CHECKS:
        s = cache_from_obj(k, s, obj)
        if not s:
            return
    emit(k, KMEM_CACHE_FREE, obj, 0, 0, 0, -1, address(s), 0)
    kmem_cache_free_one(k, s, obj)


@entry
def k_kmem_cache_init(ram: Any, boot_caches: int, names: int) -> int:
    """Entry for :func:`kmem_cache_init`."""
    kmem_cache_init(kernel(ram), boot_caches, names)
    return 0


@entry
def k_kmalloc(ram: Any, size: int, gfp: int, node: int) -> int:
    """Entry for :func:`kmalloc_node`."""
    return kmalloc_node(kernel(ram), size, gfp, node)


@entry
def k_kfree(ram: Any, obj: int) -> int:
    """Entry for :func:`kfree`."""
    kfree(kernel(ram), obj)
    return 0


@entry
def k_ksize(ram: Any, obj: int) -> int:
    """Entry for :func:`ksize`."""
    return ksize(kernel(ram), obj)


@entry
def k_krealloc(ram: Any, p: int, size: int, gfp: int) -> int:
    """Entry for :func:`krealloc`."""
    return krealloc(kernel(ram), p, size, gfp)


@entry
def k_kmem_cache_create(
    ram: Any, name: int, size: int, align: int, flags: int, ctor: int, useroffset: int, usersize: int
) -> int:
    """Entry for :func:`kmem_cache_create`; *name* is the address of a C string."""
    return address(kmem_cache_create(kernel(ram), name, size, align, flags, ctor, useroffset, usersize))


@entry
def k_kmem_cache_destroy(ram: Any, s: int) -> int:
    """Entry for :func:`kmem_cache_destroy`."""
    k = kernel(ram)
    return kmem_cache_destroy(k, ptr(kmem_cache, s, k))


@entry
def k_kmem_cache_alloc(ram: Any, s: int, gfp: int, node: int) -> int:
    """Entry for :func:`kmem_cache_alloc`."""
    k = kernel(ram)
    return kmem_cache_alloc(k, ptr(kmem_cache, s, k), gfp, node)


@entry
def k_kmalloc_trace(ram: Any, s: int, gfp: int, node: int, size: int) -> int:
    """``void *kmalloc_node_trace(struct kmem_cache *s, gfp_t gfpflags, int node, size_t size)``: inlined kmalloc."""
    k = kernel(ram)
    cache = ptr(kmem_cache, s, k)
    got = slab_alloc_node(k, cache, gfp, node, size) if may_fail(k, gfp) else 0
    emit(k, KMALLOC, got, size, cache.size, gfp, node, s, 0)
    return got


@entry
def k_kmem_cache_free(ram: Any, s: int, obj: int) -> int:
    """Entry for :func:`kmem_cache_free`."""
    k = kernel(ram)
    kmem_cache_free(k, ptr(kmem_cache, s, k), obj)
    return 0


@entry
def k_rcu_free_slab(ram: Any, p: int) -> int:
    """``rcu_free_slab()``: the slab whose ``struct slab`` is at *p*, after the grace period."""
    k = kernel(ram)
    sl = ptr(slab, p, k)
    release_slab(k, sl.slab_cache, sl)
    return 0


@entry
def k_rcu_destroy_caches(ram: Any) -> int:
    """``slab_caches_to_rcu_destroy_workfn()``, after its ``rcu_barrier()``: how many caches are gone."""
    return rcu_destroy_caches(kernel(ram))


@entry
def k_kmem_cache_shrink(ram: Any, s: int) -> int:
    """``int kmem_cache_shrink(struct kmem_cache *s)``: 0 if nothing is left."""
    k = kernel(ram)
    cache = ptr(kmem_cache, s, k)
    flush_all(k, cache)
    left = 0
    for node in range(k.nr_node_ids):
        n = get_node(cache, node)
        shrink_node(k, cache, n)
        left += n.nr_slabs
    return 1 if left else 0


@entry
def k_orig_size(ram: Any, obj: int) -> int:
    """``get_orig_size()``: what kmalloc was asked for, where slub_debug keeps it; else 0."""
    k = kernel(ram)
    s = virt_to_slab(k, obj).slab_cache
    return get_orig_size(k, s, obj) if slub_debug_orig_size(s) else 0


@entry
def k_object_is_free(ram: Any, obj: int) -> int:
    """Whether a slab object is on its slab's free list or on this CPU's."""
    k = kernel(ram)
    sl = virt_to_slab(k, obj)
    s = sl.slab_cache
    for lst in range(2):
        c = this_cpu_slab(k, s)
        fp = sl.freelist if lst == 0 else c.freelist
        n = 0
        while fp and n <= sl.objects:
            if fp == obj:
                return 1
            fp = get_freepointer(k, s, fp)
            n += 1
    return 0


@entry
def k_scratch(ram: Any, size: int) -> int:
    """Memory for an argument that Python passes to the mm (a name, an array), without event or injection; 0 if there
    is none.
    """
    k = kernel(ram)
    return (
        kmalloc_from(k, size, GFP_KERNEL, -1)
        if size <= KMALLOC_MAX_CACHE_SIZE
        else kmalloc_large_node(k, size, GFP_KERNEL, -1)
    )


@entry
def k_scratch_free(ram: Any, p: int) -> int:
    """Free what :func:`k_scratch` gave."""
    k = kernel(ram)
    head = virt_to_head_page(k, p)
    if page_slab(head):
        kfree_object(k, p)
    else:
        free_large_kmalloc(k, head, p)
    return 0
