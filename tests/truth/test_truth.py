"""kmem against real kernels, fact by fact: equal, or different and explained in differences.toml."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.truth import table
from tests.truth.ask import Kmem, facts_of_kmem
from tests.truth.compare import compare, load_known, unused
from tests.truth.convert import READERS
from tests.truth.facts import Golden, load_all

GOLDENS = load_all()
ATOMIC = json.loads((Path(__file__).parents[1] / "golden" / "atomic.json").read_text())
KNOWN = load_known()


@pytest.mark.needs_headers
@pytest.mark.slow
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_kmem_answers_as_the_real_kernel_did(
    golden: Golden, kmem: Kmem, record_property: Callable[[str, object], None]
) -> None:
    answers = facts_of_kmem(kmem, golden)
    result = compare(golden.facts, answers, KNOWN)
    record_property("truth", f"{golden.name:24} {result}")
    assert result.passed, result.details()
    table.verify(golden.name, table.counts(golden, answers, KNOWN))


def test_every_listed_difference_is_about_a_fact() -> None:
    every = [fact for golden in GOLDENS for fact in golden.facts]
    assert [str(entry) for entry in unused(KNOWN, every)] == []


def test_the_golden_facts_cover_every_configuration_and_module() -> None:
    assert {golden.config for golden in GOLDENS} == {"plain", "debian", "debug"}
    assert {golden.module for golden in GOLDENS} == {*READERS, "sysfs", "slabinfo"}


def test_the_table_counts_the_complaints_about_contexts() -> None:
    """Each line is compared by test_atomic.py; where a kernel said nothing, that is one fact."""
    for config in ("plain", "debian"):
        sections: table.Counts = {}
        for case, lines in ATOMIC.items():
            if case.startswith(config):
                new = {"facts": 0, "equal": 0, "not seen": 0, "different": []}
                entry = sections.setdefault(case.split(".")[1], new)
                entry["facts"] += max(len(lines), 1)
                entry["equal"] = entry["facts"]
        table.verify(f"{config}.atomic", {"config": config, "sources": ["*.atomic.*"], "sections": sections})


def test_the_table_has_every_golden_file() -> None:
    listed = {name: entry for name, entry in json.loads(table.FILE.read_text()).items() if not name.endswith(".atomic")}
    assert list(listed) == sorted(golden.name for golden in GOLDENS)
    total = {name: sum(s["facts"] for s in entry["sections"].values()) for name, entry in listed.items()}
    assert total == {golden.name: len(golden.facts) for golden in GOLDENS}


def test_at_least_99_of_100_facts_of_the_plain_kernel_are_equal() -> None:
    plain = [entry for entry in json.loads(table.FILE.read_text()).values() if entry["config"] == "plain"]
    sections = [section for entry in plain for section in entry["sections"].values()]
    equal, different = sum(s["equal"] for s in sections), sum(len(s["different"]) for s in sections)
    assert equal > 1000
    assert different <= equal // 99


@pytest.mark.needs_shared
def test_every_recorded_boot_is_compared_or_the_reason_is_given(shared: Path) -> None:
    there = {path.name for path in (shared / "truth").iterdir() if path.is_dir()}
    compared = {source.split("/")[0] for golden in GOLDENS for source in golden.sources}
    compared |= {path.name for path in (shared / "truth").glob("*.atomic.*") if _case(path.name) in ATOMIC}
    left = tomllib.loads((Path(__file__).parent / "not_compared.toml").read_text())
    assert there - compared == set(left)
    assert all(reason.strip() for reason in left.values())


def _case(boot: str) -> str:
    """The name of a boot in tests/golden/atomic.json."""
    return boot.replace(".atomic.", ".").replace("A.", "plain.").replace("deb.", "debian.")
