"""The "Mem-Info:" block of allocation failures and the OOM killer (lib/show_mem.c, mm/page_alloc.c show_free_areas();
6.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kmem.abi.layout import enums
from kmem.abi.release import release
from kmem.mm import vmstat
from kmem.mm.mm_types import per_cpu_pages
from kmem.mm.mmzone import MAX_NR_ZONES, MAX_ORDER, WMARK_MIN
from kmem.mm.proc_slab import get_slabinfo

if TYPE_CHECKING:
    from kmem.mm.api import Mm

Line = tuple[int, str]
KERN_DEFAULT_LEVEL, KERN_INFO = 4, 6
_TYPES = "UMEHI"
"""One letter for each migrate type: unmovable, movable, reclaimable, high atomic, isolated."""
MAX_RECLAIM_RETRIES = 16
SLAB_RECLAIM_ACCOUNT = 0x20000
HUGE_PAGES = ("1048576", "2048")
"""Sizes in kB: of a processor that has 1 GiB pages."""


def highest_zone(gfp: int) -> int:
    """``gfp_zone()``: reports leave out the zones above."""
    return 0 if gfp & 1 else 1 if gfp & 4 else 3 if gfp & 0xA == 0xA else 2


def _pcp(mm: Mm, z: Any, cpu: int) -> int:
    offset = mm.view.per_cpu_offset(cpu)
    return int(mm.view.ptr(per_cpu_pages, z.per_cpu_pageset._addr + offset).count) if z.managed_pages else 0


def _free_list(z: Any, order: int) -> str:
    area = z.free_area[order]
    count = int(area.nr_free)
    types = "".join(_TYPES[i] for i in range(5) if area.free_list[i].next != area.free_list[i])
    return f"{count}*{4 << order}kB{f' ({types})' if count else ''}"


def _zone_state(mm: Mm, z: Any, item: str) -> int:
    return int(z.vm_stat[enums(mm.config.release)["zone_stat_item"][item]]) * 4


def _zone(mm: Mm, z: Any) -> Iterator[Line]:
    """One zone's line, and its reserve."""
    pcp = [_pcp(mm, z, cpu) * 4 for cpu in range(mm.config.cpus)]
    boost = int(z.watermark_boost)
    marks = {mark: int(z._watermark[WMARK_MIN + i]) + boost for i, mark in enumerate(("min", "low", "high"))}
    kilobytes = {
        "free": _zone_state(mm, z, "NR_FREE_PAGES"),
        "boost": boost * 4,
        **{mark: pages * 4 for mark, pages in marks.items()},
    }
    lru = {
        "active_anon": "NR_ZONE_ACTIVE_ANON",
        "inactive_anon": "NR_ZONE_INACTIVE_ANON",
        "active_file": "NR_ZONE_ACTIVE_FILE",
        "inactive_file": "NR_ZONE_INACTIVE_FILE",
        "unevictable": "NR_ZONE_UNEVICTABLE",
        "writepending": "NR_ZONE_WRITE_PENDING",
    }
    rest = {
        **{label: _zone_state(mm, z, item) for label, item in lru.items()},
        "present": int(z.present_pages) * 4,
        "managed": int(z.managed_pages) * 4,
        "mlocked": _zone_state(mm, z, "NR_MLOCK"),
        "bounce": _zone_state(mm, z, "NR_BOUNCE"),
        "free_pcp": sum(pcp),
        "local_pcp": pcp[mm.core.private.cpu],
        "free_cma": _zone_state(mm, z, "NR_FREE_CMA_PAGES"),
    }
    yield (
        KERN_DEFAULT_LEVEL,
        f"Node {z.node} {mm.view.string(z.name)} {_listed(kilobytes)} "
        f"reserved_highatomic:{int(z.nr_reserved_highatomic) * 4}KB {_listed(rest)}",
    )
    yield KERN_DEFAULT_LEVEL, "lowmem_reserve[]: " + " ".join(str(z.lowmem_reserve[i]) for i in range(MAX_NR_ZONES))


def _listed(values: dict[str, int]) -> str:
    return " ".join(f"{label}:{value}kB" for label, value in values.items())


def _node(mm: Mm, pgdat: Any) -> str:
    """The line of one node."""
    pages = {
        "active_anon": "NR_ACTIVE_ANON",
        "inactive_anon": "NR_INACTIVE_ANON",
        "active_file": "NR_ACTIVE_FILE",
        "inactive_file": "NR_INACTIVE_FILE",
        "unevictable": "NR_UNEVICTABLE",
        "isolated(anon)": "NR_ISOLATED_ANON",
        "isolated(file)": "NR_ISOLATED_FILE",
        "mapped": "NR_FILE_MAPPED",
        "dirty": "NR_FILE_DIRTY",
        "writeback": "NR_WRITEBACK",
        "shmem": "NR_SHMEM",
    }
    huge = {"shmem_thp": "NR_SHMEM_THPS", "shmem_pmdmapped": "NR_SHMEM_PMDMAPPED", "anon_thp": "NR_ANON_THPS"}
    tail = {"pagetables": "NR_PAGETABLE", "sec_pagetables": "NR_SECONDARY_PAGETABLE"}
    table = enums(mm.config.release)["node_stat_item"]
    state = {item: int(pgdat.vm_stat[table[item]]) * 4 for item in (*pages.values(), *huge.values(), *tail.values())}
    return (
        f"Node {pgdat.node_id} {_listed({label: state[item] for label, item in pages.items()})} "
        + " ".join(f"{label}: {state[item]}kB" for label, item in huge.items())
        + f" writeback_tmp:{int(pgdat.vm_stat[table['NR_WRITEBACK_TEMP']]) * 4}kB"
        + f" kernel_stack:{int(pgdat.vm_stat[table['NR_KERNEL_STACK_KB']])}kB "
        + _listed({label: state[item] for label, item in tail.items()})
        + f" all_unreclaimable? {'yes' if pgdat.kswapd_failures >= MAX_RECLAIM_RETRIES else 'no'}"
    )


def _sums(mm: Mm, free_pcp: int) -> str:
    """The first lines: the whole machine in pages."""
    n = {item: vmstat.node_page_state(mm, f"NR_{item}") for item in _SUMMED}
    return (
        f"active_anon:{n['ACTIVE_ANON']} inactive_anon:{n['INACTIVE_ANON']} isolated_anon:{n['ISOLATED_ANON']}\n"
        f" active_file:{n['ACTIVE_FILE']} inactive_file:{n['INACTIVE_FILE']} isolated_file:{n['ISOLATED_FILE']}\n"
        f" unevictable:{n['UNEVICTABLE']} dirty:{n['FILE_DIRTY']} writeback:{n['WRITEBACK']}\n"
        f" slab_reclaimable:{n['SLAB_RECLAIMABLE_B']} slab_unreclaimable:{n['SLAB_UNRECLAIMABLE_B']}\n"
        f" mapped:{n['FILE_MAPPED']} shmem:{n['SHMEM']} pagetables:{n['PAGETABLE']}\n"
        f" sec_pagetables:{n['SECONDARY_PAGETABLE']} bounce:0\n"
        f" kernel_misc_reclaimable:{n['KERNEL_MISC_RECLAIMABLE']}\n"
        f" free:{vmstat.nr_free_pages(mm.view)} free_pcp:{free_pcp} free_cma:0"
    )


_SUMMED = (
    *("ACTIVE_ANON", "INACTIVE_ANON", "ISOLATED_ANON", "ACTIVE_FILE", "INACTIVE_FILE", "ISOLATED_FILE"),
    *("UNEVICTABLE", "FILE_DIRTY", "WRITEBACK", "SLAB_RECLAIMABLE_B", "SLAB_UNRECLAIMABLE_B", "FILE_MAPPED", "SHMEM"),
    *("PAGETABLE", "SECONDARY_PAGETABLE", "KERNEL_MISC_RECLAIMABLE"),
)


def nodemask_text(mm: Mm, nodes: int) -> str:
    """``%*pbl`` of a node mask: "0,2-3", or "(null)" for none (-1)."""
    if nodes < 0:
        return "(null)"
    runs: list[list[int]] = []
    for node in range(mm.nr_node_ids()):
        if nodes >> node & 1:
            if runs and runs[-1][1] == node - 1:
                runs[-1][1] = node
            else:
                runs.append([node, node])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def mem_info(mm: Mm, max_zone_idx: int = MAX_NR_ZONES - 1, nodes: int = -1) -> Iterator[Line]:
    """``__show_mem()``: the lines from "Mem-Info:" on, without zones above *max_zone_idx* and nodes not in *nodes*."""
    pgdats = [pgdat for pgdat in vmstat.nodes(mm.view) if nodes >> int(pgdat.node_id) & 1]
    view, config = mm.view, release(mm.config.release).configs[mm.config.config]
    shown = [
        pgdat.node_zones[i] for pgdat in pgdats for i in range(max_zone_idx + 1) if pgdat.node_zones[i].present_pages
    ]
    yield KERN_DEFAULT_LEVEL, "Mem-Info:"
    yield KERN_DEFAULT_LEVEL, _sums(mm, sum(_pcp(mm, z, cpu) for z in shown for cpu in range(mm.config.cpus)))
    for pgdat in pgdats:
        if any(pgdat.node_zones[i].managed_pages for i in range(max_zone_idx + 1)):
            yield KERN_DEFAULT_LEVEL, _node(mm, pgdat)
    for z in shown:
        yield from _zone(mm, z)
    for z in shown:
        lists = " ".join(_free_list(z, order) for order in range(MAX_ORDER))
        total = sum(int(z.free_area[order].nr_free) << order for order in range(MAX_ORDER))
        yield KERN_DEFAULT_LEVEL, f"Node {z.node} {view.string(z.name)}: {lists} = {total * 4}kB"
    if config.get("CONFIG_HUGETLB_PAGE"):
        for pgdat in pgdats:
            for size in HUGE_PAGES:
                yield (
                    KERN_DEFAULT_LEVEL,
                    f"Node {pgdat.node_id} hugepages_total=0 hugepages_free=0 hugepages_surp=0 hugepages_size={size}kB",
                )
    yield KERN_DEFAULT_LEVEL, f"{vmstat.node_page_state(mm, 'NR_FILE_PAGES')} total pagecache pages"
    yield KERN_DEFAULT_LEVEL, "0 pages in swap cache"
    yield KERN_DEFAULT_LEVEL, "Free swap  = 0kB"
    yield KERN_DEFAULT_LEVEL, "Total swap = 0kB"
    present = sum(int(z.present_pages) for z in view.zones())
    yield KERN_DEFAULT_LEVEL, f"{present} pages RAM"
    yield KERN_DEFAULT_LEVEL, "0 pages HighMem/MovableOnly"
    yield KERN_DEFAULT_LEVEL, f"{present - sum(int(z.managed_pages) for z in view.zones())} pages reserved"
    if config.get("CONFIG_CMA"):
        yield KERN_DEFAULT_LEVEL, "0 pages cma reserved"
    if config.get("CONFIG_MEMORY_FAILURE"):
        yield KERN_DEFAULT_LEVEL, "0 pages hwpoisoned"


def unreclaimable_slab(mm: Mm) -> Iterator[Line]:
    """``dump_unreclaimable_slab()``, where the OOM killer finds more of it than user memory."""
    lru = sum(
        vmstat.node_page_state(mm, f"NR_{item}")
        for item in ("ACTIVE_ANON", "INACTIVE_ANON", "ACTIVE_FILE", "INACTIVE_FILE", "ISOLATED_ANON", "ISOLATED_FILE")
    )
    lru += vmstat.node_page_state(mm, "NR_UNEVICTABLE")
    if vmstat.node_page_state(mm, "NR_SLAB_UNRECLAIMABLE_B") <= lru:
        return
    yield KERN_INFO, "Unreclaimable slab info:"
    yield KERN_INFO, "Name                      Used          Total"
    for s in mm.view.caches():
        info = get_slabinfo(mm.view, s)
        if not s.flags & SLAB_RECLAIM_ACCOUNT and info.num_objs:
            used, total = (count * int(s.size) // 1024 for count in (info.active_objs, info.num_objs))
            yield KERN_INFO, f"{mm.view.cache_name(s):<17} {used:10}KB {total:10}KB"
