"""lib/string_helpers.c, 6.1: escaping, trimming, lookup in string tables, sizes for people."""

from __future__ import annotations

import re

from kmem.abi.gfp import __GFP_ZERO
from kmem.kapi.ctype import isprint, isspace
from kmem.kapi.errno import E2BIG, EINVAL
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.string import STRING_LIMIT, strscpy

ESCAPE_SPACE, ESCAPE_SPECIAL, ESCAPE_NULL, ESCAPE_OCTAL, ESCAPE_NP, ESCAPE_HEX = 1, 2, 4, 8, 16, 32
ESCAPE_NA, ESCAPE_NAP, ESCAPE_APPEND = 64, 128, 256
ESCAPE_ANY = ESCAPE_SPACE | ESCAPE_OCTAL | ESCAPE_SPECIAL | ESCAPE_NULL
ESCAPE_ANY_NP = ESCAPE_ANY | ESCAPE_NP

_SPACE = {10: b"\\n", 13: b"\\r", 9: b"\\t", 11: b"\\v", 12: b"\\f"}
_SPECIAL = {92: b"\\\\", 7: b"\\a", 27: b"\\e", 34: b'\\"'}
_LETTERS = {
    ord("a"): ESCAPE_ANY,
    ord("c"): ESCAPE_SPECIAL,
    ord("h"): ESCAPE_HEX,
    ord("n"): ESCAPE_NULL,
    ord("o"): ESCAPE_OCTAL,
    ord("p"): ESCAPE_NP,
    ord("s"): ESCAPE_SPACE,
}


def escape_flags(letters: bytes) -> int:
    """The flags that ``%pE`` takes from the letters behind it; all but printable characters when there are none."""
    flags = 0
    for letter in letters:
        if letter not in _LETTERS:
            break
        flags |= _LETTERS[letter]
    return flags or ESCAPE_ANY_NP


def _escape(c: int, flags: int, only: bytes) -> bytes:
    plain = bytes([c])
    # C looks with strchr(), which finds the NUL that ends the set.
    in_dict = bool(only) and (c in only or not c)
    if only and not (flags & ESCAPE_APPEND or in_dict):
        return plain
    if not (flags & ESCAPE_APPEND and in_dict):
        ascii_char = c < 0x80
        if (
            (flags & ESCAPE_NAP and ascii_char and isprint(c))
            or (flags & ESCAPE_NP and isprint(c))
            or (flags & ESCAPE_NA and ascii_char)
        ):
            return plain
    if flags & ESCAPE_SPACE and c in _SPACE:
        return _SPACE[c]
    if flags & ESCAPE_SPECIAL and c in _SPECIAL:
        return _SPECIAL[c]
    if flags & ESCAPE_NULL and not c:
        return b"\\0"
    if flags & ESCAPE_OCTAL:
        return b"\\%03o" % c
    return b"\\x%02x" % c if flags & ESCAPE_HEX else plain


def string_escape(text: bytes, flags: int, only: bytes = b"") -> bytes:
    """All of *text* escaped by *flags*; with *only*, no other characters than those in it."""
    return b"".join(_escape(c, flags, only) for c in text)


@export(faithful)
def string_escape_mem(k: Host, src: int, isz: int, dst: int, osz: int, flags: int, only: int) -> int:
    """``int string_escape_mem(const char *src, size_t isz, char *dst, size_t osz, unsigned int flags, const char
    *only)``

    lib/string_helpers.c, 6.1. Stores what fits, without a NUL; returns the length of all.
    """
    text = string_escape(k.mem.read(src, isz), flags, k.mem.cstr(only, STRING_LIMIT) if only else b"")
    k.mem.write(dst, text[:osz])
    return len(text)


UNESCAPE_SPACE, UNESCAPE_OCTAL, UNESCAPE_HEX, UNESCAPE_SPECIAL = 1, 2, 4, 8
_OCTAL = re.compile(rb"[0-3][0-7]{0,2}|[4-7][0-7]?")
_HEXADECIMAL = re.compile(rb"x([0-9a-fA-F]{1,2})")
_UNSPACE = {sequence[1]: char for char, sequence in _SPACE.items()}
_UNSPECIAL = {sequence[1]: char for char, sequence in _SPECIAL.items()}


def _unescape(rest: bytes, flags: int) -> tuple[int, int] | None:
    """The character that *rest*, what follows a backslash, stands for, and its length; None when it is no escape."""
    if flags & UNESCAPE_SPACE and rest[0] in _UNSPACE:
        return _UNSPACE[rest[0]], 1
    octal = _OCTAL.match(rest) if flags & UNESCAPE_OCTAL else None
    if octal:
        return int(octal[0], 8), octal.end()
    hexadecimal = _HEXADECIMAL.match(rest) if flags & UNESCAPE_HEX else None
    if hexadecimal:
        return int(hexadecimal[1], 16), hexadecimal.end()
    if flags & UNESCAPE_SPECIAL and rest[0] in _UNSPECIAL:
        return _UNSPECIAL[rest[0]], 1
    return None


@export(faithful)
def string_unescape(k: Host, src: int, dst: int, size: int, flags: int) -> int:
    """``int string_unescape(char *src, char *dst, size_t size, unsigned int flags)``

    lib/string_helpers.c, 6.1. The length of what was stored; *size* 0 is no limit.
    """
    text = k.mem.cstr(src, STRING_LIMIT)
    room = (size or 1 << 64) - 1
    out = bytearray()
    at = 0
    while at < len(text) and room:
        if text[at] == 92 and at + 1 < len(text) and room > 1:
            at += 1
            room -= 1
            found = _unescape(text[at:], flags)
            if found:
                out.append(found[0])
                at += found[1]
                room -= 1
                continue
            out.append(92)
        out.append(text[at])
        at += 1
        room -= 1
    k.mem.write(dst, bytes(out) + b"\0")
    return len(out)


@export(faithful)
def skip_spaces(k: Host, str: int) -> int:
    """``char *skip_spaces(const char *str)``

    lib/string_helpers.c, 6.1.
    """
    while isspace(k.mem.u8(str)):
        str += 1
    return str


@export(faithful)
def strim(k: Host, s: int) -> int:
    """``char *strim(char *s)``

    lib/string_helpers.c, 6.1. Cuts white space at the end in place; returns where the text begins.
    """
    text = k.mem.cstr(s, STRING_LIMIT)
    end = len(text)
    if not end:
        return s
    while end and isspace(text[end - 1]):
        end -= 1
    k.mem.set_u8(s + end, 0)
    return skip_spaces(k, s)


def _sysfs_equal(a: bytes, b: bytes) -> bool:
    return a == b or a == b + b"\n" or b == a + b"\n"


@export(faithful)
def sysfs_streq(k: Host, s1: int, s2: int) -> bool:
    """``bool sysfs_streq(const char *s1, const char *s2)``

    lib/string_helpers.c, 6.1. Equality that ignores one final newline.
    """
    return _sysfs_equal(k.mem.cstr(s1, STRING_LIMIT), k.mem.cstr(s2, STRING_LIMIT))


def _table(k: Host, array: int, n: int) -> list[bytes]:
    """The strings of a guest table of at most *n* (as an unsigned number), which NULL ends."""
    items: list[bytes] = []
    while len(items) < n:
        item = k.mem.u64(array + 8 * len(items))
        if not item:
            break
        items.append(k.mem.cstr(item, STRING_LIMIT))
    return items


@export(faithful)
def match_string(k: Host, array: int, n: int, string: int) -> int:
    """``int match_string(const char * const *array, size_t n, const char *string)``

    lib/string_helpers.c, 6.1. Index or -EINVAL; *n* is (size_t)-1 for a table that ends in NULL.
    """
    wanted = k.mem.cstr(string, STRING_LIMIT)
    return next((index for index, item in enumerate(_table(k, array, n)) if item == wanted), -EINVAL)


@export(faithful)
def __sysfs_match_string(k: Host, array: int, n: int, str: int) -> int:
    """``int __sysfs_match_string(const char * const *array, size_t n, const char *str)``

    lib/string_helpers.c, 6.1.
    """
    wanted = k.mem.cstr(str, STRING_LIMIT)
    return next((index for index, item in enumerate(_table(k, array, n)) if _sysfs_equal(item, wanted)), -EINVAL)


@export(faithful)
def strreplace(k: Host, s: int, old: int, new: int) -> int:
    """``char *strreplace(char *s, char old, char new)``

    lib/string_helpers.c, 6.1. Returns the address of the final NUL.
    """
    text = k.mem.cstr(s, STRING_LIMIT)
    k.mem.write(s, text.replace(bytes([old & 0xFF]), bytes([new & 0xFF])))
    return s + len(text)


@export(faithful)
def memcpy_and_pad(k: Host, dest: int, dest_len: int, src: int, count: int, pad: int) -> None:
    """``void memcpy_and_pad(void *dest, size_t dest_len, const void *src, size_t count, int pad)``

    lib/string_helpers.c, 6.1.
    """
    k.mem.write(dest, k.mem.read(src, min(count, dest_len)).ljust(dest_len, bytes([pad & 0xFF])))


@export(faithful)
def strscpy_pad(k: Host, dest: int, src: int, count: int) -> int:
    """``ssize_t strscpy_pad(char *dest, const char *src, size_t count)``

    lib/string_helpers.c, 6.1. As strscpy(), and zeroes the rest of *dest*.
    """
    written: int = strscpy(k, dest, src, count)
    if written != -E2BIG and written < count - 1:
        k.mem.fill(dest + written + 1, 0, count - written - 1)
    return written


_UNITS = (
    ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"),
    ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"),
)


def size_text(size: int, blk_size: int, units: int) -> str:
    """*size* blocks of *blk_size* bytes to three digits: units 0 are powers of 1000, 1 of 1024."""
    divisor = 1024 if units else 1000
    exponent, text = 0, ""
    if not blk_size:
        size = 0
    if size:
        while blk_size >> 32:
            blk_size //= divisor
            exponent += 1
        while size >> 32:
            size //= divisor
            exponent += 1
        size *= blk_size
        remainder = 0
        while size >= divisor:
            size, remainder = divmod(size, divisor)
            exponent += 1
        places = 0 if size >= 100 else 1 if size >= 10 else 2
        if units:
            remainder = remainder * 1000 >> 10
        remainder += (500, 50, 5)[places]
        if remainder >= 1000:
            remainder -= 1000
            size += 1
        if places:
            text = f".{remainder:03}"[: places + 1]
    unit = _UNITS[units][exponent] if exponent < 9 else "UNK"
    return f"{size & 0xFFFFFFFF}{text} {unit}"


@export(faithful)
def string_get_size(k: Host, size: int, blk_size: int, units: int, buf: int, length: int) -> None:
    """``void string_get_size(u64 size, u64 blk_size, const enum string_size_units units, char *buf, int len)``

    lib/string_helpers.c, 6.1.
    """
    if length > 0:
        k.mem.write(buf, size_text(size, blk_size, units).encode()[: length - 1] + b"\0")


@export(faithful)
def kfree_strarray(k: Host, array: int, n: int) -> None:
    """``void kfree_strarray(char **array, size_t n)``

    lib/string_helpers.c, 6.1. NULL is allowed.
    """
    if array:
        for index in range(n):
            k.mm.kfree(k.mem.u64(array + 8 * index))
        k.mm.kfree(array)


@export(faithful)
def kasprintf_strarray(k: Host, gfp: int, prefix: int, n: int) -> int:
    """``char **kasprintf_strarray(gfp_t gfp, const char *prefix, size_t n)``

    lib/string_helpers.c, 6.1. An array of *n* strings ``prefix-0``, ``prefix-1`` …, and NULL behind them.
    """
    names = k.mm.kmalloc(8 * (n + 1), gfp | __GFP_ZERO, caller=k.caller)
    if not names:
        return 0
    text = k.mem.cstr(prefix)
    for index in range(n):
        name = b"%s-%d\0" % (text, index)
        p = k.mm.kmalloc(len(name), gfp, caller=k.caller)
        if not p:
            kfree_strarray(k, names, index)
            return 0
        k.mem.write(p, name)
        k.mem.set_u64(names + 8 * index, p)
    return names
