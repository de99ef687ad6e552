"""Checksums and bit reversal (lib/crc32.c, lib/crc-ccitt.c, lib/bitrev.c), 6.1."""

from __future__ import annotations

import struct
from binascii import crc32

from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host

_MASK32 = 0xFFFFFFFF


def _table(polynomial: int, *, reflected: bool) -> list[int]:
    """The 256 remainders of a 16-bit CRC."""
    table: list[int] = []
    for byte in range(256):
        crc = byte if reflected else byte << 8
        for _ in range(8):
            if reflected:
                crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
            else:
                crc = crc << 1 ^ (polynomial if crc & 0x8000 else 0)
        table.append(crc & 0xFFFF)
    return table


_CCITT = _table(0x8408, reflected=True)
_CCITT_FALSE = _table(0x1021, reflected=False)

data(
    "byte_rev_table",
    256,
    bytes(int(f"{c:08b}"[::-1], 2) for c in range(256)),
    align=1,
    doc="Bytes reversed, lib/bitrev.c.",
)
data("crc_ccitt_table", 512, struct.pack("<256H", *_CCITT), align=2, doc="Reflected CRC-CCITT, lib/crc-ccitt.c.")
data("crc_ccitt_false_table", 512, struct.pack("<256H", *_CCITT_FALSE), align=2, doc="CRC-CCITT, lib/crc-ccitt.c.")


@export(faithful)
def crc32_le(k: Host, crc: int, p: int, len_: int) -> int:
    """``u32 crc32_le(u32 crc, unsigned char const *p, size_t len)``

    lib/crc32.c, 6.1. Neither the start value nor the result is inverted.
    """
    return crc32(k.mem.read(p, len_), crc ^ _MASK32) ^ _MASK32 if len_ else crc


@export(faithful)
def crc32_be(k: Host, crc: int, p: int, len_: int) -> int:
    """``u32 crc32_be(u32 crc, unsigned char const *p, size_t len)``

    lib/crc32.c, 6.1. The most significant bit first.
    """
    for byte in k.mem.read(p, len_) if len_ else b"":
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & _MASK32
    return crc


@export(faithful)
def crc_ccitt(k: Host, crc: int, buffer: int, len_: int) -> int:
    """``u16 crc_ccitt(u16 crc, u8 const *buffer, size_t len)``

    lib/crc-ccitt.c, 6.1. Reflected, polynomial 0x8408.
    """
    for byte in k.mem.read(buffer, len_) if len_ else b"":
        crc = crc >> 8 ^ _CCITT[(crc ^ byte) & 0xFF]
    return crc


@export(faithful)
def crc_ccitt_false(k: Host, crc: int, buffer: int, len_: int) -> int:
    """``u16 crc_ccitt_false(u16 crc, u8 const *buffer, size_t len)``

    lib/crc-ccitt.c, 6.1. Polynomial 0x1021.
    """
    for byte in k.mem.read(buffer, len_) if len_ else b"":
        crc = (crc << 8 & 0xFFFF) ^ _CCITT_FALSE[crc >> 8 ^ byte]
    return crc


_CASTAGNOLI = [0] * 256
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    _CASTAGNOLI[_byte] = _crc


@export(faithful)
def __crc32c_le(k: Host, crc: int, p: int, len_: int) -> int:
    """``u32 __crc32c_le(u32 crc, unsigned char const *p, size_t len)``

    lib/crc32.c, 6.1. Neither the start value nor the result is inverted.
    """
    for byte in k.mem.read(p, len_) if len_ else b"":
        crc = crc >> 8 ^ _CASTAGNOLI[(crc ^ byte) & 0xFF]
    return crc


def _multiply(x: int, y: int, polynomial: int) -> int:
    """The product of two reflected remainders."""
    product = x if y & 1 else 0
    for bit in range(31):
        product = product >> 1 ^ (polynomial if product & 1 else 0)
        product ^= x if y >> bit + 1 & 1 else 0
    return product


def _shift(crc: int, len_: int, polynomial: int) -> int:
    """*crc* behind *len_* more zero bytes."""
    power = 0x80000000  # 1, times x**8 for each byte
    base = 0x00800000
    while len_:
        if len_ & 1:
            power = _multiply(power, base, polynomial)
        base, len_ = _multiply(base, base, polynomial), len_ >> 1
    return _multiply(crc, power, polynomial)


@export(faithful)
def crc32_le_shift(k: Host, crc: int, len_: int) -> int:
    """``u32 crc32_le_shift(u32 crc, size_t len)``

    lib/crc32.c, 6.1. As *len_* more zero bytes would change *crc*.
    """
    return _shift(crc, len_, 0xEDB88320)


@export(faithful)
def __crc32c_le_shift(k: Host, crc: int, len_: int) -> int:
    """``u32 __crc32c_le_shift(u32 crc, size_t len)``

    lib/crc32.c, 6.1.
    """
    return _shift(crc, len_, 0x82F63B78)
