"""One source, two engines: compiled and interpreted, the model gives the same answers and reaches the same RAM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmem.lib.jit import INTERPRETED
from tests.mm.replay import Replay

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(("config", "seed", "steps"), [("plain", 1, 200), ("debian", 2, 150), ("debug", 3, 100)])
def test_interpreted_and_compiled_reach_the_same_ram(config: str, seed: int, steps: int) -> None:
    if INTERPRETED:
        pytest.skip("the compiled engine is switched off")
    other = subprocess.run(
        [sys.executable, "-m", "tests.mm.replay", config, str(seed), str(steps)],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert other.returncode == 0, other.stderr
    expected = list(Replay(config, seed).run(steps))
    assert other.stdout.splitlines() == expected
    assert sum(line.startswith("ram ") for line in expected) > 1


def test_the_same_seed_gives_the_same_ram_and_another_seed_another() -> None:
    one, same, other = (list(Replay("debian", seed).run(100))[-1] for seed in (5, 5, 6))
    assert one == same != other


def test_a_snapshot_repeats_the_run() -> None:
    replay = Replay("debian", 7)
    list(replay.run(50))
    replay.mm.ram.snapshot()
    state, lists = (
        replay.random.getstate(),
        {name: list(value) for name, value in vars(replay).items() if isinstance(value, list)},
    )
    first = list(replay.run(100))
    replay.mm.ram.rollback()
    replay.mm.told.clear()
    replay.random.setstate(state)
    vars(replay).update(lists)
    assert list(replay.run(100)) == first
