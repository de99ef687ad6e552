"""What model code may do to memory besides reading and writing fields, in plain Python.

Each function here has a compiled form of the same name in :mod:`kmem.lib.ptrtype`; :mod:`kmem.lib.jit` gives model
code the one or the other. *near* is any pointer: it says whose RAM is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kmem.lib.cstruct import ANY, MASK64, PRIVATE_SIZE, Array, Ptr, Struct, load, s64, store

if TYPE_CHECKING:
    from kmem.machine.ram import Ram

FAULT_ADDR_AT, FAULT_SIZE_AT, FAULT_WRITE_AT = (-PRIVATE_SIZE + n for n in (24, 32, 40))
"""Where compiled code records the access that failed, relative to physical 0."""
UPCALL_AT, UPCALL_FAILED_AT = -PRIVATE_SIZE + 48, -PRIVATE_SIZE + 56
"""The host function that compiled code calls back, and whether it asks to unwind."""
GAVE_UP_AT = -PRIVATE_SIZE + 64
"""Set when an entry returns because it gave up."""


class Unwind(Exception):
    """Compiled code returns through all its callers: a fault was recorded, or an upcall failed."""


def address(p: Any) -> int:
    """``(unsigned long)p``, signed."""
    return p.addr if isinstance(p, Array) else p._addr


def ptr(struct: Struct, addr: int, near: Ptr) -> Ptr:
    """``(struct NAME *)addr``."""
    return Ptr(near._ram, struct, addr)


def root(struct: Struct, addr: int, ram: Ram) -> Ptr:
    """The first pointer into *ram*, from which all others come."""
    return Ptr(ram, struct, addr)


def container_of(p: Ptr, struct: Struct, member: str) -> Ptr:
    """The object of type *struct* whose *member* is at *p*."""
    return Ptr(p._ram, struct, p._addr - struct.field(member).offset)


def sizeof(struct: Struct) -> int:
    """``sizeof(struct NAME)``, in bytes."""
    return struct.size


def offsetof(struct: Struct, member: str) -> int:
    """``offsetof(struct NAME, member)``, in bytes."""
    return struct.field(member).offset


def load8(near: Ptr, addr: int) -> int:
    """The byte at *addr*."""
    return load(near._ram, ANY, addr, 1, False)


def load16(near: Ptr, addr: int) -> int:
    """The unsigned 16-bit number at *addr*."""
    return load(near._ram, ANY, addr, 2, False)


def load32(near: Ptr, addr: int) -> int:
    """The unsigned 32-bit number at *addr*."""
    return load(near._ram, ANY, addr, 4, False)


def load64(near: Ptr, addr: int) -> int:
    """The 64-bit word at *addr*, signed."""
    return load(near._ram, ANY, addr, 8, True)


def store8(near: Ptr, addr: int, value: int) -> None:
    """Write a byte."""
    store(near._ram, ANY, addr, 1, value)


def store16(near: Ptr, addr: int, value: int) -> None:
    """Write 16 bits."""
    store(near._ram, ANY, addr, 2, value)


def store32(near: Ptr, addr: int, value: int) -> None:
    """Write 32 bits."""
    store(near._ram, ANY, addr, 4, value)


def store64(near: Ptr, addr: int, value: int) -> None:
    """Write 64 bits."""
    store(near._ram, ANY, addr, 8, value)


def fill(near: Ptr, addr: int, byte: int, n: int) -> None:
    """``memset(addr, byte, n)``; the range lies in one window."""
    if n > 0:
        ram = near._ram
        at = ram.offset(ANY, addr, 1, True)
        ram.offset(ANY, addr + n - 1, 1, True)
        ram.whole[at : at + n] = bytes([byte & 0xFF]) * n


def copy(near: Ptr, dest: int, src: int, n: int) -> None:
    """``memmove(dest, src, n)``; each range lies in one window."""
    if n > 0:
        ram = near._ram
        to, source = ram.offset(ANY, dest, 1, True), ram.offset(ANY, src, 1, False)
        ram.offset(ANY, dest + n - 1, 1, True)
        ram.offset(ANY, src + n - 1, 1, False)
        ram.whole[to : to + n] = bytes(ram.whole[source : source + n])


def bswap64(value: int) -> int:
    """The 64-bit word with its bytes in reverse order."""
    return s64(int.from_bytes((value & MASK64).to_bytes(8, "little"), "big"))


def ctz(value: int) -> int:
    """Number of zero bits below the lowest one (64 for 0); ``__ffs``."""
    value &= MASK64
    return (value & -value).bit_length() - 1 if value else 64


def fls64(value: int) -> int:
    """Number of the highest bit that is set, counted from 1 (0 for 0); ``fls64``."""
    return (value & MASK64).bit_length()


def ult(a: int, b: int) -> bool:
    """``a < b`` as unsigned 64-bit numbers."""
    return (a & MASK64) < (b & MASK64)


def lshr(a: int, n: int) -> int:
    """``a >> n`` as an unsigned 64-bit number."""
    return s64((a & MASK64) >> n)


def shl(a: int, n: int) -> int:
    """``a << n`` with the bits above 64 lost."""
    return s64(a << n)


def mul64(a: int, b: int) -> int:
    """``a * b`` with the bits above 64 lost."""
    return s64(a * b)


def upcall(near: Ptr, code: int, a: int, b: int, c: int, d: int) -> int:
    """Ask the Python side of the kernel to do something now (print a report, run a constructor) and to answer."""
    return near._ram.upcall(code, a, b, c, d)


def unwind(near: Ptr) -> None:
    """Give up: return through all callers to Python. What happened was recorded or told by an upcall before."""
    raise Unwind
