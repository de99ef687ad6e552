"""SipHash-2-4 of one 64-bit word (lib/siphash.c), which turns pointers into the identifiers that ``%p`` prints."""

from __future__ import annotations

from functools import lru_cache

_MASK = (1 << 64) - 1


def sip_round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    """One round of SipHash."""
    v0 = (v0 + v1) & _MASK
    v1 = (v1 << 13 | v1 >> 51) & _MASK ^ v0
    v0 = (v0 << 32 | v0 >> 32) & _MASK
    v2 = (v2 + v3) & _MASK
    v3 = (v3 << 16 | v3 >> 48) & _MASK ^ v2
    v0 = (v0 + v3) & _MASK
    v3 = (v3 << 21 | v3 >> 43) & _MASK ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = (v1 << 17 | v1 >> 47) & _MASK ^ v2
    v2 = (v2 << 32 | v2 >> 32) & _MASK
    return v0, v1, v2, v3


@lru_cache(maxsize=4096)
def siphash_1u64(first: int, key: tuple[int, int]) -> int:
    """The 64-bit hash of the unsigned 64-bit *first* under *key*."""
    v0 = 0x736F6D6570736575 ^ key[0]
    v1 = 0x646F72616E646F6D ^ key[1]
    v2 = 0x6C7967656E657261 ^ key[0]
    v3 = 0x7465646279746573 ^ key[1]
    for word in (first, 8 << 56):
        v3 ^= word
        v0, v1, v2, v3 = sip_round(*sip_round(v0, v1, v2, v3))
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(4):
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3
