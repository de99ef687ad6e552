"""Searches in bitmaps (lib/find_bit.c), 6.1. Each returns the size of the bitmap when nothing is found."""

from __future__ import annotations

from kmem.kapi.bitmap import load, mask
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host


def _first(words: int, size: int, start: int = 0) -> int:
    """The lowest bit of *words* at or above *start*, *size* when none is below it."""
    if start >= size:
        return size
    rest = (words & mask(size)) >> start
    return start + (rest & -rest).bit_length() - 1 if rest else size


@export(faithful)
def _find_first_bit(k: Host, addr: int, size: int) -> int:
    """``unsigned long _find_first_bit(const unsigned long *addr, unsigned long size)``

    lib/find_bit.c, 6.1.
    """
    return _first(load(k, addr, size), size)


@export(faithful)
def _find_first_zero_bit(k: Host, addr: int, size: int) -> int:
    """``unsigned long _find_first_zero_bit(const unsigned long *addr, unsigned long size)``

    lib/find_bit.c, 6.1.
    """
    return _first(~load(k, addr, size), size)


@export(faithful)
def _find_first_and_bit(k: Host, addr1: int, addr2: int, size: int) -> int:
    """``unsigned long _find_first_and_bit(const unsigned long *addr1, const unsigned long *addr2, unsigned long size)``

    lib/find_bit.c, 6.1.
    """
    return _first(load(k, addr1, size) & load(k, addr2, size), size)


@export(faithful)
def _find_next_bit(k: Host, addr: int, nbits: int, start: int) -> int:
    """``unsigned long _find_next_bit(const unsigned long *addr, unsigned long nbits, unsigned long start)``

    lib/find_bit.c, 6.1.
    """
    return _first(load(k, addr, nbits), nbits, start)


@export(faithful)
def _find_next_zero_bit(k: Host, addr: int, nbits: int, start: int) -> int:
    """``unsigned long _find_next_zero_bit(const unsigned long *addr, unsigned long nbits, unsigned long start)``

    lib/find_bit.c, 6.1.
    """
    return _first(~load(k, addr, nbits), nbits, start)


@export(faithful)
def _find_next_and_bit(k: Host, addr1: int, addr2: int, nbits: int, start: int) -> int:
    """``unsigned long _find_next_and_bit(const unsigned long *addr1, const unsigned long *addr2, unsigned long nbits,
    unsigned long start)``

    lib/find_bit.c, 6.1.
    """
    return _first(load(k, addr1, nbits) & load(k, addr2, nbits), nbits, start)


@export(faithful)
def _find_next_andnot_bit(k: Host, addr1: int, addr2: int, nbits: int, start: int) -> int:
    """``unsigned long _find_next_andnot_bit(const unsigned long *addr1, const unsigned long *addr2, unsigned long
    nbits, unsigned long start)``

    lib/find_bit.c, 6.1.
    """
    return _first(load(k, addr1, nbits) & ~load(k, addr2, nbits), nbits, start)


@export(faithful)
def _find_last_bit(k: Host, addr: int, size: int) -> int:
    """``unsigned long _find_last_bit(const unsigned long *addr, unsigned long size)``

    lib/find_bit.c, 6.1.
    """
    words = load(k, addr, size) & mask(size)
    return words.bit_length() - 1 if words else size


@export(faithful)
def __find_nth_bit(k: Host, addr: int, size: int, n: int) -> int:
    """``unsigned long __find_nth_bit(const unsigned long *addr, unsigned long size, unsigned long n)``

    lib/find_bit.c, 6.1. Counted from 0.
    """
    words = load(k, addr, size) & mask(size)
    for _ in range(n):
        words &= words - 1
    return _first(words, size)


@export(faithful)
def find_next_clump8(k: Host, clump: int, addr: int, size: int, offset: int) -> int:
    """``unsigned long find_next_clump8(unsigned long *clump, const unsigned long *addr, unsigned long size,
    unsigned long offset)``

    lib/find_bit.c, 6.1. Stores the next byte, aligned, that has a bit set at or above *offset*; returns its position.
    """
    words = load(k, addr, size)
    found = _first(words, size, offset)
    if found == size:
        return size
    found &= ~7
    k.mem.set_u64(clump, words >> found & 0xFF)
    return found
