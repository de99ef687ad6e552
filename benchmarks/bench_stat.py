"""``kmem stat`` beside ``perf kmem stat``: the same events, the same numbers, the same run.

``python benchmarks/bench_stat.py TRACE``, as root, writes the slab events of any trace as the pages that ftrace records
and as the file that perf records, and lets each tool read its own.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from recorded import SLAB, Pages, PerfData, records

from kmem.trace.open import open_trace
from kmem.trace.stat import Stat, stat

TURNS = 5


def children() -> float:
    """Processor seconds of ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def perf(data: Path) -> tuple[float, float, list[int]]:
    """Its least processor seconds and seconds, and the numbers that it tells."""
    used, took, told = [], [], ""
    for _ in range(TURNS):
        begin, before = time.perf_counter(), children()
        run = subprocess.run(["perf", "kmem", "-i", data, "--slab", "stat"], capture_output=True, text=True, check=True)
        used.append(children() - before)
        took.append(time.perf_counter() - begin)
        told = run.stdout
    numbers = re.findall(r"(?:requested|allocated|freed): +(\d+)$", told, re.MULTILINE)
    return min(used), min(took), [int(number) for number in numbers]


def ours(pages: Path) -> tuple[float, float, Stat]:
    """The least processor seconds and seconds, in a process that is there already, and the sums."""
    used, took, found = [], [], stat(open_trace(pages))
    for _ in range(TURNS):
        begin, before = time.perf_counter(), time.process_time()
        found = stat(open_trace(pages))
        used.append(time.process_time() - before)
        took.append(time.perf_counter() - begin)
    return min(used), min(took), found


def main() -> None:
    """Write, measure and print."""
    with tempfile.TemporaryDirectory() as place:
        where = Path(place)
        pages, data, count = Pages(where / "raw", SLAB), PerfData(where / "perf.data"), 0
        for event in records(open_trace(Path(sys.argv[1])), SLAB):
            when, cpu, _, _, record = event
            pages.add(when, cpu, record)
            data.add(*event)
            count += 1
        pages.close()
        data.close()
        (perf_used, perf_took, numbers), (used, took, found) = perf(where / "perf.data"), ours(where / "raw")
    same = numbers == [found.requested, found.allocated, found.freed, found.allocated - found.freed]
    print(f"{count:,} events of slabs; the same sums: {same}")
    for name, by_processor, by_clock in (("perf kmem stat", perf_used, perf_took), ("kmem stat", used, took)):
        print(f"{name:15} {count / by_processor / 1e6:6.2f} M a second of processor time, ", end="")
        print(f"{count / by_clock / 1e6:6.2f} M a second")
    print(f"kmem stat is {perf_used / used:.1f} times as fast by processor time, {perf_took / took:.1f} by the clock")


if __name__ == "__main__":
    main()
