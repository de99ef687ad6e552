"""The documentation says what the program says. KMEM_UPDATE=1 writes anew what is made from it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from kmem.commands.main import COMMANDS, overview
from kmem.errors import KmemError
from tests.docs.blocks import played

INTRODUCTION = """# Commands

Made from the commands' own `--help`; a test keeps it so. Results go to standard output, messages and progress to
standard error.
"""


def commands_page() -> str:
    parts = [INTRODUCTION, "## kmem\n", f"```\n{overview()}\n```\n"]
    for name in COMMANDS:
        help_text = import_module(f"kmem.commands.{name}").parser().format_help().rstrip()
        parts += [f"## kmem {name}\n", f"```\n{help_text}\n```\n"]
    return "\n".join(parts)


def test_the_page_of_commands_is_what_help_prints(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    page = root / "docs" / "commands.md"
    if os.environ.get("KMEM_UPDATE") == "1":
        page.write_text(commands_page())
    assert page.read_text() == commands_page(), "stale: KMEM_UPDATE=1 ./dev test tests/repo/test_docs.py"


@pytest.mark.needs_headers
def test_the_code_in_the_readme_shows_what_comes_of_it(root: Path, tmp_path: Path) -> None:
    """As tests/docs does it for every other page."""
    readme = root / "README.md"
    now = played(root, tmp_path, readme.read_text())
    assert now.count("\n$ .venv/bin/kmem run ") == 2
    if os.environ.get("KMEM_UPDATE") == "1":
        readme.write_text(now)
    assert readme.read_text() == now, "stale: KMEM_UPDATE=1 ./dev test tests/repo/test_docs.py"


def kinds_of_error(root: Path) -> Iterator[type[KmemError]]:
    """Every class in the sources that gives itself a slug."""
    for path in sorted((root / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any("slug" in ast.unparse(line).split()[:1] for line in node.body):
                name = ".".join(path.relative_to(root / "src").with_suffix("").parts)
                yield getattr(import_module(name), node.name)


def test_every_error_has_a_section_with_its_exit_status(root: Path) -> None:
    sections = re.split(r"^## ", (root / "docs" / "errors.md").read_text(), flags=re.MULTILINE)[1:]
    pages = {section.partition("\n")[0]: section for section in sections}
    kinds = {kind.slug: kind for kind in kinds_of_error(root)}
    assert len(kinds) > 5
    assert set(pages) == set(kinds)
    for slug, kind in kinds.items():
        assert f"Exit status {kind.status}." in pages[slug], slug


def test_links_between_documents_lead_somewhere(root: Path) -> None:
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
    assert len(pages) > 10
    broken = [
        f"{page.relative_to(root)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_dependency_has_a_decision(root: Path) -> None:
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    decisions = "\n".join(p.read_text() for p in (root / "docs" / "decisions").glob("*.md")).lower()
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0]
        assert name in decisions, name
