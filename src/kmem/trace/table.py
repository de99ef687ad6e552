"""Hash tables in host memory for compiled code: keys of 64 bits that are not 0, entries of a fixed number of words.

A table is an array of entries, the key first; a power of two of them, at most half of them used.
"""

from __future__ import annotations

from kmem.lib.host import get64, prefetch, put64
from kmem.lib.jit import always_inline, lshr, mul64

GOLDEN = -7046029254386353131


@always_inline
def home(key: int, mask: int) -> int:
    """Where the search for *key* begins."""
    return lshr(mul64(key, GOLDEN), 24) & mask


@always_inline
def soon(table: int, mask: int, width: int, key: int) -> None:
    """The entry of *key* is needed soon."""
    prefetch(table + home(key, mask) * width)


@always_inline
def seek(table: int, mask: int, width: int, key: int) -> int:
    """The address of the entry of *key*, or of the empty one where it belongs."""
    slot = home(key, mask)
    while True:
        e = table + slot * width
        found = get64(e)
        if found in (key, 0):
            return e
        slot = (slot + 1) & mask


@always_inline
def remove(table: int, mask: int, width: int, e: int) -> None:
    """Take out the entry at *e*; entries that it stood in the way of move up."""
    hole = (e - table) // width
    slot = (hole + 1) & mask
    while True:
        there = table + slot * width
        key = get64(there)
        if key == 0:
            break
        if ((slot - home(key, mask)) & mask) >= ((slot - hole) & mask):
            to = table + hole * width
            for i in range(0, width, 8):
                put64(to + i, get64(there + i))
            hole = slot
        slot = (slot + 1) & mask
    put64(table + hole * width, 0)


@always_inline
def move_all(old: int, old_mask: int, new: int, mask: int, width: int) -> int:
    """Put the entries of *old* into the empty table *new*; how many."""
    count = 0
    for slot in range(old_mask + 1):
        e = old + slot * width
        if get64(e):
            to = seek(new, mask, width, get64(e))
            for i in range(0, width, 8):
                put64(to + i, get64(e + i))
            count += 1
    return count
