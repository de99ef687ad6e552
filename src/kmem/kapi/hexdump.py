"""Hexadecimal text (lib/hexdump.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import EINVAL
from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host
from kmem.kapi.printf_spec import Spec
from kmem.kapi.string import STRING_LIMIT
from kmem.kapi.vsprintf_pointer import default_pointer

data("hex_asc", 17, b"0123456789abcdef", align=1, doc="Lower-case digits, lib/hexdump.c.")
data("hex_asc_upper", 17, b"0123456789ABCDEF", align=1, doc="Upper-case digits, lib/hexdump.c.")

_DIGITS = b"0123456789abcdefABCDEF"
DUMP_PREFIX_ADDRESS, DUMP_PREFIX_OFFSET = 1, 2


@export(faithful)
def hex_to_bin(k: Host, ch: int) -> int:
    """``int hex_to_bin(unsigned char ch)``

    lib/hexdump.c, 6.1. The digit's value, or -1.
    """
    return int(chr(ch), 16) if ch in _DIGITS else -1


@export(faithful)
def hex2bin(k: Host, dst: int, src: int, count: int) -> int:
    """``int hex2bin(u8 *dst, const char *src, size_t count)``

    lib/hexdump.c, 6.1. Stores the bytes before a bad digit, and returns -EINVAL there.
    """
    for index in range(count):
        high = hex_to_bin(k, k.mem.u8(src + 2 * index))
        low = hex_to_bin(k, k.mem.u8(src + 2 * index + 1)) if high >= 0 else -1
        if low < 0:
            return -EINVAL
        k.mem.set_u8(dst + index, high << 4 | low)
    return 0


@export(faithful)
def bin2hex(k: Host, dst: int, src: int, count: int) -> int:
    """``char *bin2hex(char *dst, const void *src, size_t count)``

    lib/hexdump.c, 6.1. Writes no NUL; returns the end.
    """
    k.mem.write(dst, k.mem.read(src, count).hex().encode())
    return dst + 2 * count


def hex_line(content: bytes, rowsize: int, groupsize: int, ascii: bool) -> bytes:
    """One line of a dump; sizes that the kernel does not take become 16 and 1."""
    rowsize = rowsize if rowsize in (16, 32) else 16
    content = content[:rowsize]
    if groupsize not in (1, 2, 4, 8) or len(content) % groupsize:
        groupsize = 1
    if not content:
        return b""
    groups = (content[at : at + groupsize] for at in range(0, len(content), groupsize))
    line = b" ".join(group[::-1].hex().encode() for group in groups)
    if ascii:
        column = rowsize * 2 + rowsize // groupsize + 1
        line = line.ljust(column) + bytes(c if 0x20 <= c < 0x7F else ord(".") for c in content)
    return line


@export(faithful)
def hex_dump_to_buffer(
    k: Host, buf: int, length: int, rowsize: int, groupsize: int, linebuf: int, linebuflen: int, ascii: bool
) -> int:
    """``int hex_dump_to_buffer(const void *buf, size_t len, int rowsize, int groupsize, char *linebuf, size_t
    linebuflen, bool ascii)``

    lib/hexdump.c, 6.1. Returns the length that a large enough buffer would have got.
    """
    row = rowsize if rowsize in (16, 32) else 16
    content = k.mem.read(buf, min(length, row))
    line = hex_line(content, row, groupsize, ascii)
    if linebuflen:
        k.mem.write(linebuf, line[: linebuflen - 1] + b"\0")
    elif not content:
        # Nothing to print and nowhere to print it: the formula for the length, taken without a group.
        return row * 2 + row // groupsize + 1 if ascii else -1
    return len(line)


@export(faithful)
def print_hex_dump(
    k: Host,
    level: int,
    prefix_str: int,
    prefix_type: int,
    rowsize: int,
    groupsize: int,
    buf: int,
    length: int,
    ascii: bool,
) -> None:
    """``void print_hex_dump(const char *level, const char *prefix_str, int prefix_type, int rowsize, int groupsize,
    const void *buf, size_t len, bool ascii)``

    lib/hexdump.c, 6.1.
    """
    row = rowsize if rowsize in (16, 32) else 16
    head = k.mem.cstr(level, STRING_LIMIT) + k.mem.cstr(prefix_str, STRING_LIMIT)
    for offset in range(0, length, row):
        content = k.mem.read(buf + offset, min(row, length - offset))
        line = hex_line(content, row, groupsize, ascii)
        if prefix_type == DUMP_PREFIX_ADDRESS:
            line = default_pointer(k, buf + offset, Spec()) + b": " + line
        elif prefix_type == DUMP_PREFIX_OFFSET:
            line = b"%08x: " % (offset & 0xFFFFFFFF) + line
        k.log.printk(head + line + b"\n")
