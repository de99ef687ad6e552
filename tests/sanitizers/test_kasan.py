"""Accesses that may not be, on an unmodified module: each kind, at each size, one byte either side; none too many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import kmem
from kmem.kapi.executor import TaskDied
from kmem.kernel import Kernel
from kmem.modules.kbuild import build
from kmem.sanitizers.report import Finding, Findings

KMOD = Path(__file__).resolve().parent.parent / "kmod"
SOURCE = (KMOD / "access" / "access.c").read_text().splitlines()

pytestmark = [pytest.mark.needs_headers]


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Kernel, bytes]]:
    [path] = build(KMOD / "access").modules
    with kmem.boot(ram="128M", check="fast") as kernel:
        kernel.insmod(path).rmmod()
        kernel.snapshot()
        yield kernel, path.read_bytes()


class Tried:
    """One machine, back at its start for each try."""

    def __init__(self, kernel: Kernel, image: bytes) -> None:
        self.kernel, self.image = kernel, image

    def __call__(self, **parameters: Any) -> list[Finding]:
        self.kernel.rollback()
        self.kernel.findings = Findings()
        with suppress(TaskDied):
            self.kernel.insmod(self.image, **parameters).rmmod()
        self.kernel.drain()
        return list(self.kernel.findings)

    def one(self, **parameters: Any) -> Finding:
        """The only finding."""
        [finding] = self(**parameters)
        return finding


@pytest.fixture
def tried(machine: tuple[Kernel, bytes]) -> Tried:
    return Tried(*machine)


def line_of(text: str) -> int:
    """The number of the line of access.c that holds *text*."""
    return next(number for number, line in enumerate(SOURCE, 1) if text in line)


def place(op: str, width: int) -> int:
    """Where access.c does it."""
    if op == "read":
        return line_of(f"case {width}: (void)" if width < 8 else "default: (void)")
    return line_of(f"case {width}: *(" if width < 8 else "default: *(")


def expect(finding: Finding, kind: str, line: int) -> None:
    assert str(finding.kind) == kind, finding
    assert (Path(finding.file).name, finding.line) == ("access.c", line), finding


@pytest.mark.parametrize("op", ["read", "write"])
@pytest.mark.parametrize("size", [8, 61, 4096, 20000])
def test_kmalloc_oob_right(tried: Tried, size: int, op: str) -> None:
    finding = tried.one(size=size, at=size, op=op)
    expect(finding, "out-of-bounds", place(op, 1))
    assert f"0 bytes right of {size} byte" in finding.message
    assert finding.object is not None
    assert finding.object.allocated_at.endswith(f"access.c:{line_of('p = cache && other')}")


@pytest.mark.parametrize("op", ["read", "write"])
@pytest.mark.parametrize("size", [8, 4096, 20000])
def test_kmalloc_uaf(tried: Tried, size: int, op: str) -> None:
    finding = tried.one(size=size, at=size // 2, op=op, freed=1)
    expect(finding, "use-after-free", place(op, 1))
    assert finding.object is not None
    assert finding.object.freed_at.endswith(f"access.c:{line_of('	if (freed)') + 1}")


@pytest.mark.parametrize(
    ("fault", "start", "kind"),
    [
        ("double", "kmalloc", "double-free"),
        ("double", "cache", "double-free"),
        ("double", "pages", "double-free"),
        ("inside", "kmalloc", "invalid-free"),
        ("vfree", "kmalloc", "mismatched-free"),
        ("vfree", "pages", "mismatched-free"),
        ("kfree", "vmalloc", "mismatched-free"),
        ("kfree", "pages", "mismatched-free"),
        ("cache", "cache", "mismatched-free"),
        ("cache", "kmalloc", "mismatched-free"),
        ("order", "pages", "mismatched-free"),
        ("errptr", "kmalloc", "invalid-free"),
        ("stack", "kmalloc", "invalid-free"),
        ("global", "kmalloc", "invalid-free"),
    ],
)
def test_a_free_that_may_not_be(tried: Tried, fault: str, start: str, kind: str) -> None:
    first = tried(**{"from": start}, fault=fault, size=64)[0]
    assert str(first.kind) == kind, first
    assert first.function == "give_wrongly"


def test_bytes_that_were_never_written_do_not_leave(tried: Tried) -> None:
    finding = tried.one(op="user", size=64, width=64)
    expect(finding, "uninitialised-leak", line_of("if (copy_to_user"))
    assert "64 bytes" in finding.message


def test_what_was_written_may_leave(tried: Tried) -> None:
    assert tried(op="user", size=64, width=64, fill=1) == []
    assert tried(**{"from": "kzalloc"}, op="user", size=64, width=64) == []


def test_the_report_is_kasans(tried: Tried) -> None:
    text = tried.one(op="write", size=32, at=32, width=8).text
    assert text[1].startswith("BUG: KASAN: slab-out-of-bounds in touch+0x")
    assert text[2].startswith("Write of size 8 at addr ffff8880")
    at = text[2].split("addr ")[1].split()[0]
    begin = int(at, 16) - 32
    for line in (
        "Allocated by task 97:",
        f"The buggy address belongs to the object at {begin:016x}",
        " which belongs to the cache kmalloc-32 of size 32",
        "The buggy address is located 0 bytes to the right of",
        f" 32-byte region [{begin:016x}, {begin + 32:016x})",
        "Memory state around the buggy address:",
    ):
        assert line in text
