"""The memory of a module while it is being linked: core and init as bytes, addressed by their final addresses."""

from __future__ import annotations

import struct

from kmem.modules.elf import SHT_NOBITS, Elf, Section, malformed
from kmem.modules.layout import Placement

_S32, _U32, _U64 = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<Q")


class Staging:
    """Both regions of a module, filled with its sections. Addresses outside of them raise `ModuleFormatError`."""

    def __init__(self, elf: Elf, placement: Placement, core_base: int, init_base: int) -> None:
        self.elf = elf
        self.placement = placement
        self.core_base, self.init_base = core_base, init_base
        self.core = bytearray(placement.core.size)
        self.init = bytearray(placement.init.size)
        self.addresses: dict[int, int] = {}
        for section in elf.sections:
            where = placement.sections.get(section.index)
            if where is None:
                continue
            in_init, offset = where
            self.addresses[section.index] = (init_base if in_init else core_base) + offset
            if section.type != SHT_NOBITS:
                buffer = self.init if in_init else self.core
                buffer[offset : offset + section.size] = elf.content(section)

    def section(self, name: str) -> Section | None:
        """The loaded section called *name*, None if the module has none or it is empty."""
        section = self.elf.find(name)
        return section if section and section.size and section.index in self.addresses else None

    def address(self, name: str) -> int:
        """Address of the loaded section *name*, 0 if there is none (``section_addr``)."""
        section = self.section(name)
        return self.addresses[section.index] if section else 0

    def table(self, name: str, size: int) -> tuple[int, int]:
        """Address and count of the records of *size* bytes in section *name*; (0, 0): none (``section_objs``)."""
        section = self.section(name)
        return (self.addresses[section.index], section.size // size) if section else (0, 0)

    def buffer(self, section: Section) -> tuple[bytearray, int]:
        """The bytes that hold *section*, and its offset in them."""
        in_init, offset = self.placement.sections[section.index]
        return (self.init if in_init else self.core), offset

    def locate(self, address: int, size: int, what: str) -> tuple[bytearray, int]:
        """Where *size* bytes at *address* are; *what* names the record that led here, for the error."""
        offset = address - self.core_base
        if 0 <= offset <= len(self.core) - size:
            return self.core, offset
        offset = address - self.init_base
        if 0 <= offset <= len(self.init) - size:
            return self.init, offset
        raise malformed(f"{what} points to {address:#x}, outside of the module")

    def contains(self, address: int, size: int = 1) -> bool:
        """Whether *size* bytes at *address* are in the module."""
        return 0 <= address - self.core_base <= len(self.core) - size or self.in_init(address, size)

    def in_init(self, address: int, size: int = 1) -> bool:
        """Whether *size* bytes at *address* are in init (``within_module_init``)."""
        return 0 <= address - self.init_base <= len(self.init) - size

    def read(self, address: int, size: int, what: str) -> bytes:
        """*size* bytes at *address*."""
        buffer, offset = self.locate(address, size, what)
        return bytes(buffer[offset : offset + size])

    def write(self, address: int, data: bytes, what: str) -> None:
        """Replace bytes at *address*."""
        buffer, offset = self.locate(address, len(data), what)
        buffer[offset : offset + len(data)] = data

    def s32(self, address: int, what: str) -> int:
        """The signed 32-bit number at *address*."""
        buffer, offset = self.locate(address, 4, what)
        return int(_S32.unpack_from(buffer, offset)[0])

    def u64(self, address: int, what: str) -> int:
        """The unsigned 64-bit number at *address*."""
        buffer, offset = self.locate(address, 8, what)
        return int(_U64.unpack_from(buffer, offset)[0])

    def relative_pointers(self, name: str) -> list[int]:
        """The addresses that a section of 32-bit self-relative pointers (``.return_sites`` …) names."""
        section = self.section(name)
        if section is None:
            return []
        buffer, offset = self.buffer(section)
        base = self.addresses[section.index]
        count = section.size // 4
        return [base + 4 * i + value for i, value in enumerate(struct.unpack_from(f"<{count}i", buffer, offset))]
