"""What reading and replaying a trace costs: events a second, and ratios against ``perf kmem stat`` and glibc malloc.

``python benchmarks/bench_trace.py TRACE`` takes any trace, best one of some million events. It is read warm; reading is
processor time on one core. A replay reads ahead on another, so that what it takes is told by the clock: give it a quiet
machine. perf records a short piece of the running kernel for itself, where it can; glibc does the allocations of the
trace in a C loop.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kmem.trace import replay_state as r
from kmem.trace.open import open_trace
from kmem.trace.replay import Replay
from kmem.trace.result import Options
from kmem.trace.schema import NUMBER, Recording
from kmem.trace.store import save

C_LOOP = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
    FILE *f = fopen(argv[1], "rb"); long n = atol(argv[2]), slots = atol(argv[3]);
    unsigned *ops = malloc(8 * n); if (fread(ops, 8, n, f) != n) return 1;
    void **live = calloc(slots, sizeof *live);
    struct timespec a, b; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    for (long i = 0; i < n; i++) {
        unsigned slot = ops[2 * i], size = ops[2 * i + 1];
        if (size) live[slot] = malloc(size); else { free(live[slot]); live[slot] = 0; }
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    printf("%.9f\n", (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9);
}
"""


def drained(recording: Recording) -> int:
    """Read all; how many events."""
    return sum(batch.n for batch in recording.batches())


def fastest(action: Callable[[], int], turns: int = 5) -> float:
    """Events a second of the best of several turns, in millions."""
    best = 0.0
    for _ in range(turns):
        begin = time.process_time()
        count = action()
        best = max(best, count / (time.process_time() - begin) / 1e6)
    return best


def operations(recording: Recording) -> tuple[np.ndarray, int]:
    """Allocations and frees as (slot, size or 0), and the number of slots."""
    slots: dict[int, int] = {}
    live: set[int] = set()
    found: list[tuple[int, int]] = []
    allocs = {NUMBER["kmalloc"], NUMBER["kmem_cache_alloc"]}
    frees = {NUMBER["kfree"], NUMBER["kmem_cache_free"]}
    for batch in recording.batches():
        for kind, ptr, size in zip(*(batch[n].tolist() for n in ("kind", "ptr", "allocated")), strict=True):
            slot = slots.setdefault(ptr, len(slots))
            if kind in allocs:
                if slot in live:
                    found.append((slot, 0))
                live.add(slot)
                found.append((slot, size))
            elif kind in frees and slot in live:
                live.remove(slot)
                found.append((slot, 0))
    return np.array(found, np.uint32), len(slots)


def glibc(recording: Recording) -> float:
    """Seconds of all malloc and free in a C loop."""
    ops, slots = operations(recording)
    with tempfile.TemporaryDirectory() as where:
        (Path(where) / "loop.c").write_text(C_LOOP)
        subprocess.run(["cc", "-O2", "-o", f"{where}/loop", f"{where}/loop.c"], check=True)
        ops.tofile(f"{where}/ops")
        run = [f"{where}/loop", f"{where}/ops", str(len(ops)), str(slots)]
        return min(float(subprocess.check_output(run)) for _ in range(5))


def children() -> float:
    """Processor seconds of ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Timed(Replay):
    """A replay that times its second reading, the model included."""

    seconds = 0.0

    def _play(self, result: object) -> None:
        begin = time.perf_counter()
        super()._play(result)  # type: ignore[arg-type]
        self.seconds = time.perf_counter() - begin


def replaying(recording: Recording) -> tuple[int, float, float]:
    """How many events; seconds of the reading that drives the model, and of the whole replay, both readings of it."""
    events, streamed, whole = 0, 1e9, 1e9
    for _ in range(4):
        timed = Timed(recording, Options(release="6.1"))
        begin = time.perf_counter()
        timed.run()
        whole, streamed = min(whole, time.perf_counter() - begin), min(streamed, timed.seconds)
        events = int(timed.state[r.EVENTS])
    return events, streamed, whole


def perf() -> tuple[float, float] | None:
    """Millions of events a second: ``perf kmem stat``, and our reader of ``perf script`` of the same; None if there is
    no perf or it may not record.
    """
    if not shutil.which("perf"):
        return None
    with tempfile.TemporaryDirectory() as where:
        data = f"{where}/perf.data"
        events = ",".join(f"kmem:{name}" for name in ("kmalloc", "kfree", "kmem_cache_alloc", "kmem_cache_free"))
        work = "ls -lR /usr/lib > /dev/null 2>&1"
        done = subprocess.run(
            ["perf", "record", "-q", "-m", "16M", "-a", "-e", events, "-o", data, "--", "sh", "-c", work],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            return None
        text = Path(where) / "script.txt"
        with open(text, "wb") as out:
            subprocess.run(["perf", "script", "-i", data], stdout=out, stderr=subprocess.DEVNULL, check=True)
        recording = open_trace(text)
        count = drained(recording)
        times = []
        for _ in range(3):
            begin = children()
            done = subprocess.run(["perf", "kmem", "-i", data, "--slab", "stat"], capture_output=True, check=False)
            times.append(children() - begin)
            if b"SUMMARY" not in done.stdout + done.stderr:
                return None
        return count / min(times) / 1e6, fastest(lambda: drained(recording))


def main() -> None:
    """Measure and print."""
    where = Path(sys.argv[1])
    trace = open_trace(where)
    print(f"read as it is:          {fastest(lambda: drained(trace)):7.1f} M events a second")
    events, streamed, whole = replaying(trace)
    print(f"read and replayed:      {events / streamed / 1e6:7.1f} M a second, {streamed / events * 1e9:.1f} ns each")
    print(f"the whole replay:       {events / whole / 1e6:7.1f} M events a second: read twice, with what lived before")
    with tempfile.TemporaryDirectory() as place:
        kept = Path(place) / "t.kmem"
        save(trace, kept)
        stored = open_trace(kept)
        print(f".kmem:                  {fastest(lambda: drained(stored)):7.1f} M events a second")
    malloc = glibc(trace)
    print(f"glibc malloc and free:  {malloc:7.3f} s; reading and replaying takes {streamed / malloc:.2f} of it")
    peer = perf()
    rate = events / streamed / 1e6
    if peer is None:
        print("perf kmem stat:         not measured: no perf, or it may not record here")
    else:
        print(f"perf kmem stat:         {peer[0]:7.2f} M events a second; replay is {rate / peer[0]:.1f} times as fast")
        print(f"perf script, read:      {peer[1]:7.1f} M events a second")
    print(f"resident set: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()
