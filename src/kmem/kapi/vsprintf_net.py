"""``%pM``, ``%pI`` and ``%pU``: hardware addresses, internet addresses, UUIDs (lib/vsprintf.c, 6.1)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from kmem.kapi.printf_spec import Spec, error_string, number, string_nocheck

if TYPE_CHECKING:
    from kmem.kapi.host import Host

AF_INET, AF_INET6 = 2, 10


def mac_address(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pM``, ``%pm``: six bytes with colons (F: dashes) or nothing between; R: in reverse order."""
    address = k.mem.read(ptr, 6)
    if suffix[1:2] == b"R":
        address = address[::-1]
    if suffix[:1] == b"m":
        return string_nocheck(address.hex().encode(), spec)
    return string_nocheck(address.hex("-" if suffix[1:2] == b"F" else ":").encode(), spec)


def ip4_string(address: bytes, suffix: bytes) -> bytes:
    """Four decimal numbers; with leading zeros for ``i``; in reverse for the orders ``h`` and ``l``."""
    quads = address[::-1] if suffix[2:3] in (b"h", b"l") else address
    form = b"%03d" if suffix[:1] == b"i" else b"%d"
    return b".".join(form % quad for quad in quads)


def _is_v4_in_v6(address: bytes) -> bool:
    """An IPv4-mapped or an ISATAP address, whose last 32 bits are printed as IPv4."""
    return address[:12] == bytes(10) + b"\xff\xff" or ((address[8] | 2) == 2 and address[9:12] == b"\x00\x5e\xfe")


def ip6_compressed_string(address: bytes) -> bytes:
    """As RFC 5952 says: no leading zeros, the first of the longest runs of zero words as ``::``."""
    with_v4 = _is_v4_in_v6(address)
    words = [int.from_bytes(address[at : at + 2], "big") for at in range(0, 12 if with_v4 else 16, 2)]
    start, longest, at = -1, 1, 0
    for zero, group in groupby(words, key=lambda word: word == 0):
        length = len(list(group))
        if zero and length > longest:
            start, longest = at, length
        at += length
    texts = [b"%x" % word for word in words]
    if with_v4:
        texts.append(ip4_string(address[12:], b"I4"))
    if start < 0:
        return b":".join(texts)
    return b":".join(texts[:start]) + b"::" + b":".join(texts[start + longest :])


def ip6_string(address: bytes, suffix: bytes) -> bytes:
    """Eight words of four hexadecimal digits; without colons for ``i``."""
    words = [address[at : at + 2].hex().encode() for at in range(0, 16, 2)]
    return (b":" if suffix[:1] == b"I" else b"").join(words)


def _socket4(sockaddr: bytes, suffix: bytes, spec: Spec) -> bytes:
    options = suffix[2:]
    order = next((options[at : at + 1] for at in reversed(range(len(options))) if options[at] in b"hlnb"), b"")
    text = ip4_string(sockaddr[4:8], suffix[:1] + b"4" + order)
    if b"p" in options:
        text += b":" + number(int.from_bytes(sockaddr[2:4], "big"), spec)
    return string_nocheck(text, spec)


def _socket6(sockaddr: bytes, suffix: bytes, spec: Spec) -> bytes:
    options = suffix[2:]
    address = sockaddr[8:24]
    compressed = suffix[:1] == b"I" and b"c" in options
    text = ip6_compressed_string(address) if compressed else ip6_string(address, suffix)
    if set(options) & set(b"pfs"):
        text = b"[" + text + b"]"
    if b"p" in options:
        text += b":" + number(int.from_bytes(sockaddr[2:4], "big"), spec)
    if b"f" in options:
        text += b"/" + number(int.from_bytes(sockaddr[4:8], "big") & 0x0FFFFFFF, spec)
    if b"s" in options:
        text += b"%" + number(int.from_bytes(sockaddr[24:28], "little"), spec)
    return string_nocheck(text, spec)


def ip_address(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pI4``, ``%pI6``, ``%pI6c``, ``%pIS`` (a sockaddr) and their raw forms with ``i``."""
    kind = suffix[1:2]
    if kind == b"4":
        return string_nocheck(ip4_string(k.mem.read(ptr, 4), suffix), spec)
    if kind == b"6":
        address = k.mem.read(ptr, 16)
        compressed = suffix[:1] == b"I" and suffix[2:3] == b"c"
        return string_nocheck(ip6_compressed_string(address) if compressed else ip6_string(address, suffix), spec)
    if kind == b"S":
        family = k.mem.u16(ptr)
        if family == AF_INET:
            return _socket4(k.mem.read(ptr, 8), suffix, spec)
        if family == AF_INET6:
            return _socket6(k.mem.read(ptr, 28), suffix, spec)
        return error_string(b"(einval)", spec)
    return error_string(b"(%p" + suffix[:1] + b"?)", spec)


def uuid(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pU``: b and B big-endian, l and L little-endian (a GUID); capitals for B and L."""
    raw = k.mem.read(ptr, 16)
    form = suffix[1:2]
    if form in (b"l", b"L"):
        raw = raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
    text = "-".join(raw[start:end].hex() for start, end in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 16)))
    return string_nocheck((text.upper() if form in (b"B", b"L") else text).encode(), spec)
