"""What ``kmem top`` shows of a moment, wherever it comes from: caches, call sites, free blocks; sorted, filtered,
compared with an earlier moment; as cells of a table and as text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kmem.report.table import Ink, plural, table

PAGE = 4096
VIEWS = ("caches", "sites", "free")


@dataclass(frozen=True)
class Cache:
    """One row of slabinfo."""

    name: str
    active: int
    objects: int
    size: int
    per_slab: int
    pages_per_slab: int
    slabs: int

    @property
    def bytes(self) -> int:
        """What its slabs take."""
        return self.slabs * self.pages_per_slab * PAGE

    @property
    def waste(self) -> int:
        """What of it no object in use has."""
        return self.bytes - self.active * self.size


@dataclass(frozen=True)
class Site:
    """What a call site holds; counts are None where nobody counts."""

    name: str
    what: str
    bytes: int
    live: int | None = None
    allocs: int | None = None
    frees: int | None = None


@dataclass
class Moment:
    """Memory at one time. *clock* says which, for a person; *free* are blocks by order, zone by zone."""

    source: str
    clock: str = ""
    caches: list[Cache] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    free: list[tuple[str, list[int]]] = field(default_factory=list)
    total: int = 0
    unused: int = 0
    notes: list[str] = field(default_factory=list)


def parse_slabinfo(text: str) -> list[Cache]:
    """The rows of a slabinfo 2.x. ValueError if it is none."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("slabinfo - version: 2."):
        raise ValueError("this is no slabinfo of version 2")
    found = []
    for line in lines[1:]:
        words = line.split()
        if line.startswith("#") or not words:
            continue
        if len(words) < 16:
            raise ValueError(f"a line of slabinfo has {len(words)} columns: {line}")
        active, objects, size, per_slab, pages = (int(word) for word in words[1:6])
        found.append(Cache(words[0], active, objects, size, per_slab, pages, int(words[14])))
    return found


def parse_buddyinfo(text: str) -> list[tuple[str, list[int]]]:
    """Node and zone, and free blocks by order."""
    found = []
    for line in text.splitlines():
        head, _, rest = line.partition(", zone")
        zone, *counts = rest.split()
        found.append((f"{head} {zone}", [int(count) for count in counts]))
    return found


def parse_meminfo(text: str) -> dict[str, int]:
    """Kilobytes, as bytes."""
    rows = (line.split() for line in text.splitlines())
    return {words[0].rstrip(":"): int(words[1]) << 10 for words in rows if len(words) == 3}


@dataclass(frozen=True)
class Key:
    """A column that the rows can be sorted by: the letter that does it, and what of a row it is."""

    letter: str
    column: str
    value: Callable[[Any, Any], Any]
    """Of a row, and of its row at the beginning or None."""
    falling: bool = True


def _change(row: Any, before: Any) -> int:
    return int(row.bytes) - (int(before.bytes) if before else 0)


CACHE_KEYS = (
    Key("n", "cache", lambda row, _: row.name, falling=False),
    Key("o", "objects", lambda row, _: row.objects),
    Key("a", "active", lambda row, _: row.active),
    Key("u", "use %", lambda row, _: row.active / row.objects if row.objects else 0.0),
    Key("z", "size", lambda row, _: row.size),
    Key("l", "slabs", lambda row, _: row.slabs),
    Key("p", "pages", lambda row, _: row.slabs * row.pages_per_slab),
    Key("b", "KiB", lambda row, _: row.bytes),
    Key("w", "waste KiB", lambda row, _: row.waste),
    Key("c", "change KiB", _change),
)
SITE_KEYS = (
    Key("n", "call site", lambda row, _: row.name, falling=False),
    Key("w", "from", lambda row, _: row.what, falling=False),
    Key("b", "bytes", lambda row, _: row.bytes),
    Key("o", "live", lambda row, _: row.live or 0),
    Key("a", "allocs", lambda row, _: row.allocs or 0),
    Key("l", "frees", lambda row, _: row.frees or 0),
    Key("c", "change", _change),
)
KEYS: dict[str, tuple[Key, ...]] = {"caches": CACHE_KEYS, "sites": SITE_KEYS, "free": ()}


@dataclass
class Shown:
    """What is shown of every moment: the view, the column that it is sorted by, a word that names must have, and the
    moment that changes are counted from.
    """

    view: str = "caches"
    sort: dict[str, str] = field(default_factory=lambda: {"caches": "b", "sites": "b"})
    falling: bool = True
    filter: str = ""
    base: Moment | None = None


def head(view: str) -> list[str]:
    """The names of the columns."""
    if view == "free":
        return ["zone", *(f"order {order}" for order in range(11)), "MiB", "unusable at 9"]
    return [key.column for key in KEYS[view]]


def rows(moment: Moment, shown: Shown) -> list[list[int | float | str | None]]:
    """The cells of the table, in order."""
    if shown.view == "free":
        return [_zone(zone, blocks) for zone, blocks in moment.free]
    every: Sequence[Any] = moment.caches if shown.view == "caches" else moment.sites
    was: Sequence[Any] = () if shown.base is None else getattr(shown.base, shown.view)
    before = {_who(row): row for row in was}
    pairs = [(row, before.get(_who(row))) for row in every if shown.filter.lower() in " ".join(_who(row)).lower()]
    key = next((key for key in KEYS[shown.view] if key.letter == shown.sort.get(shown.view)), KEYS[shown.view][0])
    pairs.sort(key=lambda pair: str(pair[0].name))
    pairs.sort(key=lambda pair: key.value(*pair), reverse=key.falling == shown.falling)
    return [_cells(shown.view, row, then, shown.base is not None) for row, then in pairs]


def _who(row: Any) -> tuple[str, str]:
    return row.name, getattr(row, "what", "")


def _cells(view: str, row: Any, then: Any, compared: bool) -> list[int | float | str | None]:
    change = _change(row, then) if compared else None
    if view == "sites":
        return [row.name, row.what, row.bytes, row.live, row.allocs, row.frees, change]
    use = 100 * row.active // row.objects if row.objects else 0
    pages = row.slabs * row.pages_per_slab
    sizes = [row.bytes >> 10, row.waste >> 10]
    last = None if change is None else change >> 10
    return [row.name, row.objects, row.active, use, row.size, row.slabs, pages, *sizes, last]


def _zone(zone: str, blocks: list[int]) -> list[int | float | str | None]:
    pages = sum(count << order for order, count in enumerate(blocks))
    small = sum(count << order for order, count in enumerate(blocks[:9]))
    share = f"{100 * small / pages:.0f} %" if pages else None
    return [zone, *(blocks + [0] * 11)[:11], round(pages * PAGE / (1 << 20), 1), share]


def summary(moment: Moment) -> list[str]:
    """Two lines over the table."""
    caches = moment.caches
    slabs, held = sum(c.bytes for c in caches), sum(c.waste for c in caches)
    objects, active = sum(c.objects for c in caches), sum(c.active for c in caches)
    waste = f", {100 * held / slabs:.1f} % of it not in use" if slabs else ""
    first = f"{moment.source}  {moment.clock}".rstrip()
    second = (
        f"{slabs >> 10:,} KiB in {sum(c.slabs for c in caches):,} slabs of {plural(len(caches), 'cache')}"
        f"{waste}; {active:,} of {objects:,} objects"
    )
    if moment.total:
        second += f"; {moment.unused >> 10:,} of {moment.total >> 10:,} KiB free"
    return [first, second, *moment.notes]


def top_text(moment: Moment, shown: Shown, limit: int, ink: Ink) -> str:
    """One table for a terminal or a file."""
    every = rows(moment, shown)
    lines = [ink("bold", line) if number == 0 else line for number, line in enumerate(summary(moment))]
    lines += ["", *table(head(shown.view), every[:limit])]
    if len(every) > limit:
        lines.append(f"… and {len(every) - limit} more (--rows shows more)")
    if not every:
        lines.append(nothing(shown))
    return "\n".join(lines)


def nothing(shown: Shown) -> str:
    """Why a table is empty."""
    if shown.filter:
        return f"no name has {shown.filter!r} in it"
    if shown.view == "sites":
        return "nothing here tells who allocated"
    return "there are none"
