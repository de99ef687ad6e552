"""Replaying a trace: its events drive the model, which tells in the end where the memory is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kmem.abi.slab_flags import slab_flags
from kmem.errors import UsageError
from kmem.kernel import Kernel, boot
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import kmem_cache
from kmem.trace import first as f
from kmem.trace import replay_core as r
from kmem.trace.before import First, Population, Slots, populate
from kmem.trace.engine import Table, model
from kmem.trace.schema import Array, Info, Recording
from kmem.trace.state import CacheState, caches_of, memory_kib, parse_buddyinfo

SITES, TASKS = 1 << 14, 1 << 14
SAMPLES = 60
SMALLEST, LARGEST = 256 << 20, 1 << 40


@dataclass(frozen=True)
class Options:
    """How to replay. *settings* are boot options of the model (``slub_max_order`` …); 0 cpus or ram: as recorded."""

    release: str = ""
    cpus: int = 0
    ram: int = 0
    begin: int = 0
    end: int = 0
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, chosen: dict[str, int], release: str = "", begin: int = 0, end: int = 0) -> Options:
        """Options from settings by name, ``cpus`` and ``ram`` among them."""
        rest = {name: value for name, value in chosen.items() if name not in ("cpus", "ram")}
        if "slub_cpu_partial" in rest:
            rest["slub_cpu_partial"] = bool(rest["slub_cpu_partial"])
        settings = tuple(sorted(rest.items()))
        return cls(release, chosen.get("cpus", 0), chosen.get("ram", 0), begin, end, settings)


@dataclass
class CacheResult:
    """One cache at the end. *real* are the kernel's own slabs, before and after, if the recording has them."""

    name: str
    size: int
    order: int
    per_slab: int
    allocs: int
    frees: int
    inferred: int
    unknown_frees: int
    live: int
    peak: int
    requested: int
    asked: int
    cross_cpu: int
    lifetime: float
    failed: int
    slabs_before: int
    slabs: int
    real_before: int = -1
    real_after: int = -1

    @property
    def pages(self) -> int:
        """Pages of its slabs in the model."""
        return self.slabs << self.order


@dataclass
class WhoResult:
    """A call site or a task."""

    key: int
    allocs: int
    frees: int
    live: int
    bytes: int
    requested: int
    asked: int
    total: int
    cross_cpu: int
    lifetime: float
    peak: int
    cache: str
    quarters: tuple[int, int, int]


@dataclass
class Sample:
    """Free blocks by order at a time, all zones together, and the pages of all slabs."""

    time: int
    free: list[int]
    slab_pages: int


@dataclass
class Result:
    """What a replay found."""

    info: Info
    options: Options
    release: str
    cpus: int
    ram: int
    begin: int
    end: int
    caches: list[CacheResult] = field(default_factory=list)
    sites: list[WhoResult] = field(default_factory=list)
    tasks: list[WhoResult] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lifetimes: list[int] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    free_before: dict[str, list[int]] = field(default_factory=dict)
    free_after: dict[str, list[int]] = field(default_factory=dict)
    real_free_after: dict[str, list[int]] = field(default_factory=dict)
    real_free_before: dict[str, list[int]] = field(default_factory=dict)
    sheaves: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Accuracy:
    """The model against the kernel itself: slabs that caches gained and lost, and how far the model was off."""

    error: int
    change: int
    caches: int
    close: int
    """Caches of which the model has within 2 slabs, or 10 %, of what the kernel has."""
    worst: tuple[tuple[str, int], ...]

    @property
    def share(self) -> float:
        """The error as a share of the change."""
        return self.error / self.change if self.change else 0.0


def accuracy(result: Result) -> Accuracy | None:
    """How far the model is from the kernel's own state at the end; None if the recording does not have it."""
    known = [c for c in result.caches if c.real_after >= 0]
    if not known:
        return None
    errors = {c.name: abs(c.slabs - c.slabs_before - (c.real_after - c.real_before)) for c in known}
    worst = sorted(((name, error) for name, error in errors.items() if error), key=lambda pair: (-pair[1], pair[0]))
    return Accuracy(
        sum(errors.values()),
        sum(abs(c.real_after - c.real_before) for c in known),
        len(known),
        sum(abs(c.slabs - c.real_after) <= max(2, c.real_after // 10) for c in known),
        tuple(worst[:5]),
    )


def unusable(free: list[int], order: int) -> float:
    """Which share of the free memory is in blocks too small for *order* (the unusable free space index)."""
    total = sum(count << o for o, count in enumerate(free))
    return sum(count << o for o, count in enumerate(free[:order])) / total if total else 0.0


def suspects(result: Result) -> list[WhoResult]:
    """Call sites that may leak: what lives of them grew in every quarter of the trace; the largest first."""
    found = []
    for site in result.sites[1:]:
        first, second, third = site.quarters
        if site.live >= 16 and 0 < first < second < third < site.bytes and site.frees * 10 < site.allocs * 9:
            found.append(site)
    return sorted(found, key=lambda site: -site.bytes)


def misfits(result: Result) -> list[tuple[WhoResult, int]]:
    """Call sites of kmalloc that a cache of their own would make cheaper: objects of one size that waste an eighth or
    more of what they get; with the bytes that it would have saved at the peak.
    """
    found = []
    for site in result.sites[1:]:
        if site.cache.startswith("kmalloc-") and site.allocs >= 32 and site.asked * 8 < site.total * 7:
            found.append((site, int(site.peak * (1 - site.asked / site.total))))
    return sorted(found, key=lambda pair: -pair[1])


COUNTS = {
    "events": r.EVENTS,
    "unknown_frees": r.UNKNOWN_FREES,
    "null_frees": r.NULL_FREES,
    "unknown_caches": r.UNKNOWN_CACHES,
    "failed": r.FAILED,
    "inferred_by_reuse": r.INFERRED_REUSE,
    "inferred_by_page": r.INFERRED_PAGE,
    "slab_pages": r.PAGES_TO_SLAB,
    "large": r.LARGE,
    "unknown_pages": r.UNKNOWN_PAGES,
    "page_failures": r.PAGE_FAILED,
    "repeated_pages": r.REPEATED_PAGES,
}


class Replay:
    """One replay of one trace."""

    def __init__(self, recording: Recording, options: Options) -> None:
        self._recording, self._options = recording, options
        self.info = recording.info

    def run(self) -> Result:
        """Read the trace twice, the second time into the model."""
        first = First(self.info)
        first.read(self._recording)
        self._first = first
        self._boot()
        self._prepare()
        slots = first.earlier()
        self._freed = (first.freed_pages().astype(np.uint64) << np.uint64(12)) + np.uint64(first.offset)
        for number, state in enumerate(first.caches.states):
            self._create(number, state, slots)
        self._drain()
        result = self._result()
        result.free_before = self._free()
        before = [self._slabs(number) for number in range(len(first.caches.states))]
        self._play(result)
        self._finish(result, before)
        return result

    def _boot(self) -> None:
        info, options = self.info, self._options
        self.release = options.release or ("6.12" if "sheaf_capacity" in info.before.get("slab", "") else "6.1")
        self.cpus = options.cpus or max(info.cpus, 1)
        ram = options.ram or max(memory_kib(info.before.get("meminfo", "")) << 10, 1 << 30)
        self.ram = min(max(-(-ram // (2 << 20)) * (2 << 20), SMALLEST), LARGEST)
        settings = {"slab_nomerge": True, **dict(options.settings)}
        self.kernel: Kernel = boot(self.release, self.ram, self.cpus, config="plain", **settings)
        self.mm = self.kernel.mm

    def _prepare(self) -> None:
        """The state of the compiled code."""
        caches = self._first.caches
        self._rows: Array = np.zeros((len(caches.states) + 1, r.CACHE_WORDS), np.int64)
        self._objects, self._blocks = Table(r.OBJECT_WIDTH, 1 << 16), Table(r.BLOCK_WIDTH, 1 << 14)
        self._sites, self._tasks = Table(r.WHO_WIDTH, SITES * 4), Table(r.WHO_WIDTH, TASKS * 4)
        self._site_rows: Array = np.zeros((SITES, r.WHO_WORDS), np.int64)
        self._task_rows: Array = np.zeros((TASKS, r.WHO_WORDS), np.int64)
        self._lifetimes: Array = np.zeros(64, np.int64)
        self.state: Array = np.zeros(r.STATE_WORDS, np.int64)
        s = self.state
        s[r.CACHES], s[r.CPUS] = self._rows.ctypes.data, self.cpus
        s[r.CACHE_OF], s[r.CLASS_OF] = caches.of_string.ctypes.data, caches.of_class.ctypes.data
        s[r.PAGE_OFFSET] = np.uint64(self._first.offset).astype(np.int64)
        s[r.SITES], s[r.SITE_MASK] = self._sites.address, self._sites.capacity - 1
        s[r.TASKS], s[r.TASK_MASK] = self._tasks.address, self._tasks.capacity - 1
        s[r.SITE_USED] = s[r.TASK_USED] = 1
        s[r.SITE_ROOM], s[r.TASK_ROOM] = SITES, TASKS
        s[r.SITE_ROWS], s[r.TASK_ROWS] = self._site_rows.ctypes.data, self._task_rows.ctypes.data
        s[r.LIFETIMES], s[r.FIRST] = self._lifetimes.ctypes.data, self._first.state.ctypes.data
        s[r.FROM] = self._first.begin + self._options.begin
        s[r.TO] = self._first.begin + self._options.end if self._options.end else -1
        self._fill, self._empty = model("k_trace_fill", self.mm), model("k_trace_empty", self.mm)
        self._know, self._know_slabs = model("k_trace_know", self.mm), model("k_trace_slabs", self.mm)
        self._tables()

    def _tables(self) -> None:
        s = self.state
        s[r.OBJECTS], s[r.OBJECT_MASK] = self._objects.address, self._objects.capacity - 1
        s[r.BLOCKS], s[r.BLOCK_MASK] = self._blocks.address, self._blocks.capacity - 1

    def _create(self, number: int, state: CacheState, slots: Slots) -> None:
        """The cache in the model, with the objects that it had."""
        flags = slab_flags(self.release).SLAB_RECLAIM_ACCOUNT if state.reclaimable or "-rcl-" in state.name else 0
        made = self.mm.kmem_cache_create(state.name, state.size, 8, flags)
        if not made:
            raise UsageError(
                f"the model cannot make a cache {state.name!r} of {state.size} bytes",
                remedy="Replay it on another --release.",
            )
        s = self.mm.view.ptr(kmem_cache, made)
        order, per_slab = int(s.oo.x) >> 16, int(s.oo.x) & 0xFFFF
        row = self._rows[number]
        row[r.K_MODEL] = np.uint64(made).astype(np.int64)
        seen = int(self._first.caches.order[number])
        row[r.K_SIZE], row[r.K_ORDER] = state.size, seen if seen != f.NO_ORDER else order
        row[r.K_PER_SLAB] = state.per_slab or per_slab
        if not state.per_slab:
            return
        there = populate(state, slots, number, self.cpus, self._freed)
        total = there.lives.size
        objects: Array = np.zeros(total, np.int64)
        if self._fill(made, objects.ctypes.data, total) != total:
            raise MemoryError(f"the objects of {state.name} do not fit into {self.ram >> 20} MiB")
        self._objects.reserve(total)
        self._blocks.reserve(len(there.bases))
        self._tables()
        pfns = ((there.bases - np.uint64(self._first.offset)) >> np.uint64(12)).astype(np.int64)
        self._know_slabs(self.state.ctypes.data, pfns.ctypes.data, len(pfns), number)
        known = len(there.bases)
        places = there.bases[:, None] + np.arange(state.per_slab, dtype=np.uint64) * np.uint64(state.size)
        lives = there.lives[:known].reshape(-1)
        recorded = places.reshape(-1)[lives].astype(np.int64)
        theirs = objects[: known * state.per_slab][lives]
        self._know(self.state.ctypes.data, recorded.ctypes.data, theirs.ctypes.data, len(recorded), number)
        self._objects.used, self._blocks.used = int(self.state[r.OBJECT_USED]), int(self.state[r.BLOCK_USED])
        row[r.K_LIVE] = np.count_nonzero(there.lives)
        row[r.K_PEAK] = row[r.K_LIVE]
        self._free_slots(made, objects.reshape(there.lives.shape), there)

    def _free_slots(self, cache: int, objects: Array, there: Population) -> None:
        """Free what did not live, slab by slab: the slabs come onto the node's list in the order in which the trace
        takes from them.
        """
        s = self.mm.view.ptr(kmem_cache, cache)
        kept = int(s.cpu_partial_slabs)
        s.cpu_partial_slabs = 0
        dead = ~there.lives
        order = np.argsort(there.turns, kind="stable")
        gone = objects[order][dead[order]]
        self._empty(cache, gone.ctypes.data, len(gone))
        s.cpu_partial_slabs = kept

    def _drain(self) -> None:
        self.mm.core.k_drain_all_pages()

    def _slabs(self, number: int) -> int:
        """How many slabs the model's cache has."""
        s = self.mm.view.ptr(kmem_cache, u64(int(self._rows[number, r.K_MODEL])))
        return int(s.node[0].nr_slabs)

    def _free(self) -> dict[str, list[int]]:
        return {zone: counts for (_, zone), counts in parse_buddyinfo(self.kernel.proc("buddyinfo")).items()}

    def _result(self) -> Result:
        return Result(self.info, self._options, self.release, self.cpus, self.ram, self._first.begin, self._first.end)

    def _play(self, result: Result) -> None:
        play = model("k_trace_replay", self.mm)
        s = self.state
        span = max(self._first.end - self._first.begin, 1)
        due, quarter = 0, 1
        for batch in self._recording.batches():
            self._objects.used, self._blocks.used = int(s[r.OBJECT_USED]), int(s[r.BLOCK_USED])
            self._objects.reserve(batch.n)
            self._blocks.reserve(batch.n * 11)
            self._tables()
            s[r.COLUMNS], s[r.N] = batch.addresses.ctypes.data, batch.n
            play(s.ctypes.data)
            done = (int(batch["time"][-1]) - self._first.begin) / span if batch.n else 0.0
            while quarter < 4 and done * 4 >= quarter:
                self._site_rows[:, r.W_Q1 + quarter - 1] = self._site_rows[:, r.W_BYTES]
                quarter += 1
            if done * SAMPLES >= due:
                result.samples.append(self._sample(int(batch["time"][-1])))
                due += 1

    def _sample(self, time: int) -> Sample:
        free = np.zeros(11, np.int64)
        for counts in self._free().values():
            free[: len(counts)] += counts[:11]
        pages = sum(self._slabs(n) << int(self._rows[n, r.K_ORDER]) for n in range(len(self._rows) - 1))
        return Sample(time, free.tolist(), pages)

    def _finish(self, result: Result, before: list[int]) -> None:
        result.free_after = self._free()
        result.counts = {name: int(self.state[at]) for name, at in COUNTS.items()}
        result.lifetimes = self._lifetimes.tolist()
        after, _ = caches_of(self.info.after)
        for number, state in enumerate(self._first.caches.states):
            row = self._rows[number].tolist()
            end = after.get(state.name)
            result.caches.append(
                CacheResult(
                    state.name,
                    state.size,
                    self._model_order(number),
                    row[r.K_PER_SLAB],
                    row[r.K_ALLOCS],
                    row[r.K_FREES],
                    row[r.K_INFERRED],
                    row[r.K_UNKNOWN],
                    row[r.K_LIVE],
                    row[r.K_PEAK],
                    row[r.K_REQUESTED],
                    row[r.K_TOTAL],
                    row[r.K_CROSS],
                    row[r.K_LIFE] / row[r.K_LIFETIMES] if row[r.K_LIFETIMES] else 0.0,
                    row[r.K_FAILED],
                    before[number],
                    self._slabs(number),
                    state.slabs if end else -1,
                    end.slabs if end else -1,
                )
            )
            if state.sheaves:
                result.sheaves.append(state.name)
        names = [state.name for state in self._first.caches.states]
        result.sites = [_who(row, names) for row in self._site_rows[: int(self.state[r.SITE_USED])].tolist()]
        result.tasks = [_who(row, names) for row in self._task_rows[: int(self.state[r.TASK_USED])].tolist()]
        for when, into in ((self.info.before, result.real_free_before), (self.info.after, result.real_free_after)):
            into.update({zone: free for (_, zone), free in parse_buddyinfo(when.get("buddyinfo", "")).items()})

    def _model_order(self, number: int) -> int:
        return int(self.mm.view.ptr(kmem_cache, u64(int(self._rows[number, r.K_MODEL]))).oo.x) >> 16


def _who(row: list[int], names: list[str]) -> WhoResult:
    cache = names[row[r.W_CACHE] - 1] if row[r.W_CACHE] else ""
    return WhoResult(
        u64(row[r.W_KEY] - 1) if row[r.W_KEY] else 0,
        row[r.W_ALLOCS],
        row[r.W_FREES],
        row[r.W_LIVE],
        row[r.W_BYTES],
        row[r.W_REQUESTED],
        row[r.W_ASKED],
        row[r.W_TOTAL],
        row[r.W_CROSS],
        row[r.W_LIFE] / row[r.W_LIFETIMES] if row[r.W_LIFETIMES] else 0.0,
        row[r.W_PEAK],
        cache,
        (row[r.W_Q1], row[r.W_Q2], row[r.W_Q3]),
    )


def replay(recording: Recording, options: Options | None = None) -> Result:
    """Replay *recording*."""
    return Replay(recording, options or Options()).run()


__all__ = ["CacheResult", "Options", "Result", "WhoResult", "replay"]
