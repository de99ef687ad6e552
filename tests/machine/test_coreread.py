"""The memory of a core, read back, is the memory of the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kmem
from kmem.abi.address import PAGE_OFFSET
from kmem.errors import InputError
from kmem.machine.coreread import CoreMemory
from kmem.modules.vmcoreinfo import NOTE, dump_core


def test_linear_and_mapped_memory_is_read_back(tmp_path: Path) -> None:
    with kmem.boot(ram="128M", config="plain") as k:
        p, v = k.kmalloc(100), k.vmalloc(9000)
        k.write(p, b"in the direct map")
        k.write(v + 4090, b"across two pages")
        dump_core(tmp_path / "core", k.mm, k.kallsyms)
        untouched = k.mm.ram.size - 4096 + PAGE_OFFSET
    core = CoreMemory(tmp_path / "core")
    (note,) = [note for note in core.notes if note.name == NOTE]
    top = json.loads(note.desc)["variables"]["swapper_pg_dir"][0]
    assert core.read(p, 17, PAGE_OFFSET, top) == b"in the direct map"
    assert core.read(v + 4090, 16, PAGE_OFFSET, top) == b"across"  # as far as the page goes
    assert core.read(v + 4096, 10, PAGE_OFFSET, top) == b" two pages"
    assert core.read(untouched, 8, PAGE_OFFSET, top) == bytes(8)
    assert core.read(v + (1 << 30), 8, PAGE_OFFSET, top) is None
    assert core.read(0x1000, 8, PAGE_OFFSET, top) is None
    core.close()


def test_what_is_no_core_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "no").write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(InputError):
        CoreMemory(tmp_path / "no")
