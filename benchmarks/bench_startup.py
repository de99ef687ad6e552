"""What a whole ``kmem run`` of a ``.ko`` costs, warm, and where the time goes.

One table; times are medians of several turns, ratios are against ``python -c pass`` of the same turn count.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from kmem.modules.kbuild import build

ROOT = Path(__file__).resolve().parent.parent
TURNS = 9


def seconds(*words: str) -> float:
    """Median seconds of a Python process with these arguments."""
    times = []
    for _ in range(TURNS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    [module] = build(ROOT / "examples" / "kmalloc_driver").modules
    run = ["-m", "kmem", "run", str(module)]
    phases = []
    for _ in range(TURNS):
        done = subprocess.run([sys.executable, *run, "--json"], check=True, capture_output=True)
        phases.append(json.loads(done.stdout)["timings"])
    unit = seconds("-c", "pass")
    rows = {
        "python -c pass": unit,
        "import kmem.kernel": seconds("-c", "import kmem.kernel"),
        "kmem run": seconds(*run),
    }
    rows |= {f"  of it {name}": statistics.median(phase[name] for phase in phases) for name in phases[0]}
    for name, value in rows.items():
        print(f"{name:24} {value * 1e3:7.1f} ms {value / unit:5.1f} x")


if __name__ == "__main__":
    main()
