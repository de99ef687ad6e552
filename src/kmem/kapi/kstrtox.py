"""Strings to integers (lib/kstrtox.c, lib/vsprintf.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import EINVAL, ERANGE
from kmem.kapi.export import export, faithful, family
from kmem.kapi.host import Host

_HEX = b"0123456789abcdefABCDEF"
STRING_LIMIT = 1 << 20


def fixup_radix(s: bytes, base: int) -> tuple[int, int]:
    """The base that *s* asks for (with *base* 0: 0x, 0, else decimal) and the length of its 0x prefix."""
    prefixed = s[:1] == b"0" and s[1:2] in (b"x", b"X")
    if base == 0:
        if s[:1] != b"0":
            return 10, 0
        base = 16 if prefixed and s[2:3] and s[2] in _HEX else 8
    return base, 2 if base == 16 and prefixed else 0


def parse_digits(s: bytes, base: int, limit: int = 1 << 31) -> tuple[int, int]:
    """The value of the leading digits of *s*, at most *limit*, unbounded; and how many there are."""
    value = count = 0
    for c in s[:limit]:
        digit = int(chr(c), 16) if c in _HEX else base
        if digit >= base:
            break
        value = value * base + digit
        count += 1
    return value, count


def parse_int(s: bytes, base: int, bits: int, signed: bool) -> tuple[int, int]:
    """(0, value) of the whole string *s*, one final newline allowed; (-EINVAL, 0) or (-ERANGE, 0). The kstrto*
    family."""
    negative = signed and s[:1] == b"-"
    if negative or s[:1] == b"+":
        s = s[1:]
    base, prefix = fixup_radix(s, base)
    s = s[prefix:]
    value, count = parse_digits(s, base)
    # Too large for 64 bits is told before junk behind the digits, too large for the type after it.
    if value >> 64:
        return -ERANGE, 0
    if not count or s[count:] not in (b"", b"\n"):
        return -EINVAL, 0
    if negative:
        value = -value
    top = 1 << (bits - signed)
    if not (-top if signed else 0) <= value < top:
        return -ERANGE, 0
    return 0, value


def parse_bool(s: bytes) -> bool | None:
    """What `kstrtobool` makes of *s*; None for no truth value."""
    first, two = s[:1].lower(), s[:2].lower()
    if first in (b"y", b"t", b"1") or two == b"on":
        return True
    if first in (b"n", b"f", b"0") or two == b"of":
        return False
    return None


def _declare_kstrto(name: str, ctype: str, bits: int, signed: bool) -> None:
    def kstrto(k: Host, s: int, base: int, res: int) -> int:
        error, value = parse_int(k.mem.cstr(s, STRING_LIMIT), base, bits, signed)
        if not error:
            k.mem.write(res, (value & ((1 << bits) - 1)).to_bytes(bits // 8, "little"))
        return error

    prototype = f"int {name}(const char *s, unsigned int base, {ctype} *res)"
    family(faithful, prototype, "lib/kstrtox.c, 6.1. 0, -EINVAL or -ERANGE.", kstrto)


for _row in (
    ("kstrtoull", "unsigned long long", 64, False),
    ("kstrtoll", "long long", 64, True),
    ("kstrtouint", "unsigned int", 32, False),
    ("kstrtoint", "int", 32, True),
    ("kstrtou16", "u16", 16, False),
    ("kstrtos16", "s16", 16, True),
    ("kstrtou8", "u8", 8, False),
    ("kstrtos8", "s8", 8, True),
):
    _declare_kstrto(*_row)


@export(faithful)
def kstrtobool(k: Host, s: int, res: int) -> int:
    """``int kstrtobool(const char *s, bool *res)``

    lib/kstrtox.c, 6.1. Looks at one or two characters: y t 1 on, n f 0 of.
    """
    value = parse_bool(k.mem.cstr(s, 2)) if s else None
    if value is None:
        return -EINVAL
    k.mem.set_u8(res, value)
    return 0


def simple_strntoull(s: bytes, base: int, limit: int = (1 << 31) - 1) -> tuple[int, int]:
    """Value modulo 2**64 and number of characters taken, at most *limit* (lib/vsprintf.c)."""
    base, prefix = fixup_radix(s, base)
    if prefix >= limit:
        return 0, limit
    value, count = parse_digits(s[prefix:], base, limit - prefix)
    return value & ((1 << 64) - 1), prefix + count


def simple_strntoll(s: bytes, base: int, limit: int = (1 << 31) - 1) -> tuple[int, int]:
    """As `simple_strntoull`, with a leading minus sign."""
    if s[:1] == b"-" and limit > 0:
        value, count = simple_strntoull(s[1:], base, limit - 1)
        return -value & ((1 << 64) - 1), 1 + count
    return simple_strntoull(s, base, limit)


def _simple(k: Host, cp: int, endp: int, base: int, signed: bool) -> int:
    s = k.mem.cstr(cp, STRING_LIMIT)
    value, count = simple_strntoll(s, base) if signed else simple_strntoull(s, base)
    if endp:
        k.mem.set_u64(endp, cp + count)
    return value


@export(faithful)
def simple_strtoull(k: Host, cp: int, endp: int, base: int) -> int:
    """``unsigned long long simple_strtoull(const char *cp, char **endp, unsigned int base)``

    lib/vsprintf.c, 6.1. Overflow wraps; no digits give 0.
    """
    return _simple(k, cp, endp, base, False)


@export(faithful)
def simple_strtoul(k: Host, cp: int, endp: int, base: int) -> int:
    """``unsigned long simple_strtoul(const char *cp, char **endp, unsigned int base)``

    lib/vsprintf.c, 6.1.
    """
    return _simple(k, cp, endp, base, False)


@export(faithful)
def simple_strtol(k: Host, cp: int, endp: int, base: int) -> int:
    """``long simple_strtol(const char *cp, char **endp, unsigned int base)``

    lib/vsprintf.c, 6.1.
    """
    return _simple(k, cp, endp, base, True)


@export(faithful)
def simple_strtoll(k: Host, cp: int, endp: int, base: int) -> int:
    """``long long simple_strtoll(const char *cp, char **endp, unsigned int base)``

    lib/vsprintf.c, 6.1.
    """
    return _simple(k, cp, endp, base, True)
