"""``--fail-nth`` and ``--fail-each``: every allocation fails in turn, and each fault of an error path is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.running import KMOD, module, run

pytestmark = [pytest.mark.needs_headers]
SOURCE = (KMOD / "failing" / "failing.c").read_text().splitlines()


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(SOURCE, 1) if text in line)


def failing(fault: str, *words: str) -> dict[str, object]:
    ran = run(module("tests/kmod/failing"), f"fault={fault}", "--json", *words)
    assert ran.status in (0, 1), ran.told
    return ran.json


def test_every_allocation_fails_once_and_for_good() -> None:
    document = failing("none", "--fail-each")
    assert document["verdict"] == "clean"
    tries = document["failing"]
    assert [(one["number"], one["lasting"]) for one in tries] == [(n, b) for n in (1, 2, 3, 4) for b in (False, True)]
    assert {one["outcome"] for one in tries} == {"init returned -12"}
    assert [one["call"] for one in tries[::2]] == ["kmalloc", "kmalloc", "kmalloc", "vmalloc"]
    assert tries[2]["site"].endswith(f"failing.c:{line_of('kcalloc')}")
    assert document["allocations"]["live"] == 0
    assert document["init"] == 0


@pytest.mark.parametrize(
    ("fault", "kind", "line", "number"),
    [
        ("leak", "leak", "kcalloc(16", 3),
        ("null", "null-dereference", "*(int *)state->area", 4),
        ("twice", "double-free", 'if (!strcmp(fault, "twice"))', 4),
        ("stale", "use-after-free", "WRITE_ONCE", 3),
    ],
)
def test_the_fault_of_an_error_path_is_found(fault: str, kind: str, line: str, number: int) -> None:
    document = failing(fault, "--fail-each")
    assert document["verdict"] == "findings"
    first = document["findings"][0]
    assert first["kind"] == kind
    at = line_of(line) + (1 if fault == "twice" else 0)
    assert (Path(first["file"]).name, first["line"]) == ("failing.c", at)
    assert f"allocation {number} failed" in first["message"]
    again = failing(fault, "--fail-nth", str(number))
    assert again["findings"][0]["kind"] == kind


def test_one_allocation_can_be_made_to_fail() -> None:
    document = failing("none", "--fail-nth", "2")
    assert document["init"] == -12
    assert document["allocations"]["failed"] == 1
    ran = run(module("tests/kmod/failing"), "--fail-nth", "1", "--fail-each")
    assert ran.status == 2
