"""The invariants of the event stream hold for real runs, and each notices the damage that it is there for."""

from __future__ import annotations

import random

from kmem.mm.stream import Event, EventStream
from kmem.mm.validate_events import EventWatch
from tests.mm.booted import MIB, BootedMm

OBJECT = 0xFFFF888001000000


def event(
    kind: str, ptr: int, time: int = 0, requested: int = 8, allocated: int = 8, gfp: int = 0, order: int = 0
) -> Event:
    return Event(time, kind, 0, 0, 1, 0, ptr, requested, allocated, gfp, -1, 0, order)


def slugs(*events: Event) -> list[str]:
    mm = BootedMm(ram=96 * MIB)
    watch = EventWatch(mm.view)
    for one in events:
        watch(one)
    mm.ram.close()
    return [violation.slug for violation in watch.violations]


def test_a_real_run_violates_nothing() -> None:
    mm = BootedMm("debian", ram=96 * MIB)
    stream, watch, rng = EventStream(mm.core), EventWatch(mm.view), random.Random(1)
    stream.listen(watch)
    objects, pages, areas = [], [], []
    for _ in range(3000):
        objects.append(mm.kmalloc(rng.choice((8, 100, 4096, 20000))))
        pages.append((mm.alloc_pages(rng.choice((0xCC0, 0xCC1, 0xCC4)), order := rng.randrange(3)), order))
        if rng.random() < 0.1:
            areas.append(mm.vmalloc(rng.randrange(1, 50000)))
        if rng.random() < 0.9:
            mm.kfree(objects.pop(rng.randrange(len(objects))))
            mm.free_pages(*pages.pop(rng.randrange(len(pages))))
    for area in areas:
        mm.vfree(area)
    stream.drain()
    assert (watch.violations, watch.strangers, watch.live_in_ram()) == ([], [], [])
    assert len(watch.objects) == len(objects)
    assert len(watch.pages) == len(pages)


def test_b9_pages_are_aligned_and_in_a_zone_that_the_mask_allows() -> None:
    assert slugs(event("mm_page_alloc", 5, order=1)) == ["B9"]
    assert slugs(event("mm_page_alloc", 4096, gfp=1)) == ["B9"]
    assert slugs(event("mm_page_alloc", 4095, gfp=1), event("mm_page_alloc", 8192, order=10)) == []


def test_t3_nothing_is_given_out_twice_or_too_small() -> None:
    assert slugs(event("kmalloc", OBJECT), event("kmalloc", OBJECT)) == ["T3"]
    assert slugs(event("kmalloc", OBJECT), event("kfree", OBJECT), event("kmalloc", OBJECT)) == []
    assert slugs(event("vmalloc", OBJECT), event("vmalloc", OBJECT)) == ["T3"]
    assert slugs(event("kmalloc", OBJECT, requested=9)) == ["T3"]


def test_t4_time_does_not_run_backwards() -> None:
    assert slugs(event("kmalloc", OBJECT, time=5), event("kfree", OBJECT, time=4)) == ["T4"]


def test_s18_what_is_live_is_in_use() -> None:
    mm = BootedMm(ram=96 * MIB)
    watch = EventWatch(mm.view)
    free = next(pfn for pfn in range(mm.max_pfn()) if int(mm.view.page(pfn).page_type) & 0xFFFFFFFF == 0xFFFFFF7F)
    watch(event("kmalloc", mm.phys_to_virt(free << 12)))
    assert [violation.slug for violation in watch.live_in_ram()] == ["S18"]


def test_a_free_of_something_unknown_is_a_stranger() -> None:
    mm = BootedMm(ram=96 * MIB)
    watch = EventWatch(mm.view)
    for one in (event("kfree", 0), event("kfree", 16), event("kfree", OBJECT)):
        watch(one)
    assert watch.strangers == [OBJECT]
