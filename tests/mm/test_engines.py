"""One source, two engines: compiled and interpreted, the model gives the same answers and reaches the same RAM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmem.abi.data import releases
from kmem.lib.jit import INTERPRETED
from tests.mm.replay import Replay

ROOT = Path(__file__).parents[2]


def interpreted(release: str) -> dict[str, str]:
    """The environment of a process that interprets the model of *release*."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "NUMBA_DISABLE_JIT": "1", "KMEM_RELEASE": release, "PYTHONPATH": path}


@pytest.mark.slow
@pytest.mark.parametrize(("config", "seed", "steps"), [("plain", 1, 200), ("debian", 2, 150), ("debug", 3, 100)])
@pytest.mark.parametrize("release", releases())
def test_interpreted_and_compiled_reach_the_same_ram(release: str, config: str, seed: int, steps: int) -> None:
    if INTERPRETED:
        pytest.skip("the compiled engine is switched off")
    other = subprocess.run(
        [sys.executable, "-m", "tests.mm.replay", release, config, str(seed), str(steps)],
        cwd=ROOT,
        env=interpreted(release),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert other.returncode == 0, other.stderr
    expected = list(Replay(config, seed, release).run(steps))
    assert other.stdout.splitlines() == expected
    assert sum(line.startswith("ram ") for line in expected) > 1


def test_interpreted_a_process_has_one_release() -> None:
    code = "from kmem.commands.main import main; raise SystemExit(main(['boot', '--release', '6.1']))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=interpreted("6.12"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "release 6.1 cannot be booted: model code is interpreted, as that of 6.12" in done.stderr
    assert "KMEM_RELEASE=6.1" in done.stderr


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
