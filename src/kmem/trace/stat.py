"""What ``perf kmem stat`` tells of a trace, without a model: sums by call site and by pointer, and of pages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kmem.trace import tally as t
from kmem.trace.engine import Table, reader
from kmem.trace.schema import Array, Info, Recording
from kmem.trace.state import parse_buddyinfo

_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Who:
    """Sums of one call site or one pointer, *key*; *pingpong* counts frees by another CPU than the allocation's."""

    key: int
    requested: int
    allocated: int
    hits: int
    pingpong: int

    @property
    def wasted(self) -> float:
        """How much of what was allocated was not asked for, in per cent; perf calls it fragmentation."""
        return 100 - 100 * self.requested / self.allocated if self.allocated else 0.0


@dataclass(frozen=True)
class Pages:
    """Allocations and frees of pages, each with their bytes. What is *unknown* was not seen being allocated."""

    allocs: int
    alloc_bytes: int
    frees: int
    free_bytes: int
    unknown: int
    unknown_bytes: int
    failed: int
    failed_bytes: int
    orders: tuple[int, ...]


@dataclass(frozen=True)
class Stat:
    """The sums. *other_node* counts allocations that asked for another node than their CPU's; None if nobody knows."""

    info: Info
    begin: int
    end: int
    requested: int
    allocated: int
    freed: int
    allocs: int
    frees: int
    unknown_frees: int
    other_node: int | None
    pages: Pages
    callers: Table
    pointers: Table

    def by_caller(self, most: int) -> list[Who]:
        """Call sites, those that waste the largest share first, as perf sorts them."""
        return _sorted(self.callers, most, t.NO_SITE & _WORD)

    def by_pointer(self, most: int) -> list[Who]:
        """Pointers, likewise."""
        return _sorted(self.pointers, most, 1)


def _sorted(table: Table, most: int, nothing: int) -> list[Who]:
    """Entries by fragmentation, hits and bytes, the most first; equal ones by their keys. 0 is *nothing* in a table."""
    rows = table.words[table.words[:, t.H_KEY] != 0]
    keys = rows[:, t.H_KEY].view(np.uint64)
    requested, allocated = rows[:, t.H_REQUESTED], rows[:, t.H_ALLOCATED]
    with np.errstate(divide="ignore", invalid="ignore"):
        waste = np.where(allocated, 100.0 - 100.0 * requested / allocated, 0.0)
    order = np.lexsort((keys, -allocated, -rows[:, t.H_HITS], -waste))[: most or None]
    return [
        Who(0 if key == nothing else key, *values)
        for key, values in zip(
            keys[order].tolist(), rows[order, t.H_REQUESTED : t.H_PINGPONG + 1].tolist(), strict=True
        )
    ]


def stat(recording: Recording, begin: int = 0, end: int = 0) -> Stat:
    """Read *recording* once and add up its events, from *begin* to *end* nanoseconds after its first if told."""
    state: Array = np.zeros(t.TALLY_WORDS, np.int64)
    orders: Array = np.zeros(t.ORDERS, np.int64)
    pointers, callers, pages = Table(t.PTR_WIDTH, 1 << 16), Table(t.SITE_WIDTH), Table(t.PAGE_WIDTH, 1 << 14)
    tables = ((pointers, t.L_PTRS), (callers, t.L_SITES), (pages, t.L_PAGES))
    state[t.L_FROM], state[t.L_TO], state[t.L_ORDERS] = begin, end or -1, orders.ctypes.data
    add = reader("t_tally")
    for batch in recording.batches():
        for table, place in tables:
            table.used = int(state[place + 2])
            table.reserve(batch.n)
            state[place], state[place + 1] = table.address, table.capacity - 1
        state[t.L_COLUMNS], state[t.L_N] = batch.addresses.ctypes.data, batch.n
        add(state.ctypes.data)
    got = [int(value) for value in state]
    nodes = {node for node, _ in parse_buddyinfo(recording.info.before.get("buddyinfo", ""))}
    return Stat(
        info=recording.info,
        begin=got[t.L_FIRST],
        end=got[t.L_LAST],
        requested=got[t.L_REQUESTED],
        allocated=got[t.L_ALLOCATED],
        freed=got[t.L_FREED],
        allocs=got[t.L_ALLOCS],
        frees=got[t.L_FREES],
        unknown_frees=got[t.L_UNKNOWN_FREES],
        other_node=got[t.L_OTHER_NODE] if len(nodes) <= 1 else None,
        pages=Pages(
            allocs=got[t.L_PAGE_ALLOCS],
            alloc_bytes=got[t.L_PAGE_BYTES],
            frees=got[t.L_PAGE_FREES],
            free_bytes=got[t.L_PAGE_FREED],
            unknown=got[t.L_PAGE_UNKNOWN],
            unknown_bytes=got[t.L_PAGE_UNKNOWN_BYTES],
            failed=got[t.L_PAGE_FAILED],
            failed_bytes=got[t.L_PAGE_FAILED_BYTES],
            orders=tuple(orders.tolist()),
        ),
        callers=callers,
        pointers=pointers,
    )
