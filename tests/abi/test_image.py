"""Everything that was taken from a kernel image is what the image says: the data are extracted again and compared.

KMEM_BTF names the vmlinux or vmlinuz of 6.1.0-56-amd64 to compare with (its package is linux-image-6.1.0-56-amd64); the
usual places are looked at too. The reader of the symbol table is tested without an image.
"""

from __future__ import annotations

import json
import os
import struct
from functools import cache
from pathlib import Path

import pytest

from kmem.abi import extract, image
from kmem.abi.data import read
from kmem.abi.exports import export, exports
from kmem.abi.image import KernelImage
from kmem.abi.kallsyms_image import ImageSymbol, read_symbols
from kmem.abi.layout import enums, layout
from kmem.abi.release import release
from kmem.errors import InputError

RELEASE = "6.1"
VERSION = release(RELEASE).version
PLACES = (f"/usr/lib/debug/boot/vmlinux-{VERSION}", f"/boot/vmlinux-{VERSION}", f"/boot/vmlinuz-{VERSION}")
FOUND = os.environ.get("KMEM_BTF") or next((place for place in PLACES if Path(place).exists()), "")
needs_image = pytest.mark.skipif(
    not FOUND, reason=f"no kernel image of {VERSION} (KMEM_BTF): the ABI data are NOT compared with the kernel"
)


@cache
def kernel() -> KernelImage:
    """The image; unpacking it takes a second."""
    return KernelImage(Path(FOUND).read_bytes())


@needs_image
@pytest.mark.slow
def test_every_struct_is_that_of_the_kernel() -> None:
    structs, missing, ambiguous = extract.extract(extract.open_types(Path(FOUND)), extract.STRUCTS)
    assert (missing, ambiguous) == ([], [])
    ours = layout(RELEASE).structs
    assert set(ours) == set(structs)
    compared = 0
    for name, entry in structs.items():
        assert ours[name].size == entry["size"], name
        assert list(ours[name].members) == list(entry["members"]), name
        for key, row in entry["members"].items():
            member = ours[name][key]
            mine = [member.offset, member.size, member.type, member.bit_offset, member.bit_size]
            assert mine == [*row, 0, 0][:5], (name, key)
            compared += 1
    assert compared > 1500


@needs_image
@pytest.mark.slow
def test_every_enum_is_that_of_the_kernel() -> None:
    found, missing = extract.extract_enums(extract.open_types(Path(FOUND)), extract.ENUMS)
    assert not missing
    assert found == enums(RELEASE)


@needs_image
@pytest.mark.slow
def test_flag_names_are_those_of_the_kernel() -> None:
    assert json.loads(read(RELEASE, "flags.json")) == json.loads(image.flags_text(kernel()))


@needs_image
@pytest.mark.slow
def test_every_export_is_where_the_kernel_has_it() -> None:
    for name in sorted(exports(RELEASE)):
        ours, theirs = export(name, RELEASE), kernel().symbol(name)
        assert ours is not None
        assert (ours.address, ours.size, ours.kind) == (theirs.address, theirs.size, theirs.kind), name


@needs_image
@pytest.mark.slow
def test_every_site_of_a_report_is_in_the_kernel() -> None:
    functions = {(symbol.name, symbol.address, symbol.size) for symbol in kernel().text}
    bugs = {(f"{file}:{line}", where.partition("/")[0]): kind for kind, file, line, where in kernel().bugs()}
    # WARN_ON_ONCE_GFP keeps its "once" in a variable of its own, not in the table.
    kinds = {"bug": ["bug"], "warn": ["warn"], "warn-once": ["warn", "warn-once"]}
    compared = 0
    for line in read(RELEASE, "sites").splitlines():
        keyword, *words = line.split() or ["#"]
        if keyword == "function":
            assert (words[0], int(words[1], 16), int(words[2], 16)) in functions, line
        elif keyword in kinds:
            assert bugs[words[1], words[2]] in kinds[keyword], line
        else:
            continue
        compared += 1
    assert compared > 100


@needs_image
@pytest.mark.slow
def test_the_address_map_and_the_banner_are_those_of_the_kernel() -> None:
    a = release(RELEASE).addresses
    assert a.text == kernel().symbol("_text").address
    assert a.text_end == kernel().symbol("_etext").address
    assert a.image_end == kernel().symbol("_end").address
    banner = kernel().string(kernel().symbol("linux_banner").address).rstrip("\n")
    assert banner == release(RELEASE).linux_banner
    assert kernel().string(kernel().symbol("vermagic").address) == release(RELEASE).vermagic


def kallsyms_image(symbols: list[tuple[str, str, int]], base: int) -> bytes:
    """A file with a kallsyms table of these symbols (kind, name, address); two tokens stand for two letters each."""
    tokens = [bytes([number]) if number else b"" for number in range(256)]
    tokens[200], tokens[201] = b"km", b"al"

    def compress(text: str) -> bytes:
        packed = text.encode().replace(b"km", b"\xc8").replace(b"al", b"\xc9")
        size = len(packed)
        return bytes([size] if size < 128 else [size & 127 | 128, size >> 7]) + packed

    names = [compress(kind + name) for kind, name, _ in symbols]
    offsets = [address if address < 1 << 31 else base - 1 - address for _, _, address in symbols]
    markers = [sum(map(len, names[:first])) for first in range(0, len(names), 256)]
    index = [sum(len(token) + 1 for token in tokens[:number]) for number in range(256)]

    def table(data: bytes) -> bytes:
        return data + bytes(-len(data) % 8)

    return b"".join(
        [
            bytes(4096),
            table(struct.pack(f"<{len(offsets)}i", *offsets)),
            struct.pack("<QQ", base, len(symbols)),
            table(b"".join(names)),
            table(struct.pack(f"<{len(markers)}I", *markers)),
            table(b"".join(token + b"\0" for token in tokens)),
            struct.pack("<256H", *index),
        ]
    )


def test_the_symbol_table_of_an_image_is_read_back() -> None:
    base = 0xFFFFFFFF81000000
    symbols = [("A", "fixed_percpu_data", 0), ("A", "__preempt_count", 0x1FB40)]
    symbols += [("T", f"kmalloc_{number:04}", base + 16 * number) for number in range(1200)]
    symbols += [("t", "_text", base), ("T", "long_" * 40, base + 0x8000)]
    found = read_symbols(kallsyms_image(symbols, base))
    assert {(one.kind, one.name, one.address) for one in found} == set(symbols)
    assert [one.address for one in found] == sorted(one.address for one in found)
    assert ImageSymbol("kmalloc_0007", "T", base + 0x70, 16) in found
    assert ImageSymbol("__preempt_count", "A", 0x1FB40, base - 0x1FB40) in found
    assert found[-1].size == 0


def test_an_image_without_a_symbol_table_is_an_input_error() -> None:
    with pytest.raises(InputError, match="kallsyms"):
        read_symbols(bytes(100_000))


def test_what_is_no_kernel_image_is_an_input_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"not a kernel")
    assert image.main(["flags", str(source), "-o", str(tmp_path / "out")]) == InputError.status
    assert "not a kernel image" in capsys.readouterr().err


def test_exports_need_the_list_of_crcs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image.main(["exports", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == InputError.status
    assert "--symvers" in capsys.readouterr().err


def test_module_exports_are_grouped_by_owner() -> None:
    rows = [("b", "drivers/x"), ("kfree", "vmlinux"), ("a", "drivers/x")]
    symvers = "".join(f"0x1\t{name}\t{owner}\tEXPORT_SYMBOL\t\n" for name, owner in rows)
    assert image.module_exports_text(symvers) == "[drivers/x]\na\nb\n"
