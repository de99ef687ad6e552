"""How a cache's objects are laid out and how large its slabs are (mm/slub.c calculate_sizes(), calculate_order();
6.1).
"""

from __future__ import annotations

from typing import Any

from kmem.abi.slab_flags import (
    OBJECT_POISON,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from kmem.lib.jit import entry, fls64, jit, sizeof
from kmem.mm.features import SLUB_ORDER_BY_FRACTION, SLUB_ORIG_SIZE_LONG
from kmem.mm.mm_types import track
from kmem.mm.mmzone import MAX_ORDER, PAGE_SHIFT, PAGE_SIZE, kernel
from kmem.mm.slub_debug import ORIG_SIZE_BYTES, slub_debug_orig_size
from kmem.mm.slub_freelist import oo_objects
from kmem.mm.slub_node import cache_allocflags, has_cpu_partial

MAX_OBJS_PER_PAGE = 32767
MIN_PARTIAL, MAX_PARTIAL = 5, 10
L1_CACHE_BYTES = 64


@jit
def align_up(x: int, a: int) -> int:
    """``ALIGN(x, a)`` for a power of two."""
    return (x + a - 1) & ~(a - 1)


@jit
def get_order(size: int) -> int:
    """``int get_order(unsigned long size)``."""
    return max(fls64((size - 1) >> PAGE_SHIFT), 0) if size > PAGE_SIZE else 0


@jit
def order_objects(order: int, size: int) -> int:
    """``order_objects()``."""
    return (PAGE_SIZE << order) // size


@jit
def calc_slab_order(min_order: int, size: int, min_objects: int, max_order: int, fraction: int) -> int:
    """``calc_slab_order()``: the smallest order that holds *min_objects* and wastes at most 1/*fraction*."""
    if order_objects(min_order, size) > MAX_OBJS_PER_PAGE:
        return get_order(size * MAX_OBJS_PER_PAGE) - 1
    order = max(min_order, get_order(min_objects * size))
    while order <= max_order:
        slab_size = PAGE_SIZE << order
        if slab_size % size <= slab_size // fraction:
            break
        order += 1
    return order


@jit
def calculate_order(k: Any, size: int) -> int:
    """``calculate_order()``: the order of the cache's slabs, or -1."""
    if SLUB_ORDER_BY_FRACTION:
        return order_by_fraction(k, size)
    min_order, max_order = k.slub_min_order, k.slub_max_order
    min_objects = k.slub_min_objects
    if not min_objects:
        min_objects = 4 * (fls64(k.nr_cpu_ids) + 1)
    min_objects = min(min_objects, order_objects(max_order, size))
    while min_objects > 1:
        fraction = 16
        while fraction >= 4:
            order = calc_slab_order(min_order, size, min_objects, max_order, fraction)
            if order <= max_order:
                return order
            fraction //= 2
        min_objects -= 1
    order = calc_slab_order(min_order, size, 1, max_order, 1)
    if order <= max_order:
        return order
    order = calc_slab_order(min_order, size, 1, MAX_ORDER, 1)
    return order if order < MAX_ORDER else -1


@jit
def order_by_fraction(k: Any, size: int) -> int:
    """``calculate_order()`` where the number of objects is fixed: waste of 1/16, 1/8, 1/4, 1/2, then one object."""
    max_order = k.slub_max_order
    min_objects = k.slub_min_objects
    if not min_objects:
        min_objects = 4 * (fls64(k.nr_cpu_ids) + 1)
    min_objects = min(min_objects, max(order_objects(max_order, size), 1))
    min_order = max(k.slub_min_order, get_order(min_objects * size))
    if order_objects(min_order, size) > MAX_OBJS_PER_PAGE:
        return get_order(size * MAX_OBJS_PER_PAGE) - 1
    fraction = 16
    while fraction > 1:
        for order in range(min_order, max_order + 1):
            slab_size = PAGE_SIZE << order
            if slab_size % size <= slab_size // fraction:
                return order
        fraction //= 2
    order = get_order(size)
    return order if order < MAX_ORDER else -1


@jit
def calculate_alignment(flags: int, align: int, size: int) -> int:
    """``calculate_alignment()``: with SLAB_HWCACHE_ALIGN a cache line, or the fraction of it that small objects
    fill.
    """
    if flags & SLAB_HWCACHE_ALIGN:
        ralign = L1_CACHE_BYTES
        while size <= ralign // 2:
            ralign //= 2
        align = max(align, ralign)
    return align_up(max(align, 8), 8)


@jit
def reciprocal_value(s: Any, d: int) -> None:
    """``reciprocal_value()``: what the kernel divides offsets with (lib/math/reciprocal_div.c)."""
    length = fls64(d - 1)
    m = ((1 << 32) * ((1 << length) - d)) // d + 1
    s.reciprocal_size.m = m
    s.reciprocal_size.sh1 = min(length, 1)
    s.reciprocal_size.sh2 = max(length - 1, 0)


@jit
def calculate_sizes(k: Any, s: Any) -> bool:
    """``calculate_sizes()``: object layout, slab order, objects per slab; False if the object fits no slab."""
    flags = s.flags
    size = align_up(s.object_size, 8)
    if flags & SLAB_POISON and not flags & SLAB_TYPESAFE_BY_RCU and not s.ctor:
        s.flags = s.flags | OBJECT_POISON
    else:
        s.flags = s.flags & ~OBJECT_POISON
    if flags & SLAB_RED_ZONE and size == s.object_size:
        size += 8
    s.inuse = size
    sized = SLUB_ORIG_SIZE_LONG and slub_debug_orig_size(s)
    outside = flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON) or s.ctor
    outside = outside or (flags & SLAB_RED_ZONE and (s.object_size < 8 or sized))
    if outside:
        s.offset = size
        size += 8
    else:
        s.offset = (s.object_size // 2) & ~7
    if flags & SLAB_STORE_USER:
        size += 2 * sizeof(track)
        if flags & SLAB_KMALLOC:
            size += ORIG_SIZE_BYTES
    if flags & SLAB_RED_ZONE:
        size += 8
        s.red_left_pad = align_up(8, s.align)
        size += s.red_left_pad
    size = align_up(size, s.align)
    s.size = size
    reciprocal_value(s, size)
    order = calculate_order(k, size)
    if order < 0:
        return False
    s.allocflags = cache_allocflags(s, order)
    s.oo.x = (order << 16) + order_objects(order, size)
    smallest = get_order(size)
    s.min.x = (smallest << 16) + order_objects(smallest, size)
    return oo_objects(s.oo.x) != 0


@jit
def set_min_and_cpu_partial(k: Any, s: Any) -> None:
    """``set_cpu_partial()`` and the node's ``min_partial``."""
    s.min_partial = 0 if k.slub_tiny else max(MIN_PARTIAL, min(MAX_PARTIAL, (fls64(s.size) - 1) // 2))
    if not has_cpu_partial(k, s):
        n = 0
    elif s.size >= PAGE_SIZE:
        n = 6
    elif s.size >= 1024:
        n = 24
    elif s.size >= 256:
        n = 52
    else:
        n = 120
    s.cpu_partial = n
    per_slab = oo_objects(s.oo.x)
    s.cpu_partial_slabs = (n * 2 + per_slab - 1) // per_slab


@entry
def k_calculate_order(ram: Any, size: int) -> int:
    """Entry for :func:`calculate_order`."""
    return calculate_order(kernel(ram), size)
