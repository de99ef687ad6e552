"""Every code block of every page runs and shows what comes of it. KMEM_UPDATE=1 writes the pages anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs.blocks import RUN, Block, Different, Workplace, blocks, played

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"docs/commands.md", "docs/api.md", "docs/fidelity.md", "README.md"}
"""Made or run by tests/repo/test_docs.py and tests/report."""
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")]
)
NOT_RUN = 2
"""The blocks that say why they are not run."""


def with_code() -> list[str]:
    return [
        page
        for page in PAGES
        if page not in ELSEWHERE and any(block.runs for block in blocks((ROOT / page).read_text()))
    ]


@pytest.mark.needs_headers
@pytest.mark.parametrize("name", with_code())
def test_blocks_show_what_comes_of_them(name: str, tmp_path: Path) -> None:
    page = ROOT / name
    now = played(ROOT, tmp_path, page.read_text())
    if os.environ.get("KMEM_UPDATE") == "1":
        page.write_text(now)
    assert page.read_text() == now, "stale: KMEM_UPDATE=1 ./dev test tests/docs"


def test_no_command_hides_from_the_test() -> None:
    """What begins like a command is in a block that is run: no indented block, no fence without a language."""
    hidden = []
    for name in set(PAGES) - {"docs/commands.md"}:
        text = (ROOT / name).read_text()
        hidden += [f"{name}:{text.count(chr(10), 0, at.start()) + 1}" for at in re.finditer(r"^    \$ ", text, re.M)]
        for block in blocks(text):
            if block.language not in RUN and re.search(r"^(\$|>>>) ", block.text, re.MULTILINE):
                hidden.append(f"{name}:{block.line}")
    assert hidden == []


def test_few_blocks_are_not_run() -> None:
    reasons = {
        f"{name}:{block.line}": block.notes["not run"]
        for name in PAGES
        for block in blocks((ROOT / name).read_text())
        if "not run" in block.notes
    }
    assert len(reasons) == NOT_RUN, reasons
    assert all(len(reason.split()) > 3 for reason in reasons.values())


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(ROOT, tmp_path)


def one(text: str) -> Block:
    (found,) = blocks(text)
    return found


def test_a_stale_block_is_shown_as_it_is_now(workplace: Workplace) -> None:
    assert workplace.run(one("```console\n$ echo a\nb\n$ echo c\n```\n")) == "$ echo a\na\n$ echo c\nc\n"
    shown = workplace.run(one("```python\n>>> for n in range(2):\n...     print(n)\n...\n7\n>>> 1 / 0\n```\n"))
    assert shown.startswith(">>> for n in range(2):\n...     print(n)\n...\n0\n1\n>>> 1 / 0\nTraceback")
    assert shown.endswith("ZeroDivisionError: division by zero\n")


def test_an_excerpt_has_to_be_in_what_is_printed(workplace: Workplace) -> None:
    assert workplace.run(one("```console\n$ seq 9\n1\n…\n4\n5\n…\n```\n"))
    for lines in ("…\n4\n6\n…", "…\n5\n…\n4\n…", "…\n10\n…"):
        with pytest.raises(Different, match="not there"):
            workplace.run(one(f"```console\n$ seq 9\n{lines}\n```\n"))


def test_an_exit_status_has_to_be_said(workplace: Workplace) -> None:
    with pytest.raises(Different, match="ended with 3, not 0"):
        workplace.run(one("```console\n$ exit 3\n```\n"))
    assert workplace.run(one("<!-- exit: 3 -->\n```console\n$ exit 3\n```\n"))
    assert workplace.run(one("```console\n$ false\n$ echo $?\n```\n")) == "$ false\n$ echo $?\n1\n"


def test_a_block_that_cannot_be_run_has_to_say_why(workplace: Workplace) -> None:
    with pytest.raises(Different, match="needs `file:`"):
        workplace.run(one("```c\nint x;\n```\n"))
    assert not one("<!-- not run: it is half a function -->\n```c\nint x;\n```\n").runs
    workplace.run(one("<!-- file: a/x.c -->\n```c\nint x;\n```\n"))
    assert (workplace.directory / "a" / "x.c").read_text() == "int x;\n"
