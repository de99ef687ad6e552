"""The same machine on every release: its invariants under random work, and for 6.12 what a real kernel's /proc has."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

import kmem
from kmem.abi.data import releases
from kmem.mm import validate
from kmem.mm.config import CONFIGS

REAL = json.loads((Path(__file__).parent.parent / "golden" / "release-6.12.json").read_text())
SIZES = (8, 30, 64, 100, 200, 500, 1000, 3000, 5000, 20000, 70000)


def work(k: kmem.Kernel, steps: int) -> None:
    """Allocate and free at random from every allocator."""
    r = random.Random(612)
    live: list[tuple[str, int, int]] = []
    for _ in range(steps):
        kind = r.random()
        if kind < 0.5 or not live:
            live.append(("kmalloc", k.kmalloc(r.choice(SIZES), 0xCC0 | r.choice((0, 0x100, 0x400000, 0x10))), 0))
        elif kind < 0.6:
            order = r.choice((0, 0, 1, 2, 3, 5, 9))
            live.append(("pages", k.mm.alloc_pages(r.choice((0xCC0, 0xCC8, 0x40CC0)), order), order))
        elif kind < 0.65:
            live.append(("vmalloc", k.mm.vmalloc(r.choice((4096, 10000, 3 << 20))), 0))
        else:
            what, p, order = live.pop(r.randrange(len(live)))
            if what == "kmalloc":
                k.kfree(p)
            elif what == "vmalloc":
                k.mm.vfree(p)
            elif p:
                k.mm.free_pages(p, order)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("release", releases())
def test_every_invariant_holds_after_random_work(release: str, config: str) -> None:
    with kmem.boot(release=release, config=config, ram="128M") as k:
        work(k, 1500)
        assert validate.check(k.mm) == []


@pytest.mark.parametrize("config", ["debian", "debug"])
def test_caches_of_the_boot_have_the_real_kernels_geometry(config: str) -> None:
    with kmem.boot(release="6.12", config=config) as k:
        mine = {line.split()[0]: line.split()[3:6] for line in k.proc("slabinfo").splitlines()[2:]}
    for name, geometry in REAL["geometry"][config].items():
        assert [int(word) for word in mine[name]] == geometry, name


@pytest.mark.parametrize("file", sorted(REAL["form"]))
def test_proc_has_the_real_kernels_lines(file: str) -> None:
    with kmem.boot(release="6.12") as k:
        text = k.proc(file)
    assert [re.sub(r"\d+", "N", re.sub(" +", " ", line)) for line in text.splitlines()] == REAL["form"][file]


def test_two_releases_in_one_process_do_not_mix() -> None:
    with kmem.boot(release="6.12") as new, kmem.boot(release="6.1") as old:
        for _ in range(3):
            assert new.mm.ksize(new.kmalloc(100)) == old.mm.ksize(old.kmalloc(100)) == 128
        assert "kmalloc_buckets" in new.proc("slabinfo")
        assert "kmalloc_buckets" not in old.proc("slabinfo")
        assert "nr_iommu_pages" in new.proc("vmstat")
        assert "nr_iommu_pages" not in old.proc("vmstat")
