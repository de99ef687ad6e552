"""Cryptographic helpers of the kernel's libraries (lib/crypto, crypto/algapi.c), 6.1: these do compute."""

from __future__ import annotations

import struct

from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host

MASK32 = 0xFFFFFFFF


@export(faithful)
def __crypto_memneq(k: Host, a: int, b: int, size: int) -> int:
    """``unsigned long __crypto_memneq(const void *a, const void *b, size_t size)``

    lib/crypto/memneq.c, 6.1. Not 0 if they differ.
    """
    return int(k.mem.read(a, size) != k.mem.read(b, size)) if size else 0


@export(faithful)
def __crypto_xor(k: Host, dst: int, src1: int, src2: int, size: int) -> None:
    """``void __crypto_xor(u8 *dst, const u8 *src1, const u8 *src2, unsigned int len)``

    lib/crypto/utils.c, 6.1.
    """
    if size:
        first, second = k.mem.read(src1, size), k.mem.read(src2, size)
        k.mem.write(dst, bytes(a ^ b for a, b in zip(first, second, strict=True)))


def _quarter(x: list[int], a: int, b: int, c: int, d: int) -> None:
    for one, two, three, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[one] = x[one] + x[two] & MASK32
        mixed = x[three] ^ x[one]
        x[three] = (mixed << shift | mixed >> 32 - shift) & MASK32


def _permute(state: list[int], rounds: int) -> list[int]:
    x = list(state)
    for _ in range(0, rounds, 2):
        for column in range(4):
            _quarter(x, column, column + 4, column + 8, column + 12)
        for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            _quarter(x, a, b, c, d)
    return x


def _state(k: Host, state: int) -> list[int]:
    return list(struct.unpack("<16I", k.mem.read(state, 64)))


@export(faithful)
def chacha_block_generic(k: Host, state: int, stream: int, nrounds: int) -> None:
    """``void chacha_block_generic(u32 *state, u8 *stream, int nrounds)``

    lib/crypto/chacha.c, 6.1. 64 bytes of key stream; the block counter goes on.
    """
    words = _state(k, state)
    mixed = _permute(words, nrounds)
    k.mem.write(stream, struct.pack("<16I", *(a + b & MASK32 for a, b in zip(words, mixed, strict=True))))
    k.mem.set_u32(state + 48, words[12] + 1 & MASK32)


@export(faithful)
def hchacha_block_generic(k: Host, state: int, out: int, nrounds: int) -> None:
    """``void hchacha_block_generic(const u32 *state, u32 *out, int nrounds)``

    lib/crypto/chacha.c, 6.1.
    """
    mixed = _permute(_state(k, state), nrounds)
    k.mem.write(out, struct.pack("<8I", *mixed[:4], *mixed[12:]))


@export(simplified("runs at once"))
def async_schedule_node(k: Host, func: int, data: int, node: int) -> Guest:
    """``u64 async_schedule_node(void *func, void *data, int node)``

    kernel/async.c, 6.1. The cookie of the call.
    """
    yield Call(func, (data, 1))
    return 1
