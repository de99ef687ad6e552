"""Slabs: making them, keeping them on partial lists, giving them back (mm/slub.c, 6.1).

A slab is *frozen* while it belongs to one CPU: as its current slab (``kmem_cache_cpu.slab``) or on its partial list
(``kmem_cache_cpu.partial``, chained by ``next``, the head knowing the number in ``slabs``). Otherwise it is on its
node's partial list if it has free objects, and on no list if it is full (on ``full`` with SLAB_STORE_USER).
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import (
    __GFP_ATOMIC,
    __GFP_COMP,
    __GFP_DIRECT_RECLAIM,
    __GFP_DMA,
    __GFP_DMA32,
    __GFP_FS,
    __GFP_HARDWALL,
    __GFP_HIGH,
    __GFP_HIGHMEM,
    __GFP_IO,
    __GFP_KSWAPD_RECLAIM,
    __GFP_MEMALLOC,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_RECLAIMABLE,
    __GFP_RETRY_MAYFAIL,
    __GFP_THISNODE,
    __GFP_ZERO,
)
from kmem.abi.slab_flags import (
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_POISON,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from kmem.lib.jit import address, always_inline, container_of, fill, jit, load32, noinline, ptr
from kmem.lib.list import list_add, list_add_tail, list_del
from kmem.mm import places
from kmem.mm.codes import UP_CTOR, UP_FIX_FLAGS, UP_RCU_SLAB
from kmem.mm.features import SLAB_ALWAYS_COMPOUND, SLUB_PARTIAL_NOT_FROZEN
from kmem.mm.mm_types import kmem_cache_node, slab
from kmem.mm.mmzone import (
    NR_SLAB_RECLAIMABLE_B,
    NR_SLAB_UNRECLAIMABLE_B,
    PG_WORKINGSET,
    clear_page_slab,
    count_vm_events,
    mod_node_page_state,
    page_pgdat,
    page_to_nid,
    priv,
    set_page_slab,
)
from kmem.mm.page_alloc import alloc_pages_node
from kmem.mm.page_free import free_pages
from kmem.mm.slub_debug import (
    POISON_INUSE,
    SLUB_RED_INACTIVE,
    check_object,
    kmem_cache_debug,
    setup_object_debug,
    slab_pad_check,
)
from kmem.mm.slub_freelist import (
    get_freepointer,
    oo_objects,
    oo_order,
    page_of_slab,
    random_below,
    set_freepointer,
    slab_address,
    slab_of_page,
    slab_order,
    this_cpu_slab,
)
from kmem.mm.upcalls import tell, warn
from kmem.mm.vm_events import EV_SLAB_DISCARD, EV_SLAB_NEW

GFP_RECLAIM_MASK = (
    __GFP_DIRECT_RECLAIM
    | __GFP_KSWAPD_RECLAIM
    | __GFP_HIGH
    | __GFP_IO
    | __GFP_FS
    | __GFP_NOWARN
    | __GFP_RETRY_MAYFAIL
    | __GFP_NOFAIL
    | __GFP_NORETRY
    | __GFP_MEMALLOC
    | __GFP_NOMEMALLOC
    | __GFP_ATOMIC
)
GFP_SLAB_BUG_MASK = __GFP_DMA32 | __GFP_HIGHMEM
GFP_CONSTRAINT_MASK = __GFP_HARDWALL | __GFP_THISNODE


@jit
def no_slab(k: Any) -> Any:
    """``(struct slab *)NULL``."""
    return ptr(slab, 0, k)


@jit
def has_cpu_partial(k: Any, s: Any) -> bool:
    """``kmem_cache_has_cpu_partial()``."""
    return k.slub_cpu_partial != 0 and not kmem_cache_debug(s)


@jit
def no_cpu_slab(k: Any, s: Any) -> bool:
    """Whether objects are taken from and returned to the node's slabs one by one: slub_debug, or SLUB_TINY."""
    return kmem_cache_debug(s) or k.slub_tiny != 0


@jit
def slab_nid(sl: Any) -> int:
    """``int slab_nid(const struct slab *slab)``."""
    return page_to_nid(page_of_slab(sl))


@jit
def get_node(s: Any, node: int) -> Any:
    """``get_node()``."""
    return s.node[node]


@jit
def account_slab(k: Any, s: Any, p: Any, order: int, sign: int) -> None:
    """``account_slab()``: the bytes of the slab at page *p*, by whether they can be reclaimed."""
    item = NR_SLAB_RECLAIMABLE_B if s.flags & SLAB_RECLAIM_ACCOUNT else NR_SLAB_UNRECLAIMABLE_B
    mod_node_page_state(k, page_pgdat(k, p), item, sign * (4096 << order))


@jit
def setup_object(k: Any, s: Any, obj: int) -> int:
    """``setup_object()``: what a new object needs once: debug marks, constructor."""
    setup_object_debug(k, s, obj)
    if s.ctor:
        tell(k, UP_CTOR, s.ctor, obj, address(s), 0)
    return obj


@jit
def shuffle_freelist(k: Any, s: Any, sl: Any, start: int) -> None:
    """``shuffle_freelist()``: link the objects in the cache's random order, from a random place of it."""
    count = oo_objects(s.oo.x)
    pos = random_below(k, count)
    limit = sl.objects * s.size
    cur = 0
    done = 0
    while done < sl.objects:
        index = load32(k, s.random_seq + 4 * pos)
        pos += 1
        if pos >= count:
            pos = 0
        if index >= limit:
            continue
        obj = setup_object(k, s, start + index)
        if cur:
            set_freepointer(k, s, cur, obj)
        else:
            sl.freelist = obj
        cur = obj
        done += 1
    set_freepointer(k, s, cur, 0)


@jit
def slab_pages(k: Any, s: Any, gfp: int, node: int) -> Any:
    """Pages for a slab of the preferred order, or of the smallest: the part of ``allocate_slab()`` that does not touch
    the objects. No object is in use, none is free.
    """
    oo = s.oo.x
    gfp |= s.allocflags
    alloc_gfp = (gfp | __GFP_NOWARN | __GFP_NORETRY) & ~__GFP_NOFAIL
    if alloc_gfp & __GFP_DIRECT_RECLAIM and oo_order(oo) > oo_order(s.min.x):
        alloc_gfp = (alloc_gfp | __GFP_NOMEMALLOC) & ~(__GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM)
    p = alloc_pages_node(k, alloc_gfp, oo_order(oo), node)
    if not p:
        oo = s.min.x
        p = alloc_pages_node(k, gfp, oo_order(oo), node)
        if not p:
            return no_slab(k)
    set_page_slab(p)
    sl = slab_of_page(p)
    order = oo_order(oo)
    sl.freelist = 0
    sl.counters = 0
    sl.objects = oo_objects(oo)
    account_slab(k, s, p, order, 1)
    sl.slab_cache = s
    count_vm_events(k, EV_SLAB_NEW, 1)
    return sl


@jit
def allocate_slab(k: Any, s: Any, gfp: int, node: int) -> Any:
    """``allocate_slab()``: a slab with all objects free."""
    sl = slab_pages(k, s, gfp, node)
    if not sl:
        return sl
    base = slab_address(sl)
    if s.flags & SLAB_POISON:
        fill(k, base, POISON_INUSE, 4096 << slab_order(sl))
    start = base + s.red_left_pad
    if s.random_seq and sl.objects >= 2:
        shuffle_freelist(k, s, sl, start)
    else:
        obj = setup_object(k, s, start)
        sl.freelist = obj
        for _ in range(sl.objects - 1):
            following = setup_object(k, s, obj + s.size)
            set_freepointer(k, s, obj, following)
            obj = following
        set_freepointer(k, s, obj, 0)
    return sl


@noinline
def new_slab(k: Any, s: Any, gfp: int, node: int) -> Any:
    """``new_slab()``: of the caller's mask only how hard to try counts; zones and mobility are the cache's business,
    and asking for a zone that slabs cannot be in is complained about.
    """
    if gfp & GFP_SLAB_BUG_MASK:
        gfp = tell(k, UP_FIX_FLAGS, gfp, 0, 0, 0)
    if s.ctor and gfp & __GFP_ZERO:
        warn(k, places.CTOR_ZERO, s.ctor, gfp)
    return allocate_slab(k, s, gfp & (GFP_RECLAIM_MASK | GFP_CONSTRAINT_MASK), node)


@jit
def release_slab(k: Any, s: Any, sl: Any) -> None:
    """``__free_slab()``."""
    order = slab_order(sl)
    p = page_of_slab(sl)
    clear_page_slab(p)
    p.mapping = 0
    p.index = 0
    p.private = 0
    account_slab(k, s, p, order, -1)
    count_vm_events(k, EV_SLAB_DISCARD, 1)
    v = priv(k)
    v.reclaimed_slab = v.reclaimed_slab + (1 << order)
    free_pages(k, p, order)


@jit
def free_slab(k: Any, s: Any, sl: Any) -> None:
    """``free_slab()``: give the pages back, those of SLAB_TYPESAFE_BY_RCU after a grace period."""
    if s.flags & SLAB_CONSISTENCY_CHECKS:
        slab_pad_check(k, s, sl)
        base = slab_address(sl) + s.red_left_pad
        for i in range(sl.objects):
            check_object(k, s, sl, base + i * s.size, SLUB_RED_INACTIVE)
    if s.flags & SLAB_TYPESAFE_BY_RCU and tell(k, UP_RCU_SLAB, address(sl), 0, 0, 0):
        return
    release_slab(k, s, sl)


@jit
def inc_slabs_node(s: Any, node: int, objects: int) -> None:
    """``inc_slabs_node()``."""
    n = get_node(s, node)
    if n:
        n.nr_slabs = n.nr_slabs + 1
        n.total_objects = n.total_objects + objects


@noinline
def discard_slab(k: Any, s: Any, sl: Any) -> None:
    """``discard_slab()``: forget an empty slab and free it."""
    n = get_node(s, slab_nid(sl))
    n.nr_slabs = n.nr_slabs - 1
    n.total_objects = n.total_objects - sl.objects
    free_slab(k, s, sl)


@jit
def set_node_partial(sl: Any, on: bool) -> None:
    """``slab_set_node_partial()`` and ``slab_clear_node_partial()``: PG_workingset, where that says so."""
    if SLUB_PARTIAL_NOT_FROZEN:
        p = page_of_slab(sl)
        p.flags = p.flags | (1 << PG_WORKINGSET) if on else p.flags & ~(1 << PG_WORKINGSET)


@jit
def on_node_partial(sl: Any) -> bool:
    """``slab_test_node_partial()``."""
    return page_of_slab(sl).flags & (1 << PG_WORKINGSET) != 0


@always_inline
def add_partial(n: Any, sl: Any, tail: bool) -> None:
    """``add_partial()``."""
    set_node_partial(sl, True)
    n.nr_partial = n.nr_partial + 1
    if tail:
        list_add_tail(sl.slab_list, n.partial)
    else:
        list_add(sl.slab_list, n.partial)


@always_inline
def remove_partial(n: Any, sl: Any) -> None:
    """``remove_partial()``."""
    set_node_partial(sl, False)
    list_del(sl.slab_list)
    n.nr_partial = n.nr_partial - 1


@jit
def add_full(s: Any, n: Any, sl: Any) -> None:
    """``add_full()``: only where tracks are kept."""
    if s.flags & SLAB_STORE_USER:
        list_add(sl.slab_list, n.full)


@jit
def remove_full(s: Any, sl: Any) -> None:
    """``remove_full()``."""
    if s.flags & SLAB_STORE_USER:
        list_del(sl.slab_list)


@noinline
def unfreeze_partials(k: Any, s: Any, first: Any) -> None:
    """``__unfreeze_partials()``: a CPU's partial slabs go to their nodes' lists; empty ones too many are freed."""
    discard = no_slab(k)
    sl = first
    while sl:
        following = sl.next
        n = get_node(s, slab_nid(sl))
        sl.frozen = 0
        if sl.inuse == 0 and n.nr_partial >= s.min_partial:
            sl.next = discard
            discard = sl
        else:
            add_partial(n, sl, True)
        sl = following
    while discard:
        following = discard.next
        discard_slab(k, s, discard)
        discard = following


@always_inline
def put_cpu_partial(k: Any, s: Any, sl: Any, drain: bool) -> None:
    """``put_cpu_partial()``: keep a frozen slab for this CPU; with *drain*, first send a full list to the nodes."""
    c = this_cpu_slab(k, s)
    old = c.partial
    to_unfreeze = no_slab(k)
    slabs = 0
    if old:
        if drain and old.slabs >= s.cpu_partial_slabs:
            to_unfreeze = old
            old = no_slab(k)
        else:
            slabs = old.slabs
    sl.slabs = slabs + 1
    sl.next = old
    c.partial = sl
    if to_unfreeze:
        unfreeze_partials(k, s, to_unfreeze)


@noinline
def deactivate_slab(k: Any, s: Any, sl: Any, freelist: int) -> None:
    """``deactivate_slab()``: take the CPU's slab away from it, its free objects put back, onto its node's list."""
    n = get_node(s, slab_nid(sl))
    tail = sl.freelist != 0
    last = 0
    free_delta = 0
    obj = freelist
    while obj and free_delta <= sl.objects:
        last = obj
        free_delta += 1
        obj = get_freepointer(k, s, obj)
    if last:
        set_freepointer(k, s, last, sl.freelist)
        sl.inuse = sl.inuse - free_delta
        sl.freelist = freelist
    sl.frozen = 0
    if sl.inuse == 0 and n.nr_partial >= s.min_partial:
        discard_slab(k, s, sl)
    elif sl.freelist:
        add_partial(n, sl, tail)
    else:
        add_full(s, n, sl)


@always_inline
def slab_from_list(entry: Any) -> Any:
    """The slab whose ``slab_list`` is *entry*."""
    return container_of(entry, slab, "slab_list")


@jit
def init_kmem_cache_node(n: Any) -> None:
    """``init_kmem_cache_node()``."""
    n.nr_partial = 0
    n.list_lock = 0
    n.partial.next = n.partial
    n.partial.prev = n.partial
    n.nr_slabs = 0
    n.total_objects = 0
    n.full.next = n.full
    n.full.prev = n.full


@jit
def no_node(k: Any) -> Any:
    """``(struct kmem_cache_node *)NULL``."""
    return ptr(kmem_cache_node, 0, k)


@jit
def cache_allocflags(s: Any, order: int) -> int:
    """The gfp bits that every slab of the cache is allocated with (end of ``calculate_sizes()``)."""
    flags = __GFP_COMP if order or SLAB_ALWAYS_COMPOUND else 0
    if s.flags & SLAB_CACHE_DMA:
        flags |= __GFP_DMA
    if s.flags & SLAB_CACHE_DMA32:
        flags |= __GFP_DMA32
    if s.flags & SLAB_RECLAIM_ACCOUNT:
        flags |= __GFP_RECLAIMABLE
    return flags
