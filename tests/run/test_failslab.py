"""``--failslab``, ``--fail-page-alloc``, ``--fail-usercopy``: attributes, filters, and what a run says of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kmem.errors import UsageError
from kmem.kapi.failslab import SLAB, Attributes, Faults
from tests.run.running import line_of, module, run

SOURCE = "tests/kmod/failing/failing.c"


def pattern(text: str, chances: int, size: int = 1) -> str:
    faults = Faults(SimpleNamespace(), {SLAB: Attributes.parse(text)}, 0)
    return "".join(".X"[faults.should_fail(SLAB, size)] for _ in range(chances))


def test_the_attributes_are_those_of_the_kernel() -> None:
    assert pattern("", 3) == "XXX"
    assert pattern("probability=0", 3) == "..."
    assert pattern("interval=3", 7) == "..X..X."
    assert pattern("times=2", 4) == "XX.."
    assert pattern("space=100", 5, size=40) == "..XXX"
    assert pattern("interval=2,times=1,space=2", 6) == "..X..."
    half = pattern("probability=50", 1000)
    assert 400 < half.count("X") < 600
    assert half == pattern("probability=50", 1000)


@pytest.mark.parametrize("text", ["prob=1", "times", "times=x", "probability=1;times=2"])
def test_what_is_no_attribute_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no fault attribute"):
        Attributes.parse(text)


def injected(*words: str) -> list[tuple[str, str, str]]:
    document: dict[str, Any] = run(module("tests/kmod/failing"), "--json", *words).json
    return [(one["kind"], one["call"].removesuffix("_noprof"), one["site"]) for one in document["injected"]]


@pytest.mark.needs_headers
def test_the_filters_choose_what_fails() -> None:
    state, area = (f"{SOURCE}:{line_of(SOURCE, text)}" for text in ("state = kzalloc", "= vmalloc("))
    numbers = f"{SOURCE}:{line_of(SOURCE, 'kcalloc(16')}"
    assert [site for _, _, site in injected("--failslab")] == [state]
    assert [site for _, _, site in injected("--failslab", "min=64")] == [numbers]
    assert [site for _, _, site in injected("--failslab", "cache=kmalloc-64")] == [numbers]
    assert injected("--failslab", "cache=kmalloc-4k") == []
    assert injected("--failslab", "wait=0") == []
    assert injected("--fail-page-alloc") == [("fail_page_alloc", "vmalloc", area)]
    assert injected("--fail-page-alloc", "min-order=1") == []


@pytest.mark.needs_headers
def test_a_leak_that_chance_has_found_can_be_repeated() -> None:
    ran = run(module("tests/kmod/failing"), "fault=leak", "--failslab", "interval=3", "--json")
    assert ran.status == 1
    finding = ran.finding
    assert finding["kind"] == "leak"
    assert "never freed (with failslab) at failing_init" in finding["message"]
    assert "--failslab interval=3" in finding["reproduce"]
    assert run(module("tests/kmod/failing"), "--failslab", "--fail-nth", "1").status == 2
    assert run(module("tests/kmod/failing"), "--failslab", "nonsense=1").status == 2
