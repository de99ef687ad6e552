"""Comparing facts: equal, explained, unexplained, outdated, not seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth.compare import Known, compare, load_known, unused
from tests.truth.facts import IF_SEEN, Collector, Fact, FactsError


def fact(key: str, value: int | str, step: str = "size 8") -> Fact:
    return Fact("plain", "probe", step, key, value)


def known(key: str = "order", step: str = "size *") -> Known:
    return Known("plain", "probe", step, key, "because")


def test_equal_facts_are_counted() -> None:
    result = compare([fact("order", 0), fact("ksize", 8)], [fact("ksize", 8), fact("order", 0)])
    assert (result.equal, result.passed, str(result)) == (2, True, "2 facts equal, 0 different and explained")


def test_a_difference_that_is_not_listed_fails() -> None:
    result = compare([fact("order", 0)], [fact("order", 1)], [known("ksize")])
    assert not result.passed
    assert result.unexplained == ["plain probe: size 8: order: 0, and here 1"]


def test_a_fact_that_is_missing_is_a_difference() -> None:
    result = compare([fact("order", 0)], [])
    assert not result.passed
    assert result.unexplained == ["plain probe: size 8: order: 0, and here nothing"]


def test_a_difference_that_is_listed_passes_with_its_reason() -> None:
    result = compare([fact("order", 0)], [fact("order", 1)], [known()])
    assert result.passed
    assert result.explained == ["plain probe: size 8: order: 0, and here 1 (because)"]


def test_a_listed_difference_that_has_become_equal_fails() -> None:
    facts = [fact("order", 0), fact("order", 1, "size 9")]
    result = compare(facts, [fact("order", 0), fact("order", 2, "size 9")], [known()])
    assert not result.passed
    assert result.outdated == ["plain probe: size *: order (size 8: order is 0)"]
    assert "no longer different" in result.details()


def test_what_need_not_be_seen_may_be_missing_but_not_different() -> None:
    conditional = fact(f"order{IF_SEEN}", "d a b c")
    assert compare([conditional], []).passed
    assert compare([conditional], []).not_seen == 1
    assert not compare([conditional], [fact(f"order{IF_SEEN}", "a b c d")]).passed


def test_more_facts_than_expected_say_nothing() -> None:
    assert compare([fact("order", 0)], [fact("order", 0), fact("ksize", 8)]).passed


def test_an_entry_that_names_no_fact_is_found() -> None:
    entries = [known(), known("nothing")]
    assert unused(entries, [fact("order", 0)]) == [entries[1]]


@pytest.mark.parametrize(
    "row",
    ['config="a"\nmodule="b"\nstep="c"\nkey="d"', 'config="a"\nmodule="b"\nstep="c"\nkey="d"\nreason=" "'],
)
def test_a_difference_needs_a_reason(tmp_path: Path, row: str) -> None:
    table = tmp_path / "differences.toml"
    table.write_text(f"[[difference]]\n{row}\n")
    with pytest.raises(FactsError, match="has config, module, step, key and reason"):
        load_known(table)


def test_a_fact_has_one_value() -> None:
    out = Collector("plain", "probe")
    out.add("size 8", "order", 0)
    out.add("size 8", "order", 0)
    assert out.facts == [fact("order", 0)]
    with pytest.raises(FactsError, match="order is 0 and 1"):
        out.add("size 8", "order", 1)
