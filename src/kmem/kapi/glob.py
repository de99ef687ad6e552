"""Shell-style patterns (lib/glob.c), 6.1."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

_STAR, _ANY, _OPEN, _CLOSE, _NOT, _RANGE, _ESCAPE = b"*?[]!-\\"


def _class(pattern: bytes, at: int, char: int) -> tuple[bool, int] | None:
    """Whether *char* is in the class that begins behind ``[``, and where it ends; None if it does not end."""
    inverted = pattern[at : at + 1] == b"!"
    at += inverted
    start, found = at, False
    while True:
        if at >= len(pattern):
            return None
        low = high = pattern[at]
        if low == _CLOSE and at != start:
            return found != inverted, at + 1
        at += 1
        if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in (b"]", b""):
            high, at = pattern[at + 1], at + 2
        found |= low <= char <= high


def glob(pattern: bytes, text: bytes) -> bool:
    """Whether all of *text* matches *pattern*: ``*``, ``?``, ``[a-z]``, ``[!a-z]`` and a backslash that quotes."""
    p = t = 0
    back: tuple[int, int] | None = None
    while True:
        if p < len(pattern) and pattern[p] == _STAR:
            p += 1
            back = (p, t)
            continue
        if t >= len(text):
            return p >= len(pattern)
        char, matches = text[t], False
        if p < len(pattern):
            c, following = pattern[p], p + 1
            if c == _ANY:
                matches = True
            elif c == _OPEN and (one := _class(pattern, p + 1, char)) is not None:
                matches, following = one
            else:
                if c == _ESCAPE and following < len(pattern):
                    c, following = pattern[following], following + 1
                matches = c == char
            if matches:
                p, t = following, t + 1
                continue
        if back is None:
            return False
        p, t = back[0], back[1] + 1
        back = (p, t)


@export(faithful)
def glob_match(k: Host, pat: int, str_: int) -> bool:
    """``bool glob_match(char const *pat, char const *str)``

    lib/glob.c, 6.1.
    """
    return glob(k.mem.cstr(pat, 1 << 16), k.mem.cstr(str_, 1 << 16))
