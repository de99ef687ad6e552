"""Errors of slabs that a KUnit test counts instead of having them printed (mm/slub.c, CONFIG_KUNIT), 6.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmem.kernel import Kernel


def counted(k: Kernel) -> bool:
    """``slab_add_kunit_errors()``: one more for the test that runs now, if it counts."""
    if not k.symbols.placed("kunit_current"):
        return False
    from kmem.kapi.kunit import named_resource, resource

    test = k.mem.u64(k.address_of("kunit_current"))
    found = named_resource(k, test, b"slab_errors") if test else 0
    if not found:
        return False
    counter = k.mem.u64(resource(k, found, "data"))
    k.mem.set_u32(counter, k.mem.u32(counter) + 1 & 0xFFFFFFFF)
    return True
