"""Allocations that are made to fail in a second of processor time: roll back, load, fail, judge (``--fail-each``)."""

from __future__ import annotations

import time
from pathlib import Path

import kmem
from kmem.faultinject import Failing, live
from kmem.modules.kbuild import build
from kmem.runner import report_leaks

ROOT = Path(__file__).resolve().parent.parent
COUNT = 500


def rate(driver: str, number: int, check: str) -> float:
    """Tries a second with allocation *number* of *driver* failing."""
    [path] = build(ROOT / driver).modules
    with kmem.boot(check=check) as k:
        k.leaks.begin()
        module = k.loader.load(path.read_bytes())
        k.snapshot()
        failing = Failing(k)
        for turn in range(COUNT + 5):
            if turn == 5:  # what is imported and translated once
                begin = time.process_time()
            k.rollback()
            failing.arm(number, False)
            live(k, module)
            report_leaks(k)
            failing.disarm()
        return COUNT / (time.process_time() - begin)


def main() -> None:
    """Print one line for each driver."""
    print(f"{'injections a second':32}{'none':>10}{'fast':>10}")
    for driver, number in (
        ("examples/kmalloc_driver", 1),
        ("examples/vmalloc_driver", 1),
        ("examples/notes_driver", 3),
    ):
        rates = [rate(driver, number, check) for check in ("none", "fast")]
        print(f"{driver:32}{rates[0]:10.0f}{rates[1]:10.0f}")


if __name__ == "__main__":
    main()
