"""The symbol table inside a kernel image: names and addresses as /proc/kallsyms of that kernel shows them (no KASLR).

A vmlinux is stripped, but with CONFIG_KALLSYMS it carries the table that the kernel itself uses for call traces
(scripts/kallsyms.c): addresses relative to a base, and names compressed with a table of 256 tokens. It has no header,
so it is found by the token table, in which every digit stands for itself.
"""

from __future__ import annotations

import re
import struct as packing
from bisect import bisect_right
from dataclasses import dataclass

from kmem.errors import InputError

_START_KERNEL_MAP = 0xFFFFFFFF80000000
_DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_REMEDY = "give a vmlinux or vmlinuz of a kernel with CONFIG_KALLSYMS and CONFIG_KALLSYMS_BASE_RELATIVE"


@dataclass(frozen=True, slots=True)
class ImageSymbol:
    """One symbol: `kind` is nm's letter, `size` the distance to the next address, as call traces print it."""

    name: str
    kind: str
    address: int
    size: int


def read_symbols(image: bytes) -> list[ImageSymbol]:
    """All symbols of a decompressed ELF vmlinux, in address order. Raises InputError when it has no table."""
    table, tokens = _find_tokens(image)
    num_syms_at, count = _find_num_syms(image, table)
    names, _ = _read_names(image, num_syms_at + 8, count, tokens)
    base, offsets = _find_addresses(image, num_syms_at, count, _align(table + sum(len(token) + 1 for token in tokens)))
    # CONFIG_KALLSYMS_ABSOLUTE_PERCPU: offsets that are not negative are absolute values.
    addresses = [value if value >= 0 else base - 1 - value for value in offsets]
    ordered = sorted(set(addresses))
    symbols = []
    for address, name in sorted(zip(addresses, names, strict=True), key=lambda pair: pair[0]):
        after = bisect_right(ordered, address)
        size = ordered[after] - address if after < len(ordered) else 0
        symbols.append(ImageSymbol(name[1:], name[0], address, size))
    return symbols


def _find_addresses(image: bytes, num_syms_at: int, count: int, token_index: int) -> tuple[int, tuple[int, ...]]:
    """kallsyms_relative_base and kallsyms_offsets: before kallsyms_num_syms, or, later, behind the token index."""
    (base,) = packing.unpack_from("<Q", image, num_syms_at - 8)
    at = num_syms_at - 8 - _align(count * 4)
    if base < _START_KERNEL_MAP:
        at = token_index + 512
        (base,) = packing.unpack_from("<Q", image, at + _align(count * 4))
    if base < _START_KERNEL_MAP:
        raise InputError("the kernel image has no kallsyms addresses", remedy=_REMEDY)
    return base, packing.unpack_from(f"<{count}i", image, at)


def _align(offset: int) -> int:
    """Every table starts at a multiple of 8 bytes."""
    return (offset + 7) & ~7


def _find_tokens(image: bytes) -> tuple[int, list[bytes]]:
    """File offset of kallsyms_token_table, and the 256 tokens."""
    for match in re.finditer(re.escape(_DIGITS), image):
        for start in range(match.start() & ~7, max(match.start() - 4096, 0), -8):
            tokens = image[start : start + 8192].split(b"\0", 256)[:256]
            if len(tokens) != 256 or tokens[48:58] != [b"%d" % digit for digit in range(10)]:
                continue
            length = sum(len(token) + 1 for token in tokens)
            if start + _align(length) + 512 > len(image):
                continue
            index = packing.unpack_from("<256H", image, start + _align(length))
            if index[0] == 0 and index[255] == length - len(tokens[255]) - 1:
                return start, tokens
    raise InputError("the kernel image has no kallsyms token table", remedy=_REMEDY)


def _find_num_syms(image: bytes, token_table: int) -> tuple[int, int]:
    """File offset and value of kallsyms_num_syms, which the names follow.

    The right place is the one whose 256th name ends where kallsyms_markers says.
    """
    for at in range(token_table - 8, max(token_table - (16 << 20), 0), -8):
        (count,) = packing.unpack_from("<Q", image, at)
        if not 1000 < count < 1_000_000:
            continue
        _, end = _read_names(image, at + 8, 256, None)
        markers = packing.pack("<II", 0, end - (at + 8))
        if image.find(markers, end, token_table) >= 0:
            return at, count
    raise InputError("the kernel image has no kallsyms names", remedy=_REMEDY)


def _read_names(image: bytes, at: int, count: int, tokens: list[bytes] | None) -> tuple[list[str], int]:
    """`count` names from file offset `at` (none without `tokens`), and the offset behind them.

    Bytes that are no names may lead behind the end of the image; then fewer are read.
    """
    names = []
    for _ in range(count):
        if at + 1 >= len(image):
            break
        length = image[at]
        at += 1
        if length & 0x80:
            length = length & 0x7F | image[at] << 7
            at += 1
        if tokens is not None:
            names.append(b"".join([tokens[token] for token in image[at : at + length]]).decode("ascii"))
        at += length
    return names, at
