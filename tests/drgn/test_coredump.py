"""The core file itself: what is in it, and what a failure leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import kmem
from kmem.abi.address import PAGE_OFFSET
from kmem.errors import InputError
from kmem.machine import coredump
from kmem.machine.coredump import Extra, Note, Window, merge, read_notes, write_core
from kmem.machine.ram import Ram
from kmem.modules.vmcoreinfo import dump_core

MIB = 1 << 20


def memory(path: Path, address: int, size: int, physical: bool = False) -> bytes:
    """Read the core as its program headers say: zeros behind the file's part of a segment."""
    with path.open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            start = segment["p_paddr" if physical else "p_vaddr"]
            if start <= address < start + segment["p_memsz"]:
                whole = segment.data()[address - start : address - start + size]
                return whole.ljust(size, b"\0")
    raise LookupError(hex(address))


def test_touched_pages_are_in_the_file_once_and_untouched_ones_read_as_zeros(tmp_path: Path) -> None:
    ram = Ram(8 * MIB)
    ram.mem[5 * MIB : 5 * MIB + 4] = b"five"
    windows = [Window(PAGE_OFFSET, 0, 8 * MIB), Window(0xFFFFFFFF81000000, 4 * MIB, 2 * MIB)]
    path = tmp_path / "core"
    written = write_core(path, ram, windows, [])
    assert written == sum(last - first for first, last in ram.populated())
    assert path.stat().st_size < MIB
    assert memory(path, PAGE_OFFSET + 5 * MIB, 4) == b"five"
    assert memory(path, 5 * MIB, 4, physical=True) == b"five"
    assert memory(path, 0xFFFFFFFF81000000 + MIB, 4) == b"five"
    for untouched in (0, 4 * MIB, 8 * MIB - 4):
        assert memory(path, PAGE_OFFSET + untouched, 4) == bytes(4)


def test_an_empty_machine_is_all_zeros(tmp_path: Path) -> None:
    write_core(tmp_path / "core", Ram(2 * MIB), [Window(PAGE_OFFSET, 0, 2 * MIB)], [])
    assert memory(tmp_path / "core", PAGE_OFFSET + MIB, 8) == bytes(8)


def test_notes_and_extra_memory_come_back(tmp_path: Path) -> None:
    notes = [Note("VMCOREINFO", 0, b"A=1\nB=2\n"), Note("ODD", 7, b"12345")]
    extra = [Extra(0xFFFFFFFFBF000000, b"first"), Extra(0xFFFFFFFFBF100000, b"second")]
    write_core(tmp_path / "core", Ram(2 * MIB), [], notes, extra)
    assert read_notes(tmp_path / "core") == notes
    for piece in extra:
        assert memory(tmp_path / "core", piece.vaddr, len(piece.data)) == piece.data


def test_runs_are_joined_until_there_are_few_enough() -> None:
    runs = [(at * 65536, at * 65536 + 4096) for at in range(100)] + [(1 << 30, (1 << 30) + 4096)]
    assert merge(runs, 101) == runs
    assert merge(runs, 10) == [(0, 99 * 65536 + 4096), (1 << 30, (1 << 30) + 4096)]


def test_a_failed_write_leaves_the_old_core_and_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "core"
    path.write_bytes(b"old")

    def full(fd: int, data: memoryview, at: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(coredump, "_pwrite", full)
    with pytest.raises(InputError, match="No space left"):
        write_core(path, Ram(2 * MIB), [], [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["core"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        write_core(tmp_path / "nowhere" / "core", Ram(2 * MIB), [], [])


def test_the_same_machine_gives_the_same_core(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with kmem.boot(config="debian", ram="96M", seed=5) as k:
            k.kmalloc(100)
            dump_core(tmp_path / name, k.mm, k.kallsyms)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_memory_above_the_hole_is_in_the_core_and_the_hole_is_not(tmp_path: Path) -> None:
    with kmem.boot(config="plain", ram="4G", seed=5) as k:
        p = k.kmalloc(64)
        k.write(p, b"above four GiB")
        dump_core(tmp_path / "core", k.mm)
        high = PAGE_OFFSET + (4 << 30) + 12345
        assert memory(tmp_path / "core", p, 14) == b"above four GiB"
        assert memory(tmp_path / "core", high, 8) == k.read(high, 8)
        with pytest.raises(LookupError):
            memory(tmp_path / "core", PAGE_OFFSET + (3 << 30) + (64 << 20), 1)
