"""Counts of a replay by call site and by task, compiled."""

from __future__ import annotations

from kmem.lib.host import get32, get64, put64
from kmem.lib.jit import always_inline
from kmem.trace.replay_state import (
    SITE_MASK,
    SITE_ROOM,
    SITE_ROWS,
    SITE_USED,
    SITES,
    TASK_MASK,
    TASK_ROOM,
    TASK_ROWS,
    TASK_USED,
    TASKS,
    W_ALLOCS,
    W_ASKED,
    W_BYTES,
    W_CROSS,
    W_FREES,
    W_KEY,
    W_LIFE,
    W_LIFETIMES,
    W_LIVE,
    W_PEAK,
    W_REQUESTED,
    W_TOTAL,
    WHO_WIDTH,
    WHO_WORDS,
)
from kmem.trace.scan import C_SITE, C_TASK, at, put
from kmem.trace.table import seek


@always_inline
def who(table: int, mask: int, rows: int, state: int, used: int, room: int, key: int) -> int:
    """The number of a call site or task; 0 (all others) when there are too many."""
    e = seek(table, mask, WHO_WIDTH, key)
    if get64(e) == 0:
        n = at(state, used)
        if n >= room:
            return 0
        put64(e, key)
        put64(e + 8, n)
        put(rows + 8 * WHO_WORDS * n, W_KEY, key)
        put(state, used, n + 1)
    return get64(e + 8)


@always_inline
def count_alloc(row: int, requested: int, allocated: int) -> None:
    """An allocation by a site or task."""
    put(row, W_ALLOCS, at(row, W_ALLOCS) + 1)
    put(row, W_LIVE, at(row, W_LIVE) + 1)
    put(row, W_REQUESTED, at(row, W_REQUESTED) + requested)
    put(row, W_ASKED, at(row, W_ASKED) + requested)
    put(row, W_TOTAL, at(row, W_TOTAL) + allocated)
    live = at(row, W_BYTES) + allocated
    put(row, W_BYTES, live)
    if live > at(row, W_PEAK):
        put(row, W_PEAK, live)


@always_inline
def count_free(row: int, requested: int, allocated: int, life: int, cross: bool) -> None:
    """A free of what a site or task allocated; a *life* below 0 is not known."""
    put(row, W_FREES, at(row, W_FREES) + 1)
    put(row, W_LIVE, at(row, W_LIVE) - 1)
    put(row, W_REQUESTED, at(row, W_REQUESTED) - requested)
    put(row, W_BYTES, at(row, W_BYTES) - allocated)
    if life >= 0:
        put(row, W_LIFE, at(row, W_LIFE) + life)
        put(row, W_LIFETIMES, at(row, W_LIFETIMES) + 1)
    if cross:
        put(row, W_CROSS, at(row, W_CROSS) + 1)


@always_inline
def site_row(state: int, pair: int) -> int:
    """The counts of the call site in a pair of site and task."""
    return at(state, SITE_ROWS) + 8 * WHO_WORDS * (pair & 0xFFFFFFFF)


@always_inline
def task_row(state: int, pair: int) -> int:
    """The counts of the task in a pair of site and task."""
    return at(state, TASK_ROWS) + 8 * WHO_WORDS * (pair >> 32)


@always_inline
def who_pair(state: int, columns: int, i: int) -> int:
    """The numbers of the call site and the task of an event, in one."""
    site = who(
        at(state, SITES),
        at(state, SITE_MASK),
        at(state, SITE_ROWS),
        state,
        SITE_USED,
        at(state, SITE_ROOM),
        get64(at(columns, C_SITE) + 8 * i) + 1,
    )
    task = who(
        at(state, TASKS),
        at(state, TASK_MASK),
        at(state, TASK_ROWS),
        state,
        TASK_USED,
        at(state, TASK_ROOM),
        get32(at(columns, C_TASK) + 4 * i) + 1,
    )
    return site | task << 32
