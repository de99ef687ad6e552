"""Reports from public issues, labelled before they were explained: titles and causes, as a score over all."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmem.oops.explain import Explanation, explain, main_of

SURE = 0.85
Found = dict[str, tuple[dict[str, str], Explanation | None]]


@pytest.fixture(scope="module")
def found() -> Found:
    result = {}
    for path in sorted((Path(__file__).parent / "excerpts").glob("*.txt")):
        head, _, log = path.read_text().partition("\n\n")
        label = dict(line.split(": ", 1) for line in head.splitlines())
        result[path.stem] = label, main_of(explain(log))
    return result


def test_titles(found: Found) -> None:
    wrong = {
        name: (each.report.title if each else None, label["TITLE"])
        for name, (label, each) in found.items()
        if each is None or each.report.title != label["TITLE"]
    }
    assert len(wrong) <= 0.1 * len(found), wrong


def test_causes(found: Found) -> None:
    wrong = {name: each.causes if each else [] for name, (label, each) in found.items()
             if each is None or each.verdict.cause != label["CAUSE"]}  # fmt: skip
    sure = [name for name in wrong if (each := found[name][1]) is not None and each.confidence >= SURE]
    assert len(wrong) <= 0.05 * len(found), wrong
    assert len(sure) <= 0.03 * len(found), sure
