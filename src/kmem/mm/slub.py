"""SLUB: the fast path, the slow path, and freeing (mm/slub.c, 6.1).

Where an object comes from, first hit wins:

1. ``c->freelist``, the CPU's own list of free objects of its current slab (fast path);
2. ``slab->freelist`` of that slab, where others have freed;
3. the CPU's partial slabs;
4. the node's partial slabs, a few of which move to the CPU;
5. a new slab from the page allocator.

Freeing into the CPU's current slab is the fast path; otherwise the object goes to its slab's list, which may move the
slab to a partial list or give it back. With slub_debug there are no per-CPU slabs: every object is taken from and
returned to the node's list and checked on the way; a kernel built with SLUB_TINY does the same without checks.

Lock order is not modelled: an entry runs to its end before another begins.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_NOWARN, __GFP_ZERO
from kmem.abi.slab_flags import SLAB_POISON, SLAB_RED_ZONE, SLAB_STORE_USER, SLAB_TYPESAFE_BY_RCU
from kmem.lib.jit import address, always_inline, fill, jit, noinline, store64
from kmem.lib.list import list_add, list_unlink
from kmem.mm.codes import UP_SLAB_OOM
from kmem.mm.features import SLUB_ORIG_SIZE_LONG, SLUB_PARTIAL_NOT_FROZEN
from kmem.mm.mmzone import count_vm_events, numa_node_id
from kmem.mm.page_freelist import ANY_NODE, gfp_zone, next_zones_zonelist, node_zonelist
from kmem.mm.slub_debug import (
    TRACK_ALLOC,
    alloc_debug_processing,
    free_debug_processing,
    get_info_end,
    get_orig_size,
    set_orig_size,
    set_track,
    slub_debug_orig_size,
)
from kmem.mm.slub_freelist import (
    cpu_slab,
    get_freepointer,
    next_tid,
    random_below,
    set_freepointer,
    this_cpu_slab,
    virt_to_slab,
)
from kmem.mm.slub_node import (
    add_full,
    add_partial,
    deactivate_slab,
    discard_slab,
    get_node,
    has_cpu_partial,
    inc_slabs_node,
    new_slab,
    no_cpu_slab,
    no_slab,
    on_node_partial,
    put_cpu_partial,
    remove_full,
    remove_partial,
    slab_from_list,
    slab_nid,
    unfreeze_partials,
)
from kmem.mm.upcalls import tell
from kmem.mm.vm_events import EV_SLAB_FASTPATH, EV_SLAB_FREE_FAST, EV_SLAB_FREE_SLOW, EV_SLAB_SLOWPATH, EV_ZEROED

SHRINK_PROMOTE_MAX = 32


@jit
def acquire_slab(n: Any, sl: Any, to_cpu: bool) -> int:
    """``acquire_slab()``: freeze a slab of the node's list; its objects, all of them in use if it becomes current.

    Where slabs on a CPU's partial list are not frozen: ``freeze_slab()`` for the current one.
    """
    freelist: int = sl.freelist
    if to_cpu:
        sl.inuse = sl.objects
        sl.freelist = 0
    if to_cpu or not SLUB_PARTIAL_NOT_FROZEN:
        sl.frozen = 1
    remove_partial(n, sl)
    return freelist


@jit
def alloc_single_from_partial(k: Any, s: Any, n: Any, sl: Any, orig_size: int) -> int:
    """``alloc_single_from_partial()``: one checked object (slub_debug)."""
    obj: int = sl.freelist
    sl.freelist = get_freepointer(k, s, obj)
    sl.inuse = sl.inuse + 1
    if not alloc_debug_processing(k, s, sl, obj, orig_size):
        remove_partial(n, sl)
        return 0
    if sl.inuse == sl.objects:
        remove_partial(n, sl)
        add_full(s, n, sl)
    return obj


@noinline
def alloc_single_from_new_slab(k: Any, s: Any, sl: Any, orig_size: int) -> int:
    """``alloc_single_from_new_slab()``."""
    nid = slab_nid(sl)
    n = get_node(s, nid)
    obj: int = sl.freelist
    sl.freelist = get_freepointer(k, s, obj)
    sl.inuse = 1
    if not alloc_debug_processing(k, s, sl, obj, orig_size):
        return 0
    if sl.inuse == sl.objects:
        add_full(s, n, sl)
    else:
        add_partial(n, sl, False)
    inc_slabs_node(s, nid, sl.objects)
    return obj


@noinline
def get_partial_node_debug(k: Any, s: Any, n: Any, orig_size: int) -> int:
    """``get_partial_node()`` with slub_debug: the first good object, or 0."""
    entry = n.partial.next
    while entry != n.partial:
        sl = slab_from_list(entry)
        entry = entry.next
        obj = alloc_single_from_partial(k, s, n, sl, orig_size)
        if obj:
            return obj
    return 0


@noinline
def get_partial_node(k: Any, s: Any, n: Any, c: Any) -> int:
    """``get_partial_node()``: the first partial slab becomes current (in ``c.slab``), more go to the CPU's partial
    list.
    """
    freelist = 0
    partial_slabs = 0
    entry = n.partial.next
    while entry != n.partial:
        sl = slab_from_list(entry)
        entry = entry.next
        t = acquire_slab(n, sl, freelist == 0)
        if freelist == 0:
            freelist = t
            c.slab = sl
        else:
            put_cpu_partial(k, s, sl, False)
            partial_slabs += 1
        if not has_cpu_partial(k, s) or partial_slabs > s.cpu_partial_slabs // 2:
            break
    return freelist


@jit
def get_partial_on(k: Any, s: Any, n: Any, c: Any, orig_size: int) -> int:
    """``get_partial_node()``: a slab of the node's list becomes current, or one checked object is taken from it."""
    if n.nr_partial == 0:
        return 0
    if no_cpu_slab(k, s):
        return get_partial_node_debug(k, s, n, orig_size)
    return get_partial_node(k, s, n, c)


@jit
def get_any_partial(k: Any, s: Any, gfp: int, c: Any, orig_size: int) -> int:
    """``get_any_partial()``: from nodes that have plenty, the nearest first.

    Now and then it stays local, more often the lower ``remote_node_defrag_ratio`` is; the kernel asks the time stamp
    counter, the model its random numbers.
    """
    if k.nr_node_ids == 1 or not s.remote_node_defrag_ratio or random_below(k, 1024) > s.remote_node_defrag_ratio:
        return 0
    lst = node_zonelist(k, numa_node_id(k), gfp)
    i = next_zones_zonelist(lst, 0, gfp_zone(gfp), ANY_NODE)
    while lst._zonerefs[i].zone:
        n = get_node(s, lst._zonerefs[i].zone.node)
        if n.nr_partial > s.min_partial:
            obj = get_partial_on(k, s, n, c, orig_size)
            if obj:
                return obj
        i = next_zones_zonelist(lst, i + 1, gfp_zone(gfp), ANY_NODE)
    return 0


@always_inline
def get_freelist(sl: Any) -> int:
    """``get_freelist()``: take all free objects of the CPU's slab; without any the slab is the CPU's no longer."""
    freelist: int = sl.freelist
    sl.inuse = sl.objects
    sl.frozen = 1 if freelist else 0
    sl.freelist = 0
    return freelist


@always_inline
def load_freelist(k: Any, s: Any, c: Any, freelist: int) -> int:
    """The end of ``___slab_alloc()``: give the first object, keep the others."""
    c.freelist = get_freepointer(k, s, freelist)
    c.tid = next_tid(c.tid)
    return freelist


@noinline
def leave_node(k: Any, s: Any, c: Any) -> None:
    """``deactivate_slab:`` of ``___slab_alloc()``: the CPU's slab is on another node than the caller wants."""
    sl = c.slab
    freelist: int = c.freelist
    c.slab = no_slab(k)
    c.freelist = 0
    c.tid = next_tid(c.tid)
    deactivate_slab(k, s, sl, freelist)


@noinline
def slab_alloc_slow(k: Any, s: Any, gfp: int, node: int, c: Any, orig_size: int) -> int:
    """``___slab_alloc()``: everything but the fast path; an object or 0."""
    count_vm_events(k, EV_SLAB_SLOWPATH, 1)
    if node >= k.nr_node_ids:
        node = -1  # a node without memory is as good as any
    while True:
        sl = c.slab
        if sl and node >= 0 and slab_nid(sl) != node:
            leave_node(k, s, c)
        elif sl:
            freelist: int = c.freelist
            if not freelist:
                freelist = get_freelist(sl)
            if freelist:
                return load_freelist(k, s, c, freelist)
            c.slab = no_slab(k)
            c.tid = next_tid(c.tid)
        sl = c.partial
        if not sl:
            return slab_alloc_elsewhere(k, s, gfp, node, c, orig_size)
        c.partial = sl.next
        if not SLUB_PARTIAL_NOT_FROZEN or node < 0 or slab_nid(sl) == node:
            c.slab = sl
        else:
            sl.next = no_slab(k)
            unfreeze_partials(k, s, sl)


@noinline
def slab_alloc_elsewhere(k: Any, s: Any, gfp: int, node: int, c: Any, orig_size: int) -> int:
    """``new_objects:`` of ``___slab_alloc()``: from the nodes' partial slabs, or a new slab."""
    while True:
        freelist = get_partial_on(k, s, get_node(s, node if node >= 0 else numa_node_id(k)), c, orig_size)
        if not freelist and node < 0:
            freelist = get_any_partial(k, s, gfp, c, orig_size)
        if not freelist:
            sl = new_slab(k, s, gfp, node)
            if not sl:
                if not gfp & __GFP_NOWARN:
                    tell(k, UP_SLAB_OOM, address(s), gfp, node, 0)
                return 0
            if no_cpu_slab(k, s):
                freelist = alloc_single_from_new_slab(k, s, sl, orig_size)
                if not freelist:
                    continue
            else:
                freelist = sl.freelist
                sl.freelist = 0
                sl.inuse = sl.objects
                sl.frozen = 1
                inc_slabs_node(s, slab_nid(sl), sl.objects)
                c.slab = sl
        if no_cpu_slab(k, s):
            if s.flags & SLAB_STORE_USER:
                set_track(k, s, freelist, TRACK_ALLOC)
            return freelist
        return load_freelist(k, s, c, freelist)


@always_inline
def want_init_on_alloc(k: Any, s: Any, gfp: int) -> bool:
    """``slab_want_init_on_alloc()``: the caller asked, or the boot wants it for every object that has no state of its
    own.
    """
    if not k.init_on_alloc:
        return gfp & __GFP_ZERO != 0
    if s.ctor:
        return False
    return gfp & __GFP_ZERO != 0 or not s.flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON)


@always_inline
def want_init_on_free(k: Any, s: Any) -> bool:
    """``slab_want_init_on_free()``."""
    return k.init_on_free != 0 and not s.ctor and not s.flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON)


@always_inline
def slab_alloc_node(k: Any, s: Any, gfp: int, node: int, orig_size: int) -> int:
    """``slab_alloc_node()``: an object of *s*, or 0; wiped if the caller or the boot wants it."""
    c = this_cpu_slab(k, s)
    obj: int = c.freelist
    if obj and c.slab and (node < 0 or slab_nid(c.slab) == node):
        c.freelist = get_freepointer(k, s, obj)
        c.tid = next_tid(c.tid)
        count_vm_events(k, EV_SLAB_FASTPATH, 1)
    else:
        obj = slab_alloc_slow(k, s, gfp, node, c, orig_size)
        if obj == 0:
            return 0
    if want_init_on_free(k, s):
        store64(k, obj + s.offset, 0)
    if want_init_on_alloc(k, s, gfp):
        size = orig_size if SLUB_ORIG_SIZE_LONG and slub_debug_orig_size(s) else s.object_size
        fill(k, obj, 0, size)
        count_vm_events(k, EV_ZEROED, size)
    return obj


@noinline
def slab_free_slow(k: Any, s: Any, sl: Any, head: int, tail: int, count: int) -> None:
    """``__slab_free()``: objects go back to a slab that is not this CPU's current one."""
    count_vm_events(k, EV_SLAB_FREE_SLOW, 1)
    if no_cpu_slab(k, s):
        free_to_partial_list(k, s, sl, head, tail, count)
        return
    prior = sl.freelist
    was_frozen = sl.frozen
    inuse = sl.inuse - count
    set_freepointer(k, s, tail, prior)
    sl.freelist = head
    sl.inuse = inuse
    if was_frozen or (inuse != 0 and prior):
        return
    if not prior and has_cpu_partial(k, s):
        if not SLUB_PARTIAL_NOT_FROZEN:
            sl.frozen = 1
        put_cpu_partial(k, s, sl, True)
    elif not SLUB_PARTIAL_NOT_FROZEN or not prior or on_node_partial(sl):
        slab_to_node(k, s, sl, prior)


@noinline
def slab_to_node(k: Any, s: Any, sl: Any, prior: int) -> None:
    """The end of ``__slab_free()``: an empty slab is freed if the node has enough; one that was full joins its list."""
    n = get_node(s, slab_nid(sl))
    if sl.inuse == 0 and n.nr_partial >= s.min_partial:
        if prior:
            remove_partial(n, sl)
        discard_slab(k, s, sl)
    elif not prior:
        add_partial(n, sl, True)


@noinline
def free_to_partial_list(k: Any, s: Any, sl: Any, head: int, tail: int, count: int) -> None:
    """``free_to_partial_list()``: checked freeing (slub_debug, SLUB_TINY)."""
    n = get_node(s, slab_nid(sl))
    if not free_debug_processing(k, s, sl, head, tail, count):
        return
    prior = sl.freelist
    set_freepointer(k, s, tail, prior)
    sl.freelist = head
    sl.inuse = sl.inuse - count
    empty = sl.inuse == 0 and n.nr_partial >= s.min_partial
    if not prior:
        remove_full(s, sl)
        if not empty:
            add_partial(n, sl, True)
    elif empty:
        remove_partial(n, sl)
    if empty:
        discard_slab(k, s, sl)


@always_inline
def slab_free(k: Any, s: Any, sl: Any, head: int, tail: int, count: int) -> None:
    """``do_slab_free()``: the chain of *count* objects from *head* to *tail*, all of slab *sl*, is free."""
    if want_init_on_free(k, s):
        wipe_chain(k, s, head, tail)
    c = this_cpu_slab(k, s)
    if c.slab and sl == c.slab:
        set_freepointer(k, s, tail, c.freelist)
        c.freelist = head
        c.tid = next_tid(c.tid)
        count_vm_events(k, EV_SLAB_FREE_FAST, 1)
    else:
        slab_free_slow(k, s, sl, head, tail, count)


@noinline
def wipe_chain(k: Any, s: Any, head: int, tail: int) -> None:
    """``slab_free_freelist_hook()`` with init_on_free: wipe each object and what lies behind it, keeping the chain."""
    obj = head
    end = get_info_end(s) if SLUB_ORIG_SIZE_LONG else s.inuse
    behind = s.size - end - (s.red_left_pad if s.flags & SLAB_RED_ZONE else 0)
    while True:
        following = get_freepointer(k, s, obj) if obj != tail else 0
        size = get_orig_size(k, s, obj) if SLUB_ORIG_SIZE_LONG else s.object_size
        fill(k, obj, 0, size)
        fill(k, obj + end, 0, behind)
        if SLUB_ORIG_SIZE_LONG:
            set_orig_size(k, s, obj, size)
        if obj == tail:
            return
        set_freepointer(k, s, obj, following)
        obj = following


@jit
def kmem_cache_free_one(k: Any, s: Any, obj: int) -> None:
    """Free one object of *s*."""
    slab_free(k, s, virt_to_slab(k, obj), obj, obj, 1)


@jit
def flush_cpu_slab(k: Any, s: Any, cpu: int) -> None:
    """``__flush_cpu_slab()``: the CPU's current and partial slabs go back to their nodes."""
    c = cpu_slab(k, s, cpu)
    sl = c.slab
    freelist: int = c.freelist
    c.slab = no_slab(k)
    c.freelist = 0
    c.tid = next_tid(c.tid)
    if sl:
        deactivate_slab(k, s, sl, freelist)
    partial = c.partial
    c.partial = no_slab(k)
    if partial:
        unfreeze_partials(k, s, partial)


@jit
def flush_all(k: Any, s: Any) -> None:
    """``flush_all()``: every CPU."""
    for cpu in range(k.nr_cpu_ids):
        flush_cpu_slab(k, s, cpu)


@jit
def discard_empty(k: Any, s: Any, n: Any) -> None:
    """Free the node's empty partial slabs, the last of the list first, as ``free_partial()`` does."""
    chain = no_slab(k)
    entry = n.partial.next
    while entry != n.partial:
        sl = slab_from_list(entry)
        entry = entry.next
        if sl.inuse == 0:
            remove_partial(n, sl)
            sl.next = chain
            chain = sl
    while chain:
        following = chain.next
        discard_slab(k, s, chain)
        chain = following


@jit
def shrink_node(k: Any, s: Any, n: Any) -> None:
    """``__kmem_cache_do_shrink()``: empty partial slabs are freed; those with few free objects move to the front,
    fullest first.
    """
    discard_empty(k, s, n)
    for free in range(SHRINK_PROMOTE_MAX, 0, -1):
        moved = n.partial.next
        while moved != n.partial:  # a pass for each number: the slabs moved by this one are at the front, newest first
            sl = slab_from_list(moved)
            moved = moved.next
            if sl.objects - sl.inuse == free:
                list_unlink(sl.slab_list)
                list_add(sl.slab_list, n.partial)
