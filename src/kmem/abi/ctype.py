"""C types as debug information describes them, and their flattening into one table of members per struct.

BTF (`kmem.abi.btf`) and DWARF (`kmem.abi.dwarf`) both turn into these few node classes. `flatten` writes a struct in
the grammar of ``releases/*.structs.json``:

    u8 u16 u32 u64 s8 s16 s32 s64    integers; bool is u8, char is s8, an enum is u32 or (with negative values) s32
    *name                            pointer to struct, union or typedef of an anonymous struct `name`
    *                                any other pointer
    struct name                      embedded struct or union; `name` is the typedef's when the struct has no tag
    struct                           embedded, no name at all: its members follow as `member.inner`
    [n]T                             array

Members of anonymous structs and unions stand in their parent. ``atomic_t`` and ``refcount_t`` are s32,
``atomic64_t`` and ``atomic_long_t`` s64; ``spinlock_t`` and ``raw_spinlock_t`` are u32 where they have 4 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

POINTER_SIZE = 8

_SCALAR_TYPEDEFS = {"atomic_t": "s32", "refcount_t": "s32", "atomic64_t": "s64", "atomic_long_t": "s64"}
_SPINLOCKS = ("spinlock", "raw_spinlock")


class CType:
    """Base of all nodes."""


@dataclass(frozen=True)
class Void(CType):
    """void, a function, or a type that is only declared."""


@dataclass(frozen=True)
class Int(CType):
    """An integer, bool, char or enum of `size` bytes."""

    size: int
    signed: bool


@dataclass(frozen=True)
class Pointer(CType):
    """A pointer; `target` is resolved on demand because types refer to each other in circles."""

    target: Callable[[], CType]


@dataclass(frozen=True)
class Array(CType):
    """An array of `count` elements."""

    element: CType
    count: int


@dataclass(frozen=True)
class Typedef(CType):
    """A typedef of `target`."""

    name: str
    target: Callable[[], CType]


@dataclass(frozen=True)
class Field:
    """One member as the debug information has it.

    `bit` counts from the start of its own struct; `bits` is 0 unless it is a bit field.
    """

    name: str
    bit: int
    bits: int
    type: Callable[[], CType]


@dataclass(frozen=True)
class Struct(CType):
    """A struct or union; `name` is its tag, empty when it has none."""

    name: str
    size: int
    fields: Sequence[Field]


@dataclass(frozen=True)
class Forward(CType):
    """A struct or union that is declared and not defined."""

    name: str


class TypeSource(Protocol):
    """Where structs come from: a BTF section, the DWARF of an ELF file."""

    def find_all(self, name: str) -> list[Struct]:
        """Every definition of struct, union or typedef-of-anonymous-struct `name`, in file order."""

    def enum(self, name: str) -> dict[str, int]:
        """The constants of ``enum name`` or of the anonymous enum whose first constant is `name`; empty if unknown."""


# A flattened member: [offset, size, type] or, for a bit field, [offset, size, type, bit_offset, bit_size].
Row = list[int | str]


def strip(ctype: CType) -> tuple[CType, str]:
    """Follows typedefs; returns the type below and the name of the innermost typedef ('' if there was none)."""
    name = ""
    while isinstance(ctype, Typedef):
        name = ctype.name
        ctype = ctype.target()
    return ctype, name


def size_of(ctype: CType) -> int:
    """``sizeof`` in bytes; 0 for void, functions and undefined structs."""
    ctype, _ = strip(ctype)
    if isinstance(ctype, Int | Struct):
        return ctype.size
    if isinstance(ctype, Pointer):
        return POINTER_SIZE
    if isinstance(ctype, Array):
        return ctype.count * size_of(ctype.element)
    return 0


def spell(ctype: CType) -> str:
    """The type in the grammar of the structs files."""
    below = ctype
    while isinstance(below, Typedef):
        if below.name in _SCALAR_TYPEDEFS:
            return _SCALAR_TYPEDEFS[below.name]
        below = below.target()
    below, typedef = strip(ctype)
    if isinstance(below, Int):
        return f"[2]u{below.size * 4}" if below.size > 8 else f"{'s' if below.signed else 'u'}{below.size * 8}"
    if isinstance(below, Pointer):
        target, target_typedef = strip(below.target())
        return f"*{target.name or target_typedef}" if isinstance(target, Struct | Forward) else "*"
    if isinstance(below, Array):
        return f"[{below.count}]{spell(below.element)}"
    if isinstance(below, Struct):
        if below.name in _SPINLOCKS and below.size == 4:
            return "u32"
        return f"struct {below.name or typedef}".rstrip()
    return "struct"


def flatten(struct: Struct) -> dict[str, Row]:
    """All members of `struct` with their byte offsets, those of anonymous members included."""
    return dict(_walk(struct, 0, ""))


def _walk(struct: Struct, base: int, prefix: str) -> Iterator[tuple[str, Row]]:
    for field in struct.fields:
        ctype = field.type()
        bit = base + field.bit
        if not field.name:
            if isinstance(ctype, Struct):
                yield from _walk(ctype, bit, prefix)
            continue
        name = prefix + field.name
        size = size_of(ctype)
        if field.bits:
            unit = bit // (size * 8) * size
            yield name, [unit, size, spell(ctype), bit - unit * 8, field.bits]
            continue
        yield name, [bit // 8, size, spell(ctype)]
        if isinstance(ctype, Struct) and not ctype.name:
            yield from _walk(ctype, bit, f"{name}.")
