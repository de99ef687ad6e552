"""Bitmaps as text (lib/bitmap.c), 6.1: lists of ranges, and hexadecimal words."""

from __future__ import annotations

from dataclasses import dataclass

from kmem.kapi.bitmap import load, mask, set_range, store
from kmem.kapi.ctype import isspace
from kmem.kapi.errno import EINVAL, EOVERFLOW, ERANGE
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.kstrtox import parse_digits
from kmem.kapi.vsprintf_pointer import bitmap_list, bitmap_words

STRING_LIMIT = 1 << 20
_UINT_MAX = (1 << 32) - 1
_DIGITS = b"0123456789abcdefABCDEF"


class _BadList(Exception):
    """A list that cannot be parsed; *error* is the (positive) error number."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error


@dataclass(slots=True)
class _List:
    """A list that is being parsed: ``all``, ``3``, ``2-N``, ``0-31:1/4`` (the first of each four), separated."""

    text: bytes
    bits: int
    at: int = 0
    last: bool = False

    def char(self) -> bytes:
        return self.text[self.at : self.at + 1]

    def is_end(self) -> bool:
        return self.char() in (b"", b"\n")

    def is_separator(self) -> bool:
        char = self.char()
        return char == b"," or (char != b"" and isspace(char[0]))

    def number(self) -> int:
        if self.char() == b"N":
            self.at += 1
            return self.bits - 1
        value, count = parse_digits(self.text[self.at :], 10)
        if not count:
            raise _BadList(EINVAL)
        if value > _UINT_MAX:
            raise _BadList(EOVERFLOW)
        self.at += count
        return value

    def expect(self, char: bytes) -> None:
        if self.char() != char:
            raise _BadList(EINVAL)
        self.at += 1

    def region(self) -> int:
        """The bits of the region at hand."""
        if self.text[self.at : self.at + 3].lower() == b"all":
            self.at += 3
            start, end = 0, self.bits - 1
        else:
            start = end = self.number()
            if self.ends_region():
                return self.ones(start, end, end + 1, end + 1)
            self.expect(b"-")
            end = self.number()
        if self.ends_region():
            return self.ones(start, end, end + 1, end + 1)
        self.expect(b":")
        used = self.number()
        self.expect(b"/")
        return self.ones(start, end, used, self.number())

    def ends_region(self) -> bool:
        """Whether a region may end here; at the end of a line it is the last."""
        self.last = self.is_end()
        return self.last or self.is_separator()

    def ones(self, start: int, end: int, used: int, group: int) -> int:
        if start > end or not group or used > group:
            raise _BadList(EINVAL)
        if end >= self.bits:
            raise _BadList(ERANGE)
        result = 0
        for at in range(start, end + 1, group):
            result |= mask(min(end - at + 1, used)) << at
        return result


@export(faithful)
def bitmap_parselist(k: Host, buf: int, maskp: int, nmaskbits: int) -> int:
    """``int bitmap_parselist(const char *buf, unsigned long *maskp, int nmaskbits)``

    lib/bitmap.c, 6.1. 0, -EINVAL, -ERANGE or -EOVERFLOW; the regions before a bad one stay set.
    """
    todo = _List(k.mem.cstr(buf, STRING_LIMIT), nmaskbits)
    bits = 0
    try:
        while not todo.last:
            while todo.is_separator():
                todo.at += 1
            if todo.is_end():
                break
            bits |= todo.region()
    except _BadList as bad:
        return -bad.error
    finally:
        store(k, maskp, nmaskbits, bits)
    return 0


def _is_separator(c: int) -> bool:
    return c == ord(",") or isspace(c)


def _word_before(text: bytes, end: int) -> tuple[int, int]:
    """The hexadecimal word that ends before *end*, or a negative error; and where it begins.

    A ninth digit is an overflow; any other character in front of eight digits is taken for a separator.
    """
    start = end
    while start and not _is_separator(text[start - 1]) and end - start < 8:
        start -= 1
        if text[start] not in _DIGITS:
            return -EINVAL, start
    if start and end - start == 8 and not _is_separator(text[start - 1]):
        if text[start - 1] in _DIGITS:
            return -EOVERFLOW, start
        return int(text[start:end], 16), start - 1
    return int(text[start:end], 16), start


@export(faithful)
def bitmap_parse(k: Host, start: int, buflen: int, maskp: int, nmaskbits: int) -> int:
    """``int bitmap_parse(const char *start, unsigned int buflen, unsigned long *maskp, int nmaskbits)``

    lib/bitmap.c, 6.1. Hexadecimal words of 32 bits, the highest first, to the end of the line. 0, -EINVAL or
    -EOVERFLOW.
    """
    text = (k.mem.cstr(start, min(buflen, STRING_LIMIT)) if buflen else b"").partition(b"\n")[0]
    room, chunk, end = -(-nmaskbits // 32), 0, len(text)
    while True:
        while end and _is_separator(text[end - 1]):
            end -= 1
        if not end:
            break
        if chunk == room:
            return -EOVERFLOW
        word, end = _word_before(text, end)
        if word < 0:
            return word
        k.mem.set_u32(maskp + 4 * chunk, word)
        chunk += 1
    if 32 * chunk < nmaskbits:
        set_range(k, maskp, 32 * chunk, nmaskbits - 32 * chunk, ones=False)
        return 0
    last = k.mem.u32(maskp + 4 * (chunk - 1)) if chunk else 0
    return -EOVERFLOW if last >> (nmaskbits - 32 * (chunk - 1)) else 0


def _print(k: Host, text: str, buf: int, off: int, count: int) -> int:
    """``memory_read_from_buffer()`` of *text* with its NUL."""
    content = text.encode() + b"\n\0"
    if off < 0:
        return -EINVAL
    part = content[off : off + count]
    k.mem.write(buf, part)
    return len(part)


@export(faithful)
def bitmap_print_bitmask_to_buf(k: Host, buf: int, maskp: int, nmaskbits: int, off: int, count: int) -> int:
    """``int bitmap_print_bitmask_to_buf(char *buf, const unsigned long *maskp, int nmaskbits, loff_t off,
    size_t count)``

    lib/bitmap.c, 6.1. *count* bytes from *off* on of the words, a newline and a NUL; how many were stored.
    """
    return _print(k, bitmap_words(load(k, maskp, nmaskbits) & mask(nmaskbits), nmaskbits), buf, off, count)


@export(faithful)
def bitmap_print_list_to_buf(k: Host, buf: int, maskp: int, nmaskbits: int, off: int, count: int) -> int:
    """``int bitmap_print_list_to_buf(char *buf, const unsigned long *maskp, int nmaskbits, loff_t off, size_t count)``

    lib/bitmap.c, 6.1. The same of the ranges.
    """
    return _print(k, bitmap_list(load(k, maskp, nmaskbits) & mask(nmaskbits)), buf, off, count)
