"""When no zone has memory to spare: wake, reclaim, compact, kill, or fail (mm/page_alloc.c, 6.1).

::

    the low watermark fails -> wake kswapd, try down to the min watermark and the reserves that the mask opens
      costly order? -> compact first
      may not block, or is itself reclaiming -> fail
      reclaim -> compact -> is it worth repeating? -> the OOM killer -> again, while any of it makes progress

A request that may fail does so with a report, unless ``__GFP_NOWARN``; one with ``__GFP_NOFAIL`` never does.

Simplified: a ``__GFP_NOFAIL`` request that nothing can help is told to ``UP_STUCK`` and fails in the end, where a
kernel would try for ever.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import (
    __GFP_ATOMIC,
    __GFP_DIRECT_RECLAIM,
    __GFP_HIGH,
    __GFP_IO,
    __GFP_KSWAPD_RECLAIM,
    __GFP_MEMALLOC,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_RETRY_MAYFAIL,
    __GFP_THISNODE,
)
from kmem.lib.jit import jit
from kmem.mm import places
from kmem.mm.codes import UP_ALLOC_FAILED, UP_OUT_OF_MEMORY, UP_STUCK
from kmem.mm.compaction import (
    COMPACT_COMPLETE,
    COMPACT_CONTENDED,
    COMPACT_CONTINUE,
    COMPACT_DEFERRED,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_SKIPPED,
    COMPACT_SUCCESS,
    DEF_COMPACT_PRIORITY,
    INIT_COMPACT_PRIORITY,
    MIN_COMPACT_COSTLY_PRIORITY,
    MIN_COMPACT_PRIORITY,
    compaction_defer_reset,
    compaction_suitable_with,
    try_to_compact_pages,
)
from kmem.mm.current import (
    PF_DUMPCORE,
    PF_MEMALLOC,
    current_flags,
    fatal_signal_pending,
    in_interrupt,
    in_serving_softirq,
    set_current_flags,
    tsk_is_oom_victim,
)
from kmem.mm.features import GFP_ATOMIC_BIT
from kmem.mm.mmzone import (
    MIGRATE_MOVABLE,
    NR_FREE_PAGES,
    PAGE_ALLOC_COSTLY_ORDER,
    WMARK_HIGH,
    WMARK_MIN,
    ZONE_NORMAL,
    count_vm_events,
    page_zone,
    priv,
)
from kmem.mm.page_free import drain_all_pages
from kmem.mm.page_freelist import (
    get_page_from_freelist,
    gfp_migratetype,
    gfp_zone,
    next_zones_zonelist,
    node_zonelist,
    unreserve_highatomic_pageblock,
    watermark_ok,
)
from kmem.mm.page_rmqueue import (
    ALLOC_CPUSET,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    no_page,
)
from kmem.mm.upcalls import tell, warn
from kmem.mm.vm_event_item import COMPACTFAIL, COMPACTSTALL, COMPACTSUCCESS, count_vm_item
from kmem.mm.vm_events import EV_PGALLOC_FAIL
from kmem.mm.vmscan import MAX_RECLAIM_RETRIES, run_kswapds, try_to_free_pages, wake_all_kswapds, zone_reclaimable_pages

MAX_COMPACT_RETRIES = 16
NOFAIL_ROUNDS = 64
"""How often a request that must not fail is tried in vain before that is told."""


@jit
def gfp_to_alloc_flags(gfp: int, order: int) -> int:
    """``gfp_to_alloc_flags()``: what the slow path may do."""
    flags = WMARK_MIN | ALLOC_CPUSET | (gfp & (__GFP_HIGH | __GFP_KSWAPD_RECLAIM))
    if not gfp & __GFP_DIRECT_RECLAIM:
        if not gfp & __GFP_NOMEMALLOC:
            flags |= ALLOC_NON_BLOCK
            if order > 0 and flags & ALLOC_MIN_RESERVE:
                flags |= ALLOC_HIGHATOMIC
        if flags & ALLOC_MIN_RESERVE:
            flags &= ~ALLOC_CPUSET
    return flags


@jit
def gfp_pfmemalloc_flags(k: Any, gfp: int) -> int:
    """``__gfp_pfmemalloc_flags()``: the reserves that the mask, the task's PF_MEMALLOC or its death open."""
    if gfp & __GFP_NOMEMALLOC:
        return 0
    if gfp & __GFP_MEMALLOC:
        return ALLOC_NO_WATERMARKS
    memalloc = current_flags(k) & PF_MEMALLOC != 0
    if memalloc and in_serving_softirq(k):
        return ALLOC_NO_WATERMARKS
    if not in_interrupt(k):
        if memalloc:
            return ALLOC_NO_WATERMARKS
        if tsk_is_oom_victim(k):
            return ALLOC_OOM
    return 0


@jit
def alloc_pages_direct_compact(k: Any, gfp: int, order: int, alloc_flags: int, node: int, nodes: int, prio: int) -> Any:
    """``__alloc_pages_direct_compact()``; the ``COMPACT_*`` result stays in ``cc.result``."""
    cc = priv(k).cc
    if not order:
        return no_page(k)
    flags = current_flags(k)
    set_current_flags(k, flags | PF_MEMALLOC)
    cc.result = try_to_compact_pages(k, gfp, order, alloc_flags, node, nodes, prio)
    set_current_flags(k, flags)
    if cc.result == COMPACT_SKIPPED:
        return no_page(k)
    count_vm_item(k, COMPACTSTALL, 1)
    p = get_page_from_freelist(k, gfp, order, alloc_flags, node, nodes)
    if p:
        z = page_zone(k, p)
        z.compact_blockskip_flush = 0
        compaction_defer_reset(z, order, True)
        count_vm_item(k, COMPACTSUCCESS, 1)
    else:
        count_vm_item(k, COMPACTFAIL, 1)
    return p


@jit
def perform_reclaim(k: Any, gfp: int, order: int, node: int, nodes: int) -> int:
    """``__perform_reclaim()``: let kswapd run, then direct reclaim, under PF_MEMALLOC; how many pages."""
    if k.kswapd_wake:
        run_kswapds(k, gfp)
    flags = current_flags(k)
    set_current_flags(k, flags | PF_MEMALLOC)
    progress = try_to_free_pages(k, gfp, order, node, nodes)
    set_current_flags(k, flags)
    return progress


@jit
def get_page_after_reclaim(k: Any, gfp: int, order: int, alloc_flags: int, node: int, nodes: int) -> Any:
    """The second half of ``__alloc_pages_direct_reclaim()``: again, then without per-cpu lists and atomic reserve."""
    p = get_page_from_freelist(k, gfp, order, alloc_flags, node, nodes)
    if p:
        return p
    unreserve_highatomic_pageblock(k, gfp, node, nodes, False)
    drain_all_pages(k)
    return get_page_from_freelist(k, gfp, order, alloc_flags, node, nodes)


@jit
def should_reclaim_retry(
    k: Any, gfp: int, order: int, alloc_flags: int, node: int, nodes: int, no_progress_loops: int
) -> bool:
    """``should_reclaim_retry()``: whether all that could be reclaimed would be enough."""
    if no_progress_loops <= MAX_RECLAIM_RETRIES:
        zoneidx = gfp_zone(gfp)
        lst = node_zonelist(k, node, gfp)
        i = next_zones_zonelist(lst, 0, zoneidx, nodes)
        while lst._zonerefs[i].zone:
            z = lst._zonerefs[i].zone
            i = next_zones_zonelist(lst, i + 1, zoneidx, nodes)
            available = zone_reclaimable_pages(z) + z.vm_stat[NR_FREE_PAGES]
            mark = z._watermark[WMARK_MIN] + z.watermark_boost
            if watermark_ok(z, order, mark, zoneidx, alloc_flags, available):
                return True
    return unreserve_highatomic_pageblock(k, gfp, node, nodes, True)


@jit
def compaction_zonelist_suitable(k: Any, gfp: int, order: int, alloc_flags: int, node: int, nodes: int) -> bool:
    """``compaction_zonelist_suitable()``: whether more reclaim would make compaction possible."""
    zoneidx = gfp_zone(gfp)
    lst = node_zonelist(k, node, gfp)
    i = next_zones_zonelist(lst, 0, zoneidx, nodes)
    while lst._zonerefs[i].zone:
        z = lst._zonerefs[i].zone
        i = next_zones_zonelist(lst, i + 1, zoneidx, nodes)
        available = zone_reclaimable_pages(z) // order + z.vm_stat[NR_FREE_PAGES]
        if compaction_suitable_with(z, order, alloc_flags, zoneidx, available) == COMPACT_CONTINUE:
            return True
    return False


@jit
def compaction_failed(result: int) -> bool:
    """``compaction_failed()``: everything was scanned in vain."""
    return result == COMPACT_COMPLETE


@jit
def compaction_needs_reclaim(result: int) -> bool:
    """``compaction_needs_reclaim()``: too few free pages to start."""
    return result == COMPACT_SKIPPED


@jit
def compaction_withdrawn(result: int) -> bool:
    """``compaction_withdrawn()``: it backed off."""
    return result in (COMPACT_DEFERRED, COMPACT_CONTENDED, COMPACT_PARTIAL_SKIPPED)


@jit
def oom_kill_allowed(k: Any, gfp: int, order: int) -> bool:
    """Whether ``__alloc_pages_may_oom()`` goes as far as to call ``out_of_memory()``."""
    if current_flags(k) & PF_DUMPCORE or order > PAGE_ALLOC_COSTLY_ORDER:
        return False
    if gfp & (__GFP_RETRY_MAYFAIL | __GFP_THISNODE):
        return False
    return gfp_zone(gfp) >= ZONE_NORMAL


@jit
def alloc_pages_slowpath(k: Any, gfp: int, order: int, node: int, nodes: int) -> Any:
    """``__alloc_pages_slowpath()``."""
    can_direct_reclaim = gfp & __GFP_DIRECT_RECLAIM != 0
    can_compact = gfp & __GFP_IO != 0
    costly = order > PAGE_ALLOC_COSTLY_ORDER
    if GFP_ATOMIC_BIT and gfp & __GFP_ATOMIC and can_direct_reclaim:
        warn(k, places.ALLOC_ATOMIC_RECLAIM, order, gfp)
        gfp &= ~__GFP_ATOMIC
    cc = priv(k).cc
    cc.result = COMPACT_SKIPPED
    compact_result = COMPACT_SKIPPED
    priority = DEF_COMPACT_PRIORITY
    compaction_retries = 0
    no_progress_loops = 0
    rounds = 0
    fail = False
    alloc_flags = gfp_to_alloc_flags(gfp, order)
    if alloc_flags & ALLOC_KSWAPD:
        wake_all_kswapds(k, gfp, order, node, nodes)
    p = get_page_from_freelist(k, gfp, order, alloc_flags, node, nodes)
    if p:
        return p
    first = costly or (order > 0 and gfp_migratetype(gfp) != MIGRATE_MOVABLE)
    if can_direct_reclaim and can_compact and first and not gfp_pfmemalloc_flags(k, gfp):
        p = alloc_pages_direct_compact(k, gfp, order, alloc_flags, node, nodes, INIT_COMPACT_PRIORITY)
        compact_result = cc.result
        if p:
            return p
        if costly and gfp & __GFP_NORETRY:
            if compact_result in (COMPACT_SKIPPED, COMPACT_DEFERRED) or gfp & __GFP_THISNODE:
                fail = True
            priority = INIT_COMPACT_PRIORITY
    while True:
        progress = 0
        while not fail:
            if alloc_flags & ALLOC_KSWAPD:
                wake_all_kswapds(k, gfp, order, node, nodes)
            reserve = gfp_pfmemalloc_flags(k, gfp)
            if reserve:
                alloc_flags = reserve | (alloc_flags & ALLOC_KSWAPD)
            p = get_page_from_freelist(k, gfp, order, alloc_flags, node, nodes)
            if p:
                return p
            if not can_direct_reclaim or current_flags(k) & PF_MEMALLOC:
                break
            progress = perform_reclaim(k, gfp, order, node, nodes)
            if progress:
                p = get_page_after_reclaim(k, gfp, order, alloc_flags, node, nodes)
                if p:
                    return p
            p = alloc_pages_direct_compact(k, gfp, order, alloc_flags, node, nodes, priority)
            if order:
                compact_result = cc.result
            if p:
                return p
            if gfp & __GFP_NORETRY or (costly and not (can_compact and gfp & __GFP_RETRY_MAYFAIL)):
                break
            no_progress_loops = 0 if progress and not costly else no_progress_loops + 1
            if should_reclaim_retry(k, gfp, order, alloc_flags, node, nodes, no_progress_loops):
                continue
            if progress and can_compact and order and not fatal_signal_pending(k):
                if compact_result == COMPACT_SUCCESS:
                    compaction_retries += 1
                retry = False
                lower = compaction_failed(compact_result) or compaction_withdrawn(compact_result)
                if not lower and compaction_needs_reclaim(compact_result):
                    retry = compaction_zonelist_suitable(k, gfp, order, alloc_flags, node, nodes)
                elif not lower:
                    most = MAX_COMPACT_RETRIES // 4 if costly else MAX_COMPACT_RETRIES
                    retry = compaction_retries <= most
                    lower = not retry
                if lower:
                    least = MIN_COMPACT_COSTLY_PRIORITY if costly else MIN_COMPACT_PRIORITY
                    if priority > least:
                        priority -= 1
                        compaction_retries = 0
                        retry = True
                if retry:
                    continue
            # __alloc_pages_may_oom()
            p = get_page_from_freelist(k, gfp & ~__GFP_DIRECT_RECLAIM, order, WMARK_HIGH | ALLOC_CPUSET, node, nodes)
            if p:
                return p
            progress = 0
            if oom_kill_allowed(k, gfp, order):
                if tell(k, UP_OUT_OF_MEMORY, gfp, order, node, nodes):
                    progress = 1
                elif gfp & __GFP_NOFAIL:
                    warn(k, places.ALLOC_NOFAIL_OOM, order, gfp)
                    progress = 1
                if progress and gfp & __GFP_NOFAIL:
                    p = get_page_from_freelist(k, gfp, order, ALLOC_NO_WATERMARKS, node, nodes)
                    if p:
                        return p
            if tsk_is_oom_victim(k) and (alloc_flags & ALLOC_OOM or gfp & __GFP_NOMEMALLOC):
                break
            rounds += 1
            if not progress or rounds > NOFAIL_ROUNDS:
                break
            no_progress_loops = 0
        if not gfp & __GFP_NOFAIL:
            break
        if not can_direct_reclaim:
            warn(k, places.ALLOC_NOFAIL_NOWAIT, order, gfp)
            break
        if current_flags(k) & PF_MEMALLOC:
            warn(k, places.ALLOC_NOFAIL_MEMALLOC, order, gfp)
        if costly:
            warn(k, places.ALLOC_NOFAIL_COSTLY, order, gfp)
        p = get_page_from_freelist(k, gfp, order, ALLOC_MIN_RESERVE, node, nodes)
        if p:
            return p
        fail = False
        rounds += 1
        if rounds > NOFAIL_ROUNDS and not tell(k, UP_STUCK, gfp, order, node, 0):
            break
    count_vm_events(k, EV_PGALLOC_FAIL, 1)
    if not gfp & __GFP_NOWARN:
        tell(k, UP_ALLOC_FAILED, gfp, order, node, nodes)
    return no_page(k)
