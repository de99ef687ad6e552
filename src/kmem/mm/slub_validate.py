"""Checking all slabs of a cache at once (mm/slub.c, CONFIG_SLUB_DEBUG, 6.1): what ``/sys/kernel/slab/*/validate`` and
tests of the allocator start.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.slab_flags import SLAB_STORE_USER
from kmem.lib.jit import entry, jit, ptr
from kmem.mm.mm_types import kmem_cache
from kmem.mm.mmzone import kernel
from kmem.mm.slub import flush_all
from kmem.mm.slub_debug import (
    SLUB_RED_ACTIVE,
    SLUB_RED_INACTIVE,
    check_object,
    check_slab,
    on_freelist,
)
from kmem.mm.slub_freelist import get_freepointer, slab_address
from kmem.mm.slub_node import get_node, slab_from_list


@jit
def is_free(k: Any, s: Any, sl: Any, obj: int) -> bool:
    """Whether *obj* is on the slab's free list, as ``__fill_map()`` finds out."""
    fp = sl.freelist
    n = 0
    while fp and n <= sl.objects:
        if fp == obj:
            return True
        fp = get_freepointer(k, s, fp)
        n += 1
    return False


@jit
def validate_slab(k: Any, s: Any, sl: Any) -> None:
    """``validate_slab()``: the slab, its free list, and its objects up to the first that is damaged."""
    if not check_slab(k, s, sl) or not on_freelist(k, s, sl, 0):
        return
    obj = slab_address(sl) + s.red_left_pad
    for _ in range(sl.objects):
        val = SLUB_RED_INACTIVE if is_free(k, s, sl, obj) else SLUB_RED_ACTIVE
        if not check_object(k, s, sl, obj, val):
            return
        obj += s.size


@jit
def validate_slab_node(k: Any, s: Any, n: Any) -> int:
    """``validate_slab_node()``: how many slabs were looked at; full ones are only where owners are stored."""
    count = 0
    link = n.partial.next
    while link != n.partial:
        validate_slab(k, s, slab_from_list(link))
        count += 1
        link = link.next
    if s.flags & SLAB_STORE_USER:
        link = n.full.next
        while link != n.full:
            validate_slab(k, s, slab_from_list(link))
            count += 1
            link = link.next
    return count


@entry
def k_validate_slab_cache(ram: Any, cache: int) -> int:
    """``long validate_slab_cache(struct kmem_cache *s)``."""
    k = kernel(ram)
    s = ptr(kmem_cache, cache, k)
    flush_all(k, s)
    count = 0
    for node in range(k.nr_node_ids):
        n = get_node(s, node)
        if n:
            count += validate_slab_node(k, s, n)
    return count
