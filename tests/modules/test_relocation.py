"""Relocations: against ld where there is one, against plain arithmetic on random input, and what the kernel refuses."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.errors import ModuleFormatError
from kmem.modules.elf import Elf
from kmem.modules.relocation import apply_relocations
from tests.modules.elfmaker import ALLOC, EXEC, R_32, R_32S, R_64, R_NONE, R_PC32, R_PC64, R_PLT32, Maker

TEXT = 0xFFFFFFFFC0201000
MASK = (1 << 64) - 1


def relocated(kind: int, value: int, addend: int, *, address: int = TEXT, at: int = 16, before: bytes = b"") -> bytes:
    """Sixteen bytes at *at* of a section at *address*, after one relocation there."""
    maker = Maker()
    section = maker.section(".text", before or bytes(64), ALLOC | EXEC)
    symbol = maker.symbol("target", 0)
    maker.rela(section, at, kind, symbol, addend)
    elf = Elf(maker.build())
    buffer = bytearray(100) + bytearray(elf.content(elf.sections[1]))
    rela = elf.find_any(".rela.text")
    assert rela is not None
    apply_relocations(elf, rela, buffer, 100, address, [0, value])
    return bytes(buffer[100 + at : 100 + at + 16])


@pytest.mark.parametrize(
    ("kind", "value", "addend", "expected"),
    [
        (R_NONE, 0x1234, 0, bytes(8)),
        (R_64, 0xFFFFFFFF81000000, -8, struct.pack("<Q", 0xFFFFFFFF80FFFFF8)),
        (R_PC32, TEXT + 0x100, -4, struct.pack("<I", 0xEC)),
        (R_PLT32, 0xFFFFFFFF81000000, -4, struct.pack("<i", 0xFFFFFFFF81000000 - 4 - TEXT - 16)),
        (R_32, 0x12345678, 1, struct.pack("<I", 0x12345679)),
        (R_32S, 0xFFFFFFFFC0202000, 4, struct.pack("<I", 0xC0202004)),
        (R_PC64, 0xFFFFFFFF81000000, 0, struct.pack("<q", 0xFFFFFFFF81000000 - TEXT - 16)),
        (R_PC32, 0x2001C, -4, struct.pack("<I", (0x2001C - 4 - TEXT - 16) & 0xFFFFFFFF)),
    ],
    ids=["none", "64", "pc32", "plt32", "32", "32s", "pc64", "per-cpu"],
)
def test_each_type_writes_its_bytes_and_no_more(kind: int, value: int, addend: int, expected: bytes) -> None:
    assert relocated(kind, value, addend) == expected.ljust(16, b"\0")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (R_32, 1 << 32),
        (R_32, 0xFFFFFFFF81000000),
        (R_32S, 0x80000000),
        (R_32S, 0xFFFFFFFF7FFFFFFF),
        (R_PC32, TEXT - (1 << 31)),
        (R_PLT32, 0xFFFF888000000000),
    ],
)
def test_value_that_does_not_fit_is_refused(kind: int, value: int) -> None:
    with pytest.raises(ModuleFormatError, match=f"overflow in relocation type {kind} val [0-9a-f]+: likely"):
        relocated(kind, value, 0)


@pytest.mark.parametrize("kind", [R_64, R_PC32, R_PLT32, R_32, R_32S, R_PC64])
def test_target_that_is_not_zero_is_refused(kind: int) -> None:
    with pytest.raises(ModuleFormatError, match=f"is nonzero for type {kind}, loc ffffffffc0201010, val"):
        relocated(kind, 0, 0, before=bytes(18) + b"\1" + bytes(45))


@pytest.mark.parametrize("kind", [3, 5, 9, 12, 22, 41, 42, 99, 1 << 31])
def test_unknown_type_is_refused_in_the_kernels_words(kind: int) -> None:
    with pytest.raises(ModuleFormatError, match=f"Unknown rela relocation: {kind}"):
        relocated(kind, 0, 0)


@pytest.mark.parametrize(("kind", "at"), [(R_64, 57), (R_PC32, 61), (R_32, 1 << 40), (R_PC64, MASK)])
def test_target_outside_of_the_section_is_refused(kind: int, at: int) -> None:
    with pytest.raises(ModuleFormatError, match="of a section of 0x40 bytes"):
        relocated(kind, 0, 0, at=at)


def test_symbol_that_does_not_exist_is_refused() -> None:
    maker = Maker()
    section = maker.section(".text", bytes(64), ALLOC | EXEC)
    maker.rela(section, 0, R_64, 77)
    elf = Elf(maker.build())
    rela = elf.find_any(".rela.text")
    assert rela is not None
    with pytest.raises(ModuleFormatError, match="against symbol 77 of 1"):
        apply_relocations(elf, rela, bytearray(64), 0, TEXT, [0])


def oracle(kind: int, value: int, addend: int, place: int) -> bytes | None:
    """What the System V ABI says; None: it does not fit."""
    target = value + addend - (place if kind in (R_PC32, R_PLT32, R_PC64) else 0)
    target &= MASK
    if kind in (R_64, R_PC64):
        return target.to_bytes(8, "little")
    signed = target - (1 << 64) if target >> 63 else target
    fits = 0 <= target < 1 << 32 if kind == R_32 else -(1 << 31) <= signed < 1 << 31
    return (target & 0xFFFFFFFF).to_bytes(4, "little") if fits else None


near = st.integers(-(1 << 33), 1 << 33)


@given(
    st.sampled_from([R_64, R_PC32, R_PLT32, R_32, R_32S, R_PC64]),
    st.one_of(st.integers(0, MASK), st.integers(0, 1 << 33), near.map(lambda n: TEXT + n & MASK)),
    st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-64, 64)),
)
def test_random_relocations_follow_the_abi(kind: int, value: int, addend: int) -> None:
    expected = oracle(kind, value, addend, TEXT + 16)
    if expected is None:
        with pytest.raises(ModuleFormatError):
            relocated(kind, value, addend)
    else:
        assert relocated(kind, value, addend) == expected.ljust(16, b"\0")


def test_ld_links_to_the_same_bytes(tmp_path: Path) -> None:
    """All types against symbols before, in and behind the section, with ld as the judge."""
    if shutil.which("ld") is None:
        pytest.skip("no ld (binutils) to compare with")
    maker = Maker()
    text = maker.section(".text", bytes(512), ALLOC | EXEC, align=16)
    data = maker.section(".data", bytes(64), ALLOC | 1, align=16)
    symbols = [maker.symbol("start", text), maker.symbol("value", data, 24), maker.symbol("outside", 0)]
    values = [0, TEXT, 0xFFFFFFFFC0400018, 0xFFFFFFFF81234560]
    at = 0
    for kind in (R_64, R_PC32, R_PLT32, R_32S, R_PC64):
        for symbol in symbols:
            for addend in (0, -4, 17):
                maker.rela(text, at, kind, symbol, addend)
                at += 8
    maker.rela(text, at, R_32, 0, 0x7654321)
    source, out, script = tmp_path / "a.o", tmp_path / "a.out", tmp_path / "a.ld"
    source.write_bytes(maker.build())
    script.write_text(f"SECTIONS {{ .text {TEXT:#x} : {{ *(.text) }} .data 0xffffffffc0400000 : {{ *(.data) }} }}")
    subprocess.run(
        ["ld", "-static", "-nostdlib", "--no-check-sections", "-z", "max-page-size=16", "-e", "0", "-T", script,
         "--defsym=outside=0xffffffff81234560", "-o", out, source],
        check=True, capture_output=True,
    )  # fmt: skip
    linked = out.read_bytes()
    shoff, shnum = struct.unpack_from("<Q", linked, 40)[0], struct.unpack_from("<H", linked, 60)[0]
    headers = [struct.unpack_from("<IIQQQQIIQQ", linked, shoff + 64 * i) for i in range(shnum)]
    theirs = next(linked[h[4] : h[4] + h[5]] for h in headers if h[3] == TEXT)
    elf = Elf(maker.build())
    rela = elf.find_any(".rela.text")
    assert rela is not None
    ours = bytearray(elf.content(elf.sections[1]))
    apply_relocations(elf, rela, ours, 0, TEXT, values)
    assert bytes(ours) == theirs
