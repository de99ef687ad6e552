"""Every invariant that is tried on a copy notices the damage that it is there for, and leaves the machine alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kmem.abi.data import releases
from kmem.kernel import Kernel
from kmem.lib.cstruct import u64
from kmem.mm.config import CONFIGS
from kmem.mm.mm_types import page
from kmem.mm.stream import EventStream
from kmem.mm.trial import Trial
from kmem.mm.validate import INVARIANTS
from kmem.mm.validate_events import TRACK_ALLOC, TRACK_FREE, EventWatch
from kmem.mm.validate_trials import NOWAIT, QUIET, TRIALS, check_trials
from tests.mm.booted import MIB, BootedMm
from tests.mm.test_validate import busy, cache, cpu_slab, pte_slot

Damage = Callable[[BootedMm], None]


def damage_b8(mm: BootedMm) -> None:
    """The pages that will be split belong, by their flags, to another zone: they are not merged there."""
    t = Trial(mm)
    first = t.alloc_pages(NOWAIT, 5)
    for n in range(16, 32):
        p = mm.view.ptr(page, first + n * page.size)
        p.flags = p.flags ^ (1 << 51)


def damage_b10(mm: BootedMm) -> None:
    mm.view.kdata.node_data[0].node_zonelists[0]._zonerefs[0].zone = 0


def damage_s10(mm: BootedMm) -> None:
    cache(mm, "kmalloc-64").object_size = 32


def damage_s11(mm: BootedMm) -> None:
    k = mm.view.kdata
    k.kmalloc_caches[0][8] = k.kmalloc_caches[0][6]


def damage_s12(mm: BootedMm) -> None:
    cpu_slab(mm, cache(mm, "kmalloc-64")).slab.slab_cache = cache(mm, "kmalloc-8k")


def damage_s14(mm: BootedMm) -> None:
    mm.view.kdata.nr_cpu_ids = 1


def damage_s17(mm: BootedMm) -> None:
    s = cache(mm, "kmalloc-64")
    obj = u64(cpu_slab(mm, s).freelist)
    mm.view.ram.mem[(at := obj + s.offset - 0xFFFF888000000000) : at + 8] = obj.to_bytes(8, "little")


def damage_v6(mm: BootedMm) -> None:
    mm.view.kdata.vfree_deferred[0] = 0xFFFFC90012345000


def damage_v7(mm: BootedMm) -> None:
    """What waits to be purged cannot be followed, so the area of the failed call never goes."""
    mm.view.kdata.purge_vmap_area_list.next = mm.view.ptr(cache(mm)._type, 0).list


def damage_p6(mm: BootedMm) -> None:
    t = Trial(mm)
    guard = t.vmalloc(3 * 4096, QUIET) + 3 * 4096
    slot = pte_slot(mm, guard)
    mm.ram.mem[slot : slot + 8] = (0x8000000000000163 | 0x100000).to_bytes(8, "little")


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__.removeprefix("damage_"))
def test_damage_is_found_by_its_trial(damage: Damage) -> None:
    slug = damage.__name__.removeprefix("damage_").upper()
    mm = busy("plain")
    assert check_trials(mm, [slug]) == []
    damage(mm)
    assert {violation.slug for violation in check_trials(mm, [slug])} == {slug}


def test_every_trial_has_its_damage() -> None:
    assert {damage.__name__.removeprefix("damage_").upper() for damage in DAMAGES} == TRIALS.keys()


def test_no_number_is_missing() -> None:
    elsewhere = {"B9", "S16", "S18", "T3", "T4"} | {"T2", "T5"}  # EventWatch, and a run that is repeated (kmem.runner)
    numbers = {"B": 14, "S": 19, "V": 7, "P": 6, "T": 6}
    expected = {f"{family}{n}" for family, last in numbers.items() for n in range(1, last + 1)}
    assert expected <= INVARIANTS.keys() | TRIALS.keys() | elsewhere
    assert TRIALS.keys().isdisjoint(INVARIANTS.keys())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("release", releases())
def test_a_machine_at_work_passes_and_does_not_notice(release: str, config: str) -> None:
    import kmem

    with kmem.boot(release=release, config=config, ram="128M", seed=4) as k:
        assert isinstance(k, Kernel)
        kept = [k.kmalloc(size) for size in (8, 64, 100, 1000, 5000) for _ in range(50)]
        for p in kept[::3]:
            k.kfree(p)
        k.vfree(k.vmalloc(50000))
        before, events = k.mm.ram.hash(), k.events.digest()
        assert check_trials(k.mm) == []
        assert (k.mm.ram.hash(), k.events.digest()) == (before, events)


def test_s16_tracks_name_the_last_events() -> None:
    mm = BootedMm("debug", ram=96 * MIB)
    stream, watch = EventStream(mm.core), EventWatch(mm.view)
    stream.listen(watch)
    mm.moment = lambda: (0xFFFFFFFF81234567, 0, 7, 1, 10**9)
    live = [mm.kmalloc(64) for _ in range(10)]
    for obj in live[:5]:
        mm.kfree(obj)
    mm.moment = lambda: (0xFFFFFFFF81765432, 0, 8, 0, 2 * 10**9)
    live = live[5:] + [mm.kmalloc(64) for _ in range(5)]
    stream.drain()
    assert watch.tracks_in_ram() == []
    again = {obj for obj, which in watch.last if which == TRACK_FREE} & set(live)
    assert again
    s = mm.view.ptr(cache(mm)._type, mm.slab_of(live[0]))
    at = min(again) + int(s.inuse) + 8 - 0xFFFF888000000000
    for which in (TRACK_ALLOC, TRACK_FREE):
        kept = bytes(mm.ram.mem[at + 32 * which : at + 32 * which + 8])
        mm.ram.mem[at + 32 * which : at + 32 * which + 8] = bytes(7) + b"\1"
        assert [violation.slug for violation in watch.tracks_in_ram()] == ["S16"]
        mm.ram.mem[at + 32 * which : at + 32 * which + 8] = kept
