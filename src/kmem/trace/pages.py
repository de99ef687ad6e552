"""Pages of the ring buffer, as ``per_cpu/cpuN/trace_pipe_raw`` gives them: one stream for each CPU, merged by time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from kmem.trace import scan as s
from kmem.trace.engine import Strings, reader
from kmem.trace.errors import TraceError
from kmem.trace.formats import Format, PageLayout
from kmem.trace.schema import NUMBER, OLD_NAMES, Array, Columns, Info

CHUNK = 1 << 20
EVENTS = 1 << 16
_PLACES = {
    s.R_SITE: ("call_site",),
    s.R_PTR: ("ptr", "pfn"),
    s.R_REQUESTED: ("bytes_req", "fallback_order"),
    s.R_ALLOCATED: ("bytes_alloc",),
    s.R_GFP: ("gfp_flags",),
    s.R_NODE: ("node",),
    s.R_NAME: ("name",),
    s.R_ORDER: ("order", "alloc_order"),
    s.R_PID: ("common_pid",),
    s.R_FLAGS: ("common_flags",),
    s.R_PREEMPT: ("common_preempt_count",),
}


def row_of(format: Format) -> list[int]:
    """Where compiled code finds the fields of an event."""
    name = OLD_NAMES.get(format.name, format.name)
    row = [-1] * s.ROW_WORDS
    row[s.R_KIND] = NUMBER[name]
    least = 2
    for place, names in _PLACES.items():
        for field in names:
            found = format.fields.get(field)
            if found is None:
                continue
            if found.dynamic != (place == s.R_NAME) or found.size not in (1, 2, 4, 8):
                raise TraceError(
                    f"the field {field} of {format.name} is not a number that can be read",
                    remedy="Copy the format files of the boot that recorded the trace.",
                )
            row[place], row[place + 1] = found.offset, found.size
            least = max(least, found.offset + found.size)
            break
    if row[s.R_PTR] < 0:
        raise TraceError(f"the format of {format.name} has no ptr and no pfn", remedy="Copy the format files again.")
    row[s.R_SIZE] = least
    row[s.R_PAGES] = 1 if name.startswith("mm_page") else 0
    return row


class PageScanner:
    """Turns pages of one CPU into columns; places of rows that nobody wants are left *without*."""

    def __init__(
        self, formats: Sequence[Format], layout: PageLayout, cpu: int, strings: Strings, without: Sequence[int] = ()
    ) -> None:
        self._kind_of: Array = np.zeros(1 << 16, np.uint8)
        self._strings = strings  # the state has its address
        known = [f for f in formats if OLD_NAMES.get(f.name, f.name) in NUMBER]
        if not known or len(known) > 250:
            raise TraceError("none of the formats is of a kmem event", remedy="Copy events/kmem/*/format, too.")
        self._rows: Array = np.array([[0] * s.ROW_WORDS, *(row_of(f) for f in known)], np.int64)
        self._rows[:, [*without]] = -1
        for number, format in enumerate(known, 1):
            self._kind_of[format.number] = number
        self.columns = Columns(EVENTS)
        self.state: Array = np.zeros(s.STATE_WORDS, np.int64)
        self._scan = reader("t_scan_pages")
        state = self.state
        state[s.CAPACITY], state[s.COLUMNS] = EVENTS, self.columns.addresses.ctypes.data
        state[s.KIND_OF], state[s.ROWS] = self._kind_of.ctypes.data, self._rows.ctypes.data
        state[s.STRINGS], state[s.CPU] = strings.address, cpu
        state[s.PAGE_SIZE], state[s.PAGE_DATA], state[s.PAGE_TIME] = layout.size, layout.data, layout.timestamp
        state[s.PAGE_COMMIT], state[s.PAGE_COMMIT_SIZE] = layout.commit, layout.commit_size

    def give(self, buffer: Array, size: int) -> None:
        """Read *size* bytes of *buffer* next; its address must stay."""
        self.state[s.IN], self.state[s.IN_SIZE], self.state[s.POS] = buffer.ctypes.data, size, 0

    def scan(self) -> int:
        """Fill the columns anew from what was given; how many events."""
        self.state[s.N] = 0
        self.columns.n = self._scan(self.state.ctypes.data)
        return self.columns.n

    @property
    def exhausted(self) -> bool:
        """Whether there is no whole page left of what was given."""
        return bool(self.state[s.POS] + self.state[s.PAGE_SIZE] > self.state[s.IN_SIZE])


class _Stream:
    """One CPU's pages out of a file."""

    def __init__(self, file: BinaryIO, size: int, scanner: PageScanner, page: int) -> None:
        self._file, self._left, self.scanner = file, size, scanner
        self._buffer: Array = np.zeros(max(CHUNK // page, 1) * page + 64, np.uint8)
        self._view = memoryview(self._buffer.data)[: len(self._buffer) - 64]
        self.torn = 0
        self._page = page

    def fill(self) -> bool:
        """Read on until there are events; False at the end."""
        while True:
            if self.scanner.exhausted and not self._more():
                return False
            if self.scanner.scan():
                return True

    def _more(self) -> bool:
        want = min(self._left, len(self._view))
        got = 0
        while got < want:
            n = self._file.readinto(self._view[got:want])  # type: ignore[attr-defined]
            if not n:
                break
            got += n
        self._left -= got
        if got < want:
            self.torn += self._left
            self._left = 0
        whole = got // self._page * self._page
        self.torn += got - whole
        self.scanner.give(self._buffer, whole)
        return whole > 0


Opener = Callable[[], Sequence[tuple[int, BinaryIO, int]]]
"""Opens the streams: CPU, file, bytes of it."""


class PageRecording:
    """The pages of several CPUs as one trace."""

    def __init__(self, info: Info, formats: Sequence[Format], layout: PageLayout, streams: Opener) -> None:
        self.info = info
        self._formats, self._layout, self._streams = formats, layout, streams

    def batches(self) -> Iterator[Columns]:
        """The events of all CPUs in order of time."""
        strings = Strings()
        info = self.info
        info.strings = strings.texts
        streams = self._opened(strings)
        for batch in merged(streams):
            strings.new()
            info.events += batch.n
            self._count(streams)
            yield batch
        strings.new()
        self._count(streams)

    def turns(self, without: Sequence[int]) -> Iterator[Turns]:
        """The order of the events of all CPUs, which stay where they were read, *without* some of their fields."""
        streams = self._opened(Strings(), without)
        for turn in turns(streams):
            self.info.events += turn.n
            yield turn
        self._count(streams)

    def name_sites(self, sites: Iterable[int]) -> None:
        """Put the names of call sites into ``info.symbols``, as far as there are names."""

    def _opened(self, strings: Strings, without: Sequence[int] = ()) -> list[_Stream]:
        page = self._layout.size
        streams = [
            _Stream(file, size, PageScanner(self._formats, self._layout, cpu, strings, without), page)
            for cpu, file, size in self._streams()
        ]
        self.info.cpus = max(self.info.cpus, len(streams))
        self.info.events = 0
        return streams

    def _count(self, streams: Iterable[_Stream]) -> None:
        states = [stream.scanner.state for stream in streams]
        self.info.lost = sum(int(state[s.LOST]) for state in states)
        self.info.unparsed = sum(int(state[s.UNPARSED]) for state in states)
        self.info.skipped = sum(int(state[s.SKIPPED]) for state in states)
        self.info.torn = sum(stream.torn for stream in streams)


class Turns(NamedTuple):
    """Which event comes next: *n* times a stream and a place in its columns, in one word; and the streams' columns."""

    n: int
    order: Array
    sources: Array


def turns(streams: Sequence[_Stream]) -> Iterator[Turns]:
    """The order of the events of *streams* by time. The columns are overwritten once the next turns are asked for."""
    order_of = reader("t_order")
    sources: Array = np.zeros((max(len(streams), 1), s.M_WORDS), np.int64)
    order: Array = np.zeros(EVENTS, np.int64)
    for source, stream in zip(sources, streams, strict=False):
        source[s.M_COLUMNS] = stream.scanner.columns.addresses.ctypes.data
        source[s.M_MORE] = 1
    while True:
        for source, stream in zip(sources, streams, strict=False):
            if source[s.M_POS] >= source[s.M_N] and source[s.M_MORE]:
                source[s.M_MORE] = stream.fill()
                source[s.M_POS], source[s.M_N] = 0, stream.scanner.columns.n if source[s.M_MORE] else 0
        n = order_of(order.ctypes.data, EVENTS, sources.ctypes.data, len(streams))
        if n:
            yield Turns(n, order, sources)
        elif not sources[:, s.M_MORE].any():
            return


def merged(streams: Sequence[_Stream]) -> Iterator[Columns]:
    """The events of *streams* by time; one stream is passed on as it is."""
    if len(streams) == 1:
        while streams[0].fill():
            yield streams[0].scanner.columns
        return
    gather = reader("t_gather")
    out = Columns(EVENTS)
    bases: Array = np.zeros(max(len(streams), 1), np.int64)
    for turn in turns(streams):
        to, order, sources = out.addresses.ctypes.data, turn.order.ctypes.data, turn.sources.ctypes.data
        out.n = gather(to, order, turn.n, sources, len(streams), bases.ctypes.data)
        yield out
