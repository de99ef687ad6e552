"""What the allocators cost: a kmalloc and kfree pair from Python and from module code, a load, a rollback.

One table; times are medians of several turns, ratios are against a malloc and free pair of the C library, called
through ctypes in the same process.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from kmem.kernel import Kernel, boot
from kmem.modules.kbuild import build

HERE = Path(__file__).resolve().parent
TURNS = 9
PAIRS = 10_000
TRAPPED = 500
GFP_KERNEL = 0xCC0


def median(action: Callable[[], object], turns: int = TURNS) -> float:
    """Median seconds that *action* takes."""
    times = []
    for _ in range(turns):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def library() -> float:
    """Seconds of a malloc and free pair of the C library, through ctypes."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]

    def pairs() -> None:
        for _ in range(PAIRS):
            libc.free(libc.malloc(256))

    return median(pairs) / PAIRS


def from_python(kernel: Kernel) -> float:
    """Seconds of a kmalloc and kfree pair, called from Python."""
    mm = kernel.mm

    def pairs() -> None:
        for _ in range(PAIRS):
            mm.kfree(mm.kmalloc(256, GFP_KERNEL))

    return median(pairs) / PAIRS


def from_module() -> tuple[float, float]:
    """Seconds of a load with unload, and of a pair in the module's own loop, tracking and call sites included."""
    [path] = build(HERE / "kmalloc_loop").modules
    image = path.read_bytes()
    kernel = boot()

    def turn(count: int) -> Callable[[], None]:
        return lambda: kernel.insmod(image, count=str(count)).rmmod()

    empty, full = median(turn(0)), median(turn(TRAPPED))
    return empty, (full - empty) / TRAPPED


def rollback() -> float:
    """Seconds to return to a snapshot after 1000 allocations."""
    kernel = boot()
    kernel.snapshot()
    times = []
    for _ in range(TURNS):
        for _ in range(1000):
            kernel.mm.kmalloc(256, GFP_KERNEL)
        begin = time.perf_counter()
        kernel.rollback()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    unit = library()
    load, trapped = from_module()
    rows = {
        "malloc + free, ctypes": unit,
        "kmalloc + kfree, Python": from_python(boot()),
        "kmalloc + kfree, module": trapped,
        "insmod + rmmod": load,
        "rollback": rollback(),
    }
    for name, value in rows.items():
        print(f"{name:26} {value * 1e6:9.2f} us {value / unit:9.1f} x")


if __name__ == "__main__":
    main()
