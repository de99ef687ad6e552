"""Every known-bad case is found, of the right kind and at the right line; without its defect nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import kmem
from kmem.kapi import kmemleak_scan
from kmem.kapi.executor import TaskDied
from kmem.kernel import Kernel
from kmem.modules.kbuild import build
from kmem.runner import report_leaks
from kmem.sanitizers.report import Finding, Findings
from tests.sanitizers.cases import KMOD, Case, Words, every

CASES = every()
pytestmark = pytest.mark.needs_headers


class Machines:
    """One machine for each module, back at its start for each try."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._booted: dict[tuple[str, tuple[str, ...], bool], tuple[Kernel, bytes]] = {}

    def _machine(self, case: Case) -> tuple[Kernel, bytes]:
        key = case.module, case.flags, case.quarantine
        if key not in self._booted:
            [path] = build(KMOD / case.module, flags=case.flags).modules
            kernel = self._stack.enter_context(kmem.boot(ram="128M", check="fast", quarantine=case.quarantine))
            if not case.scan:  # a module that leaks is loaded once
                kernel.insmod(path, **_harmless(case.module)).rmmod()
            assert kernel.executor
            kernel.snapshot()
            self._booted[key] = kernel, path.read_bytes()
        return self._booted[key]

    def run(self, case: Case, words: Words) -> list[Finding]:
        """What is found when the module is loaded, and unloaded again if it lives."""
        kernel, image = self._machine(case)
        kernel.rollback()
        kernel.findings = Findings()
        with suppress(TaskDied):
            loaded = kernel.insmod(image, **words)
            if case.scan:
                kmemleak_scan.find(kernel)
                return list(kernel.findings)
            loaded.rmmod()
            kernel.drain()
            report_leaks(kernel)
        kernel.drain()
        return list(kernel.findings)


def _harmless(module: str) -> Words:
    return {"mode": "roread"} if module == "bug" else {}


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with ExitStack() as stack:
        yield Machines(stack)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_found_where_it_is_and_not_found_where_it_is_not(machines: Machines, case: Case) -> None:
    found = machines.run(case, case.wrong)
    of_kind = [finding for finding in found if str(finding.kind) == case.kind]
    assert of_kind, found
    assert Path(of_kind[0].file).name == f"{case.module}.c"
    assert of_kind[0].line in case.lines, of_kind[0]
    assert machines.run(case, case.right) == []


def test_there_are_three_hundred_and_each_has_its_name() -> None:
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)
