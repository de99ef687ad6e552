"""``kmem oops --reproduce``: the module that it writes builds, crashes, and is explained as its class."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kmem.commands.oops import main
from kmem.errors import UsageError
from kmem.oops.explain import explain, main_of
from kmem.oops.reproduce import CLASSES, source

LOGS = Path(__file__).parent / "logs"
MADE_FROM = {
    "freelist_corruption": "arm-freelist.txt",
    "use_after_free": "x86-list-poison.txt",
    "double_free": "kmem-dblfree.txt",
    "out_of_bounds": "kmem-debug-oob.txt",
    "null_pointer": "kmem-null.txt",
    "sleep_in_atomic": "sleep.txt",
}


def test_every_class_has_a_log_here() -> None:
    assert sorted(MADE_FROM) == sorted(CLASSES)


def steps(dmesg: list[dict[str, str]]) -> bool:
    """Whether the module's steps stand in order, all of them before the first line of a report."""
    texts = [line["text"] for line in dmesg]
    numbers = [int(found[1]) for text in texts if (found := re.search(r"oops_demo: step (\d):", text))]
    crash = next((i for i, text in enumerate(texts) if re.search(r"BUG|general protection|cut here", text)), len(texts))
    last = max((i for i, text in enumerate(texts) if "oops_demo: step" in text), default=len(texts))
    return numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 2 and last < crash


@pytest.mark.needs_headers
@pytest.mark.slow
@pytest.mark.parametrize("cause", CLASSES)
def test_module_makes_the_same_crash(cause: str, tmp_path: Path, kmem: Callable) -> None:  # type: ignore[type-arg]
    assert main(["--reproduce", str(tmp_path / "demo"), str(LOGS / MADE_FROM[cause])]) == 1
    run = kmem("run", tmp_path / "demo", "--json", "--config", "debug" if cause == "out_of_bounds" else "debian")
    told = json.loads(run.stdout)
    assert run.returncode == 1
    assert steps(told["dmesg"]), "the log is the way from the first step to the crash"
    if cause == "sleep_in_atomic":  # Debian's kernel prints no report of it; the simulator knows
        assert told["findings"][0]["kind"] == "sleep-in-atomic"
        return
    again = main_of(explain("\n".join(line["text"] for line in told["dmesg"])))
    assert again is not None
    assert again.verdict.cause == cause


def test_the_size_of_the_cache_is_kept() -> None:
    each = explain((LOGS / "arm-freelist.txt").read_text())[0]
    assert "kmalloc(128, GFP_KERNEL)" in source(each)


def test_other_classes_are_refused() -> None:
    with pytest.raises(UsageError):
        source(explain((LOGS / "kmem-stack.txt").read_text())[0])


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "oops_demo.c").write_text("mine")
    with pytest.raises(UsageError):
        main(["--reproduce", str(tmp_path), str(LOGS / "kmem-null.txt")])
    assert (tmp_path / "oops_demo.c").read_text() == "mine"
