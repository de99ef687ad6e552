"""Addresses, reduced to the region of the x86-64 address space that they lie in (without KASLR)."""

from __future__ import annotations

PAGE = 4096
PAGE_STRUCT = 64
PAGE_OFFSET = 0xFFFF_8880_0000_0000
VMEMMAP = 0xFFFF_EA00_0000_0000
HUGE_PAGE = 2 << 20

REGIONS = {
    "direct map": (PAGE_OFFSET, 0xFFFF_C880_0000_0000),
    "vmalloc": (0xFFFF_C900_0000_0000, 0xFFFF_E900_0000_0000),
    "vmemmap": (VMEMMAP, 0xFFFF_EB00_0000_0000),
    "modules": (0xFFFF_FFFF_A000_0000, 0xFFFF_FFFF_FF00_0000),
}
"""The module area starts at 0xffffffffc0000000 where the kernel image may move, below that where it may not."""


def region(address: int) -> str:
    """Return the name of the region, ``NULL``, or ``none``."""
    if address == 0:
        return "NULL"
    return next((name for name, (start, end) in REGIONS.items() if start <= address < end), "none")


def yes(condition: bool) -> str:
    """Return a fact that is or is not so."""
    return "yes" if condition else "no"
