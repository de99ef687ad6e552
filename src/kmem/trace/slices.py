"""Events as packets of Perfetto's protobuf, compiled: a slice for the life of each allocation, counters of live memory.

A slice lies in a lane of its call site, the first that is free; so slices of one lane never overlap. An allocation that
finds no free lane is a moment without an end, on a track beside the lanes. What is left out to bound the file is in the
counters all the same. A counter is told every so many events, if it changed. Lengths are written in two bytes where one
is not sure to do.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get8, get16, get32, get64, put8, put64
from kmem.lib.jit import always_inline, ctz, entry, jit, lshr, noinline, ult
from kmem.mm.events import IOUNMAP, KMALLOC, KMEM_CACHE_FREE, MM_PAGE_ALLOC, MM_PAGE_FREE, PERCPU_ALLOC, VMALLOC
from kmem.trace.scan import C_ALLOCATED, C_CPU, C_KIND, C_ORDER, C_PTR, C_REQUESTED, C_TIME, at, put
from kmem.trace.table import remove, seek, soon

# The state: the input, the numbers of each event's group, site, task and flags, the output, tables, what is wanted.
(S_COLUMNS, S_N, S_GROUPS, S_SITES, S_TASKS, S_GFPS, S_OUT, S_LIVE, S_LIVE_MASK, S_LIVE_USED) = range(10)
(S_LANES, S_COUNTERS, S_COUNTER_COUNT, S_TASK_COUNTERS, S_TASK_COUNT) = range(10, 15)
(S_EVERY, S_ONE_OF, S_FROM, S_TO) = range(15, 19)
(S_EVENTS, S_ALLOCS, S_SLICES, S_LEFT_OUT, S_CROWDED, S_REUSED, S_UNKNOWN, S_OTHER, S_PACKETS) = range(19, 28)
SLICES_WORDS = 32

LIVE_WIDTH = 32
"""Of what lives: key; how much; call site and, from bit 32 on, lane plus 1; group and, from bit 32 on, task."""
LANES, TRACKS = 64, 128
"""Lanes of a call site, and the numbers that it has for tracks; the one after its lanes is for moments."""
BUSY, HIGHEST, CROWDED = 0, 1, 2
LANE_WORDS = 3
"""Of a call site: its lanes in use, a bit each; how many it ever used; how many moments it has."""
AHEAD = 12
PAGE_SIZE = 4096
OBJECTS, PAGES, FIRST_GROUP = 0, 1, 2
"""Counters: all bytes of objects, all pages, then each group's, in bytes or, for pages, in pages."""
VALUE, TOLD = 0, 1
COUNTER_WORDS = 2

ROOT, BUDDY, SLAB, SITES, SNAPSHOT, MODEL, MODEL_SLABS = 1, 2, 3, 4, 16, 48, 80
COUNTER_TRACK, TASK_TRACK, TASK_COUNTER, LANE_TRACK = 1 << 12, 1 << 28, 1 << 29, 1 << 32
"""Where the numbers of tracks begin. A task has two counters: bytes of objects, and bytes of pages."""
SEQUENCE = 1
BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
"""TrackEvent.Type."""
(A_ADDRESS, A_REQUESTED, A_ALLOCATED, A_GFP, A_CPU, A_TASK, A_CALL, A_ORDER, A_PFN) = range(1, 10)
"""Numbers of the interned names of arguments."""
T_KIND, T_GFP, T_TASK, T_CLASSES = 0, 1, 2, 3
"""Classes of interned texts: the number of a text is ``1 + 3 * n + class``."""
MOST_BYTES = 320
"""No event makes more bytes of slices, and no counter more than `COUNTER_BYTES`."""
COUNTER_BYTES = 40


@always_inline
def varint(out: int, value: int) -> int:
    """Append *value*; where the output goes on."""
    while ult(127, value):
        put8(out, (value & 127) | 128)
        out += 1
        value = lshr(value, 7)
    put8(out, value)
    return out + 1


@always_inline
def number(out: int, tag: int, value: int) -> int:
    """Append a field whose tag is one byte."""
    put8(out, tag)
    return varint(out + 1, value)


@always_inline
def length(out: int, size: int) -> None:
    """Fill in two bytes of length."""
    put8(out, (size & 127) | 128)
    put8(out + 1, size >> 7)


@jit
def argument(out: int, name: int, tag: int, value: int) -> int:
    """Append a ``debug_annotations`` whose value is a number."""
    put8(out, 4 << 3 | 2)
    end = number(number(out + 2, 1 << 3, name), tag, value)
    put8(out + 1, end - out - 2)
    return end


@jit
def text_argument(out: int, name: int, text: int) -> int:
    """Append a ``debug_annotations`` whose value is an interned text."""
    put8(out, 4 << 3 | 2)
    end = number(out + 2, 1 << 3, name)
    put8(end, (17 << 3) & 127 | 128)
    put8(end + 1, 17 << 3 >> 7)
    end = varint(end + 2, text)
    put8(out + 1, end - out - 2)
    return end


@always_inline
def head(out: int, time: int, event: int, track: int) -> int:
    """Begin a packet, three bytes after *out*, with a track event; the caller ends it with :func:`end`."""
    to = number(out + 3, 8 << 3, time)
    to = number(to, 10 << 3, SEQUENCE)
    to = number(to, 13 << 3, 2)
    put8(to, 11 << 3 | 2)
    to = number(to + 3, 9 << 3, event)
    return number(to, 11 << 3, track)


@always_inline
def body(out: int) -> int:
    """Where the track event's content of the packet at *out* begins."""
    to = out + 4
    while get8(to) & 128:
        to += 1
    return to + 8


@always_inline
def end(out: int, to: int) -> int:
    """End the packet that began at *out* and goes to *to*."""
    put8(out, 1 << 3 | 2)
    length(out + 1, to - out - 3)
    inner = body(out)
    length(inner - 2, to - inner)
    return to


@noinline
def tell(state: int, time: int, counters: int, n: int, track: int) -> None:
    """Append those of *n* counters that changed; the first one's track is *track*."""
    out = at(state, S_OUT)
    for i in range(n):
        row = counters + 8 * COUNTER_WORDS * i
        if at(row, VALUE) != at(row, TOLD):
            put(row, TOLD, at(row, VALUE))
            to = head(out, time, COUNTER, track + i)
            put8(to, (30 << 3) & 127 | 128)
            put8(to + 1, 30 << 3 >> 7)
            out = end(out, varint(to + 2, at(row, VALUE)))
            put(state, S_PACKETS, at(state, S_PACKETS) + 1)
    put(state, S_OUT, out)


@jit
def tell_all(state: int, time: int) -> None:
    """Append every counter that changed."""
    tell(state, time, at(state, S_COUNTERS), at(state, S_COUNTER_COUNT), COUNTER_TRACK)
    tell(state, time, at(state, S_TASK_COUNTERS), at(state, S_TASK_COUNT), TASK_COUNTER)


@always_inline
def count(row: int, amount: int) -> None:
    """Change a counter."""
    put(row, VALUE, at(row, VALUE) + amount)


@jit
def count_all(state: int, group: int, task: int, pages: bool, amount: int) -> None:
    """Change what an allocation of *amount* bytes or pages counts in."""
    counters = at(state, S_COUNTERS)
    count(counters + 8 * COUNTER_WORDS * (PAGES if pages else OBJECTS), amount)
    count(counters + 8 * COUNTER_WORDS * group, amount)
    theirs = at(state, S_TASK_COUNTERS) + 8 * COUNTER_WORDS * (2 * task + (1 if pages else 0))
    count(theirs, amount * PAGE_SIZE if pages else amount)


@always_inline
def space(kind: int, ptr: int) -> int:
    """The key of what lives at *ptr*: pages by frame, per-cpu memory by offset, everything else by address."""
    if kind in (MM_PAGE_ALLOC, MM_PAGE_FREE):
        return ptr ^ (1 << 61)
    if kind >= VMALLOC:
        return ptr ^ (2 << 61 if kind < PERCPU_ALLOC else 3 << 61)
    return ptr


@jit
def ended(state: int, e: int, time: int) -> None:
    """What the entry *e* is of lives no more."""
    lane, group, task = get64(e + 16) >> 32, get32(e + 24), get64(e + 24) >> 32
    site = get32(e + 16)
    count_all(state, group, task & 0x7FFFFFFF, task >> 31 != 0, -get64(e + 8))
    if lane:
        lanes = at(state, S_LANES) + 8 * LANE_WORDS * site
        put(lanes, BUSY, at(lanes, BUSY) & ~(1 << (lane - 1)))
        out = at(state, S_OUT)
        put(state, S_OUT, end(out, head(out, time, END, LANE_TRACK + TRACKS * site + lane - 1)))
        put(state, S_PACKETS, at(state, S_PACKETS) + 1)
    remove(at(state, S_LIVE), at(state, S_LIVE_MASK), LIVE_WIDTH, e)
    put(state, S_LIVE_USED, at(state, S_LIVE_USED) - 1)


@jit
def begun(state: int, i: int, kind: int, time: int, lane: int, what: int) -> None:
    """Append the beginning of the slice of event *i*, or its moment."""
    columns = at(state, S_COLUMNS)
    site, group = get32(at(state, S_SITES) + 4 * i), get32(at(state, S_GROUPS) + 4 * i)
    pages = kind == MM_PAGE_ALLOC
    out = at(state, S_OUT)
    to = head(out, time, what, LANE_TRACK + TRACKS * site + lane)
    to = number(to, 10 << 3, group)
    ptr = get64(at(columns, C_PTR) + 8 * i)
    if pages:
        to = argument(to, A_PFN, 3 << 3, ptr)
        to = argument(to, A_ORDER, 3 << 3, get8(at(columns, C_ORDER) + i))
    else:
        to = argument(to, A_ADDRESS, 7 << 3, ptr)
        to = argument(to, A_REQUESTED, 3 << 3, get64(at(columns, C_REQUESTED) + 8 * i))
        to = argument(to, A_ALLOCATED, 3 << 3, get64(at(columns, C_ALLOCATED) + 8 * i))
    to = text_argument(to, A_CALL, 1 + T_CLASSES * kind + T_KIND)
    to = text_argument(to, A_GFP, 1 + T_CLASSES * get32(at(state, S_GFPS) + 4 * i) + T_GFP)
    to = argument(to, A_CPU, 3 << 3, get16(at(columns, C_CPU) + 2 * i))
    to = text_argument(to, A_TASK, 1 + T_CLASSES * get32(at(state, S_TASKS) + 4 * i) + T_TASK)
    put(state, S_OUT, end(out, to))
    put(state, S_PACKETS, at(state, S_PACKETS) + 1)


@jit
def allocated(state: int, i: int, kind: int, key: int, time: int) -> None:
    """Event *i* allocates."""
    e = seek(at(state, S_LIVE), at(state, S_LIVE_MASK), LIVE_WIDTH, key)
    if get64(e):  # freed by a path that emits no event
        put(state, S_REUSED, at(state, S_REUSED) + 1)
        ended(state, e, time)
        e = seek(at(state, S_LIVE), at(state, S_LIVE_MASK), LIVE_WIDTH, key)
    columns = at(state, S_COLUMNS)
    site, group = get32(at(state, S_SITES) + 4 * i), get32(at(state, S_GROUPS) + 4 * i)
    pages = kind == MM_PAGE_ALLOC
    amount = 1 << (get8(at(columns, C_ORDER) + i) & 31) if pages else get64(at(columns, C_ALLOCATED) + 8 * i)
    if amount == 0:
        amount = get64(at(columns, C_REQUESTED) + 8 * i)
    task = get32(at(state, S_TASKS) + 4 * i)
    lane = 0
    if not (ult(time, at(state, S_FROM)) or ult(at(state, S_TO), time)):
        put(state, S_ALLOCS, at(state, S_ALLOCS) + 1)
        lanes = at(state, S_LANES) + 8 * LANE_WORDS * site
        free = ~at(lanes, BUSY)
        if at(state, S_ALLOCS) % at(state, S_ONE_OF):
            put(state, S_LEFT_OUT, at(state, S_LEFT_OUT) + 1)
        elif free == 0:
            put(state, S_CROWDED, at(state, S_CROWDED) + 1)
            put(lanes, CROWDED, at(lanes, CROWDED) + 1)
            begun(state, i, kind, time, LANES, INSTANT)
        else:
            lane = ctz(free) + 1
            put(lanes, BUSY, at(lanes, BUSY) | 1 << (lane - 1))
            put(lanes, HIGHEST, max(at(lanes, HIGHEST), lane))
            put(state, S_SLICES, at(state, S_SLICES) + 1)
            begun(state, i, kind, time, lane - 1, BEGIN)
    put64(e, key)
    put64(e + 8, amount)
    put64(e + 16, site | lane << 32)
    put64(e + 24, group | (task | (1 << 31 if pages else 0)) << 32)
    put(state, S_LIVE_USED, at(state, S_LIVE_USED) + 1)
    count_all(state, group, task, pages, amount)


@entry
def t_slices(ram: Any, state: int) -> int:
    """Append the packets of a batch of events; how many things live. There is room for the output and for the table."""
    columns, n = at(state, S_COLUMNS), at(state, S_N)
    every = at(state, S_EVERY)
    for i in range(n):
        ahead = get64(at(columns, C_PTR) + 8 * min(i + AHEAD, n - 1))
        soon(at(state, S_LIVE), at(state, S_LIVE_MASK), LIVE_WIDTH, ahead)
        kind = get8(at(columns, C_KIND) + i)
        time = get64(at(columns, C_TIME) + 8 * i)
        events = at(state, S_EVENTS) + 1
        put(state, S_EVENTS, events)
        if kind > IOUNMAP:
            put(state, S_OTHER, at(state, S_OTHER) + 1)
        else:
            ptr = get64(at(columns, C_PTR) + 8 * i)
            if ptr == -1 or (ult(ptr, 17) and kind <= KMEM_CACHE_FREE):
                put(state, S_OTHER, at(state, S_OTHER) + 1)
            elif kind & 1 == KMALLOC:
                allocated(state, i, kind, space(kind, ptr), time)
            else:
                e = seek(at(state, S_LIVE), at(state, S_LIVE_MASK), LIVE_WIDTH, space(kind, ptr))
                if get64(e):
                    ended(state, e, time)
                else:
                    put(state, S_UNKNOWN, at(state, S_UNKNOWN) + 1)
        if events % every == 0 and not (ult(time, at(state, S_FROM)) or ult(at(state, S_TO), time)):
            tell_all(state, time)
    return at(state, S_LIVE_USED)


@entry
def t_tell(ram: Any, state: int, time: int) -> int:
    """Append what counters have not told yet; where the output ends."""
    tell_all(state, time)
    return at(state, S_OUT)
