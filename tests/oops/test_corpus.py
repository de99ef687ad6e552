"""123 real logs with known titles and causes (outside the repository), scored against tests/oops/labels.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmem.oops.explain import Explanation, explain, main_of

LABELS = json.loads((Path(__file__).parent / "labels.json").read_text())
SURE = 0.85

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module")
def found(shared: Path) -> dict[str, list[Explanation]]:
    return {name: explain((shared / "oops" / f"{name}.txt").read_text(errors="replace")) for name in LABELS}


def test_every_log_has_a_report(found: dict[str, list[Explanation]]) -> None:
    assert [name for name in LABELS if not found[name]] == []


def test_titles(found: dict[str, list[Explanation]]) -> None:
    golden = {name: label for name, label in LABELS.items() if "title" in label}
    wrong = {
        name: found[name][0].report.title
        for name, label in golden.items()
        if found[name][0].report.title not in (label["title"], label.get("title_corrected"))
    }
    assert len(wrong) <= 0.05 * len(golden), wrong
    exact = sum(found[name][0].report.title == label["title"] for name, label in golden.items())
    assert exact >= 0.9 * len(golden)


@pytest.mark.parametrize(("stated", "first_share"), [(True, 0.7), (False, 0.7)], ids=["stated", "all"])
def test_causes(found: dict[str, list[Explanation]], stated: bool, first_share: float) -> None:
    labelled = {name: label["cause"] for name, label in LABELS.items() if label["stated"] or not stated}
    main = {name: main_of(found[name]) for name in labelled}
    causes = {name: each.causes if each else [] for name, each in main.items()}
    first = [name for name, cause in labelled.items() if causes[name][:1] == [cause]]
    second = [name for name, cause in labelled.items() if cause in causes[name][:2]]
    sure_and_wrong = [
        name for name, each in main.items() if each and each.confidence >= SURE and each.causes[0] != labelled[name]
    ]
    missed = {name: (labelled[name], causes[name][:2]) for name in labelled if name not in first}
    assert len(first) >= first_share * len(labelled), missed
    assert len(second) >= 0.85 * len(labelled), missed
    assert len(sure_and_wrong) <= 0.03 * len(labelled), sure_and_wrong


INDEX_CLASSES = {
    "alloc_failure_order_n": {"alloc_failure"},
    "ascii_overwrite": {"text_overwrite"},
    "bad_page_state": {"bad_page"},
    "hw_bitflip_suspect": {"bit_flip"},
    "invalid_control_flow": {"bad_call"},
    "null_or_err_pointer": {"null_pointer", "err_pointer"},
    "vmalloc_space_exhausted": {"vmalloc_exhausted"},
    "wrong_cache_or_bad_pointer_freed": {"bad_free"},
}
"""What the automatic classes of the folder's index are called here, where the names differ."""


def test_causes_by_the_automatic_labels(found: dict[str, list[Explanation]], shared: Path) -> None:
    """The index has a class for each log, made from its words; `cause_reason` says where the labels differ."""
    index = json.loads((shared / "oops/index.json").read_text())
    labelled = {
        each["file"].removesuffix(".txt"): INDEX_CLASSES.get(each["symptom_class"], {each["symptom_class"]})
        for each in index
        if each["symptom_class"] not in ("other", "kasan_other")
    }
    causes = {name: each.causes if (each := main_of(found[name])) else [] for name in labelled}
    first = [name for name, wanted in labelled.items() if set(causes[name][:1]) & wanted]
    second = [name for name, wanted in labelled.items() if set(causes[name][:2]) & wanted]
    assert len(first) >= 0.7 * len(labelled)
    assert len(second) >= 0.85 * len(labelled)


def test_corrections_have_reasons() -> None:
    assert all(label["title_reason"] for label in LABELS.values() if "title_corrected" in label)
    assert all(label["cause_reason"] for label in LABELS.values() if "cause_reason" in label)


def test_the_crash_of_the_question(shared: Path) -> None:
    """Two spliced oopses in 2.6.27's kmalloc, joined into one line, asked about as a matter of allocation functions."""
    log = next((shared / "seeds").glob("000_*.txt")).read_text()
    each = explain(log)[0]
    told = "\n".join(f"{note.label}: {note.text}" for note in each.notes)
    assert each.verdict.cause == "freelist_corruption"
    for point in (
        "cache kmalloc-64", "GFP_ATOMIC (r6 and r1 = 0x20, not a size)",
        "interrupts were off before the call",
        "overwritten with 0xd", "__kmalloc and its callers here are the victim",
        "another allocation function would meet",
        "vmalloc() may sleep and is forbidden with interrupts off, as is GFP_KERNEL",
        "slub_debug was off for this cache",
        "two crashes are spliced", "0xc0098cc8", "slub_debug=FZPU,kmalloc-64", "bcm_udc_dwc", "cannot prove",
        "a double free alone leaves valid pointers",
    ):  # fmt: skip
        assert point in told, point
    assert each.confidence < SURE
