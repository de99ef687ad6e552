"""What follows ``%p`` (lib/vsprintf.c, ``pointer()``), 6.1, for the kernel's Debian configuration.

Each conversion is a function of the host, the suffix (the alphanumeric characters behind the ``p``), the pointer and
the spec. Not modelled: ``%pg`` (block device) and ``%pfw`` of what is no software node; they print the hashed pointer.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from kmem.kapi.errno import errname, is_err
from kmem.kapi.printf_spec import (
    POINTER_WIDTH,
    SIGN,
    SMALL,
    ZEROPAD,
    Spec,
    error_string,
    error_text,
    number,
    special_hex_number,
    string_nocheck,
    widen,
)
from kmem.kapi.siphash import siphash_1u64

if TYPE_CHECKING:
    from kmem.kapi.host import Host


def string(k: Host, ptr: int, spec: Spec) -> bytes:
    """``%s``: reads no further than the precision."""
    message = error_text(ptr, spec)
    if message:
        return message
    limit = spec.precision if spec.precision >= 0 else 1 << 30
    return widen(k.mem.cstr(ptr, limit) if limit else b"", spec)


def pointer_string(ptr: int, spec: Spec) -> bytes:
    """``%px``: the address as it is."""
    if spec.width == -1:
        spec = spec._replace(width=POINTER_WIDTH, flags=spec.flags | ZEROPAD)
    return number(ptr, spec._replace(base=16, flags=spec.flags | SMALL))


def default_pointer(k: Host, ptr: int, spec: Spec) -> bytes:
    """``%p``: 32 bits of a keyed hash of the address; NULL and error values as they are."""
    if k.format.no_hash_pointers or not ptr or is_err(ptr):
        return pointer_string(ptr, spec)
    if k.format.ptr_key is None:
        return error_string(b"(____ptrval____)", spec._replace(width=POINTER_WIDTH))
    return pointer_string(siphash_1u64(ptr, k.format.ptr_key) & 0xFFFFFFFF, spec)


def _restricted(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pK``. The running task counts as privileged, so kptr_restrict 1 shows the address."""
    restrict = k.format.kptr_restrict
    if restrict == 0:
        return default_pointer(k, ptr, spec)
    if restrict > 1:
        return pointer_string(0, spec)
    if k.context.in_interrupt():
        if spec.width == -1:
            spec = spec._replace(width=POINTER_WIDTH)
        return error_string(b"pK-error", spec)
    return pointer_string(ptr, spec)


def _symbol(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    kind = suffix[:1]
    names = k.kallsyms
    text = (
        names.sprint_backtrace(ptr) if kind == b"B" else names.sprint_name(ptr) if kind == b"s" else names.sprint(ptr)
    )
    return string_nocheck(text.encode(), spec)


_IO, _MEM, _IRQ, _DMA, _BUS = 0x100, 0x200, 0x400, 0x800, 0x1000
_UNSET = 0x20000000
_RESOURCE_TYPES = ((_IO, b"io  "), (_MEM, b"mem "), (_IRQ, b"irq "), (_DMA, b"dma "), (_BUS, b"bus "))
_RESOURCE_WORDS = ((0x100000, b" 64bit"), (0x2000, b" pref"), (0x200000, b" window"), (0x10000000, b" disabled"))


def _resource(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pR`` and ``%pr`` of a ``struct resource``."""
    members = k.layout["resource"]
    start, end, flags = (k.mem.u64(ptr + members.offset(name)) for name in ("start", "end", "flags"))
    kind, name = next((entry for entry in _RESOURCE_TYPES if flags & entry[0]), (0, b"??? "))
    decode = suffix[:1] == b"R" and kind != 0
    form = {_IO: b"0x%04x", _IRQ: b"%d", _DMA: b"%d", _BUS: b"%02x"}.get(kind, b"0x%08x")
    if decode and flags & _UNSET:
        text = b"size " + form % ((end - start + 1) & ((1 << 64) - 1))
    else:
        text = form % start + (b"" if start == end else b"-" + form % end)
    if decode:
        text += b"".join(word for bit, word in _RESOURCE_WORDS if flags & bit)
    else:
        text += b" flags " + (b"0x%x" % flags)
    return string_nocheck(b"[" + name + text + b"]", spec)


def _hex(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%*ph``: up to 64 bytes; the field width is the count."""
    length = min(spec.width, 64) if spec.width > 0 else 1
    separator = {b"C": ":", b"D": "-", b"N": ""}.get(suffix[1:2], " ")
    content = k.mem.read(ptr, length)
    return (content.hex(separator) if separator else content.hex()).encode()


def _bits(k: Host, ptr: int, nr_bits: int) -> int:
    """A guest bitmap as one integer."""
    words = k.mem.read(ptr, (nr_bits + 63) // 64 * 8)
    return int.from_bytes(words, "little") & ((1 << nr_bits) - 1)


def _bitmap(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%*pb`` (words of 32 bits, hexadecimal) and ``%*pbl`` (ranges); the field width is the number of bits."""
    nr_bits = max(spec.width, 0)
    if suffix[1:2] == b"l":
        return bitmap_list(_bits(k, ptr, nr_bits)).encode()
    return bitmap_words(_bits(k, ptr, nr_bits), nr_bits).encode()


def bitmap_words(bits: int, nr_bits: int) -> str:
    """*bits* as comma-separated words of 32 bits, the highest first and as short as it may be."""
    chunks: list[str] = []
    for low in range(0, nr_bits, 32):
        size = min(32, nr_bits - low)
        chunks.append(f"{bits >> low & ((1 << size) - 1):0{(size + 3) // 4}x}")
    return ",".join(reversed(chunks))


def bitmap_list(bits: int) -> str:
    """*bits* as ranges: ``2-3,5``."""
    ranges: list[str] = []
    base = 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        base += zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        ranges.append(f"{base}" if ones == 1 else f"{base}-{base + ones - 1}")
        bits >>= ones
        base += ones
    return ",".join(ranges)


def _escaped(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%*pE``: escaped bytes; the field width is the count."""
    from kmem.kapi.string_helpers import escape_flags, string_escape

    length = 1 if spec.width < 0 else spec.width
    return string_escape(k.mem.read(ptr, length), escape_flags(suffix[1:]))


def _netdev_bits(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    if suffix[1:2] != b"F":
        return error_string(b"(%pN?)", spec)
    return special_hex_number(k.mem.u64(ptr), 8)


def _fourcc(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    if suffix[1:3] != b"cc":
        return error_string(b"(%p4?)", spec)
    message = error_text(ptr, spec)
    if message:
        return message
    code = k.mem.u32(ptr)
    letters = bytes(c if 0x20 <= c < 0x7F else ord(".") for c in (code & 0x7FFFFFFF).to_bytes(4, "little"))
    order = b"big-endian" if code >> 31 else b"little-endian"
    return string_nocheck(letters + b" " + order + b" (" + special_hex_number(code, 4) + b")", spec)


def _address(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pa``: a phys_addr_t or dma_addr_t, given by reference."""
    return special_hex_number(k.mem.u64(ptr), 8)


_D_PARENT, _D_NAME_NAME, _F_DENTRY = 24, 40, 24  # struct dentry: d_parent, d_name.name; struct file: f_path.dentry


def _dentry(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pd[234]``: the last components of a path."""
    depth = int(suffix[1:2]) if suffix[1:2] in (b"2", b"3", b"4") else 1
    names: list[bytes] = []
    for level in range(depth):
        message = error_text(ptr, spec)
        if message:
            return message
        parent = k.mem.u64(ptr + _D_PARENT)
        names.append(k.mem.cstr(k.mem.u64(ptr + _D_NAME_NAME)))
        if parent == ptr:
            if level:
                names[-1] = b""
            break
        ptr = parent
    return string_nocheck(b"/".join(reversed(names)), spec)


def _file(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    return _dentry(k, suffix, k.mem.u64(ptr + _F_DENTRY), spec)


def _clock(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pC``: clk->core->name."""
    return string(k, k.mem.u64(k.mem.u64(ptr)), spec)


def _error_pointer(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pe``: an error value by name; any other pointer as ``%p``."""
    if not is_err(ptr):
        return default_pointer(k, ptr, spec)
    name = errname(ptr - (1 << 64))
    if name is not None:
        return string_nocheck(name.encode(), spec)
    return number(ptr - (1 << 64), spec._replace(base=10, flags=spec.flags | SIGN))


def _probed_string(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    return string(k, ptr, spec) if suffix[1:2] == b"s" else error_string(b"(einval)", spec)


def _device_node(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pO``: the configuration has no device tree."""
    return error_string(b"(%pOF?)" if suffix[1:2] == b"F" else b"(%pO?)", spec)


def _fwnode(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    from kmem.kapi.swnode import path_of

    if suffix[1:2] != b"w":
        return error_string(b"(%pf?)", spec)
    wrong = error_text(ptr, spec)
    names = None if wrong else path_of(k, ptr)
    if names is None:
        return wrong or default_pointer(k, ptr, spec)
    return widen(names[-1] if suffix[2:3] == b"P" else b"/".join(names), spec)


def _exact(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    return pointer_string(ptr, spec)


Conversion = Callable[["Host", bytes, int, Spec], bytes]


def _in(module: str, name: str) -> Conversion:
    """The conversion *name* of a file that is imported when a format first asks for it."""

    def convert(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
        conversion: Conversion = getattr(import_module(f"kmem.kapi.{module}"), name)
        return conversion(k, suffix, ptr, spec)

    return convert


_mac, _ip, _uuid = (_in("vsprintf_net", name) for name in ("mac_address", "ip_address", "uuid"))
_time, _flags = _in("vsprintf_time", "time_and_date"), _in("vsprintf_flags", "flags_string")

_CONVERSIONS: dict[bytes, Conversion] = {
    b"S": _symbol, b"s": _symbol, b"B": _symbol, b"K": _restricted, b"4": _fourcc, b"d": _dentry, b"O": _device_node,
    b"f": _fwnode, b"x": _exact, b"e": _error_pointer, b"u": _probed_string, b"k": _probed_string,
}  # fmt: skip

_DEREFERENCING: dict[bytes, Conversion] = {
    b"R": _resource, b"r": _resource, b"h": _hex, b"b": _bitmap, b"M": _mac, b"m": _mac, b"I": _ip, b"i": _ip,
    b"E": _escaped, b"U": _uuid, b"a": _address, b"t": _time, b"C": _clock, b"D": _file, b"G": _flags,
    b"N": _netdev_bits,
}  # fmt: skip
"""Conversions that read what the pointer points to and print ``(null)`` or ``(efault)`` when it cannot be one."""


def pointer(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%p`` with *suffix*, all but ``%pV``."""
    kind = suffix[:1]
    conversion = _DEREFERENCING.get(kind)
    if conversion is not None:
        if spec.width == 0 and kind in (b"h", b"E"):
            return b""
        return error_text(ptr, spec) or conversion(k, suffix, ptr, spec)
    conversion = _CONVERSIONS.get(kind)
    if conversion is not None:
        return conversion(k, suffix, ptr, spec)
    return default_pointer(k, ptr, spec)
