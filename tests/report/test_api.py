"""docs/api.md is up to date, complete, and every test that it names exists."""

from __future__ import annotations

import ast
from pathlib import Path

from kmem.report import api
from kmem.report.api_names import rows

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == api.text(), (
        "run `.venv/bin/python -m kmem.report.api > docs/api.md`"
    )


def test_every_name_has_a_test_that_exists() -> None:
    tests: dict[str, set[str]] = {}
    for file in {row.test.partition("::")[0] for row in rows()}:
        tree = ast.parse((ROOT / file).read_text())
        tests[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    lost = [row.test for row in rows() if row.test.partition("::")[2] not in tests[row.test.partition("::")[0]]]
    assert lost == []


def test_no_name_stands_there_twice() -> None:
    names = [row.name for row in rows()]
    assert len(names) == len(set(names))


def test_every_link_symbol_is_exported_by_some_release_or_belongs_to_a_later_one() -> None:
    """A candidate that no release has is a typing mistake; names of 6.12 have a form of their own."""
    from kmem.abi.exports import exports

    known = {name for release in api.releases() for name in exports(release)}
    strange = {
        symbol
        for row in rows()
        for symbol in row.symbols
        if symbol not in known and not symbol.endswith("_noprof") and symbol not in LATER
    }
    assert strange == set()


LATER = {"__kmem_cache_create_args", "__page_frag_alloc_align", "kvmemdup"}
"""Exports of 6.12 without the suffix of the profiled ones."""


def test_what_is_missing_is_named_as_missing() -> None:
    assert {row.name for row in rows() if api.missing(row)} == {
        line.split("`")[1] for line in api.text().splitlines() if "| missing: " in line
    }


def test_the_groups_of_this_kernel_are_complete() -> None:
    whole = ("1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "12 ")
    assert [row.name for row in rows() if row.group.startswith(whole) and api.missing(row)] == []


def test_names_are_calls_on_the_kernel() -> None:
    silent = [row.name for row in rows() if not api.python_name(row) and not row.name.isupper()]
    assert silent == ["ioremap_np"]
