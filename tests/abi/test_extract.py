"""The tool ``python -m kmem.abi.extract``: what it accepts, what it writes, how it fails."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pytest

from kmem.abi import btf, extract
from kmem.abi.vmlinux import decompress_vmlinuz
from kmem.errors import InputError
from tests.abi.btf_writer import BtfWriter


def small_btf() -> bytes:
    """``struct list_head``, and ``struct zone`` that has two of them in an array."""
    w = BtfWriter()
    pointer = w.add(btf.PTR, "", 2)
    head = w.add(btf.STRUCT, "list_head", 16, *w.members(("next", pointer, 0), ("prev", pointer, 64)), items=2)
    heads = w.add(btf.ARRAY, "", 0, head, head, 2)
    w.add(btf.STRUCT, "zone", 32, *w.members(("free_list", heads, 0)), items=1)
    w.add(btf.ENUM, "zone_type", 4, w.string("ZONE_DMA"), 0, items=1)
    return w.blob()


def elf(sections: dict[str, bytes]) -> bytes:
    """A 64-bit ELF file with nothing but these sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in [*sections, ".shstrtab"])
    contents = [*sections.items(), (".shstrtab", names)]
    body, headers = b"", struct.pack("<IIQQQQIIQQ", *[0] * 10)
    for name, data in contents:
        at = 64 + len(body)
        headers += struct.pack("<IIQQQQIIQQ", names.index(name.encode()), 1, 0, 0, at, len(data), 0, 0, 1, 0)
        body += data
    shoff = 64 + len(body)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    count = len(contents) + 1
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, shoff, 0, 64, 0, 0, 64, count, count - 1)
    return header + body + headers


def bzimage(payload: bytes) -> bytes:
    """A boot image of two setup sectors whose payload starts 16 bytes into the protected-mode code."""
    setup = bytearray(3 * 512)
    setup[0x1F1] = 2
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", setup, 0x248, 16, len(payload))
    return bytes(setup) + bytes(16) + payload


def run(path: Path, output: Path, *words: str) -> dict[str, object]:
    """The JSON that the command writes."""
    assert extract.main([str(path), "-o", str(output), *words]) == 0
    found: dict[str, object] = json.loads(output.read_text())
    return found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the command writes."""
    return tmp_path / "out.json"


def write(path: Path, data: bytes) -> Path:
    """`path`, holding `data`."""
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("wrap", [bytes, lambda raw: elf({".BTF": raw})], ids=["raw BTF", "vmlinux"])
def test_structs_of_a_btf_file(wrap: type[bytes], tmp_path: Path, out: Path) -> None:
    assert run(write(tmp_path / "in", wrap(small_btf())), out, "--struct", "list_head") == {
        "list_head": {"size": 16, "members": {"next": [0, 8, "*list_head"], "prev": [8, 8, "*list_head"]}}
    }


def test_embedded_structs_follow(tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "in", small_btf())
    assert list(run(source, out, "--struct", "zone")) == ["zone", "list_head"]
    assert list(run(source, out, "--struct", "zone", "--no-embedded")) == ["zone"]


def test_enums(tmp_path: Path, out: Path) -> None:
    assert run(write(tmp_path / "in", small_btf()), out, "--enums", "zone_type") == {"zone_type": {"ZONE_DMA": 0}}


def test_a_name_that_is_not_there_is_reported_and_left_out(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(run(write(tmp_path / "in", small_btf()), out, "--struct", "list_head", "nonesuch")) == ["list_head"]
    assert "nonesuch" in capsys.readouterr().err


def test_differing_definitions_are_reported(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    w = BtfWriter()
    w.add(btf.STRUCT, "twice", 8)
    w.add(btf.STRUCT, "twice", 16)
    assert run(write(tmp_path / "in", w.blob()), out, "--struct", "twice") == {"twice": {"size": 8, "members": {}}}
    assert "more than one way, first taken: twice" in capsys.readouterr().err


def test_a_vmlinuz_is_decompressed() -> None:
    kernel = elf({".BTF": small_btf()})
    assert decompress_vmlinuz(bzimage(gzip.compress(kernel) + struct.pack("<I", len(kernel)))) == kernel


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not BTF"),
        (b"just text", "not BTF"),
        (elf({".BTF": small_btf()})[:-70], "truncated ELF"),
        (elf({".text": b""}), "neither BTF"),
        (elf({".BTF": b"", ".gnu.linkonce.this_module": b""}), "neither BTF"),
        (bzimage(b"\x28\xb5\x2f\xfd" + bytes(20)), "zstd"),
        (bzimage(b"what is this"), "unknown compression"),
        (bzimage(b"\x1f\x8bnot gzip at all"), "cannot be decompressed"),
        (bzimage(bytes(100))[:-50], "truncated kernel image"),
    ],
)
def test_what_cannot_be_read_ends_with_status_2_and_a_remedy(
    data: bytes, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract.main([str(write(tmp_path / "in", data))]) == InputError.status
    printed = capsys.readouterr().err
    assert complaint in printed
    assert "remedy: " in printed


def test_a_missing_file_ends_with_status_2(tmp_path: Path) -> None:
    assert extract.main([str(tmp_path / "none")]) == InputError.status
