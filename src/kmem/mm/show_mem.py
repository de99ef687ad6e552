"""The "Mem-Info:" block of allocation failures and the OOM killer (lib/show_mem.c, mm/page_alloc.c show_free_areas();
6.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kmem.abi.release import release

if TYPE_CHECKING:
    from kmem.mm.api import Mm

Line = tuple[int, str]
KERN_CONT_LEVEL = 4
_TYPES = "UMEHI"
"""One letter for each migrate type: unmovable, movable, reclaimable, high atomic, isolated."""


def _pcp(mm: Mm, z: Any, cpu: int) -> int:
    offset = mm.view.per_cpu_offset(cpu)
    from kmem.mm.mm_types import per_cpu_pages

    return int(mm.view.ptr(per_cpu_pages, z.per_cpu_pageset._addr + offset).count) if z.managed_pages else 0


def _free_list(mm: Mm, z: Any, order: int) -> str:
    area = z.free_area[order]
    count = int(area.nr_free)
    types = "".join(_TYPES[i] for i in range(5) if area.free_list[i].next != area.free_list[i])
    return f"{count}*{4 << order}kB{f' ({types})' if types else ''}"


def _zone(mm: Mm, node: int, z: Any) -> Iterator[Line]:
    name, cpus = mm.view.string(z.name), mm.config.cpus
    pcp = [_pcp(mm, z, cpu) for cpu in range(cpus)]
    marks = " ".join(f"{name}:{int(z._watermark[i]) * 4}kB" for i, name in enumerate(("min", "low", "high")))
    nothing = " ".join(
        f"{what}:0kB"
        for what in ("active_anon", "inactive_anon", "active_file", "inactive_file", "unevictable", "writepending")
    )
    yield (
        KERN_CONT_LEVEL,
        f"Node {node} {name} free:{int(z.vm_stat[0]) * 4}kB boost:{int(z.watermark_boost) * 4}kB {marks} "
        f"reserved_highatomic:{int(z.nr_reserved_highatomic) * 4}KB {nothing} present:{int(z.present_pages) * 4}kB "
        f"managed:{int(z.managed_pages) * 4}kB mlocked:0kB bounce:0kB free_pcp:{sum(pcp) * 4}kB "
        f"local_pcp:{pcp[0] * 4}kB free_cma:0kB",
    )
    yield KERN_CONT_LEVEL, "lowmem_reserve[]: " + " ".join(str(z.lowmem_reserve[i]) for i in range(5))


def mem_info(mm: Mm) -> Iterator[Line]:
    """``show_mem()``: the lines from "Mem-Info:" on. What the model has no notion of (the page cache, swap) is 0."""
    view, r = mm.view, release(mm.config.release)
    k = view.kdata
    zones = [z for z in view.zones() if z.managed_pages]
    slab = [int(k.vm_node_stat[i]) for i in (5, 6)]
    tables = int(k.vm_node_stat[r.constants.get("NR_PAGETABLE", 38)])
    free = sum(int(z.vm_stat[0]) for z in zones)
    pcp = sum(_pcp(mm, z, cpu) for z in zones for cpu in range(mm.config.cpus))
    yield KERN_CONT_LEVEL, "Mem-Info:"
    yield (
        KERN_CONT_LEVEL,
        "active_anon:0 inactive_anon:0 isolated_anon:0\n active_file:0 inactive_file:0 isolated_file:0\n"
        f" unevictable:0 dirty:0 writeback:0\n slab_reclaimable:{slab[0]} slab_unreclaimable:{slab[1]}\n"
        f" mapped:0 shmem:0 pagetables:{tables}\n sec_pagetables:0 bounce:0\n kernel_misc_reclaimable:0\n"
        f" free:{free} free_pcp:{pcp} free_cma:0",
    )
    nothing = " ".join(
        f"{what}:0kB"
        for what in (
            "active_anon",
            "inactive_anon",
            "active_file",
            "inactive_file",
            "unevictable",
            "isolated(anon)",
            "isolated(file)",
        )
    )
    yield (
        KERN_CONT_LEVEL,
        f"Node 0 {nothing} mapped:0kB dirty:0kB writeback:0kB shmem:0kB shmem_thp: 0kB shmem_pmdmapped: 0kB "
        f"anon_thp: 0kB writeback_tmp:0kB kernel_stack:0kB pagetables:{tables * 4}kB "
        "sec_pagetables:0kB all_unreclaimable? no",
    )
    for z in zones:
        yield from _zone(mm, 0, z)
    for z in zones:
        lists = " ".join(_free_list(mm, z, order) for order in range(11))
        yield KERN_CONT_LEVEL, f"Node 0 {view.string(z.name)}: {lists} = {int(z.vm_stat[0]) * 4}kB"
    yield KERN_CONT_LEVEL, "0 total pagecache pages"
    yield KERN_CONT_LEVEL, "0 pages in swap cache"
    yield KERN_CONT_LEVEL, "Free swap  = 0kB"
    yield KERN_CONT_LEVEL, "Total swap = 0kB"
    present = sum(int(z.present_pages) for z in view.zones())
    yield KERN_CONT_LEVEL, f"{present} pages RAM"
    yield KERN_CONT_LEVEL, "0 pages HighMem/MovableOnly"
    yield KERN_CONT_LEVEL, f"{present - int(k.totalram_pages)} pages reserved"
