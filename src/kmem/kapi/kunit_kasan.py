"""What a test of KASAN itself asks for (mm/kasan/report.c, 6.1): every report, and a word to the test that made it."""

from __future__ import annotations

from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host

KINDS = frozenset(("out-of-bounds", "use-after-free", "double-free", "invalid-free", "mismatched-free"))
"""What KASAN reports."""

data("kasan_multi_shot", 8, doc="Whether every report is made (``KASAN_BIT_MULTI_SHOT``).", private=True)


def multi_shot(k: Host) -> bool:
    """Whether every report is to be made."""
    return k.symbols.placed("kasan_multi_shot") and bool(k.mem.u64(k.address_of("kasan_multi_shot")))


@export(faithful)
def kasan_save_enable_multi_shot(k: Host) -> bool:
    """``bool kasan_save_enable_multi_shot(void)``

    mm/kasan/report.c, 6.1. Whether it was on before.
    """
    at = k.address_of("kasan_multi_shot")
    before = bool(k.mem.u64(at))
    k.mem.set_u64(at, 1)
    return before


@export(faithful)
def kasan_restore_multi_shot(k: Host, enabled: bool) -> None:
    """``void kasan_restore_multi_shot(bool enabled)``

    mm/kasan/report.c, 6.1.
    """
    if not enabled:
        k.mem.set_u64(k.address_of("kasan_multi_shot"), 0)


def reported(k: Host) -> None:
    """``update_kunit_status()``: the test that runs is told of a report, if it has a resource "kasan_status"."""
    test = k.mem.u64(k.address_of("kunit_current")) if k.symbols.placed("kunit_current") else 0
    if test:
        from kmem.kapi.kunit import named_resource, resource

        found = named_resource(k, test, b"kasan_status")
        if found:
            k.mem.set_u8(k.mem.u64(resource(k, found, "data")), 1)
