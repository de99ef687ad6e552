"""Booting the memory: where everything lies in physical memory, and in which order it comes to life.

::

    0        1 MiB reserved (firmware)             16 MiB kernel image: text, data, ``kdata``, the first page tables;
    56 MiB
    1 MiB …  16 MiB ZONE_DMA                       … 4 GiB ZONE_DMA32 … ZONE_NORMAL
    top      page tables, struct pages, pgdat, per-cpu units, small boot-time objects (memblock, from the top down)

Simplified: on a machine with more than 4 GiB the ``struct page`` of memory that was not used yet reads as zeros. A
kernel makes those that it put off while it boots, before any module runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kmem.abi.address import KERNEL_TEXT, PAGE_OFFSET, START_KERNEL_MAP, VMEMMAP_START
from kmem.abi.exports import export
from kmem.abi.release import release
from kmem.errors import UsageError
from kmem.lib.cstruct import s64
from kmem.machine.ram import Ram
from kmem.mm.binding import Core
from kmem.mm.boot_resource import e820_reserve_resources
from kmem.mm.config import BootConfig
from kmem.mm.mm_types import KDATA_ADDRESS, KMALLOC_SLOTS, MAX_NODES, kdata, kmem_cache, pglist_data, vmap_area
from kmem.mm.mmzone import MAX_ORDER, PAGEBLOCK_ORDER, PAGES_PER_SECTION, ZONE_NORMAL
from kmem.mm.nodes import (
    LOCAL_DISTANCE,
    REMOTE_DISTANCE,
    ZONE_LIMITS,
    Range,
    Span,
    available,
    cpu_to_node,
    pages,
    share,
    span,
    unavailable,
)
from kmem.mm.view import View

PAGE = 4096
PMD, PUD, PGD = 1 << 21, 1 << 30, 1 << 39
IMAGE_PHYS = KERNEL_TEXT - START_KERNEL_MAP
TEXT_SIZE = 16 << 20
IMAGE_TABLES = KDATA_ADDRESS - START_KERNEL_MAP + (1 << 20)
"""The top page table and those of the image itself; CR3 must lie below 4 GiB."""
IMAGE_SIZE = IMAGE_TABLES + (1 << 20) - IMAGE_PHYS

RW_GLOBAL_NX = (1 << 63) | 0x163
RWX_GLOBAL = 0x163
ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable", "Device")
PERCPU_RESERVED, PERCPU_UNIT = 8192, 1 << 20
_SWITCHES = (
    *("hardened", "freelist_random", "init_on_alloc", "init_on_free", "slab_nomerge", "disable_higher_order_debug"),
    *("slub_cpu_partial", "slub_tiny", "shuffle_page_alloc"),
)
_NUMBERS = ("slub_min_order", "slub_max_order", "slub_min_objects", "watermark_scale_factor", "watermark_boost_factor")
DEFER_ABOVE = 4 << 30
"""With more memory than this, free blocks of the largest order have only their first ``struct page`` until one is used,
and most of those of ZONE_NORMAL not even that. CONFIG_DEFERRED_STRUCT_PAGE_INIT saves a kernel the same at boot.
"""
_SIZES = ("", "96", "192", "8", "16", "32", "64", "128", "256", "512", "1k", "2k", "4k", "8k")


def e820(ram: int) -> list[tuple[int, int]]:
    """Usable physical memory as a PC's firmware reports it: a hole at 640 KiB, 128 KiB of tables below the top, PCI
    below 4 GiB.
    """
    low = min(ram, 3 << 30)
    usable = [(0, 0x9FC00), (0x100000, low - (128 << 10))]
    if ram > low:
        usable.append((4 << 30, (4 << 30) + ram - low))
    return usable


def ram_end(ram: int) -> int:
    """The highest physical address plus one, of a machine with *ram* bytes."""
    return ram if ram <= 3 << 30 else (4 << 30) + ram - (3 << 30)


class Memblock:
    """The allocator before the allocator: takes from the top of the highest memory, never gives back."""

    def __init__(self, usable: list[tuple[int, int]]) -> None:
        self.free = [[max(first, 1 << 20), last & -PAGE] for first, last in usable if last > 1 << 20]
        self.free = _without(self.free, IMAGE_PHYS, IMAGE_PHYS + IMAGE_SIZE)
        self.taken = 0

    def alloc(self, size: int, align: int = PAGE, near: Sequence[tuple[int, int]] = ()) -> int:
        """``memblock_phys_alloc_try_nid()``: zeroed (fresh RAM is), from the ranges *near* if that can be; or
        MemoryError.
        """
        size = -(-size // PAGE) * PAGE
        for low, high in [*reversed(near), (0, 1 << 62)]:
            for index in reversed(range(len(self.free))):
                first, last = self.free[index]
                start = (min(last, high) - size) & -align
                if start >= max(first, low):
                    left = [[first, start], [start + size, last]]
                    self.free[index : index + 1] = [block for block in left if block[1] > block[0]]
                    self.taken += size
                    return start
        raise MemoryError("boot needs more memory than there is")


def _without(ranges: list[list[int]], start: int, end: int) -> list[list[int]]:
    kept = []
    for first, last in ranges:
        if first < start:
            kept.append([first, min(last, start)])
        if last > end:
            kept.append([max(first, end), last])
    return [block for block in kept if block[1] > block[0]]


def _largest_blocks(r: Range) -> Range:
    """The blocks of the largest order in a range; its end may lie before its start."""
    n = 1 << (MAX_ORDER - 1)
    return r._replace(start=-(-r.start // n) * n, end=r.end // n * n)


def _cut(ranges: list[Range], holes: list[Range]) -> Iterator[Range]:
    """The ranges without the *holes*; both by address."""
    for r in ranges:
        start = r.start
        for hole in holes:
            if r.start <= hole.start < r.end:
                yield r._replace(start=start, end=hole.start)
                start = hole.end
        yield r._replace(start=start)


class MemoryBoot:
    """Brings up the mm on a fresh *ram*; what others need to know of the layout stays in its attributes."""

    def __init__(self, ram: Ram, core: Core, config: BootConfig) -> None:
        self.ram, self.core, self.config = ram, core, config
        self.release = release(config.release)
        self.view = View(ram)
        self.usable = e820(config.ram)
        self.nodes = share(self.usable, config.ram, config.nodes)
        """The usable memory of each node."""
        self.deferred = config.ram > DEFER_ABOVE
        self.memblock = Memblock(self.usable)
        self.cr3 = IMAGE_TABLES
        self._next_image_table = IMAGE_TABLES + PAGE
        self._tables: dict[tuple[int, int], int] = {}

    def run(self) -> None:
        """Everything, in the kernel's order."""
        self._variables()
        self._mem_map()
        self._page_tables()
        self._percpu()
        self._zones()
        self._free_memory()
        self.core.k_setup_per_cpu_pageset()
        self.core.k_start_khugepaged()
        self._slab()
        flags = self.release.slab_flags["SLAB_PANIC"]
        size = vmap_area.among(self.ram.structs).size
        cache = self.core.k_kmem_cache_create(self.string("vmap_area"), size, 0, flags, 0, 0, 0)
        self.core.k_vmalloc_init(cache)
        self.core.k_shuffle_free_memory()

    def _variables(self) -> None:
        k, config = self.view.kdata, self.config
        k.page_offset_base = s64(PAGE_OFFSET)
        k.vmalloc_base = s64(0xFFFFC90000000000)
        k.vmemmap_base = s64(VMEMMAP_START)
        k.max_pfn = self.ram.size >> 12
        k.high_memory = s64(PAGE_OFFSET + self.ram.size)
        k.nr_cpu_ids, k.nr_node_ids = config.cpus, config.nodes
        k.swapper_pg_dir = s64(PAGE_OFFSET + self.cr3)
        for name in _SWITCHES:
            setattr(k, name, int(getattr(config, name)))
        for name in _NUMBERS:
            setattr(k, name, getattr(config, name))
        k.user_min_free_kbytes = config.min_free_kbytes
        k.random_state = s64((config.seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) | 1)
        self.core.private.fail_after = self.core.private.fail_inner = -1

    def _mem_map(self) -> None:
        size = (self.ram.size >> 12) * 64
        self.mem_map_size = -(-size // PMD) * PMD
        self.mem_map = self.memblock.alloc(self.mem_map_size, PMD)
        self.ram.place_mem_map(self.mem_map, self.mem_map_size)
        blocks = (self.ram.size >> (12 + PAGEBLOCK_ORDER)) + 16
        self.view.kdata.pageblock_flags = s64(PAGE_OFFSET + self.memblock.alloc(blocks))

    def _table(self, addr: int, level: int) -> int:
        """Physical address of the table of *level* (0: PTEs … 3: the top) that maps *addr*, made on the way down."""
        if level == 3:
            return self.cr3
        span = addr >> (12 + 9 * (level + 1))
        found = self._tables.get((level, span))
        if found is None:
            found = (
                self.memblock.alloc(PAGE) if self._next_image_table >= IMAGE_PHYS + IMAGE_SIZE else self._image_table()
            )
            self._tables[level, span] = found
            self.core.k_map_table(self._table(addr, level + 1), addr, level + 1, found)
        return found

    def _image_table(self) -> int:
        self._next_image_table += PAGE
        return self._next_image_table - PAGE

    def _map_2m(self, addr: int, phys: int, size: int, prot: int) -> None:
        while size > 0:
            chunk = min(size, PUD - addr % PUD)
            self.core.k_map_2m(self._table(addr, 1), addr, phys, chunk // PMD, prot)
            addr, phys, size = addr + chunk, phys + chunk, size - chunk

    def _page_tables(self) -> None:
        for first, last in self.usable:
            start, end = first & -PMD, -(-last // PMD) * PMD
            self._map_2m(PAGE_OFFSET + start, start, min(end, self.ram.size) - start, RW_GLOBAL_NX)
        self._map_2m(KERNEL_TEXT, IMAGE_PHYS, TEXT_SIZE, RWX_GLOBAL & ~2)
        self._map_2m(KERNEL_TEXT + TEXT_SIZE, IMAGE_PHYS + TEXT_SIZE, IMAGE_SIZE - TEXT_SIZE, RW_GLOBAL_NX)
        self._map_2m(VMEMMAP_START, self.mem_map, self.mem_map_size, RW_GLOBAL_NX)

    def _percpu(self) -> None:
        k = self.view.kdata
        offsets = getattr(k, "__per_cpu_offset")
        at = {name: export(name, self.config.release) for name in ("numa_node", "x86_cpu_to_node_map")}
        for cpu in range(self.config.cpus):
            node = cpu_to_node(cpu, self.config.nodes)
            unit = self.memblock.alloc(PERCPU_UNIT, near=self.nodes[node])
            offsets[cpu] = s64(PAGE_OFFSET + unit)
            for name, found in at.items():
                assert found is not None, name
                self.ram.mem[unit + found.address : unit + found.address + 4] = node.to_bytes(4, "little")
        numa_node = at["numa_node"]
        assert numa_node is not None
        k.numa_node_offset = numa_node.address
        k.pcpu_base_addr = offsets[0]
        k.pcpu_unit_size = PERCPU_UNIT
        k.pcpu_static_size = self.release.constants["PERCPU_STATIC"] + PERCPU_RESERVED
        k.pcpu_free_bytes = PERCPU_UNIT - k.pcpu_static_size
        k.pcpu_map = s64(PAGE_OFFSET + self.memblock.alloc(PERCPU_UNIT // 8))

    def _zones(self) -> None:
        k = self.view.kdata
        names = [self.string(name) for name in ZONE_NAMES]
        for nid, ranges in enumerate(self.nodes):
            pgdat = PAGE_OFFSET + self.memblock.alloc(pglist_data.among(self.ram.structs).size, near=ranges)
            node = self.view.ptr(pglist_data, pgdat)
            node.node_id = nid
            k.node_data[nid] = node
            mine = pages(ranges)
            for index, name in enumerate(names):
                zone = span(mine, index) if index < len(ZONE_LIMITS) else Span(0, 0, 0)
                self.core.k_init_zone(pgdat, index, zone.start, zone.spanned, zone.present, name)
            node.node_start_pfn, end = mine[0][0], mine[-1][1]
            node.node_present_pages = sum(last - first for first, last in mine)
            node.node_spanned_pages = end - mine[0][0]
            for other in range(self.config.nodes):
                k.numa_distance[nid * MAX_NODES + other] = LOCAL_DISTANCE if other == nid else REMOTE_DISTANCE

    def _free_memory(self) -> None:
        # What boot still needs it must take before memblock hands over.
        self.boot_caches = self.memblock.alloc(5 * PAGE)
        self.names = self.memblock.alloc(len(self.release.kmalloc_types) * KMALLOC_SLOTS * 32)
        slots = PAGE_OFFSET + self.memblock.alloc(PAGE)
        e820_reserve_resources(self.view, self.config.ram, self.usable, slots, self.string)
        there = available(self.nodes)
        free = [Range(-(-first // PAGE), last // PAGE, 0, 0) for first, last in self.memblock.free]
        free = [
            Range(max(r.start, f.start), min(r.end, f.end), r.zone, r.node)
            for r in there
            for f in free
            if max(r.start, f.start) < min(r.end, f.end)
        ]
        untouched = [r for r in map(_largest_blocks, free) if r.start < r.end] if self.deferred else []
        for r in [*_cut(there, untouched), *unavailable(there)]:
            self.core.k_memmap_init(r.start, r.end, r.zone, r.node)
        for r in there:
            self.core.k_memmap_init_blocks(r.start, r.end)
        for r in free:
            inner = _largest_blocks(r)
            if not self.deferred or inner.start >= inner.end:
                self.core.k_memblock_free_range(r.start, r.end)
                continue
            self.core.k_memblock_free_range(r.start, inner.start)
            now = inner.end
            if r.zone == ZONE_NORMAL and not self.view.kdata.deferred_end[r.node]:
                now = min(inner.start + PAGES_PER_SECTION, inner.end)
                if now < inner.end:
                    self.core.k_memblock_defer(now, inner.end, r.node)
            self.core.k_memblock_free_untouched(inner.start, now, r.zone, r.node)
            self.core.k_memblock_free_range(inner.end, r.end)
        for node in range(self.config.nodes):
            self.core.k_build_zonelists(node)
        self.core.k_setup_watermarks()

    def _slab(self) -> None:
        own = ("kmem_cache_node", "kmem_cache", "kmalloc_buckets")
        for kind, prefix in enumerate(self.release.kmalloc_types):
            for index, size in enumerate(_SIZES):
                at = self.names + (kind * KMALLOC_SLOTS + index) * 32
                text = (f"{prefix}-{size}" if size else own[kind] if kind < len(own) else "").encode()
                self.ram.mem[at : at + len(text)] = text
        assert kmem_cache.among(self.ram.structs).size <= 8192 + 512
        self.core.k_kmem_cache_init(PAGE_OFFSET + self.boot_caches, PAGE_OFFSET + self.names)

    def string(self, text: str) -> int:
        """The address of a C string in the kernel image, put there if it is not yet."""
        k = self.view.kdata
        used = int(k.strings_used)
        raw = text.encode() + b"\0"
        base = KDATA_ADDRESS + kdata.field("strings").offset
        at = base - START_KERNEL_MAP
        found = bytes(self.ram.mem[at : at + used]).find(raw)
        if found >= 0:
            return base + found
        if used + len(raw) > kdata.field("strings").size:
            raise UsageError(
                f"the names that calls from Python gave fill their {kdata.field('strings').size} bytes",
                remedy="Use fewer different names, or pass the address of a string of your own.",
            )
        self.ram.mem[at + used : at + used + len(raw)] = raw
        k.strings_used = used + len(raw)
        return base + used
