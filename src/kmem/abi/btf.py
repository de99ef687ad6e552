"""A reader of BTF, the type information that the kernel carries in its ``.BTF`` section.

The format is that of Documentation/bpf/btf.rst: a header, an array of records, a string table. Only the kinds that
describe data are turned into `kmem.abi.ctype` nodes; functions, variables and data sections are skipped by length.
"""

from __future__ import annotations

import struct as packing
from functools import partial

from kmem.abi.ctype import Array, CType, Field, Forward, Int, Pointer, Struct, Typedef, Void
from kmem.errors import InputError

MAGIC = 0xEB9F

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = range(1, 14)
VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(14, 20)

INT_SIGNED = 1
INT_CHAR = 2

_REMEDY = "give a vmlinux with a .BTF section, or the bytes of one (/sys/kernel/btf/vmlinux)"


class Btf:
    """The types of one BTF blob. Raises InputError when the bytes are not well-formed BTF."""

    def __init__(self, data: bytes) -> None:
        order = "<" if data[:2] == b"\x9f\xeb" else ">"
        if len(data) < 24 or packing.unpack_from(order + "H", data)[0] != MAGIC:
            raise InputError("not BTF: the magic number 0xeb9f is missing", remedy=_REMEDY)
        _, _, _, hdr_len, type_off, type_len, str_off, str_len = packing.unpack_from(order + "HBBIIIII", data)
        self._order = order
        self._types = data[hdr_len + type_off : hdr_len + type_off + type_len]
        self._strings = data[hdr_len + str_off : hdr_len + str_off + str_len]
        if len(self._types) != type_len or len(self._strings) != str_len:
            raise InputError("truncated BTF: a section ends behind the end of the data", remedy=_REMEDY)
        self._cache: dict[int, CType] = {}
        self._offsets: list[int] = [0]
        self._by_name: dict[str, list[int]] = {}
        self._enums: list[int] = []
        try:
            self._index()
        except packing.error as error:
            raise InputError(f"truncated BTF: {error}", remedy=_REMEDY) from error

    def _index(self) -> None:
        """One pass over the records: where each type id starts, and which ids define which name."""
        record = packing.Struct(self._order + "III")
        tails = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
        per_item = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
        at = 0
        while at < len(self._types):
            name, info, _ = record.unpack_from(self._types, at)
            kind = info >> 24 & 0x1F
            if not INT <= kind <= ENUM64:
                raise InputError(f"BTF type {len(self._offsets)} has the unknown kind {kind}", remedy=_REMEDY)
            if kind in (STRUCT, UNION, TYPEDEF) and name:
                self._by_name.setdefault(self._string(name), []).append(len(self._offsets))
            elif kind == ENUM:
                self._enums.append(at)
            self._offsets.append(at)
            at += 12 + tails.get(kind, 0) + (info & 0xFFFF) * per_item.get(kind, 0)

    def _string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        if end < 0:
            raise InputError(f"BTF string {offset} has no end", remedy=_REMEDY)
        return self._strings[offset:end].decode("ascii", "backslashreplace")

    def find_all(self, name: str) -> list[Struct]:
        """Every definition of struct, union or typedef-of-anonymous-struct `name`, in file order."""
        found = []
        for number in self._by_name.get(name, ()):
            ctype = self.type(number)
            if isinstance(ctype, Typedef):
                ctype = ctype.target()
                if not isinstance(ctype, Struct) or ctype.name:
                    continue
            if isinstance(ctype, Struct):
                found.append(ctype)
        return found

    def enum(self, name: str) -> dict[str, int]:
        """The constants of ``enum name`` or of the anonymous enum whose first constant is `name`; empty if unknown."""
        for at in self._enums:
            tag, info, _ = packing.unpack_from(self._order + "III", self._types, at)
            pairs = packing.unpack_from(self._order + "Ii" * (info & 0xFFFF), self._types, at + 12)
            if pairs and name == self._string(tag or pairs[0]):
                return {self._string(key): value for key, value in zip(pairs[0::2], pairs[1::2], strict=True)}
        return {}

    def type(self, number: int) -> CType:
        """The type with id `number`; const, volatile, restrict and type tags are looked through."""
        if number not in self._cache:
            self._cache[number] = self._read(number)
        return self._cache[number]

    def _read(self, number: int) -> CType:
        if number == 0:
            return Void()
        if number >= len(self._offsets):
            raise InputError(f"BTF refers to type {number}, which does not exist", remedy=_REMEDY)
        at = self._offsets[number]
        name, info, size_or_type = packing.unpack_from(self._order + "III", self._types, at)
        kind, vlen, flag = info >> 24 & 0x1F, info & 0xFFFF, info >> 31
        if kind == INT:
            (encoding,) = packing.unpack_from(self._order + "I", self._types, at + 12)
            return Int(size_or_type, bool(encoding >> 24 & (INT_SIGNED | INT_CHAR)))
        if kind == PTR:
            return Pointer(partial(self.type, size_or_type))
        if kind == ARRAY:
            element, _, count = packing.unpack_from(self._order + "III", self._types, at + 12)
            return Array(self.type(element), count)
        if kind in (STRUCT, UNION):
            return Struct(self._string(name), size_or_type, self._fields(at + 12, vlen, bool(flag)))
        if kind == ENUM:
            values = packing.unpack_from(self._order + "Ii" * vlen, self._types, at + 12)[1::2]
            return Int(size_or_type, any(value < 0 for value in values))
        if kind == ENUM64:
            return Int(size_or_type, bool(flag))
        if kind == FWD:
            return Forward(self._string(name))
        if kind == TYPEDEF:
            return Typedef(self._string(name), partial(self.type, size_or_type))
        if kind in (VOLATILE, CONST, RESTRICT, TYPE_TAG):
            return self.type(size_or_type)
        if kind == FLOAT:
            return Int(size_or_type, False)
        return Void()

    def _fields(self, at: int, vlen: int, has_bit_sizes: bool) -> list[Field]:
        numbers = packing.unpack_from(self._order + "III" * vlen, self._types, at)
        fields = []
        for name, number, offset in zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True):
            bits = offset >> 24 if has_bit_sizes else 0
            bit = offset & 0xFFFFFF if has_bit_sizes else offset
            fields.append(Field(self._string(name), bit, bits, partial(self.type, number)))
        return fields
