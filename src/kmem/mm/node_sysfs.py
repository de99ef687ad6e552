"""/sys/devices/system/node (drivers/base/node.c, 6.1, Debian's configuration).

Simplified: not in the model, and so 0 as in /proc/meminfo, are swap and huge pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kmem.errors import UsageError
from kmem.mm.mmzone import MAX_NR_ZONES, NR_FREE_PAGES, node_distance
from kmem.mm.nodes import cpu_to_node
from kmem.mm.vmstat import items, names, node_page_state, node_stat

if TYPE_CHECKING:
    from kmem.mm.api import Mm

_NARROW = ("FileHugePages", "FilePmdMapped")
"""Labels of meminfo that the kernel gives one column less."""
_NUMASTAT = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")


def _zones(pgdat: Any) -> Iterator[Any]:
    return (pgdat.node_zones[index] for index in range(MAX_NR_ZONES))


def sum_zone_node_page_state(pgdat: Any, item: int) -> int:
    """``unsigned long sum_zone_node_page_state(int node, enum zone_stat_item item)``."""
    return sum(int(z.vm_stat[item]) for z in _zones(pgdat))


def sum_zone_numa_event_state(pgdat: Any, item: int) -> int:
    """``unsigned long sum_zone_numa_event_state(int node, enum numa_stat_item item)``."""
    return sum(int(z.vm_numa_event[item]) for z in _zones(pgdat))


def _meminfo(mm: Mm, pgdat: Any) -> Iterator[tuple[str, int]]:
    def node(item: str) -> int:
        return node_page_state(mm, item, pgdat) * 4

    def zone(item: str) -> int:
        return sum_zone_node_page_state(pgdat, items(mm.config.release, "zone_stat_item").index(item)) * 4

    total = sum(int(z.managed_pages) for z in _zones(pgdat)) * 4
    free = sum_zone_node_page_state(pgdat, NR_FREE_PAGES) * 4
    reclaimable, unreclaimable = node("NR_SLAB_RECLAIMABLE_B"), node("NR_SLAB_UNRECLAIMABLE_B")
    yield from (("MemTotal", total), ("MemFree", free), ("MemUsed", total - free))
    yield "SwapCached", node("NR_SWAPCACHE")
    for label, item in (("Active", "NR_ACTIVE"), ("Inactive", "NR_INACTIVE")):
        yield label, node(f"{item}_ANON") + node(f"{item}_FILE")
    for kind in ("anon", "file"):
        for label, item in (("Active", "NR_ACTIVE"), ("Inactive", "NR_INACTIVE")):
            yield f"{label}({kind})", node(f"{item}_{kind.upper()}")
    yield "Unevictable", node("NR_UNEVICTABLE")
    yield "Mlocked", zone("NR_MLOCK")
    yield "Dirty", node("NR_FILE_DIRTY")
    yield "Writeback", node("NR_WRITEBACK")
    yield "FilePages", node("NR_FILE_PAGES")
    yield "Mapped", node("NR_FILE_MAPPED")
    yield "AnonPages", node("NR_ANON_MAPPED")
    yield "Shmem", node("NR_SHMEM")
    yield "KernelStack", node_page_state(mm, "NR_KERNEL_STACK_KB", pgdat)
    yield "PageTables", node("NR_PAGETABLE")
    yield "SecPageTables", node("NR_SECONDARY_PAGETABLE")
    yield "NFS_Unstable", 0
    yield "Bounce", zone("NR_BOUNCE")
    yield "WritebackTmp", node("NR_WRITEBACK_TEMP")
    yield "KReclaimable", reclaimable + node("NR_KERNEL_MISC_RECLAIMABLE")
    yield "Slab", reclaimable + unreclaimable
    yield "SReclaimable", reclaimable
    yield "SUnreclaim", unreclaimable
    yield "AnonHugePages", node("NR_ANON_THPS")
    yield "ShmemHugePages", node("NR_SHMEM_THPS")
    yield "ShmemPmdMapped", node("NR_SHMEM_PMDMAPPED")
    yield "FileHugePages", node("NR_FILE_THPS")
    yield "FilePmdMapped", node("NR_FILE_PMDMAPPED")


def meminfo(mm: Mm, nid: int) -> str:
    """/sys/devices/system/node/node*nid*/meminfo."""
    lines = []
    for label, value in _meminfo(mm, mm.view.kdata.node_data[nid]):
        head = f"{label}:".ljust(15 if label in _NARROW else 16)
        lines.append(f"Node {nid} {head}{value:8} kB\n")
    for what in ("Total", "Free", "Surp"):
        label = f"HugePages_{what}:"
        lines.append(f"Node {nid} {label:<16} {0:5}\n")
    return "".join(lines)


def numastat(mm: Mm, nid: int) -> str:
    """/sys/devices/system/node/node*nid*/numastat."""
    pgdat = mm.view.kdata.node_data[nid]
    return "".join(f"{name} {sum_zone_numa_event_state(pgdat, i)}\n" for i, name in enumerate(_NUMASTAT))


def vmstat(mm: Mm, nid: int) -> str:
    """/sys/devices/system/node/node*nid*/vmstat."""
    pgdat, name = mm.view.kdata.node_data[nid], mm.config.release
    values = [sum_zone_node_page_state(pgdat, i) for i in range(len(items(name, "zone_stat_item")))]
    values += [sum_zone_numa_event_state(pgdat, i) for i in range(len(items(name, "numa_stat_item")))]
    values += [node_stat(mm, item, pgdat) for item in items(name, "node_stat_item")]
    labels = [label for enum in ("zone_stat_item", "numa_stat_item", "node_stat_item") for label in names(name, enum)]
    return "".join(f"{label} {value}\n" for label, value in zip(labels, values, strict=True))


def distance(mm: Mm, nid: int) -> str:
    """/sys/devices/system/node/node*nid*/distance."""
    k = mm.view.kdata
    return " ".join(str(node_distance(k, nid, other)) for other in range(k.nr_node_ids)) + "\n"


def _cpus(mm: Mm, nid: int) -> list[int]:
    return [cpu for cpu in range(mm.config.cpus) if cpu_to_node(cpu, mm.config.nodes) == nid]


def list_of(numbers: Iterable[int]) -> str:
    """``%*pbl``: ``0-2,5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def mask_of(numbers: Iterable[int], bits: int) -> str:
    """``%*pb``: groups of 32 bits, the highest first and as wide as its bits need."""
    value = sum(1 << number for number in numbers)
    groups = []
    for shift in range((bits - 1) // 32 * 32, -1, -32):
        groups.append(f"{value >> shift & 0xFFFFFFFF:0{-(-min(bits - shift, 32) // 4)}x}")
    return ",".join(groups)


_SHOW: dict[str, Callable[[Mm, int], str]] = {
    "cpulist": lambda mm, nid: list_of(_cpus(mm, nid)) + "\n",
    "cpumap": lambda mm, nid: mask_of(_cpus(mm, nid), mm.config.cpus) + "\n",
    "distance": distance,
    "meminfo": meminfo,
    "numastat": numastat,
    "vmstat": vmstat,
}
ATTRIBUTES = tuple(_SHOW)
"""The files of a node's directory."""
_MACHINE = ("has_cpu", "has_generic_initiator", "has_memory", "has_normal_memory", "online", "possible")


def text(mm: Mm, nid: int, attribute: str) -> str:
    """The text of /sys/devices/system/node/node*nid*/*attribute*; UsageError for a file that there is not."""
    if not 0 <= nid < mm.config.nodes or attribute not in _SHOW:
        raise UsageError(
            f"there is no node{nid}/{attribute}",
            remedy=f"nodes are 0 to {mm.config.nodes - 1}; choose one of {', '.join(ATTRIBUTES)}",
        )
    return _SHOW[attribute](mm, nid)


def files(mm: Mm) -> dict[str, Callable[[], str]]:
    """All of /sys/devices/system/node: what gives the text, by path below it."""
    nodes = range(mm.config.nodes)
    lists = dict.fromkeys(_MACHINE, list_of(nodes)) | {
        "has_cpu": list_of(nid for nid in nodes if _cpus(mm, nid)),
        "has_generic_initiator": "",
    }
    found: dict[str, Callable[[], str]] = {name: f"{line}\n".__str__ for name, line in lists.items()}
    return found | {f"node{nid}/{name}": partial(text, mm, nid, name) for nid in nodes for name in ATTRIBUTES}
