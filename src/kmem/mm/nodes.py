"""Which physical memory and which CPUs belong to which node, and how far nodes are apart (arch/x86/mm/numa.c; 6.1).

Memory is shared out as QEMU does with nodes of equal size, and ``numa=fake=N``: by address, each node's start a
multiple of 32 MiB. CPUs go round robin, as the kernel has it for CPUs that firmware tells no node of.

Simplified: whether a CPU without a slab looks at another node's (``get_any_partial()``) is drawn from the machine's own
random numbers; the kernel asks the CPU's time stamp.
"""

from __future__ import annotations

from typing import NamedTuple

from kmem.mm.mmzone import PAGES_PER_SECTION

PAGE = 4096
FAKE_NODE_MIN_SIZE = 32 << 20
LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 20
ZONE_LIMITS = ((1, 4096), (4096, 1 << 20), (1 << 20, 1 << 52))
"""First page of ZONE_DMA, ZONE_DMA32 and ZONE_NORMAL, and the first behind (``arch_zone_lowest_possible_pfn[]``)."""


class Range(NamedTuple):
    """Page frames from *start* to *end*, exclusive, in one zone of one node."""

    start: int
    end: int
    zone: int
    node: int


class Span(NamedTuple):
    """A zone of a node: its first page, how many its limits span, and how many of them there are."""

    start: int
    spanned: int
    present: int


def share(usable: list[tuple[int, int]], ram: int, nodes: int) -> list[list[tuple[int, int]]]:
    """The usable memory (byte ranges) of each node; *ram* is the machine's, holes not counted."""
    size = ram // nodes & -FAKE_NODE_MIN_SIZE
    holes = usable[-1][0] - (3 << 30) if usable[-1][0] >= 4 << 30 else 0
    starts = [node * size for node in range(nodes)]
    starts = [start + holes if start >= 3 << 30 else start for start in starts]
    ends = [*starts[1:], 1 << 62]
    return [
        [(max(first, start), min(last, end)) for first, last in usable if max(first, start) < min(last, end)]
        for start, end in zip(starts, ends, strict=True)
    ]


def pages(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Whole pages of byte ranges, page 0 left out, as the kernel does."""
    found = [(-(-max(first, PAGE) // PAGE), last // PAGE) for first, last in ranges]
    return [(first, last) for first, last in found if last > first]


def span(ranges: list[tuple[int, int]], zone: int) -> Span:
    """``calculate_node_totalpages()``: the zone of a node that has these pages, all 0 if nothing is in it."""
    low, high = ZONE_LIMITS[zone]
    start, end = (min(max(pfn, low), high) for pfn in (ranges[0][0], ranges[-1][1]))
    present = sum(max(min(last, end) - max(first, start), 0) for first, last in ranges)
    return Span(start, end - start, present) if present else Span(0, 0, 0)


def available(shares: list[list[tuple[int, int]]]) -> list[Range]:
    """The pages that there are, by address, cut at the borders of nodes and zones."""
    found = []
    for node, ranges in enumerate(shares):
        for first, last in pages(ranges):
            for zone, (low, high) in enumerate(ZONE_LIMITS):
                if max(first, low) < min(last, high):
                    found.append(Range(max(first, low), min(last, high), zone, node))
    return sorted(found)


def unavailable(there: list[Range]) -> list[Range]:
    """``init_unavailable_range()``: pages that there are not, but whose section has a struct page for them.

    They count to the zone that follows, those behind the last page to the last zone.
    """
    sections = {number for r in there for number in range(r.start // PAGES_PER_SECTION, _section_end(r.end))}
    holes, hole = [], 0
    for r in there:
        holes.append(Range(hole, r.start, r.zone, r.node))
        hole = r.end
    last = there[-1]
    holes.append(Range(hole, _section_end(hole) * PAGES_PER_SECTION, last.zone, last.node))
    found = []
    for r in holes:
        for number in range(r.start // PAGES_PER_SECTION, _section_end(r.end)):
            first, end = max(r.start, number * PAGES_PER_SECTION), min(r.end, (number + 1) * PAGES_PER_SECTION)
            if number in sections and first < end:
                found.append(r._replace(start=first, end=end))
    return found


def _section_end(pfn: int) -> int:
    return -(-pfn // PAGES_PER_SECTION)


def cpu_to_node(cpu: int, nodes: int) -> int:
    """``numa_init_array()``: the node of a CPU."""
    return cpu % nodes
