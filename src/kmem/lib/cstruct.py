"""C structures in simulated RAM: struct types, typed pointers, and where an address lies.

A :class:`Struct` is a C struct of the target release. A pointer to one has the kernel's own field names as attributes,
so that model code reads as the kernel's does: ``c.freelist``, ``page.lru.next``, ``zone.free_area[order].nr_free``.
There are two implementations of a pointer with one meaning:

* :class:`Ptr` here, in plain Python (tests without a compiler, /proc readers, a user who looks around);
* ``PtrType`` in :mod:`kmem.lib.ptrtype`, for compiled code.

Conventions of both, which is what makes them reach the same state:

* Integers are 64-bit *signed* everywhere (a kernel address is negative); fields narrower than 64 bits are zero- or
sign-extended
  by their C type when read and truncated when written.
* A pointer field gives a typed pointer if its target is a known struct, an integer otherwise.
* An embedded struct gives a pointer to it, an array gives something to index.
* Every object is checked to begin in RAM, and every index of an array to be one: a wild pointer raises
:class:`CoreFault`, never a
  crash of the host.

A pointer knows its RAM. Addresses are virtual, in one of three linear windows (see :func:`Window`), or in the model's
private area, which lies outside the machine.
"""

from __future__ import annotations

import struct as _struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from kmem.machine.ram import Ram

MASK64 = (1 << 64) - 1


def s64(value: int) -> int:
    """*value* as a signed 64-bit integer, which is how compiled code sees addresses."""
    value &= MASK64
    return value - (1 << 64) if value >> 63 else value


def u64(value: int) -> int:
    """*value* as an unsigned 64-bit integer, which is how people see addresses."""
    return value & MASK64


DIRECT, VMEMMAP, IMAGE, ANY, PRIVATE = "direct", "vmemmap", "image", "any", "private"
"""Where the objects of a struct lie: the direct map, the page array, the kernel image, any of the three, or outside
RAM.
"""

PRIVATE_SIZE = 2 << 20
"""Bytes of the model's private area, which ends where physical address 0 begins."""

RAM_SIZE_AT, MEM_MAP_AT, MEM_MAP_SIZE_AT = -PRIVATE_SIZE, -PRIVATE_SIZE + 8, -PRIVATE_SIZE + 16
"""Offsets from physical address 0 of the three numbers that bound every access of model code."""


class CoreFault(Exception):
    """Model code, acting as the kernel, followed a pointer that leads nowhere."""

    def __init__(self, address: int, size: int, write: bool) -> None:
        super().__init__(f"{'write' if write else 'read'} of {size} bytes at {u64(address):#018x}")
        self.address = u64(address)
        self.size = size
        self.write = write


class Field(NamedTuple):
    """One member: *kind* is ``int``, ``ptr``, ``struct`` or ``array``; *target* names the struct that it leads to."""

    offset: int
    kind: str
    size: int
    signed: bool = False
    target: str = ""
    bit_offset: int = 0
    bit_size: int = 0
    length: int = 0
    element: Field | None = None


_INTS = {f"{sign}{bits}": (bits // 8, sign == "s") for sign in "us" for bits in (8, 16, 32, 64)}


def parse_type(text: str, offset: int, size: int, bits: tuple[int, int] = (0, 0)) -> Field:
    """The field that a type in the grammar of ``abi/releases/*.structs.json`` describes."""
    if text in _INTS:
        width, signed = _INTS[text]
        return Field(offset, "int", width, signed, bit_offset=bits[0], bit_size=bits[1])
    if text.startswith("*"):
        return Field(offset, "ptr", 8, target=text[1:])
    if text.startswith("struct "):
        return Field(offset, "struct", size, target=text[7:])
    if text.startswith("["):
        number, _, rest = text[1:].partition("]")
        count = int(number)
        width = size // count if count else 0
        return Field(offset, "array", size, length=count, element=parse_type(rest, 0, width))
    raise ValueError(f"unknown field type {text!r}")


class Struct:
    """A C struct of one release: its name, size and members, and the window that its objects live in.

    *table* holds the structs of that release by name. Without it the struct is one that model code is compiled (or
    interpreted) with: those are in :attr:`registry`. *at* is the address of the only object, where there is but one (in
    the image, which is always there).
    """

    registry: ClassVar[dict[str, Struct]] = {}

    def __init__(
        self,
        name: str,
        size: int,
        members: dict[str, list[Any]],
        window: str,
        table: dict[str, Struct] | None = None,
        at: int = 0,
    ) -> None:
        self.name = name
        self.size = size
        self.window = window
        self.at = at
        self.table = Struct.registry if table is None else table
        self._raw = members
        self._fields: dict[str, Field] = {}
        self.table[name] = self

    def among(self, table: dict[str, Struct]) -> Struct:
        """The struct of this name in another release's *table*; one of our own is the same in every release."""
        return table.get(self.name) or Struct(self.name, self.size, self._raw, self.window, table, self.at)

    def field(self, name: str) -> Field:
        """The member called *name*; AttributeError if the release has none."""
        found = self._fields.get(name)
        if found is None:
            raw = self._raw.get(name)
            if raw is None:
                raise AttributeError(f"struct {self.name} has no member {name!r} in this release")
            offset, size, text, *bits = raw
            found = parse_type(text, offset, size, (bits[0], bits[1]) if bits else (0, 0))
            self._fields[name] = found
        return found

    def has(self, name: str) -> bool:
        """Whether this release's struct has the member (the way to tell releases apart)."""
        return name in self._raw

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def names(self) -> Iterable[str]:
        """The members' names, in order."""
        return self._raw.keys()

    def __repr__(self) -> str:
        return f"struct {self.name}"

    def __deepcopy__(self, memo: object) -> Struct:
        return self


def private_struct(name: str, members: list[tuple[str, str]], window: str, at: int = 0) -> Struct:
    """A struct of our own: members in order, each with its natural alignment."""
    table: dict[str, list[Any]] = {}
    offset = 0
    for member, text in members:
        size, align = _measure(text)
        offset = -(-offset // align) * align
        table[member] = [offset, size, text]
        offset += size
    return Struct(name, -(-offset // 8) * 8, table, window, at=at)


def _measure(text: str) -> tuple[int, int]:
    if text in _INTS:
        width = _INTS[text][0]
        return width, width
    if text.startswith("*"):
        return 8, 8
    if text.startswith("struct "):
        return Struct.registry[text[7:]].size, 8
    number, _, rest = text[1:].partition("]")
    width, align = _measure(rest)
    return int(number) * width, align


_FORMATS = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "q"}
_FORMATS |= {(1, True): "b", (2, True): "h", (4, True): "i", (8, True): "q"}
_CODECS = {key: _struct.Struct("<" + code) for key, code in _FORMATS.items()}


def load(ram: Ram, window: str, addr: int, size: int, signed: bool, inside: int = 0) -> int:
    """The integer at offset *inside* of the object at *addr*."""
    value: int = _CODECS[size, signed].unpack_from(ram.whole, ram.offset(window, addr, size, False, inside))[0]
    return value


def store(ram: Ram, window: str, addr: int, size: int, value: int, inside: int = 0) -> None:
    """Put the low *size* bytes of *value* at offset *inside* of the object at *addr*."""
    offset = ram.offset(window, addr, size, True, inside)
    ram.whole[offset : offset + size] = (value & MASK64).to_bytes(8, "little")[:size]


class Ptr:
    """A typed pointer, in Python. Equality and truth are the address's; ``+``, ``-`` and ``[]`` step by the struct's
    size.
    """

    __slots__ = ("_addr", "_ram", "_type", "_window")
    _addr: int
    _ram: Ram
    _type: Struct
    _window: str

    def __init__(self, ram: Ram | None, type_: Struct, addr: int, window: str = "") -> None:
        set_ = object.__setattr__
        if ram is not None and type_.table is not ram.structs:
            type_ = type_.among(ram.structs)
        set_(self, "_ram", ram)
        set_(self, "_type", type_)
        set_(self, "_addr", s64(addr))
        set_(self, "_window", window or type_.window)

    def __getattr__(self, name: str) -> Any:
        field = self._type.field(name)
        return _read(self._ram, self._window, self._addr, field)

    def __setattr__(self, name: str, value: Any) -> None:
        field = self._type.field(name)
        _write(self._ram, self._window, self._addr, field, value)

    def __add__(self, n: int) -> Ptr:
        return Ptr(self._ram, self._type, self._addr + n * self._type.size, self._window)

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Ptr):
            return (self._addr - other._addr) // self._type.size
        return self + (-other)

    def __getitem__(self, n: int) -> Ptr:
        return self + n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ptr) and self._addr == other._addr

    def __hash__(self) -> int:
        return hash(self._addr)

    def __bool__(self) -> bool:
        return self._addr != 0

    def __repr__(self) -> str:
        return f"(struct {self._type.name} *){u64(self._addr):#018x}"


class Array:
    """An array member of a struct in RAM."""

    __slots__ = ("addr", "field", "ram", "window")

    def __init__(self, ram: Ram, window: str, addr: int, field: Field) -> None:
        self.ram, self.window, self.addr, self.field = ram, window, addr, field

    def _at(self, index: int) -> int:
        assert self.field.element is not None
        found = self.addr + index * self.field.element.size
        if self.field.length and not 0 <= index < self.field.length:
            raise CoreFault(found, self.field.element.size, False)
        return found

    def __getitem__(self, index: int) -> Any:
        assert self.field.element is not None
        return _read(self.ram, self.window, self._at(index), self.field.element)

    def __setitem__(self, index: int, value: Any) -> None:
        assert self.field.element is not None
        _write(self.ram, self.window, self._at(index), self.field.element, value)

    def __len__(self) -> int:
        return self.field.length


def embedded_window(struct: Struct, window: str) -> str:
    """Where a struct embedded in an object of *window* is looked for: list heads and tree nodes link objects
    anywhere.
    """
    return ANY if struct.window == ANY and window != PRIVATE else window


def _target(ram: Ram, name: str) -> Struct | None:
    """The struct of this name in the release of *ram*, or one of our own."""
    found = ram.structs.get(name)
    if found is None and name in Struct.registry:
        found = Struct.registry[name].among(ram.structs)
    return found


def _read(ram: Ram, window: str, addr: int, field: Field) -> Any:
    """The member *field* of the object at *addr*."""
    if field.kind == "int":
        value = load(ram, window, addr, field.size, field.signed, field.offset)
        return (value >> field.bit_offset) & ((1 << field.bit_size) - 1) if field.bit_size else value
    if field.kind == "ptr":
        value = load(ram, window, addr, 8, True, field.offset)
        target = _target(ram, field.target)
        return Ptr(ram, target, value) if target else value
    if field.kind == "struct":
        target = _target(ram, field.target)
        assert target is not None
        return Ptr(ram, target, addr + field.offset, embedded_window(target, window))
    return Array(ram, window, addr + field.offset, field)


def _write(ram: Ram, window: str, addr: int, field: Field, value: Any) -> None:
    if field.kind == "ptr":
        store(ram, window, addr, 8, value._addr if isinstance(value, Ptr) else value, field.offset)
    elif field.kind == "int" and field.bit_size:
        mask = ((1 << field.bit_size) - 1) << field.bit_offset
        old = load(ram, window, addr, field.size, False, field.offset)
        value = (old & ~mask) | ((value << field.bit_offset) & mask)
        store(ram, window, addr, field.size, value, field.offset)
    elif field.kind == "int":
        store(ram, window, addr, field.size, value, field.offset)
    else:
        raise TypeError(f"a member of kind {field.kind} cannot be assigned as a whole")
