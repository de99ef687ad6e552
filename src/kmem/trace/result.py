"""What a replay is asked, and what it found: caches, call sites, tasks, free memory over time, how far off it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kmem.trace.schema import Info


@dataclass(frozen=True)
class Options:
    """How to replay. *settings* are what is not as it was recorded; 0 cpus or ram: as recorded."""

    release: str = ""
    cpus: int = 0
    ram: int = 0
    begin: int = 0
    end: int = 0
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, chosen: dict[str, Any], release: str = "", begin: int = 0, end: int = 0) -> Options:
        """Options from settings by name (`kmem.trace.settings`)."""
        return cls(release, chosen.get("cpus", 0), chosen.get("ram", 0), begin, end, tuple(sorted(chosen.items())))

    @property
    def chosen(self) -> dict[str, Any]:
        """The settings by name."""
        return dict(self.settings)


@dataclass
class CacheResult:
    """One cache at the end. *real* are the kernel's own slabs, before and after, if the recording has them; *came* and
    *went* are the slabs of which the trace has the pages; *bytes* what live objects asked for.
    """

    name: str
    size: int
    order: int
    per_slab: int
    allocs: int
    frees: int
    inferred: int
    unknown_frees: int
    live: int
    peak: int
    requested: int
    asked: int
    cross_cpu: int
    lifetime: float
    failed: int
    slabs_before: int
    slabs: int
    came: int = 0
    went: int = 0
    bytes: int = 0
    real_before: int = -1
    real_after: int = -1

    @property
    def pages(self) -> int:
        """Pages of its slabs in the model."""
        return self.slabs << self.order


@dataclass
class WhoResult:
    """A call site or a task."""

    key: int
    allocs: int
    frees: int
    live: int
    bytes: int
    requested: int
    asked: int
    total: int
    cross_cpu: int
    lifetime: float
    peak: int
    cache: str
    quarters: tuple[int, int, int]


@dataclass
class Sample:
    """Free blocks by order at a time, all zones together, and the pages of all slabs."""

    time: int
    free: list[int]
    slab_pages: int


@dataclass
class Result:
    """What a replay found."""

    info: Info
    options: Options
    release: str
    cpus: int
    ram: int
    begin: int
    end: int
    caches: list[CacheResult] = field(default_factory=list)
    sites: list[WhoResult] = field(default_factory=list)
    tasks: list[WhoResult] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lifetimes: list[int] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    free_before: dict[str, list[int]] = field(default_factory=dict)
    free_after: dict[str, list[int]] = field(default_factory=dict)
    real_free_after: dict[str, list[int]] = field(default_factory=dict)
    real_free_before: dict[str, list[int]] = field(default_factory=dict)
    sheaves: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Accuracy:
    """The model against the kernel itself: slabs that caches gained and lost, and how far the model was off."""

    error: int
    change: int
    caches: int
    close: int
    """Caches of which the model has within 2 slabs, or 10 %, of what the kernel has."""
    worst: tuple[tuple[str, int], ...]
    untold: int
    """By how many slabs caches changed without an event of their pages: nothing in the trace tells of them."""
    told: int
    """Slabs that caches gained or lost by events of their pages, and how far the model is from these."""
    told_error: int

    @property
    def share(self) -> float:
        """The error as a share of the change."""
        return self.error / self.change if self.change else 0.0


def accuracy(result: Result) -> Accuracy | None:
    """How far the model is from the kernel's own state at the end; None if the recording does not have it."""
    known = [c for c in result.caches if c.real_after >= 0]
    if not known:
        return None
    errors = {c.name: abs(c.slabs - c.slabs_before - (c.real_after - c.real_before)) for c in known}
    worst = sorted(((name, error) for name, error in errors.items() if error), key=lambda pair: (-pair[1], pair[0]))
    return Accuracy(
        sum(errors.values()),
        sum(abs(c.real_after - c.real_before) for c in known),
        len(known),
        sum(abs(c.slabs - c.real_after) <= max(2, c.real_after // 10) for c in known),
        tuple(worst[:5]),
        sum(abs(c.real_after - c.real_before - (c.came - c.went)) for c in known),
        sum(abs(c.came - c.went) for c in known),
        sum(abs(c.slabs - c.slabs_before - (c.came - c.went)) for c in known),
    )


def unusable(free: list[int], order: int) -> float:
    """Which share of the free memory is in blocks too small for *order* (the unusable free space index)."""
    total = sum(count << o for o, count in enumerate(free))
    return sum(count << o for o, count in enumerate(free[:order])) / total if total else 0.0


def suspects(result: Result) -> list[WhoResult]:
    """Call sites that may leak: what lives of them grew in every quarter of the trace; the largest first."""
    found = []
    for site in result.sites[1:]:
        first, second, third = site.quarters
        if site.live >= 16 and 0 < first < second < third < site.bytes and site.frees * 10 < site.allocs * 9:
            found.append(site)
    return sorted(found, key=lambda site: -site.bytes)


def misfits(result: Result) -> list[tuple[WhoResult, int]]:
    """Call sites of kmalloc that a cache of their own would make cheaper: objects of one size that waste an eighth or
    more of what they get; with the bytes that it would have saved at the peak.
    """
    found = []
    for site in result.sites[1:]:
        if site.cache.startswith("kmalloc-") and site.allocs >= 32 and site.asked * 8 < site.total * 7:
            found.append((site, int(site.peak * (1 - site.asked / site.total))))
    return sorted(found, key=lambda pair: -pair[1])
