"""kmem against real kernels, fact by fact: equal, or different and explained in differences.toml."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.truth.ask import Kmem, facts_of_kmem
from tests.truth.compare import compare, load_known, unused
from tests.truth.convert import READERS
from tests.truth.facts import Golden, load_all

GOLDENS = load_all()
KNOWN = load_known()


@pytest.mark.needs_headers
@pytest.mark.slow
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_kmem_answers_as_the_real_kernel_did(
    golden: Golden, kmem: Kmem, record_property: Callable[[str, object], None]
) -> None:
    result = compare(golden.facts, facts_of_kmem(kmem, golden), KNOWN)
    record_property("truth", f"{golden.name:24} {result}")
    assert result.passed, result.details()


def test_every_listed_difference_is_about_a_fact() -> None:
    every = [fact for golden in GOLDENS for fact in golden.facts]
    assert [str(entry) for entry in unused(KNOWN, every)] == []


def test_the_golden_facts_cover_every_configuration_and_module() -> None:
    assert {golden.config for golden in GOLDENS} == {"plain", "debian", "debug"}
    assert {golden.module for golden in GOLDENS} == set(READERS)
