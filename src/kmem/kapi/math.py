"""Integer arithmetic (lib/math, lib/cmdline.c), 6.1."""

from __future__ import annotations

from math import gcd as _gcd
from math import isqrt

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.kstrtox import STRING_LIMIT, simple_strntoull

_MASK64 = (1 << 64) - 1


@export(faithful)
def gcd(k: Host, a: int, b: int) -> int:
    """``unsigned long gcd(unsigned long a, unsigned long b)``

    lib/math/gcd.c, 6.1.
    """
    return _gcd(a, b)


@export(faithful)
def lcm(k: Host, a: int, b: int) -> int:
    """``unsigned long lcm(unsigned long a, unsigned long b)``

    lib/math/lcm.c, 6.1. 0 if one of them is 0.
    """
    return a // _gcd(a, b) * b if a and b else 0


@export(faithful)
def lcm_not_zero(k: Host, a: int, b: int) -> int:
    """``unsigned long lcm_not_zero(unsigned long a, unsigned long b)``

    lib/math/lcm.c, 6.1. If one of them is 0, the other.
    """
    return (lcm(k, a, b) & _MASK64) or b or a


@export(faithful)
def int_sqrt(k: Host, x: int) -> int:
    """``unsigned long int_sqrt(unsigned long x)``

    lib/math/int_sqrt.c, 6.1. Rounded down.
    """
    return isqrt(x)


@export(faithful)
def int_pow(k: Host, base: int, exp: int) -> int:
    """``u64 int_pow(u64 base, unsigned int exp)``

    lib/math/int_pow.c, 6.1. Modulo 2**64.
    """
    return pow(base, exp, 1 << 64)


@export(faithful)
def iter_div_u64_rem(k: Host, dividend: int, divisor: int, remainder: int) -> int:
    """``u32 iter_div_u64_rem(u64 dividend, u32 divisor, u64 *remainder)``

    lib/math/div64.c, 6.1.
    """
    quotient, rest = divmod(dividend, divisor)
    k.mem.set_u64(remainder, rest)
    return quotient


@export(faithful)
def rational_best_approximation(
    k: Host,
    given_numerator: int,
    given_denominator: int,
    max_numerator: int,
    max_denominator: int,
    best_numerator: int,
    best_denominator: int,
) -> None:
    """``void rational_best_approximation(unsigned long given_numerator, unsigned long given_denominator,
    unsigned long max_numerator, unsigned long max_denominator, unsigned long *best_numerator,
    unsigned long *best_denominator)``

    lib/math/rational.c, 6.1. By continued fractions.
    """
    n, d = given_numerator, given_denominator
    before, best = (0, 1), (1, 0)
    while d:
        term, rest = divmod(n, d)
        following = before[0] + term * best[0], before[1] + term * best[1]
        if following[0] > max_numerator or following[1] > max_denominator:
            room = [(max_denominator - before[1]) // best[1]] if best[1] else []
            room += [(max_numerator - before[0]) // best[0]] if best[0] else []
            t = min(room)
            # The semi-convergent is taken if it is closer than the convergent before it.
            if not best[1] or 2 * t > term or (2 * t == term and before[1] * d > best[1] * rest):
                best = before[0] + t * best[0], before[1] + t * best[1]
            break
        before, best = best, following
        n, d = d, rest
    k.mem.set_u64(best_numerator, best[0])
    k.mem.set_u64(best_denominator, best[1])


@export(faithful)
def memparse(k: Host, ptr: int, retptr: int) -> int:
    """``unsigned long long memparse(const char *ptr, char **retptr)``

    lib/cmdline.c, 6.1. A number with one of the suffixes K M G T P E.
    """
    text = k.mem.cstr(ptr, STRING_LIMIT)
    value, used = simple_strntoull(text, 0)
    suffix = text[used : used + 1].upper()
    if suffix and suffix in b"KMGTPE":
        value <<= 10 * (b"KMGTPE".index(suffix) + 1)
        used += 1
    if retptr:
        k.mem.set_u64(retptr, ptr + used)
    return value
