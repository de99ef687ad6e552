"""Choosing questions by seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from kmem.quiz import places, rules, sizes
from kmem.quiz.question import Question
from kmem.quiz.room import Room

KINDS: tuple[Callable[[Room, Random], Question], ...] = (
    sizes.cache,
    sizes.waste,
    sizes.order,
    sizes.objects,
    sizes.address_space,
    places.contiguous,
    places.content,
    places.reuse,
    places.region,
    places.physical,
    rules.context,
    rules.odd,
    rules.wrong_free,
    rules.double_free,
)
"""Every kind of question."""


def questions(seed: int, n: int, release: str) -> list[Question]:
    """*n* questions, the same for the same seed; no kind comes again before all kinds have come."""
    random = Random(f"kmem quiz {seed}")
    kinds: list[Callable[[Room, Random], Question]] = []
    while len(kinds) < n:
        kinds += random.sample(KINDS, len(KINDS))
    room = Room(release, seed)
    try:
        return [kind(room, random) for kind in kinds[:n]]
    finally:
        room.close()
