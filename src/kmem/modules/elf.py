"""A bounded reader of ELF64 relocatable files, which is what a kernel module is.

Every count, offset, size, index and link is checked before it is used, so a malformed file costs no more time or memory
than its own size and ends in a `ModuleFormatError` that says what is wrong. The checks are those of
``elf_validity_check`` and ``setup_load_info`` (kernel/module/main.c), and more where the kernel trusts the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kmem.errors import ModuleFormatError

SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_REL = 0, 1, 2, 3, 4, 7, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 1, 2, 4, 0x800
SHF_RO_AFTER_INIT = 0x00200000
"""A flag of the kernel's own, set on sections that become read-only when init has returned."""

SHN_UNDEF, SHN_LORESERVE, SHN_LIVEPATCH, SHN_ABS, SHN_COMMON = 0, 0xFF00, 0xFF20, 0xFFF1, 0xFFF2
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 0, 1, 2, 3, 4

EM_X86_64 = 62
ET_REL = 1

MAX_NAME = 512
"""Longest section or symbol name that is believed, with its zero byte; the kernel's own limit (``KSYM_NAME_LEN``)."""
MAX_SYMBOLS = 1 << 20
MAX_ALIGN = 1 << 21
MAX_LOADED = 256 << 20
"""Bytes that the allocated sections may take together, NOBITS included (the module area is 1 GiB)."""

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QIIq")
"""``Elf64_Rela`` with r_info taken apart: r_offset, type, symbol, r_addend."""

MACHINES = {
    2: "SPARC", 3: "32-bit x86", 8: "MIPS", 15: "PA-RISC", 20: "32-bit PowerPC", 21: "PowerPC64", 22: "s390",
    40: "32-bit ARM", 42: "SuperH", 43: "SPARC64", 50: "IA-64", 62: "x86-64", 183: "AArch64", 243: "RISC-V",
    247: "BPF", 258: "LoongArch",
}  # fmt: skip
_TYPES = {2: "an executable", 3: "a shared library or position-independent executable", 4: "a core dump"}
_SIGNATURE = b"~Module signature appended~\n"

REBUILD = "copy the file again if it was damaged, or build the module again (`kmem run FILE.c` does)"


@dataclass(frozen=True, slots=True)
class Section:
    """One section header. *index* is its place in the table."""

    index: int
    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int

    @property
    def alloc(self) -> bool:
        """Whether the section takes memory in a loaded module, before the loader has left any out."""
        return bool(self.flags & SHF_ALLOC)


class Symbol(NamedTuple):
    """One entry of the symbol table; *value* is relative to its section."""

    name: str
    info: int
    shndx: int
    value: int
    size: int

    @property
    def bind(self) -> int:
        """``ELF_ST_BIND``: STB_LOCAL, STB_GLOBAL or STB_WEAK."""
        return self.info >> 4

    @property
    def type(self) -> int:
        """``ELF_ST_TYPE``: STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION or STT_FILE."""
        return self.info & 15


def malformed(what: str, remedy: str = REBUILD) -> ModuleFormatError:
    """The error for a file that breaks the format."""
    return ModuleFormatError(what, remedy=remedy)


class Elf:
    """A parsed module file. *image* is kept and never written to.

    `symbols` is the whole symbol table in file order; `signed` tells whether a module signature is appended.
    """

    def __init__(self, image: bytes) -> None:
        self.signed, size = _signature(image)
        self.image = image
        self.view = memoryview(image)[:size].toreadonly()
        shoff, shnum, shstrndx = _header(self.view)
        self.sections: list[Section] = self._sections(shoff, shnum, shstrndx)
        self._index: dict[str, Section] = {}
        for section in self.sections:
            if section.alloc:
                self._index.setdefault(section.name, section)
        self.symtab = self._symtab()
        self.strtab = self.sections[self.symtab.link]
        self.symbols: list[Symbol] = self._symbols()
        self._check_relocations()
        self._check_loaded_size()

    def find(self, name: str) -> Section | None:
        """The first allocated section called *name* (``find_sec``)."""
        return self._index.get(name)

    def find_any(self, name: str) -> Section | None:
        """The first section called *name*, allocated or not (``find_any_sec``)."""
        return next((section for section in self.sections if section.name == name), None)

    def content(self, section: Section) -> memoryview:
        """The bytes of *section* in the file; empty for NOBITS."""
        if section.type in (SHT_NOBITS, SHT_NULL):
            return self.view[:0]
        return self.view[section.offset : section.offset + section.size]

    def relocations(self, section: Section) -> Iterator[tuple[int, int, int, int]]:
        """The entries of a RELA section: offset in the target, type, symbol number, addend."""
        return RELA.iter_unpack(self.content(section))

    def _sections(self, shoff: int, shnum: int, shstrndx: int) -> list[Section]:
        view, end = self.view, len(self.view)
        raw = list(SECTION.iter_unpack(view[shoff : shoff + shnum * SECTION.size]))
        _, kind, _, _, names_at, names_size, *_ = raw[shstrndx]
        if kind != SHT_STRTAB:
            raise malformed(f"the section name table (section {shstrndx}) is not a string table")
        if names_at + names_size > end:
            raise malformed(f"truncated: the section name table ends at byte {names_at + names_size} of {end}")
        names = bytes(view[names_at : names_at + names_size])
        if not names or names[-1]:
            raise malformed("the section name table is not terminated by a zero byte")
        if raw[0][1] != SHT_NULL or raw[0][5] or raw[0][3]:
            raise malformed("section 0 is not the null section")
        sections = []
        for index, (name_at, kind, flags, _, offset, size, link, info, align, entsize) in enumerate(raw):
            name = _string(names, name_at, f"the name of section {index}")
            if kind not in (SHT_NULL, SHT_NOBITS) and offset + size > end:
                raise malformed(f"truncated: section {index} ({name}) ends at byte {offset + size}, the file has {end}")
            if kind == SHT_NULL and flags & SHF_ALLOC:
                raise malformed(f"section {index} ({name}) is unused and allocated at once")
            if align & (align - 1) or align > MAX_ALIGN:
                raise malformed(f"section {index} ({name}) has the alignment {align:#x}")
            sections.append(Section(index, name, kind, flags, offset, size, link, info, align, entsize))
        return sections

    def _symtab(self) -> Section:
        symtab = next((section for section in self.sections if section.type == SHT_SYMTAB), None)
        if symtab is None:
            raise malformed(
                "no symbol table: the module was stripped", "strip modules with --strip-debug only, or build it again"
            )
        if symtab.entsize != SYMBOL.size or symtab.size % SYMBOL.size or not symtab.size:
            raise malformed(
                f"the symbol table has {symtab.size} bytes in entries of {symtab.entsize}, not of {SYMBOL.size}"
            )
        if not 0 < symtab.link < len(self.sections) or self.sections[symtab.link].type != SHT_STRTAB:
            raise malformed(f"the symbol table names section {symtab.link} as its string table, which is none")
        if symtab.size // SYMBOL.size > MAX_SYMBOLS:
            raise malformed(f"{symtab.size // SYMBOL.size} symbols are more than any module has")
        strings = self.content(self.sections[symtab.link])
        if not len(strings) or strings[-1]:
            raise malformed("the symbol string table is not terminated by a zero byte")
        return symtab

    def _symbols(self) -> list[Symbol]:
        strings = bytes(self.content(self.strtab))
        end, count = len(strings), len(self.sections)
        find = strings.find
        symbols: list[Symbol] = []
        for name_at, info, _, shndx, value, size in SYMBOL.iter_unpack(self.content(self.symtab)):
            if name_at >= end:
                raise malformed(f"symbol {len(symbols)} has its name at byte {name_at} of a table of {end}")
            stop = find(b"\0", name_at, name_at + MAX_NAME)
            if stop < 0:
                raise malformed(f"the name of symbol {len(symbols)} is longer than {MAX_NAME} bytes")
            name = strings[name_at:stop].decode("ascii", "backslashreplace")
            if shndx >= count and shndx not in (SHN_ABS, SHN_COMMON, SHN_LIVEPATCH):
                raise malformed(f"symbol {name} has the section index {shndx}; the file has {count} sections")
            symbols.append(Symbol(name, info, shndx, value, size))
        return symbols

    def _check_relocations(self) -> None:
        """Check the shape of every relocation section of an allocated one; entries are checked where they are used."""
        count, total = len(self.sections), 0
        for section in self.sections:
            if section.type not in (SHT_RELA, SHT_REL):
                continue
            if section.info >= count:
                raise malformed(f"section {section.index} ({section.name}) relocates section {section.info} of {count}")
            if not self.sections[section.info].alloc:
                continue
            if section.type == SHT_REL:
                raise malformed(f"section {section.index} ({section.name}) has no addends (REL); x86-64 uses RELA")
            if section.entsize != RELA.size or section.size % RELA.size:
                raise malformed(
                    f"section {section.index} ({section.name}) has entries of {section.entsize} bytes, not {RELA.size}"
                )
            if section.link != self.symtab.index:
                raise malformed(
                    f"section {section.index} ({section.name}) is for the symbol table {section.link}, which is none"
                )
            if self.sections[section.info].type == SHT_NOBITS:
                raise malformed(f"section {section.index} ({section.name}) relocates a section without contents")
            total += section.size
        if total > len(self.view):
            raise malformed("relocation sections overlap: together they are larger than the file")

    def _check_loaded_size(self) -> None:
        loaded = sum(section.size + section.align for section in self.sections if section.alloc)
        if loaded > MAX_LOADED:
            raise malformed(f"the module would take {loaded >> 20} MiB, more than {MAX_LOADED >> 20} MiB")


def _header(view: memoryview) -> tuple[int, int, int]:
    """Check the ELF header; return e_shoff, e_shnum, e_shstrndx."""
    if bytes(view[:4]) != b"\x7fELF":
        raise malformed(
            f"not an ELF file: {_looks_like(view)}",
            "give a kernel module (.ko), a .c file or a directory with a Kbuild file",
        )
    if len(view) < HEADER.size:
        raise malformed(f"truncated: {len(view)} bytes, an ELF header has {HEADER.size}")
    order: Literal["big", "little"] = "big" if view[5] == 2 else "little"
    machine = int.from_bytes(view[18:20], order)
    other = "kmem runs x86-64 modules: build it for x86-64"
    if machine != EM_X86_64:
        raise malformed(f"built for {MACHINES.get(machine, f'machine {machine}')}, not x86-64", other)
    if view[4] != 2 or view[5] != 1:
        raise malformed(
            "built for x86-64 with 32-bit pointers (x32) or the wrong byte order, not for a 64-bit kernel", other
        )
    _, kind, _, _, _, _, shoff, _, _, _, _, shentsize, shnum, shstrndx = HEADER.unpack_from(view)
    if kind != ET_REL:
        what = _TYPES.get(kind, f"an ELF file of type {kind}")
        raise malformed(
            f"{what}, not a module: a kernel module is a relocatable file", "give the .ko that kbuild makes"
        )
    if shentsize != SECTION.size:
        raise malformed(f"section headers of {shentsize} bytes, not {SECTION.size}")
    if not shnum or shoff >= len(view) or shoff + shnum * SECTION.size > len(view):
        raise malformed(f"truncated: {shnum} section headers at byte {shoff}, the file has {len(view)}")
    if not 0 < shstrndx < shnum:
        raise malformed(f"the section name table is section {shstrndx} of {shnum}")
    return shoff, shnum, shstrndx


def _looks_like(view: memoryview) -> str:
    start = bytes(view[:6])
    if not start:
        return "it is empty"
    if start[:2] == b"#!":
        return "it is a script"
    if start[:4] == b"!<ar":
        return "it is a library archive"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in view[:256]):
        return "it is text"
    return f"it starts with {start.hex(' ')}"


def _signature(image: bytes) -> tuple[bool, int]:
    """Whether a signature is appended, and the size of the file without it (``module_sig_check``)."""
    if not image.endswith(_SIGNATURE):
        return False, len(image)
    size = len(image) - len(_SIGNATURE)
    trailer = image[max(size - 12, 0) : size]
    length = int.from_bytes(trailer[8:12], "big") if len(trailer) == 12 else size
    if length + 12 > size:
        raise malformed("the appended module signature is larger than the file")
    return True, size - 12 - length


def _string(table: bytes, at: int, what: str) -> str:
    if at >= len(table):
        raise malformed(f"{what} is at byte {at} of a table of {len(table)}")
    end = table.find(b"\0", at, at + MAX_NAME)
    if end < 0:
        raise malformed(f"{what} is longer than {MAX_NAME} bytes")
    return table[at:end].decode("ascii", "backslashreplace")
