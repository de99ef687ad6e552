"""What a number in a crash log is: a region of the address space, a poison, an error pointer, text, an instruction."""

from __future__ import annotations

import errno
from typing import NamedTuple

KERNEL_ERRNO = {512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD",
                516: "ERESTART_RESTARTBLOCK", 517: "EPROBE_DEFER", 524: "ENOTSUPP"}  # fmt: skip
"""Error numbers that never reach user space (include/linux/errno.h)."""

_POISONS = {
    0x6B: "SLUB's poison of a freed object (0x6b)",
    0x5A: "SLUB's poison of a fresh or padding byte (0x5a): never initialised",
    0xA5: "the end byte of SLUB's poison (0xa5)",
    0xBB: "SLUB's red zone of an inactive object (0xbb)",
    0xCC: "SLUB's red zone of an active object (0xcc), or freed init memory (0xcc)",
    0xAA: "page poisoning (0xaa)",
}
_LIST = {
    0xDEAD000000000100: "LIST_POISON1", 0xDEAD000000000122: "LIST_POISON2", 0xDEAD000000000200: "LIST_POISON2",
    0x00100100: "LIST_POISON1", 0x00200200: "LIST_POISON2", 0x00000100: "LIST_POISON1", 0x00000122: "LIST_POISON2",
}  # fmt: skip
NEAR = 4096
"""Bytes around a known value within which an address is that value plus a field's offset."""


class Meaning(NamedTuple):
    """What a value is taken for."""

    kind: str
    """``null zero-size err poison list-poison magic text bit-flip user noncanonical region small code``."""
    text: str
    base: int
    """The known value that this one is, or lies near."""


def signed(value: int, bits: int) -> int:
    """*value* as a two's complement number."""
    return value - (1 << bits) if value >> (bits - 1) else value


def errno_name(number: int) -> str:
    """The name of error *number* (a positive number)."""
    return errno.errorcode.get(number) or KERNEL_ERRNO.get(number) or f"error {number}"


def poison(value: int, bits: int) -> tuple[int, int] | None:
    """The byte that fills *value* and the offset added to it, when it is a repeated poison (plus at most 64 KiB)."""
    size = bits // 8
    for byte in _POISONS:
        filled = int.from_bytes(bytes([byte]) * size, "big")
        if -16 <= value - filled < 0x10000:
            return byte, value - filled
    return None


def list_poison(value: int, bits: int) -> tuple[str, int] | None:
    """``LIST_POISON1`` or 2 and the offset added to it, if *value* is near one."""
    for base, name in _LIST.items():
        wide = base >> 32 != 0
        if wide == (bits == 64) and (base > 0x1000 or (bits == 32 and value == base)) and -64 <= value - base < 0x1E:
            return name, value - base
        if wide and bits == 64 and name == "LIST_POISON2" and -64 <= value - base < 0x200:
            return name, value - base
    return None


def text_in(value: int, bits: int) -> str:
    """The characters of *value* in memory order, when all or all but one or two bytes are printable; else empty."""
    data = (value & ((1 << bits) - 1)).to_bytes(bits // 8, "little")
    shown = [32 <= byte < 127 for byte in data]
    need = 4 if bits == 32 else 6
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data) if sum(shown) >= need else ""


def canonical(value: int) -> bool:
    """Whether a 64-bit address is one that x86-64 or arm64 with 48 or 57 bits can have."""
    return value >> 56 in (0, 0xFF)


def one_bit(value: int) -> int | None:
    """The bit whose flip would make *value* a kernel address with 47 bits of space, if there is one."""
    if canonical(value) and (value >> 47) in (0, 0x1FFFF):
        return None
    bits = [bit for bit in range(40, 64) if (value ^ (1 << bit)) >> 47 == 0x1FFFF]
    return bits[0] if len(bits) == 1 else None


def one_bit_from_image(value: int) -> int | None:
    """The bit whose flip turns an address in a hole of x86-64's address space into one of kernel text or a module."""
    if _x86_64(value) != _HOLE:
        return None
    bits = [bit for bit in range(30, 47) if 0xFFFFFFFF81000000 <= value ^ (1 << bit) < 0xFFFFFFFFFF000000]
    return bits[0] if len(bits) == 1 else None


def region(value: int, arch: str, version: tuple[int, int] = (0, 0)) -> str:
    """The region of the address space that *value* lies in, as far as arch and release say; empty when unknown."""
    if arch == "x86-64":
        return _x86_64(value)
    if arch == "arm64":
        return _arm64(value, version)
    if arch == "x86-32":
        return ("user space" if value < 0xC0000000 else "lowmem (direct map)" if value < 0xF7800000
                else "vmalloc, modules or fixmap")  # fmt: skip
    if arch == "arm":
        return _arm(value)
    return ""


_HOLE = "kernel half of the address space"


def _x86_64(value: int) -> str:
    if value < 1 << 47:
        return "user space"
    if not canonical(value):
        return "not canonical"
    table = (
        (0xFFFFFFFFA0000000, 0xFFFFFFFFFF000000, "modules"),
        (0xFFFFFFFF80000000, 0xFFFFFFFFA0000000, "kernel text and data"),
        (0xFFFFFE0000000000, 0xFFFFFE8000000000, "cpu entry area"),
        (0xFFFFEC0000000000, 0xFFFFFC0000000000, "KASAN shadow"),
        (0xFFFFEA0000000000, 0xFFFFEB0000000000, "vmemmap (struct page)"),
        (0xFFFFC90000000000, 0xFFFFE90000000000, "vmalloc"),
        (0xFFFF880000000000, 0xFFFFC88000000000, "direct map, or vmalloc when KASLR moved the bases"),
        (0xFFFF810000000000, 0xFFFF880000000000, "direct map (2.6.26 and older)"),
        (0xFFA0000000000000, 0xFFD2000000000000, "vmalloc (5-level paging)"),
        (0xFFD4000000000000, 0xFFD6000000000000, "vmemmap (5-level paging)"),
        (0xFF11000000000000, 0xFF91000000000000, "direct map (5-level paging)"),
    )
    for low, high, name in table:
        if low <= value < high:
            return name
    return _HOLE


def _arm64(value: int, version: tuple[int, int]) -> str:
    top = value >> 48
    if top == 0:
        return "user space"
    if top != 0xFFFF:
        return "not canonical (or a tagged pointer)"
    if version >= (5, 4) or version == (0, 0):
        return "vmalloc, modules, kernel image or vmemmap" if value >= 0xFFFF800000000000 else "linear map"
    return (
        "linear map"
        if value >= 0xFFFFFFC000000000 or 0xFFFF800000000000 <= value < 0xFFFFFF8000000000
        else "vmalloc, modules"
    )


def _arm(value: int) -> str:
    if value >= 0xFFFF0000:
        return "exception vectors"
    if value >= 0xF0000000:
        return "vmalloc or device mappings"
    if 0xBF000000 <= value < 0xC0000000 or 0x7F000000 <= value < 0x80000000:
        return "modules (the 16 MB below PAGE_OFFSET)"
    return "lowmem (direct map)" if value >= 0x80000000 else "user space"


def meaning(value: int, bits: int, arch: str, version: tuple[int, int] = (0, 0)) -> Meaning:
    """What *value* is, the most telling answer first."""
    value &= (1 << bits) - 1
    number = signed(value, bits)
    if -4095 <= number < 0:
        return Meaning("err", f"ERR_PTR(-{errno_name(-number)}), {number}", value)
    if value == 0:
        return Meaning("null", "NULL", 0)
    if value == 16:
        return Meaning("zero-size", "ZERO_SIZE_PTR, what kmalloc(0) returns", 16)
    poisoned = poison(value, bits)
    if poisoned:
        byte, offset = poisoned
        return Meaning("poison", _POISONS[byte] + (f" {offset:+#x}" if offset else ""), value - offset)
    listed = list_poison(value, bits)
    if listed:
        name, offset = listed
        return Meaning(
            "list-poison", f"{name}{f' {offset:+#x}' if offset else ''}: a list entry after list_del", value - offset
        )
    if value < NEAR:
        return Meaning("small", f"the small number {value}", 0)
    if value == 0xFFFFFFFFFFFF4111:
        return Meaning("magic", "STACKLEAK's poison of the kernel stack", value)
    if value in (0xDEAD4EAD, 0xDEAD4EADFFFFFFFF) or value >> 32 == 0xDEAD4EAD:
        return Meaning("magic", "the magic number of a spinlock (0xdead4ead), read as a pointer", value)
    return _address(value, bits, arch, version)


def _address(value: int, bits: int, arch: str, version: tuple[int, int]) -> Meaning:
    where = region(value, arch, version)
    words = text_in(value, bits)
    if words and (bits == 64 or where in ("user space", "")):
        return Meaning("text", f"text: {words!r} in memory order, {words[::-1]!r} read as a number", value)
    if bits == 64 and (where.startswith("not canonical") or (arch == "riscv" and one_bit(value) is not None)):
        bit = one_bit(value)
        if bit is not None:
            return Meaning(
                "bit-flip", f"one bit (bit {bit}) away from the kernel address {value ^ (1 << bit):#x}", value
            )
        return Meaning("noncanonical", "no address at all (not canonical)", value)
    if (
        bits == 32
        and arch != "x86-32"
        and value >> 28 == 0xE
        and value & 3
        and (value >> 20 & 0xFF) in (0x1A, 0x92, 0x52, 0x5D)
    ):
        return Meaning("code", "an ARM instruction: code was read as data", value)
    bit = one_bit_from_image(value) if arch == "x86-64" else None
    if bit is not None:
        what = "kernel text or a module"
        return Meaning("bit-flip", f"one bit (bit {bit}) away from {value ^ (1 << bit):#x}, {what}", value)
    if where == "user space":
        return Meaning("user", "an address in user space", value)
    return Meaning("region", f"an address in {where}" if where else "a number", value)
