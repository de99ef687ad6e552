"""Keyed hashes of short inputs (lib/siphash.c), 6.1: SipHash-2-4 with 64 bits, and what a 64-bit kernel calls hsiphash,
SipHash-1-3 of which 32 bits are taken.
"""

from __future__ import annotations

from collections.abc import Callable

from kmem.kapi.export import export, faithful, family
from kmem.kapi.host import Host
from kmem.kapi.siphash import sip_round

_MASK = (1 << 64) - 1
_TEXT = "lib/siphash.c, 6.1."


def siphash(data: bytes, key: tuple[int, int], compression: int = 2, finalization: int = 4) -> int:
    """The hash of *data* with so many rounds for a word and at the end."""
    v = (
        0x736F6D6570736575 ^ key[0],
        0x646F72616E646F6D ^ key[1],
        0x6C7967656E657261 ^ key[0],
        0x7465646279746573 ^ key[1],
    )
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v = (v[0], v[1], v[2], v[3] ^ word)
        for _ in range(compression):
            v = sip_round(*v)
        v = (v[0] ^ word, v[1], v[2], v[3])
    v = (v[0], v[1], v[2] ^ 0xFF, v[3])
    for _ in range(finalization):
        v = sip_round(*v)
    return (v[0] ^ v[1] ^ v[2] ^ v[3]) & _MASK


def _key(k: Host, key: int) -> tuple[int, int]:
    return k.mem.u64(key), k.mem.u64(key + 8)


@export(faithful)
def __siphash_unaligned(k: Host, data: int, len_: int, key: int) -> int:
    """``u64 __siphash_unaligned(const void *data, size_t len, const siphash_key_t *key)``

    lib/siphash.c, 6.1.
    """
    return siphash(k.mem.read(data, len_) if len_ else b"", _key(k, key))


@export(faithful)
def __hsiphash_unaligned(k: Host, data: int, len_: int, key: int) -> int:
    """``u32 __hsiphash_unaligned(const void *data, size_t len, const hsiphash_key_t *key)``

    lib/siphash.c, 6.1.
    """
    return siphash(k.mem.read(data, len_) if len_ else b"", _key(k, key), 1, 3) & 0xFFFFFFFF


def _words(size: int, short: bool) -> Callable[..., int]:
    """A handler that hashes its numbers of *size* bytes; the last argument is the key."""

    def handler(k: Host, *args: int) -> int:
        data = b"".join(value.to_bytes(size, "little") for value in args[:-1])
        key = _key(k, args[-1])
        return siphash(data, key, 1, 3) & 0xFFFFFFFF if short else siphash(data, key)

    return handler


for _bits, _counts in ((64, (1, 2, 3, 4)), (32, (1, 3))):
    for _count in _counts:
        _args = ", ".join(f"const u{_bits} {name}" for name in ("first", "second", "third", "forth")[:_count])
        _prototype = f"u64 siphash_{_count}u{_bits}({_args}, const siphash_key_t *key)"
        family(faithful, _prototype, _TEXT, _words(_bits // 8, False))
for _count in (1, 2, 3, 4):
    _args = ", ".join(f"const u32 {name}" for name in ("first", "second", "third", "forth")[:_count])
    family(faithful, f"u32 hsiphash_{_count}u32({_args}, const hsiphash_key_t *key)", _TEXT, _words(4, True))
