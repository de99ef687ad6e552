"""/proc/meminfo (fs/proc/meminfo.c, mm/hugetlb.c, arch/x86/mm/pat/set_memory.c; 6.1, Debian's configuration).

Simplified: not in the model, and so 0, are buffers, swap, zswap, poisoned pages and huge pages. ``Percpu`` counts the
pages of per-cpu chunks that have memory: the first chunk's as the kernel cuts it, of the rest of the unit those up to
the last that is in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kmem.abi.address import PAGE_OFFSET, PAGE_SIZE, VMALLOC_END, VMALLOC_START
from kmem.abi.release import release
from kmem.lib.cstruct import u64
from kmem.mm.percpu import FREE, GRAIN
from kmem.mm.vmstat import global_zone_page_state, items, node_page_state, nr_free_pages, si_mem_available

if TYPE_CHECKING:
    from kmem.mm.api import Mm

PERCPU_DYNAMIC_RESERVE = 28 << 10
"""What the first chunk has for allocations besides the static variables."""
OVERCOMMIT_RATIO = 50
"""Default of the sysctl of this name, in per cent."""
_PRESENT, _PSE, _TABLE = 0x1, 0x80, 0x000FFFFFFFFFF000
_VALUE_ENDS = 24
"""Column that the number of a line ends at."""


def direct_map(mm: Mm) -> tuple[int, int, int]:
    """How many pages of 4 KiB, 2 MiB and 1 GiB make the direct map (``direct_pages_count[]``), by the page tables."""
    counts = [0, 0, 0]

    def walk(table: int, level: int, first: int, last: int) -> None:
        for entry in mm.ram.mem[table : table + PAGE_SIZE].cast("Q")[first:last]:
            if not entry & _PRESENT:
                continue
            if level == 0 or entry & _PSE:
                counts[level] += 1
            else:
                walk(entry & _TABLE, level - 1, 0, 512)

    top = u64(mm.view.kdata.swapper_pg_dir) - PAGE_OFFSET
    end = release(mm.config.release).addresses.page_offset_end
    walk(top, 3, PAGE_OFFSET >> 39 & 511, end >> 39 & 511)
    return counts[0], counts[1], counts[2]


def _pcpu_nr_populated(mm: Mm) -> int:
    """``pcpu_nr_populated``: pages of a CPU's units that have memory. One byte of the map stands for eight."""
    k = mm.view.kdata
    at = u64(k.pcpu_map) - PAGE_OFFSET
    used = len(bytes(mm.ram.mem[at : at + k.pcpu_unit_size // GRAIN]).rstrip(bytes([FREE]))) * GRAIN
    return -(-max(k.pcpu_static_size + PERCPU_DYNAMIC_RESERVE, used) // PAGE_SIZE)


def _lines(mm: Mm) -> Iterator[tuple[str, int]]:
    """Labels and kilobytes."""
    k = mm.view.kdata

    def node(item: str) -> int:
        return node_page_state(mm, item) * 4

    def zone(item: str) -> int:
        return global_zone_page_state(mm.view, items(mm.config.release, "zone_stat_item").index(item)) * 4

    active = [node("NR_ACTIVE_ANON"), node("NR_ACTIVE_FILE")]
    inactive = [node("NR_INACTIVE_ANON"), node("NR_INACTIVE_FILE")]
    reclaimable, unreclaimable = node("NR_SLAB_RECLAIMABLE_B"), node("NR_SLAB_UNRECLAIMABLE_B")
    yield "MemTotal", k.totalram_pages * 4
    yield "MemFree", nr_free_pages(mm.view) * 4
    yield "MemAvailable", si_mem_available(mm) * 4
    yield "Buffers", 0
    yield "Cached", max(node("NR_FILE_PAGES") - node("NR_SWAPCACHE"), 0)
    yield "SwapCached", node("NR_SWAPCACHE")
    yield "Active", sum(active)
    yield "Inactive", sum(inactive)
    yield "Active(anon)", active[0]
    yield "Inactive(anon)", inactive[0]
    yield "Active(file)", active[1]
    yield "Inactive(file)", inactive[1]
    yield "Unevictable", node("NR_UNEVICTABLE")
    yield "Mlocked", zone("NR_MLOCK")
    yield from ((label, 0) for label in ("SwapTotal", "SwapFree", "Zswap", "Zswapped"))
    yield "Dirty", node("NR_FILE_DIRTY")
    yield "Writeback", node("NR_WRITEBACK")
    yield "AnonPages", node("NR_ANON_MAPPED")
    yield "Mapped", node("NR_FILE_MAPPED")
    yield "Shmem", node("NR_SHMEM")
    yield "KReclaimable", reclaimable + node("NR_KERNEL_MISC_RECLAIMABLE")
    yield "Slab", reclaimable + unreclaimable
    yield "SReclaimable", reclaimable
    yield "SUnreclaim", unreclaimable
    yield "KernelStack", node_page_state(mm, "NR_KERNEL_STACK_KB")
    yield "PageTables", node("NR_PAGETABLE")
    yield "SecPageTables", node("NR_SECONDARY_PAGETABLE")
    yield "NFS_Unstable", 0
    yield "Bounce", zone("NR_BOUNCE")
    yield "WritebackTmp", node("NR_WRITEBACK_TEMP")
    yield "CommitLimit", k.totalram_pages * OVERCOMMIT_RATIO // 100 * 4
    yield "Committed_AS", max(k.vm_committed_as, 0) * 4
    yield "VmallocTotal", (VMALLOC_END - VMALLOC_START) >> 10
    yield "VmallocUsed", k.nr_vmalloc_pages * 4
    yield "VmallocChunk", 0
    yield "Percpu", _pcpu_nr_populated(mm) * k.nr_cpu_ids * 4
    yield "HardwareCorrupted", 0
    yield "AnonHugePages", node("NR_ANON_THPS")
    yield "ShmemHugePages", node("NR_SHMEM_THPS")
    yield "ShmemPmdMapped", node("NR_SHMEM_PMDMAPPED")
    yield "FileHugePages", node("NR_FILE_THPS")
    yield "FilePmdMapped", node("NR_FILE_PMDMAPPED")
    if release(mm.config.release).config.get("CONFIG_UNACCEPTED_MEMORY"):
        yield "Unaccepted", zone("NR_UNACCEPTED")
    yield from ((f"HugePages_{what}", 0) for what in ("Total", "Free", "Rsvd", "Surp"))
    yield "Hugepagesize", 2048
    yield "Hugetlb", 0
    for (label, size), pages in zip((("4k", 4), ("2M", 2048), ("1G", 1 << 20)), direct_map(mm), strict=True):
        yield f"DirectMap{label}", pages * size


def meminfo(mm: Mm) -> str:
    """/proc/meminfo."""
    lines = []
    for label, value in _lines(mm):
        head = f"{label}: ".ljust(16)
        unit = "" if label.startswith("HugePages_") else " kB"
        lines.append(f"{head}{value:{_VALUE_ENDS - len(head)}}{unit}\n")
    return "".join(lines)
