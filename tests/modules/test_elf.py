"""Malformed and foreign files: each is refused with a message that says what is wrong, before it costs anything."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import pytest

from kmem.errors import ModuleFormatError
from kmem.modules.elf import MAX_LOADED, Elf
from tests.modules.elfmaker import ALLOC, EXEC, NOBITS, R_64, WRITE, tiny

HEADER_SHOFF, HEADER_SHNUM, HEADER_SHSTRNDX = 40, 60, 62


def refused(image: bytes) -> ModuleFormatError:
    with pytest.raises(ModuleFormatError) as caught:
        Elf(image)
    assert caught.value.remedy
    assert caught.value.status == 2
    return caught.value


def shdr(image: bytes, name: str) -> int:
    """Offset of the header of section *name*, read without the reader under test."""
    shoff, shnum = struct.unpack_from("<Q", image, HEADER_SHOFF)[0], struct.unpack_from("<H", image, HEADER_SHNUM)[0]
    names_at = struct.unpack_from("<Q", image, shoff + (shnum - 1) * 64 + 24)[0]
    for index in range(shnum):
        at = shoff + index * 64
        start = names_at + struct.unpack_from("<I", image, at)[0]
        if image[start : image.index(b"\0", start)] == name.encode():
            return at
    raise KeyError(name)


def patched(image: bytes, at: int, form: str, value: int) -> bytes:
    raw = bytearray(image)
    struct.pack_into(form, raw, at, value)
    return bytes(raw)


def test_sections_and_symbols_are_read_as_they_were_written() -> None:
    elf = Elf(tiny().build())
    text = elf.find(".text")
    assert text is not None
    assert (text.size, text.align, text.flags) == (32, 16, ALLOC | EXEC)
    assert bytes(elf.content(text)).startswith(b"\xe8\0\0\0\0\x31\xc0")
    assert [symbol.name for symbol in elf.symbols[:5]] == ["", "work", "tiny_exit", "tiny_init", "counter"]
    assert (elf.symbols[4].value, elf.symbols[4].size, elf.symbols[4].type, elf.symbols[4].bind) == (8, 4, 1, 0)
    rela = elf.find_any(".rela.text")
    assert rela is not None
    assert list(elf.relocations(rela)) == [(1, 4, 6, -4), (8, 4, 7, -4)]


def test_only_allocated_sections_are_found_by_name() -> None:
    elf = Elf(tiny().build())
    assert elf.find(".symtab") is None
    assert elf.find_any(".symtab") is not None


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"", "not an ELF file: it is empty"),
        (b"#!/bin/sh\n", "not an ELF file: it is a script"),
        (b"!<arch>\n", "not an ELF file: it is a library archive"),
        (b"#include <linux/module.h>\n", "not an ELF file: it is text"),
        (b"\x00\x01\x02\x03\x04\x05\x06", "not an ELF file: it starts with 00 01 02 03 04 05"),
        (b"\x7fELF\2\1\1", "truncated: 7 bytes, an ELF header has 64"),
    ],
)
def test_what_is_no_elf_file_is_named(image: bytes, says: str) -> None:
    assert refused(image).message == says


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        (183, "built for AArch64, not x86-64"),
        (40, "built for 32-bit ARM, not x86-64"),
        (3, "built for 32-bit x86, not x86-64"),
        (243, "built for RISC-V, not x86-64"),
        (9999, "built for machine 9999, not x86-64"),
    ],
)
def test_foreign_architecture_is_named(machine: int, says: str) -> None:
    maker = tiny()
    maker.machine = machine
    assert refused(maker.build()).message == says


def test_big_endian_file_is_named_by_its_own_byte_order() -> None:
    raw = bytearray(tiny().build())
    raw[5] = 2
    struct.pack_into(">H", raw, 18, 22)
    assert refused(bytes(raw)).message == "built for s390, not x86-64"


@pytest.mark.parametrize(
    ("kind", "says"), [(2, "an executable, not a module"), (3, "a shared library"), (4, "a core dump, not a module")]
)
def test_other_elf_files_are_named(kind: int, says: str) -> None:
    maker = tiny()
    maker.kind = kind
    assert refused(maker.build()).message.startswith(says)


def test_stripped_module_is_named() -> None:
    image = tiny().build()
    assert "stripped" in refused(patched(image, shdr(image, ".symtab") + 4, "<I", 1)).message


def test_every_truncation_is_refused() -> None:
    image = tiny().build()
    for size in range(0, len(image), 7):
        message = refused(image[:size]).message
        assert message.startswith(("truncated:", "not an ELF file"))


HEADER_FIELDS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("e_shoff", lambda i: patched(i, HEADER_SHOFF, "<Q", 1 << 60), "truncated:"),
    ("e_shnum 0", lambda i: patched(i, HEADER_SHNUM, "<H", 0), "truncated: 0 section headers"),
    ("e_shnum", lambda i: patched(i, HEADER_SHNUM, "<H", 0xFFFF), "truncated: 65535 section headers"),
    ("e_shstrndx", lambda i: patched(i, HEADER_SHSTRNDX, "<H", 0x7000), "section name table is section 28672"),
    ("e_shstrndx type", lambda i: patched(i, HEADER_SHSTRNDX, "<H", 1), "is not a string table"),
    ("e_shentsize", lambda i: patched(i, 58, "<H", 40), "section headers of 40 bytes"),
    ("section 0", lambda i: patched(i, struct.unpack_from("<Q", i, 40)[0] + 32, "<Q", 5), "section 0 is not the null"),
]


@pytest.mark.parametrize(
    ("break_it", "says"), [row[1:] for row in HEADER_FIELDS], ids=[row[0] for row in HEADER_FIELDS]
)
def test_broken_header_is_refused(break_it: Callable[[bytes], bytes], says: str) -> None:
    assert says in refused(break_it(tiny().build())).message


SECTION_FIELDS = [
    (".text", 0, "<I", 0xFFFFFF, "the name of section 1 is at byte 16777215"),
    (".text", 24, "<Q", 1 << 63, "truncated: section 1 (.text)"),
    (".text", 32, "<Q", 1 << 62, "truncated: section 1 (.text)"),
    (".text", 48, "<Q", 3, "section 1 (.text) has the alignment 0x3"),
    (".text", 48, "<Q", 1 << 40, "has the alignment"),
    (".symtab", 40, "<I", 0, "names section 0 as its string table"),
    (".symtab", 40, "<I", 999, "names section 999 as its string table"),
    (".symtab", 40, "<I", 1, "names section 1 as its string table"),
    (".symtab", 56, "<Q", 16, "in entries of 16, not of 24"),
    (".symtab", 32, "<Q", 25, "the symbol table has 25 bytes"),
    (".rela.text", 40, "<I", 1, "is for the symbol table 1, which is none"),
    (".rela.text", 44, "<I", 999, "relocates section 999"),
    (".rela.text", 56, "<Q", 0, "has entries of 0 bytes"),
    (".rela.text", 4, "<I", 9, "has no addends (REL)"),
]


@pytest.mark.parametrize(("name", "at", "form", "value", "says"), SECTION_FIELDS)
def test_broken_section_header_is_refused(name: str, at: int, form: str, value: int, says: str) -> None:
    image = tiny().build()
    assert says in refused(patched(image, shdr(image, name) + at, form, value)).message


def test_string_tables_must_end_with_zero() -> None:
    image = tiny().build()
    for name in (".strtab", ".shstrtab"):
        at, size = struct.unpack_from("<QQ", image, shdr(image, name) + 24)
        assert "terminated by a zero byte" in refused(patched(image, at + size - 1, "<B", 65)).message


def test_symbol_fields_are_checked() -> None:
    image = tiny().build()
    table = struct.unpack_from("<Q", image, shdr(image, ".symtab") + 24)[0]
    assert "symbol 1 has its name at byte" in refused(patched(image, table + 24, "<I", 1 << 30)).message
    assert "has the section index 65000" in refused(patched(image, table + 24 + 6, "<H", 65000)).message


def test_endless_symbol_name_is_refused() -> None:
    maker = tiny()
    maker.symbol("x" * 512, 1)
    assert "is longer than 512 bytes" in refused(maker.build()).message


def test_relocation_of_section_without_contents_is_refused() -> None:
    maker = tiny()
    bss = maker.section(".bss", b"", ALLOC | WRITE, type=NOBITS, size=64)
    maker.rela(bss, 0, R_64, 1)
    assert "relocates a section without contents" in refused(maker.build()).message


def test_gigantic_bss_costs_no_memory() -> None:
    maker = tiny()
    maker.section(".bss", b"", ALLOC | WRITE, type=NOBITS, size=1 << 44)
    image = maker.build()
    tracemalloc.start()
    assert f"more than {MAX_LOADED >> 20} MiB" in refused(image).message
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_relocation_sections_that_overlap_are_refused() -> None:
    """Many section headers over the same bytes would multiply the work."""
    maker = tiny()
    for number in range(40):
        maker.rela(1, 0, 0, 0)
        maker.section(f".x{number}", b"\0" * 8, ALLOC)
    image = maker.build()
    raw = bytearray(image)
    at, size = struct.unpack_from("<QQ", raw, shdr(image, ".rela.text") + 24)
    for number in range(40):
        struct.pack_into("<I", raw, shdr(image, f".x{number}") + 4, 4)
        struct.pack_into("<QQ", raw, shdr(image, f".x{number}") + 24, at, size)
        struct.pack_into("<II", raw, shdr(image, f".x{number}") + 40, 45 + 3, 1)
        struct.pack_into("<Q", raw, shdr(image, f".x{number}") + 56, 24)
    assert "relocation sections overlap" in refused(bytes(raw)).message


def test_appended_signature_is_cut_off() -> None:
    image = tiny().build()
    signature = b"S" * 40 + bytes(8) + (40).to_bytes(4, "big") + b"~Module signature appended~\n"
    elf = Elf(image + signature)
    assert elf.signed
    assert len(elf.view) == len(image)
    assert not Elf(image).signed


def test_signature_larger_than_the_file_is_refused() -> None:
    bad = bytes(8) + (1 << 30).to_bytes(4, "big") + b"~Module signature appended~\n"
    assert "signature is larger than the file" in refused(tiny().build() + bad).message
