"""Compressed module files, and files that are none."""

from __future__ import annotations

import gzip
import lzma
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest

from kmem.errors import InputError, ModuleFormatError
from kmem.modules import image
from kmem.modules.elf import Elf
from kmem.modules.image import read_module, unpack
from tests.modules.elfmaker import tiny

PLAIN = tiny().build()


@pytest.mark.parametrize("pack", [bytes, lzma.compress, gzip.compress], ids=["plain", "xz", "gzip"])
def test_module_is_read_whatever_it_is_called(pack: type[bytes], tmp_path: Path) -> None:
    path = tmp_path / "some.ko"
    path.write_bytes(pack(PLAIN))
    assert Elf(read_module(path)).find(".text")


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress], ids=["xz", "gzip"])
def test_cut_off_compressed_file_is_refused(pack: type[bytes]) -> None:
    packed = pack(PLAIN)
    with pytest.raises(ModuleFormatError, match="truncated: the"):
        unpack(packed[: len(packed) // 2])


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress], ids=["xz", "gzip"])
def test_damaged_compressed_file_is_refused(pack: type[bytes]) -> None:
    packed = bytearray(pack(PLAIN))
    for at in range(20, 60):
        packed[at] ^= 0xFF
    with pytest.raises(ModuleFormatError, match=r"damaged|truncated"):
        unpack(bytes(packed))


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress], ids=["xz", "gzip"])
def test_decompression_bomb_stops_at_the_limit(pack: type[bytes]) -> None:
    bomb = pack(bytes(48 << 20))
    tracemalloc.start()
    with pytest.raises(ModuleFormatError, match="grow beyond 8388608 bytes"):
        unpack(bomb, limit=8 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_zstd_without_a_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression", "compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleFormatError, match="compressed with zstd") as caught:
        unpack(b"\x28\xb5\x2f\xfd" + bytes(40))
    assert "unzstd" in caught.value.remedy


def test_zstd_uses_the_library_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the zstandard package: what counts is that its reader is used and its errors are told."""

    class ZstdError(Exception):
        pass

    class Reader:
        def __init__(self, chunks: list[bytes | Exception]) -> None:
            self.chunks = chunks

        def read(self, size: int) -> bytes:
            chunk = self.chunks.pop(0)
            if isinstance(chunk, Exception):
                raise chunk
            return chunk

    fake = ModuleType("zstandard")
    fake.ZstdError = ZstdError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", fake)
    fake.open = lambda file: Reader([PLAIN[:100], PLAIN[100:], b""])  # type: ignore[attr-defined]
    assert unpack(b"\x28\xb5\x2f\xfd") == PLAIN
    fake.open = lambda file: Reader([PLAIN[:100], ZstdError("bad block")])  # type: ignore[attr-defined]
    with pytest.raises(ModuleFormatError, match="damaged zstd data: bad block"):
        unpack(b"\x28\xb5\x2f\xfd")


def test_paths_that_are_no_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        read_module(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_module(tmp_path / "none.ko")
    with pytest.raises(InputError, match="is not a regular file"):
        read_module(Path("/dev/null"))


def test_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "MAX_FILE", 1 << 10)
    path = tmp_path / "big.ko"
    path.write_bytes(bytes(2 << 10))
    with pytest.raises(ModuleFormatError, match="larger than"):
        read_module(path)
