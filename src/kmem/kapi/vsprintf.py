"""``vsnprintf()`` of lib/vsprintf.c, 6.1, over guest memory.

`vsnprintf` builds the whole output; `kmem.kapi.sprintf` has the exported functions that cut it to a buffer.
Conversions of numbers are in `kmem.kapi.printf_spec`, of pointers in `kmem.kapi.vsprintf_pointer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmem.kapi import vsprintf_pointer
from kmem.kapi.printf_spec import (
    SIGN,
    STAR,
    Directive,
    Spec,
    error_text,
    number,
    parse_format,
    precision_argument,
    string_nocheck,
    width_argument,
)
from kmem.kapi.varargs import VaArgs

if TYPE_CHECKING:
    from kmem.kapi.host import Host

FILE = "lib/vsprintf.c"


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """What a booted kernel decides once about printing pointers.

    *ptr_key* keys the hash that ``%p`` prints; None is a kernel whose random numbers are not ready yet.
    *no_hash_pointers* is the boot parameter of that name; *kptr_restrict* the sysctl, which ``%pK`` obeys.
    """

    ptr_key: tuple[int, int] | None = None
    no_hash_pointers: bool = False
    kptr_restrict: int = 0

    @classmethod
    def seeded(cls, seed: int, *, no_hash_pointers: bool = False, kptr_restrict: int = 0) -> FormatOptions:
        """Options with a key that depends on nothing but *seed*."""
        from random import Random

        random = Random(f"kmem ptr_key {seed}")
        return cls((random.getrandbits(64), random.getrandbits(64)), no_hash_pointers, kptr_restrict)


def _char(k: Host, directive: Directive, spec: Spec, args: VaArgs) -> bytes:
    return string_nocheck(bytes([args.next_u64() & 0xFF]), spec._replace(precision=-1))


def _string(k: Host, directive: Directive, spec: Spec, args: VaArgs) -> bytes:
    return vsprintf_pointer.string(k, args.next_u64(), spec)


def _pointer(k: Host, directive: Directive, spec: Spec, args: VaArgs) -> bytes:
    ptr = args.next_u64()
    if directive.text[:1] == b"V":
        return error_text(ptr, spec) or _va_format(k, ptr)
    return vsprintf_pointer.pointer(k, directive.text, ptr, spec)


def _va_format(k: Host, va_format: int) -> bytes:
    """``%pV``: the format and arguments of a guest ``struct va_format``."""
    fmt = k.mem.cstr(k.mem.u64(va_format), 1 << 20)
    return vsnprintf(k, fmt, VaArgs.of_list(k.mem, k.mem.u64(va_format + 8)))


_BITS = {b"hh": 8, b"h": 16, b"": 32, b"l": 64, b"L": 64, b"z": 64, b"t": 64}


def _integer(k: Host, directive: Directive, spec: Spec, args: VaArgs) -> bytes:
    bits = _BITS[directive.text]
    value = args.next_u64() & ((1 << bits) - 1)
    # ptrdiff_t is signed whatever the conversion; number() takes its bits as unsigned without SIGN.
    if spec.flags & SIGN and value >> (bits - 1):
        value -= 1 << bits
    return number(value, spec)


_CONVERSIONS: dict[str, Callable[[Host, Directive, Spec, VaArgs], bytes]] = {
    "c": _char,
    "s": _string,
    "p": _pointer,
    "int": _integer,
}


def vsnprintf(k: Host, fmt: bytes, args: VaArgs) -> bytes:
    """The complete output of *fmt* with *args*.

    An invalid conversion (``%n`` is one) warns once and ends the output there. A string that cannot be read raises
    AccessFault, as it would fault in the kernel.
    """
    output: list[bytes] = []
    for directive in parse_format(fmt):
        conversion, text, spec = directive
        if conversion == "literal":
            output.append(text)
            continue
        if spec.width == STAR:
            spec = width_argument(spec, args.next_s32())
        if spec.precision == STAR:
            spec = precision_argument(spec, args.next_s32())
        if conversion == "invalid":
            message = f"Please remove unsupported %{text.decode('latin-1')} in format string"
            k.warn(FILE, 2661, "format_decode", message, once=True)
            break
        output.append(_CONVERSIONS[conversion](k, directive, spec, args))
    return b"".join(output)
