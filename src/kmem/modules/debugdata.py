"""The debugging sections of a module with their relocations applied.

In a relocatable file every section starts at address 0. Here each section gets an address space of its own: an address
in the debugging data is ``section index << 40 | offset``, so that code of different sections is told apart.
"""

from __future__ import annotations

import struct
import zlib

from kmem.modules.elf import SHF_ALLOC, SHF_COMPRESSED, SHN_LORESERVE, SHT_NOBITS, SHT_RELA, Elf, Section
from kmem.modules.relocation import R_32, R_64

SECTION_SHIFT = 40
OFFSET_MASK = (1 << SECTION_SHIFT) - 1

_COMPRESSION = struct.Struct("<IIQQ")
_ZLIB = 1
_MAX_SECTION = 256 << 20
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


def debug_section(elf: Elf, name: str) -> bytes:
    """The contents of a ``.debug_*`` section, decompressed and relocated; empty if there is none that can be read."""
    section = elf.find_any(name)
    if section is None or section.type == SHT_NOBITS:
        return b""
    data = bytearray(_contents(elf, section))
    for rela in elf.sections:
        if rela.type == SHT_RELA and rela.info == section.index:
            _relocate(elf, rela, data)
    return bytes(data)


def _contents(elf: Elf, section: Section) -> bytes:
    raw = bytes(elf.content(section))
    if not section.flags & SHF_COMPRESSED:
        return raw
    if len(raw) < _COMPRESSION.size:
        return b""
    kind, _, size, _ = _COMPRESSION.unpack_from(raw)
    if kind != _ZLIB or size > _MAX_SECTION:
        return b""
    try:
        return zlib.decompressobj().decompress(raw[_COMPRESSION.size :], size or 1)
    except zlib.error:
        return b""


def _relocate(elf: Elf, rela: Section, data: bytearray) -> None:
    """Apply what compilers emit for DWARF (R_X86_64_64 and 32); entries that make no sense are ignored."""
    symbols, sections, size = elf.symbols, elf.sections, len(data)
    if rela.size % 24:
        return
    for offset, kind, number, addend in elf.relocations(rela):
        if number >= len(symbols):
            continue
        symbol = symbols[number]
        value = symbol.value + addend
        if kind == R_32 and offset + 4 <= size:
            _U32.pack_into(data, offset, value & 0xFFFFFFFF)
        elif kind == R_64 and offset + 8 <= size:
            if symbol.shndx < SHN_LORESERVE and sections[symbol.shndx].flags & SHF_ALLOC:
                value = symbol.shndx << SECTION_SHIFT | value & OFFSET_MASK
            _U64.pack_into(data, offset, value & 0xFFFFFFFFFFFFFFFF)
