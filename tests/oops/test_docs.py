"""docs/oops.md shows what the command prints and names what it knows. KMEM_UPDATE=1 writes the transcripts anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kmem.commands.oops import main
from kmem.oops.rules import CAUSES

BLOCK = re.compile(r"```\n\$ kmem oops (?P<words>[^\n]*)\n(?P<shown>.*?)```\n", re.DOTALL)


def test_transcripts(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(root)
    page = root / "docs/oops.md"
    text = page.read_text()
    assert len(BLOCK.findall(text)) == 2

    def real(found: re.Match[str]) -> str:
        assert main(found["words"].split()) == 1
        return f"```\n$ kmem oops {found['words']}\n{capsys.readouterr().out}```\n"

    now = BLOCK.sub(real, text)
    if os.environ.get("KMEM_UPDATE") == "1":
        page.write_text(now)
    assert page.read_text() == now, "stale: KMEM_UPDATE=1 ./dev test tests/oops/test_docs.py"


def test_every_cause_is_named(root: Path) -> None:
    words = set(re.findall(r"\w+", (root / "docs/oops.md").read_text()))
    assert set(CAUSES) <= words
