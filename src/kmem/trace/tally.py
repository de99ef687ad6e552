"""Sums over a trace, compiled: what ``perf kmem stat`` counts, by call site and by pointer, and pages.

A free counts for the allocation of its pointer that came last; it is a ping-pong if another CPU made that. No model is
asked, and nothing is inferred: what the events say is added up.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get8, get16, get64, put64
from kmem.lib.jit import always_inline, entry, jit, ult
from kmem.mm.events import KFREE, KMALLOC, KMEM_CACHE_ALLOC, KMEM_CACHE_FREE, MM_PAGE_ALLOC, MM_PAGE_FREE
from kmem.trace.scan import (
    C_ALLOCATED,
    C_CPU,
    C_KIND,
    C_NODE,
    C_ORDER,
    C_PTR,
    C_REQUESTED,
    C_SITE,
    C_TIME,
    M_COLUMNS,
    M_WORDS,
    at,
    put,
)
from kmem.trace.table import remove, seek, soon

# The state: the input, columns of one or more sources and whose turn it is; tables, each with its mask and how many
# there are; from when to when; sums. The sums of allocations are those of all call sites.
(L_SOURCES, L_ORDER, L_N, L_PTRS, L_PTR_MASK, L_PTR_USED, L_SITES, L_SITE_MASK, L_SITE_USED) = range(9)
(L_PAGES, L_PAGE_MASK, L_PAGE_USED, L_ORDERS, L_FROM, L_TO, L_FIRST, L_LAST) = range(9, 17)
(L_FREED, L_FREES, L_UNKNOWN_FREES, L_OTHER_NODE) = range(17, 21)
(L_PAGE_ALLOCS, L_PAGE_FREES, L_PAGE_UNKNOWN, L_PAGE_FAILED) = range(23, 27)
(L_PAGE_BYTES, L_PAGE_FREED, L_PAGE_UNKNOWN_BYTES, L_PAGE_FAILED_BYTES) = range(27, 31)
TALLY_WORDS = 32

# Of a pointer and of a call site: the key, then sums. Of a pointer besides: its last allocation.
H_KEY, H_REQUESTED, H_ALLOCATED, H_HITS, H_PINGPONG, H_LAST, H_SITE, H_CPU = range(8)
PTR_WIDTH, SITE_WIDTH, PAGE_WIDTH = 64, 40, 8
NO_SITE = -1
"""The key of an allocation that tells no call site; that of no pointer is 1."""
NO_CPU, NO_PAGE = -1, -1
AHEAD = 12
ORDERS = 64


@always_inline
def key_of(ptr: int) -> int:
    """The key of a pointer: 0 is none."""
    return ptr if ptr else 1


@always_inline
def add(e: int, requested: int, allocated: int) -> None:
    """Count one allocation for a pointer or a call site."""
    put(e, H_REQUESTED, at(e, H_REQUESTED) + requested)
    put(e, H_ALLOCATED, at(e, H_ALLOCATED) + allocated)
    put(e, H_HITS, at(e, H_HITS) + 1)


@always_inline
def site_entry(state: int, site: int) -> int:
    """The entry of a call site, a new one if it was never seen."""
    key = site if site else NO_SITE
    e = seek(at(state, L_SITES), at(state, L_SITE_MASK), SITE_WIDTH, key)
    if get64(e) == 0:
        put64(e, key)
        put(state, L_SITE_USED, at(state, L_SITE_USED) + 1)
    return e


@always_inline
def allocate(state: int, columns: int, i: int, ptr: int) -> None:
    """``evsel__process_alloc_event()``."""
    requested = get64(at(columns, C_REQUESTED) + 8 * i)
    allocated = get64(at(columns, C_ALLOCATED) + 8 * i)
    site = get64(at(columns, C_SITE) + 8 * i)
    e = seek(at(state, L_PTRS), at(state, L_PTR_MASK), PTR_WIDTH, key_of(ptr))
    if get64(e) == 0:
        put64(e, key_of(ptr))
        put(state, L_PTR_USED, at(state, L_PTR_USED) + 1)
    add(e, requested, allocated)
    put(e, H_LAST, allocated)
    put(e, H_SITE, site)
    put(e, H_CPU, get16(at(columns, C_CPU) + 2 * i))
    add(site_entry(state, site), requested, allocated)
    node = get16(at(columns, C_NODE) + 2 * i)
    if 0 < node < 0x8000:
        put(state, L_OTHER_NODE, at(state, L_OTHER_NODE) + 1)


@always_inline
def free(state: int, columns: int, i: int, ptr: int) -> None:
    """``evsel__process_free_event()``. NULL is nothing (perf takes it for the last allocation that failed)."""
    put(state, L_FREES, at(state, L_FREES) + 1)
    if ptr == 0:
        return
    e = seek(at(state, L_PTRS), at(state, L_PTR_MASK), PTR_WIDTH, key_of(ptr))
    if get64(e) == 0:
        put(state, L_UNKNOWN_FREES, at(state, L_UNKNOWN_FREES) + 1)
        return
    put(state, L_FREED, at(state, L_FREED) + at(e, H_LAST))
    if get16(at(columns, C_CPU) + 2 * i) != at(e, H_CPU):
        put(e, H_PINGPONG, at(e, H_PINGPONG) + 1)
        s = site_entry(state, at(e, H_SITE))
        put(s, H_PINGPONG, at(s, H_PINGPONG) + 1)
    put(e, H_CPU, NO_CPU)


@jit
def page(state: int, columns: int, i: int, pfn: int, allocated: bool) -> None:
    """``evsel__process_page_alloc_event()`` and ``evsel__process_page_free_event()``, their sums."""
    order = get8(at(columns, C_ORDER) + i) & (ORDERS - 1)
    size = get64(at(columns, C_ALLOCATED) + 8 * i)
    pages, mask = at(state, L_PAGES), at(state, L_PAGE_MASK)
    if allocated:
        put(state, L_PAGE_ALLOCS, at(state, L_PAGE_ALLOCS) + 1)
        put(state, L_PAGE_BYTES, at(state, L_PAGE_BYTES) + size)
        if pfn == NO_PAGE:
            put(state, L_PAGE_FAILED, at(state, L_PAGE_FAILED) + 1)
            put(state, L_PAGE_FAILED_BYTES, at(state, L_PAGE_FAILED_BYTES) + size)
            return
        put(at(state, L_ORDERS), order, at(at(state, L_ORDERS), order) + 1)
        e = seek(pages, mask, PAGE_WIDTH, pfn + 1)
        if get64(e) == 0:
            put64(e, pfn + 1)
            put(state, L_PAGE_USED, at(state, L_PAGE_USED) + 1)
        return
    put(state, L_PAGE_FREES, at(state, L_PAGE_FREES) + 1)
    put(state, L_PAGE_FREED, at(state, L_PAGE_FREED) + size)
    e = seek(pages, mask, PAGE_WIDTH, pfn + 1)
    if pfn == NO_PAGE or get64(e) == 0:
        put(state, L_PAGE_UNKNOWN, at(state, L_PAGE_UNKNOWN) + 1)
        put(state, L_PAGE_UNKNOWN_BYTES, at(state, L_PAGE_UNKNOWN_BYTES) + size)
    else:
        remove(pages, mask, PAGE_WIDTH, e)
        put(state, L_PAGE_USED, at(state, L_PAGE_USED) - 1)


@always_inline
def columns_of(state: int, turn: int) -> int:
    """The columns of the source whose turn it is."""
    return at(at(state, L_SOURCES) + 8 * M_WORDS * (turn >> 32), M_COLUMNS)


@always_inline
def in_time(state: int, time: int) -> bool:
    """Whether an event of that time counts."""
    since = time - at(state, L_FIRST)
    return not ult(since, at(state, L_FROM)) and ult(since, at(state, L_TO))


@entry
def t_tally_begin(ram: Any, state: int) -> int:
    """The trace begins with the first event."""
    turn = get64(at(state, L_ORDER))
    put(state, L_FIRST, get64(at(columns_of(state, turn), C_TIME) + 8 * (turn & 0xFFFFFFFF)))
    return 0


@entry
def t_tally(ram: Any, state: int) -> int:
    """Add the events to the sums. The tables have room for as many."""
    n, order = at(state, L_N), at(state, L_ORDER)
    ptrs, mask = at(state, L_PTRS), at(state, L_PTR_MASK)
    for i in range(n):
        if i + AHEAD < n:
            later = get64(order + 8 * (i + AHEAD))
            there = at(columns_of(state, later), C_PTR) + 8 * (later & 0xFFFFFFFF)
            soon(ptrs, mask, PTR_WIDTH, key_of(get64(there)))
        turn = get64(order + 8 * i)
        columns, place = columns_of(state, turn), turn & 0xFFFFFFFF
        time = get64(at(columns, C_TIME) + 8 * place)
        if not in_time(state, time):
            continue
        put(state, L_LAST, time)
        kind = get8(at(columns, C_KIND) + place)
        ptr = get64(at(columns, C_PTR) + 8 * place)
        if kind in (KMALLOC, KMEM_CACHE_ALLOC):
            allocate(state, columns, place, ptr)
        elif kind in (KFREE, KMEM_CACHE_FREE):
            free(state, columns, place, ptr)
        elif kind in (MM_PAGE_ALLOC, MM_PAGE_FREE):
            page(state, columns, place, ptr, kind == MM_PAGE_ALLOC)
    return n
