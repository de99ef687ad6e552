"""The tables of a kernel (`kmem.kapi.views`): slabs, free blocks, vmalloc areas, live allocations; read from RAM."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from kmem.abi.release import release
from kmem.kapi import calls, index
from kmem.kapi.export import Export, lookup
from kmem.lib.columns import Address, Fact, Table
from kmem.lib.cstruct import u64
from kmem.mm.mmzone import MAX_NR_ZONES, MAX_ORDER, PAGE_SIZE
from kmem.mm.proc_slab import get_slabinfo
from kmem.mm.proc_vmalloc import WORDS
from kmem.mm.vmstat import nodes

if TYPE_CHECKING:
    from kmem.kernel import Kernel

COMPLETED = (
    *("slab", "slab_buckets", "vmalloc", "pages", "page_frag", "mempool", "dmapool", "dma", "percpu", "genalloc"),
    *("iomem", "memory", "usercopy", "uaccess", "string", "util", "shrinker"),
)
"""The exported functions that tab completion offers are those of these files; all others can be called, too."""


class SlabRow(NamedTuple):
    """One cache: objects in bytes, with what SLUB adds; objects in use as /proc/slabinfo counts them."""

    cache: str
    object_size: int
    size: int
    in_use: int
    objects: int
    slabs: int
    pages_per_slab: int


class ZoneRow(NamedTuple):
    """One zone: its free pages, and its free blocks by order."""

    node: int
    zone: str
    free_pages: int
    order_0: int
    order_1: int
    order_2: int
    order_3: int
    order_4: int
    order_5: int
    order_6: int
    order_7: int
    order_8: int
    order_9: int
    order_10: int


class AreaRow(NamedTuple):
    """One area of vmalloc space."""

    start: Address
    size: int
    pages: int
    what: str
    caller: str


class LiveRow(NamedTuple):
    """One allocation that lives."""

    address: Address
    requested: int | None
    size: int
    what: str
    site: str
    task: str


class ModuleRow(NamedTuple):
    """One module that is loaded."""

    module: str
    address: Address
    users: int


def _called(name: str) -> bool:
    """Whether modules may call the function, and Python so, too."""
    entry = lookup(name)
    return isinstance(entry, Export) and not entry.private


def names(k: Any) -> Iterator[str]:
    """What tab completion offers besides what the class has: the calls of the mm, and exported functions."""
    mm = k.__dict__.get("mm")
    yield from (name for name in dir(mm) if mm and not name.startswith("_"))
    listed = chain.from_iterable(index.NAMES[name].split() for name in COMPLETED)
    yield from (name for name in listed if not name.startswith("_") and _called(name))
    yield from calls.INLINES
    yield from calls.SCOPES


def html(k: Any) -> str:
    """The machine for a notebook."""
    parts = (k.facts(), k.findings.table(), k.slabs.by("slabs")[:10])
    log = f"<details><summary>log</summary><pre>{escape(k.dmesg())}</pre></details>"
    return "".join(part._repr_html_() for part in parts) + log


def module_list(k: Kernel) -> Table[ModuleRow]:
    """The modules that are loaded."""
    rows = [ModuleRow(m.name, Address(m.address), k.loader.references(m)) for m in k.modules.values()]
    return Table("modules", ModuleRow, rows)


def slabs(k: Kernel) -> Table[SlabRow]:
    """Every slab cache."""
    rows = []
    for s in k.mm.view.caches():
        info = get_slabinfo(k.mm.view, s)
        name, pages = k.mm.view.described_cache(s), 1 << info.cache_order
        rows.append(
            SlabRow(name, int(s.object_size), int(s.size), info.active_objs, info.num_objs, info.num_slabs, pages)
        )
    return Table("slab caches", SlabRow, rows)


def free_blocks(k: Kernel) -> Table[ZoneRow]:
    """Free blocks by zone and order."""
    rows = []
    for pgdat in nodes(k.mm.view):
        for at in range(MAX_NR_ZONES):
            z = pgdat.node_zones[at]
            if z.present_pages:
                free = [int(z.free_area[order].nr_free) for order in range(MAX_ORDER)]
                pages = sum(count << order for order, count in enumerate(free))
                rows.append(ZoneRow(int(pgdat.node_id), k.mm.view.string(z.name), pages, *free))
    return Table("free blocks by order", ZoneRow, rows)


def areas(k: Kernel) -> Table[AreaRow]:
    """The areas of vmalloc space."""
    constants = release(k.release.name).constants
    rows = []
    for va in k.mm.view.vmap_areas():
        start, size, v = u64(va.va_start), u64(va.va_end) - u64(va.va_start), va.vm
        if not v:
            rows.append(AreaRow(Address(start), size, size // PAGE_SIZE, "vm_map_ram", ""))
            continue
        words = "".join(word for flag, word in WORDS if v.flags & constants[flag]).strip()
        caller = k.kallsyms.sprint(u64(v.caller)) if v.caller else ""
        rows.append(AreaRow(Address(start), size, int(v.nr_pages), words, caller))
    return Table("areas of vmalloc space", AreaRow, rows)


def live(k: Kernel) -> Table[LiveRow]:
    """What was allocated and lives, the oldest first."""
    k.drain()
    if k.history:
        rows = [
            LiveRow(Address(step.start), step.requested or None, step.size, step.what, step.site, step.task)
            for step in k.history.live()
        ]
        return Table("live allocations", LiveRow, rows)
    rows = []
    for one in k.leaks.live():
        event, pid = one.event, one.event.task
        what = one.cache or one.region
        rows.append(
            LiveRow(Address(one.address), event.requested or None, event.allocated, what, str(one.site), f"task {pid}")
        )
    return Table("live allocations of modules", LiveRow, rows)


def facts(k: Kernel) -> Table[Fact]:
    """What machine it is, and how it is."""
    c = k.boot_config
    pages = sum(k.free_blocks.column("free_pages"))
    rows = [
        Fact("kernel", f"Linux {c.release} ({c.config})"),
        Fact("memory", f"{c.ram >> 20} MiB, {pages * PAGE_SIZE >> 20} MiB free"),
        Fact("machine", f"{c.cpus} CPUs, {c.nodes} nodes, seed {c.seed}"),
        Fact("time", f"{k.now() / 1e9:.6f} s"),
        Fact("modules", ", ".join(k.modules) or "none"),
        Fact("live allocations", len(k.live)),
        Fact("findings", len(k.findings)),
    ]
    return Table("the machine", Fact, rows)
