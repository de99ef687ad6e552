"""Whether a long trace is replayed in bounded memory and linear time.

``python benchmarks/bench_long.py DIR [EVENTS]`` takes a recording of which DIR has raw pages, makes of it a round that
leaves nothing behind (objects that it both allocates and frees, and the pages of their slabs), and repeats that with
shifted addresses until there are EVENTS (100 million). It prints time and resident set as it goes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kmem.trace.before import PAGE_OFFSET, First
from kmem.trace.first import cache_of_event
from kmem.trace.open import open_trace
from kmem.trace.replay import Replay
from kmem.trace.result import Options
from kmem.trace.schema import COLUMNS, NUMBER, Columns, Info, Recording

SPAN = 64 << 30
"""By so many bytes each round is further on."""
BATCH = 1 << 16
ALLOCS = (NUMBER["kmalloc"], NUMBER["kmem_cache_alloc"])
FREES = (NUMBER["kfree"], NUMBER["kmem_cache_free"])


def resident() -> int:
    """MiB that this process has now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) >> 10
    return 0


def whole_lives(ptr: list[int], kind: list[int]) -> list[int]:
    """The places of events of objects that are allocated and then freed."""
    born: dict[int, int] = {}
    found: list[int] = []
    for place, (p, k) in enumerate(zip(ptr, kind, strict=True)):
        if k in ALLOCS:
            born[p] = place
        elif k in FREES and p in born:
            found += [born.pop(p), place]
    return sorted(found)


class Repeated:
    """A round of events, again and again."""

    def __init__(self, recording: Recording, events: int) -> None:
        first = First(recording.info)
        first.read(recording)
        parts: dict[str, list[np.ndarray]] = {c.name: [] for c in COLUMNS}
        for batch in recording.batches():
            for name, kept in parts.items():
                kept.append(batch[name].copy())
        every = {name: np.concatenate(kept) for name, kept in parts.items()}
        places = whole_lives(every["ptr"].tolist(), every["kind"].tolist())
        lives = {name: column[places] for name, column in every.items()}
        orders = self._blocks(lives, first)
        self._round = {name: self._framed(name, column, orders) for name, column in lives.items()}
        self._size = len(self._round["time"])
        self._rounds = -(-events // self._size)
        self._length = int(self._round["time"][-1]) + 1000
        self.info: Info = recording.info
        self.info.before = {"meminfo": recording.info.before.get("meminfo", "")}
        self.info.after = {}
        self.marks: list[tuple[int, float, int]] = []

    def _blocks(self, lives: dict[str, np.ndarray], first: First) -> dict[int, int]:
        """The blocks of pages of the objects' slabs, with their orders."""
        columns = Columns(len(lives["time"]))
        columns.n = columns.capacity
        for name, values in lives.items():
            columns.arrays[name][:] = values
        caches, found = first.caches, {}
        tables = caches.of_string.ctypes.data, caches.of_class.ctypes.data
        for i, (kind, ptr) in enumerate(zip(lives["kind"].tolist(), lives["ptr"].tolist(), strict=True)):
            known = cache_of_event(columns.addresses.ctypes.data, i, kind, *tables) if kind in ALLOCS else 0
            if known:
                order = int(caches.order[known - 1]) & 7
                found[(ptr - PAGE_OFFSET) >> 12 & ~((1 << order) - 1)] = order
        return found

    def _framed(self, name: str, column: np.ndarray, blocks: dict[int, int]) -> np.ndarray:
        """A column with the pages allocated before, and freed after."""
        begin, end = np.zeros(len(blocks), column.dtype), np.zeros(len(blocks), column.dtype)
        if name == "time":
            column = column - column[0] + np.uint64(1000)
            end[:] = column[-1] + np.uint64(1000)
        elif name == "kind":
            begin[:], end[:] = NUMBER["mm_page_alloc"], NUMBER["mm_page_free"]
        elif name == "ptr":
            begin[:] = end[:] = list(blocks)
        elif name == "order":
            begin[:] = end[:] = list(blocks.values())
        return np.concatenate([begin, column, end])

    def batches(self) -> Iterator[Columns]:
        """All rounds."""
        out = Columns(BATCH)
        pages = self._round["kind"] >= NUMBER["mm_page_alloc"]
        step = np.where(pages, np.uint64(SPAN >> 12), np.uint64(SPAN))
        begun, count, mark = time.process_time(), 0, 10_000_000
        for turn in range(self._rounds):
            for begin in range(0, self._size, BATCH):
                out.n = min(BATCH, self._size - begin)
                part = slice(begin, begin + out.n)
                for name, column in self._round.items():
                    out.arrays[name][: out.n] = column[part]
                out["ptr"][:] += step[part] * np.uint64(turn % 512)
                out["time"][:] += np.uint64(turn * self._length)
                yield out
                count += out.n
                if count >= mark:
                    self.marks.append((count, time.process_time() - begun, resident()))
                    print(f"  {count:>12,} events {self.marks[-1][1]:8.1f} s {resident():6} MiB", flush=True)
                    mark += 10_000_000


def main() -> None:
    """Measure and print."""
    events = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000_000
    recording = Repeated(open_trace(Path(sys.argv[1])), events)
    print("what came before, then the replay:")
    player = Replay(recording, Options(release="6.1"))
    result = player.run()
    print(f"{result.counts['events']:,} events, {sum(c.live for c in result.caches):,} objects live at the end")


if __name__ == "__main__":
    main()
