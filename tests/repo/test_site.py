"""What the site is made of leads somewhere, and what checks it sees what is wrong. No Sphinx is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.site.check import problems
from docs.site.source_links import LINK, BrokenLink, line_of, outside_fences, rewritten, target

PROSE = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]


def pages(root: Path) -> list[Path]:
    return [*(root / name for name in PROSE), *root.glob("docs/**/*.md"), *root.glob("examples/*/README.md")]


def test_every_link_into_the_sources_leads_to_what_it_names(root: Path) -> None:
    assert len(pages(root)) > 30
    wrong = [problem for page in pages(root) for problem in rewritten(page, page.read_text(), lambda file: False)[1]]
    assert wrong == []


def test_every_page_is_listed(root: Path) -> None:
    index = root / "docs" / "README.md"
    listed = {target(index, link[1], "")[0] for link in LINK.finditer(index.read_text())}
    there = {page for page in root.glob("docs/*.md") if page != index}
    assert there <= listed, "docs/README.md lists every page: it is the site's table of contents"


def test_a_name_has_the_line_of_its_definition(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "import os\n\nN: int = 1\nM = 2\n\nclass C:\n    def f(self):\n        return os\n\ndef g(): pass\n"
    )
    assert [line_of(file, name) for name in ("N", "M", "C", "C.f", "g")] == [3, 4, 6, 7, 10]
    assert [line_of(file, name) for name in ("os", "f", "C.g", "C.f.x", "h")] == [None] * 5


@pytest.mark.parametrize(
    ("link", "what"),
    [
        ("../src/kmem/mm/slub.py#no_such_name", "no such name"),
        ("../src/kmem/mm/no_such_file.py", "no such file"),
        ("no-such-page.md#there", "no such file"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(root: Path, link: str, what: str) -> None:
    path, _, name = link.partition("#")
    with pytest.raises(BrokenLink, match=what):
        target(root / "docs" / "page.md", path, name)


def test_links_in_code_are_no_links(root: Path) -> None:
    text = "[a](../LICENSE)\n```\n[b](nowhere)\n```\n[c](https://example.org/x)\n"
    new, wrong = rewritten(root / "docs" / "page.md", text, lambda file: False)
    assert wrong == []
    assert new == text.replace("../LICENSE", "source:LICENSE")
    assert [number for number, _, prose in outside_fences(text) if not prose] == [2, 3, 4]


def test_a_site_that_fetches_or_leads_nowhere_is_refused(tmp_path: Path) -> None:
    good = (
        '<html><h1 id="a">A</h1><a href="#a">a</a><a href="two.html#b">b</a><a href="https://example.org">c</a></html>'
    )
    (tmp_path / "one.html").write_text(good)
    (tmp_path / "two.html").write_text('<p id="b"></p>')
    assert problems(tmp_path) == []
    for bad, what in (
        ('<a href="three.html">', "no such file"),
        ('<a href="two.html#c">', "no such place"),
        ('<a href="#c">', "no such place"),
        ('<script src="https://example.org/x.js"></script>', "fetches"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "fetches"),
        ("<style>@import 'https://example.org/font.css';</style>", "fetches"),
        ('<img src="missing.png">', "no such file"),
    ):
        (tmp_path / "one.html").write_text(bad)
        assert [problem for problem in problems(tmp_path) if what in problem], bad
