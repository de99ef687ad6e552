"""What freed objects that are kept back show, and per-cpu variables: ends, and after they are freed."""

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
from kmem.runner import report_leaks
from kmem.sanitizers.quarantine import Quarantine
from kmem.sanitizers.report import Finding, Findings

ACCESS = Path(__file__).resolve().parent.parent / "kmod" / "access"


def boot(quarantine: bool) -> Iterator[Kernel]:
    [path] = build(ACCESS).modules
    with kmem.boot(ram="128M", check="fast", quarantine=quarantine) as kernel:
        kernel.insmod(path).rmmod()
        kernel.snapshot()
        yield kernel


@pytest.fixture(scope="module")
def keeping() -> Iterator[Kernel]:
    yield from boot(True)


@pytest.fixture(scope="module")
def fast() -> Iterator[Kernel]:
    yield from boot(False)


def tried(kernel: Kernel, **parameters: Any) -> list[Finding]:
    kernel.rollback()
    kernel.findings = Findings()
    [path] = build(ACCESS).modules
    with suppress(TaskDied):
        kernel.insmod(path, **parameters).rmmod()
    kernel.drain()
    report_leaks(kernel)
    return list(kernel.findings)


def kinds(found: list[Finding]) -> list[str]:
    return [str(finding.kind) for finding in found]


@pytest.mark.needs_headers
@pytest.mark.parametrize("start", ["kmalloc", "kzalloc", "cache"])
@pytest.mark.parametrize("op", ["read", "write", "set", "copy"])
@pytest.mark.parametrize("size", [8, 64, 200, 4096])
def test_who_uses_an_object_that_was_freed_and_given_out_again(keeping: Kernel, start: str, op: str, size: int) -> None:
    [finding] = tried(keeping, **{"from": start}, size=size, at=3, op=op, width=4, freed=1, again=1)
    assert str(finding.kind) == "use-after-free"
    assert finding.object is not None
    assert "access.c:" in finding.object.freed_at


@pytest.mark.needs_headers
def test_without_keeping_the_new_owner_is_all_that_is_known(fast: Kernel) -> None:
    assert tried(fast, size=64, op="write", freed=1, again=1) == []


@pytest.mark.needs_headers
@pytest.mark.parametrize("start", ["kmalloc", "cache", "pages", "vmalloc", "percpu"])
def test_a_clean_module_stays_clean_and_leaks_nothing(keeping: Kernel, start: str) -> None:
    assert tried(keeping, **{"from": start}, size=64, at=8, op="write", again=start != "percpu") == []
    assert keeping.leaks.live() == []
    assert keeping.checks is not None
    assert keeping.checks.quarantine.size == 0


@pytest.mark.needs_headers
@pytest.mark.parametrize("start", ["kmalloc", "cache"])
def test_a_second_free_is_seen_while_the_object_is_kept(keeping: Kernel, start: str) -> None:
    assert kinds(tried(keeping, **{"from": start}, size=64, fault="double")) == ["double-free"]
    assert kinds(tried(keeping, **{"from": "cache"}, size=64, fault="cache")) == ["mismatched-free"]


@pytest.mark.needs_headers
@pytest.mark.parametrize("size", [8, 16, 20, 64, 100])
@pytest.mark.parametrize("op", ["read", "write"])
def test_the_ends_of_a_percpu_variable(fast: Kernel, size: int, op: str) -> None:
    inside = tried(fast, **{"from": "percpu"}, size=size, at=size - 1, op=op)
    assert inside == []
    [right] = tried(fast, **{"from": "percpu"}, size=size, at=size, op=op)
    assert (str(right.kind), f"0 bytes right of {size} bytes" in right.message) == ("out-of-bounds", True)


@pytest.mark.needs_headers
def test_a_percpu_variable_that_is_freed(fast: Kernel) -> None:
    assert kinds(tried(fast, **{"from": "percpu"}, size=32, at=8, op="write", freed=1)) == ["use-after-free"]


def test_the_oldest_leave_when_there_are_too_many() -> None:
    gone: list[tuple[int, int]] = []
    kept = Quarantine(320, lambda address, cache: gone.append((address, cache)))
    for number in range(4):
        kept.put(number, 7, 4)
    assert gone == [(0, 7), (1, 7)]
    assert (1 in kept, 2 in kept, kept.size) == (False, True, 8)
    mark = kept.mark()
    kept.flush()
    assert (gone[2:], kept.size) == ([(2, 7), (3, 7)], 0)
    kept.rewind(mark)
    assert (2 in kept, kept.size) == (True, 8)
