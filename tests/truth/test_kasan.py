"""What a real KASAN, and a real slub_debug, reported for tests/kmod/bug: kmem reports it too, and at the access."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.run.running import Ran, run
from tests.truth.facts import load_all
from tests.truth.kasan import FILE, convert, facts
from tests.truth.modules import built

GOLDEN: dict[str, dict[str, str]] = json.loads(FILE.read_text())
KINDS = {"slab-out-of-bounds": "out-of-bounds", "use-after-free": "use-after-free"}
SOURCE = (Path(__file__).resolve().parent.parent / "kmod" / "bug" / "bug.c").read_text().splitlines()
WRITE = next(number for number, line in enumerate(SOURCE, 1) if "WRITE_ONCE(*(unsigned long *)where" in line)
READ = next(number for number, line in enumerate(SOURCE, 1) if "READ_ONCE(p[i])" in line)
LINES = {"mode=oob size=32": [WRITE], "mode=uaf size=32": [READ, WRITE]}
"""Where the module does what it may not, in this order. (The print that reads is the statement of the line before.)"""


def load(words: str, config: str) -> Ran:
    return run(built("bug"), *words.split(), "--config", config, "--json")


@pytest.mark.needs_headers
@pytest.mark.parametrize("words", GOLDEN)
def test_the_report_says_what_kasan_says(words: str) -> None:
    finding = load(words, "plain").json["findings"][0]
    assert facts(finding["text"]) == GOLDEN[words]
    assert finding["kind"] == KINDS[GOLDEN[words]["error"]]


@pytest.mark.needs_headers
@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
@pytest.mark.parametrize("words", GOLDEN)
def test_what_kasan_or_slub_debug_reports_is_found_at_the_access(words: str, config: str) -> None:
    findings = load(words, config).json["findings"]
    at = [finding for finding in findings if finding["kind"] == KINDS[GOLDEN[words]["error"]]]
    lines = [finding["line"] for finding in at]
    assert [any(abs(line - wanted) <= 1 for line in lines) for wanted in LINES[words]] == [True] * len(LINES[words])
    assert all(Path(finding["file"]).name == "bug.c" for finding in at)


@pytest.mark.needs_headers
@pytest.mark.parametrize("words", GOLDEN)
def test_slub_debug_reports_it_as_well_later(words: str) -> None:
    [report] = [
        str(fact.value)
        for golden in load_all()
        if golden.name == "debug.bug"
        for fact in golden.facts
        if (fact.step, fact.key) == (words, "report")
    ]
    cache, _, problem = report.partition(": ")
    assert any(f"BUG {cache} (" in line and problem in line for line in load(words, "debug").dmesg.split("\n"))


@pytest.mark.needs_shared
def test_the_golden_reports_are_those_of_the_logs(shared: Path) -> None:
    assert convert(shared / "truth") == GOLDEN


def test_a_report_that_is_cut_off_has_fewer_facts() -> None:
    assert facts(["BUG: KASAN: use-after-free in f+0x1/0x2 [m]", "Read of size 8 at addr 1 by task a/1"]) == {
        "error": "use-after-free",
        "access": "Read of size 8",
    }
    assert facts([]) == {}
