"""From firmware's memory map to a running page allocator (mm/mm_init.c, mm/memblock.c, arch/x86/mm/init_64.c; 6.1).

Python (:mod:`kmem.mm.boot`) decides where things lie and calls these entries in order: page tables, struct pages,
zones, lists, free memory, watermarks.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import address, entry, fill, fls64, jit, load32, ptr, sizeof, store64
from kmem.lib.list import INIT_LIST_HEAD
from kmem.mm.compaction import init_compaction
from kmem.mm.features import PCP_HIGH_AUTO
from kmem.mm.mm_inline import lruvec_init
from kmem.mm.mm_types import page, per_cpu_nodestat, per_cpu_pages, per_cpu_zonestat, pglist_data, zone
from kmem.mm.mmzone import (
    LAST_CPUPID,
    MAX_NR_ZONES,
    MAX_ORDER,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
    NODES_PGSHIFT,
    NR_FREE_PAGES,
    PAGE_SHIFT,
    PAGEBLOCK_NR_PAGES,
    PG_RESERVED,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_DEVICE,
    ZONE_NORMAL,
    ZONES_PGSHIFT,
    count_vm_events,
    kernel,
    mod_zone_page_state,
    node_distance,
    page_to_virt,
    page_zone,
    pfn_to_page,
    phys_to_virt,
    set_pageblock_migratetype,
)
from kmem.mm.page_free import NR_PCP_LISTS, cpu_pages, free_one_block, free_pages_ok
from kmem.mm.percpu import pcpu_alloc
from kmem.mm.pgtable import KERNPG_TABLE, PSE, entry_at
from kmem.mm.vm_events import EV_PGFREE

WATERMARK_SCALE = 10000
MIN_PERCPU_PAGELIST_HIGH_FRACTION = 8
SMALLEST_WITH_THP = 512 << (20 - PAGE_SHIFT)
MAX_NUMNODES = 1024


@entry
def k_map_table(ram: Any, table: int, addr: int, level: int, below: int) -> int:
    """Make the entry for *addr* in the table at physical *table* (of *level*) point to the table at physical
    *below*.
    """
    k = kernel(ram)
    store64(k, entry_at(phys_to_virt(table), addr, level), below | KERNPG_TABLE)
    return 0


@entry
def k_map_2m(ram: Any, table: int, addr: int, phys: int, count: int, prot: int) -> int:
    """Map *count* pages of 2 MiB from physical *phys* at *addr* by the PMD table at physical *table*."""
    k = kernel(ram)
    for i in range(count):
        store64(k, entry_at(phys_to_virt(table), addr, 1) + 8 * i, (phys + (i << 21)) | prot | PSE)
    return 0


@jit
def init_reserved_page(k: Any, pfn: int, zone_index: int, node: int) -> None:
    """``__init_single_page()``, and PageReserved: nobody's until it is freed."""
    p = pfn_to_page(k, pfn)
    fill(k, address(p), 0, 64)
    p.flags = LAST_CPUPID | (zone_index << ZONES_PGSHIFT) | (node << NODES_PGSHIFT) | (1 << PG_RESERVED)
    p._refcount = 1
    p._mapcount = -1
    INIT_LIST_HEAD(p.lru)


@entry
def k_memmap_init(ram: Any, start_pfn: int, end_pfn: int, zone_index: int, node: int) -> int:
    """``memmap_init_range()`` and ``init_unavailable_range()``: the struct pages of a range, reserved."""
    k = kernel(ram)
    for pfn in range(start_pfn, end_pfn):
        init_reserved_page(k, pfn, zone_index, node)
    return 0


@entry
def k_memmap_init_blocks(ram: Any, start_pfn: int, end_pfn: int) -> int:
    """``memmap_init_range()``: the page blocks of a range become movable."""
    k = kernel(ram)
    block = start_pfn & ~(PAGEBLOCK_NR_PAGES - 1)
    while block < end_pfn:
        set_pageblock_migratetype(k, block, MIGRATE_MOVABLE)
        block += PAGEBLOCK_NR_PAGES
    return 0


@jit
def init_node(k: Any, node: Any) -> None:
    """``pgdat_init_internals()``: lists for user pages and files, and a kswapd that sleeps."""
    lruvec_init(node)
    node.kswapd_order = 0
    node.kswapd_highest_zoneidx = MAX_NR_ZONES
    if node.node_id == 0:
        INIT_LIST_HEAD(k.tasks)
        INIT_LIST_HEAD(k.isolated)
        INIT_LIST_HEAD(k.freed)
        INIT_LIST_HEAD(k.migratepages)
        INIT_LIST_HEAD(k.freepages)


@entry
def k_init_zone(ram: Any, pgdat: int, index: int, start_pfn: int, spanned: int, present: int, name: int) -> int:
    """``free_area_init_core()`` for one zone; without pages it stays empty."""
    k = kernel(ram)
    node = ptr(pglist_data, pgdat, k)
    node.first_deferred_pfn = -1
    z = node.node_zones[index]
    z.node = node.node_id
    z.zone_pgdat = node
    z.zone_start_pfn = start_pfn
    z.spanned_pages = spanned
    z.present_pages = present
    z.present_early_pages = present
    if present:
        node.nr_zones = index + 1
    z.name = name
    z.initialized = 1
    if index == 0:
        init_node(k, node)
    if spanned:
        init_compaction(z)
    for order in range(MAX_ORDER):
        area = z.free_area[order]
        for mt in range(MIGRATE_TYPES):
            INIT_LIST_HEAD(area.free_list[mt])
    return 0


@jit
def find_next_best_node(k: Any, node: int, used: int) -> int:
    """``find_next_best_node()``: itself, then the nearest that is not in the mask *used*, of these rather one above
    and one that few others prefer; -1 if all are used.

    No CPU is on a node's mask yet when the kernel asks, so that none is avoided for having CPUs.
    """
    if not used >> node & 1:
        return node
    best, least = -1, 0
    for n in range(k.nr_node_ids):
        value = (node_distance(k, node, n) + (1 if n < node else 0)) * MAX_NUMNODES + k.node_load[n]
        if not used >> n & 1 and (best < 0 or value < least):
            best, least = n, value
    return best


@jit
def build_zonerefs_node(k: Any, lst: Any, at: int, node: int) -> int:
    """``build_zonerefs_node()``: put the zones of *node* from the highest down into the list at place *at*; where the
    next one goes.
    """
    index = MAX_NR_ZONES - 1
    while index >= 0:
        z = k.node_data[node].node_zones[index]
        if z.present_pages:
            lst._zonerefs[at].zone = z
            lst._zonerefs[at].zone_idx = index
            at += 1
        index -= 1
    lst._zonerefs[at].zone = ptr(zone, 0, k)
    lst._zonerefs[at].zone_idx = 0
    return at


@entry
def k_build_zonelists(ram: Any, node: int) -> int:
    """``build_zonelists()``: this node's zones, then those of the others by distance; and the list for
    __GFP_THISNODE.
    """
    k = kernel(ram)
    used = 0
    at = 0
    before = node
    other = node
    while other >= 0:
        if node_distance(k, node, other) != node_distance(k, node, before):
            k.node_load[other] = k.node_load[other] + 1
        at = build_zonerefs_node(k, k.node_data[node].node_zonelists[0], at, other)
        used |= 1 << other
        before = other
        other = find_next_best_node(k, node, used)
    build_zonerefs_node(k, k.node_data[node].node_zonelists[1], 0, node)
    return 0


@jit
def free_block_at_boot(k: Any, pfn: int, order: int) -> None:
    """``__free_pages_core()``: a block that memblock had becomes the page allocator's, at the tail of its list."""
    for i in range(1 << order):
        p = pfn_to_page(k, pfn + i)
        p.flags = p.flags & ~(1 << PG_RESERVED)
        p._refcount = 0
    z = page_zone(k, pfn_to_page(k, pfn))
    z.managed_pages = z.managed_pages + (1 << order)
    k.totalram_pages = k.totalram_pages + (1 << order)
    free_pages_ok(k, pfn_to_page(k, pfn), order, True)


@entry
def k_memblock_free_range(ram: Any, start_pfn: int, end_pfn: int) -> int:
    """``__free_memory_core()``: free [start, end) in the largest aligned blocks."""
    k = kernel(ram)
    pfn = start_pfn
    while pfn < end_pfn:
        order = MAX_ORDER - 1
        while order > 0 and (pfn & ((1 << order) - 1) or pfn + (1 << order) > end_pfn):
            order -= 1
        free_block_at_boot(k, pfn, order)
        pfn += 1 << order
    return 0


@entry
def k_memblock_free_untouched(ram: Any, start_pfn: int, end_pfn: int, zone_index: int, node: int) -> int:
    """As :func:`k_memblock_free_range` for blocks of the largest order only, of whose pages just the first has its
    struct page made (:func:`kmem.mm.page_free.init_free_block` makes the others).
    """
    k = kernel(ram)
    n = 1 << (MAX_ORDER - 1)
    z = k.node_data[node].node_zones[zone_index]
    for pfn in range(start_pfn, end_pfn, n):
        init_reserved_page(k, pfn, zone_index, node)
        p = pfn_to_page(k, pfn)
        p.flags = p.flags & ~(1 << PG_RESERVED)
        p._refcount = 0
        free_one_block(k, z, pfn, MAX_ORDER - 1, MIGRATE_MOVABLE, True)
    z.managed_pages = z.managed_pages + end_pfn - start_pfn
    k.totalram_pages = k.totalram_pages + end_pfn - start_pfn
    count_vm_events(k, EV_PGFREE, end_pfn - start_pfn)
    return 0


@entry
def k_memblock_defer(ram: Any, start_pfn: int, end_pfn: int, node: int) -> int:
    """Count blocks of the largest order of a node's ZONE_NORMAL as free, to be linked when they are needed
    (:func:`kmem.mm.page_free.grow_deferred`).
    """
    k = kernel(ram)
    n = end_pfn - start_pfn
    z = k.node_data[node].node_zones[ZONE_NORMAL]
    k.node_data[node].first_deferred_pfn = start_pfn
    k.deferred_end[node] = end_pfn
    area = z.free_area[MAX_ORDER - 1]
    area.nr_free = area.nr_free + (n >> (MAX_ORDER - 1))
    z.managed_pages = z.managed_pages + n
    k.totalram_pages = k.totalram_pages + n
    mod_zone_page_state(z, NR_FREE_PAGES, n)
    count_vm_events(k, EV_PGFREE, n)
    return 0


@jit
def int_sqrt(x: int) -> int:
    """``int_sqrt()`` (lib/math/int_sqrt.c)."""
    root = 0
    bit = 1 << 40
    while bit > x:
        bit >>= 2
    while bit:
        if x >= root + bit:
            x -= root + bit
            root = (root >> 1) + bit
        else:
            root >>= 1
        bit >>= 2
    return root


@jit
def setup_per_zone_wmarks(k: Any) -> None:
    """``setup_per_zone_wmarks()``: each zone's share of min_free_kbytes, and the steps above it."""
    pages_min = k.min_free_kbytes >> 2
    for node in range(k.nr_node_ids):
        for index in range(MAX_NR_ZONES):
            z = k.node_data[node].node_zones[index]
            if not z.managed_pages:
                continue
            least = pages_min * z.managed_pages // k.totalram_pages
            step = max(least >> 2, z.managed_pages * k.watermark_scale_factor // WATERMARK_SCALE)
            for i in range(4):
                z._watermark[i] = least + i * step
            z.watermark_boost = 0
            if z.per_cpu_pageset:
                set_pageset_high(k, z)
    calculate_totalreserve_pages(k)


@entry
def k_setup_watermarks(ram: Any) -> int:
    """``init_per_zone_wmark_min()``: min_free_kbytes, watermarks, and what lower zones keep from requests that could
    go higher.
    """
    k = kernel(ram)
    kbytes = int_sqrt(k.totalram_pages * 4 * 16)
    k.min_free_kbytes = max(128, min(kbytes, 262144)) if k.user_min_free_kbytes < 0 else k.user_min_free_kbytes
    for node in range(k.nr_node_ids):
        for low in range(MAX_NR_ZONES - 1):
            z = k.node_data[node].node_zones[low]
            ratio = 256 if low < 2 else 32
            above = 0
            for high in range(low + 1, MAX_NR_ZONES):
                above += k.node_data[node].node_zones[high].managed_pages
                z.lowmem_reserve[high] = above // ratio if z.managed_pages and high < ZONE_DEVICE + 1 else 0
    setup_per_zone_wmarks(k)
    return 0


@entry
def k_start_khugepaged(ram: Any) -> int:
    """``set_recommended_min_free_kbytes()`` (mm/khugepaged.c): more is kept free, so that blocks of one type stay
    whole. Machines below 512 MiB have no transparent huge pages and skip it; a sysctl has the last word.
    """
    k = kernel(ram)
    if k.totalram_pages < SMALLEST_WITH_THP or k.user_min_free_kbytes >= 0:
        return 0
    zones = 0
    free = 0
    for node in range(k.nr_node_ids):
        for index in range(ZONE_NORMAL + 1):
            z = k.node_data[node].node_zones[index]
            if z.present_pages:
                zones += 1
                free += max(z.managed_pages - z._watermark[WMARK_HIGH], 0)
    least = PAGEBLOCK_NR_PAGES * zones * (2 + MIGRATE_PCPTYPES * MIGRATE_PCPTYPES)
    kbytes = min(least, free // 20) << (PAGE_SHIFT - 10)
    if kbytes > k.min_free_kbytes:
        k.min_free_kbytes = kbytes
    setup_per_zone_wmarks(k)
    return 0


@jit
def calculate_totalreserve_pages(k: Any) -> None:
    """``calculate_totalreserve_pages()``: what zones keep back from requests that could go higher, and by
    watermark.
    """
    total = 0
    for node in range(k.nr_node_ids):
        pgdat = k.node_data[node]
        mine = 0
        for index in range(MAX_NR_ZONES):
            z = pgdat.node_zones[index]
            most = 0
            for high in range(index, MAX_NR_ZONES):
                most = max(most, z.lowmem_reserve[high])
            mine += min(most + z._watermark[WMARK_HIGH] + z.watermark_boost, z.managed_pages)
        pgdat.totalreserve_pages = mine
        total += mine
    k.totalreserve_pages = total


@jit
def calculate_normal_threshold(k: Any, z: Any) -> int:
    """``int calculate_normal_threshold(struct zone *zone)``: how far the counts of a CPU may differ from the sum."""
    return min(125, 2 * fls64(k.nr_cpu_ids) * (1 + fls64(z.managed_pages >> (27 - PAGE_SHIFT))))


@jit
def refresh_zone_stat_thresholds(k: Any, z: Any) -> None:
    """``refresh_zone_stat_thresholds()`` for one zone. The model counts at once; nothing ever waits below it."""
    threshold = calculate_normal_threshold(k, z)
    for cpu in range(k.nr_cpu_ids):
        offset = k.__per_cpu_offset[cpu]
        ptr(per_cpu_zonestat, address(z.per_cpu_zonestats) + offset, k).stat_threshold = threshold
        of_node = ptr(per_cpu_nodestat, address(z.zone_pgdat.per_cpu_nodestats) + offset, k)
        of_node.stat_threshold = max(of_node.stat_threshold, threshold)
    drift = k.nr_cpu_ids * threshold
    if drift > z._watermark[WMARK_LOW] - z._watermark[WMARK_MIN]:
        z.percpu_drift_mark = z._watermark[WMARK_HIGH] + drift


@jit
def nr_cpus_node(k: Any, node: int) -> int:
    """``nr_cpus_node(node)``."""
    n = 0
    for cpu in range(k.nr_cpu_ids):
        if load32(k, k.__per_cpu_offset[cpu] + k.numa_node_offset) == node:
            n += 1
    return n


@jit
def zone_batchsize(managed: int) -> int:
    """``zone_batchsize()``: how many pages move between a zone and a CPU's list at once."""
    batch = max(min(managed >> 10, 256) // 4, 1)
    grown = batch + batch // 2
    power = 1
    while power * 2 <= grown:
        power *= 2
    return power - 1


@entry
def k_setup_per_cpu_pageset(ram: Any) -> int:
    """``setup_per_cpu_pageset()``: per-cpu page lists and counters for every zone with pages."""
    k = kernel(ram)
    for node in range(k.nr_node_ids):
        pgdat = k.node_data[node]
        pgdat.per_cpu_nodestats = ptr(per_cpu_nodestat, pcpu_alloc(k, sizeof(per_cpu_nodestat), 8), k)
        for index in range(MAX_NR_ZONES):
            z = pgdat.node_zones[index]
            if not z.present_pages:
                continue
            z.per_cpu_zonestats = ptr(per_cpu_zonestat, pcpu_alloc(k, sizeof(per_cpu_zonestat), 8), k)
            refresh_zone_stat_thresholds(k, z)
            z.per_cpu_pageset = ptr(per_cpu_pages, pcpu_alloc(k, sizeof(per_cpu_pages), 64), k)
            z.pageset_batch = max(zone_batchsize(z.managed_pages), 1)
            for cpu in range(k.nr_cpu_ids):
                init_pageset(cpu_pages(k, z, cpu), z.pageset_batch)
            set_pageset_high(k, z)
    return 0


@jit
def set_pageset_high(k: Any, z: Any) -> None:
    """``zone_highsize()`` and ``zone_pcp_update()``: the CPUs of the node share what lies below the low watermark."""
    sharing = nr_cpus_node(k, z.node)
    if not sharing:
        sharing = k.nr_cpu_ids
    least = z.pageset_batch << 2
    high = max(z._watermark[WMARK_LOW] // sharing, least)
    most = max(z.managed_pages // MIN_PERCPU_PAGELIST_HIGH_FRACTION // sharing, least)
    if PCP_HIGH_AUTO:
        z.pageset_high_min = high
        z.pageset_high_max = most
    else:
        z.pageset_high = high
    for cpu in range(k.nr_cpu_ids):
        pcp = cpu_pages(k, z, cpu)
        if PCP_HIGH_AUTO:
            pcp.high_min = high
            pcp.high_max = most
        else:
            pcp.high = high


@jit
def init_pageset(pcp: Any, batch: int) -> None:
    """``per_cpu_pages_init()``."""
    for i in range(NR_PCP_LISTS):
        INIT_LIST_HEAD(pcp.lists[i])
    pcp.batch = batch
    pcp.count = 0


@entry
def k_page_address(ram: Any, p: int) -> int:
    """``page_address()``."""
    k = kernel(ram)
    return page_to_virt(ptr(page, p, k))
