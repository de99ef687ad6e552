"""Devices of drivers from the program's side, on both releases."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kmem
from kmem.errors import UsageError
from kmem.kapi.openfile import O_RDONLY, O_WRONLY, OpenFile
from kmem.kernel import Kernel
from kmem.modules.kbuild import build

ROOT = Path(__file__).resolve().parent.parent.parent
ROOM = 256

pytestmark = pytest.mark.needs_headers


@pytest.fixture(params=["6.1", "6.12"])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    [path] = build(ROOT / "examples" / "notes_driver", release=request.param).modules
    with kmem.boot(release=request.param, ram="128M", check="fast") as booted:
        booted.insmod(path)
        yield booted
        assert not list(booted.findings)


def refused(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError, match="failed") as raised:
        call()
    return raised.value.errno


def test_positions_are_those_of_lseek(kernel: Kernel) -> None:
    with kernel.open("/dev/notes") as note:
        assert note.write(b"0123456789") == 10
        assert note.seek(0, os.SEEK_CUR) == 10
        assert note.seek(-6, os.SEEK_CUR) == 4
        assert note.read(2) == b"45"
        assert note.seek(-1, os.SEEK_END) == ROOM - 1
        assert note.seek(ROOM) == ROOM
        assert refused(lambda: note.seek(ROOM + 1)) == errno.EINVAL
        assert refused(lambda: note.seek(-1)) == errno.EINVAL
        assert refused(lambda: note.seek(0, 3)) == errno.EINVAL
        assert note.read(3, offset=7) == b"789"
        assert note.write(b"x", offset=1) == 1
        assert note.seek(0, os.SEEK_CUR) == ROOM
        note.seek(0)
        assert note.read(4) == b"0x23"


def test_a_file_is_open_for_what_it_was_opened_for(kernel: Kernel) -> None:
    with kernel.open("/dev/notes", O_RDONLY) as note:
        assert refused(lambda: note.write(b"x")) == errno.EBADF
        assert note.read(5) == b""
    with kernel.open("/dev/notes", O_WRONLY) as note:
        assert refused(lambda: note.read(5)) == errno.EBADF
    with pytest.raises(UsageError, match="closed"):
        note.read(1)


def test_buffers_end_where_the_program_has_no_more_memory(kernel: Kernel) -> None:
    with kernel.open("/dev/notes") as note:
        note.write(b"a" * ROOM)
        note.seek(0)
        file = note.file
        note._needed("read", "read", 1, 0x20000)
        with note._memory(8) as buffer, note._position(0) as ppos:
            assert note._run("read", file, buffer, 100, ppos) == 8
            assert note.process.read(buffer, 8) == b"a" * 8


def test_ioctl_takes_what_fcntl_ioctl_takes(kernel: Kernel) -> None:
    status = 2 << 30 | 8 << 16 | ord("n") << 8 | 1
    with kernel.open("/dev/notes") as note:
        content = bytearray(8)
        assert note.ioctl(status, content) == 0
        assert content == bytes((0, 0, 0, 0, 0, 1, 0, 0))
        assert note.ioctl(status, bytes(8)) == content
        assert refused(lambda: note.ioctl(status, 0)) == errno.EFAULT
        assert note.poll() == 0x145
        assert refused(lambda: note.mmap(4096)) == errno.ENODEV
        assert refused(note.fsync) == errno.EINVAL


def test_an_open_file_holds_the_module(kernel: Kernel) -> None:
    [module] = kernel.modules.values()
    before, live = module.refcount, len(kernel.leaks.live())
    notes: list[OpenFile] = [kernel.open("/dev/notes") for _ in range(3)]
    assert module.refcount == before + 3
    for note in notes:
        note.close()
        note.close()
    assert (module.refcount, len(kernel.leaks.live())) == (before, live)
    assert refused(lambda: kernel.open("/dev/other")) == errno.ENOENT
    assert refused(lambda: kernel.open((240, 0))) == errno.ENXIO
    assert refused(lambda: kernel.open((10, 200))) == errno.ENODEV


def test_another_process_may_open_it(kernel: Kernel) -> None:
    app = kernel.process("app")
    with kernel.open("/dev/notes", process=app) as note:
        assert note.write(b"mine") == 4
    assert app.alive
