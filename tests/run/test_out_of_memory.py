"""Modules that ask for more memory than there is: shrinkers, the OOM killer, the reports."""

from __future__ import annotations

import re

import pytest

import kmem
from kmem.modules.headers import find
from kmem.modules.kbuild import build
from tests.run.running import KMOD, module, run

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]

NOFS_QUIET = 0x12C40


def shrink(release: str = "6.1", **parameters: object) -> dict[str, int]:
    """What tests/kmod/shrink counted."""
    [image] = build(KMOD / "shrink", release=release).modules
    with kmem.boot(ram="96M", release=release) as k:
        k.insmod(image.read_bytes(), **parameters).rmmod()
        (line,) = [line for line in k.dmesg().splitlines() if "shrink: held" in line]
    words = line.split("shrink: ")[1].split()
    return {word: int(value) for word, value in zip(words[::2], words[1::2], strict=True)}


NEWER = pytest.param("6.12", marks=pytest.mark.skipif(find("6.12") is None, reason="no headers: kmem headers 6.12"))


@pytest.mark.parametrize("release", ["6.1", NEWER])
def test_a_shrinker_is_asked_until_its_cache_is_empty(release: str) -> None:
    found = shrink(release, held=2000)
    assert found["cached"] == 0
    assert found["kswapd"] == 1
    assert found["most"] == 128


def test_a_shrinker_sees_that_file_systems_may_not_be_entered() -> None:
    found = shrink(held=2000, mask=NOFS_QUIET)
    assert found["refused"] > 0
    assert found["kswapd"] == 0
    assert found["cached"] == 2000


def test_without_pressure_nobody_asks_a_shrinker() -> None:
    found = shrink(held=100, wanted=100)
    assert found["counted"] == found["scanned"] == 0


def test_the_oom_killer_reports_as_the_kernel_does() -> None:
    image = module("tests/kmod/drain").read_bytes()
    with kmem.boot(ram="96M") as k:
        k.insmod(image, s="cc0.0.0").rmmod()
        lines = [line.split("] ", 1)[-1] for line in k.dmesg().splitlines()]
    at = lines.index("insmod invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0")
    end = next(i for i, line in enumerate(lines) if line.startswith("Out of memory: Killed process"))
    report = lines[at : end + 1]
    killed = re.fullmatch(
        r"Out of memory: Killed process 97 \(insmod\) total-vm:(\d+)kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, "
        r"UID:0 pgtables:(\d+)kB oom_score_adj:0",
        report[-1],
    )
    assert killed is not None
    virtual, tables = int(killed[1]) // 4, int(killed[2]) * 1024
    assert report[-2] == (
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,"
        "task=insmod,pid=97,uid=0"
    )
    assert report[-3] == f"[     97]     0    97 {virtual:>8}        1 {tables:>8}        0             0 insmod"
    for line in ("Mem-Info:", "Unreclaimable slab info:", "Tasks state (memory values in pages):"):
        assert line in report
    failure = lines[end + 1]
    assert failure == (
        "insmod: page allocation failure: order:0, mode:0xcc0(GFP_KERNEL), nodemask=(null),cpuset=/,mems_allowed=0"
    )


def test_a_process_that_was_killed_may_use_half_of_the_reserve() -> None:
    image = module("tests/kmod/drain").read_bytes()
    with kmem.boot(ram="96M") as k:
        k.insmod(image, s="cc0.0.0").rmmod()
        found = re.search(r"then zone 1 free (\d+) min (\d+)", k.dmesg())
    assert found is not None
    free, least = int(found[1]), int(found[2])
    assert least - least // 2 - 64 < free <= least - least // 2


def test_one_allocation_failure_is_reported_in_ten_seconds() -> None:
    image = module("tests/kmod/drain").read_bytes()
    with kmem.boot(ram="96M") as k:
        k.insmod(image, s="10cc0.0.0,a20.0.0,800.0.0").rmmod()
        text = k.dmesg()
        assert text.count("page allocation failure") == 1
        assert "mode:0x10cc0(GFP_KERNEL|__GFP_NORETRY)" in text
        k.clock.advance(11 * 10**9)
        k.insmod(image, s="a20.0.0").rmmod()
        assert k.dmesg().count("page allocation failure") == 2
        assert "warn_alloc: 2 callbacks suppressed" in k.dmesg()


def test_files_make_room_for_a_module() -> None:
    file = module("tests/kmod/drain")
    ran = run(file, "s=12cc0.0.80", "limit=15000", "--ram", "128M", "--page-cache", "64M", "--json")
    assert ran.status == 0
    assert "took 15000" in ran.dmesg
