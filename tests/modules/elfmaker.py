"""Writes relocatable ELF files, right or wrong, field by field: independent of the reader under test."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

PROGBITS, SYMTAB, STRTAB, RELA, NOBITS = 1, 2, 3, 4, 8
WRITE, ALLOC, EXEC = 1, 2, 4
UNDEF, ABS, COMMON = 0, 0xFFF1, 0xFFF2
LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC, SECTION = 0, 1, 2, 3
R_NONE, R_64, R_PC32, R_PLT32, R_32, R_32S, R_PC64 = 0, 1, 2, 4, 10, 11, 24

VERMAGIC = "6.1.0-56-amd64 SMP preempt mod_unload modversions "
THIS_MODULE_SIZE, NAME_AT, INIT_AT, EXIT_AT = 896, 24, 312, 848
"""``struct module`` of 6.1.0-56-amd64."""


@dataclass
class Section:
    name: str
    data: bytes = b""
    flags: int = ALLOC
    type: int = PROGBITS
    align: int = 1
    size: int | None = None
    link: int = 0
    info: int = 0
    entsize: int = 0


@dataclass
class Maker:
    """Sections are numbered from 1 in the order of `section`, symbols from 1 in the order of `symbol`."""

    machine: int = 62
    kind: int = 1
    sections: list[Section] = field(default_factory=list)
    symbols: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    relas: dict[int, list[tuple[int, int, int, int]]] = field(default_factory=dict)

    def section(self, name: str, data: bytes = b"", flags: int = ALLOC, **more: int) -> int:
        self.sections.append(Section(name, data, flags, **more))
        return len(self.sections)

    def symbol(
        self, name: str, section: int, value: int = 0, size: int = 0, bind: int = GLOBAL, kind: int = NOTYPE
    ) -> int:
        self.symbols.append((name, bind << 4 | kind, section, value, size))
        return len(self.symbols)

    def rela(self, section: int, offset: int, kind: int, symbol: int, addend: int = 0) -> None:
        self.relas.setdefault(section, []).append((offset, kind, symbol, addend))

    def build(self) -> bytes:
        strings, table = bytearray(b"\0"), bytearray(24)
        for name, info, section, value, size in self.symbols:
            table += struct.pack("<IBBHQQ", len(strings), info, 0, section, value, size)
            strings += name.encode() + b"\0"
        sections = list(self.sections)
        symtab = len(sections) + len(self.relas) + 1
        for target, entries in self.relas.items():
            raw = b"".join(struct.pack("<QIIq", *entry) for entry in entries)
            name = ".rela" + self.sections[target - 1].name
            sections.append(Section(name, raw, 0x40, RELA, 8, link=symtab, info=target, entsize=24))
        sections.append(Section(".symtab", bytes(table), 0, SYMTAB, 8, link=symtab + 1, info=1, entsize=24))
        sections.append(Section(".strtab", bytes(strings), 0, STRTAB))
        sections.append(Section(".shstrtab", b"", 0, STRTAB))
        names = bytearray(b"\0")
        at = []
        for section in sections:
            at.append(len(names))
            names += section.name.encode() + b"\0"
        sections[-1].data = bytes(names)
        body, headers = bytearray(64), [bytes(64)]
        for section, name_at in zip(sections, at, strict=True):
            body += bytes(-len(body) % max(section.align, 1) if section.align < 4096 else 0)
            size = len(section.data) if section.size is None else section.size
            headers.append(
                struct.pack(
                    "<IIQQQQIIQQ", name_at, section.type, section.flags, 0, len(body), size, section.link, section.info,
                    section.align, section.entsize,
                )
            )  # fmt: skip
            body += section.data
        body += bytes(-len(body) % 8)
        ident = b"\x7fELF\2\1\1" + bytes(9)
        count = len(headers)
        header = struct.pack(
            "<16sHHIQQQIHHHHHH", ident, self.kind, self.machine, 1, 0, 0, len(body), 0, 64, 0, 0, 64, count, count - 1
        )
        body[:64] = header
        return bytes(body) + b"".join(headers)


def modinfo(**tags: str) -> bytes:
    return b"".join(f"{tag}={value}".encode() + b"\0" for tag, value in tags.items())


def tiny(name: str = "tiny", **tags: str) -> Maker:
    """A module with text, init text, data and ``struct module``: section 1 .text, 2 .init.text, 3 .data, 4 struct
    module.
    """
    maker = Maker()
    text = maker.section(".text", b"\xe8\0\0\0\0\x31\xc0\xe9\0\0\0\0\xcc" + b"\x90" * 19, ALLOC | EXEC, align=16)
    init = maker.section(".init.text", b"\x31\xc0\xc3" + b"\x90" * 13, ALLOC | EXEC, align=16)
    data = maker.section(".data", bytes(64), ALLOC | WRITE, align=8)
    this = bytearray(THIS_MODULE_SIZE)
    this[NAME_AT : NAME_AT + len(name)] = name.encode()
    module = maker.section(".gnu.linkonce.this_module", bytes(this), ALLOC | WRITE, align=64)
    maker.section(".modinfo", modinfo(**{"license": "GPL", "name": name, "vermagic": VERMAGIC, **tags}), ALLOC)
    maker.symbol("work", text, 0, 13, LOCAL, FUNC)
    exit_function = maker.symbol("tiny_exit", text, 16, 16, LOCAL, FUNC)
    start = maker.symbol("tiny_init", init, 0, 3, LOCAL, FUNC)
    maker.symbol("counter", data, 8, 4, LOCAL, OBJECT)
    maker.symbol("__this_module", module, 0, THIS_MODULE_SIZE, GLOBAL, OBJECT)
    fentry = maker.symbol("__fentry__", UNDEF)
    thunk = maker.symbol("__x86_return_thunk", UNDEF)
    maker.rela(text, 1, R_PLT32, fentry, -4)
    maker.rela(text, 8, R_PLT32, thunk, -4)
    maker.rela(module, INIT_AT, R_64, start)
    maker.rela(module, EXIT_AT, R_64, exit_function)
    return maker
