"""Relocations of x86-64 modules: ``apply_relocate_add`` (arch/x86/kernel/module.c, 6.1).

Supported is what that function supports: R_X86_64_NONE, 64, PC32, PLT32, 32, 32S, PC64. Everything else is refused, as
the kernel does ("Unknown rela relocation"). What compilers and linkers also know, and a kernel module must not contain:

    3 GOT32, 9 GOTPCREL, 22 GOTTPOFF, 25 GOTOFF64, 26 GOTPC32, 27 GOT64, 28 GOTPCREL64, 29 GOTPC64, 41 GOTPCRELX,
    42 REX_GOTPCRELX: position-independent code (-fPIC), which has a global offset table
    5 COPY, 6 GLOB_DAT, 7 JUMP_SLOT, 8 RELATIVE, 37 IRELATIVE: dynamic linking
    16 DTPMOD64 … 23 TPOFF32, 34 GOTPC32_TLSDESC … 36 TLSDESC: thread-local storage
    12 16, 13 PC16, 14 8, 15 PC8: narrow fields
    30 GOTPLT64, 31 PLTOFF64, 32 SIZE32, 33 SIZE64
"""

from __future__ import annotations

import struct

from kmem.errors import ModuleFormatError
from kmem.modules.elf import Elf, Section, malformed

R_NONE, R_64, R_PC32, R_PLT32, R_32, R_32S, R_PC64 = 0, 1, 2, 4, 10, 11, 24

MASK64 = (1 << 64) - 1
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_ZERO4, _ZERO8 = bytes(4), bytes(8)
_COMPILE = "build the module with kbuild, which gives the kernel's compiler flags (-mcmodel=kernel, no -fPIC)"


def apply_relocations(elf: Elf, section: Section, buffer: bytearray, at: int, address: int, values: list[int]) -> None:
    """Apply the RELA *section* to its target, which lies at *at* in *buffer* and will run at *address*.

    *values* has the final value of each symbol by number. ModuleFormatError, with the kernel's words, for an unknown
    type, a target that is not zero (the addend is in the entry), a value that does not fit, and for an offset or a
    symbol that does not exist. Differs: the kernel cuts off a PC32 that does not fit, and lets the module run into the
    wrong address.
    """
    size = elf.sections[section.info].size
    count = len(values)
    shift = address - at
    for offset, kind, number, addend in elf.relocations(section):
        if kind == R_NONE:
            continue
        width = 8 if kind in (R_64, R_PC64) else 4
        if offset + width > size:
            raise malformed(f"{section.name}: relocation at offset {offset:#x} of a section of {size:#x} bytes")
        if number >= count:
            raise malformed(f"{section.name}: relocation against symbol {number} of {count}")
        where = at + offset
        value = values[number] + addend
        if kind in (R_PC32, R_PLT32):
            if buffer[where : where + 4] != _ZERO4:
                raise _not_zero(kind, where + shift, value - where - shift)
            value = value - where - shift & MASK64
            if 0x80000000 <= value < 0xFFFFFFFF80000000:
                raise _overflow(kind, value)
            _U32.pack_into(buffer, where, value & 0xFFFFFFFF)
        elif kind == R_64:
            if buffer[where : where + 8] != _ZERO8:
                raise _not_zero(kind, where + shift, value)
            _U64.pack_into(buffer, where, value & MASK64)
        elif kind in (R_32, R_32S):
            if buffer[where : where + 4] != _ZERO4:
                raise _not_zero(kind, where + shift, value)
            value &= MASK64
            low = value & 0xFFFFFFFF
            if value != (low if kind == R_32 or low < 0x80000000 else low | 0xFFFFFFFF00000000):
                raise _overflow(kind, value)
            _U32.pack_into(buffer, where, low)
        elif kind == R_PC64:
            if buffer[where : where + 8] != _ZERO8:
                raise _not_zero(kind, where + shift, value - where - shift)
            _U64.pack_into(buffer, where, value - where - shift & MASK64)
        else:
            raise ModuleFormatError(f"{section.name}: Unknown rela relocation: {kind}", remedy=_COMPILE)


def _overflow(kind: int, value: int) -> ModuleFormatError:
    what = f"overflow in relocation type {kind} val {value:x}"
    return ModuleFormatError(f"{what}: likely not compiled with -mcmodel=kernel", remedy=_COMPILE)


def _not_zero(kind: int, location: int, value: int) -> ModuleFormatError:
    return malformed(
        f"x86/modules: Skipping invalid relocation target, existing value is nonzero for type {kind}, "
        f"loc {location:016x}, val {value & MASK64:x}"
    )
