"""Reclaim: what gives memory back when it is short (mm/vmscan.c, 6.1).

Two reclaimers do the same work. A request that may block reclaims itself, 32 pages at least, with more and more force
(``priority`` 12 … 0). kswapd is woken when a zone falls below its low watermark and works until a zone is above the
high one. Each pass takes pages from the tail of the LRU lists, moves used ones from active to inactive, and asks every
registered shrinker.

Simplified: kswapd is no thread. It runs to its end, as the running task with PF_KSWAPD, where an allocation that may
block and may enter file systems first yields the CPU (before direct reclaim) or has ended; until then it is owed. No
swap: anonymous pages stay. No memory control groups, no MGLRU (Debian builds it in and leaves it off). The kernel's own
shrinkers (dentries, inodes) have nothing to give. No throttling by writeback, as no page is dirty. kcompactd does not
run.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_DIRECT_RECLAIM, __GFP_FS, __GFP_IO, GFP_KERNEL
from kmem.lib.jit import address, container_of, jit
from kmem.lib.list import list_add, list_del, list_empty
from kmem.mm.codes import UP_SHRINK_SLAB
from kmem.mm.compaction import (
    COMPACT_CONTINUE,
    COMPACT_SKIPPED,
    COMPACT_SUCCESS,
    compact_gap,
    compaction_suitable,
    reset_isolation_suitable,
)
from kmem.mm.current import (
    PF_KSWAPD,
    PF_KTHREAD,
    PF_MEMALLOC,
    current_flags,
    current_gfp_context,
    fatal_signal_pending,
    in_interrupt,
    set_current_flags,
)
from kmem.mm.events import MM_PAGE_FREE, emit
from kmem.mm.mm_inline import (
    LRU_ACTIVE,
    LRU_ACTIVE_FILE,
    LRU_FILE,
    LRU_INACTIVE_FILE,
    NR_FILE_PAGES,
    NR_ISOLATED_ANON,
    NR_LRU_BASE,
    NR_ZONE_LRU_BASE,
    PG_DIRTY,
    PG_REFERENCED,
    PG_WORKINGSET,
    PG_WRITEBACK,
    folio_add_lru,
    update_lru_size,
)
from kmem.mm.mm_types import page
from kmem.mm.mmzone import (
    MAX_NR_ZONES,
    NR_FREE_PAGES,
    PAGE_ALLOC_COSTLY_ORDER,
    PAGE_SIZE,
    PG_ACTIVE,
    PG_LRU,
    WMARK_HIGH,
    WMARK_MIN,
    ZONE_NORMAL,
    mod_node_page_state,
    page_pgdat,
    page_to_pfn,
    page_zonenum,
    priv,
)
from kmem.mm.page_free import free_unref_page
from kmem.mm.page_freelist import gfp_zone, next_zones_zonelist, node_zonelist, zone_watermark_ok
from kmem.mm.upcalls import tell
from kmem.mm.vm_event_item import (
    ALLOCSTALL,
    PAGEOUTRUN,
    PGDEACTIVATE,
    PGREFILL,
    PGSCAN_ANON,
    PGSCAN_DIRECT,
    PGSCAN_DIRECT_THROTTLE,
    PGSCAN_KSWAPD,
    PGSCAN_SKIP,
    PGSTEAL_ANON,
    PGSTEAL_DIRECT,
    PGSTEAL_KSWAPD,
    count_vm_item,
)

SWAP_CLUSTER_MAX = 32
DEF_PRIORITY = 12
MAX_RECLAIM_RETRIES = 16
KSWAPD_ROUNDS = 64
"""How often kswapd may find the node unbalanced after a run, before it sleeps all the same."""


@jit
def int_sqrt(x: int) -> int:
    """``int_sqrt()``."""
    n = 0
    while (n + 1) * (n + 1) <= x:
        n += 1
    return n


@jit
def node_page_state(k: Any, pgdat: Any, item: int) -> int:
    """Pages on the node's LRU lists of *item* (NR_LRU_BASE + list), from its zones."""
    n = 0
    for i in range(MAX_NR_ZONES):
        z = pgdat.node_zones[i]
        n += z.vm_stat[NR_ZONE_LRU_BASE + item - NR_LRU_BASE]
    return n


@jit
def zone_reclaimable_pages(z: Any) -> int:
    """``zone_reclaimable_pages()``: file pages of the zone; if there are none, its free pages."""
    n: int = z.vm_stat[NR_ZONE_LRU_BASE + LRU_INACTIVE_FILE] + z.vm_stat[NR_ZONE_LRU_BASE + LRU_ACTIVE_FILE]
    if n == 0:
        n = z.vm_stat[NR_FREE_PAGES]
    return n


@jit
def lruvec_lru_size(pgdat: Any, lru: int, zone_idx: int) -> int:
    """``lruvec_lru_size()``: pages on the list from zones up to *zone_idx*."""
    n = 0
    for i in range(zone_idx + 1):
        n += pgdat.node_zones[i].vm_stat[NR_ZONE_LRU_BASE + lru]
    return n


@jit
def emit_free(k: Any, p: Any) -> None:
    """The event of a page that reclaim frees: not on behalf of the code that runs."""
    v = priv(k)
    site = v.call_site
    v.call_site = 0
    emit(k, MM_PAGE_FREE, page_to_pfn(p), 0, PAGE_SIZE, 0, -1, 0, 0)
    v.call_site = site


@jit
def isolate_lru_folios(k: Any, sc: Any, pgdat: Any, nr_to_scan: int, lru: int) -> int:
    """``isolate_lru_folios()``: from the tail of a list to ``k.isolated``, each with a reference more; how many.

    Pages of zones that are too high for the request are passed over and put back at the head.
    """
    src = pgdat.__lruvec.lists[lru]
    skipped = k.freed
    taken = 0
    scan = 0
    while scan < nr_to_scan and not list_empty(src):
        p = container_of(src.prev, page, "lru")
        list_del(p.lru)
        if page_zonenum(p) > sc.reclaim_idx:
            count_vm_item(k, PGSCAN_SKIP + page_zonenum(p), 1)
            list_add(p.lru, skipped)
            continue
        scan += 1
        p.flags = p.flags & ~(1 << PG_LRU)
        p._refcount = p._refcount + 1
        update_lru_size(k, p, lru, -1)
        list_add(p.lru, k.isolated)
        taken += 1
    while not list_empty(skipped):
        p = container_of(skipped.prev, page, "lru")
        list_del(p.lru)
        list_add(p.lru, src)
    return taken


@jit
def putback_lru_page(k: Any, p: Any) -> None:
    """``folio_putback_lru()``: back on the list that its flags say, without the isolator's reference."""
    p._refcount = p._refcount - 1
    if p._refcount:
        folio_add_lru(k, p)
    else:
        p.flags = p.flags & ~(1 << PG_ACTIVE)
        free_unref_page(k, p, 0)


@jit
def remove_mapping(k: Any, p: Any) -> bool:
    """``__remove_mapping()``: the cache forgets a page that nobody else holds; False if somebody does."""
    if p.mapping != address(k.page_cache) or p._refcount != 2 or p.flags & (1 << PG_DIRTY | 1 << PG_WRITEBACK):
        return False
    k.page_cache.nrpages = k.page_cache.nrpages - 1
    p.mapping = 0
    p._refcount = 0
    mod_node_page_state(k, page_pgdat(k, p), NR_FILE_PAGES, -1)
    return True


@jit
def shrink_folio_list(k: Any, sc: Any) -> int:
    """``shrink_folio_list()``: free what can be freed of ``k.isolated``; the rest goes back on its list."""
    reclaimed = 0
    kept = k.freepages
    while not list_empty(k.isolated):
        p = container_of(k.isolated.prev, page, "lru")
        list_del(p.lru)
        sc.nr_scanned = sc.nr_scanned + 1
        if p._mapcount < 0:
            p.flags = p.flags & ~(1 << PG_REFERENCED)
            if remove_mapping(k, p):
                reclaimed += 1
                list_add(p.lru, k.freed)
                continue
        list_add(p.lru, kept)
    while not list_empty(kept):
        p = container_of(kept.prev, page, "lru")
        list_del(p.lru)
        putback_lru_page(k, p)
    while not list_empty(k.freed):
        p = container_of(k.freed.next, page, "lru")
        list_del(p.lru)
        emit_free(k, p)
        p.flags = p.flags & ~(1 << PG_ACTIVE)
        free_unref_page(k, p, 0)
    return reclaimed


@jit
def shrink_inactive_list(k: Any, sc: Any, pgdat: Any, nr_to_scan: int, lru: int) -> int:
    """``shrink_inactive_list()``: how many pages were freed."""
    taken = isolate_lru_folios(k, sc, pgdat, nr_to_scan, lru)
    file = 1 if lru >= LRU_FILE else 0
    count_vm_item(k, PGSCAN_KSWAPD if sc.kswapd else PGSCAN_DIRECT, taken)
    count_vm_item(k, PGSCAN_ANON + file, taken)
    if taken == 0:
        return 0
    mod_node_page_state(k, pgdat, NR_ISOLATED_ANON + file, taken)
    reclaimed = shrink_folio_list(k, sc)
    mod_node_page_state(k, pgdat, NR_ISOLATED_ANON + file, -taken)
    count_vm_item(k, PGSTEAL_KSWAPD if sc.kswapd else PGSTEAL_DIRECT, reclaimed)
    count_vm_item(k, PGSTEAL_ANON + file, reclaimed)
    return reclaimed


@jit
def shrink_active_list(k: Any, sc: Any, pgdat: Any, nr_to_scan: int, lru: int) -> None:
    """``shrink_active_list()``: pages from the tail of the active list become inactive."""
    taken = isolate_lru_folios(k, sc, pgdat, nr_to_scan, lru)
    count_vm_item(k, PGREFILL, taken)
    moved = k.freed
    while not list_empty(k.isolated):
        p = container_of(k.isolated.prev, page, "lru")
        list_del(p.lru)
        p.flags = (p.flags & ~(1 << PG_ACTIVE)) | (1 << PG_WORKINGSET)
        list_add(p.lru, moved)
    while not list_empty(moved):
        p = container_of(moved.prev, page, "lru")
        list_del(p.lru)
        putback_lru_page(k, p)
        count_vm_item(k, PGDEACTIVATE, 1)


@jit
def inactive_is_low(k: Any, pgdat: Any, inactive_lru: int) -> bool:
    """``inactive_is_low()``: whether the active list should give some of its pages up."""
    inactive = node_page_state(k, pgdat, NR_LRU_BASE + inactive_lru)
    active = node_page_state(k, pgdat, NR_LRU_BASE + inactive_lru + LRU_ACTIVE)
    gb = (inactive + active) >> 18
    ratio = int_sqrt(10 * gb) if gb else 1
    return inactive * ratio < active


@jit
def shrink_lruvec(k: Any, sc: Any, pgdat: Any) -> None:
    """``shrink_lruvec()`` with ``get_scan_count()``: without swap the file lists only, both in proportion."""
    sc.may_deactivate = 1 if sc.force_deactivate or inactive_is_low(k, pgdat, LRU_INACTIVE_FILE) else 0
    inactive = lruvec_lru_size(pgdat, LRU_INACTIVE_FILE, sc.reclaim_idx) >> sc.priority
    active = lruvec_lru_size(pgdat, LRU_ACTIVE_FILE, sc.reclaim_idx) >> sc.priority
    proportional = sc.priority == DEF_PRIORITY and not sc.kswapd
    reclaimed = 0
    while inactive or active:
        if inactive:
            n = min(inactive, SWAP_CLUSTER_MAX)
            inactive -= n
            reclaimed += shrink_inactive_list(k, sc, pgdat, n, LRU_INACTIVE_FILE)
        if active:
            n = min(active, SWAP_CLUSTER_MAX)
            active -= n
            if sc.may_deactivate:
                shrink_active_list(k, sc, pgdat, n, LRU_ACTIVE_FILE)
            else:
                sc.skipped_deactivate = 1
        if reclaimed >= sc.nr_to_reclaim and not proportional:
            break
    sc.nr_reclaimed = sc.nr_reclaimed + reclaimed


@jit
def should_continue_reclaim(k: Any, sc: Any, pgdat: Any, nr_reclaimed: int) -> bool:
    """``should_continue_reclaim()``: whether compaction needs more free pages than there are."""
    if not sc.order or not (sc.order > PAGE_ALLOC_COSTLY_ORDER or sc.priority < DEF_PRIORITY - 2):
        return False
    if not sc.gfp_mask & __GFP_IO or not nr_reclaimed:
        return False
    for i in range(sc.reclaim_idx + 1):
        z = pgdat.node_zones[i]
        if z.managed_pages:
            suitable = compaction_suitable(z, sc.order, 0, sc.reclaim_idx)
            if suitable in (COMPACT_SUCCESS, COMPACT_CONTINUE):
                return False
    return node_page_state(k, pgdat, NR_LRU_BASE + LRU_INACTIVE_FILE) > compact_gap(sc.order)


@jit
def shrink_node(k: Any, sc: Any, pgdat: Any) -> None:
    """``shrink_node()``: one pass over the node's lists and all shrinkers."""
    reclaimable = False
    while True:
        before = sc.nr_reclaimed
        v = priv(k)
        v.reclaimed_slab = 0
        shrink_lruvec(k, sc, pgdat)
        saved = sc.nr_reclaimed
        tell(k, UP_SHRINK_SLAB, sc.gfp_mask, pgdat.node_id, sc.priority, 0)
        sc.nr_reclaimed = saved + v.reclaimed_slab
        v.reclaimed_slab = 0
        if sc.nr_reclaimed > before:
            reclaimable = True
        if not should_continue_reclaim(k, sc, pgdat, sc.nr_reclaimed - before):
            break
    if reclaimable:
        pgdat.kswapd_failures = 0


@jit
def compaction_ready(sc: Any, z: Any) -> bool:
    """``compaction_ready()``: the zone has room enough for compaction; reclaiming more would not help."""
    if not sc.gfp_mask & __GFP_IO:
        return False
    suitable = compaction_suitable(z, sc.order, 0, sc.reclaim_idx)
    if suitable == COMPACT_SUCCESS:
        return True
    if suitable == COMPACT_SKIPPED:
        return False
    mark = z._watermark[WMARK_HIGH] + z.watermark_boost + compact_gap(sc.order)
    return zone_watermark_ok(z, 0, mark, sc.reclaim_idx, 0)


@jit
def shrink_zones(k: Any, sc: Any, lst: Any, nodes: int) -> None:
    """``shrink_zones()``: every node of the zonelist, once."""
    last = -1
    i = next_zones_zonelist(lst, 0, sc.reclaim_idx, nodes)
    while lst._zonerefs[i].zone:
        z = lst._zonerefs[i].zone
        i = next_zones_zonelist(lst, i + 1, sc.reclaim_idx, nodes)
        if sc.order > PAGE_ALLOC_COSTLY_ORDER and compaction_ready(sc, z):
            sc.compaction_ready = 1
            continue
        if z.node == last:
            continue
        last = z.node
        shrink_node(k, sc, z.zone_pgdat)


@jit
def do_try_to_free_pages(k: Any, sc: Any, lst: Any, nodes: int) -> int:
    """``do_try_to_free_pages()``: with more and more force, until enough is free; how many pages."""
    while True:
        count_vm_item(k, ALLOCSTALL + sc.reclaim_idx, 1)
        while True:
            sc.nr_scanned = 0
            shrink_zones(k, sc, lst, nodes)
            if sc.nr_reclaimed >= sc.nr_to_reclaim or sc.compaction_ready:
                break
            sc.priority = sc.priority - 1
            if sc.priority < 0:
                break
        if sc.nr_reclaimed:
            return sc.nr_reclaimed
        if sc.compaction_ready:
            return 1
        if not sc.skipped_deactivate:
            return 0
        sc.priority = DEF_PRIORITY
        sc.force_deactivate = 1
        sc.skipped_deactivate = 0


@jit
def init_scan_control(sc: Any, nr_to_reclaim: int, gfp: int, order: int, reclaim_idx: int, kswapd: int) -> None:
    """A ``struct scan_control`` as a reclaimer starts with it."""
    sc.nr_to_reclaim = nr_to_reclaim
    sc.gfp_mask = gfp
    sc.order = order
    sc.priority = DEF_PRIORITY
    sc.reclaim_idx = reclaim_idx
    sc.may_deactivate = 0
    sc.force_deactivate = 0
    sc.skipped_deactivate = 0
    sc.compaction_ready = 0
    sc.kswapd = kswapd
    sc.nr_scanned = 0
    sc.nr_reclaimed = 0


@jit
def allow_direct_reclaim(pgdat: Any) -> bool:
    """``allow_direct_reclaim()``: the node has half of its reserves, or kswapd has given up."""
    if pgdat.kswapd_failures >= MAX_RECLAIM_RETRIES:
        return True
    reserve = 0
    free = 0
    for i in range(ZONE_NORMAL + 1):
        z = pgdat.node_zones[i]
        if z.managed_pages and zone_reclaimable_pages(z):
            reserve += z._watermark[WMARK_MIN] + z.watermark_boost
            free += z.vm_stat[NR_FREE_PAGES]
    return reserve == 0 or free > reserve // 2


@jit
def throttle_direct_reclaim(k: Any, gfp: int, lst: Any, nodes: int) -> bool:
    """``throttle_direct_reclaim()``: wait while the reserves are low, which is to let kswapd run.

    A request that may not enter file systems waits for a second only, in which nothing happens here.
    """
    if current_flags(k) & PF_KTHREAD or fatal_signal_pending(k):
        return False
    i = next_zones_zonelist(lst, 0, min(gfp_zone(gfp), ZONE_NORMAL), nodes)
    if lst._zonerefs[i].zone:
        pgdat = lst._zonerefs[i].zone.zone_pgdat
        if allow_direct_reclaim(pgdat):
            return False
        count_vm_item(k, PGSCAN_DIRECT_THROTTLE, 1)
        for _ in range(MAX_RECLAIM_RETRIES if gfp & __GFP_FS else 0):
            pgdat.kswapd_highest_zoneidx = min(pgdat.kswapd_highest_zoneidx, ZONE_NORMAL)
            kswapd(k, pgdat)
            if allow_direct_reclaim(pgdat):
                break
        return fatal_signal_pending(k)
    return False


@jit
def try_to_free_pages(k: Any, gfp: int, order: int, node: int, nodes: int) -> int:
    """``try_to_free_pages()``: direct reclaim for a request; how many pages, 1 if it is not to be blamed for none."""
    lst = node_zonelist(k, node, gfp)
    gfp = current_gfp_context(k, gfp)
    if throttle_direct_reclaim(k, gfp, lst, nodes):
        return 1
    sc = priv(k).sc
    init_scan_control(sc, SWAP_CLUSTER_MAX, gfp, order, gfp_zone(gfp), 0)
    return do_try_to_free_pages(k, sc, lst, nodes)


# kswapd


@jit
def pgdat_balanced(pgdat: Any, order: int, highest_zoneidx: int) -> bool:
    """``pgdat_balanced()``: some zone is above its high watermark, with a block of *order*."""
    managed = False
    for i in range(highest_zoneidx + 1):
        z = pgdat.node_zones[i]
        if not z.managed_pages:
            continue
        managed = True
        if zone_watermark_ok(z, order, z._watermark[WMARK_HIGH] + z.watermark_boost, highest_zoneidx, 0):
            return True
    return not managed


@jit
def pgdat_boost(pgdat: Any, highest_zoneidx: int) -> int:
    """The sum of ``watermark_boost`` of the node's zones up to *highest_zoneidx*."""
    n = 0
    for i in range(highest_zoneidx + 1):
        z = pgdat.node_zones[i]
        if z.managed_pages:
            n += z.watermark_boost
    return n


@jit
def wakeup_kswapd(k: Any, z: Any, order: int, highest_zoneidx: int) -> None:
    """``wakeup_kswapd()``: note what is wanted of the node's kswapd, and that it is owed a run."""
    pgdat = z.zone_pgdat
    if not z.managed_pages:
        return
    if pgdat.kswapd_highest_zoneidx >= MAX_NR_ZONES or pgdat.kswapd_highest_zoneidx < highest_zoneidx:
        pgdat.kswapd_highest_zoneidx = highest_zoneidx
    pgdat.kswapd_order = max(pgdat.kswapd_order, order)
    if pgdat.kswapd_failures >= MAX_RECLAIM_RETRIES:
        return
    if pgdat_balanced(pgdat, order, highest_zoneidx) and not pgdat_boost(pgdat, highest_zoneidx):
        return
    k.kswapd_wake = k.kswapd_wake | (1 << pgdat.node_id)


@jit
def kswapd_shrink_node(k: Any, sc: Any, pgdat: Any) -> bool:
    """``kswapd_shrink_node()``: one pass; whether it scanned as much as the watermarks ask for."""
    sc.nr_to_reclaim = 0
    for i in range(sc.reclaim_idx + 1):
        z = pgdat.node_zones[i]
        if z.managed_pages:
            sc.nr_to_reclaim = sc.nr_to_reclaim + max(z._watermark[WMARK_HIGH] + z.watermark_boost, SWAP_CLUSTER_MAX)
    shrink_node(k, sc, pgdat)
    if sc.order and sc.nr_reclaimed >= compact_gap(sc.order):
        sc.order = 0
    return sc.nr_scanned >= sc.nr_to_reclaim


@jit
def balance_pgdat(k: Any, pgdat: Any, order: int, highest_zoneidx: int) -> int:
    """``balance_pgdat()``: reclaim until a zone is above its high watermark; the order that it ended with.

    A boosted watermark, which says that page blocks were mixed, is paid off by at most as much reclaim.
    """
    sc = priv(k).sc
    init_scan_control(sc, 0, GFP_KERNEL, order, highest_zoneidx, 1)
    count_vm_item(k, PAGEOUTRUN, 1)
    boosted = pgdat_boost(pgdat, highest_zoneidx)
    nr_boost_reclaim = boosted
    while sc.priority >= 1:
        before = sc.nr_reclaimed
        raise_priority = True
        balanced = pgdat_balanced(pgdat, sc.order, highest_zoneidx)
        if not balanced and nr_boost_reclaim:
            nr_boost_reclaim = 0
            sc.priority = DEF_PRIORITY
            continue
        if not nr_boost_reclaim and balanced:
            break
        if nr_boost_reclaim and sc.priority == DEF_PRIORITY - 2:
            raise_priority = False
        sc.nr_scanned = 0
        if kswapd_shrink_node(k, sc, pgdat):
            raise_priority = False
        got = sc.nr_reclaimed - before
        nr_boost_reclaim -= min(nr_boost_reclaim, got)
        if nr_boost_reclaim and not got:
            sc.priority = 0
        elif raise_priority or not got:
            sc.priority = sc.priority - 1
    if sc.priority < 1 and not sc.nr_reclaimed:
        pgdat.kswapd_failures = pgdat.kswapd_failures + 1
    if boosted:
        for i in range(highest_zoneidx + 1):
            pgdat.node_zones[i].watermark_boost = 0
    return sc.order


@jit
def kswapd(k: Any, pgdat: Any) -> None:
    """``kswapd()``: from its wake-up to its sleep, as the running task."""
    order: int = pgdat.kswapd_order
    highest_zoneidx: int = pgdat.kswapd_highest_zoneidx
    if highest_zoneidx >= MAX_NR_ZONES:
        highest_zoneidx = MAX_NR_ZONES - 1
    pgdat.kswapd_order = 0
    pgdat.kswapd_highest_zoneidx = MAX_NR_ZONES
    flags = current_flags(k)
    set_current_flags(k, flags | PF_MEMALLOC | PF_KSWAPD)
    for _ in range(KSWAPD_ROUNDS):
        reclaim_order = balance_pgdat(k, pgdat, order, highest_zoneidx)
        if pgdat.kswapd_failures >= MAX_RECLAIM_RETRIES or pgdat_balanced(pgdat, reclaim_order, highest_zoneidx):
            reset_isolation_suitable(k, pgdat)
            break
        order = 0
    set_current_flags(k, flags)


@jit
def run_kswapds(k: Any, gfp: int) -> None:
    """Let the kswapds that are owed a run have it, if this request could be preempted and holds no lock of a file
    system.
    """
    wanted = __GFP_DIRECT_RECLAIM | __GFP_IO | __GFP_FS
    if priv(k).context or in_interrupt(k) or gfp & wanted != wanted or current_flags(k) & PF_MEMALLOC:
        return
    wake: int = k.kswapd_wake
    k.kswapd_wake = 0
    for node in range(k.nr_node_ids):
        if wake >> node & 1:
            kswapd(k, k.node_data[node])


@jit
def wake_all_kswapds(k: Any, gfp: int, order: int, node: int, nodes: int) -> None:
    """``wake_all_kswapds()``: those of all nodes that the request may use."""
    zoneidx = gfp_zone(gfp)
    lst = node_zonelist(k, node, gfp)
    last = -1
    i = next_zones_zonelist(lst, 0, zoneidx, nodes)
    while lst._zonerefs[i].zone:
        z = lst._zonerefs[i].zone
        i = next_zones_zonelist(lst, i + 1, zoneidx, nodes)
        if z.node != last:
            wakeup_kswapd(k, z, order, zoneidx)
        last = z.node
