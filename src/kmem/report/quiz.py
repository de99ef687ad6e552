"""``kmem quiz`` as text."""

from __future__ import annotations

import textwrap

from kmem.quiz.question import LETTERS, Question

WIDTH = 100


def _filled(text: str, indent: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def question_text(number: int, of: int, question: Question) -> str:
    """The question and its choices."""
    lines = [_filled(f"{number}/{of} {question.text}", "")]
    lines += [f"  {letter}) {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False)]
    return "\n".join(lines)


def verdict_text(question: Question, given: str) -> str:
    """Whether the answer was right."""
    if not given.strip():
        return "  not answered"
    return "  right" if question.accepts(given) else "  no"


def answer_text(question: Question) -> str:
    """The answer, why it is that, and what to try."""
    letter = f"{question.letter}) " if question.letter else ""
    return f"  answer: {letter}{question.answer}\n{_filled(question.why, '  ')}\n  try: {question.attempt}\n"
