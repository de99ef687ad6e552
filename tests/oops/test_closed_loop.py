"""Every crash that kmem's own bad module causes is explained as what the simulator knows that it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
RUNS = [
    *(
        (mode, "debian")
        for mode in ("uaf", "dblfree", "null", "gpf", "rowrite", "guard", "exec", "bug", "warn", "stack")
    ),
    *((mode, "debug") for mode in ("uaf", "dblfree", "oob")),
    ("uaf", "plain"),
]


def test_sleep_with_a_lock_held(kmem: Callable, root: Path) -> None:  # type: ignore[type-arg]
    told = json.loads(kmem("run", root / "tests/kmod/atomic", "mode=spin", "op=msleep", "--json").stdout)
    main = main_of(explain("\n".join(line["text"] for line in told["dmesg"])))
    assert main is not None
    assert (told["findings"][0]["kind"], main.verdict.cause) == ("sleep-in-atomic", "sleep_in_atomic")


@pytest.mark.parametrize(("mode", "config"), RUNS)
def test_verdict_is_what_the_simulator_knows(mode: str, config: str, kmem: Callable, root: Path) -> None:  # type: ignore[type-arg]
    run = kmem("run", root / "tests/kmod/bug", f"mode={mode}", "--config", config, "--json")
    told = json.loads(run.stdout)
    main = main_of(explain("\n".join(line["text"] for line in told["dmesg"])))
    assert main is not None
    assert main.verdict.cause == CAUSES[told["findings"][0]["kind"]]
