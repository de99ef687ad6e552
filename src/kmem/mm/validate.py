"""Is the state of the mm consistent? Every invariant that memory must keep, recomputed from nothing but RAM.

``check(mm)`` is what tests call after an operation. An invariant is a predicate over one scan; ``INVARIANTS`` names them all. A
violation is a bug of the model, or the work of a module that wrote where it must not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kmem.mm import validate_buddy, validate_slub, validate_vmalloc
from kmem.mm.validate_memory import Memory, Violation
from kmem.mm.view import View

if TYPE_CHECKING:
    from kmem.mm.api import Mm

__all__ = ["INVARIANTS", "Violation", "check", "check_view"]


def check_view(view: View, only: frozenset[str] = frozenset()) -> list[Violation]:
    """The violations in the RAM that *view* looks at; of the invariants *only* (all, if empty)."""
    memory = Memory(view)
    buddy = validate_buddy.Buddy(memory)
    slub = validate_slub.Slub(memory)
    vmap = validate_vmalloc.Vmap(buddy, slub)
    found: list[Violation] = []
    for scan, predicates in _FAMILIES:
        for predicate in predicates:
            if not only or predicate.__name__.upper() in only:
                found += predicate({"buddy": buddy, "slub": slub, "vmap": vmap}[scan])
    return found


def check(mm: Mm) -> list[Violation]:
    """All violations in a booted mm; an empty list is good news."""
    return check_view(mm.view)


_FAMILIES = (
    ("buddy", validate_buddy.PREDICATES),
    ("slub", validate_slub.PREDICATES),
    ("vmap", validate_vmalloc.PREDICATES),
)


def _alone(slug: str) -> Callable[[View], list[Violation]]:
    return lambda view: check_view(view, frozenset({slug}))


INVARIANTS: dict[str, Callable[[View], list[Violation]]] = {
    predicate.__name__.upper(): _alone(predicate.__name__.upper()) for _, predicates in _FAMILIES for predicate in predicates
}
"""Each invariant by its number, as a function of a view."""
