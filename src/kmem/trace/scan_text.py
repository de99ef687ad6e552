"""Reading lines of text, compiled: what ftrace, ``perf script`` and ``trace-cmd report`` print of kmem events.

    comm-PID   [CPU] FLAGS  TIME: EVENT: KEY=VALUE …                 trace, trace_pipe; trace-cmd report, with or
    comm  PID/TID [CPU]  TIME: kmem:EVENT: KEY=VALUE …               without flags and "(site)"; perf script

Only ``key=value`` counts, by name.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get8, get32, get64, put8, put16, put32, put64
from kmem.lib.jit import always_inline, entry, fls64, jit, noinline
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
    find,
    intern,
    put,
)

SPACE, HASHMARK, OPEN, CLOSE, COLON, DOT, EQUALS, PAREN, NEWLINE, SLASH, MINUS = (
    *(32, 35, 91, 93, 58, 46, 61, 40, 10, 47, 45),
)
NO_CPU = -1
K_SITE, K_PTR, K_REQUESTED, K_ALLOCATED, K_GFP, K_NODE, K_NAME, K_PFN, K_ORDER, K_ALLOC_ORDER, K_FALLBACK = range(1, 12)
LINES, ONES, TOPS = 0x0A0A0A0A0A0A0A0A, 0x0101010101010101, -0x7F7F7F7F7F7F7F80
"""Eight newlines; the lowest and the highest bit of eight bytes."""


def _word(text: str) -> int:
    """Up to eight characters as the number that they are in memory."""
    return int.from_bytes(text.encode(), "little")


CALL_SIT, BYTES_RE, GFP_FLAG, BYTES_AL, ALLOC_OR, FALLBACK = (
    _word(text) for text in ("call_sit", "bytes_re", "gfp_flag", "bytes_al", "alloc_or", "fallback")
)
PTR, PFN, NODE, NAME, ORDE, LLOC, RDER, CK_ORDER = (
    _word(text) for text in ("ptr", "pfn", "node", "name", "orde", "lloc", "rder", "ck_order")
)
PAGE_KIND = 64
"""Set in the kind of an event of which the order says how much it is about."""
LONGEST_LINE = 1 << 15


@always_inline
def digit(c: int) -> bool:
    """Whether *c* is 0 to 9."""
    return 48 <= c <= 57


@always_inline
def skip_spaces(p: int, end: int) -> int:
    """The first place from *p* that is no space."""
    while p < end and (get8(p) == SPACE or get8(p) == 9):
        p += 1
    return p


@always_inline
def word_end(p: int, end: int) -> int:
    """Where the word at *p* ends."""
    while p < end and get8(p) != SPACE:
        p += 1
    return p


@always_inline
def decimal(p: int, end: int) -> int:
    """The number of which the digits begin at *p*; a sign is taken."""
    negative = p < end and get8(p) == MINUS
    if negative:
        p += 1
    value = 0
    while p < end and digit(get8(p)):
        value = (value * 10 + get8(p) - 48) & 0xFFFFFFFFFFFFFFF
        p += 1
    return -value if negative else value


@always_inline
def hexadecimal(p: int, end: int) -> int:
    """The number from *p* to *end*, 0x or not."""
    if p + 2 <= end and get8(p) == 48 and get8(p + 1) == 120:
        p += 2
    value = 0
    while p < end:
        c = get8(p)
        letter = (c | 32) - 97
        if not (48 <= c <= 57) | (0 <= letter <= 5):
            return value
        value = ((value & 0xFFFFFFFFFFFFFFF) << 4) | ((c & 15) + 9 * (c >> 6))
        p += 1
    return value


@always_inline
def is_hexadecimal(p: int, end: int) -> bool:
    """Whether the word is a pointer: digits, or ``(nil)`` and ``(null)``."""
    if p >= end:
        return False
    c = get8(p)
    return digit(c) or 97 <= c <= 102 or 65 <= c <= 70 or (c == PAREN and p + 1 < end and get8(p + 1) == 110)


@noinline
def lost_events(p: int, end: int) -> int:
    """What ``CPU:1 [LOST 12 EVENTS]`` and ``CPU:1 [12 EVENTS DROPPED]`` count; 1 if they do not say."""
    while p < end and get8(p) != OPEN:
        p += 1
    while p < end and not digit(get8(p)):
        p += 1
    return decimal(p, end) if p < end else 1


@always_inline
def after_digit(begin: int, p: int) -> bool:
    """Whether what is before the spaces before *p* is a digit, of a PID."""
    while p > begin and get8(p - 1) == SPACE:
        p -= 1
    return p > begin and digit(get8(p - 1))


@always_inline
def processor(begin: int, end: int) -> int:
    """Where the ``[`` of the processor's number is, or *end*. A task's name may have brackets, too."""
    p = begin + 1
    while p < end:
        if get8(p) == OPEN and get8(p - 1) == SPACE:
            q = p + 1
            while q < end and digit(get8(q)):
                q += 1
            if q > p + 1 and q < end and get8(q) == CLOSE and after_digit(begin, p):
                return p
        p += 1
    return end


@always_inline
def timestamp(p: int, end: int) -> int:
    """Nanoseconds of ``12.345678:`` or of a whole number, or -1."""
    value = 0
    while p < end and digit(get8(p)):
        value = (value * 10 + get8(p) - 48) & 0xFFFFFFFFFFFFFFF
        p += 1
    if p >= end:
        return -1
    if get8(p) == COLON:
        return value
    if get8(p) != DOT:
        return -1
    p += 1
    digits = 0
    while p < end and digit(get8(p)) and digits < 9:
        value = (value * 10 + get8(p) - 48) & 0xFFFFFFFFFFFFFFF
        digits += 1
        p += 1
    while digits < 9:
        value = (value * 10) & 0xFFFFFFFFFFFFFFF
        digits += 1
    return value if p < end and get8(p) == COLON else -1


@always_inline
def context_of(p: int, end: int) -> int:
    """What the flags ``d.h1.`` say, as in the column."""
    context = 0
    if end - p >= 4:
        c = get8(p + 2)
        if c == 72 or c == 104:
            context |= 0x1000
        if c == 115 or c == 72:
            context |= 0x100
        if c == 122 or c == 90:
            context |= 0x2000
        if digit(get8(p + 3)):
            context |= get8(p + 3) - 48
    return context


@always_inline
def clear_event(columns: int, n: int) -> None:
    """What an event has that its line does not tell."""
    put64(at(columns, C_SITE) + 8 * n, 0)
    put64(at(columns, C_PTR) + 8 * n, 0)
    put64(at(columns, C_REQUESTED) + 8 * n, 0)
    put64(at(columns, C_ALLOCATED) + 8 * n, 0)
    put32(at(columns, C_GFP) + 4 * n, 0)
    put32(at(columns, C_CACHE) + 4 * n, 0)
    put16(at(columns, C_NODE) + 2 * n, -1)
    put8(at(columns, C_ORDER) + n, 0)


@always_inline
def site_length(p: int, end: int) -> int:
    """How long ``fn+0x55`` of ``fn+0x55/0x180`` is: tools differ in what follows."""
    q = p
    while q < end and get8(q) != SLASH:
        q += 1
    return q - p


@jit
def put_value(state: int, n: int, key: int, p: int, end: int) -> bool:
    """Set the column that *key* names; False if the value is none."""
    columns = at(state, COLUMNS)
    if key == K_SITE:
        put64(at(columns, C_SITE) + 8 * n, intern(at(state, SITES), p, site_length(p, end)))
    elif key == K_PTR:
        if not is_hexadecimal(p, end):
            return False
        put64(at(columns, C_PTR) + 8 * n, hexadecimal(p, end))
    elif key == K_PFN:
        hexa = p + 1 < end and get8(p + 1) == 120
        put64(at(columns, C_PTR) + 8 * n, hexadecimal(p, end) if hexa else decimal(p, end))
    elif key == K_REQUESTED:
        put64(at(columns, C_REQUESTED) + 8 * n, decimal(p, end))
    elif key == K_ALLOCATED:
        put64(at(columns, C_ALLOCATED) + 8 * n, decimal(p, end))
    elif key == K_GFP:
        put32(at(columns, C_GFP) + 4 * n, intern(at(state, GFPS), p, end - p))
    elif key == K_NODE:
        put16(at(columns, C_NODE) + 2 * n, decimal(p, end))
    elif key == K_NAME:
        put32(at(columns, C_CACHE) + 4 * n, intern(at(state, STRINGS), p, end - p))
    elif key in (K_ORDER, K_ALLOC_ORDER):
        put8(at(columns, C_ORDER) + n, decimal(p, end) & 63)
    elif key == K_FALLBACK:
        put64(at(columns, C_REQUESTED) + 8 * n, decimal(p, end))
    return True


@always_inline
def key_of(p: int, size: int) -> int:
    """Which key the *size* characters at *p* are, 0 for others. There is room to read on after them."""
    if size == 9:
        head, last = get64(p), get8(p + 8)
        if head == CALL_SIT and last == 101:
            return K_SITE
        if head == BYTES_RE and last == 113:
            return K_REQUESTED
        if head == GFP_FLAG and last == 115:
            return K_GFP
    elif size == 3:
        head = get32(p) & 0xFFFFFF
        if head == PTR:
            return K_PTR
        if head == PFN:
            return K_PFN
    elif size == 4:
        head = get32(p)
        if head == NODE:
            return K_NODE
        if head == NAME:
            return K_NAME
    elif size == 11:
        head, last = get64(p), get32(p + 7)
        if head == BYTES_AL and last == LLOC:
            return K_ALLOCATED
        if head == ALLOC_OR and last == RDER:
            return K_ALLOC_ORDER
    elif size == 5 and get32(p) == ORDE and get8(p + 4) == 114:
        return K_ORDER
    elif size == 14 and get64(p) == FALLBACK and get64(p + 6) == CK_ORDER:
        return K_FALLBACK
    return 0


@jit
def scan_values(state: int, n: int, p: int, end: int) -> bool:
    """All ``key=value`` of a line; whether there was a pointer or a page among them."""
    found = False
    while True:
        p = skip_spaces(p, end)
        if p >= end:
            return found
        q = p
        while q < end and get8(q) != EQUALS and get8(q) != SPACE:
            q += 1
        stop = q
        if q < end and get8(q) == EQUALS:
            stop = word_end(q, end)
            key = key_of(p, q - p)
            if key:
                if not put_value(state, n, key, q + 1, stop):
                    return False
                if key in (K_PTR, K_PFN):
                    found = True
        p = stop


@always_inline
def line_end(p: int, end: int) -> int:
    """Where the line at *p* ends, or *end*."""
    while p + 8 <= end:
        word = get64(p) ^ LINES
        zeros = (word - ONES) & ~word & TOPS
        if zeros:
            return p + (fls64(zeros & -zeros) - 1 >> 3)
        p += 8
    while p < end and get8(p) != NEWLINE:
        p += 1
    return p


@jit
def scan_line(state: int, begin: int, end: int) -> int:
    """One line: 1 if it was an event of ours, 0 if there was nothing to read, -1 if it could not be read."""
    p = skip_spaces(begin, end)
    if p >= end or get8(p) == HASHMARK:
        return 0
    bracket = processor(p, end)
    if bracket >= end:
        if end - p > 8 and get8(p) == 67 and get8(p + 1) == 80 and get8(p + 3) == COLON:
            put(state, LOST, at(state, LOST) + lost_events(p, end))
            return 0
        return -1
    q = bracket
    while q > p and get8(q - 1) == SPACE:
        q -= 1
    while q > p and digit(get8(q - 1)):
        q -= 1
    task = decimal(q, bracket)
    cpu = decimal(bracket + 1, end)
    context = 0
    time = -1
    p = word_end(bracket, end)
    for _ in range(3):
        p = skip_spaces(p, end)
        stop = word_end(p, end)
        if p < end and digit(get8(p)) and get8(stop - 1) == COLON:
            time = timestamp(p, stop)
            p = stop
            break
        context = context_of(p, stop)
        p = stop
    if time < 0:
        return -1
    p = skip_spaces(p, end)
    stop = word_end(p, end)
    last = stop - 1
    if last <= p or get8(last) != COLON:
        return -1
    q = last
    while q > p and get8(q - 1) != COLON:
        q -= 1
    kind = get8(at(state, KIND_OF) + find(at(state, EVENT_NAMES), q, last - q))
    if kind == 0:
        put(state, SKIPPED, at(state, SKIPPED) + 1)
        return 0
    n = at(state, N)
    columns = at(state, COLUMNS)
    clear_event(columns, n)
    put64(at(columns, C_TIME) + 8 * n, time)
    put32(at(columns, C_TASK) + 4 * n, task)
    put16(at(columns, C_CPU) + 2 * n, cpu)
    put16(at(columns, C_CONTEXT) + 2 * n, context)
    put8(at(columns, C_KIND) + n, (kind & (PAGE_KIND - 1)) - 1)
    if not scan_values(state, n, stop, end):
        return -1
    if kind & PAGE_KIND:
        size = 4096 << get8(at(columns, C_ORDER) + n)
        put64(at(columns, C_ALLOCATED) + 8 * n, size)
    put(state, N, n + 1)
    return 1


@entry
def t_scan_text(ram: Any, state: int) -> int:
    """Read lines while there are whole ones and the columns have room; how many events the columns hold."""
    p = at(state, IN) + at(state, POS)
    end = at(state, IN) + at(state, IN_SIZE)
    while p < end and at(state, N) < at(state, CAPACITY):
        q = line_end(p, end)
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
