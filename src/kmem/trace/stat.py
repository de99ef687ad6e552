"""What ``perf kmem stat`` tells of a trace, without a model: sums by call site and by pointer, and of pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kmem.trace import scan as s
from kmem.trace import tally as t
from kmem.trace.engine import Table, reader
from kmem.trace.pages import PageRecording, Turns
from kmem.trace.schema import Array, Info, Recording
from kmem.trace.state import parse_buddyinfo

_WORD = (1 << 64) - 1
SORTS = ("frag", "hit", "bytes", "pingpong")
"""What perf sorts by, under its names, the most important first."""
_UNUSED = (s.R_NAME, s.R_GFP, s.R_PID, s.R_FLAGS, s.R_PREEMPT)


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

    def by_caller(self, most: int, sort: str = "frag") -> list[Who]:
        """Call sites, those that have most of *sort*, one of `SORTS`, first."""
        return _sorted(self.callers, most, sort, t.NO_SITE & _WORD)

    def by_pointer(self, most: int, sort: str = "frag") -> list[Who]:
        """Pointers, likewise."""
        return _sorted(self.pointers, most, sort, 1)


def _sorted(table: Table, most: int, sort: str, nothing: int) -> list[Who]:
    """Entries by *sort*, then as perf does by the other ones, the most first; equal ones by their keys. 0 is *nothing*
    in a table.
    """
    rows = table.words[table.words[:, t.H_KEY] != 0]
    keys = rows[:, t.H_KEY].view(np.uint64)
    requested, allocated = rows[:, t.H_REQUESTED], rows[:, t.H_ALLOCATED]
    with np.errstate(divide="ignore", invalid="ignore"):
        waste = np.where(allocated, 100.0 - 100.0 * requested / allocated, 0.0)
    columns = {"frag": waste, "hit": rows[:, t.H_HITS], "bytes": allocated, "pingpong": rows[:, t.H_PINGPONG]}
    by = (sort, *(name for name in SORTS if name != sort))
    order = np.lexsort((keys, *(-columns[name] for name in reversed(by))))[: most or None]
    return [
        Who(0 if key == nothing else key, *values)
        for key, values in zip(
            keys[order].tolist(), rows[order, t.H_REQUESTED : t.H_PINGPONG + 1].tolist(), strict=True
        )
    ]


def _turns(recording: Recording) -> Iterator[Turns]:
    """The events in order; pages of the ring buffer are not gathered, and without what is not added up."""
    if isinstance(recording, PageRecording):
        yield from recording.turns(_UNUSED)
        return
    source: Array = np.zeros((1, s.M_WORDS), np.int64)
    order: Array = np.zeros(0, np.int64)
    for batch in recording.batches():
        if batch.n > len(order):
            order = np.arange(batch.capacity)
        source[0, s.M_COLUMNS] = batch.addresses.ctypes.data
        yield Turns(batch.n, order, source)


def stat(recording: Recording, begin: int = 0, end: int = 0) -> Stat:
    """Read *recording* once and add up its events, from *begin* to *end* nanoseconds after its first if told."""
    state: Array = np.zeros(t.TALLY_WORDS, np.int64)
    orders: Array = np.zeros(t.ORDERS, np.int64)
    pointers, callers, pages = Table(t.PTR_WIDTH, 1 << 16), Table(t.SITE_WIDTH), Table(t.PAGE_WIDTH, 1 << 14)
    tables = ((pointers, t.L_PTRS), (callers, t.L_SITES), (pages, t.L_PAGES))
    state[t.L_FROM], state[t.L_TO], state[t.L_ORDERS] = begin, end or -1, orders.ctypes.data
    add = reader("t_tally")
    for n, order, sources in _turns(recording):
        for table, place in tables:
            table.used = int(state[place + 2])
            table.reserve(n)
            state[place], state[place + 1] = table.address, table.capacity - 1
        state[t.L_N], state[t.L_ORDER], state[t.L_SOURCES] = n, order.ctypes.data, sources.ctypes.data
        if not state[t.L_FIRST]:
            reader("t_tally_begin")(state.ctypes.data)
        add(state.ctypes.data)
    if isinstance(recording, PageRecording):
        recording.name_sites(callers.words[:, t.H_KEY].view(np.uint64).tolist())
    got = [int(value) for value in state]
    nodes = {node for node, _ in parse_buddyinfo(recording.info.before.get("buddyinfo", ""))}
    return Stat(
        info=recording.info,
        begin=got[t.L_FIRST] & _WORD,
        end=got[t.L_LAST] & _WORD,
        requested=int(callers.words[:, t.H_REQUESTED].sum()),
        allocated=int(callers.words[:, t.H_ALLOCATED].sum()),
        freed=got[t.L_FREED],
        allocs=int(callers.words[:, t.H_HITS].sum()),
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
