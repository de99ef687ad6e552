"""The loops that are measured, in the model's own language: compiled beside the model, calls cost no crossing.

The same loops in C are in ``loops.h``; they draw the same numbers, so both make the same sequence of calls.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import GFP_KERNEL
from kmem.lib.jit import entry, jit, load64, lshr, shl, store64
from kmem.mm.kmalloc import kfree, kmalloc_node
from kmem.mm.mmzone import kernel


@jit
def xorshift(x: int) -> int:
    """The next number of a sequence that C draws too."""
    x ^= shl(x, 13)
    x ^= lshr(x, 7)
    return x ^ shl(x, 17)


@entry
def loop_pairs(ram: Any, count: int, size: int) -> int:
    """*count* times kmalloc and kfree of one size; the sum of the addresses."""
    k = kernel(ram)
    total = 0
    for _ in range(count):
        p = kmalloc_node(k, size, GFP_KERNEL, -1)
        total += p & 0xFFFF
        kfree(k, p)
    return total


@entry
def loop_live(ram: Any, count: int, slots: int, live: int, largest: int) -> int:
    """*count* times: a random one of *live* objects, held at *slots*, is freed and another of random size takes its
    place.
    """
    k = kernel(ram)
    x = 88172645463325252
    failed = 0
    for _ in range(count):
        x = xorshift(x)
        slot = slots + 8 * ((lshr(x, 32) * live) >> 32)
        size = 1 + (((x & 0xFFFFFFFF) * largest) >> 32)
        kfree(k, load64(k, slot))
        p = kmalloc_node(k, size, GFP_KERNEL, -1)
        if not p:
            failed += 1
        store64(k, slot, p)
    return failed
