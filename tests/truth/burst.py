"""Facts of ``burst``: the order in which a cache hands out its objects.

Which slabs have free objects when the module is loaded is different in every boot, so the addresses cannot be
compared. What can: the order within a slab, and the order of the slabs as far as the module alone made it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.truth.address import yes
from tests.truth.facts import IF_SEEN, Collector, FactsError
from tests.truth.log import Step

RUN = re.compile(r"burst ([ABC])\[(\d+)\] slab (\w+) order (\d+):((?: \d+)+)")
BACK = re.compile(r"burst: (\d+) of (\d+) freed objects came back")
LIFO = re.compile(r"burst: LIFO (\d) (\d)")
Place = tuple[int, int]
"""An object: its slab's number, in the order in which the slabs were first seen, and its place in the slab."""


@dataclass
class Burst:
    """All that one load printed."""

    orders: set[int] = field(default_factory=set)
    phases: dict[str, list[Place]] = field(default_factory=lambda: {"A": [], "B": [], "C": []})
    came_back: int = -1
    freed: int = -1
    lifo: tuple[int, int] = (-1, -1)


def read(lines: Sequence[str]) -> Burst:
    """Read the lines of one load."""
    burst = Burst()
    slabs: dict[str, int] = {}
    for line in lines:
        if match := RUN.fullmatch(line):
            slab = slabs.setdefault(match[3], len(slabs))
            burst.orders.add(int(match[4]))
            objects = burst.phases[match[1]]
            if len(objects) != int(match[2]):
                raise FactsError(f"burst: a line is missing before {line[:40]}")
            objects.extend((slab, int(place)) for place in match[5].split())
        elif match := BACK.fullmatch(line):
            burst.came_back, burst.freed = int(match[1]), int(match[2])
        elif match := LIFO.fullmatch(line):
            burst.lifo = int(match[1]), int(match[2])
    if burst.lifo == (-1, -1) or not burst.phases["C"]:
        raise FactsError("burst: the log is not complete")
    return burst


def collect(out: Collector, step: Step) -> None:
    """Add the facts of one load of the module."""
    size = int(step.parameters.get("size", "64"))
    name = f"size={size}"
    burst = read(step.lines)
    a, b = burst.phases["A"], burst.phases["B"]
    out.add(name, "objects in A", len(a))
    out.add(name, "objects in B", len(b))
    out.add(name, "orders of the slabs", " ".join(map(str, sorted(burst.orders))))

    full = _full_slabs(a)
    out.add(name, "objects per slab", len(full[0]))
    if size & (size - 1) == 0:
        out.add(name, "distance of neighbours, in objects", _distance(full[0]))
        out.add(name, "first place in a slab, in objects", min(full[0]))
    out.add(name, "order within a fresh slab", _order(full))

    freed = a[1::2]
    fresh = [place for place in b if place not in set(freed)]
    out.add(name, "freed objects that came back, as counted", yes(burst.came_back == len(b) - len(fresh)))
    if sum(place[0] == a[-1][0] for place in a) < len(full[0]):  # a slab that A filled is on no list of a checked cache
        out.add(name, f"B starts in the slab of A's last object{IF_SEEN}", yes(b[0][0] == a[-1][0]))
    out.add(name, "B takes each slab's freed objects last-in first-out", yes(_reversed_per_slab(freed, b)))
    if fresh:
        follows = fresh == _rest(a[-1][0], a, full)[: len(fresh)]
        out.add(name, f"B then takes the last slab's unused objects in their order{IF_SEEN}", yes(follows))
    if group := _drained_group(b):
        out.add(name, f"B takes slabs that were drained together in the order{IF_SEEN}", group)
    if out.config != "debug" and not fresh:
        key = f"last-in first-out after the slab was used up{IF_SEEN}"
        if set(b) == set(freed):
            out.add(name, key, "{} {}".format(*burst.lifo))
    out.add(name, "C takes each slab last-in first-out or fresh", yes(_c_is_explained(burst, full)))


def _by_slab(objects: Sequence[Place]) -> dict[int, list[int]]:
    slabs: dict[int, list[int]] = {}
    for slab, place in objects:
        slabs.setdefault(slab, []).append(place)
    return slabs


def _full_slabs(objects: Sequence[Place]) -> list[list[int]]:
    """The places of each slab that was handed out whole and in one piece, in order."""
    whole = max(len(places) for places in _by_slab(objects).values())
    return [places for places in _by_slab(objects).values() if len(places) == whole]


def _distance(places: Sequence[int]) -> int:
    first = min(places)
    return math.gcd(*(place - first for place in places))


def _order(slabs: Sequence[Sequence[int]]) -> str:
    """How fresh slabs are laid out: ascending, or by one permutation that starts somewhere else in each slab."""
    if all(list(places) == sorted(places) for places in slabs):
        return "ascending"
    doubled = [*slabs[0], *slabs[0]]
    if all(_is_part(places, doubled) for places in slabs):
        return "rotations of one permutation"
    return "no two alike"


def _is_part(places: Sequence[int], of: Sequence[int]) -> bool:
    """Whether *places* is a stretch of *of*."""
    return any(list(of[i : i + len(places)]) == list(places) for i in range(len(of)))


def _reversed_per_slab(freed: Sequence[Place], taken: Sequence[Place]) -> bool:
    """Whether the objects that were taken from each slab are the last freed there, latest first."""
    stacks = _by_slab(freed)
    known = set(freed)
    return all(stacks[slab].pop() == place for slab, place in taken if (slab, place) in known)


def _rest(slab: int, objects: Sequence[Place], full: Sequence[Sequence[int]]) -> list[Place]:
    """The objects of the last slab that A did not reach, in the order in which they would have come."""
    used = _by_slab(objects)[slab]
    doubled = [*full[0], *full[0]]
    for start in range(len(full[0])):
        if doubled[start : start + len(used)] == used:
            return [(slab, place) for place in doubled[start + len(used) : start + len(full[0])]]
    return []


def _drained_group(objects: Sequence[Place]) -> str:
    """The order of slabs that left the CPU's partial list together, in the order of their first free; "" if not seen.

    They are put on the node's list newest first; the first that is taken becomes the CPU's slab, and those that are
    taken along come back oldest first: c a b. Only groups of three and more show it.
    """
    order = list(dict.fromkeys(slab for slab, _ in objects))
    for length in (4, 3):
        for i in range(len(order) - length + 1):
            group = order[i : i + length]
            low = min(group)
            if group == [low + length - 1, *range(low, low + length - 1)]:
                return " ".join("abcd"[slab - low] for slab in group)
    return ""


def _c_is_explained(burst: Burst, full: Sequence[Sequence[int]]) -> bool:
    """Whether C takes each slab in the reverse order of the frees before it, or as a fresh slab.

    The first two objects of B were freed once more in between. Where they came back at once their place among the
    frees is known; where not, they are left out.
    """
    a, b = burst.phases["A"], burst.phases["B"]
    again = [b[1], b[0], *b[2:]] if burst.lifo == (1, 1) else b[2:]
    unknown = set() if burst.lifo == (1, 1) else set(b[:2])
    stacks = _by_slab([*a[0::2], *again])
    doubled = [*full[0], *full[0]]
    for slab, places in _by_slab(burst.phases["C"]).items():
        stack = list(reversed(stacks.get(slab, [])))
        known = [place for place in places if place in stack and (slab, place) not in unknown]
        if known != [place for place in stack if place in known] and not _is_part(places, doubled):
            return False
    return True
