"""Simple patterns of options, as ``size=%u`` (lib/parser.c), 6.1.

A ``struct match_token`` is {int token, const char *pattern}, a ``substring_t`` {char *from, *to}.
"""

from __future__ import annotations

import re

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.errno import EINVAL, ERANGE
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

MAX_OPT_ARGS = 3
_TOKEN, _SUBSTRING = 16, 16
_SPECIFIER = re.compile(rb"%(\d*)(.?)", re.DOTALL)
_NUMBERS = {
    b"d": re.compile(rb"-?(0[xX][0-9a-fA-F]+|\d+)"),
    b"u": re.compile(rb"0[xX][0-9a-fA-F]+|\d+"),
    b"o": re.compile(rb"[0-7]+"),
    b"x": re.compile(rb"(0[xX])?[0-9a-fA-F]+"),
}


def match_one(text: bytes, pattern: bytes) -> list[tuple[int, int]] | None:
    """Whether *text* is of *pattern*: where its arguments begin and end, or None."""
    found: list[tuple[int, int]] = []
    place = 0
    while specifier := _SPECIFIER.search(pattern):
        before = pattern[: specifier.start()]
        if not text.startswith(before, place):
            return None
        place += len(before)
        width, kind = specifier.groups()
        pattern = pattern[specifier.end() :]
        if kind == b"%" and not width:
            if text[place : place + 1] != b"%":
                return None
            place += 1
            continue
        if len(found) >= MAX_OPT_ARGS:
            return None
        if kind == b"s":
            end = min(place + int(width), len(text)) if width else len(text)
        else:
            number = _NUMBERS[kind].match(text, place) if kind in _NUMBERS else None
            end = number.end() if number else place
        if end == place:
            return None
        found.append((place, end))
        place = end
    return found if text[place:] == pattern else None


@export(faithful)
def match_token(k: Host, s: int, table: int, args: int) -> int:
    """``int match_token(char *s, const match_table_t table, substring_t args[])``

    lib/parser.c, 6.1. The token of the first pattern that *s* is of; its arguments' places go to *args*.
    """
    text = k.mem.cstr(s)
    while pattern := k.mem.u64(table + 8):
        found = match_one(text, k.mem.cstr(pattern))
        if found is not None:
            for number, place in enumerate(found):
                for end, where in enumerate(place):
                    k.mem.set_u64(args + _SUBSTRING * number + 8 * end, s + where)
            break
        table += _TOKEN
    return k.mem.s32(table)


def _text(k: Host, s: int) -> bytes:
    start = k.mem.u64(s)
    return k.mem.read(start, k.mem.u64(s + 8) - start)


def _number(k: Host, s: int, result: int, base: int) -> int:
    text = _text(k, s).decode("latin-1")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if base == 0:
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[:1] == "0" else 10
    if base == 16 and digits[:2].lower() == "0x":
        digits = digits[2:]
    try:
        value = sign * int(digits, base)
    except ValueError:
        return -EINVAL
    if "_" in digits or digits.strip() != digits or digits[:1] in "+-":
        return -EINVAL
    if not -(1 << 31) <= value < 1 << 31:
        return -ERANGE
    k.mem.set_u32(result, value & 0xFFFFFFFF)
    return 0


@export(faithful)
def match_int(k: Host, s: int, result: int) -> int:
    """``int match_int(substring_t *s, int *result)``

    lib/parser.c, 6.1. -EINVAL, -ERANGE.
    """
    return _number(k, s, result, 0)


@export(faithful)
def match_octal(k: Host, s: int, result: int) -> int:
    """``int match_octal(substring_t *s, int *result)``

    lib/parser.c, 6.1. -EINVAL, -ERANGE.
    """
    return _number(k, s, result, 8)


@export(faithful)
def match_hex(k: Host, s: int, result: int) -> int:
    """``int match_hex(substring_t *s, int *result)``

    lib/parser.c, 6.1. -EINVAL, -ERANGE.
    """
    return _number(k, s, result, 16)


@export(faithful)
def match_strlcpy(k: Host, dest: int, src: int, size: int) -> int:
    """``size_t match_strlcpy(char *dest, const substring_t *src, size_t size)``

    lib/parser.c, 6.1. The length of the whole argument.
    """
    text = _text(k, src)
    if size:
        k.mem.write(dest, text[: size - 1] + b"\0")
    return len(text)


@export(faithful)
def match_strdup(k: Host, s: int) -> int:
    """``char *match_strdup(const substring_t *s)``

    lib/parser.c, 6.1. A copy for kfree(); NULL without memory.
    """
    text = _text(k, s)
    copy = k.mm.kmalloc(len(text) + 1, GFP_KERNEL, -1, k.caller)
    if copy:
        k.mem.write(copy, text + b"\0")
    return copy
