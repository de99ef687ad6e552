"""Counters of pages and events, and /proc/vmstat (mm/vmstat.c, and the sums over them of mm/page_alloc.c; 6.1).

The kernel adds up per-cpu differences now and then; the model counts at once, for the zone or node and for the whole
machine, so every figure is current and no CPU ever holds a difference.

Simplified: what the model has no notion of stays 0, as on a kernel where it never happened: writeback, swap, huge
pages, interleaving between nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from kmem.abi.flags import vmstat_names
from kmem.abi.layout import enums
from kmem.abi.release import release
from kmem.mm.mmzone import (
    MAX_NR_ZONES,
    NR_FREE_PAGES,
    PAGE_SIZE,
    WMARK_HIGH,
    WMARK_LOW,
)
from kmem.mm.vm_events import EV_PGALLOC, EV_PGFAULT, EV_PGFREE

if TYPE_CHECKING:
    from kmem.mm.api import Mm
    from kmem.mm.view import View

HPAGE_PMD_NR = 512
VM_DIRTY_RATIO, DIRTY_BACKGROUND_RATIO = 20, 10
"""Defaults of the sysctls of these names, in per cent."""

_IN_HUGE_PAGES = frozenset({"NR_ANON_THPS", "NR_FILE_THPS", "NR_SHMEM_THPS", "NR_SHMEM_PMDMAPPED", "NR_FILE_PMDMAPPED"})

_ENUM_ENDS = {
    "zone_stat_item": "NR_VM_ZONE_STAT_ITEMS",
    "numa_stat_item": "NR_VM_NUMA_EVENT_ITEMS",
    "node_stat_item": "NR_VM_NODE_STAT_ITEMS",
    "vm_event_item": "NR_VM_EVENT_ITEMS",
}
_ORDER = tuple(_ENUM_ENDS)
"""Of the counters in /proc/vmstat; those without an enum stand before the last."""


@cache
def items(name: str, enum: str) -> tuple[str, ...]:
    """The constants of *enum* (zone_stat_item, numa_stat_item, node_stat_item, vm_event_item), by value."""
    table = enums(name)[enum]
    count = table[_ENUM_ENDS[enum]]
    by_value = {value: item for item, value in table.items() if not item.endswith("_BASE")}
    return tuple(by_value[value] for value in range(count))


def names(name: str, enum: str) -> tuple[str, ...]:
    """The names of the counters of *enum* in /proc/vmstat and /proc/zoneinfo."""
    text = vmstat_names(name)
    count = len(items(name, enum))
    if enum == _ORDER[-1]:
        return text[-count:]
    first = sum(len(items(name, other)) for other in _ORDER[: _ORDER.index(enum)])
    return text[first : first + count]


def per_cpu_ptr(view: View, pointer: Any, cpu: int) -> Any:
    """``per_cpu_ptr(ptr, cpu)``: the CPU's copy of what a per-cpu pointer leads to."""
    return view.ptr(pointer._type, pointer._addr + view.per_cpu_offset(cpu))


def nodes(view: View) -> Iterator[Any]:
    """Every node (``for_each_online_pgdat()``)."""
    for node in range(view.kdata.nr_node_ids):
        yield view.kdata.node_data[node]


def zones(view: View) -> Iterator[Any]:
    """Every zone, with pages or without (``for_each_zone()``)."""
    for pgdat in nodes(view):
        for index in range(MAX_NR_ZONES):
            yield pgdat.node_zones[index]


def global_zone_page_state(view: View, item: int) -> int:
    """``unsigned long global_zone_page_state(enum zone_stat_item item)``."""
    return max(int(view.kdata.vm_zone_stat[item]), 0)


def node_page_state(mm: Mm, item: str, pgdat: Any = None) -> int:
    """``unsigned long global_node_page_state_pages(enum node_stat_item item)``, or that of the node *pgdat*.

    NR_KERNEL_STACK_KB is kilobytes.
    """
    index = enums(mm.config.release)["node_stat_item"][item]
    return max(int(mm.view.kdata.vm_node_stat[index] if pgdat is None else pgdat.vm_stat[index]), 0)


def node_stat(mm: Mm, item: str, pgdat: Any = None) -> int:
    """A node counter as it is printed: huge pages are counted as such."""
    pages = node_page_state(mm, item, pgdat)
    return pages // HPAGE_PMD_NR if item in _IN_HUGE_PAGES else pages


def nr_free_pages(view: View) -> int:
    """``unsigned long nr_free_pages(void)``."""
    return global_zone_page_state(view, NR_FREE_PAGES)


def totalreserve_pages(view: View) -> int:
    """``totalreserve_pages``: what zones keep back from requests that could go higher, and by watermark."""
    return int(view.kdata.totalreserve_pages)


def low_wmark_pages(z: Any) -> int:
    """``low_wmark_pages(z)``, with the boost."""
    return int(z._watermark[WMARK_LOW] + z.watermark_boost)


def high_wmark_pages(z: Any) -> int:
    """``high_wmark_pages(z)``, with the boost."""
    return int(z._watermark[WMARK_HIGH] + z.watermark_boost)


def si_mem_available(mm: Mm) -> int:
    """``long si_mem_available(void)``: an estimate of the pages that could be had without swapping."""
    low = sum(low_wmark_pages(z) for z in zones(mm.view))
    pagecache = node_page_state(mm, "NR_ACTIVE_FILE") + node_page_state(mm, "NR_INACTIVE_FILE")
    reclaimable = node_page_state(mm, "NR_SLAB_RECLAIMABLE_B") + node_page_state(mm, "NR_KERNEL_MISC_RECLAIMABLE")
    available = nr_free_pages(mm.view) - totalreserve_pages(mm.view)
    available += pagecache - min(pagecache // 2, low)
    available += reclaimable - min(reclaimable // 2, low)
    return max(available, 0)


def global_dirty_limits(mm: Mm) -> tuple[int, int]:
    """``global_dirty_limits()``: pages that may be dirty before writers wait, and before writeback begins."""
    free = nr_free_pages(mm.view)
    dirtyable = free - min(free, totalreserve_pages(mm.view)) + 1
    dirtyable += node_page_state(mm, "NR_INACTIVE_FILE") + node_page_state(mm, "NR_ACTIVE_FILE")
    limit, background = (
        ratio * PAGE_SIZE // 100 * dirtyable // PAGE_SIZE for ratio in (VM_DIRTY_RATIO, DIRTY_BACKGROUND_RATIO)
    )
    limit = min(limit, (1 << 32) - 1)
    return limit, background if background < limit else limit // 2


def _events(mm: Mm) -> dict[str, int]:
    """Those of ``enum vm_event_item`` that the model counts."""
    k, name = mm.view.kdata, mm.config.release
    counts = k.vm_events
    found = {item: int(k.vm_event_states[i]) for i, item in enumerate(items(name, "vm_event_item"))}
    found |= {"PGFREE": int(counts[EV_PGFREE]), "PGFAULT": int(counts[EV_PGFAULT])}
    for index, zone in enumerate(release(name).zones):
        found[f"PGALLOC_{zone.upper()}"] = int(counts[EV_PGALLOC + index])
    return found


def text(mm: Mm) -> str:
    """/proc/vmstat."""
    name, view = mm.config.release, mm.view
    values = [global_zone_page_state(view, i) for i in range(len(items(name, "zone_stat_item")))]
    values += [int(view.kdata.vm_numa_event[i]) for i in range(len(items(name, "numa_stat_item")))]
    values += [node_stat(mm, item) for item in items(name, "node_stat_item")]
    values += global_dirty_limits(mm)
    if "nr_memmap_boot_pages" in vmstat_names(name):
        values += [0, mm.boot.mem_map_size // PAGE_SIZE]
    events = _events(mm)
    values += [events.get(item, 0) for item in items(name, "vm_event_item")]
    lines = [f"{label} {value}\n" for label, value in zip(vmstat_names(name), values, strict=True)]
    return "".join(lines) + "nr_unstable 0\n"
