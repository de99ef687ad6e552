"""A question, its answer as the machine gave it, and whether a person's answer means the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

LETTERS = "abcdefgh"
_NUMBER = re.compile(r"(?:order )?(0x[0-9a-f]+|\d+)\s*(k|m|kib|mib|b|bytes?|pages?|objects?|runs?)?", re.IGNORECASE)
_SCALE = {"k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20}


@dataclass(frozen=True)
class Question:
    """One question. With *choices* the answer is one of them; otherwise a name or a number.

    *why* explains the answer, *attempt* is a command that shows it.
    """

    kind: str
    text: str
    answer: str
    why: str
    attempt: str
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert not self.choices or self.answer in self.choices, (self.kind, self.answer, self.choices)

    @property
    def letter(self) -> str:
        """The letter of the right choice, "" where there are none."""
        return LETTERS[self.choices.index(self.answer)] if self.choices else ""

    def accepts(self, given: str) -> bool:
        """Whether *given* is the right letter, the answer's text, or the same number in another form."""
        said = given.strip().strip("()").rstrip(".)").lower()
        if self.choices:
            return said in (self.letter, self.answer.lower())
        return said == self.answer.lower() or (number(said) is not None and number(said) == number(self.answer))


def number(text: str) -> int | None:
    """The number that *text* is: ``0x40``, ``64``, ``64 bytes``, ``4K``; None for what is none."""
    found = _NUMBER.fullmatch(text.strip().replace(",", ""))
    return int(found[1], 0) * _SCALE.get((found[2] or "").lower(), 1) if found else None
