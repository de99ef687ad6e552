"""Asking kmem: the words of its command, and what is done with what it prints. The command itself is a stand-in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.truth import ask
from tests.truth.facts import Collector, FactsError, Golden
from tests.truth.log import Step

RUN: dict[str, Any] = {"verdict": "clean", "dmesg": [{"time": 1, "level": 6, "text": "vm1024: freed"}]}


class StandIn:
    """Answers like the command, and remembers how it was called."""

    def __init__(self, stdout: str) -> None:
        self.stdout = stdout
        self.calls: list[list[str]] = []

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        self.calls.append([str(word) for word in words])
        return subprocess.CompletedProcess(words, 4, self.stdout, "a traceback")


@pytest.fixture(autouse=True)
def _no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "built", lambda module: Path(f"{module}.ko"))


def golden(module: str, *steps: str) -> Golden:
    out = Collector("plain", module)
    for step in steps:
        out.add(step, "key", 1)
    return Golden("a name", "plain", module, (), tuple(out.facts))


def test_a_module_is_loaded_with_its_parameters_under_the_configuration() -> None:
    kmem = StandIn(json.dumps(RUN))
    step = ask.load(kmem, "debug", "bug", "mode=uaf size=32")
    assert kmem.calls == [["run", "bug.ko", "mode=uaf", "size=32", "--config", "debug", "--json"]]
    assert step == Step("bug", {"mode": "uaf", "size": "32"}, ("vm1024: freed",))


def test_there_is_a_load_for_each_set_of_parameters() -> None:
    kmem = StandIn(json.dumps(RUN))
    ask.facts_of_kmem(kmem, golden("bug", "mode=null", "mode=uaf size=32", "mode=null"))
    ask.facts_of_kmem(kmem, golden("vm1024", "regions", "exit"))
    assert [call[1:-3] for call in kmem.calls] == [
        ["bug.ko", "mode=null"],
        ["bug.ko", "mode=uaf", "size=32"],
        ["vm1024.ko"],
    ]


def test_the_log_becomes_facts() -> None:
    facts = ask.facts_of_kmem(StandIn(json.dumps(RUN)), golden("vm1024", "exit"))
    assert [(fact.step, fact.key, fact.value) for fact in facts] == [("exit", "freed", "yes")]


def test_a_command_that_prints_no_json_is_reported_with_its_own_words() -> None:
    with pytest.raises(FactsError, match="status 4 and no JSON: a traceback"):
        ask.load(StandIn("oops"), "plain", "bug", "")


def test_a_module_that_was_stopped_is_reported_with_the_reason() -> None:
    stopped = {**RUN, "verdict": "unsupported", "unsupported": [{"symbol": "ioremap", "count": 1}]}
    with pytest.raises(FactsError, match="ioremap"):
        ask.load(StandIn(json.dumps(stopped)), "plain", "bug", "")
