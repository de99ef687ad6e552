"""Conversions of lib/vsprintf.c that need no kernel: the format string, numbers, and padding.

A format is parsed once into directives. Output is built whole; the callers in `kmem.kapi.sprintf` cut it to the
buffer, which gives the same bytes as the kernel's bounded writing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from kmem.kapi.ctype import isalnum
from kmem.kapi.errno import is_err

SIGN, LEFT, PLUS, SPACE, ZEROPAD, SMALL, SPECIAL = 1, 2, 4, 8, 16, 32, 64
"""Flags of a conversion, as in lib/vsprintf.c."""

NONE = -1
"""A field width or precision that is not given."""

STAR = -(1 << 31)
"""A field width or precision that is the next argument (``*``)."""

PAGE_SIZE = 4096
POINTER_WIDTH = 16
"""Hexadecimal digits of a pointer."""

FIELD_WIDTH_MAX = (1 << 23) - 1
PRECISION_MAX = (1 << 15) - 1


class Spec(NamedTuple):
    """How one value is to be printed (``struct printf_spec``)."""

    width: int = NONE
    precision: int = NONE
    flags: int = 0
    base: int = 10


class Directive(NamedTuple):
    """One piece of a format.

    *conversion* is ``literal`` (print *text*), ``c``, ``s``, ``p`` (*text* is what follows: the alphanumeric suffix),
    ``int`` (*text* is the length modifier: ``hh h l L z t`` or nothing), or ``invalid`` (*text* is the offending
    character, printing ends).
    """

    conversion: str
    text: bytes
    spec: Spec = Spec()


_FLAGS = {ord("-"): LEFT, ord("+"): PLUS, ord(" "): SPACE, ord("#"): SPECIAL, ord("0"): ZEROPAD}
_BASES = {
    ord("o"): (8, 0),
    ord("x"): (16, SMALL),
    ord("X"): (16, 0),
    ord("d"): (10, SIGN),
    ord("i"): (10, SIGN),
    ord("u"): (10, 0),
}
_DIGITS = b"0123456789"


@lru_cache(maxsize=1024)
def parse_format(fmt: bytes) -> tuple[Directive, ...]:
    """The directives of *fmt* (no NUL in it). Parsing ends at an invalid conversion, as the kernel's does."""
    directives: list[Directive] = []
    at, end = 0, len(fmt)
    while at < end:
        percent = fmt.find(b"%", at)
        if percent < 0:
            percent = end
        if percent > at:
            directives.append(Directive("literal", fmt[at:percent]))
            at = percent
            continue
        directive, at = _conversion(fmt + b"\0", at + 1)
        directives.append(directive)
        if directive.conversion == "invalid":
            break
    return tuple(directives)


def _decimal(fmt: bytes, at: int) -> tuple[int, int]:
    start = at
    while fmt[at] in _DIGITS:
        at += 1
    return int(fmt[start:at]), at


def _wrap(value: int, bits: int) -> int:
    """*value* stored into a signed bit field."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def _conversion(fmt: bytes, at: int) -> tuple[Directive, int]:
    """The conversion behind a '%'; *fmt* ends in NUL."""
    flags = 0
    while fmt[at] in _FLAGS:
        flags |= _FLAGS[fmt[at]]
        at += 1
    width = precision = NONE
    if fmt[at] in _DIGITS:
        width, at = _decimal(fmt, at)
        width = _wrap(width, 24)
    elif fmt[at : at + 1] == b"*":
        width, at = STAR, at + 1
    if fmt[at : at + 1] == b".":
        at += 1
        if fmt[at] in _DIGITS:
            precision, at = _decimal(fmt, at)
            precision = max(0, _wrap(precision, 16))
        elif fmt[at : at + 1] == b"*":
            precision, at = STAR, at + 1
    modifier = b""
    if fmt[at : at + 1] in (b"h", b"l", b"L", b"z", b"t"):
        modifier = fmt[at : at + 1]
        at += 1
        if modifier in (b"l", b"h") and fmt[at : at + 1] == modifier:
            modifier = b"L" if modifier == b"l" else b"hh"
            at += 1
    character = fmt[at : at + 1]
    if character == b"%":
        return Directive("literal", b"%"), at + 1
    if character in (b"c", b"s"):
        return Directive(character.decode(), b"", Spec(width, precision, flags)), at + 1
    if character == b"p":
        at += 1
        start = at
        while isalnum(fmt[at]):
            at += 1
        return Directive("p", fmt[start:at], Spec(width, precision, flags)), at
    if fmt[at] in _BASES:
        base, more = _BASES[fmt[at]]
        return Directive("int", modifier, Spec(width, precision, flags | more, base)), at + 1
    return Directive("invalid", character), at


def number(value: int, spec: Spec) -> bytes:
    """*value* in ``spec.base``; negative values only with SIGN (``number()``).

    Unlike C, zero with precision 0 prints ``0``, and ``0`` padding is kept with a precision.
    """
    flags, width = spec.flags, spec.width
    sign = b""
    if flags & SIGN:
        if value < 0:
            sign, value = b"-", -value
        elif flags & PLUS:
            sign = b"+"
        elif flags & SPACE:
            sign = b" "
    prefix = b""
    if spec.base == 16:
        digits = b"%x" % value if flags & SMALL else b"%X" % value
        if flags & SPECIAL:
            prefix = b"0x" if flags & SMALL else b"0X"
    elif spec.base == 8:
        digits = b"%o" % value
        if flags & SPECIAL and value:
            prefix = b"0"
    else:
        digits = b"%d" % value
    if len(digits) < spec.precision:
        digits = digits.rjust(spec.precision, b"0")
    used = len(sign) + len(prefix) + len(digits)
    if width <= used:
        return sign + prefix + digits
    if flags & LEFT:
        return (sign + prefix + digits).ljust(width)
    if flags & ZEROPAD:
        return sign + prefix + b"0" * (width - used) + digits
    return (sign + prefix + digits).rjust(width)


def widen(text: bytes, spec: Spec) -> bytes:
    """*text* padded with blanks to the field width (``widen_string()``)."""
    return text.ljust(spec.width) if spec.flags & LEFT else text.rjust(spec.width)


def string_nocheck(text: bytes, spec: Spec) -> bytes:
    """*text* cut to the precision and padded."""
    return widen(text if spec.precision < 0 else text[: spec.precision], spec)


def special_hex_number(value: int, size: int) -> bytes:
    """``0x`` and all hexadecimal digits of an integer of *size* bytes."""
    return b"0x%0*x" % (2 * size, value)


def width_argument(spec: Spec, width: int) -> Spec:
    """*spec* with the field width given by a ``*`` argument: negative means left-justified."""
    width = max(-FIELD_WIDTH_MAX, min(width, FIELD_WIDTH_MAX))
    if width < 0:
        return spec._replace(width=-width, flags=spec.flags | LEFT)
    return spec._replace(width=width)


def precision_argument(spec: Spec, precision: int) -> Spec:
    """*spec* with the precision given by a ``*`` argument: negative means 0."""
    return spec._replace(precision=max(0, min(precision, PRECISION_MAX)))


def check_pointer_msg(ptr: int) -> bytes:
    """What is printed instead of what *ptr* points to: NULL, the first page, and error values; else nothing."""
    if not ptr:
        return b"(null)"
    return b"(efault)" if ptr < PAGE_SIZE or is_err(ptr) else b""


def error_string(text: bytes, spec: Spec) -> bytes:
    """An error message, cut to 16 characters unless the format gives a precision."""
    return string_nocheck(text, spec._replace(precision=POINTER_WIDTH) if spec.precision == -1 else spec)


def error_text(ptr: int, spec: Spec) -> bytes:
    """`check_pointer_msg` in its field; empty for a usable pointer."""
    message = check_pointer_msg(ptr)
    return error_string(message, spec) if message else b""
