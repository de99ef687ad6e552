"""From firmware's memory map to a running page allocator (mm/mm_init.c, mm/memblock.c, arch/x86/mm/init_64.c; 6.1).

Python (:mod:`kmem.mm.boot`) decides where things lie and calls these entries in order: page tables, struct pages,
zones, lists, free memory, watermarks.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import address, entry, fill, jit, ptr, store64
from kmem.lib.list import INIT_LIST_HEAD
from kmem.mm.features import PCP_HIGH_AUTO
from kmem.mm.mm_types import page, per_cpu_pages, pglist_data, zone
from kmem.mm.mmzone import (
    LAST_CPUPID,
    MAX_NR_ZONES,
    MAX_ORDER,
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    NODES_PGSHIFT,
    PAGEBLOCK_NR_PAGES,
    PG_RESERVED,
    ZONE_DEVICE,
    ZONES_PGSHIFT,
    kernel,
    page_to_virt,
    page_zone,
    pfn_to_page,
    phys_to_virt,
    set_pageblock_migratetype,
)
from kmem.mm.page_free import NR_PCP_LISTS, cpu_pages, free_pages_ok
from kmem.mm.percpu import pcpu_alloc
from kmem.mm.pgtable import KERNPG_TABLE, PSE, entry_at

WATERMARK_SCALE = 10000
MIN_PERCPU_PAGELIST_HIGH_FRACTION = 8


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
    """``memmap_init_range()``: the struct pages of a range; its page blocks become movable."""
    k = kernel(ram)
    for pfn in range(start_pfn, end_pfn):
        init_reserved_page(k, pfn, zone_index, node)
    block = start_pfn & ~(PAGEBLOCK_NR_PAGES - 1)
    while block < end_pfn:
        set_pageblock_migratetype(k, block, MIGRATE_MOVABLE)
        block += PAGEBLOCK_NR_PAGES
    return 0


@entry
def k_init_zone(ram: Any, pgdat: int, index: int, start_pfn: int, spanned: int, present: int, name: int) -> int:
    """``free_area_init_core()`` for one zone; without pages it stays empty."""
    k = kernel(ram)
    node = ptr(pglist_data, pgdat, k)
    z = node.node_zones[index]
    z.node = node.node_id
    z.zone_pgdat = node
    z.zone_start_pfn = start_pfn
    z.spanned_pages = spanned
    z.present_pages = present
    z.name = name
    z.initialized = 1
    for order in range(MAX_ORDER):
        area = z.free_area[order]
        for mt in range(MIGRATE_TYPES):
            INIT_LIST_HEAD(area.free_list[mt])
    return 0


@entry
def k_build_zonelists(ram: Any, node: int) -> int:
    """``build_zonelists()``: this node's zones from the highest down, then the other nodes'; and the list for
    __GFP_THISNODE.
    """
    k = kernel(ram)
    mine = k.node_data[node]
    for which in range(2):
        lst = mine.node_zonelists[which]
        n = 0
        for i in range(1 if which else k.nr_node_ids):
            other = k.node_data[(node + i) % k.nr_node_ids]
            index = MAX_NR_ZONES - 1
            while index >= 0:
                z = other.node_zones[index]
                if z.managed_pages:
                    lst._zonerefs[n].zone = z
                    lst._zonerefs[n].zone_idx = index
                    n += 1
                index -= 1
        lst._zonerefs[n].zone = ptr(zone, 0, k)
        lst._zonerefs[n].zone_idx = 0
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


@entry
def k_setup_watermarks(ram: Any) -> int:
    """``init_per_zone_wmark_min()``: min_free_kbytes, watermarks, and what lower zones keep from requests that could
    go higher.
    """
    k = kernel(ram)
    kbytes = int_sqrt(k.totalram_pages * 4 * 16)
    k.min_free_kbytes = max(128, min(kbytes, 262144)) if k.user_min_free_kbytes < 0 else k.user_min_free_kbytes
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
    for node in range(k.nr_node_ids):
        for low in range(MAX_NR_ZONES - 1):
            z = k.node_data[node].node_zones[low]
            ratio = 256 if low < 2 else 32
            above = 0
            for high in range(low + 1, MAX_NR_ZONES):
                above += k.node_data[node].node_zones[high].managed_pages
                z.lowmem_reserve[high] = above // ratio if z.managed_pages and high < ZONE_DEVICE + 1 else 0
    return 0


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
    """``setup_per_cpu_pageset()``: per-cpu page lists for every zone with pages."""
    k = kernel(ram)
    for node in range(k.nr_node_ids):
        for index in range(MAX_NR_ZONES):
            z = k.node_data[node].node_zones[index]
            if not z.managed_pages:
                continue
            z.per_cpu_pageset = ptr(per_cpu_pages, pcpu_alloc(k, 256, 64), k)
            batch = max(zone_batchsize(z.managed_pages), 1)
            high = max(z._watermark[1] // k.nr_cpu_ids, batch << 2)
            z.pageset_batch = batch
            most = high
            if PCP_HIGH_AUTO:
                most = max(z.managed_pages // MIN_PERCPU_PAGELIST_HIGH_FRACTION // k.nr_cpu_ids, batch << 2)
                z.pageset_high_min = high
                z.pageset_high_max = most
            else:
                z.pageset_high = high
            for cpu in range(k.nr_cpu_ids):
                init_pageset(cpu_pages(k, z, cpu), high, most, batch)
    return 0


@jit
def init_pageset(pcp: Any, high: int, most: int, batch: int) -> None:
    """``per_cpu_pages_init()`` and ``pageset_update()``."""
    for i in range(NR_PCP_LISTS):
        INIT_LIST_HEAD(pcp.lists[i])
    pcp.batch = batch
    pcp.high = high
    if PCP_HIGH_AUTO:
        pcp.high = 0
        pcp.high_min = high
        pcp.high_max = most
    pcp.count = 0


@entry
def k_page_address(ram: Any, p: int) -> int:
    """``page_address()``."""
    k = kernel(ram)
    return page_to_virt(ptr(page, p, k))
