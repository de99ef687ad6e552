"""What `--check fast` costs: processor time with it as a multiple of the time without, in one run."""

from __future__ import annotations

import time
from pathlib import Path

import kmem
from kmem.modules.kbuild import build

ROOT = Path(__file__).resolve().parent.parent
TURNS = 3


def seconds(image: bytes, check: str, **parameters: object) -> float:
    """Processor time of one init at its best."""
    times = []
    for _ in range(TURNS):
        with kmem.boot(ram="128M", check=check, budget=10**10) as k:
            k.executor.cpu.flush_code()
            begin = time.process_time()
            k.insmod(image, **parameters)
            k.drain()
            times.append(time.process_time() - begin)
    return min(times)


def main() -> None:
    """Print one line for each program."""
    print(f"{'':32}{'none':>10}{'fast':>10}{'/none':>8}")
    for name, parameters in (
        ("kmalloc_loop", {"count": 20_000}),
        ("memory_loop", {"count": 2_000_000}),
        ("ordinary_loop", {"count": 200_000}),
    ):
        directory = "memory_loop" if name == "ordinary_loop" else name
        [path] = build(ROOT / "benchmarks" / directory).modules
        more = {"work": 1} if name == "ordinary_loop" else {}
        none, fast = (seconds(path.read_bytes(), check, **parameters, **more) for check in ("none", "fast"))
        print(f"{name:32}{none * 1e3:8.0f}ms{fast * 1e3:8.0f}ms{fast / none:8.2f}")


if __name__ == "__main__":
    main()
