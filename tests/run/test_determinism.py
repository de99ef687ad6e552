"""The same run twice is the same run: kernel log, events and RAM, whatever surrounds the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.run.running import module, run

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]

MODULES = ["examples/kmalloc_driver", "examples/cache_list_driver", "tests/kmod/burst"]
SAME = ("verdict", "dmesg", "hashes", "init", "exit")


def outcome(file: Path, *words: str, cwd: Path | None = None, **env: str) -> dict[str, Any]:
    """What must be the same."""
    document = run(file, *words, "--json", **({"cwd": cwd} if cwd else {}), **env).json
    assert set(document["hashes"]) == {"ram", "events"}
    kept = {name: document[name] for name in SAME}
    kept["objects"] = [(row["call"], row["address"]) for row in document["allocations"]["objects"]]
    return kept


@pytest.mark.parametrize("directory", MODULES)
@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
def test_the_same_twice(directory: str, config: str, tmp_path: Path) -> None:
    file = module(directory)
    first = outcome(file, "--config", config, PYTHONHASHSEED="1")
    second = outcome(
        file, "--config", config, cwd=tmp_path, PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C", COLUMNS="40"
    )
    assert first == second


def test_a_crash_is_the_same_twice(tmp_path: Path) -> None:
    file = module("examples/freelist_corruption")
    first = outcome(file, PYTHONHASHSEED="1")
    assert first["verdict"] == "findings"
    assert outcome(file, cwd=tmp_path, PYTHONHASHSEED="2") == first


def test_the_home_directory_is_no_input(tmp_path: Path) -> None:
    from kmem.lib.build import cache_dir

    file = module("examples/kmalloc_driver")
    home = tmp_path / "home"
    (home / ".cache" / "kmem").mkdir(parents=True)
    (home / ".cache" / "kmem" / "core").symlink_to(cache_dir() / "core")  # compiling it once more would take a minute
    assert outcome(file, HOME=str(home), XDG_CACHE_HOME=str(home / ".cache")) == outcome(file)


def test_another_seed_is_another_run_where_the_kernel_is_random() -> None:
    file = module("tests/kmod/burst")
    runs = [outcome(file, "--config", "debian", "--seed", seed) for seed in ("0", "1")]
    assert runs[0]["objects"] != runs[1]["objects"]
    assert runs[0]["hashes"]["ram"] != runs[1]["hashes"]["ram"]


def test_without_hardening_another_seed_gives_the_same_addresses() -> None:
    file = module("tests/kmod/burst")
    runs = [outcome(file, "--config", "plain", "--seed", seed) for seed in ("0", "1")]
    assert runs[0]["objects"] == runs[1]["objects"]


@pytest.mark.parametrize("directory", ["examples/kmalloc_driver", "examples/cache_list_driver"])
def test_the_uncompiled_core_reaches_the_same_state(directory: str) -> None:
    file = module(directory)
    compiled = outcome(file, "--ram", "128M")
    assert outcome(file, "--ram", "128M", NUMBA_DISABLE_JIT="1") == compiled
