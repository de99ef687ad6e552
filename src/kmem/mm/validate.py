"""Is the state of the mm consistent? Every invariant that memory must keep, recomputed from nothing but RAM.

``check(mm)`` is what tests call after an operation. An invariant is a predicate over one scan of memory; ``INVARIANTS``
names them all. A violation is a bug of the model, or the work of a module that wrote where it must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from kmem.mm import validate_buddy, validate_paging, validate_slub, validate_user, validate_vmalloc
from kmem.mm.validate_memory import Memory, Violation
from kmem.mm.view import View

if TYPE_CHECKING:
    from kmem.mm.api import Mm

__all__ = ["INVARIANTS", "Violation", "check", "check_view"]


class Scans:
    """What the predicates look at, each part made when it is first asked for."""

    def __init__(self, view: View) -> None:
        self.memory = Memory(view)

    @cached_property
    def buddy(self) -> validate_buddy.Buddy:
        """Zones, free lists and per-cpu lists."""
        return validate_buddy.Buddy(self.memory)

    @cached_property
    def slub(self) -> validate_slub.Slub:
        """Caches and slabs."""
        return validate_slub.Slub(self.memory)

    @cached_property
    def vmap(self) -> validate_vmalloc.Vmap:
        """Areas and page tables."""
        return validate_vmalloc.Vmap(self.buddy, self.slub)

    @cached_property
    def user(self) -> validate_user.User:
        """Processes: areas, page tables, mapped pages."""
        return validate_user.User(self.buddy)


Invariant = Callable[[Scans], Iterable[Violation]]

_PREDICATES: dict[str, Invariant] = {}
for _of_buddy in validate_buddy.PREDICATES:
    _PREDICATES[_of_buddy.__name__.upper()] = lambda scans, predicate=_of_buddy: predicate(scans.buddy)  # type: ignore[misc]
for _of_slub in validate_slub.PREDICATES:
    _PREDICATES[_of_slub.__name__.upper()] = lambda scans, predicate=_of_slub: predicate(scans.slub)  # type: ignore[misc]
for _of_vmap in (*validate_vmalloc.PREDICATES, *validate_paging.PREDICATES):
    _PREDICATES[_of_vmap.__name__.upper()] = lambda scans, predicate=_of_vmap: predicate(scans.vmap)  # type: ignore[misc]
for _of_user in validate_user.PREDICATES:
    _PREDICATES[_of_user.__name__.upper()] = lambda scans, predicate=_of_user: predicate(scans.user)  # type: ignore[misc]


def check_view(view: View, only: Iterable[str] = ()) -> list[Violation]:
    """The violations in the RAM that *view* looks at; of the invariants *only* (all, if empty)."""
    scans = Scans(view)
    return [violation for slug in only or _PREDICATES for violation in _PREDICATES[slug](scans)]


def check(mm: Mm) -> list[Violation]:
    """All violations in a booted mm; an empty list is good news."""
    return check_view(mm.view)


def _alone(slug: str) -> Callable[[View], list[Violation]]:
    return lambda view: check_view(view, [slug])


INVARIANTS: dict[str, Callable[[View], list[Violation]]] = {slug: _alone(slug) for slug in _PREDICATES}
"""Each invariant by its number (``B1`` … ``T6``), as a function of a view."""
