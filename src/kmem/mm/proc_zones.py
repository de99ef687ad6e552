"""/proc/buddyinfo, /proc/pagetypeinfo and /proc/zoneinfo (mm/vmstat.c, 6.1).

Not in the model, and so 0: contiguous memory (``cma``), interleaving between nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kmem.abi.release import release
from kmem.mm.mm_types import page
from kmem.mm.mmzone import (
    MAX_NR_ZONES,
    MAX_ORDER,
    MIGRATE_TYPES,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    WMARK_MIN,
)
from kmem.mm.vmstat import (
    high_wmark_pages,
    items,
    low_wmark_pages,
    names,
    node_stat,
    nodes,
    per_cpu_ptr,
)

if TYPE_CHECKING:
    from kmem.mm.api import Mm
    from kmem.mm.view import View

MAX_RECLAIM_RETRIES = 16
WMARK_PROMO = 3
_LIST_LIMIT = 100_000
"""No free list is counted beyond; ``>`` tells that it is longer."""


def _populated(pgdat: Any) -> Iterator[Any]:
    """``walk_zones_in_node(…, assert_populated = true)``."""
    for index in range(MAX_NR_ZONES):
        z = pgdat.node_zones[index]
        if z.present_pages:
            yield z


def buddyinfo(mm: Mm) -> str:
    """/proc/buddyinfo: free blocks by order."""
    lines = []
    for pgdat in nodes(mm.view):
        for z in _populated(pgdat):
            counts = "".join(f"{z.free_area[order].nr_free:6} " for order in range(MAX_ORDER))
            lines.append(f"Node {pgdat.node_id}, zone {mm.view.string(z.name):>8} {counts}\n")
    return "".join(lines)


def _length(view: View, head: Any) -> str:
    """How many blocks a free list has, counted as the kernel does."""
    count = 0
    for _ in view.list(head, page, "lru"):
        count += 1
        if count >= _LIST_LIMIT:
            return f">{count:6} "
    return f"{count:6} "


def _free_by_type(mm: Mm, pgdat: Any, types: tuple[str, ...]) -> Iterator[str]:
    view = mm.view
    orders = "".join(f"{order:6} " for order in range(MAX_ORDER))
    yield f"{'Free pages count per migrate type at order':<43} {orders}\n"
    for z in _populated(pgdat):
        for mtype in range(MIGRATE_TYPES):
            counts = "".join(_length(view, z.free_area[order].free_list[mtype]) for order in range(MAX_ORDER))
            yield f"Node {pgdat.node_id:4}, zone {view.string(z.name):>8}, type {types[mtype]:>12} {counts}\n"


def _block_counts(mm: Mm, z: Any) -> list[int]:
    """Page blocks of a zone by type. They are 4 bits each, 16 to a word (:mod:`kmem.mm.mmzone`)."""
    blocks = int(mm.view.kdata.pageblock_flags)
    counts = [0] * MIGRATE_TYPES
    first, last = int(z.zone_start_pfn), int(z.zone_start_pfn + z.spanned_pages)
    at = mm.ram.offset("direct", blocks, 1, False)
    for pfn in range(first, last, PAGEBLOCK_NR_PAGES):
        block = pfn >> PAGEBLOCK_ORDER
        mtype = mm.ram.whole[at + block // 2] >> (4 * (block & 1)) & 7
        if mtype < MIGRATE_TYPES:
            counts[mtype] += 1
    return counts


def pagetypeinfo(mm: Mm) -> str:
    """/proc/pagetypeinfo: free blocks by migrate type and order, page blocks by migrate type."""
    types = release(mm.config.release).migratetypes
    lines = []
    for pgdat in nodes(mm.view):
        lines.append(f"Page block order: {PAGEBLOCK_ORDER}\nPages per block:  {PAGEBLOCK_NR_PAGES}\n\n")
        lines += _free_by_type(mm, pgdat, types)
        lines.append(f"\n{'Number of blocks type ':<23}" + "".join(f"{name:>12} " for name in types) + "\n")
        for z in _populated(pgdat):
            counts = "".join(f"{count:12} " for count in _block_counts(mm, z))
            lines.append(f"Node {pgdat.node_id}, zone {mm.view.string(z.name):>8} {counts}\n")
    return "".join(lines)


def _pagesets(view: View, z: Any) -> Iterator[str]:
    yield "  pagesets"
    for cpu in range(view.kdata.nr_cpu_ids):
        pcp = per_cpu_ptr(view, z.per_cpu_pageset, cpu)
        yield f"    cpu: {cpu}"
        yield f"              count: {pcp.count}"
        yield f"              high:  {pcp.high}"
        yield f"              batch: {pcp.batch}"
        yield f"  vm stats threshold: {per_cpu_ptr(view, z.per_cpu_zonestats, cpu).stat_threshold}"


def _zone(mm: Mm, pgdat: Any, z: Any, first: bool) -> Iterator[str]:
    view, name = mm.view, mm.config.release
    yield f"Node {pgdat.node_id}, zone {view.string(z.name):>8}"
    if first:
        yield "  per-node stats"
        for item, label in zip(items(name, "node_stat_item"), names(name, "node_stat_item"), strict=True):
            yield f"      {label:<12} {node_stat(mm, item, pgdat)}"
    zone_stats = [max(int(z.vm_stat[i]), 0) for i in range(len(items(name, "zone_stat_item")))]
    yield f"  pages free     {zone_stats[0]}"
    yield f"        boost    {z.watermark_boost}"
    yield f"        min      {z._watermark[WMARK_MIN] + z.watermark_boost}"
    yield f"        low      {low_wmark_pages(z)}"
    yield f"        high     {high_wmark_pages(z)}"
    if "zoneinfo-promo" in release(name).features:
        yield f"        promo    {z._watermark[WMARK_PROMO] + z.watermark_boost}"
    yield f"        spanned  {z.spanned_pages}"
    yield f"        present  {z.present_pages}"
    yield f"        managed  {z.managed_pages}"
    yield "        cma      0"
    yield f"        protection: ({', '.join(str(z.lowmem_reserve[i]) for i in range(MAX_NR_ZONES))})"
    if not z.present_pages:
        return
    for label, value in zip(names(name, "zone_stat_item"), zone_stats, strict=True):
        yield f"      {label:<12} {value}"
    for i, label in enumerate(names(name, "numa_stat_item")):
        yield f"      {label:<12} {z.vm_numa_event[i]}"
    yield from _pagesets(view, z)
    yield f"  node_unreclaimable:  {int(pgdat.kswapd_failures >= MAX_RECLAIM_RETRIES)}"
    yield f"  start_pfn:           {z.zone_start_pfn}"


def zoneinfo(mm: Mm) -> str:
    """/proc/zoneinfo: every zone of every node; the node's counters are with its first zone that has pages."""
    lines: list[str] = []
    for pgdat in nodes(mm.view):
        first = next(_populated(pgdat), None)
        for index in range(MAX_NR_ZONES):
            z = pgdat.node_zones[index]
            lines += _zone(mm, pgdat, z, z == first)
    return "".join(f"{line}\n" for line in lines)
