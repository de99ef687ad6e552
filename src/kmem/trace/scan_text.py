"""Reading lines of text, compiled: what ftrace, ``perf script`` and ``trace-cmd report`` print of kmem events.

    comm-PID   [CPU] FLAGS  TIME: EVENT: KEY=VALUE …                 trace, trace_pipe; trace-cmd report, with or
    comm  PID/TID [CPU]  TIME: kmem:EVENT: KEY=VALUE …               without flags and "(site)"; perf script

Only ``key=value`` counts, by name.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get8, get16, get32, get64, matches, put8, put16, put32, put64
from kmem.lib.jit import always_inline, ctz, entry, jit, lshr, noinline, shl
from kmem.trace.chars import (
    CLOSE,
    COLON,
    DOT,
    EQUALS,
    HASHMARK,
    MOST,
    NEWLINE,
    OPEN,
    PAREN,
    SLASH,
    SPACE,
    before_spaces,
    decimal,
    decimal_before,
    digit,
    digits,
    find,
    hexadecimal,
    signed,
    skip_spaces,
)
from kmem.trace.scan import (
    C_ALLOCATED,
    C_CACHE,
    C_CONTEXT,
    C_CPU,
    C_GFP,
    C_KIND,
    C_NODE,
    C_ORDER,
    C_PTR,
    C_REQUESTED,
    C_SITE,
    C_TASK,
    C_TIME,
    CAPACITY,
    COLUMNS,
    EVENT_NAMES,
    GFPS,
    IN,
    IN_SIZE,
    KIND_OF,
    LOST,
    POS,
    SITES,
    SKIPPED,
    STRINGS,
    UNPARSED,
    N,
    at,
    intern,
    put,
)
from kmem.trace.scan import find as find_string

PAGE_KIND = 64
"""Set in the kind of an event of which the order says how much it is about."""
LONGEST_LINE = 1 << 15


def _word(text: str) -> int:
    """Up to eight characters as the number that they are in memory."""
    return int.from_bytes(text.encode(), "little")


PTR, PFN, NODE, NAME, ORDER, CALL_SITE, BYTES_REQ, GFP_FLAGS, BYTES_ALLOC, ALLOC_ORDER, FALLBACK_ORDER = (
    *map(_word, (" ptr", " pfn", " node", " name", " order", "all_site", "ytes_req", "fp_flags", "es_alloc")),
    *map(_word, ("oc_order", "ck_order")),
)
"""The last eight characters of each key, or all of it with the space before it."""
_C, _B, _G, _BYT, _ALL, _FALLBAC = map(_word, (" c", " b", " g", " byt", " all", " fallbac"))
"""What is before those."""


@noinline
def lost_events(p: int, end: int) -> int:
    """What ``CPU:1 [LOST 12 EVENTS]`` and ``CPU:1 [12 EVENTS DROPPED]`` count; 1 if they do not say."""
    p = find(p, end, OPEN)
    while p < end and not digit(get8(p)):
        p += 1
    return decimal(p) if p < end else 1


@always_inline
def processor(begin: int, end: int) -> int:
    """Where the ``[`` of the processor's number is, or *end*. A task's name may have brackets, too."""
    p = begin
    while True:
        p = find(p + 1, end, OPEN)
        if p >= end:
            return end
        if get8(p - 1) == SPACE:
            n = digits(p + 1)
            if 0 < n < 8 and get8(p + 1 + n) == CLOSE and digit(get8(before_spaces(p) - 1)):
                return p


@always_inline
def nanoseconds(p: int) -> int:
    """What up to nine digits behind the point mean."""
    n = digits(p)
    if n == 6:
        return decimal(p) * 1000
    value = n = 0
    while digit(get8(p)) and n < 9:
        value = value * 10 + get8(p) - 48
        n += 1
        p += 1
    while n < 9:
        value *= 10
        n += 1
    return value


@always_inline
def end_of_digits(p: int) -> int:
    """The first place from *p* that is no digit."""
    p += digits(p)
    while digit(get8(p)):
        p += 1
    return p


@always_inline
def timestamp(p: int) -> int:
    """Nanoseconds of ``12.345678:`` or of a whole number, or -1."""
    q = end_of_digits(p)
    value = decimal(p)
    if get8(q) == DOT:
        value = (value * 1000000000 + nanoseconds(q + 1)) & MOST
        q = end_of_digits(q + 1)
    return value if get8(q) == COLON else -1


@always_inline
def context_of(p: int) -> int:
    """What the flags ``d.h1.`` say, as in the column."""
    c, depth = get8(p + 2), get8(p + 3)
    context = 0
    if c == 72 or c == 104:
        context |= 0x1000
    if c == 115 or c == 72:
        context |= 0x100
    if c == 122 or c == 90:
        context |= 0x2000
    if digit(depth):
        context |= depth - 48
    return context


@always_inline
def is_pointer(p: int) -> bool:
    """Whether a pointer is at *p*: digits, or ``(nil)`` and ``(null)``."""
    c = get8(p)
    return digit(c) or 97 <= c <= 102 or 65 <= c <= 70 or (c == PAREN and get8(p + 1) == 110)


@always_inline
def text_of(table: int, p: int, end: int) -> int:
    """The number of the word at *p*."""
    return intern(table, p, find(p, end, SPACE) - p)


@always_inline
def site_of(table: int, p: int, end: int) -> int:
    """The number of ``fn+0x55`` of ``fn+0x55/0x180``: tools differ in what follows."""
    stop = find(p, end, SPACE)
    return intern(table, p, find(p, stop, SLASH) - p)


@jit
def scan_values(state: int, n: int, page: int, p: int, end: int) -> bool:
    """All ``key=value`` from *p*, into the columns; whether there was a pointer or a page among them."""
    site = ptr = requested = allocated = gfp = cache = order = 0
    node = -1
    found = False
    while p < end:
        marks = matches(p, EQUALS)
        if end - p < 64:
            marks &= shl(1, end - p) - 1
        while marks:
            q = p + ctz(marks)
            marks &= marks - 1
            word = get64(q - 8)
            value = q + 1
            if lshr(word, 32) == PTR:
                if not is_pointer(value):
                    return False
                ptr = hexadecimal(value)
                found = True
            elif word == CALL_SITE and get16(q - 10) == _C:
                site = site_of(at(state, SITES), value, end)
            elif lshr(word, 24) == NAME:
                cache = text_of(at(state, STRINGS), value, end)
            elif word == BYTES_REQ and get16(q - 10) == _B:
                requested = decimal(value)
            elif word == BYTES_ALLOC and get32(q - 12) == _BYT:
                allocated = decimal(value)
            elif word == GFP_FLAGS and get16(q - 10) == _G:
                gfp = text_of(at(state, GFPS), value, end)
            elif lshr(word, 24) == NODE:
                node = signed(value)
            elif lshr(word, 32) == PFN:
                ptr = hexadecimal(value) if get8(value + 1) == 120 else decimal(value)
                found = True
            elif lshr(word, 16) == ORDER or (word == ALLOC_ORDER and get32(q - 12) == _ALL):
                order = decimal(value) & 63
            elif word == FALLBACK_ORDER and get64(q - 15) == _FALLBAC:
                requested = decimal(value)
        p += 64
    columns = at(state, COLUMNS)
    put64(at(columns, C_SITE) + 8 * n, site)
    put64(at(columns, C_PTR) + 8 * n, ptr)
    put64(at(columns, C_REQUESTED) + 8 * n, requested)
    put64(at(columns, C_ALLOCATED) + 8 * n, shl(4096, order) if page else allocated)
    put32(at(columns, C_GFP) + 4 * n, gfp)
    put32(at(columns, C_CACHE) + 4 * n, cache)
    put16(at(columns, C_NODE) + 2 * n, node)
    put8(at(columns, C_ORDER) + n, order)
    return found


@always_inline
def event_name(p: int, last: int) -> int:
    """Where the name that ends before *last* begins: ``kmem:`` may stand before it."""
    while True:
        q = find(p, last, COLON)
        if q >= last:
            return p
        p = q + 1


@jit
def scan_line(state: int, begin: int, end: int) -> int:
    """One line: 1 if it was an event of ours, 0 if there was nothing to read, -1 if it could not be read."""
    p = skip_spaces(begin)
    if p >= end or get8(p) == HASHMARK:
        return 0
    bracket = processor(p, end)
    if bracket >= end:
        if end - p > 8 and get8(p) == 67 and get8(p + 1) == 80 and get8(p + 3) == COLON:
            put(state, LOST, at(state, LOST) + lost_events(p, end))
            return 0
        return -1
    time = -1
    context = 0
    p = find(bracket, end, CLOSE) + 1
    for _ in range(3):
        p = skip_spaces(p)
        stop = find(p, end, SPACE)
        if digit(get8(p)) and get8(stop - 1) == COLON:
            time = timestamp(p)
            p = stop
            break
        context = context_of(p) if stop - p >= 4 else 0
        p = stop
    if time < 0:
        return -1
    p = skip_spaces(p)
    stop = find(p, end, SPACE)
    last = stop - 1
    if last <= p or get8(last) != COLON:
        return -1
    q = event_name(p, last)
    kind = get8(at(state, KIND_OF) + find_string(at(state, EVENT_NAMES), q, last - q))
    if kind == 0:
        put(state, SKIPPED, at(state, SKIPPED) + 1)
        return 0
    n = at(state, N)
    columns = at(state, COLUMNS)
    put64(at(columns, C_TIME) + 8 * n, time)
    put32(at(columns, C_TASK) + 4 * n, decimal_before(before_spaces(bracket)))
    put16(at(columns, C_CPU) + 2 * n, decimal(bracket + 1))
    put16(at(columns, C_CONTEXT) + 2 * n, context)
    put8(at(columns, C_KIND) + n, (kind & (PAGE_KIND - 1)) - 1)
    if not scan_values(state, n, kind & PAGE_KIND, stop, end):
        return -1
    put(state, N, n + 1)
    return 1


@entry
def t_scan_text(ram: Any, state: int) -> int:
    """Read lines while there are whole ones and the columns have room; how many events the columns hold."""
    p = at(state, IN) + at(state, POS)
    end = at(state, IN) + at(state, IN_SIZE)
    while p < end and at(state, N) < at(state, CAPACITY):
        q = find(p, end, NEWLINE)
        if q >= end:
            break
        stop = q
        if stop > p and get8(stop - 1) == 13:
            stop -= 1
        if scan_line(state, p, stop) < 0:
            put(state, UNPARSED, at(state, UNPARSED) + 1)
        p = q + 1
    put(state, POS, p - at(state, IN))
    return at(state, N)
