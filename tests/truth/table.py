"""The counts of docs/facts.json, from which docs/fidelity.md has its table of compared facts.

``KMEM_UPDATE=1 ./dev test tests/truth`` writes them anew; the tests find them stale.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.truth.compare import Comparison, Known, compare
from tests.truth.facts import Fact, Golden

FILE = Path(__file__).resolve().parents[2] / "docs" / "facts.json"
Counts = dict[str, Any]


def section(fact: Fact) -> str:
    """What a fact is about: the first word of its step."""
    return fact.step.split(" ")[0]


def counts(golden: Golden, answers: list[Fact], known: list[Known]) -> Counts:
    """How many facts of each section are equal, not seen in this run, and different, with the reasons."""
    sections: dict[str, Any] = {}
    for name in sorted({section(fact) for fact in golden.facts}):
        mine = [fact for fact in golden.facts if section(fact) == name]
        result: Comparison = compare(mine, answers, known)
        sections[name] = {
            "facts": len(mine),
            "equal": result.equal,
            "not seen": result.not_seen,
            "different": sorted(result.explained),
        }
    return {"config": golden.config, "sources": list(golden.sources), "sections": sections}


def verify(name: str, found: Counts) -> None:
    """The table says so; with KMEM_UPDATE=1 it is made to."""
    table = json.loads(FILE.read_text()) if FILE.exists() else {}
    if os.environ.get("KMEM_UPDATE") == "1":
        table[name] = found
        FILE.write_text(json.dumps(dict(sorted(table.items())), indent=1, ensure_ascii=False) + "\n")
    assert table.get(name) == found, "docs/facts.json is stale: KMEM_UPDATE=1 ./dev test -n 0 tests/truth"
