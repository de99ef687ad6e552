"""docs/fidelity.md is what the declarations say."""

from __future__ import annotations

from pathlib import Path

from kmem.report import fidelity

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "fidelity.md").read_text() == fidelity.text(), (
        "run `.venv/bin/python -m kmem.report.fidelity > docs/fidelity.md`"
    )


def test_every_simplified_export_says_how() -> None:
    from kmem.kapi.export import all_exports

    silent = [
        name for name, entry in all_exports().items() if entry.fidelity.level == "simplified" and not entry.fidelity.how
    ]
    assert silent == []


def test_notes_are_paragraphs_of_docstrings() -> None:
    found = dict(fidelity.notes("Private layout"))
    assert "mm/mm_types.py" in found
    assert found["mm/mm_types.py"].startswith("Private layout: kernel variables")
