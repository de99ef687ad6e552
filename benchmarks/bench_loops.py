"""The allocator against C: loops compiled into the model, the C library doing the same, and the same SLUB in C at -O3.

Each row is a loop: time of an operation (an allocation and a free), the ratio to glibc's malloc and free, and to the
twin. The three take turns in one process; the figures are the medians of the turns' ratios. Compiles the model with the
loops once (half a minute).
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kmem.lib.build import MODEL, Loaded
from kmem.lib.cstruct import u64
from kmem.mm.api import Mm
from kmem.mm.config import configuration
from kmem.mm.mm_types import kmem_cache

HERE = Path(__file__).resolve().parent / "loops"
TURNS, PAIRS, OPERATIONS, LIVE = 7, 3_000_000, 2_000_000, 100_000
PAIR_SIZE, LARGEST = 64, 1024
GFP_KERNEL, GFP_COMP = 0xCC0, 0x40000
Action = Callable[[], int]


class Row(NamedTuple):
    """One loop: how many operations, and each player's way of doing it."""

    name: str
    count: int
    kmem: Action
    glibc: Action
    twin: Action


def shared_library(source: Path, into: Path) -> ctypes.CDLL:
    """*source* compiled at -O3."""
    made = into / f"{source.stem}.so"
    compiler = os.environ.get("CC", "gcc")
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", made, source], check=True)
    return ctypes.CDLL(str(made))


def set_up_twin(twin: ctypes.CDLL, mm: Mm) -> None:
    """Give the twin the geometry of kmem's kmalloc caches, by their index."""
    sizes = bytes(
        7 if n > 16 else 2 if n > 12 else 1 if 8 < n <= 12 else (n * 8 - 1).bit_length() for n in range(1, 25)
    )
    assert twin.twin_init(sizes) == 0
    for index in range(1, 14):
        s = mm.view.ptr(kmem_cache, u64(mm.view.kdata.kmalloc_caches[0][index]._addr))
        oo = s.oo.x
        twin.twin_cache(index, s.size, s.offset, oo & 0xFFFF, oo >> 16, s.min_partial, s.cpu_partial_slabs)


def rows(mm: Mm, model: Loaded, libc: ctypes.CDLL, twin: ctypes.CDLL) -> list[Row]:
    """The loops, each player with LIVE empty slots of its own."""
    pairs, live = model.function("loop_pairs"), model.function("loop_live")
    slots = mm.get_free_pages(GFP_KERNEL | 0x100 | GFP_COMP, 8)
    assert slots
    mine, theirs = (ctypes.c_void_p * LIVE)(), (ctypes.c_void_p * LIVE)()
    for library, prefix in ((libc, "libc"), (twin, "twin")):
        for name in ("pairs", "live"):
            function = getattr(library, f"{prefix}_{name}")
            function.restype = ctypes.c_uint64
            function.argtypes = [ctypes.c_uint64, *([ctypes.c_void_p] if name == "live" else []), ctypes.c_uint64]
            function.argtypes += [ctypes.c_uint64] if name == "live" else []
    base = mm.ram.base
    return [
        Row(
            f"pairs of {PAIR_SIZE} bytes",
            PAIRS,
            lambda: pairs(base, PAIRS, PAIR_SIZE),
            lambda: libc.libc_pairs(PAIRS, PAIR_SIZE),
            lambda: twin.twin_pairs(PAIRS, PAIR_SIZE),
        ),
        Row(
            f"1-{LARGEST} bytes, {LIVE} live",
            OPERATIONS,
            lambda: live(base, OPERATIONS, slots - (1 << 64), LIVE, LARGEST),
            lambda: libc.libc_live(OPERATIONS, mine, LIVE, LARGEST),
            lambda: twin.twin_live(OPERATIONS, theirs, LIVE, LARGEST),
        ),
    ]


def seconds(action: Action) -> float:
    """How long *action* takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def main() -> None:
    """Print the table."""
    sys.path.insert(0, str(HERE))
    model = Loaded("6.1", (*MODEL, "model_loops"))
    mm = Mm(configuration("plain", cpus=1), lambda *args: 0)
    mm.start()
    with tempfile.TemporaryDirectory() as folder:
        libc, twin = (shared_library(HERE / name, Path(folder)) for name in ("glibc.c", "twin.c"))
        set_up_twin(twin, mm)
        print(f"{'':28}{'kmem':>9}{'glibc':>9}{'C twin':>9}{'/glibc':>9}{'/twin':>9}")
        for row in rows(mm, model, libc, twin):
            for action in row[2:]:
                action()  # fills the slots and the caches
            turns = [[seconds(action) for action in row[2:]] for _ in range(TURNS)]
            times = [statistics.median(column) / row.count * 1e9 for column in zip(*turns, strict=True)]
            ratios = [statistics.median(turn[0] / turn[other] for turn in turns) for other in (1, 2)]
            print(f"{row.name:28}" + "".join(f"{t:7.1f}ns" for t in times) + "".join(f"{r:9.2f}" for r in ratios))


if __name__ == "__main__":
    main()
