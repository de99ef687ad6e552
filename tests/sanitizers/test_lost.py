"""The search for memory that nothing points to any more, in a machine with a module that is loaded and idle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kmem
from kmem.kapi.kmemleak_scan import find, report, scan
from kmem.kernel import Kernel
from kmem.modules.kbuild import build
from tests.run.running import module, run

LOST = Path(__file__).resolve().parent.parent / "kmod" / "lost"
SOURCE = (LOST / "lost.c").read_text().splitlines()

pytestmark = pytest.mark.needs_headers


@pytest.fixture(params=["plain", "debian", "debug"], scope="module")
def machine(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    with kmem.boot(ram="128M", check="fast", config=request.param) as kernel:
        assert kernel.executor
        kernel.loader.exec_insmod()
        kernel.snapshot()
        yield kernel


def lost(kernel: Kernel, what: str) -> list[str]:
    kernel.rollback()
    [path] = build(LOST).modules
    kernel.insmod(path, lost=what)
    return [f"{one.event.kind} {one.event.requested}" for one in scan(kernel)]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("nothing", []),
        ("list", ["kmalloc 40", "kmalloc 10", "vmalloc 5000", "kmalloc 1000"]),
        ("single", ["kmalloc 40", "kmalloc 10", "vmalloc 5000"]),
        ("text", ["kmalloc 10"]),
        ("area", ["vmalloc 5000"]),
        ("drvdata", ["kmalloc 300"]),
        ("cache", ["kmem_cache_alloc 72"]),
        ("inside", ["kmalloc 1000"]),
    ],
)
def test_what_nothing_points_to_is_found_and_nothing_else(machine: Kernel, what: str, expected: list[str]) -> None:
    assert lost(machine, what) == expected


def test_the_report_is_kmemleaks(machine: Kernel) -> None:
    lost(machine, "text")
    [one] = scan(machine)
    lines = report(machine, one)
    assert lines[0] == f"unreferenced object {one.address:#018x} (size 10):"
    assert lines[1].startswith('  comm "insmod", pid ')
    assert lines[2] == "  hex dump (first 10 bytes):"
    assert lines[3].startswith("    73 6f 6d 65 74 68 69 6e 67 00 ")
    assert lines[3].endswith("something.")
    assert lines[4] == "  backtrace:"
    assert "make+0x" in lines[5]
    assert lines[5].endswith("[lost]")
    assert machine.kmemleak() == "\n".join(lines) + "\n"
    assert find(machine) == 1
    finding = list(machine.findings)[-1]
    [number] = [at for at, line in enumerate(SOURCE, 1) if "kstrdup(" in line]
    assert (str(finding.kind), Path(finding.file).name, finding.line) == ("leak", "lost.c", number)


def test_a_run_looks_for_it_when_asked() -> None:
    built = module("tests/kmod/lost")
    first = run(built, "lost=text", "--kmemleak", "--json").json["findings"][0]
    assert "that nothing points to any more at make+0x" in first["message"]
    assert first["text"][0].startswith("unreferenced object 0x")
    assert "nothing points" not in run(built, "lost=text").out
