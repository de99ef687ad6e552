"""The state before a trace: the caches, and which of their objects lived, from the recording and from its events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kmem.trace import first as f
from kmem.trace.ahead import ahead
from kmem.trace.engine import Table, reader
from kmem.trace.schema import NUMBER, Array, Columns, Info, Recording
from kmem.trace.state import CacheState, caches_of

PAGE_OFFSET = 0xFFFF888000000000
GIB = 1 << 30
_SIZES = ("", "96", "192", "8", "16", "32", "64", "128", "256", "512", "1k", "2k", "4k", "8k")
_TYPES = ("kmalloc-", "kmalloc-rcl-", "kmalloc-cg-", "dma-kmalloc-")


def kmalloc_bytes(index: int) -> int:
    """The size of objects of a kmalloc class."""
    return {1: 96, 2: 192}.get(index, 1 << index)


@dataclass
class Caches:
    """All caches of a trace, by number; and what names, numbers of strings and classes of kmalloc lead to."""

    states: list[CacheState] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    number: dict[str, int] = field(default_factory=dict)
    of_string: Array = field(default_factory=lambda: np.zeros(1 << 12, np.uint16))
    of_class: Array = field(default_factory=lambda: np.zeros(4 * f.CLASSES, np.uint16))
    order: Array = field(default_factory=lambda: np.zeros(1 << 16, np.uint8))
    strings: int = 1
    waiting: list[int] = field(default_factory=list)
    """Numbers of strings of which it is not known yet which cache they name."""

    def add(self, state: CacheState) -> int:
        """The number of a new cache."""
        n = self.number[state.name] = len(self.states)
        self.states.append(state)
        self.order[n] = state.order if state.per_slab else f.NO_ORDER
        return n

    def take(self, info: Info, sizes: Array) -> None:
        """Strings that are new: caches that the recording does not list get the size that events show."""
        while len(self.of_string) < len(info.strings):
            self.of_string = np.append(self.of_string, np.zeros_like(self.of_string))
        self.waiting += [n for n in range(self.strings, len(info.strings)) if info.strings[n]]
        self.strings = len(info.strings)
        for number in self.waiting:
            name = self.aliases.get(info.strings[number], info.strings[number])
            if name in self.number:
                self.of_string[number] = self.number[name] + 1
            elif number < len(sizes) and 8 <= sizes[number] <= 1 << 22 and len(self.states) < 60000:
                self.of_string[number] = self.add(guess(name, int(sizes[number]))) + 1
        self.waiting = [number for number in self.waiting if not self.of_string[number]]


def guess(name: str, size: int) -> CacheState:
    """A cache of which only the size of its objects is known: empty, of the order that the model calculates."""
    return CacheState(name, size, 0, 0, 0, 0, size)


def known_caches(info: Info) -> Caches:
    """The caches that the recording lists, and those of kmalloc in any case."""
    made = Caches()
    states, made.aliases = caches_of(info.before)
    for state in states.values():
        made.add(state)
    for kind, prefix in enumerate(_TYPES):
        for index in range(1, 14):
            name = made.aliases.get(prefix + _SIZES[index], prefix + _SIZES[index])
            if name not in made.number and kind:
                name = "kmalloc-" + _SIZES[index]
            if name not in made.number:
                made.add(guess(name, kmalloc_bytes(index)))
            made.of_class[kind * f.CLASSES + index] = made.number[name] + 1
    return made


def shapes(states: Sequence[CacheState]) -> Table:
    """The caches by the size of their objects with and without what is added, where only one has both.

    Some kernels do not say in an allocation's event which cache it is from, but these two sizes.
    """
    found: dict[int, list[int]] = {}
    for number, state in enumerate(states):
        if state.exact and "kmalloc-" not in state.name:
            found.setdefault((state.size << 32) + state.object_size, []).append(number)
    table = Table(f.WIDTH, 1 << 10)
    for key, numbers in found.items():
        if len(numbers) == 1:
            table.put(key + 1, numbers[0] + 1)
    return table


def page_offset(columns: Columns) -> int | None:
    """Where the direct map begins, by slabs that are used right after their pages were allocated; None if none was."""
    kind, cpu, ptr = columns["kind"], columns["cpu"], columns["ptr"].astype(np.int64)
    found: list[int] = []
    for one in np.unique(cpu).tolist():
        mine = np.flatnonzero(cpu == one)
        pages = np.flatnonzero(kind[mine[:-1]] == NUMBER["mm_page_alloc"])
        after = mine[pages + 1]
        slab = (kind[after] == NUMBER["kmalloc"]) | (kind[after] == NUMBER["kmem_cache_alloc"])
        distance = (ptr[after] & -4096) - (ptr[mine[pages]] << 12)
        found += distance[slab & (distance % GIB == 0)].tolist()
    if not found:
        return None
    values, counts = np.unique(np.array(found), return_counts=True)
    best = int(counts.argmax())
    return int(values[best]) & (1 << 64) - 1 if counts[best] * 2 > len(found) else None


class Slots(NamedTuple):
    """Slots of objects that were there before the trace: address, cache, whether an object lived there, a number that
    tells which was used first, and on which CPU. Those of a cache are together.
    """

    address: Array
    cache: Array
    lived: Array
    turn: Array
    cpu: Array


class First:
    """Reads a trace once, for what it tells of the time before it."""

    def __init__(self, info: Info) -> None:
        self.info = info
        self.caches = known_caches(info)
        self.slots, self.blocks = Table(f.SLOT_WIDTH, 1 << 16), Table(f.WIDTH, 1 << 14)
        self.sites = Table(f.WIDTH, 1 << 15)
        self.shapes = shapes(self.caches.states)
        self.state: Array = np.zeros(f.FIRST_WORDS, np.int64)
        self.offset = PAGE_OFFSET
        self.offset_known = False
        self._sizes: Array = np.zeros(1 << 16, np.uint64)
        self.begin = self.end = 0

    def read(self, recording: Recording) -> None:
        """All events of *recording*."""
        note = reader("t_first")
        state, caches = self.state, self.caches
        for batch in ahead(recording):
            if not batch.n:
                continue
            self.begin = self.begin or int(batch["time"][0])
            self.end = max(self.end, int(batch["time"][-1]))
            if not self.offset_known:
                found = page_offset(batch)
                self.offset, self.offset_known = found or self.offset, found is not None
            if len(self.info.strings) != caches.strings or caches.waiting:
                named = batch["kind"] == NUMBER["kmem_cache_alloc"]
                cache = np.minimum(batch["cache"][named], len(self._sizes) - 1)
                self._sizes[cache] = batch["allocated"][named]
                caches.take(self.info, self._sizes)
            self.slots.reserve(batch.n)
            self.blocks.reserve(batch.n)
            state[f.F_COLUMNS], state[f.F_N] = batch.addresses.ctypes.data, batch.n
            state[f.F_SLOTS], state[f.F_SLOT_MASK] = self.slots.address, self.slots.capacity - 1
            state[f.F_BLOCKS], state[f.F_BLOCK_MASK] = self.blocks.address, self.blocks.capacity - 1
            state[f.F_SITES], state[f.F_SITE_MASK] = self.sites.address, self.sites.capacity - 1
            state[f.F_SHAPES], state[f.F_SHAPE_MASK] = self.shapes.address, self.shapes.capacity - 1
            state[f.F_CACHE_OF], state[f.F_CLASS_OF] = caches.of_string.ctypes.data, caches.of_class.ctypes.data
            state[f.F_ORDER_OF] = caches.order.ctypes.data
            state[f.F_PAGE_OFFSET] = np.uint64(self.offset).astype(np.int64)
            note(state.ctypes.data)
            self.slots.used, self.blocks.used = int(state[f.F_SLOT_USED]), int(state[f.F_BLOCK_USED])

    def earlier(self) -> Slots:
        """The slots that are older than the trace. Frees that do not name a cache get that of their slab."""
        table = self.slots.words
        address = table[:, 0].astype(np.uint64)
        what, cache = table[:, 1] & 0xFF, (table[:, 1] >> 32).astype(np.int64) - 1
        there = (address != 0) & ((what == f.LIVED) | (what == f.WAS_FREE))
        address, what, cache, turn = address[there], what[there], cache[there], table[there, 3] & 0xFFFFFFFF
        cpu = table[there, 1] >> 8 & 0xFFFF
        unknown = np.flatnonzero(cache < 0)
        for order in range(4):
            base = address & ~np.uint64((4096 << order) - 1)
            known = np.flatnonzero((cache >= 0) & (self.caches.order[np.maximum(cache, 0)] == order))
            if not len(known) or not len(unknown):
                continue
            sort = known[np.argsort(base[known], kind="stable")]
            place = np.minimum(np.searchsorted(base[sort], base[unknown]), len(sort) - 1)
            same = base[sort][place] == base[unknown]
            cache[unknown[same]] = cache[sort[place[same]]]
            unknown = unknown[~same]
        good = np.flatnonzero(cache >= 0)
        good = good[np.argsort(cache[good], kind="stable")]
        return Slots(address[good], cache[good], what[good] == f.LIVED, turn[good], cpu[good])

    def freed_pages(self) -> Array:
        """Page frames of blocks that were there before the trace and were freed in it, sorted."""
        table = self.blocks.words
        return np.sort(table[(table[:, 0] != 0) & (table[:, 1] & f.FIRST_FREE != 0), 0] - 1)


class Population(NamedTuple):
    """The objects of one cache before the trace: slabs that the trace touches (*bases*), all slots of all slabs, slab
    by slab, whether an object lives there, and the order in which slabs with free slots were used, and on which CPU.
    """

    bases: Array
    lives: Array
    turns: Array
    cpus: Array


NEVER = 1 << 62


def populate(state: CacheState, slots: Slots, number: int, cpus: int, freed: Array) -> Population:
    """What cache *number* held: each touched slot as the events say, the others so that the counts are the
    recording's. *freed* are addresses of pages that were freed in the trace.
    """
    mine = slice(*np.searchsorted(slots.cache, (number, number + 1)).tolist())
    mask = np.uint64((4096 << state.order) - 1)
    address, lived, turn, cpu = (each[mine] for each in (slots.address, slots.lived, slots.turn, slots.cpu))
    index = ((address & mask) // np.uint64(state.size)).astype(np.int64)
    good = (index < state.per_slab) & ((address & mask) % np.uint64(state.size) == 0)
    address, lived, index, turn, cpu = (each[good] for each in (address, lived, index, turn, cpu))
    bases, which = np.unique(address & ~mask, return_inverse=True)
    slabs = max(state.slabs, len(bases))
    lives: Array = np.ones((slabs, state.per_slab), bool)
    unseen: Array = np.ones((slabs, state.per_slab), bool)
    if state.sheaves and state.exact:
        lived = _in_sheaves(lived, turn, _free_slots(state, slabs, cpus)[0])
    lives[which, index], unseen[which, index] = lived, False
    room = _free_slots(state, slabs, cpus)[0] - int(np.count_nonzero(~lives))
    if len(freed) and len(bases):  # nobody freed what was not seen: as far as there were free slots, it was free
        place = np.minimum(np.searchsorted(freed, bases), len(freed) - 1)
        for slab in np.flatnonzero(freed[place] == bases).tolist():
            count = int(np.count_nonzero(unseen[slab]))
            if count <= room:
                lives[slab, unseen[slab]] = False
                room -= count
    turns: Array = np.full(slabs, NEVER, np.int64)
    np.minimum.at(turns, which[~lived], turn[~lived])
    used: Array = np.full(slabs, -1, np.int64)
    first = ~lived & (turn == turns[which])
    used[which[first]] = cpu[first]
    _spread(state, lives, unseen, cpus)
    return Population(bases, lives, turns, used)


def _in_sheaves(lived: Array, turn: Array, free: int) -> Array:
    """Which slots were allocated, where a CPU's sheaves hand out objects before the slabs do: of the slots in which the
    trace allocates first, as many were free as the recording counts, the last; the others were in a sheaf.
    """
    dead = np.flatnonzero(~lived)
    held = dead[np.argsort(turn[dead], kind="stable")][: max(len(dead) - free, 0)]
    lived = lived.copy()
    lived[held] = True
    return lived


def _free_slots(state: CacheState, slabs: int, cpus: int) -> tuple[int, int]:
    """How many slots the recording says were free, and in how many slabs."""
    if state.exact:
        free = state.partial * state.per_slab - state.in_partial + state.cpu_partial_free
        free += (state.cpu_slabs - state.cpu_partial_slabs) * state.per_slab // 2
        return free, state.partial + state.cpu_slabs
    free = state.slabs * state.per_slab - state.objects  # slabs of CPUs count as full: take half of each
    partial = -(-free * 2 // max(state.per_slab, 1)) + min(cpus, slabs)
    return free + min(cpus, slabs) * state.per_slab // 2, partial


def _spread(state: CacheState, lives: Array, unseen: Array, cpus: int) -> None:
    """Free as many unseen slots as the recording counts, over as many slabs."""
    free, partial = _free_slots(state, len(lives), cpus)
    rest = int(free - np.count_nonzero(~lives))
    if rest <= 0:
        return
    untouched = np.flatnonzero(unseen.all(axis=1))
    touched = np.flatnonzero(lives.all(axis=1) & (unseen.sum(axis=1) > 1) & ~unseen.all(axis=1))
    known = np.flatnonzero(~lives.all(axis=1) & (unseen & lives).any(axis=1)).tolist()
    others = max(partial - int(np.count_nonzero(~lives.all(axis=1))), 0)
    some = _evenly(untouched, others)
    more = _evenly(touched, others - len(some))
    for number, slab in enumerate(chosen := [*some, *more, *known]):
        count = rest // (len(chosen) - number)
        slots = np.flatnonzero(unseen[slab] & lives[slab])[1:]  # one lives: nobody saw the slab become empty
        count = min(count, len(slots))
        lives[slab, slots[len(slots) - count :]] = False
        rest -= count


def _evenly(slabs: Array, count: int) -> list[int]:
    """At most *count* of *slabs*, far from each other."""
    count = min(max(count, 0), len(slabs))
    return slabs[np.linspace(0, len(slabs) - 1, count).astype(np.int64)].tolist() if count else []
