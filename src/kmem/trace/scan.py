"""Reading traces, compiled: pages of the ring buffer and lines of text into columns.

An entry takes the address of its *state*, an array of 64-bit words (indices below). Everything is in host memory.
What a record says is found by the fields' names: the caller puts their places into a row for each kind of event.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.host import get8, get16, get32, get64, put8, put16, put32, put64
from kmem.lib.jit import always_inline, entry, jit, lshr, mul64, noinline, shl, ult

# The state: the input, where reading is, the columns and how many events are in them, tables, counts.
IN, IN_SIZE, POS, CAPACITY, N, COLUMNS, KIND_OF, ROWS, STRINGS, CPU = range(10)
LOST, UNPARSED, SKIPPED, ERROR, LAST_TIME, PAGE_SIZE, PAGE_DATA, PAGE_COMMIT, PAGE_COMMIT_SIZE = range(10, 19)
SITES, GFPS, EVENT_NAMES, PAGE_TIME = range(19, 23)
STATE_WORDS = 32

# Columns, as in kmem.trace.schema.
(C_TIME, C_SITE, C_PTR, C_REQUESTED, C_ALLOCATED, C_GFP, C_TASK, C_CACHE, C_CPU, C_CONTEXT, C_NODE, C_KIND, C_ORDER) = (
    range(13)
)

# A row: the kind, the least size of a record, and offset and size of each field (-1: there is none).
R_KIND, R_SIZE, R_PTR, R_SITE, R_REQUESTED, R_ALLOCATED, R_GFP, R_NODE, R_NAME, R_ORDER = range(0, 20, 2)
R_PID, R_FLAGS, R_PREEMPT, R_PAGES = 20, 22, 24, 26
ROW_WORDS = 28

# A table of strings: bytes, their capacity and how many; entries (hash, offset, length), capacity and how many; slots.
T_BYTES, T_BYTES_CAPACITY, T_BYTES_USED, T_ENTRIES, T_CAPACITY, T_COUNT, T_SLOTS, T_MASK, T_FULL = range(9)
TABLE_WORDS = 16
HASH = -7046029254386353131

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
MISSED_EVENTS, MISSED_STORED, COMMIT_MASK = 1 << 31, 1 << 30, (1 << 20) - 1
NO_STRING = 0
BAD_PAGE, BAD_RECORD = 1, 2


@always_inline
def at(state: int, index: int) -> int:
    """Word *index* of an array."""
    return get64(state + 8 * index)


@always_inline
def put(state: int, index: int, value: int) -> None:
    """Set word *index* of an array."""
    put64(state + 8 * index, value)


@always_inline
def rest(addr: int, size: int) -> int:
    """The last *size* & 7 bytes of a string, of which *addr* is the first, as a word. Words behind them are read."""
    return get64(addr) & (shl(1, 8 * (size & 7)) - 1)


@always_inline
def hash_bytes(addr: int, size: int) -> int:
    """A hash of *size* bytes. The seven behind them are there, too."""
    h = size
    i = 0
    while i + 8 <= size:
        h = mul64(h ^ get64(addr + i), HASH)
        h = h ^ lshr(h, 29)
        i += 8
    h = mul64(h ^ rest(addr + i, size), HASH)
    return h ^ lshr(h, 32)


@always_inline
def same_bytes(a: int, b: int, size: int) -> bool:
    """Whether *size* bytes are equal. The seven behind them are there, too."""
    i = 0
    while i + 8 <= size:
        if get64(a + i) != get64(b + i):
            return False
        i += 8
    return rest(a + i, size) == rest(b + i, size)


@jit
def intern(table: int, addr: int, size: int) -> int:
    """The number of the string at *addr*, a new one if it was never seen; 0 if the table is full."""
    h = hash_bytes(addr, size)
    mask = at(table, T_MASK)
    slots = at(table, T_SLOTS)
    entries = at(table, T_ENTRIES)
    slot = h & mask
    while True:
        number = get32(slots + 4 * slot)
        if number == 0:
            break
        e = entries + 24 * number
        if at(e, 0) == h and at(e, 2) == size and same_bytes(at(table, T_BYTES) + at(e, 1), addr, size):
            return number
        slot = (slot + 1) & mask
    used = at(table, T_BYTES_USED)
    number = at(table, T_COUNT)
    if number >= at(table, T_CAPACITY) or used + size + 8 > at(table, T_BYTES_CAPACITY):
        put(table, T_FULL, at(table, T_FULL) + 1)
        return NO_STRING
    to = at(table, T_BYTES) + used
    for i in range(size):
        put8(to + i, get8(addr + i))
    e = entries + 24 * number
    put(e, 0, h)
    put(e, 1, used)
    put(e, 2, size)
    put(table, T_BYTES_USED, used + size)
    put(table, T_COUNT, number + 1)
    put32(slots + 4 * slot, number)
    return number


@jit
def find(table: int, addr: int, size: int) -> int:
    """The number of the string at *addr*, or 0 if the table does not have it."""
    h = hash_bytes(addr, size)
    mask = at(table, T_MASK)
    slot = h & mask
    while True:
        number = get32(at(table, T_SLOTS) + 4 * slot)
        if number == 0:
            return NO_STRING
        e = at(table, T_ENTRIES) + 24 * number
        if at(e, 0) == h and at(e, 2) == size and same_bytes(at(table, T_BYTES) + at(e, 1), addr, size):
            return number
        slot = (slot + 1) & mask


@always_inline
def read_field(record: int, row: int, which: int, default: int) -> int:
    """The number in a field of a record, or *default* if the event has no such field."""
    offset = at(row, which)
    if offset < 0:
        return default
    size = at(row, which + 1)
    if size == 8:
        return get64(record + offset)
    if size == 4:
        return get32(record + offset)
    if size == 2:
        return get16(record + offset)
    return get8(record + offset)


@always_inline
def name_of(state: int, row: int, record: int, size: int) -> int:
    """The number of the string that a ``__data_loc`` field leads to; 0 if it leads out of the record."""
    offset = at(row, R_NAME)
    if offset < 0:
        return NO_STRING
    place = get32(record + offset)
    start, length = place & 0xFFFF, place >> 16
    if length < 2 or start + length > size:
        return NO_STRING
    return intern(at(state, STRINGS), record + start, length - 1)


@always_inline
def put_record(state: int, row: int, record: int, size: int, time: int) -> None:
    """Append one event to the columns."""
    n = at(state, N)
    columns = at(state, COLUMNS)
    put64(at(columns, C_TIME) + 8 * n, time)
    put64(at(columns, C_SITE) + 8 * n, read_field(record, row, R_SITE, 0))
    put64(at(columns, C_PTR) + 8 * n, read_field(record, row, R_PTR, 0))
    order = read_field(record, row, R_ORDER, 0)
    pages = at(row, R_PAGES)
    requested, allocated = read_field(record, row, R_REQUESTED, 0), read_field(record, row, R_ALLOCATED, 0)
    if pages:
        allocated = shl(4096, order & 63)
        if pages == 2:
            requested = allocated
    put64(at(columns, C_REQUESTED) + 8 * n, requested)
    put64(at(columns, C_ALLOCATED) + 8 * n, allocated)
    put32(at(columns, C_GFP) + 4 * n, read_field(record, row, R_GFP, 0))
    put32(at(columns, C_TASK) + 4 * n, read_field(record, row, R_PID, 0))
    put32(at(columns, C_CACHE) + 4 * n, name_of(state, row, record, size))
    put16(at(columns, C_CPU) + 2 * n, at(state, CPU))
    flags = read_field(record, row, R_FLAGS, 0)
    context = (read_field(record, row, R_PREEMPT, 0) & 0xF) | (flags & 0x10) << 4 | (flags & 8) << 9 | (flags & 64) << 7
    put16(at(columns, C_CONTEXT) + 2 * n, context)
    put16(at(columns, C_NODE) + 2 * n, read_field(record, row, R_NODE, -1))
    put8(at(columns, C_KIND) + n, at(row, R_KIND))
    put8(at(columns, C_ORDER) + n, order)
    put(state, N, n + 1)


@jit
def scan_page(state: int, page: int) -> bool:
    """All records of one page of the ring buffer; False if it is none."""
    word = page + at(state, PAGE_COMMIT)
    commit = get64(word) if at(state, PAGE_COMMIT_SIZE) == 8 else get32(word)
    room = at(state, PAGE_SIZE) - at(state, PAGE_DATA)
    used = commit & COMMIT_MASK
    if used > room or lshr(commit, 32):
        return False
    time = get64(page + at(state, PAGE_TIME))
    p = page + at(state, PAGE_DATA)
    end = p + used
    if commit & MISSED_EVENTS:
        lost = 1
        if commit & MISSED_STORED and used + 8 <= room:
            lost = get64(end)
            if ult(1 << 48, lost):
                return False
        put(state, LOST, at(state, LOST) + lost)
    kind_of = at(state, KIND_OF)
    rows = at(state, ROWS)
    while p + 4 <= end:
        head = get32(p)
        kind, delta = head & 31, head >> 5
        if kind >= PADDING:
            if kind == PADDING and delta == 0:
                break
            if p + 8 > end:
                return False
            value = get32(p + 4)
            if kind == PADDING:
                p += 4 + value
                if value == 0:
                    return False
            elif kind == TIME_EXTEND:
                time += (value << 27) + delta
                p += 8
            else:
                time = (time & ~((1 << 59) - 1)) | ((value << 27) + delta)
                p += 8
            continue
        time += delta
        record = p + 4
        size = kind << 2
        if kind == 0:
            if p + 8 > end:
                return False
            size = get32(record) - 4
            record = p + 8
        following = record + ((size + 3) & ~3)
        if size < 2 or following > end:
            return False
        number = get8(kind_of + get16(record))
        if number == 0:
            put(state, SKIPPED, at(state, SKIPPED) + 1)
        else:
            row = rows + 8 * ROW_WORDS * number
            if size < at(row, R_SIZE):
                return False
            put_record(state, row, record, size, time)
        p = following
    put(state, LAST_TIME, time)
    return True


@entry
def t_scan_pages(ram: Any, state: int) -> int:
    """Read pages while there are some and the columns have room; how many events the columns hold.

    A page that is none is counted as unparsed, and reading goes on with the next.
    """
    size = at(state, PAGE_SIZE)
    most = size // 8
    while at(state, POS) + size <= at(state, IN_SIZE) and at(state, N) + most <= at(state, CAPACITY):
        if not scan_page(state, at(state, IN) + at(state, POS)):
            put(state, ERROR, BAD_PAGE)
            put(state, UNPARSED, at(state, UNPARSED) + 1)
        put(state, POS, at(state, POS) + size)
    return at(state, N)


# A source of a merge: its columns, the next event and how many there are, whether more will come.
M_COLUMNS, M_POS, M_N, M_MORE, M_WORDS = range(5)


@always_inline
def next_time(sources: int, i: int) -> int:
    """The time of the next event of source *i*, which has one."""
    s = sources + 8 * M_WORDS * i
    return get64(at(at(s, M_COLUMNS), C_TIME) + 8 * at(s, M_POS))


@noinline
def merge_some(order: int, n: int, capacity: int, sources: int, count: int) -> int:
    """Put what the source with the earliest event has before the others' into *order*, as source and place; how many.
    0 if one of them has to be filled first, or all are at their end.
    """
    best, second = -1, -1
    for i in range(count):
        s = sources + 8 * M_WORDS * i
        if at(s, M_POS) >= at(s, M_N):
            if at(s, M_MORE):
                return 0
        elif best < 0 or ult(next_time(sources, i), next_time(sources, best)):
            second = best
            best = i
        elif second < 0 or ult(next_time(sources, i), next_time(sources, second)):
            second = i
    if best < 0:
        return 0
    stop = next_time(sources, second) if second >= 0 else -1
    s = sources + 8 * M_WORDS * best
    times = at(at(s, M_COLUMNS), C_TIME)
    i = at(s, M_POS)
    end = min(at(s, M_N), i + capacity - n)
    begin = i
    while i < end and (i == begin or not ult(stop, get64(times + 8 * i))):
        put64(order + 8 * (n + i - begin), best << 32 | i)
        i += 1
    put(s, M_POS, i)
    return i - begin


@noinline
def gather(to: int, order: int, n: int, bases: int, c: int) -> None:
    """Fill the column *c* of *to*: *n* values in their *order*; *bases* are the sources' columns."""
    column = at(to, c)
    if c < C_GFP:
        for j in range(n):
            o = get64(order + 8 * j)
            put64(column + 8 * j, get64(get64(bases + 8 * (o >> 32)) + 8 * (o & 0xFFFFFFFF)))
    elif c < C_CPU:
        for j in range(n):
            o = get64(order + 8 * j)
            put32(column + 4 * j, get32(get64(bases + 8 * (o >> 32)) + 4 * (o & 0xFFFFFFFF)))
    elif c < C_KIND:
        for j in range(n):
            o = get64(order + 8 * j)
            put16(column + 2 * j, get16(get64(bases + 8 * (o >> 32)) + 2 * (o & 0xFFFFFFFF)))
    else:
        for j in range(n):
            o = get64(order + 8 * j)
            put8(column + j, get8(get64(bases + 8 * (o >> 32)) + (o & 0xFFFFFFFF)))


@entry
def t_order(ram: Any, order: int, capacity: int, sources: int, count: int) -> int:
    """Put into *order* which event comes next, until there are *capacity* or a source has to be filled; how many."""
    n = 0
    while n < capacity:
        found = merge_some(order, n, capacity, sources, count)
        if found == 0:
            break
        n += found
    return n


@entry
def t_gather(ram: Any, to: int, order: int, n: int, sources: int, count: int, bases: int) -> int:
    """Fill the columns *to* with *n* events in their *order*. *bases* has a word for each source."""
    for c in range(C_ORDER + 1):
        for i in range(count):
            put64(bases + 8 * i, at(at(sources + 8 * M_WORDS * i, M_COLUMNS), c))
        gather(to, order, n, bases, c)
    return n


@entry
def t_intern(ram: Any, table: int, addr: int, size: int) -> int:
    """Entry for :func:`intern`."""
    return intern(table, addr, size)
