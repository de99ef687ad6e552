"""What if: traces replayed under every combination of settings, in as many processes as there are processors."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from kmem.trace.open import open_trace
from kmem.trace.replay import replay
from kmem.trace.result import Options, unusable

FRAGMENTED_ORDER = 3


@dataclass(frozen=True)
class Outcome:
    """One trace under one configuration: pages of slabs at the end and at most, what of them is not in live objects,
    the share of free memory that is no use for order 3, failed allocations.
    """

    file: str
    settings: tuple[tuple[str, int], ...]
    pages: int
    peak_pages: int
    live_bytes: int
    waste: float
    unusable: float
    failures: int

    def json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"settings": dict(self.settings)}


def combinations(settings: Sequence[tuple[str, Sequence[int]]]) -> list[tuple[tuple[str, int], ...]]:
    """Every combination of the values of *settings*."""
    names = [name for name, _ in settings]
    return [tuple(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in settings))]


def outcome(file: str, settings: tuple[tuple[str, int], ...], release: str) -> Outcome:
    """Replay *file* with *settings*."""
    result = replay(open_trace(Path(file)), Options.of(dict(settings), release))
    pages = sum(c.pages for c in result.caches)
    live = sum(c.live * c.size for c in result.caches)
    free = [sum(orders) for orders in zip(*result.free_after.values(), strict=False)]
    return Outcome(
        file,
        settings,
        pages,
        max([pages, *(sample.slab_pages for sample in result.samples)]),
        live,
        1 - live / (pages * 4096) if pages else 0.0,
        unusable(free, FRAGMENTED_ORDER),
        sum(c.failed for c in result.caches) + result.counts["page_failures"],
    )


def sweep(
    files: Sequence[str],
    settings: Sequence[tuple[str, Sequence[int]]],
    release: str,
    progress: Callable[[int, int], None],
    jobs: int = 0,
) -> list[Outcome]:
    """Every file under every combination, those with the fewest pages first. *progress* is told how many of how many
    are done.
    """
    work = [(file, chosen, release) for file in files for chosen in combinations(settings)]
    found: list[Outcome] = []
    progress(0, len(work))
    with ProcessPoolExecutor(min(jobs or os.cpu_count() or 1, len(work)), get_context("spawn")) as pool:
        for done in as_completed([pool.submit(outcome, *one) for one in work]):
            found.append(done.result())
            progress(len(found), len(work))
    return sorted(found, key=lambda o: (o.failures > 0, o.file, o.pages, o.peak_pages, o.settings))
