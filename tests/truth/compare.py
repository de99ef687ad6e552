"""Compares one kernel's facts with another's, with a table of the differences that are known and explained."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tests.truth.facts import Fact, FactsError, by_name

DIFFERENCES = Path(__file__).resolve().parent / "differences.toml"


@dataclass(frozen=True, slots=True)
class Known:
    """A difference that is known: which facts (patterns with ``*``), and why.

    It must hold for every fact that it names: one that has become equal has to leave the table.
    """

    config: str
    module: str
    step: str
    key: str
    reason: str

    def names(self, fact: Fact) -> bool:
        """Whether this entry is about *fact*."""
        patterns = (self.config, self.module, self.step, self.key)
        return all(fnmatchcase(value, pattern) for value, pattern in zip(fact.name, patterns, strict=True))

    def __str__(self) -> str:
        return f"{self.config} {self.module}: {self.step}: {self.key}"


def load_known(path: Path = DIFFERENCES) -> list[Known]:
    """Read the table."""
    known = []
    for row in tomllib.loads(path.read_text()).get("difference", []):
        if set(row) != {"config", "module", "step", "key", "reason"} or not row["reason"].strip():
            raise FactsError(f"{path.name}: a difference has config, module, step, key and reason, not {row}")
        known.append(Known(**row))
    return known


@dataclass
class Comparison:
    """How many facts are equal, and which are not."""

    equal: int = 0
    explained: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    not_seen: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing is left to explain, and nothing is explained that is not so."""
        return not self.unexplained and not self.outdated

    def __str__(self) -> str:
        parts = [f"{self.equal} facts equal", f"{len(self.explained)} different and explained"]
        parts += [f"{self.not_seen} not seen in this run"] if self.not_seen else []
        parts += [f"{len(self.unexplained)} DIFFERENT"] if self.unexplained else []
        parts += [f"{len(self.outdated)} listed as different but EQUAL"] if self.outdated else []
        return ", ".join(parts)

    def details(self) -> str:
        """The count, and a line for each fact that makes the comparison fail."""
        return "\n".join([str(self), *self.unexplained, *(f"no longer different: {text}" for text in self.outdated)])


def compare(expected: Iterable[Fact], got: Iterable[Fact], known: Sequence[Known] = ()) -> Comparison:
    """Compare fact by fact. Facts that only *got* has say nothing: what they need was not there the first time."""
    result = Comparison()
    answers = by_name(got)
    for fact in expected:
        answer = answers.get(fact.name)
        entry = next((entry for entry in known if entry.names(fact)), None)
        if answer is not None and answer.value == fact.value:
            result.equal += 1
            if entry is not None:
                result.outdated.append(f"{entry} ({fact.step}: {fact.key} is {fact.value!r})")
        elif answer is None and not fact.certain:
            result.not_seen += 1
        else:
            said = "nothing" if answer is None else repr(answer.value)
            text = f"{fact.config} {fact.module}: {fact.step}: {fact.key}: {fact.value!r}, and here {said}"
            if entry is None:
                result.unexplained.append(text)
            else:
                result.explained.append(f"{text} ({entry.reason})")
    return result


def unused(known: Sequence[Known], facts: Iterable[Fact]) -> list[Known]:
    """Return the entries that name no fact at all."""
    every = list(facts)
    return [entry for entry in known if not any(entry.names(fact) for fact in every)]
