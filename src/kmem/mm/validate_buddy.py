"""Invariants B1 … B14 of the page allocator, and L1 of the LRU lists, as full scans (tests and `check`; never on a
run's path).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from kmem.abi.layout import enums
from kmem.abi.page_flags import NODES_SHIFT, ZONES_SHIFT
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import page, per_cpu_pages
from kmem.mm.validate_memory import NO_TYPE, STRUCT_PAGE, BrokenList, Memory, Violation

MAX_ORDER, PAGEBLOCK_ORDER, MIGRATE_TYPES, PCPTYPES, HIGHATOMIC = 11, 9, 5, 3, 3
LARGEST, MOVABLE = MAX_ORDER - 1, 1
PCP_LISTS, NR_LRU_LISTS = 14, 5
_CLEAN = "PG_locked PG_lru PG_active PG_reserved PG_private PG_private_2 PG_writeback".split()
"""Flags that no free page has."""
LASTCPUPID_BYTE, UNMADE = 5, 0
ALLOCATED, FREE, CACHED, RESERVED = b".fcr"


class Block(NamedTuple):
    """2^order pages that are free or on a CPU's list."""

    pfn: int
    order: int
    migratetype: int


class ZoneState:
    """One zone: what its lists say."""

    def __init__(self, memory: Memory, z: Any, index: int) -> None:
        self.z, self.index, self.node = z, index, int(z.node)
        self.name = f"node {self.node} {memory.view.string(z.name)}"
        self.start, self.end = int(z.zone_start_pfn), int(z.zone_start_pfn + z.spanned_pages)
        self.problems: list[str] = []
        self.free: list[Block] = []
        self.deferred = self._deferred(memory)
        """Pages that are free and on no list yet, because boot put them off."""
        self.pcp: list[tuple[int, Block]] = []
        for order in range(MAX_ORDER):
            for mt in range(MIGRATE_TYPES):
                head = u64(z.free_area[order].free_list[mt]._addr)
                self.free += [Block(pfn, order, mt) for pfn in self._pages(memory, head)]
        for cpu in range(memory.k.nr_cpu_ids if z.per_cpu_pageset else 0):
            pcp = self.pcp_of(memory, cpu)
            for pindex in range(PCP_LISTS):
                order = PAGEBLOCK_ORDER if pindex >= 12 else pindex // PCPTYPES
                mt = (0, 1)[pindex - 12] if pindex >= 12 else pindex % PCPTYPES
                self.pcp += [(cpu, Block(pfn, order, mt)) for pfn in self._pages(memory, u64(pcp.lists[pindex]._addr))]

    def _deferred(self, memory: Memory) -> range:
        end = int(memory.k.deferred_end[self.node])
        return range(int(self.z.zone_pgdat.first_deferred_pfn), end) if end and self.index == 2 else range(0)

    def pcp_of(self, memory: Memory, cpu: int) -> Any:
        """The CPU's ``per_cpu_pages``."""
        return memory.view.ptr(per_cpu_pages, memory.percpu(self.z.per_cpu_pageset._addr, cpu))

    def _pages(self, memory: Memory, head: int) -> list[int]:
        lru = memory.view.offset(page, "lru")
        try:
            found = [memory.pfn_of_page(link - lru) for link in memory.links(head)]
        except BrokenList as error:
            self.problems.append(str(error))
            return []
        if -1 in found:
            self.problems.append(f"list {head:#x} holds what is no struct page")
        return [pfn for pfn in found if pfn >= 0]


class Buddy:
    """All zones, and what each pfn is.

    ``.`` allocated, ``f`` free, ``c`` on a CPU's list, ``r`` reserved, space: in no zone.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.zones = [ZoneState(memory, z, index) for index, z in _zones(memory)]
        self.problems: list[str] = [problem for z in self.zones for problem in z.problems]
        self.state = bytearray(b" " * memory.last_pfn)
        byte, bit = divmod(memory.page_flags.bit("PG_reserved"), 8)
        # from a byte of a page's flags to whether it is reserved or was given out
        used = memory.flag_bytes(byte).translate(bytes(ord("r") if n >> bit & 1 else ord(".") for n in range(256)))
        self.unmade = memory.flag_bytes(LASTCPUPID_BYTE)
        """A zero for each page whose struct page was not made: in no section, or put off by boot."""
        for z in self.zones:
            self.state[z.start : z.end] = used[z.start : z.end]
        for run in re.finditer(rb"\0+", self.unmade):
            self.state[run.start() : run.end()] = b" " * (run.end() - run.start())
        for z in self.zones:
            self.state[z.deferred.start : z.deferred.stop] = b"." * len(z.deferred)
            for block in z.free:
                if self.untouched(block):
                    self.state[block.pfn : block.pfn + (1 << LARGEST)] = b"." * (1 << LARGEST)
                self._mark(block, b"f")
            for _, block in z.pcp:
                self._mark(block, b"c")
            for pfn in z.deferred[:: 1 << LARGEST]:
                self._mark(Block(pfn, LARGEST, MOVABLE), b"f")

    def untouched(self, block: Block) -> bool:
        """Whether only the block's first page was ever made."""
        tails = slice(block.pfn + 1, block.pfn + (1 << LARGEST))
        return block.order == LARGEST and self.unmade[tails].count(UNMADE) == (1 << LARGEST) - 1

    def states(self) -> Any:
        """``state`` as an array."""
        return np.frombuffer(self.state, np.uint8)

    def _mark(self, block: Block, what: bytes) -> None:
        n = 1 << block.order
        were = self.state[block.pfn : block.pfn + n]
        if were != b"." * n:
            self.problems.append(
                f"pfn {block.pfn} order {block.order} is {what.decode()} but was {sorted(set(were.decode()))}"
            )
        self.state[block.pfn : block.pfn + n] = what * n


def _zones(memory: Memory) -> Iterator[tuple[int, Any]]:
    for node in range(memory.k.nr_node_ids):
        for index in range(5):
            z = memory.k.node_data[node].node_zones[index]
            if z.managed_pages:
                yield index, z


def b1(b: Buddy) -> Iterator[Violation]:
    """Free counts equal the lists; free, per-cpu, allocated and reserved pages add up to the zone."""
    for z in b.zones:
        for order in range(MAX_ORDER):
            listed = sum(block.order == order for block in z.free)
            listed += len(z.deferred) >> order if order == LARGEST else 0
            if z.z.free_area[order].nr_free != listed:
                yield Violation(
                    "B1", f"{z.name} order {order}: nr_free {z.z.free_area[order].nr_free}, {listed} on the lists"
                )
        counts = Counter(b.state[z.start : z.end])
        if z.z.vm_stat[0] != counts[FREE]:
            yield Violation("B1", f"{z.name}: NR_FREE_PAGES {z.z.vm_stat[0]}, {counts[FREE]} pages on the lists")
        there = counts[FREE] + counts[CACHED] + counts[ALLOCATED]
        if z.z.managed_pages != there:
            yield Violation("B1", f"{z.name}: managed {z.z.managed_pages}, but {there} pages are not reserved")


def b2(b: Buddy) -> Iterator[Violation]:
    """A free block starts at a multiple of its size and lies in its zone."""
    for z in b.zones:
        for block in [*z.free, *(block for _, block in z.pcp)]:
            if block.pfn % (1 << block.order) or not z.start <= block.pfn <= z.end - (1 << block.order):
                yield Violation("B2", f"{z.name}: block {block} is misaligned or outside")


def b3(b: Buddy) -> Iterator[Violation]:
    """No two free buddies of less than a page block lie side by side.

    Larger ones may: a block that leaves the atomic reserve is not merged with its neighbour until one of them is used.
    """
    for z in b.zones:
        orders = {block.pfn: block.order for block in z.free}
        for block in z.free:
            other = block.pfn ^ (1 << block.order)
            if block.order < PAGEBLOCK_ORDER and orders.get(other) == block.order:
                yield Violation("B3", f"{z.name}: {block} and its buddy {other} are both free")


def b4(b: Buddy) -> Iterator[Violation]:
    """No page is two things, and no list is broken."""
    for problem in b.problems:
        yield Violation("B4", problem)


def b5(b: Buddy) -> Iterator[Violation]:
    """Exactly the first page of a free block is PageBuddy, with the order in ``private``."""
    heads = {block.pfn: block.order for z in b.zones for block in z.free}
    kinds = b.memory.array("page_type")
    marked = set(np.flatnonzero(b.memory.page_flags.is_buddy(kinds) & (b.states() != ord(" "))).tolist())
    for pfn in sorted(marked - heads.keys()):
        yield Violation("B5", f"pfn {pfn} is PageBuddy, but on no list")
    for pfn in sorted(heads.keys() - marked):
        yield Violation("B5", f"pfn {pfn} is on a list, but not PageBuddy")
    private = b.memory.array("private")
    for pfn in sorted(marked & heads.keys()):
        if private[pfn] != heads[pfn]:
            yield Violation("B5", f"pfn {pfn}: private {private[pfn]}, on the list of order {heads[pfn]}")


def b6(b: Buddy) -> Iterator[Violation]:
    """A free page has no reference, mapping, owner or flag left from its last user."""
    m = b.memory
    check_at_free = sum(1 << m.page_flags.bit(name) for name in _CLEAN)
    if not m.page_flags.typed:
        check_at_free |= 1 << m.page_flags.bit("PG_slab")
    kinds = m.array("page_type")
    used = (m.array("_refcount") != 0) | (m.array("mapping") != 0) | (m.array("memcg_data") != 0)
    used |= (m.array("flags") & np.uint64(check_at_free) != 0) | (m.array("compound_head") & np.uint64(1) != 0)
    heads, tails = used | ((kinds != NO_TYPE) & ~m.page_flags.is_buddy(kinds)), used | (kinds != NO_TYPE)
    for z in b.zones:
        for block in [*z.free, *(block for _, block in z.pcp)]:
            one, end = block.pfn, block.pfn + (1 << block.order)
            rest = used[one + 1 : end] | (kinds[one + 1 : end] != 0) if b.untouched(block) else tails[one + 1 : end]
            if heads[one] or rest.any():
                yield Violation(
                    "B6", f"{z.name}: free {block} still has a reference, mapping, owner, type, compound head or flag"
                )


def b7(b: Buddy) -> Iterator[Violation]:
    """Allocated pages: heads are referenced, compound pages agree with their tails."""
    m = b.memory
    base = np.uint64(0xFFFFEA0000000000)
    head_bit = 1 << m.page_flags.bit("PG_head")
    refcount, link = m.array("_refcount"), m.array("compound_head")
    stray = (link & np.uint64(1) != 0) & (b.states() == ALLOCATED)
    compound: dict[int, list[int]] = {}
    for pfn, flags in m.heads:
        if flags & head_bit and b.state[pfn] == ALLOCATED:
            compound.setdefault(m.orders[pfn], []).append(pfn)
    for order, pfns in compound.items():
        heads = np.array(pfns)
        wrong = (refcount[heads] == 0) | (heads % (1 << order) != 0) | (not 1 <= order < MAX_ORDER)
        if 1 <= order < MAX_ORDER:
            tails = heads[:, None] + np.arange(1, 1 << order)
            stray[tails] = False
            right = (base + heads.astype(np.uint64) * np.uint64(STRUCT_PAGE) + np.uint64(1))[:, None]
            wrong |= ((link[tails] != right) | (refcount[tails] != 0)).any(axis=1)
        for pfn in heads[wrong].tolist():
            yield Violation("B7", f"compound page at pfn {pfn} of order {order}: head or tails are wrong")
    for pfn in np.flatnonzero(stray).tolist():
        yield Violation("B7", f"pfn {pfn} is a tail of no compound page")
    for pfn in np.flatnonzero(_unreferenced(b, refcount, link)).tolist():
        yield Violation("B7", f"pfn {pfn} is allocated, not referenced, and in no block whose first page is")


def _unreferenced(b: Buddy, refcount: Any, link: Any) -> Any:
    """Which pages in use have no reference and lie beyond any block that the last referenced one can begin."""
    used = b.states() == ALLOCATED
    pfns = np.arange(len(used))
    ends = np.append(np.flatnonzero(used[:-1] & ~used[1:]) + 1, len(used))
    run_end = ends[np.searchsorted(ends, pfns, side="right").clip(max=len(ends) - 1)]
    alone = used & (link & np.uint64(1) == 0)
    block_end = np.minimum(pfns + np.minimum(pfns & -pfns, 1 << LARGEST), run_end)
    last = np.maximum.accumulate(np.where(alone & (refcount != 0), pfns, 0))
    return alone & (refcount == 0) & (pfns >= np.where(last, block_end[last], 0))


def pageblock_type(memory: Memory, pfn: int) -> int:
    """``get_pageblock_migratetype()``: four bits a block, sixteen blocks a word."""
    block = pfn >> PAGEBLOCK_ORDER
    word = memory.word(u64(memory.k.pageblock_flags) + block // 16 * 8)
    return word >> (block % 16 * 4) & 7


def b11(b: Buddy) -> Iterator[Violation]:
    """Watermarks follow from sizes; min <= low <= high; reserves grow with the distance of the request's zone."""
    k = b.memory.k
    total = sum(int(z.z.managed_pages) for z in b.zones)
    least = max(128, min(math.isqrt(total * 4 * 16), 262144))
    if k.user_min_free_kbytes >= 0:
        least = int(k.user_min_free_kbytes)
    elif total >= 512 << 8:
        least = max(least, _for_huge_pages(b, least))
    if k.min_free_kbytes != least or k.totalram_pages != total:
        yield Violation(
            "B11", f"min_free_kbytes {k.min_free_kbytes} for {k.totalram_pages} pages; {least} for {total} expected"
        )
    managed = {(z.node, z.index): int(z.z.managed_pages) for z in b.zones}
    for z in b.zones:
        size = managed[z.node, z.index]
        low = (least // 4) * size // total
        step = max(low // 4, size * int(k.watermark_scale_factor) // 10000)
        expected = [low + n * step for n in range(3)]
        if [int(z.z._watermark[n]) for n in range(3)] != expected:
            yield Violation("B11", f"{z.name}: watermarks are not {expected}")
        if z.z.watermark_boost > max(512, expected[2] * int(k.watermark_boost_factor) // 10000):
            yield Violation("B11", f"{z.name}: watermark boost {z.z.watermark_boost}")
        ratio = 256 if z.index < 2 else 32
        reserve = [sum(managed.get((z.node, i), 0) for i in range(z.index + 1, j + 1)) // ratio for j in range(5)]
        if [int(z.z.lowmem_reserve[j]) for j in range(5)] != reserve:
            yield Violation("B11", f"{z.name}: lowmem_reserve is not {reserve}")


def _for_huge_pages(b: Buddy, least: int) -> int:
    """What khugepaged raises min_free_kbytes to: 11 page blocks a zone, but no more than 5 % of what is above the high
    watermarks that there were before.
    """
    total = sum(int(z.z.managed_pages) for z in b.zones)
    above = 0
    for z in b.zones:
        size = int(z.z.managed_pages)
        low = (least // 4) * size // total
        above += max(size - low - 2 * max(low // 4, size * int(b.memory.k.watermark_scale_factor) // 10000), 0)
    return 4 * min((11 * len(b.zones)) << PAGEBLOCK_ORDER, above // 20)


def b12(b: Buddy) -> Iterator[Violation]:
    """High-order atomic reserves count the page blocks that carry the type, and only those hold its free blocks.

    As in the kernel a page block that the zone's start or end cuts may leave free pages on the old list when it changes
    its type; and before the release that looks at the page block again, a page that waited on a CPU goes to the list of
    the type that its block had when it was freed, though the block was given back to everybody meanwhile.
    """
    exact = "page-block-exact" in b.memory.features
    for z in b.zones:
        first, last = z.start >> PAGEBLOCK_ORDER, (z.end - 1) >> PAGEBLOCK_ORDER
        types = {block: pageblock_type(b.memory, block << PAGEBLOCK_ORDER) for block in range(first, last + 1)}
        reserved = list(types.values()).count(HIGHATOMIC) << PAGEBLOCK_ORDER
        if z.z.nr_reserved_highatomic != reserved:
            yield Violation(
                "B12", f"{z.name}: nr_reserved_highatomic {z.z.nr_reserved_highatomic}, {reserved} pages in such blocks"
            )
        for block in z.free:
            whole = z.start <= block.pfn & ~511 and (block.pfn | 511) < z.end
            if exact and block.migratetype == HIGHATOMIC != types[block.pfn >> PAGEBLOCK_ORDER] and whole:
                yield Violation("B12", f"{z.name}: {block} is on the list of a type that its page block does not have")
        if any(kind >= MIGRATE_TYPES for kind in types.values()):
            yield Violation("B12", f"{z.name}: a page block has no valid type")


def b13(b: Buddy) -> Iterator[Violation]:
    """Per-cpu counts equal the lists, and a page is on the list of the type that it remembers."""
    index = b.memory.column("index")
    for z in b.zones:
        for cpu in range(b.memory.k.nr_cpu_ids):
            pcp = z.pcp_of(b.memory, cpu)
            listed = sum(1 << block.order for owner, block in z.pcp if owner == cpu)
            if pcp.count != listed:
                yield Violation("B13", f"{z.name} cpu {cpu}: count {pcp.count}, {listed} pages on the lists")
        for cpu, block in z.pcp:
            if b.memory.page_type[block.pfn] != NO_TYPE:
                yield Violation("B13", f"{z.name} cpu {cpu}: {block} has a page type")
            if "page-block-exact" in b.memory.features:
                continue  # the list is that of the page block's type when the page was freed: nothing remembers it
            mt = index[block.pfn] if index[block.pfn] < PCPTYPES else 1
            if (mt == 1 if block.order == PAGEBLOCK_ORDER else mt) != block.migratetype:
                yield Violation("B13", f"{z.name} cpu {cpu}: {block} remembers type {index[block.pfn]}")


def b14(b: Buddy) -> Iterator[Violation]:
    """A page keeps its node and zone; without them is only what boot put off."""
    low, high = (b.memory.flag_bytes(byte) for byte in (6, 7))
    for z in b.zones:
        zone, node = z.index << 3, z.node << 6 >> 8
        zone |= z.node << 6 & 0xC0
        absent = b.unmade[z.start : z.end].count(UNMADE)
        there = z.end - z.start - absent
        zones = low[z.start : z.end].translate(_ZONE_BITS).count(zone) - (0 if zone else absent)
        nodes = high[z.start : z.end].count(node) - (0 if node else absent)
        # a hole belongs to the zone that follows it
        elsewhere = zones != there or nodes != there
        if elsewhere and any(
            flags >> 51 != z.index | z.node << 3 and flags and b.state[pfn] != RESERVED
            for pfn, flags in enumerate(b.memory.flags[z.start : z.end], z.start)
        ):
            yield Violation("B14", f"{z.name}: a page has another zone or node in its flags")
        late = sum((1 << LARGEST) - 1 for block in z.free if b.untouched(block)) + len(z.deferred)
        if absent - late != b.state[z.start : z.end].count(b" "):
            yield Violation("B14", f"{z.name}: {absent} pages have no flags, {late} were put off")


_ZONE_BITS = bytes(byte & 0xF8 for byte in range(256))


def l1(b: Buddy) -> Iterator[Violation]:
    """A page has PG_lru exactly when it is on the list that its flags say, and is in use; counts equal lists."""
    memory, k = b.memory, b.memory.k
    table = enums(memory.ram.release)
    node_base, zone_base = table["node_stat_item"]["NR_LRU_BASE"], table["zone_stat_item"]["NR_ZONE_LRU_BASE"]
    isolated = table["node_stat_item"]["NR_ISOLATED_ANON"]
    on_list, active, swapbacked, unevictable = (
        memory.page_flags.bit(name) for name in ("PG_lru", "PG_active", "PG_swapbacked", "PG_unevictable")
    )
    listed: Counter[tuple[int, int, int]] = Counter()
    on: set[int] = set()
    link = memory.view.offset(page, "lru")
    for node in range(k.nr_node_ids):
        for lru in range(NR_LRU_LISTS):
            head = u64(k.node_data[node].__lruvec.lists[lru]._addr)
            try:
                pages = [memory.pfn_of_page(at - link) for at in memory.links(head)]
            except BrokenList as error:
                yield Violation("L1", str(error))
                continue
            for pfn in pages:
                if pfn < 0 or pfn in on:
                    yield Violation("L1", f"node {node} list {lru}: pfn {pfn} is no page, or on two lists")
                    continue
                on.add(pfn)
                flags = memory.flags[pfn]
                listed[node, flags >> ZONES_SHIFT & 7, lru] += 1
                kind = (flags >> active & 1) + (0 if flags >> swapbacked & 1 else 2)
                right = (4 if flags >> unevictable & 1 else kind) == lru and flags >> NODES_SHIFT == node
                if not right or not flags >> on_list & 1:
                    yield Violation("L1", f"node {node} list {lru}: pfn {pfn} has flags {flags:#x}")
                if b.state[pfn] != ALLOCATED or not 0 < memory.refcount[pfn] < 1 << 31:
                    yield Violation("L1", f"node {node} list {lru}: pfn {pfn} is not in use")
    for pfn in set(np.flatnonzero(memory.array("flags") & np.uint64(1 << on_list)).tolist()) - on:
        yield Violation("L1", f"pfn {pfn} has PG_lru and is on no list")
    for z in b.zones:
        for lru in range(NR_LRU_LISTS):
            counted, there = z.z.vm_stat[zone_base + lru], listed[int(z.z.node), z.index, lru]
            if counted != there:
                yield Violation("L1", f"{z.name} list {lru}: counted {counted}, {there} pages on it")
    total = sum(listed.values())
    counted = sum(int(k.vm_node_stat[node_base + lru]) for lru in range(NR_LRU_LISTS))
    if counted != total:
        yield Violation("L1", f"the node counters say {counted} pages on LRU lists, there are {total}")
    if any(k.vm_node_stat[isolated + file] for file in range(2)):
        yield Violation("L1", "pages count as isolated while nothing runs")


PREDICATES: tuple[Callable[[Buddy], Iterator[Violation]], ...] = (b1, b2, b3, b4, b5, b6, b7, b11, b12, b13, b14, l1)
