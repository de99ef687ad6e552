"""Live memory over time, by cache and by call site, from the event stream: one event at a time, in bounded room."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from kmem.sanitizers.kmemleak import FREES, NOTHING, SPACE

POINTS, GROUPS, EVENTS = 400, 11, 5000
"""Points in time, groups with a colour of their own, events that are told one by one."""
BY = ("cache", "site", "module")


@dataclass
class Site:
    """What one call site allocated. Lives in nanoseconds."""

    name: str
    group: str
    module: bool = False
    allocs: int = 0
    frees: int = 0
    live: int = 0
    bytes: int = 0
    peak: int = 0
    asked: int = 0
    given: int = 0
    life: int = 0
    failed: int = 0


@dataclass
class Timeline:
    """Told of every event, it knows in the end what was live when.

    Points are taken at every event until there are too many, then every second one is dropped and the steps double: so
    any number of events fits, and a short run is exact.
    """

    times: list[int] = field(default_factory=list)
    points: list[dict[str, dict[str, int]]] = field(default_factory=list)
    sites: dict[str, Site] = field(default_factory=dict)
    steps: list[list[Any]] = field(default_factory=list)
    count: int = 0
    _live: dict[tuple[int, int], tuple[int, str, str, int]] = field(default_factory=dict)
    _now: dict[str, Counter[str]] = field(default_factory=lambda: {by: Counter() for by in BY})
    _every: int = 1

    def event(
        self,
        time: int,
        kind: str,
        ptr: int,
        asked: int,
        given: int,
        cache: str,
        site: str,
        *rest: int,
        module: bool = False,
    ) -> None:
        """Take note of one event: *given* are the bytes that are gone, *rest* what else is told of it one by one,
        *module* says that the code of the module called.
        """
        if len(self.steps) < EVENTS:
            self.steps.append([time, kind, hex(ptr), asked, given, cache, site, *rest])
        self.count += 1
        space = SPACE.get(kind)
        if space is None or kind.startswith(("kmem_cache_create", "kmem_cache_destroy")):
            return
        if kind in FREES:
            self._freed(time, (space, ptr))
        else:
            self._allocated(time, (space, ptr), asked, given, cache, site, module)
        if self.count % self._every == 0:
            self._point(time)

    def _freed(self, time: int, key: tuple[int, int]) -> None:
        gone = self._live.pop(key, None)
        if gone is None:
            return
        size, cache, site, since = gone
        self._now["cache"][cache] -= size
        self._now["site"][site] -= size
        row = self.sites[site]
        if row.module:
            self._now["module"][site] -= size
        row.frees, row.live, row.bytes, row.life = (
            row.frees + 1,
            row.live - 1,
            row.bytes - size,
            row.life + time - since,
        )

    def _allocated(
        self, time: int, key: tuple[int, int], asked: int, given: int, cache: str, site: str, module: bool
    ) -> None:
        row = self.sites.setdefault(site, Site(site, cache, module))
        if key[1] in NOTHING:
            row.failed += key[1] != 16
            return
        if key in self._live:
            self._freed(time, key)
        self._live[key] = (given, cache, site, time)
        self._now["cache"][cache] += given
        self._now["site"][site] += given
        if row.module:
            self._now["module"][site] += given
        row.allocs, row.live, row.bytes = row.allocs + 1, row.live + 1, row.bytes + given
        row.asked, row.given, row.peak = row.asked + asked, row.given + given, max(row.peak, row.bytes)

    def _point(self, time: int) -> None:
        self.times.append(time)
        self.points.append({by: {name: n for name, n in now.items() if n} for by, now in self._now.items()})
        if len(self.times) > 2 * POINTS:
            del self.times[1::2], self.points[1::2]
            self._every *= 2

    def series(self) -> dict[str, Any]:
        """Times, and for each of `BY` the names of the largest groups with their bytes at each time."""
        return {"times": self.times, **{by: self._series(by) for by in BY}}

    def _series(self, by: str) -> list[dict[str, Any]]:
        peak: Counter[str] = Counter()
        for point in self.points:
            for name, size in point[by].items():
                peak[name] = max(peak[name], size)
        shown = [name for name, _ in sorted(peak.items(), key=lambda pair: (-pair[1], pair[0]))[:GROUPS]]
        rows = [{"name": name, "values": [point[by].get(name, 0) for point in self.points]} for name in shown]
        others = len(peak) - len(shown)
        if others > 0:
            rest = [sum(n for name, n in point[by].items() if name not in shown) for point in self.points]
            rows.append({"name": f"{others} others", "values": rest})
        return rows
