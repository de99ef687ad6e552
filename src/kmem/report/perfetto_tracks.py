"""What a Perfetto file says once: its tracks, and the texts that its events refer to by number. Field numbers are those
of protos/perfetto/trace of Perfetto.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kmem.abi.flags import format_flags
from kmem.mm.events import KMALLOC, KMEM_CACHE_ALLOC, MM_PAGE_ALLOC, VMALLOC
from kmem.report.proto import message
from kmem.trace import slices as s
from kmem.trace.result import Sample
from kmem.trace.schema import KINDS, Array, Columns, Info, gfp_names, site_name
from kmem.trace.state import parse_buddyinfo

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


class Tracks:
    """The tracks and texts of one file, as packets that wait for being written (:meth:`take`)."""

    def __init__(self, info: Info) -> None:
        self._info, self._gfp = info, gfp_names(info)
        self.site_names: list[str] = []
        self.packets = self.tracks = 0
        self._waiting: list[bytes] = []
        self._first = True
        self._told: set[int] = set()

    def take(self) -> bytes:
        """The packets that were not taken yet."""
        found = b"".join(self._waiting)
        self._waiting.clear()
        return found

    def packet(self, *fields: tuple[int, int | str | bytes]) -> None:
        self._waiting.append(message((PACKET, message(*fields))))
        self.packets += 1

    def track(self, uuid: int, *fields: tuple[int, int | str | bytes]) -> None:
        self.packet((SEQUENCE_ID, s.SEQUENCE), (DESCRIPTOR, message((UUID, uuid), *fields)))
        self.tracks += 1

    def intern(self, field: int, iid: int, text: str) -> None:
        flags = NEEDED | (CLEARED if self._first else 0)
        self._first = False
        entry = message((field, message((1, iid), (2, text))))
        self.packet((SEQUENCE_ID, s.SEQUENCE), (SEQUENCE_FLAGS, flags), (INTERNED, entry))

    def counter(self, uuid: int, name: str, parent: int, unit: str = "", rank: int = 0) -> None:
        what = message((UNIT, COUNT), (UNIT_NAME, unit)) if unit else message((UNIT, BYTES_UNIT))
        self.track(uuid, (NAME, name), (PARENT, parent), (COUNTER, what), (RANK, rank))

    def frame(self, begin: int, end: int) -> None:
        """The tracks that every file has, and free memory as the recorded kernel said it."""
        self.track(s.ROOT, (NAME, f"kernel memory: {self._info.source}"), (ORDERING, EXPLICIT))
        for rank, (uuid, name) in enumerate(((s.SLAB, "objects"), (s.BUDDY, "pages"), (s.SITES, "call sites"))):
            self.track(uuid, (NAME, name), (PARENT, s.ROOT), (RANK, rank))
        self.counter(s.COUNTER_TRACK + s.OBJECTS, "all objects: live bytes", s.SLAB, rank=-1)
        self.counter(s.COUNTER_TRACK + s.PAGES, "all pages: allocated since the beginning", s.BUDDY, "pages", -1)
        for number, argument in enumerate(ARGUMENTS):
            self.intern(ARGUMENT_NAMES, number + 1, argument)
        for number, kind in enumerate(KINDS):
            self.intern(TEXTS, 1 + s.T_CLASSES * number + s.T_KIND, kind)
        for time, files in ((begin, self._info.before), (end, self._info.after)):
            zones = parse_buddyinfo(files.get("buddyinfo", "")).values()
            self._free(time, [sum(blocks) for blocks in zip(*zones, strict=False)], s.SNAPSHOT, "buddyinfo")

    def model(self, samples: list[Sample]) -> None:
        """Memory as a replay in the model has it."""
        for sample in samples:
            self._free(sample.time, sample.free, s.MODEL, "model")
            self._value(sample.time, s.MODEL_SLABS, sample.slab_pages, "pages of all slabs (model)", "pages")

    def _free(self, time: int, free: list[int], track: int, source: str) -> None:
        for order, blocks in enumerate(free):
            self._value(time, track + order, blocks, f"free blocks, order {order} ({source})", "blocks")

    def _value(self, time: int, track: int, value: int, name: str, unit: str) -> None:
        """A counter's value at a time; its track is made when it is first told."""
        if track not in self._told:
            self._told.add(track)
            self.counter(track, name, s.BUDDY, unit)
        event = message((9, s.COUNTER), (11, track), (30, value))
        self.packet((TIMESTAMP, time), (SEQUENCE_ID, s.SEQUENCE), (TRACK_EVENT, event))

    def group(self, number: int, key: int) -> None:
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
            self.counter(s.COUNTER_TRACK + number, f"order {value}: pages allocated", s.BUDDY, "pages", value)
        else:
            self.counter(s.COUNTER_TRACK + number, f"{name}: live bytes", s.SLAB)
        self.intern(EVENT_NAMES, number, name)

    def site(self, number: int, key: int) -> None:
        self.site_names.append(site_name(self._info, key) if key else "no call site")

    def task(self, number: int, key: int) -> None:
        name = self._info.tasks.get(key, f"task {key}")
        self.intern(TEXTS, 1 + s.T_CLASSES * number + s.T_TASK, f"{name} ({key})")
        thread = message((1, key), (2, key), (5, name))
        self.track(s.TASK_TRACK + number, (THREAD, thread))
        for at, what in enumerate(("objects", "pages")):
            uuid = s.TASK_COUNTER + 2 * number + at
            self.counter(uuid, f"{what}: live bytes", s.TASK_TRACK + number)

    def flags(self, number: int, key: int) -> None:
        text = format_flags(key, self._gfp)
        self.intern(TEXTS, 1 + s.T_CLASSES * number + s.T_GFP, f"{key:#x} {text}".strip())

    def lane(self, site: int, lane: int) -> None:
        """A lane of a call site: those with one name are drawn as one."""
        self.track(s.LANE_TRACK + s.TRACKS * site + lane, (NAME, self.site_names[site]), (PARENT, s.SITES))

    def moments(self, site: int) -> None:
        """The track of what found no lane."""
        name = f"{self.site_names[site]}: lives not drawn"
        self.track(s.LANE_TRACK + s.TRACKS * site + s.LANES, (NAME, name), (PARENT, s.SITES))


def group_keys(batch: Columns) -> Array:
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
