"""Bob Jenkins' hash (linux/jhash.h), 6.1: what hash tables take if nobody names another."""

from __future__ import annotations

from collections.abc import Sequence

U32 = (1 << 32) - 1
INITVAL = 0xDEADBEEF
_MIX = ((0, 2, 1, 4), (1, 0, 2, 6), (2, 1, 0, 8), (0, 2, 1, 16), (1, 0, 2, 19), (2, 1, 0, 4))
"""Of a word, the one that it is mixed with, the one that is added to that, and by how much it is rotated."""
_FINAL = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))


def _rol(word: int, shift: int) -> int:
    return (word << shift | word >> 32 - shift) & U32


def _hash(words: Sequence[int], length: int, initval: int) -> int:
    """Of *words*, the last three at most, and if there are any the last step goes over them."""
    state = [INITVAL + length + initval & U32] * 3
    at = 0
    while len(words) - at > 3:
        for number in range(3):
            state[number] = state[number] + words[at + number] & U32
        for number, other, added, shift in _MIX:
            state[number] = state[number] - state[other] & U32 ^ _rol(state[other], shift)
            state[other] = state[other] + state[added] & U32
        at += 3
    if at < len(words):
        for number, word in enumerate(words[at:]):
            state[number] = state[number] + word & U32
        for number, other, shift in _FINAL:
            state[number] = (state[number] ^ state[other]) - _rol(state[other], shift) & U32
    return state[2]


def jhash(key: bytes, initval: int) -> int:
    """``u32 jhash(const void *key, u32 length, u32 initval)``."""
    padded = key + b"\0" * (-len(key) % 4)
    return _hash([int.from_bytes(padded[at : at + 4], "little") for at in range(0, len(padded), 4)], len(key), initval)
