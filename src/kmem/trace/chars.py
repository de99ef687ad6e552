"""Characters, compiled: finding them 64 at a time, and numbers of which eight digits are read at once.

What is searched has an end; what is read ends with a character that is no part of it. Behind all text there are
:data:`BEHIND` bytes that may be read, and before it :data:`BEFORE`.
"""

from __future__ import annotations

from kmem.lib.host import get8, get64, matches
from kmem.lib.jit import always_inline, ctz, fls64, lshr, mul64, noinline, shl

BEFORE, BEHIND = 64, 128
SPACE, HASHMARK, OPEN, CLOSE, COLON, DOT, EQUALS, PAREN, NEWLINE, SLASH, MINUS = (
    *(32, 35, 91, 93, 58, 46, 61, 40, 10, 47, 45),
)
TOPS, BELOW = -0x7F7F7F7F7F7F7F80, 0x7F7F7F7F7F7F7F7F
"""The highest bit of each of eight bytes, and the others."""
ONES, FOURS, SPACES, ZEROS, LETTERS = (
    *(0x0101010101010101, 0x0F0F0F0F0F0F0F0F, 0x2020202020202020, 0x3030303030303030, 0x6060606060606060),
)
OVER_0, OVER_6, OVER_9 = 0x7F7F7F7F7F7F7F7F, 0x7979797979797979, 0x7676767676767676
"""Added to bytes below 0x80, these set the highest bit of those that are more."""
MOST = 0xFFFFFFFFFFFFFFF


@always_inline
def find(p: int, end: int, c: int) -> int:
    """The first place from *p* of the character *c*, or *end*."""
    while p < end:
        found = matches(p, c)
        if found:
            p += ctz(found)
            break
        p += 64
    return min(p, end)


@always_inline
def skip_spaces(p: int) -> int:
    """The first place from *p* that is no space and no tab."""
    while True:
        other = get64(p) ^ SPACES
        if other == 0:
            p += 8
        else:
            p += ctz(other) >> 3
            if get8(p) != 9:
                return p
            p += 1


@always_inline
def before_spaces(p: int) -> int:
    """Where the spaces before *p* begin."""
    while get64(p - 8) == SPACES:
        p -= 8
    return p - (64 - fls64(get64(p - 8) ^ SPACES) >> 3)


@always_inline
def digit(c: int) -> bool:
    """Whether *c* is 0 to 9."""
    return 48 <= c <= 57


@always_inline
def no_digits(word: int) -> int:
    """The highest bit of each of eight characters that is no decimal digit."""
    x = word ^ ZEROS
    return ((x & BELOW) + OVER_9 | x) & TOPS


@always_inline
def no_hexadecimals(word: int) -> int:
    """The highest bit of each of eight characters that is no hexadecimal digit."""
    x = (word | SPACES) ^ LETTERS
    below = x & BELOW
    return no_digits(word) & (below + OVER_6 | ~(below + OVER_0) | x)


@always_inline
def first(word: int, n: int) -> int:
    """The first *n* of eight characters, fewer than eight, behind zeros."""
    return shl(shl(word, 8), 56 - 8 * n)


@always_inline
def of_digits(x: int) -> int:
    """The number of eight decimal digits, 0 to 9 each."""
    x = lshr(mul64(x, 2561), 8) & 0x00FF00FF00FF00FF
    x = lshr(mul64(x, 6553601), 16) & 0x0000FFFF0000FFFF
    return lshr(mul64(x, 42949672960001), 32)


@always_inline
def of_hexadecimals(word: int) -> int:
    """The number of eight hexadecimal digits; zeros are none."""
    x = (word & FOURS) + 9 * (lshr(word, 6) & ONES)
    x = (x << 4 | lshr(x, 8)) & 0x00FF00FF00FF00FF
    x = (x << 8 | lshr(x, 16)) & 0x0000FFFF0000FFFF
    return (shl(x, 16) | lshr(x, 32)) & 0xFFFFFFFF


@noinline
def long_decimal(p: int) -> int:
    """The number of which the digits begin at *p*, as many as there are."""
    value = 0
    while digit(get8(p)):
        value = (value * 10 + get8(p) - 48) & MOST
        p += 1
    return value


@always_inline
def digits(p: int) -> int:
    """How many digits there are at *p*; eight may be more."""
    return ctz(no_digits(get64(p))) >> 3


@always_inline
def decimal(p: int) -> int:
    """The number of which the digits begin at *p*, 0 if there are none."""
    n = digits(p)
    if n == 8:
        return long_decimal(p)
    return of_digits(first(get64(p) ^ ZEROS, n))


@always_inline
def signed(p: int) -> int:
    """The number at *p*, with its sign."""
    return -decimal(p + 1) if get8(p) == MINUS else decimal(p)


@noinline
def long_decimal_before(p: int) -> int:
    """The number of which the digits end before *p*."""
    while digit(get8(p - 1)):
        p -= 1
    return long_decimal(p)


@always_inline
def decimal_before(p: int) -> int:
    """The number of which the digits end before *p*; there is one at least."""
    word = get64(p - 8)
    others = no_digits(word)
    if others == 0:
        return long_decimal_before(p)
    return of_digits((word ^ ZEROS) & shl(-1, fls64(others)))


@always_inline
def hexadecimal(p: int) -> int:
    """The number of which up to 16 hexadecimal digits begin at *p*, ``0x`` before them or not."""
    if get8(p) == 48 and get8(p + 1) == 120:
        p += 2
    word = get64(p)
    n = ctz(no_hexadecimals(word)) >> 3
    if n < 8:
        return of_hexadecimals(first(word, n))
    high = of_hexadecimals(word)
    word = get64(p + 8)
    n = ctz(no_hexadecimals(word)) >> 3
    if n < 8:
        return shl(high, 4 * n) | of_hexadecimals(first(word, n))
    return shl(high, 32) | of_hexadecimals(word)
