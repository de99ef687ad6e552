"""Replaying a trace: its events drive the model, which tells in the end where the memory is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kmem.abi.slab_flags import slab_flags
from kmem.errors import UsageError
from kmem.kernel import Kernel, boot
from kmem.lib.cstruct import u64
from kmem.mm.config import LARGEST_RAM
from kmem.mm.mm_types import kmem_cache
from kmem.mm.vm_events import EV_SLAB_DISCARD, EV_SLAB_NEW
from kmem.trace import first as f
from kmem.trace import replay_state as r
from kmem.trace.ahead import ahead
from kmem.trace.before import First, Population, Slots, populate
from kmem.trace.engine import Table, model
from kmem.trace.result import CacheResult, Options, Result, Sample, WhoResult
from kmem.trace.schema import Array, Columns, Recording
from kmem.trace.settings import boot_options
from kmem.trace.state import CacheState, caches_of, memory_kib, parse_buddyinfo
from kmem.trace.whatif import WhatIf

SITES, TASKS = 1 << 14, 1 << 14
SAMPLES = 60
SILENT_LIVES = 32
"""So many lives of a call site's objects have to have been seen to say that it frees without events."""
SMALLEST = 256 << 20


COUNTS = {
    "events": r.EVENTS,
    "unknown_frees": r.UNKNOWN_FREES,
    "null_frees": r.NULL_FREES,
    "unknown_caches": r.UNKNOWN_CACHES,
    "failed": r.FAILED,
    "inferred_by_reuse": r.INFERRED_REUSE,
    "inferred_by_page": r.INFERRED_PAGE,
    "slab_pages": r.PAGES_TO_SLAB,
    "inferred_by_silence": r.INFERRED_SILENT,
    "large": r.LARGE,
    "unknown_pages": r.UNKNOWN_PAGES,
    "page_failures": r.PAGE_FAILED,
    "repeated_pages": r.REPEATED_PAGES,
    "mapped_pages": r.MAPPED_PAGES,
}


class Replay:
    """One replay of one trace."""

    samples = SAMPLES
    """How often it looks at free memory and slabs, at most once a batch."""

    def __init__(self, recording: Recording, options: Options) -> None:
        self._recording, self._options = recording, options
        self.info = recording.info

    def run(self) -> Result:
        """Read the trace twice, the second time into the model."""
        first = First(self.info)
        first.read(self._recording)
        self._first = first
        self._boot()
        self._what_if = WhatIf(self._options.chosen, first.caches, self._recording)
        self._prepare()
        slots = first.earlier()
        self._freed = (first.freed_pages().astype(np.uint64) << np.uint64(12)) + np.uint64(first.offset)
        for number, state in enumerate(first.caches.states):
            self._create(number, state, slots)
        self._drain()
        result = self._result()
        result.free_before = self._free()
        work = self.mm.view.kdata.vm_events
        made, freed = int(work[EV_SLAB_NEW]), int(work[EV_SLAB_DISCARD])
        before = [self._slabs(number) for number in range(len(first.caches.states))]
        self._play(result)
        self._silent()
        self._finish(result, before)
        result.counts["slabs_made_before"], result.counts["slabs_freed_before"] = made, freed
        return result

    def write_proc(self, where: str) -> int:
        """Write /proc as the model has it (`Kernel.write_proc`), at the time of the last event; how many files."""
        self.kernel.clock.set(self._first.end)
        self.tell_apart()
        return self.kernel.write_proc(where)

    def tell_apart(self) -> None:
        """Call the caches that are the model's own, and not the trace's, ``model:…``."""
        for s in self.mm.view.caches():
            name = self.mm.view.cache_name(s)
            if u64(s._addr) not in self._first_of and not name.startswith("model:"):
                s.name = self.mm.boot.string(f"model:{name}")

    def call_sites(self) -> list[WhoResult]:
        """What each call site has done so far; the first is for those that there was no room for."""
        names = [state.name for state in self._first.caches.states]
        return [_who(row, names) for row in self._site_rows[: int(self.state[r.SITE_USED])].tolist()]

    def _boot(self) -> None:
        info, options = self.info, self._options
        self.release = options.release or ("6.12" if "sheaf_capacity" in info.before.get("slab", "") else "6.1")
        self.cpus = options.cpus or max(info.cpus, 1)
        ram = options.ram or max(memory_kib(info.before.get("meminfo", "")) << 10, 1 << 30)
        self.ram = min(max(-(-ram // (2 << 20)) * (2 << 20), SMALLEST), LARGEST_RAM)
        settings = {"slab_nomerge": bool(options.chosen.get("nomerge", 1)), **boot_options(options.chosen)}
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
        self._reuses: Array = np.zeros((SITES, r.LIVES), np.int64)
        self._lifetimes: Array = np.zeros(64, np.int64)
        self.state: Array = np.zeros(r.STATE_WORDS, np.int64)
        s = self.state
        s[r.HOST], s[r.HOST_PAGES] = self.mm.ram.base, self.mm.ram.base + self.mm.ram.mem_map_phys
        s[r.CACHES], s[r.CPUS] = self._rows.ctypes.data, self.cpus
        s[r.CACHE_OF], s[r.CLASS_OF] = caches.of_string.ctypes.data, caches.of_class.ctypes.data
        s[r.PAGE_OFFSET] = np.uint64(self._first.offset).astype(np.int64)
        s[r.SITES], s[r.SITE_MASK] = self._sites.address, self._sites.capacity - 1
        s[r.TASKS], s[r.TASK_MASK] = self._tasks.address, self._tasks.capacity - 1
        s[r.SITE_USED] = s[r.TASK_USED] = 1
        s[r.SITE_ROOM], s[r.TASK_ROOM] = SITES, TASKS
        s[r.SITE_ROWS], s[r.TASK_ROWS] = self._site_rows.ctypes.data, self._task_rows.ctypes.data
        s[r.LIFETIMES], s[r.FIRST] = self._lifetimes.ctypes.data, self._first.state.ctypes.data
        self._what_if.tell(s)
        self._first_of: dict[int, int] = {}
        s[r.REUSES] = self._reuses.ctypes.data
        s[r.FROM] = self._first.begin + self._options.begin
        s[r.TO] = self._first.begin + self._options.end if self._options.end else -1
        self._fill, self._empty = model("k_trace_fill", self.mm), model("k_trace_empty", self.mm)
        self._cpu_slab = model("k_trace_cpu_slab", self.mm)
        self._know, self._know_slabs = model("k_trace_know", self.mm), model("k_trace_slabs", self.mm)
        self._tables()

    def _tables(self) -> None:
        s = self.state
        s[r.OBJECTS], s[r.OBJECT_MASK] = self._objects.address, self._objects.capacity - 1
        s[r.BLOCKS], s[r.BLOCK_MASK] = self._blocks.address, self._blocks.capacity - 1

    def _create(self, number: int, state: CacheState, slots: Slots) -> None:
        """The cache in the model, with the objects that it had."""
        if number == self._what_if.row:
            self._rows[number, r.K_SIZE], self._rows[number, r.K_PER_SLAB] = state.size, 1
            return
        flags = slab_flags(self.release).SLAB_RECLAIM_ACCOUNT if state.reclaimable or "-rcl-" in state.name else 0
        made = self.mm.kmem_cache_create(state.name, state.size, 8, flags)
        if not made:
            raise UsageError(
                f"the model cannot make a cache {state.name!r} of {state.size} bytes",
                remedy="Replay it on another --release.",
            )
        s = self.mm.view.ptr(kmem_cache, made)
        self._first_of.setdefault(made, number)
        s.min_partial = self._options.chosen.get("min_partial", int(s.min_partial))
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
        known = len(there.bases)
        self._blocks.reserve(known)
        self._objects.reserve(known * state.per_slab)
        self._tables()
        pfns = ((there.bases - np.uint64(self._first.offset)) >> np.uint64(12)).astype(np.int64)
        self._know_slabs(self.state.ctypes.data, pfns.ctypes.data, len(pfns), number)
        places = there.bases[:, None] + np.arange(state.per_slab, dtype=np.uint64) * np.uint64(state.size)
        lives = there.lives[:known].reshape(-1)
        recorded = places.reshape(-1)[lives].astype(np.int64)
        theirs = objects[: known * state.per_slab][lives]
        self._know(self.state.ctypes.data, recorded.ctypes.data, theirs.ctypes.data, len(recorded), number)
        self._objects.used, self._blocks.used = int(self.state[r.OBJECT_USED]), int(self.state[r.BLOCK_USED])
        row[r.K_LIVE] = np.count_nonzero(there.lives)
        row[r.K_PEAK] = row[r.K_LIVE]
        row[r.K_BYTES] = row[r.K_LIVE] * state.size
        self._free_slots(made, state, objects.reshape(there.lives.shape), there)

    def _free_slots(self, cache: int, state: CacheState, objects: Array, there: Population) -> None:
        """Free what did not live, slab by slab: each CPU has the slab from which it takes first in the trace, the
        others come onto the node's list in the order in which the trace takes from them.
        """
        s = self.mm.view.ptr(kmem_cache, cache)
        kept = int(s.cpu_partial_slabs)
        s.cpu_partial_slabs = 0
        dead = ~there.lives
        some = np.flatnonzero(dead.any(axis=1))
        order = some[np.argsort(there.turns[some], kind="stable")]
        of_cpu: dict[int, int] = {}
        room = state.cpu_slabs - state.cpu_partial_slabs if state.exact else self.cpus
        for slab in order.tolist():
            cpu = int(there.cpus[slab])
            if 0 <= cpu < self.cpus and len(of_cpu) < room:
                of_cpu.setdefault(cpu, slab)
        order = order[~np.isin(order, list(of_cpu.values()))]
        gone = objects[order][dead[order]]
        self._empty(cache, gone.ctypes.data, len(gone))
        for cpu, slab in of_cpu.items():
            gone = objects[slab][dead[slab]]
            self._cpu_slab(cache, gone.ctypes.data, len(gone), cpu)
        s.cpu_partial_slabs = kept

    def _drain(self) -> None:
        self.mm.core.k_drain_all_pages()

    def _slabs(self, number: int) -> int:
        """How many slabs the model's cache has; 0 for one that is merged into another."""
        if self._first_of.get(u64(int(self._rows[number, r.K_MODEL]))) != number:
            return 0
        s = self.mm.view.ptr(kmem_cache, u64(int(self._rows[number, r.K_MODEL])))
        return int(s.node[0].nr_slabs)

    def _free(self) -> dict[str, list[int]]:
        return {zone: counts for (_, zone), counts in parse_buddyinfo(self.kernel.proc("buddyinfo")).items()}

    def _result(self) -> Result:
        return Result(self.info, self._options, self.release, self.cpus, self.ram, self._first.begin, self._first.end)

    def _batches(self) -> Iterator[Columns]:
        """What is replayed, some at a time."""
        return ahead(self._recording)

    def _play(self, result: Result) -> None:
        play = model("k_trace_replay", self.mm)
        s = self.state
        span = max(self._first.end - self._first.begin, 1)
        due, quarter = 0, 1
        self._sampled = model("k_trace_sample", self.mm)
        own = sum(self._slabs(n) << self._model_order(n) for n in range(len(self._rows) - 1))
        self._other_pages = self._sampled(np.zeros(11, np.int64).ctypes.data) - own
        for batch in self._batches():
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
            if done * self.samples >= due:
                result.samples.append(self._sample(int(batch["time"][-1])))
                due += 1

    def _silent(self) -> None:
        """Free what is old of call sites that free without events.

        Where nine of ten frees had to be inferred, the path that frees is not traced. What is older than 99 of 100
        lives that ended with the address handed out again was freed by it, too.
        """
        states = self._first.caches.states
        frees, seen = self._site_rows[:, r.W_FREES], self._site_rows[:, r.W_LIFETIMES]
        reused = self._reuses.sum(axis=1)
        held = np.array([False, *(bool(state.sheaves) for state in states)])[self._site_rows[:, r.W_CACHE]]
        silent = np.flatnonzero((reused >= SILENT_LIVES) & (seen * 10 <= frees) & ~held)
        longest: Array = np.zeros(SITES, np.int64)
        for site in silent.tolist():
            bits = int(np.searchsorted(np.cumsum(self._reuses[site]), 0.99 * reused[site]))
            longest[site] = 1 << min(bits, 62)
        model("k_trace_silent", self.mm)(self.state.ctypes.data, self._first.end, longest.ctypes.data)

    def _sample(self, time: int) -> Sample:
        free: Array = np.zeros(11, np.int64)
        pages = self._sampled(free.ctypes.data) - self._other_pages + int(self.state[r.MAPPED_PAGES])
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
                    row[r.K_CAME],
                    row[r.K_WENT],
                    row[r.K_BYTES],
                    state.slabs if end else -1,
                    end.slabs if end else -1,
                )
            )
            if state.sheaves:
                result.sheaves.append(state.name)
        names = [state.name for state in self._first.caches.states]
        result.sites = self.call_sites()
        result.tasks = [_who(row, names) for row in self._task_rows[: int(self.state[r.TASK_USED])].tolist()]
        for when, into in ((self.info.before, result.real_free_before), (self.info.after, result.real_free_after)):
            into.update({zone: free for (_, zone), free in parse_buddyinfo(when.get("buddyinfo", "")).items()})

    def _model_order(self, number: int) -> int:
        if number == self._what_if.row:
            return 0
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
