"""Facts: what a kernel answered, reduced to what another kernel of the same configuration must answer too.

A fact is one row {config, module, step, key, value}. *config* is kmem's name of the kernel's configuration (plain,
debian, debug), *module* the module of tests/kmod that asked, *step* what it asked, *key* and *value* the answer.

A key that ends in ``(if seen)`` depends on how the caches were filled before the module was loaded: a run in which
the situation did not arise has no such fact, and that is no difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

Value = int | str
IF_SEEN = " (if seen)"
GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "truth"


@dataclass(frozen=True, slots=True)
class Fact:
    """One row."""

    config: str
    module: str
    step: str
    key: str
    value: Value

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What the value is the value of."""
        return self.config, self.module, self.step, self.key

    @property
    def certain(self) -> bool:
        """Whether every run has this fact."""
        return not self.key.endswith(IF_SEEN)


class FactsError(ValueError):
    """A log or a golden file that is not what it should be."""


class Collector:
    """Gathers the facts of one module under one configuration, in order; two values for one name are an error."""

    def __init__(self, config: str, module: str) -> None:
        self.config = config
        self.module = module
        self.facts: list[Fact] = []
        self._values: dict[tuple[str, str], Value] = {}

    def add(self, step: str, key: str, value: Value) -> None:
        """Add a fact; saying the same again is allowed."""
        known = self._values.setdefault((step, key), value)
        if known != value:
            raise FactsError(f"{self.config} {self.module}: {step}: {key} is {known!r} and {value!r}")
        if len(self._values) > len(self.facts):
            self.facts.append(Fact(self.config, self.module, step, key, value))

    def update(self, step: str, answers: Mapping[str, Value]) -> None:
        """Add several facts of one step."""
        for key, value in answers.items():
            self.add(step, key, value)


@dataclass(frozen=True, slots=True)
class Golden:
    """The facts of one module under one configuration, and which boots they were taken from."""

    name: str
    config: str
    module: str
    sources: tuple[str, ...]
    facts: tuple[Fact, ...]

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return GOLDEN / f"{self.name}.json"

    def text(self) -> str:
        """The file: a head, then one fact a line as [step, key, value]."""
        head = {"config": self.config, "module": self.module, "sources": list(self.sources)}
        rows = ",\n".join(f"  {json.dumps([f.step, f.key, f.value])}" for f in self.facts)
        lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
        return "{\n" + "\n".join(lines) + f'\n "facts": [\n{rows}\n ]\n}}\n'


def load(path: Path) -> Golden:
    """Read one golden file."""
    raw = json.loads(path.read_text())
    config, module = str(raw["config"]), str(raw["module"])
    collector = Collector(config, module)
    for step, key, value in raw["facts"]:
        collector.add(step, key, value)
    return Golden(path.stem, config, module, tuple(raw["sources"]), tuple(collector.facts))


def load_all() -> list[Golden]:
    """Read all golden files."""
    return [load(path) for path in sorted(GOLDEN.glob("*.json"))]


def by_name(facts: Iterable[Fact]) -> dict[tuple[str, str, str, str], Fact]:
    """Index facts by what they are about."""
    return {fact.name: fact for fact in facts}
