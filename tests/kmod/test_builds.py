"""Every module of tests/kmod and examples is built by kbuild, and is named as its directory says."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmem.modules.kbuild import build

ROOT = Path(__file__).resolve().parent.parent.parent
DIRECTORIES = sorted(path.parent for top in ("tests/kmod", "examples") for path in (ROOT / top).rglob("Kbuild"))
SEVERAL = {"basic": ["km1024.ko", "vm1024.ko"]}
"""Directories that hold more than the one module that they are named for."""


@pytest.mark.needs_headers
@pytest.mark.slow
@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_directory_makes_its_modules(directory: Path) -> None:
    made = [path.name for path in build(directory).modules]
    assert made == SEVERAL.get(directory.name, [f"{directory.name}.ko"])


@pytest.mark.parametrize(
    "directory", sorted(path.parent for path in (ROOT / "examples").glob("*/Kbuild")), ids=lambda path: path.name
)
def test_an_example_says_how_it_is_run_and_what_to_expect(directory: Path) -> None:
    text = (directory / "README.md").read_text()
    assert f"kmem run examples/{directory.name}" in text
    assert all(config in text for config in ("plain", "debian", "debug"))
    assert "exit status" in text
