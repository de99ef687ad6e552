"""Protobuf's wire format, as much as messages of numbers and texts need (https://protobuf.dev, "Encoding")."""

from __future__ import annotations

VARINT, BYTES = 0, 2
"""Wire types."""


def varint(value: int) -> bytes:
    """*value* in groups of seven bits, the lowest first; negative numbers as 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A message of fields (number, value): numbers as varints, texts and messages with their length."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [varint(number << 3 | VARINT), varint(value)]
        else:
            raw = value.encode() if isinstance(value, str) else value
            parts += [varint(number << 3 | BYTES), varint(len(raw)), raw]
    return b"".join(parts)
