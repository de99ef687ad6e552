"""Character classes (lib/ctype.c): the exported table `_ctype` and Python predicates that agree with it."""

from __future__ import annotations

from kmem.kapi.export import data

U, L, D, C, P, S, X, SP = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
"""Upper, lower, digit, control, punctuation, white space, hexadecimal letter, the space itself (linux/ctype.h)."""


def _class(c: int) -> int:
    char = bytes([c])
    if c < 0x80:
        if char.isdigit():
            return D
        if char.isalpha():
            return (U if char.isupper() else L) | (X if char in b"abcdefABCDEF" else 0)
        if char == b" ":
            return S | SP
        return P if 0x20 < c < 0x7F else C | (S if 9 <= c <= 13 else 0)
    if c < 0xA0:
        return 0
    if c == 0xA0:
        return S | SP
    if c < 0xC0 or c in (0xD7, 0xF7):
        return P
    return U if c < 0xDF else L


CTYPE = bytes(map(_class, range(256)))
"""The classes of each byte; ISO 8859-1 letters count as letters."""

data("_ctype", 256, CTYPE, align=1, doc="Character classes, lib/ctype.c.")

_SPACES = frozenset(c for c in range(256) if CTYPE[c] & S)
_ALNUM = frozenset(c for c in range(256) if CTYPE[c] & (U | L | D))


def isspace(c: int) -> bool:
    """``isspace()``."""
    return c in _SPACES


def isalnum(c: int) -> bool:
    """``isalnum()``."""
    return c in _ALNUM


def isprint(c: int) -> bool:
    """``isprint()``."""
    return CTYPE[c] & (P | U | L | D | SP) != 0


def tolower(c: int) -> int:
    """``tolower()``."""
    return c + 32 if CTYPE[c] & U else c


def lstrip(text: bytes) -> bytes:
    """*text* without leading white space (``skip_spaces()``)."""
    start = 0
    while start < len(text) and text[start] in _SPACES:
        start += 1
    return text[start:]
