"""What a request may take, what reclaim gives back, and what is counted, on a machine of 96 MiB."""

from __future__ import annotations

from typing import Any

import pytest

from kmem.abi.gfp import (
    __GFP_ATOMIC,
    __GFP_COMP,
    __GFP_HIGH,
    __GFP_KSWAPD_RECLAIM,
    __GFP_MEMALLOC,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_RETRY_MAYFAIL,
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOFS,
    GFP_NOIO,
    GFP_NOWAIT,
)
from kmem.mm import vmstat
from tests.mm.booted import MIB, BootedMm, expect_consistent

QUIET = __GFP_NOWARN | __GFP_NORETRY
PF_MEMALLOC, PF_MEMALLOC_NOFS = 0x800, 0x40000
DMA, DMA32 = 0, 1


@pytest.fixture
def mm() -> BootedMm:
    return BootedMm("plain", ram=96 * MIB)


def drain(mm: BootedMm, gfp: int, order: int = 0) -> list[int]:
    """Take blocks until one is refused."""
    got = []
    while p := mm.alloc_pages(gfp, order):
        got.append(p)
    return got


def zones(mm: BootedMm) -> dict[int, Any]:
    return {index: mm.view.kdata.node_data[0].node_zones[index] for index in (DMA, DMA32)}


def counter(mm: BootedMm, name: str) -> int:
    lines = dict(line.split() for line in vmstat.text(mm).splitlines())
    return int(lines[name])


def part(mark: int, gfp: int) -> int:
    """What is left of the min watermark for a mask, by mm/internal.h."""
    if gfp & __GFP_HIGH:
        mark -= mark // 2
        if not gfp & 0x400 and not gfp & __GFP_NOMEMALLOC:
            mark -= mark // 4
    return mark


@pytest.mark.parametrize(
    "gfp",
    [
        GFP_KERNEL | QUIET,
        GFP_KERNEL | QUIET | __GFP_HIGH,
        GFP_ATOMIC | QUIET,
        GFP_NOWAIT | QUIET,
        GFP_NOWAIT | QUIET | __GFP_HIGH | __GFP_NOMEMALLOC,
        __GFP_HIGH | QUIET,
        QUIET,
    ],
    ids=hex,
)
def test_a_mask_stops_at_its_part_of_the_min_watermark(mm: BootedMm, gfp: int) -> None:
    got = drain(mm, gfp)
    batch = 64
    for index, z in zones(mm).items():
        boost = 0 if gfp & __GFP_ATOMIC else int(z.watermark_boost)
        least, reserve, free = int(z._watermark[0]), int(z.lowmem_reserve[2]), int(z.vm_stat[0])
        assert free <= part(least + boost, gfp) + reserve, f"zone {index}"
        assert free > part(least, gfp) + reserve - batch, f"zone {index}"  # the boost may have come last
    for p in got:
        mm.free_pages(p, 0)
    expect_consistent(mm)


def test_memalloc_takes_the_last_page(mm: BootedMm) -> None:
    drain(mm, GFP_KERNEL | QUIET | __GFP_MEMALLOC)
    assert mm.zone_free() == 0


def test_pf_memalloc_takes_the_last_page_and_nomemalloc_does_not(mm: BootedMm) -> None:
    mm.core.private.task_flags = PF_MEMALLOC
    drain(mm, GFP_KERNEL | QUIET | __GFP_NOMEMALLOC)
    assert mm.zone_free() > int(zones(mm)[DMA32]._watermark[0]) // 2
    drain(mm, GFP_KERNEL | QUIET)
    assert mm.zone_free() == 0


def test_the_page_cache_gives_way(mm: BootedMm) -> None:
    size = mm.fill_page_cache(20 * MIB)
    cached = counter(mm, "nr_file_pages")
    assert size == 20 * MIB
    assert counter(mm, "nr_inactive_file") == cached > 4000
    expect_consistent(mm)
    got = drain(mm, GFP_KERNEL | QUIET)
    assert counter(mm, "nr_file_pages") == 0
    assert counter(mm, "pgsteal_file") >= cached
    assert counter(mm, "pgsteal_file") == counter(mm, "pgsteal_kswapd") + counter(mm, "pgsteal_direct")
    for p in got:
        mm.free_pages(p, 0)
    expect_consistent(mm)


def test_requests_that_do_not_wake_kswapd_leave_the_page_cache_alone(mm: BootedMm) -> None:
    mm.fill_page_cache(16 * MIB)
    before = counter(mm, "nr_file_pages")
    drain(mm, QUIET)
    assert counter(mm, "nr_file_pages") == before
    assert counter(mm, "pageoutrun") <= 1


def test_an_atomic_request_leaves_kswapd_its_run(mm: BootedMm) -> None:
    mm.fill_page_cache(30 * MIB)
    runs = counter(mm, "pageoutrun")
    got = drain(mm, GFP_ATOMIC | QUIET)
    assert counter(mm, "pageoutrun") == runs
    mm.free_pages(got.pop(), 0)
    mm.alloc_pages(GFP_KERNEL | QUIET, 0)
    assert counter(mm, "pageoutrun") > runs
    assert mm.zone_free() > int(zones(mm)[DMA32]._watermark[2])


def test_active_pages_go_last(mm: BootedMm) -> None:
    mm.fill_page_cache(8 * MIB, active=True)
    mm.fill_page_cache(8 * MIB)
    active = counter(mm, "nr_active_file")
    assert active == 2048
    for _ in range(8000):
        assert mm.alloc_pages(GFP_KERNEL | QUIET, 0)
        if mm.view.kdata.vm_node_stat[3] != active:
            break
    assert counter(mm, "nr_inactive_file") <= active
    assert counter(mm, "pgdeactivate") > 0
    expect_consistent(mm)


def test_drop_caches_frees_all_of_it(mm: BootedMm) -> None:
    mm.drain()
    before = mm.zone_free()
    mm.fill_page_cache(10 * MIB, active=True)
    mm.fill_page_cache(10 * MIB)
    assert mm.drop_caches() >= 19 * MIB
    mm.drain()
    assert mm.zone_free() == before
    assert counter(mm, "nr_file_pages") == 0
    expect_consistent(mm)


def fragment(mm: BootedMm) -> list[int]:
    """Memory full of single pages, of which half belong to the page cache and move: no block of order 1 is free."""
    taken = drain(mm, GFP_KERNEL | QUIET | 0x8 | 0x2)
    for p in taken[::2]:
        mm.free_pages(p, 0)
    mm.drain()
    return taken[1::2]


def test_compaction_makes_a_large_block_of_scattered_pages(mm: BootedMm) -> None:
    taken = []
    while mm.zone_free() > 1500:
        taken.append(mm.alloc_pages(GFP_HIGHUSER_MOVABLE | QUIET, 0))
        mm.fill_page_cache(4096)
    for p in taken:
        mm.free_pages(p, 0)
    mm.drain()
    cached, free = counter(mm, "nr_file_pages"), mm.zone_free()
    assert cached > 3000
    large = sum(int(z.free_area[order].nr_free) << order for z in zones(mm).values() for order in range(6, 11))
    wanted = large // 64 + 8
    blocks = [mm.alloc_pages(GFP_KERNEL | QUIET | __GFP_COMP, 6) for _ in range(wanted)]
    assert all(blocks)
    assert wanted * 64 < free
    assert counter(mm, "compact_success") > 0
    assert counter(mm, "pgmigrate_success") > 0
    assert counter(mm, "nr_file_pages") > cached // 2
    expect_consistent(mm)


def test_compaction_is_put_off_after_it_failed(mm: BootedMm) -> None:
    fragment(mm)
    gfp = GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN
    for _ in range(4):
        assert mm.alloc_pages(gfp, 8) == 0
    zone = zones(mm)[DMA32]
    assert zone.compact_defer_shift > 0
    assert zone.compact_order_failed <= 8
    expect_consistent(mm)


def test_a_costly_request_with_noretry_does_not_reclaim_for_long(mm: BootedMm) -> None:
    mm.fill_page_cache(24 * MIB)
    drain(mm, QUIET)
    stalls = counter(mm, "allocstall_normal")
    mm.alloc_pages(GFP_KERNEL | QUIET, 9)
    assert counter(mm, "allocstall_normal") <= stalls + 1


@pytest.mark.parametrize("gfp", [GFP_NOIO, GFP_NOFS], ids=("noio", "nofs"))
def test_clean_pages_go_whatever_the_request_may_not_touch(mm: BootedMm, gfp: int) -> None:
    mm.fill_page_cache(24 * MIB)
    before = counter(mm, "nr_file_pages")
    got = drain(mm, gfp & ~__GFP_KSWAPD_RECLAIM | __GFP_NOWARN | __GFP_RETRY_MAYFAIL)
    assert counter(mm, "pgsteal_direct") > before // 2
    assert len(got) >= before // 2


def test_a_scope_forbids_kswapd_s_sudden_run(mm: BootedMm) -> None:
    """Under memalloc_nofs_save() the task may hold what a shrinker would wait for."""
    mm.fill_page_cache(30 * MIB)
    mm.core.private.task_flags = PF_MEMALLOC_NOFS
    runs = counter(mm, "pageoutrun")
    for _ in range(4000):
        mm.alloc_pages(GFP_KERNEL | QUIET, 0)
    assert counter(mm, "pgscan_direct") > 0
    assert counter(mm, "pageoutrun") == runs


def test_nofail_gets_the_reserves_and_gives_up_only_when_nothing_is_left(mm: BootedMm) -> None:
    drain(mm, GFP_KERNEL | QUIET)
    assert mm.alloc_pages(GFP_KERNEL | __GFP_NOFAIL, 0)
    mm.told.clear()
    drain(mm, GFP_KERNEL | __GFP_NOFAIL | __GFP_NOWARN)
    assert mm.zone_free() == 0
    assert mm.upcalls["UP_STUCK"] == 1


def test_nofail_that_may_not_block_warns_and_fails(mm: BootedMm) -> None:
    drain(mm, GFP_ATOMIC | QUIET)
    mm.told.clear()
    assert mm.alloc_pages(GFP_NOWAIT | __GFP_NOFAIL, 0) == 0
    assert [name for name, *_ in mm.told] == ["UP_WARN", "UP_ALLOC_FAILED"]


def test_retry_mayfail_fails_without_the_oom_killer(mm: BootedMm) -> None:
    drain(mm, GFP_KERNEL | QUIET)
    mm.upcalls.clear()
    assert mm.alloc_pages(GFP_KERNEL | __GFP_RETRY_MAYFAIL, 0) == 0
    assert mm.upcalls["UP_ALLOC_FAILED"] == 1
    assert mm.upcalls["UP_OUT_OF_MEMORY"] == 0


def test_the_oom_killer_is_not_asked_for_costly_orders_low_zones_or_one_node(mm: BootedMm) -> None:
    for zone in (0, 0x1, 0x4):
        drain(mm, GFP_KERNEL | QUIET | zone)
    mm.upcalls.clear()
    assert mm.alloc_pages(GFP_KERNEL, 4) == 0
    assert mm.alloc_pages(GFP_KERNEL | 0x1, 0) == 0
    assert mm.alloc_pages(GFP_KERNEL | 0x4, 0) == 0
    assert mm.alloc_pages(GFP_KERNEL | 0x200000, 0) == 0
    assert mm.upcalls["UP_OUT_OF_MEMORY"] == 0
    assert mm.alloc_pages(GFP_KERNEL, 0) == 0
    assert mm.upcalls["UP_OUT_OF_MEMORY"] == 1
