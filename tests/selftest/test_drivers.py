"""Drivers of Debian's linux-source-6.1, unmodified, with every allocation of theirs failed in turn (docs/found.md)."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from kmem.lib.build import cache_dir
from kmem.modules.kbuild import build
from tests.run.running import run
from tests.selftest.source import NoSource, find

pytestmark = [pytest.mark.needs_headers]
DRIVERS = {"drivers/net/dummy.c": 8, "drivers/net/ifb.c": 15, "drivers/net/tun.c": 8}
"""Each with the least number of allocations that it makes: the paths that give back what was made before are many."""


@cache
def built() -> dict[str, Path]:
    """The drivers, built."""
    try:
        source = find()
    except NoSource as missing:
        pytest.skip(str(missing))
    tree = cache_dir() / "drivers"
    tree.mkdir(parents=True, exist_ok=True)
    for name in DRIVERS:
        shutil.copyfile(source / name, tree / Path(name).name)
    (tree / "Kbuild").write_text("".join(f"obj-m += {Path(name).stem}.o\n" for name in DRIVERS))
    return {path.stem: path for path in build(tree).modules}


@pytest.mark.parametrize("name", DRIVERS)
def test_it_survives_whatever_allocation_fails(name: str) -> None:
    ran = run(built()[Path(name).stem], "--fail-each", "--json")
    told = ran.json
    assert told["findings"] == []
    assert ran.status == 0
    tries = told["failing"]
    assert [attempt["number"] for attempt in tries[::2]] == list(range(1, len(tries) // 2 + 1))
    assert len(tries) // 2 >= DRIVERS[name]
    refused = [attempt for attempt in tries if attempt["outcome"] == "init returned -12"]
    assert len(refused) >= DRIVERS[name], "most failures make init fail"
