"""The real kernel, booted in QEMU: it repeats the golden facts, and kmem agrees with it on this very machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.differential.image import Unavailable
from tests.differential.real import APPEND, facts_of_real_kernel
from tests.truth.ask import Kmem, facts_of_kmem
from tests.truth.compare import compare, load_known
from tests.truth.facts import GOLDEN, Fact, Golden, load, load_all

GOLDENS = [golden for golden in load_all() if golden.config in APPEND and golden.module != "sysfs"]
"""All but the attributes in /sys/kernel/slab: to read those thousands of files takes an emulated machine minutes."""

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]


def ask(golden: Golden) -> list[Fact]:
    """The real kernel's facts; skips where no kernel can be booted."""
    try:
        return facts_of_real_kernel(golden)
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_the_real_kernel_repeats_the_golden_facts(golden: Golden) -> None:
    answers = ask(golden)
    facts = golden.facts
    if golden.module == "slabinfo":  # of the caches that this boot has: those of drivers come and go
        here = {fact.step for fact in answers}
        facts = tuple(fact for fact in facts if fact.step in here)
        assert len({fact.step for fact in facts}) > 100
    result = compare(facts, answers)
    assert result.passed, result.details()


def test_kmem_and_the_real_kernel_answer_probe_alike(
    kmem: Kmem, record_property: Callable[[str, object], None]
) -> None:
    golden = load(GOLDEN / "debian.probe.json")
    result = compare(ask(golden), facts_of_kmem(kmem, golden), load_known())
    record_property("truth", f"{'debian.probe, booted now':24} {result}")
    assert result.passed, result.details()
