"""A mask with a name means the same on every release; a plain integer is taken as it is."""

from __future__ import annotations

import pickle

import pytest

import kmem
from kmem.abi import gfp
from kmem.kernel import Kernel
from kmem.mm.stream import Event

ATOMIC = {"6.1": 0xA20, "6.12": 0x820}
NOWAIT = {"6.1": 0x800, "6.12": 0x2800}


class Ear:
    """Remembers the masks of events."""

    def __init__(self) -> None:
        self.masks: list[int] = []

    def __call__(self, event: Event) -> None:
        self.masks.append(event.gfp)


def masks(k: Kernel, call: object) -> set[int]:
    """The masks of the events since the last look."""
    ear = Ear()
    k.events.listen(ear)
    call()  # type: ignore[operator]
    k.drain()
    return set(ear.masks) - {0}


@pytest.mark.parametrize("release", ["6.1", "6.12"])
def test_names_are_resolved_by_the_machine(release: str) -> None:
    with kmem.boot(release=release, ram="128M") as k:
        text = k.kstrdup("text", kmem.GFP_KERNEL)
        assert masks(k, lambda: k.kmalloc(64, kmem.GFP_ATOMIC)) == {ATOMIC[release]}
        assert masks(k, lambda: k.kmalloc(64, gfp=kmem.GFP_NOWAIT)) == {NOWAIT[release]}
        assert masks(k, lambda: k.kmemdup(text, 4, kmem.GFP_ATOMIC)) == {ATOMIC[release]}
        assert masks(k, lambda: k.alloc_pages(kmem.GFP_ATOMIC | kmem.GFP_DMA, 0)) == {ATOMIC[release] | 1}
        assert masks(k, lambda: k.kmalloc(64, kmem.GFP_ATOMIC | gfp.__GFP_ZERO)) == {ATOMIC[release] | 0x100}


@pytest.mark.parametrize("release", ["6.1", "6.12"])
def test_integers_are_taken_as_they_are(release: str) -> None:
    with kmem.boot(release=release, ram="128M") as k:
        assert masks(k, lambda: k.kmalloc(64, 0x800)) == {0x800}


def test_a_mask_is_a_number_that_knows_its_names() -> None:
    mask = kmem.GFP_ATOMIC | 0x100
    assert mask == 0xB20
    assert repr(mask) == "GFP_ATOMIC|0x100"
    assert mask.bits("6.12") == 0x920
    assert pickle.loads(pickle.dumps(mask)).bits("6.12") == 0x920
    assert repr(0x100 | kmem.GFP_KERNEL) == "GFP_KERNEL|0x100"
