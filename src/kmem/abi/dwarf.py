"""Types from the DWARF of an ELF file (a ``.ko`` or ``.o`` compiled with ``-g``, a vmlinux with debug information).

DWARF versions 3 to 5, read with pyelftools, which is imported when a `Dwarf` is made. Only definitions at the top
level of a compilation unit are found, which in C are all but those inside function bodies.
"""

from __future__ import annotations

import io
from functools import partial
from typing import Any

from kmem.abi.ctype import Array, CType, Field, Forward, Int, Pointer, Struct, Typedef, Void
from kmem.errors import InputError

_STRUCTS = ("DW_TAG_structure_type", "DW_TAG_union_type")
_QUALIFIERS = ("DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type", "DW_TAG_atomic_type")
_SIGNED_ENCODINGS = (5, 6)  # DW_ATE_signed, DW_ATE_signed_char
_REMEDY = "compile it with -g (CONFIG_DEBUG_INFO), or give a vmlinux with a .BTF section"


class Dwarf:
    """The types of one ELF file. Raises InputError when it has no DWARF."""

    def __init__(self, data: bytes) -> None:
        from elftools.common.exceptions import DWARFError, ELFError
        from elftools.elf.elffile import ELFFile

        try:
            elf = ELFFile(io.BytesIO(data))
            if not elf.has_dwarf_info(strict=True):
                raise InputError("the ELF file has neither BTF that stands alone nor DWARF", remedy=_REMEDY)
            self._info: Any = elf.get_dwarf_info()
            self._by_name: dict[str, list[Any]] = {}
            self._enums: list[Any] = []
            self._index()
        except (ELFError, DWARFError) as error:
            raise InputError(f"the ELF file cannot be read: {error}", remedy=_REMEDY) from error
        self._cache: dict[int, CType] = {}

    def _index(self) -> None:
        for unit in self._info.iter_CUs():
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_enumeration_type":
                    self._enums.append(die)
                if die.tag not in _STRUCTS and die.tag != "DW_TAG_typedef":
                    continue
                name = _name(die)
                if name and "DW_AT_declaration" not in die.attributes:
                    self._by_name.setdefault(name, []).append(die)

    def find_all(self, name: str) -> list[Struct]:
        """Every definition of struct, union or typedef-of-anonymous-struct `name`, in file order."""
        found = []
        for die in self._by_name.get(name, ()):
            ctype = self._of(die)
            if isinstance(ctype, Typedef):
                ctype = ctype.target()
                if not isinstance(ctype, Struct) or ctype.name:
                    continue
            if isinstance(ctype, Struct):
                found.append(ctype)
        return found

    def enum(self, name: str) -> dict[str, int]:
        """The constants of ``enum name`` or of the anonymous enum whose first constant is `name`; empty if unknown."""
        for die in self._enums:
            values = _enumerators(die)
            if values and name == (_name(die) or next(iter(values))):
                return values
        return {}

    def _type_of(self, die: Any) -> CType:
        """The type that `die` refers to; qualifiers are looked through."""
        if "DW_AT_type" not in die.attributes:
            return Void()
        return self._of(die.get_DIE_from_attribute("DW_AT_type"))

    def _of(self, die: Any) -> CType:
        ctype = self._cache.get(die.offset)
        if ctype is None:
            ctype = self._cache[die.offset] = self._read(die)
        return ctype

    def _read(self, die: Any) -> CType:
        attributes = die.attributes
        tag = die.tag
        if tag in _QUALIFIERS:
            return self._type_of(die)
        if tag == "DW_TAG_base_type":
            signed = attributes["DW_AT_encoding"].value in _SIGNED_ENCODINGS
            return Int(attributes["DW_AT_byte_size"].value, signed)
        if tag == "DW_TAG_pointer_type":
            return Pointer(partial(self._type_of, die))
        if tag == "DW_TAG_typedef":
            return Typedef(_name(die), partial(self._type_of, die))
        if tag == "DW_TAG_enumeration_type":
            return Int(attributes["DW_AT_byte_size"].value, any(value < 0 for value in _enumerators(die).values()))
        if tag == "DW_TAG_array_type":
            ctype = self._type_of(die)
            for dimension in reversed([c for c in die.iter_children() if c.tag == "DW_TAG_subrange_type"]):
                ctype = Array(ctype, _count(dimension))
            return ctype
        if tag in _STRUCTS:
            if "DW_AT_declaration" in attributes:
                return Forward(_name(die))
            members = [child for child in die.iter_children() if child.tag == "DW_TAG_member"]
            size = attributes["DW_AT_byte_size"].value
            return Struct(_name(die), size, [self._field(member) for member in members])
        return Void()

    def _field(self, die: Any) -> Field:
        attributes = die.attributes
        bit = attributes["DW_AT_data_member_location"].value * 8 if "DW_AT_data_member_location" in attributes else 0
        bits = attributes["DW_AT_bit_size"].value if "DW_AT_bit_size" in attributes else 0
        if "DW_AT_data_bit_offset" in attributes:
            bit += attributes["DW_AT_data_bit_offset"].value
        elif "DW_AT_bit_offset" in attributes:
            # DWARF 3: counted from the most significant end of a unit of DW_AT_byte_size.
            bit += attributes["DW_AT_byte_size"].value * 8 - attributes["DW_AT_bit_offset"].value - bits
        return Field(_name(die), bit, bits, partial(self._type_of, die))


def _name(die: Any) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode("ascii", "backslashreplace") if attribute else ""


def _enumerators(die: Any) -> dict[str, int]:
    return {_name(child): child.attributes["DW_AT_const_value"].value for child in die.iter_children()}


def _count(dimension: Any) -> int:
    """Elements of an array dimension; 0 for a flexible array member."""
    attributes = dimension.attributes
    if "DW_AT_count" in attributes:
        return int(attributes["DW_AT_count"].value)
    if "DW_AT_upper_bound" in attributes:
        # A zero-length array has the upper bound -1, which some compilers write unsigned.
        bound = int(attributes["DW_AT_upper_bound"].value)
        return 0 if bound in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF) else bound + 1
    return 0
