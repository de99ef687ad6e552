"""Compressed module files, and files that are none."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from kmem.errors import InputError, ModuleFormatError
from kmem.modules import image
from kmem.modules.elf import Elf
from kmem.modules.image import read_module, unpack
from tests.modules.elfmaker import tiny

PLAIN = tiny().build()
PACKS, NAMES = [lzma.compress, gzip.compress, zstandard.compress], ["xz", "gzip", "zstd"]


@pytest.mark.parametrize("pack", [bytes, *PACKS], ids=["plain", *NAMES])
def test_module_is_read_whatever_it_is_called(pack: type[bytes], tmp_path: Path) -> None:
    path = tmp_path / "some.ko"
    path.write_bytes(pack(PLAIN))
    assert Elf(read_module(path)).find(".text")


@pytest.mark.parametrize("pack", PACKS, ids=NAMES)
def test_cut_off_compressed_file_is_refused(pack: type[bytes]) -> None:
    packed = pack(PLAIN)
    with pytest.raises(ModuleFormatError, match="truncated: the"):
        unpack(packed[: len(packed) // 2])


@pytest.mark.parametrize("pack", PACKS, ids=NAMES)
def test_damaged_compressed_file_is_refused(pack: type[bytes]) -> None:
    packed = bytearray(pack(PLAIN))
    for at in range(20, 60):
        packed[at] ^= 0xFF
    with pytest.raises(ModuleFormatError, match=r"damaged|truncated"):
        unpack(bytes(packed))


@pytest.mark.parametrize("pack", PACKS, ids=NAMES)
def test_decompression_bomb_stops_at_the_limit(pack: type[bytes]) -> None:
    bomb = pack(bytes(48 << 20))
    tracemalloc.start()
    with pytest.raises(ModuleFormatError, match="grow beyond 8388608 bytes"):
        unpack(bomb, limit=8 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


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
