"""Invariants V1 … V5 of vmalloc, P1 and P2 of the page tables, and S19, T1, T6 of the counters, as full scans."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kmem.abi.address import MODULES_END, MODULES_VADDR, PAGE_OFFSET, VMALLOC_END, VMALLOC_START
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import kmem_cache, vm_struct, vmap_area, vmap_block
from kmem.mm.validate_buddy import ALLOCATED, Buddy
from kmem.mm.validate_memory import PAGE_SIZE, BrokenList, Memory, Violation
from kmem.mm.validate_slub import Slub
from kmem.mm.validate_user import User

SPACE = (0xFFFF800000000000, 0xFFFFFFFFFFFFF000)
PRESENT, PSE, FRAME = 1, 1 << 7, 0x000FFFFFFFFFF000
PAT_LARGE = 1 << 12
VMAP_BBMAP_BITS = 256
VM_IOREMAP, VM_ALLOC, VM_MAP, VM_NO_GUARD = 1, 2, 4, 0x40
RANGES = ((VMALLOC_START, VMALLOC_END + 1), (MODULES_VADDR, MODULES_END))
_TABLE = struct.Struct("<512Q")
_NODE = vmap_area.field("rb_node").offset
_LIST = vmap_area.field("list").offset


class Area(NamedTuple):
    """One ``struct vmap_area``."""

    addr: int
    start: int
    end: int
    vm: int


class Leaf(NamedTuple):
    """One present entry that maps memory."""

    addr: int
    size: int
    entry: int

    @property
    def phys(self) -> int:
        """Where it leads."""
        return self.entry & FRAME & -self.size


class Vmap:
    """The three sets of areas, both trees, and every page table."""

    def __init__(self, buddy: Buddy, slub: Slub) -> None:
        self.buddy, self.slub = buddy, slub
        self.memory: Memory = buddy.memory
        self.problems: list[str] = []
        k = self.memory.k
        self.busy = self._areas(k.vmap_area_list)
        self.free = self._areas(k.free_vmap_area_list)
        self.lazy = self._areas(k.purge_vmap_area_list)
        self.blocks = self._blocks(k)
        self.tables: dict[int, list[int]] = {}
        """Physical address of each table below the top one, with the addresses of the entries that point to it."""
        self.leaves: list[Leaf] = []
        self.levels: dict[int, int] = {}
        self._walk(u64(k.swapper_pg_dir) - PAGE_OFFSET, 3, 0)

    def _areas(self, head: Any) -> list[Area]:
        try:
            links = self.memory.links(u64(head._addr))
        except BrokenList as error:
            self.problems.append(str(error))
            return []
        return [self.area(link - _LIST) for link in links]

    def _blocks(self, k: Any) -> dict[int, Any]:
        """The per-CPU blocks of vm_map_ram by their first address."""
        offset = vmap_block.field("purge").offset
        try:
            links = self.memory.links(u64(k.vmap_blocks._addr))
        except BrokenList as error:
            self.problems.append(str(error))
            return {}
        blocks = [self.memory.view.ptr(vmap_block, link - offset) for link in links]
        return {u64(vb.va.va_start): vb for vb in blocks}

    def queued(self) -> list[int]:
        """Addresses of the blocks that somebody may still cut from, of all CPUs."""
        k, offset = self.memory.k, vmap_block.field("free_list").offset
        return [
            link - offset
            for cpu in range(k.nr_cpu_ids)
            for link in self.memory.links(u64(k.vmap_block_queue[cpu]._addr))
        ]

    def area(self, addr: int) -> Area:
        """The ``struct vmap_area`` at *addr*."""
        va = self.memory.view.ptr(vmap_area, addr)
        vm = u64(va.vm._addr)
        return Area(addr, u64(va.va_start), u64(va.va_end), vm)

    def _walk(self, table: int, level: int, base: int) -> None:
        entries = _TABLE.unpack_from(self.memory.ram.mem, table)
        for index, entry in enumerate(entries):
            if not entry & PRESENT or (level and not entry & PSE and entry & FRAME >= self.memory.ram.size):
                continue  # a table that is not in RAM is of the CPU's own memory, behind it
            addr = base + (index << (12 + 9 * level))
            if level == 3 and addr >> 47:
                addr |= 0xFFFF << 48
            if level == 0 or entry & PSE:
                self.leaves.append(Leaf(addr, PAGE_SIZE << (9 * level), entry))
            else:
                below = entry & FRAME
                self.tables.setdefault(below, []).append(table + 8 * index)
                if len(self.tables[below]) == 1:
                    self.levels[below] = level - 1
                    self._walk(below, level - 1, addr)

    def mapped(self) -> Iterator[Leaf]:
        """Leaves of the vmalloc and module ranges."""
        return (leaf for leaf in self.leaves if any(first <= leaf.addr < last for first, last in RANGES))

    def vm(self, area: Area) -> Any:
        """Its ``struct vm_struct``."""
        return self.memory.view.ptr(vm_struct, area.vm)

    def page_array(self, vm: Any) -> list[int]:
        """pfns that the array of an area's pages names; the array may lie in vmalloc space."""
        found = []
        for index in range(vm.nr_pages):
            at = u64(vm.pages if isinstance(vm.pages, int) else vm.pages._addr) + 8 * index
            found.append(self.memory.pfn_of_page(self.word(at)))
        return found

    def word(self, addr: int) -> int:
        """The word at any mapped address."""
        if not VMALLOC_START <= addr <= VMALLOC_END:
            return self.memory.word(addr)
        leaf = self.by_address().get(addr & -PAGE_SIZE)
        value: int = (
            struct.unpack_from("<Q", self.memory.ram.mem, leaf + addr % PAGE_SIZE)[0] if leaf is not None else 0
        )
        return value

    def by_address(self) -> dict[int, int]:
        """Physical address of every mapped 4 KiB of the vmalloc and module ranges."""
        if not hasattr(self, "_by_address"):
            self._by_address = {
                leaf.addr + at: leaf.phys + at for leaf in self.mapped() for at in range(0, leaf.size, PAGE_SIZE)
            }
        return self._by_address


def v1(v: Vmap) -> Iterator[Violation]:
    """Busy areas are sorted, disjoint, page aligned, in a range that may be mapped; lists and trees agree."""
    for problem in v.problems:
        yield Violation("V1", problem)
    previous = 0
    for area in v.busy:
        inside = any(first <= area.start < area.end <= last for first, last in RANGES)
        if not inside or area.start % PAGE_SIZE or area.end % PAGE_SIZE or area.start < previous:
            yield Violation("V1", f"busy area {area.start:#x}-{area.end:#x} is outside, misaligned or overlaps")
        previous = area.end
        vm = v.vm(area) if area.vm else None
        if vm is not None and (u64(vm.addr) != area.start or vm.size != area.end - area.start):
            yield Violation("V1", f"busy area {area.start:#x}-{area.end:#x}: its vm_struct says otherwise")
    yield from _blocks(v)
    for name, root, listed in (
        ("busy", v.memory.k.vmap_area_root, v.busy),
        ("free", v.memory.k.free_vmap_area_root, v.free),
    ):
        in_order, _, problems = _tree(v, u64(root.rb_node._addr), 0)
        if [area.addr for area in listed] != in_order:
            problems.append("tree and list differ")
        if root.rb_node and not root.rb_node.__getattr__("__rb_parent_color") & 1:
            problems.append("the root is red")
        for problem in problems:
            yield Violation("V1", f"{name} tree: {problem}")


def _blocks(v: Vmap) -> Iterator[Violation]:
    """A block is a busy area without a vm_struct, on its CPU's queue as long as there is something to cut, and mapped
    only where it was cut.
    """
    busy = {area.start: area for area in v.busy}
    queued = v.queued()
    if sorted(queued) != sorted(u64(vb._addr) for vb in v.blocks.values() if vb.free):
        yield Violation("V1", "the queues of vmap blocks are not those that have something free")
    mapped = sorted(v.by_address())
    for start, vb in v.blocks.items():
        area = busy.get(start)
        size = VMAP_BBMAP_BITS * PAGE_SIZE
        if area is None or area.vm or area.end - start != size or start % size:
            yield Violation("V1", f"vmap block {start:#x} has no busy area of its own")
        if vb.free + vb.dirty > VMAP_BBMAP_BITS or (vb.dirty and not vb.dirty_min < vb.dirty_max <= VMAP_BBMAP_BITS):
            yield Violation("V1", f"vmap block {start:#x}: {vb.free} free, {vb.dirty} dirty")
        end = start + (VMAP_BBMAP_BITS - vb.free) * PAGE_SIZE
        beyond = mapped[bisect_left(mapped, end) : bisect_left(mapped, start + size)]
        if beyond:
            yield Violation("V1", f"vmap block {start:#x}: {beyond[0]:#x} is mapped, but was not handed out")


def _tree(v: Vmap, node: int, parent: int) -> tuple[list[int], int, list[str]]:
    """In-order areas, black height and problems of the subtree at *node*."""
    if not node:
        return [], 1, []
    color = v.memory.word(node)
    right, left = v.memory.word(node + 8), v.memory.word(node + 16)
    problems = [] if color & ~3 == parent else [f"node {node:#x} does not know its parent"]
    if not color & 1 and parent and not v.memory.word(parent) & 1:
        problems.append(f"node {node:#x} and its parent are red")
    below, black, found = _tree(v, left, node)
    above, other, more = _tree(v, right, node)
    if black != other:
        problems.append(f"node {node:#x}: black heights {black} and {other}")
    return [*below, node - _NODE, *above], black + (color & 1), problems + found + more


def v2(v: Vmap) -> Iterator[Violation]:
    """The last page of an area is an unmapped guard, unless it has none."""
    mapped = v.by_address()
    for area in v.busy:
        if area.vm and not v.vm(area).flags & VM_NO_GUARD and area.end - PAGE_SIZE in mapped:
            yield Violation("V2", f"the guard page at {area.end - PAGE_SIZE:#x} is mapped")


def v3(v: Vmap) -> Iterator[Violation]:
    """Busy, free and lazy ranges tile the space; the free tree knows the largest gap below each node."""
    at = SPACE[0]
    for area in sorted([*v.busy, *v.free, *v.lazy], key=lambda area: area.start):
        if area.start != at or area.end <= area.start:
            yield Violation("V3", f"range {area.start:#x}-{area.end:#x} where {at:#x} was expected")
        at = area.end
    if at != SPACE[1]:
        yield Violation("V3", f"the last range ends at {at:#x}")
    for before, after in zip(v.free, v.free[1:], strict=False):
        if before.end == after.start:
            yield Violation("V3", f"free ranges meet at {after.start:#x} and are not merged")
    yield from _gaps(v, u64(v.memory.k.free_vmap_area_root.rb_node._addr))[1]


def _gaps(v: Vmap, node: int) -> tuple[int, list[Violation]]:
    """The largest free range of a subtree, recomputed, and where the tree says otherwise."""
    if not node:
        return 0, []
    right, wrong = _gaps(v, v.memory.word(node + 8))
    left, more = _gaps(v, v.memory.word(node + 16))
    area = v.memory.view.ptr(vmap_area, node - _NODE)
    best = max(left, right, int(area.va_end - area.va_start))
    if area.subtree_max_size != best:
        wrong.append(
            Violation("V3", f"free area {u64(area.va_start):#x}: subtree_max_size {area.subtree_max_size}, not {best}")
        )
    return best, wrong + more


def v4(v: Vmap) -> Iterator[Violation]:
    """An allocated area has a page for each of its pages, mapped in order, each page in one area only."""
    owner: dict[int, int] = {}
    mapped = v.by_address()
    total = 0
    for area in v.busy:
        vm = v.vm(area) if area.vm else None
        if vm is None or not vm.flags & VM_ALLOC:
            continue
        size = area.end - area.start - (0 if vm.flags & VM_NO_GUARD else PAGE_SIZE)
        pfns = v.page_array(vm)
        total += len(pfns)
        if vm.nr_pages * PAGE_SIZE != size:
            yield Violation("V4", f"area {area.start:#x} of {size} bytes has {vm.nr_pages} pages")
        for index, pfn in enumerate(pfns):
            if mapped.get(area.start + index * PAGE_SIZE) != pfn * PAGE_SIZE:
                yield Violation(
                    "V4", f"area {area.start:#x}: page {index} is pfn {pfn}, which is not what is mapped there"
                )
            if pfn in owner:
                yield Violation("V4", f"pfn {pfn} is in the areas {owner[pfn]:#x} and {area.start:#x}")
            owner[pfn] = area.start
    if v.memory.k.nr_vmalloc_pages != total:
        yield Violation("V4", f"nr_vmalloc_pages {v.memory.k.nr_vmalloc_pages}, areas have {total}")


def v5(v: Vmap) -> Iterator[Violation]:
    """Nothing is mapped outside busy areas."""
    busy = iter(v.busy)
    area = next(busy, None)
    for leaf in sorted(v.mapped()):
        while area is not None and area.end <= leaf.addr:
            area = next(busy, None)
        if area is None or not area.start <= leaf.addr <= leaf.addr + leaf.size <= area.end:
            yield Violation("V5", f"{leaf.addr:#x} is mapped, but in no busy area")


def p1(v: Vmap) -> Iterator[Violation]:
    """What is mapped belongs to somebody; the direct map is the identity."""
    free, memory = v.buddy.state, v.memory
    for leaf in v.leaves:
        if PAGE_OFFSET <= leaf.addr < PAGE_OFFSET + memory.ram.size:
            if leaf.phys != leaf.addr - PAGE_OFFSET:
                yield Violation("P1", f"direct map: {leaf.addr:#x} leads to {leaf.phys:#x}")
        elif any(first <= leaf.addr < last for first, last in RANGES) and leaf.phys < memory.ram.size:
            first = leaf.phys // PAGE_SIZE
            if any(what in b"fc" for what in free[first : first + leaf.size // PAGE_SIZE]):
                yield Violation("P1", f"{leaf.addr:#x} maps pfn {first}, which is free")


def p2(v: Vmap) -> Iterator[Violation]:
    """A table has one parent and a page of its own; tables of 2 MiB entries made by vmalloc are marked as tables; a
    large entry leads to memory that is aligned as it is large.
    """
    for leaf in v.leaves:
        if leaf.size > PAGE_SIZE and leaf.entry & FRAME & (leaf.size - 1) & ~PAT_LARGE:
            yield Violation("P2", f"{leaf.addr:#x}: {leaf.size} bytes lead to {leaf.entry & FRAME:#x}")
    for table, parents in v.tables.items():
        pfn = table // PAGE_SIZE
        if len(parents) != 1 or pfn >= v.memory.last_pfn or v.buddy.state[pfn] not in b".r":
            yield Violation("P2", f"table at {table:#x} has {len(parents)} parents or lies in a free page")
    marked = {pfn for pfn, kind in v.memory.typed if v.memory.page_flags.is_table(kind)}
    if len(marked) != v.memory.k.vm_node_stat[38]:
        yield Violation("P2", f"NR_PAGETABLE {v.memory.k.vm_node_stat[38]}, {len(marked)} pages are marked")
    known = {table // PAGE_SIZE for table in v.tables} | set(User(v.buddy).tables)
    for pfn in sorted(marked - known):
        yield Violation("P2", f"pfn {pfn} is marked as a page table, but nothing points to it")


def s19(v: Vmap) -> Iterator[Violation]:
    """The slabs of all caches are what NR_SLAB counts, with large kmallocs, which are compound pages."""
    k, memory = v.memory.k, v.memory
    pages_of = {True: 0, False: 0}
    for sl in v.slub.slabs.values():
        cache = v.slub.caches.get(sl.cache)
        if cache is not None:
            pages_of[bool(cache.flags & memory.slab_flags.SLAB_RECLAIM_ACCOUNT)] += 1 << sl.order
    for sl in v.slub.waiting:
        flags = memory.view.ptr(kmem_cache, sl.cache).flags
        pages_of[bool(flags & memory.slab_flags.SLAB_RECLAIM_ACCOUNT)] += 1 << sl.order
    head = memory.page_flags.bit("PG_head")
    others = sum(
        1 << memory.orders[pfn]
        for pfn, flags in memory.heads
        if flags >> head & 1 and not memory.is_slab(pfn) and v.buddy.state[pfn] == ALLOCATED
    )
    reclaimable, large = int(k.vm_node_stat[5]), int(k.vm_node_stat[6]) - pages_of[False]
    if reclaimable != pages_of[True] or not 0 <= large <= others:
        yield Violation(
            "S19", f"NR_SLAB {reclaimable} + {k.vm_node_stat[6]}; slabs {pages_of}, other compound pages {others}"
        )


def t1(v: Vmap) -> Iterator[Violation]:
    """Counters equal what is there."""
    k, memory = v.memory.k, v.memory
    yield from _sums(v)
    lazy = sum((area.end - area.start) // PAGE_SIZE for area in v.lazy)
    if k.vmap_lazy_nr != lazy:
        yield Violation("T1", f"vmap_lazy_nr {k.vmap_lazy_nr}, {lazy} pages wait")
    holes = memory.bytes_at(u64(k.pcpu_map), int(k.pcpu_unit_size) // 8)[int(k.pcpu_static_size) // 8 :].count(0) * 8
    if k.pcpu_free_bytes != holes:
        yield Violation("T1", f"pcpu_free_bytes {k.pcpu_free_bytes}, {holes} free in the map")


def _sums(v: Vmap) -> Iterator[Violation]:
    """Counters of the machine are the sums over zones or nodes; a slab counts for the node that it is on."""
    k, memory = v.memory.k, v.memory
    nodes = [k.node_data[node] for node in range(k.nr_node_ids)]
    zones = [node.node_zones[index] for node in nodes for index in range(5)]
    for name, whole, parts in (
        ("vm_zone_stat", k.vm_zone_stat, [z.vm_stat for z in zones]),
        ("vm_numa_event", k.vm_numa_event, [z.vm_numa_event for z in zones]),
        ("vm_node_stat", k.vm_node_stat, [node.vm_stat for node in nodes]),
    ):
        for item in range(len(parts[0])):
            if whole[item] != sum(part[item] for part in parts):
                yield Violation("T1", f"{name}[{item}] is {whole[item]}, not the sum over its parts")
    reclaimable = [0] * len(nodes)
    for pfn, sl in v.slub.slabs.items():
        cache = v.slub.caches.get(sl.cache)
        if cache is not None and cache.flags & memory.slab_flags.SLAB_RECLAIM_ACCOUNT:
            reclaimable[memory.flags[pfn] >> 54] += 1 << sl.order
    if [node.vm_stat[5] for node in nodes] != reclaimable:
        yield Violation("T1", f"reclaimable slab pages by node are {reclaimable}")
    for node in nodes:
        kept = 0
        for index in range(5):
            z = node.node_zones[index]
            most = max(z.lowmem_reserve[high] for high in range(index, 5))
            kept += min(most + z._watermark[2], z.managed_pages)
        if node.totalreserve_pages != kept:
            yield Violation("T1", f"node {node.node_id}: totalreserve_pages {node.totalreserve_pages}, zones {kept}")


def t6(v: Vmap) -> Iterator[Violation]:
    """Memory is conserved: zones cover RAM from page 1 on, and every page is free, on a list, allocated or reserved."""
    covered = sum(z.end - z.start - v.buddy.state[z.start : z.end].count(b" ") for z in v.buddy.zones)
    spaces = v.buddy.state.count(b" ")
    if covered + spaces != v.memory.last_pfn:
        yield Violation("T6", f"{covered} pages in zones and {spaces} outside are not {v.memory.last_pfn}")
    managed = sum(int(z.z.managed_pages) for z in v.buddy.zones)
    present = sum(int(z.z.present_pages) for z in v.buddy.zones)
    reserved = v.buddy.state.count(b"r")
    if managed + reserved != covered or managed > present:
        yield Violation("T6", f"{managed} managed and {reserved} reserved pages are not the {covered} of the zones")


PREDICATES: tuple[Callable[[Vmap], Iterator[Violation]], ...] = (v1, v2, v3, v4, v5, p1, p2, s19, t1, t6)
