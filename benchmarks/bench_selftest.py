"""From a test module of the kernel's own to its verdict: `kmem run test_meminit.ko`, warm, beside booting a real kernel
under QEMU with the module in its initial file system. Both in this run, on this machine, one after the other.

    .venv/bin/python benchmarks/bench_selftest.py [ROUNDS]
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.differential.boot import TIMEOUT, Load, _initramfs, _run  # noqa: E402
from tests.differential.image import Unavailable, kernel_image  # noqa: E402
from tests.selftest.modules import built  # noqa: E402
from tests.selftest.source import NoSource  # noqa: E402

VERDICT = "test_meminit: all 131 tests passed!"


def simulated(module: Path) -> float:
    """Seconds of one `kmem run`."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "kmem", "run", str(module), "--budget", "1e10", "--check", "none"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    assert VERDICT in done.stdout, done.stdout + done.stderr
    return seconds


def real(module: Path) -> float:
    """Seconds of one boot, from the start of QEMU to its end."""
    kernel, initramfs = kernel_image(), _initramfs([Load(module)], ())
    start = time.perf_counter()
    answer = _run(kernel, initramfs, "", TIMEOUT * 5, ())
    seconds = time.perf_counter() - start
    assert VERDICT in answer.console, answer.console[-500:]
    return seconds


def main() -> int:
    """Print both, the best of so many rounds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    try:
        module = built()["test_meminit"]
        simulated(module)
        pairs = [(simulated(module), real(module)) for _ in range(rounds)]
    except (NoSource, Unavailable) as missing:
        print(f"bench_selftest: {missing}", file=sys.stderr)
        return 2
    ours, theirs = (min(column) for column in zip(*pairs, strict=True))
    print(f"test_meminit to its verdict: kmem run {ours:.1f} s, real kernel under QEMU {theirs:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
