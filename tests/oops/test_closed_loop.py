"""Every crash that kmem's own bad module causes is explained as what the simulator knows that it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kmem.commands.oops import main as main_command
from kmem.commands.options import CONFIGS, releases
from kmem.modules.headers import find
from kmem.oops.explain import explain, main_of

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]

CAUSES = {
    "null-dereference": "null_pointer",
    "wild-pointer": "wild_pointer",
    "out-of-bounds": "out_of_bounds",
    "use-after-free": "use_after_free",
    "double-free": "double_free",
    "freelist-corruption": "freelist_corruption",
    "read-only-write": "read_only_write",
    "exec-fault": "bad_call",
    "stack-overflow": "stack_overflow",
    "bug": "bug",
    "warning": "warning",
}
MODES = ("uaf", "dblfree", "oob", "null", "gpf", "rowrite", "guard", "exec", "bug", "warn", "stack")
RUNS = [(mode, config, release) for release in releases() for config in CONFIGS for mode in MODES]
SILENT = {("dblfree", "plain"), ("oob", "plain"), ("oob", "debian")}
"""Errors that these kernels do not notice, so that they print nothing."""


def test_sleep_with_a_lock_held(kmem: Callable, root: Path) -> None:  # type: ignore[type-arg]
    told = json.loads(kmem("run", root / "tests/kmod/atomic", "mode=spin", "op=msleep", "--json").stdout)
    main = main_of(explain("\n".join(line["text"] for line in told["dmesg"])))
    assert main is not None
    assert (told["findings"][0]["kind"], main.verdict.cause) == ("sleep-in-atomic", "sleep_in_atomic")


@pytest.mark.parametrize(("mode", "config", "release"), RUNS)
def test_verdict_is_what_the_simulator_knows(
    mode: str,
    config: str,
    release: str,
    kmem: Callable,  # type: ignore[type-arg]
    root: Path,
) -> None:
    if find(release) is None:
        pytest.skip(f"no kernel headers to build against: kmem headers {release}")
    kernel = ["--config", config, "--release", release]
    run = kmem("run", root / "tests/kmod/bug", f"mode={mode}", *kernel, "--check", "none", "--json")
    told = json.loads(run.stdout)
    main = main_of(explain("\n".join(line["text"] for line in told["dmesg"])))
    if (mode, config) in SILENT:
        assert main is None
        return
    assert main is not None
    assert main.verdict.cause == CAUSES[told["findings"][0]["kind"]]


def test_an_entry_used_after_list_del(kmem: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    log = Path(__file__).parent / "logs/x86-list-poison.txt"
    assert main_command(["--reproduce", str(tmp_path / "demo"), str(log)]) == 1
    told = json.loads(kmem("run", tmp_path / "demo", "--json").stdout)
    main = main_of(explain("\n".join(line["text"] for line in told["dmesg"])))
    assert main is not None
    assert main.verdict.cause == CAUSES[told["findings"][0]["kind"]] == "use_after_free"
