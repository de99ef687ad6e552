"""``sscanf()`` (lib/vsprintf.c, 6.1)."""

from __future__ import annotations

from kmem.kapi.ctype import isspace, lstrip
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.kstrtox import simple_strntoll, simple_strntoull
from kmem.kapi.varargs import VaArgs

STRING_LIMIT = 1 << 20
SHRT_MAX = (1 << 15) - 1

_BASES = {b"o": (8, False), b"x": (16, False), b"X": (16, False), b"i": (0, True), b"d": (10, True), b"u": (10, False)}
_DIGITS = {8: b"01234567", 10: b"0123456789", 0: b"0123456789", 16: b"0123456789abcdefABCDEF"}
_SIZES = {b"H": 1, b"h": 2, b"": 4, b"l": 8, b"L": 8, b"z": 8}


class _Scan:
    """One scan: the input and the format that are left."""

    def __init__(self, k: Host, text: bytes, fmt: bytes, args: VaArgs) -> None:
        self.k = k
        self.text = text
        self.length = len(text)
        self.fmt = fmt
        self.args = args
        self.count = 0

    def run(self) -> int:
        """The number of conversions done."""
        while self.fmt:
            if isspace(self.fmt[0]):
                self.fmt = lstrip(self.fmt)
                self.text = lstrip(self.text)
                continue
            if self.fmt[:1] != b"%":
                if self.fmt[:1] != self.text[:1]:
                    break
                self.fmt, self.text = self.fmt[1:], self.text[1:]
                continue
            self.fmt = self.fmt[1:]
            if not self.conversion():
                break
        return self.count

    def conversion(self) -> bool:
        """Does the conversion behind a '%'; False ends the scan."""
        if self.fmt[:1] == b"*":
            return self.skip()
        width = -1
        digits = len(self.fmt) - len(self.fmt.lstrip(b"0123456789"))
        if digits:
            width = int(self.fmt[:digits])
            self.fmt = self.fmt[digits:]
            # The kernel keeps the width in a signed 16-bit integer.
            width = ((width & 0xFFFF) ^ 0x8000) - 0x8000
            if width <= 0:
                return False
        qualifier = b""
        if self.fmt[:1] in (b"h", b"l", b"L", b"z"):
            qualifier, self.fmt = self.fmt[:1], self.fmt[1:]
            if qualifier in (b"h", b"l") and self.fmt[:1] == qualifier:
                qualifier, self.fmt = qualifier.upper(), self.fmt[1:]
        kind, self.fmt = self.fmt[:1], self.fmt[1:]
        if kind == b"n":
            self.k.mem.set_u32(self.args.next_u64(), self.length - len(self.text))
            return True
        if not kind or not self.text:
            return False
        if kind == b"c":
            return self.store(self.text[: max(width, 1)], terminate=False)
        if kind == b"s":
            self.text = lstrip(self.text)
            limit = SHRT_MAX if width == -1 else width
            end = next((at for at, c in enumerate(self.text[:limit]) if isspace(c)), min(limit, len(self.text)))
            return self.store(self.text[:end])
        if kind == b"[":
            return self.character_set(width)
        if kind == b"%":
            matches = self.text[:1] == b"%"
            self.text = self.text[1:]
            return matches
        return kind in _BASES and self.integer(kind, qualifier, width)

    def skip(self) -> bool:
        """``%*…``: both sides go to the next white space."""
        if not self.text:
            return False
        while self.fmt and not isspace(self.fmt[0]) and self.fmt[:1] != b"%":
            if self.fmt[:1] == b"[":
                return False
            self.fmt = self.fmt[1:]
        while self.text and not isspace(self.text[0]):
            self.text = self.text[1:]
        return True

    def store(self, found: bytes, *, terminate: bool = True) -> bool:
        self.k.mem.write(self.args.next_u64(), found + b"\0" if terminate else found)
        self.text = self.text[len(found) :]
        self.count += 1
        return True

    def character_set(self, width: int) -> bool:
        """``%N[abc]``, ``%N[^abc]``: no ranges, the width is required, the match must not be empty."""
        target = self.args.next_u64()
        if width == -1:
            return False
        negate = self.fmt[:1] == b"^"
        members, bracket, rest = self.fmt[negate:].partition(b"]")
        if not members or not bracket:
            return False
        self.fmt = rest
        end = next(
            (at for at, c in enumerate(self.text[:width]) if (c in members) == negate), min(width, len(self.text))
        )
        if not end:
            return False
        self.k.mem.write(target, self.text[:end] + b"\0")
        self.text = self.text[end:]
        self.count += 1
        return True

    def integer(self, kind: bytes, qualifier: bytes, width: int) -> bool:
        base, signed = _BASES[kind]
        self.text = lstrip(self.text)
        first = self.text[:1]
        if signed and first == b"-":
            if width == 1:
                return False
            first = self.text[1:2]
        if not first or first not in _DIGITS[base]:
            return False
        parse = simple_strntoll if signed else simple_strntoull
        value, used = parse(self.text, base, width if width >= 0 else (1 << 31) - 1)
        size = _SIZES[qualifier]
        self.k.mem.write(self.args.next_u64(), (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))
        self.text = self.text[used:]
        self.count += 1
        return True


def scan(k: Host, text: bytes, fmt: bytes, args: VaArgs) -> int:
    """Scans *text* by *fmt* into the guest addresses in *args*; the number of conversions done."""
    return _Scan(k, text, fmt, args).run()


@export(faithful)
def vsscanf(k: Host, buf: int, fmt: int, args: VaArgs) -> int:
    """``int vsscanf(const char *buf, const char *fmt, va_list args)``

    lib/vsprintf.c, 6.1.
    """
    return scan(k, k.mem.cstr(buf, STRING_LIMIT), k.mem.cstr(fmt, STRING_LIMIT), args)


@export(faithful)
def sscanf(k: Host, buf: int, fmt: int, args: VaArgs) -> int:
    """``int sscanf(const char *buf, const char *fmt, ...)``

    lib/vsprintf.c, 6.1.
    """
    return scan(k, k.mem.cstr(buf, STRING_LIMIT), k.mem.cstr(fmt, STRING_LIMIT), args)
