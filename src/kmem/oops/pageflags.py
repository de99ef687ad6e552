"""Page flags by the kernel release that printed them: enum pageflags, whose bits moved four times before 4.20.

Kernels since 3.0 print the names behind the mask (``flags: 0x100000000000(head)``); older ones, and pastes that lost
the names, have the mask alone. Only the low bits have one meaning in every configuration of a release: those above
``PG_reclaim`` depend on it and are left out.
"""

from __future__ import annotations

_2_6_9 = "locked error referenced uptodate dirty lru active slab highmem checked arch_1 reserved private writeback"
_2_6_14 = "locked error referenced uptodate dirty lru active slab checked arch_1 reserved private writeback"
_2_6_26 = "locked error referenced uptodate dirty lru active slab owner_priv_1 arch_1 reserved private"
_4_10 = "locked error referenced uptodate dirty lru active waiters slab owner_priv_1 arch_1 reserved private private_2"
_4_20 = (
    "locked referenced uptodate dirty lru active workingset waiters error slab owner_priv_1 arch_1 reserved private "
    "private_2 writeback head mappedtodisk reclaim"
)
_ERAS = (((2, 14), _2_6_9), ((2, 26), _2_6_14), ((4, 10), _2_6_26), ((4, 20), _4_10), ((6, 6), _4_20))


def names(mask: int, version: tuple[int, int]) -> str:
    """The known low bits of *mask* by name, with ``|`` between; empty when the release is unknown or none is set."""
    table = next((table for before, table in _ERAS if version < before), "") if version != (0, 0) else ""
    return "|".join(name for bit, name in enumerate(table.split()) if mask >> bit & 1)
