"""A trace in Perfetto's format: live memory as counters, each allocation as a slice of its call site, tasks by name.

The file is written while the trace is read; what is kept meanwhile are the allocations that live and the names. What
is said once (tracks, interned texts) is made here, before the packets that need it; those of events are made by
`kmem.trace.slices`. Field numbers are those of protos/perfetto/trace of Perfetto.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from kmem.abi.flags import format_flags
from kmem.mm.events import IOUNMAP, KMALLOC, KMEM_CACHE_ALLOC, MM_PAGE_ALLOC, VMALLOC
from kmem.report.proto import message
from kmem.report.replay import headline
from kmem.trace import slices as s
from kmem.trace.engine import Table, reader
from kmem.trace.schema import KINDS, Array, Columns, Info, Recording, gfp_names, site_name
from kmem.trace.state import parse_buddyinfo

SLICES, POINTS = 500_000, 2_000
"""How many slices are written, and how often counters are told, if nothing else is asked for."""
# Perfetto's field numbers.
PACKET = 1
TIMESTAMP, SEQUENCE_ID, TRACK_EVENT, INTERNED, SEQUENCE_FLAGS, DESCRIPTOR = 8, 10, 11, 12, 13, 60
UUID, NAME, THREAD, PARENT, COUNTER, ORDERING, RANK, DESCRIPTION = 1, 2, 4, 5, 8, 11, 12, 14
EVENT_NAMES, ARGUMENT_NAMES, TEXTS = 2, 3, 29
CLEARED, NEEDED = 1, 2
UNIT, UNIT_NAME, COUNT, BYTES_UNIT = 3, 6, 2, 3
EXPLICIT = 3
ARGUMENTS = ("address", "requested", "allocated", "gfp", "cpu", "task", "call", "order", "pfn")
LARGEST_CLASS = 8192
_BY_CACHE, _BY_SIZE, _BY_ORDER, _BY_KIND, _WHOLE_PAGES = range(1, 6)


@dataclass(frozen=True)
class Wanted:
    """What of a trace is written: seconds as nanoseconds since its first event (no end: 0), and at most how much."""

    begin: int = 0
    end: int = 0
    slices: int = SLICES
    points: int = POINTS


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


class Numbers:
    """Numbers for keys, in the order in which they are first seen, beginning with *first*; told of each new one."""

    def __init__(self, new: Callable[[int, int], None], first: int = 0) -> None:
        self._new, self._first = new, first
        self._number: dict[int, int] = {}

    def of(self, keys: Array) -> Array:
        """The number of each key."""
        values, places = np.unique(keys, return_inverse=True)
        found = np.zeros(len(values), np.uint32)
        for at, value in enumerate(values.tolist()):
            number = self._number.get(value)
            if number is None:
                number = self._number[value] = self._first + len(self._number)
                self._new(number, value)
            found[at] = number
        numbers: Array = found[places]
        return numbers

    def __len__(self) -> int:
        return len(self._number)


class Exporter:
    """One trace on its way into one file."""

    def __init__(self, recording: Recording, wanted: Wanted, file: BinaryIO) -> None:
        self._recording, self._wanted, self._file = recording, wanted, file
        self._info = recording.info
        self.written = Written()
        self._gfp = gfp_names(self._info)
        self._groups = Numbers(self._group, s.FIRST_GROUP)
        self._sites, self._tasks, self._gfps = Numbers(self._site), Numbers(self._task), Numbers(self._flags)
        self._site_names: list[str] = []
        self._once: list[bytes] = []
        self._first_packet = True
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
        self._frame(begin, end)
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

    # what is said once

    def _packet(self, *fields: tuple[int, int | str | bytes]) -> None:
        self._once.append(message((PACKET, message(*fields))))
        self.written.packets += 1

    def _track(self, uuid: int, *fields: tuple[int, int | str | bytes]) -> None:
        self._packet((SEQUENCE_ID, s.SEQUENCE), (DESCRIPTOR, message((UUID, uuid), *fields)))
        self.written.tracks += 1

    def _intern(self, field: int, iid: int, text: str) -> None:
        flags = NEEDED | (CLEARED if self._first_packet else 0)
        self._first_packet = False
        entry = message((field, message((1, iid), (2, text))))
        self._packet((SEQUENCE_ID, s.SEQUENCE), (SEQUENCE_FLAGS, flags), (INTERNED, entry))

    def _counter(self, uuid: int, name: str, parent: int, unit: str = "", rank: int = 0) -> None:
        what = message((UNIT, COUNT), (UNIT_NAME, unit)) if unit else message((UNIT, BYTES_UNIT))
        self._track(uuid, (NAME, name), (PARENT, parent), (COUNTER, what), (RANK, rank))

    def _frame(self, begin: int, end: int) -> None:
        """The tracks that every file has, and free memory as the recorded kernel said it."""
        self._track(s.ROOT, (NAME, f"kernel memory: {self._info.source}"), (ORDERING, EXPLICIT))
        for rank, (uuid, name) in enumerate(((s.SLAB, "objects"), (s.BUDDY, "pages"), (s.SITES, "call sites"))):
            self._track(uuid, (NAME, name), (PARENT, s.ROOT), (RANK, rank))
        self._counter(s.COUNTER_TRACK + s.OBJECTS, "all objects: live bytes", s.SLAB, rank=-1)
        self._counter(s.COUNTER_TRACK + s.PAGES, "all pages: allocated since the beginning", s.BUDDY, "pages", -1)
        for number, argument in enumerate(ARGUMENTS):
            self._intern(ARGUMENT_NAMES, number + 1, argument)
        for number, kind in enumerate(KINDS):
            self._intern(TEXTS, 1 + s.T_CLASSES * number + s.T_KIND, kind)
        known: set[int] = set()
        for time, files in ((begin, self._info.before), (end, self._info.after)):
            zones = parse_buddyinfo(files.get("buddyinfo", "")).values()
            for order, blocks in enumerate(map(sum, zip(*zones, strict=False))):
                if order not in known:
                    known.add(order)
                    self._counter(s.SNAPSHOT + order, f"free blocks, order {order} (buddyinfo)", s.BUDDY, "blocks")
                event = message((9, s.COUNTER), (11, s.SNAPSHOT + order), (30, blocks))
                self._packet((TIMESTAMP, time), (SEQUENCE_ID, s.SEQUENCE), (TRACK_EVENT, event))

    def _group(self, number: int, key: int) -> None:
        """A new group: its counter, and the name of its slices."""
        by, value = key >> 48, key & (1 << 48) - 1
        if by == _BY_CACHE:
            name = self._info.strings[value] if value < len(self._info.strings) else "?"
        elif by == _BY_SIZE:
            name = f"kmalloc-{value if value < 1024 else f'{value >> 10}k'}"
        elif by == _WHOLE_PAGES:
            name = "kmalloc, whole pages"
        elif by == _BY_ORDER:
            name = f"pages, order {value}"
        else:
            name = "objects of unnamed caches" if value == KMEM_CACHE_ALLOC else KINDS[value].split("_")[0]
        if by == _BY_ORDER:
            self._counter(s.COUNTER_TRACK + number, f"order {value}: pages allocated", s.BUDDY, "pages", value)
        else:
            self._counter(s.COUNTER_TRACK + number, f"{name}: live bytes", s.SLAB)
        self._intern(EVENT_NAMES, number, name)

    def _site(self, number: int, key: int) -> None:
        self._site_names.append(site_name(self._info, key) if key else "no call site")

    def _task(self, number: int, key: int) -> None:
        name = self._info.tasks.get(key, f"task {key}")
        self._intern(TEXTS, 1 + s.T_CLASSES * number + s.T_TASK, f"{name} ({key})")
        thread = message((1, key), (2, key), (5, name))
        self._track(s.TASK_TRACK + number, (THREAD, thread))
        for at, what in enumerate(("objects", "pages")):
            uuid = s.TASK_COUNTER + 2 * number + at
            self._counter(uuid, f"{what}: live bytes", s.TASK_TRACK + number)

    def _flags(self, number: int, key: int) -> None:
        text = format_flags(key, self._gfp)
        self._intern(TEXTS, 1 + s.T_CLASSES * number + s.T_GFP, f"{key:#x} {text}".strip())

    def _new_lanes(self) -> None:
        """The tracks of lanes that were used for the first time: those of one call site are drawn as one."""
        highest = self._lanes[: len(self._sites), s.HIGHEST]
        for site in np.flatnonzero(highest > self._lanes_told[: len(highest)]).tolist():
            for lane in range(int(self._lanes_told[site]), int(highest[site])):
                uuid = s.LANE_TRACK + s.TRACKS * site + lane
                self._track(uuid, (NAME, self._site_names[site]), (PARENT, s.SITES))
            self._lanes_told[site] = highest[site]
        for site in np.flatnonzero(self._lanes[: len(self._sites), s.CROWDED]).tolist():
            if site not in self._crowded:
                self._crowded.add(site)
                uuid, name = s.LANE_TRACK + s.TRACKS * site + s.LANES, f"{self._site_names[site]}: lives not drawn"
                self._track(uuid, (NAME, name), (PARENT, s.SITES))

    # what happens

    def _batch(self, batch: Columns) -> None:
        made = _allocates(batch)
        numbers = []
        keys = (_group_keys(batch), batch["call_site"], batch["task"], batch["gfp"])
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
        once = b"".join(self._once)
        self._once.clear()
        made = self._out[: end - self._out.ctypes.data]
        self._file.write(once)
        self._file.write(made.data)
        self.written.size += len(once) + len(made)

    def _count(self) -> Written:
        told, state = self.written, self._state.tolist()
        told.events, told.allocations = state[s.S_EVENTS], state[s.S_ALLOCS]
        told.slices, told.left_out, told.crowded = state[s.S_SLICES], state[s.S_LEFT_OUT], state[s.S_CROWDED]
        told.reused, told.unknown, told.other = state[s.S_REUSED], state[s.S_UNKNOWN], state[s.S_OTHER]
        told.packets += state[s.S_PACKETS]
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


def _group_keys(batch: Columns) -> Array:
    """By what the counters and the slices of each event go: cache, size, order or kind."""
    kind, cache, size = batch["kind"], batch["cache"].astype(np.uint64), batch["allocated"]
    by = np.select(
        [
            (kind < MM_PAGE_ALLOC) & (cache != 0),
            (kind == KMALLOC) & (size <= LARGEST_CLASS),
            kind == KMALLOC,
            (kind >= MM_PAGE_ALLOC) & (kind < VMALLOC),
        ],
        [_BY_CACHE, _BY_SIZE, _WHOLE_PAGES, _BY_ORDER],
        _BY_KIND,
    ).astype(np.uint64)
    value = np.select(
        [by == _BY_CACHE, by == _BY_SIZE, by == _WHOLE_PAGES, by == _BY_ORDER],
        [cache, size, np.uint64(0), batch["order"].astype(np.uint64)],
        kind.astype(np.uint64),
    )
    keys: Array = by << np.uint64(48) | value & np.uint64((1 << 48) - 1)
    return keys


def _longer(array: Array, n: int) -> Array:
    """*array* with room for *n* rows, what is new being 0."""
    if len(array) >= n:
        return array
    more: Array = np.zeros((max(n, 2 * len(array)), *array.shape[1:]), array.dtype)
    more[: len(array)] = array
    return more
