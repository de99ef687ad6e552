"""Hashes of names (fs/namei.c, x86-64: a word at a time), 6.1."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

GOLDEN_RATIO_64 = 0x61C8864680B583EB
_MASK = (1 << 64) - 1


def _rotate(x: int, n: int) -> int:
    return (x << n | x >> 64 - n) & _MASK


def hash_name(salt: int, name: bytes) -> int:
    """The 32-bit hash of *name*, and of nothing behind it, salted with a pointer."""
    x, y = 0, salt
    whole = len(name) & ~7
    for at in range(0, whole, 8):
        x ^= int.from_bytes(name[at : at + 8], "little")
        y ^= x
        x = (_rotate(x, 12) + y) & _MASK
        y = _rotate(y, 45) * 9 & _MASK
    x ^= int.from_bytes(name[whole:], "little")
    y = (y ^ x * GOLDEN_RATIO_64) * GOLDEN_RATIO_64 & _MASK
    return y >> 32


@export(faithful)
def full_name_hash(k: Host, salt: int, name: int, len_: int) -> int:
    """``unsigned int full_name_hash(const void *salt, const char *name, unsigned int len)``

    fs/namei.c, 6.1.
    """
    return hash_name(salt, k.mem.read(name, len_) if len_ else b"")


@export(faithful)
def hashlen_string(k: Host, salt: int, name: int) -> int:
    """``u64 hashlen_string(const void *salt, const char *name)``

    fs/namei.c, 6.1. The length in the upper half, the hash in the lower.
    """
    text = k.mem.cstr(name, 1 << 20)
    return len(text) << 32 | hash_name(salt, text)
