"""A trace in Perfetto's format: live memory as counters, each allocation as a slice of its call site, tasks by name.

The file is written while the trace is read; what is kept meanwhile are the allocations that live and the names. What
is said once (tracks, texts) is made by `kmem.report.perfetto_tracks` and stands before the packets that need it; those
of events are made by `kmem.trace.slices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from kmem.mm.events import IOUNMAP, KMALLOC, MM_PAGE_ALLOC
from kmem.report.perfetto_tracks import Numbers, Tracks, group_keys
from kmem.report.replay import headline
from kmem.trace import slices as s
from kmem.trace.engine import Table, reader
from kmem.trace.replay import replay
from kmem.trace.schema import Array, Columns, Info, Recording

SLICES, POINTS = 500_000, 2_000
"""How many slices are written, and how often counters are told, if nothing else is asked for."""


@dataclass(frozen=True)
class Wanted:
    """What of a trace is written: seconds as nanoseconds since its first event (no end: 0), and at most how much."""

    begin: int = 0
    end: int = 0
    slices: int = SLICES
    points: int = POINTS
    model: bool = False
    """Also replay it in the model, for free blocks and slabs over time."""


@dataclass
class Written:
    """What was written, and what of the trace was not."""

    events: int = 0
    allocations: int = 0
    slices: int = 0
    one_of: int = 1
    left_out: int = 0
    crowded: int = 0
    reused: int = 0
    unknown: int = 0
    other: int = 0
    unfinished: int = 0
    tracks: int = 0
    packets: int = 0
    size: int = 0


class Exporter:
    """One trace on its way into one file."""

    def __init__(self, recording: Recording, wanted: Wanted, file: BinaryIO) -> None:
        self._recording, self._wanted, self._file = recording, wanted, file
        self._info = recording.info
        self.written = Written()
        self._tracks = t = Tracks(self._info)
        self._groups = Numbers(t.group, s.FIRST_GROUP)
        self._sites, self._tasks, self._gfps = Numbers(t.site), Numbers(t.task), Numbers(t.flags)
        self._live = Table(s.LIVE_WIDTH, 1 << 14)
        self._lanes: Array = np.zeros((64, s.LANE_WORDS), np.int64)
        self._crowded: set[int] = set()
        self._lanes_told: Array = np.zeros(64, np.int64)
        self._counters: Array = np.zeros((64, s.COUNTER_WORDS), np.int64)
        self._task_counters: Array = np.zeros((64, s.COUNTER_WORDS), np.int64)
        self._out: Array = np.zeros(0, np.uint8)
        self._state: Array = np.zeros(s.SLICES_WORDS, np.int64)

    def run(self) -> Written:
        """Read the trace twice, the second time into the file."""
        events, allocations, begin, end = self._measure()
        wanted, state, told = self._wanted, self._state, self.written
        told.one_of = max(1, -(-allocations // wanted.slices)) if wanted.slices else allocations + 1
        state[s.S_ONE_OF], state[s.S_EVERY] = told.one_of, max(1, -(-events // wanted.points))
        state[s.S_FROM], state[s.S_TO] = self._window(begin)
        self._tracks.frame(begin, end)
        if wanted.model:
            since, until = self._window(begin)
            samples = replay(self._recording).samples
            self._tracks.model([one for one in samples if since <= one.time and (until < 0 or one.time <= until)])
        last = begin
        for batch in self._recording.batches():
            if batch.n:
                self._batch(batch)
                last = int(batch["time"][-1])
        if events:
            self._out_for(0)
            self._flush(reader("t_tell")(state.ctypes.data, min(last, int(state[s.S_TO]) & (1 << 64) - 1)))
        return self._count()

    def _window(self, begin: int) -> tuple[int, int]:
        wanted = self._wanted
        return begin + wanted.begin, begin + wanted.end if wanted.end else -1

    def _measure(self) -> tuple[int, int, int, int]:
        """Events and allocations that will be in the file; when the trace begins and ends."""
        events = allocations = begin = end = 0
        for batch in self._recording.batches():
            if not batch.n:
                continue
            time = batch["time"]
            if not end:
                begin = int(time[0])
                since, until = self._window(begin)
            end = int(time[-1])
            inside = time >= np.uint64(since)
            if until >= 0:
                inside &= time <= np.uint64(until)
            events += int(np.count_nonzero(inside))
            allocations += int(np.count_nonzero(inside & _allocates(batch)))
        return events, allocations, begin, end

    def _new_lanes(self) -> None:
        """The tracks of lanes that were used for the first time: those of one call site are drawn as one."""
        highest = self._lanes[: len(self._sites), s.HIGHEST]
        for site in np.flatnonzero(highest > self._lanes_told[: len(highest)]).tolist():
            for lane in range(int(self._lanes_told[site]), int(highest[site])):
                self._tracks.lane(site, lane)
            self._lanes_told[site] = highest[site]
        for site in np.flatnonzero(self._lanes[: len(self._sites), s.CROWDED]).tolist():
            if site not in self._crowded:
                self._crowded.add(site)
                self._tracks.moments(site)

    # what happens

    def _batch(self, batch: Columns) -> None:
        made = _allocates(batch)
        numbers = []
        keys = (group_keys(batch), batch["call_site"], batch["task"], batch["gfp"])
        for of, key in zip((self._groups, self._sites, self._tasks, self._gfps), keys, strict=True):
            array: Array = np.zeros(batch.n, np.uint32)
            array[made] = of.of(key[made])
            numbers.append(array)
        self._room(batch.n)
        state = self._state
        state[s.S_COLUMNS], state[s.S_N] = batch.addresses.ctypes.data, batch.n
        for at, array in zip((s.S_GROUPS, s.S_SITES, s.S_TASKS, s.S_GFPS), numbers, strict=True):
            state[at] = array.ctypes.data
        self._live.used = reader("t_slices")(state.ctypes.data)
        self._new_lanes()
        self._flush(int(state[s.S_OUT]))

    def _room(self, n: int) -> None:
        """Make room for what a batch of *n* events may need."""
        state, live = self._state, self._live
        live.reserve(n)
        state[s.S_LIVE], state[s.S_LIVE_MASK] = live.address, live.capacity - 1
        self._lanes = _longer(self._lanes, len(self._sites))
        self._lanes_told = _longer(self._lanes_told, len(self._sites))
        self._counters = _longer(self._counters, len(self._groups) + s.FIRST_GROUP)
        self._task_counters = _longer(self._task_counters, 2 * len(self._tasks))
        state[s.S_LANES] = self._lanes.ctypes.data
        state[s.S_COUNTERS], state[s.S_COUNTER_COUNT] = self._counters.ctypes.data, len(self._groups) + s.FIRST_GROUP
        state[s.S_TASK_COUNTERS], state[s.S_TASK_COUNT] = self._task_counters.ctypes.data, 2 * len(self._tasks)
        self._out_for(n)

    def _out_for(self, n: int) -> None:
        """An empty output with room for *n* events. An event changes at most eight counters, each is told once."""
        counters = 8 * n + len(self._counters) + len(self._task_counters)
        size = n * s.MOST_BYTES + counters * s.COUNTER_BYTES
        if len(self._out) < size:
            self._out = np.empty(size, np.uint8)
        self._state[s.S_OUT] = self._out.ctypes.data

    def _flush(self, end: int) -> None:
        once = self._tracks.take()
        made = self._out[: end - self._out.ctypes.data]
        self._file.write(once)
        self._file.write(made.data)
        self.written.size += len(once) + len(made)

    def _count(self) -> Written:
        told, state = self.written, self._state.tolist()
        told.events, told.allocations = state[s.S_EVENTS], state[s.S_ALLOCS]
        told.slices, told.left_out, told.crowded = state[s.S_SLICES], state[s.S_LEFT_OUT], state[s.S_CROWDED]
        told.reused, told.unknown, told.other = state[s.S_REUSED], state[s.S_UNKNOWN], state[s.S_OTHER]
        told.packets, told.tracks = self._tracks.packets + state[s.S_PACKETS], self._tracks.tracks
        told.unfinished = sum(int(busy).bit_count() for busy in self._lanes[:, s.BUSY].view(np.uint64).tolist())
        return told


def export(recording: Recording, wanted: Wanted, file: BinaryIO) -> Written:
    """Write *recording* into *file*."""
    return Exporter(recording, wanted, file).run()


def told(info: Info, written: Written) -> list[str]:
    """What is in the file, and first of all what is not."""
    w = written
    whole = "all of them" if w.slices == w.allocations else f"of {w.allocations:,}"
    lines = [*headline(info), f"{w.slices:,} allocations as slices, {whole}; counters of every event"]
    left = [
        f"{count:,} {what}"
        for count, what in (
            (w.left_out, f"allocations, to bound the file (every {w.one_of}th is a slice; --slices, --from and --to)"),
            (w.crowded, f"lives: the call site had {s.LANES} slices at that time, these are moments"),
        )
        if count
    ]
    if left:
        lines.append("LEFT OUT: " + "; ".join(left))
    for count, what in (
        (w.unfinished, "slices do not end: never freed"),
        (w.reused, "allocations ended when their address was handed out again, without an event"),
        (w.unknown, "frees of what the trace did not see being allocated"),
        (w.other, "events of other kinds, failed allocations and frees of NULL"),
    ):
        if count:
            lines.append(f"{count:,} {what}")
    return [*lines, f"{w.size:,} bytes: {w.packets:,} packets on {w.tracks:,} tracks"]


def _allocates(batch: Columns) -> Array:
    """Which events allocate something."""
    kind, ptr = batch["kind"], batch["ptr"]
    none = (ptr == np.uint64((1 << 64) - 1)) | ((ptr <= np.uint64(16)) & (kind < MM_PAGE_ALLOC))
    found: Array = (kind <= IOUNMAP) & (kind & 1 == KMALLOC) & ~none
    return found


def _longer(array: Array, n: int) -> Array:
    """*array* with room for *n* rows, what is new being 0."""
    if len(array) >= n:
        return array
    more: Array = np.zeros((max(n, 2 * len(array)), *array.shape[1:]), array.dtype)
    more[: len(array)] = array
    return more
