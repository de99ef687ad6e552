"""The page of a trace (``kmem report``): the replay is looked at while it goes, and the model's memory at its end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from kmem.lib.cstruct import u64
from kmem.report.page import page
from kmem.report.replay import headline
from kmem.report.scene import scene
from kmem.report.timeline import EVENTS, GROUPS, POINTS
from kmem.trace import replay_state as r
from kmem.trace.replay import Options, Replay
from kmem.trace.result import Result, Sample, WhoResult
from kmem.trace.schema import KINDS, Array, Columns, Info, Recording, site_name
from kmem.trace.stepped import part

LARGEST = 64 << 30
"""Memory of a machine that is larger is not drawn."""


class Watched(Replay):
    """A replay that remembers what lived at each sample, by cache and by call site."""

    samples = POINTS

    def __init__(self, recording: Recording, options: Options) -> None:
        super().__init__(recording, options)
        self.caches: list[Array] = []
        self.sites: list[Array] = []

    def _batches(self) -> Iterator[Columns]:
        """A batch ends where a sample is due."""
        step = max((self._first.end - self._first.begin) // self.samples, 1)
        for batch in super()._batches():
            turns = (batch["time"] - np.uint64(self._first.begin)) // np.uint64(step)
            ends = [0, *(np.flatnonzero(np.diff(turns)) + 1).tolist(), batch.n]
            for begin, end in pairwise(ends):
                yield part(batch, begin, end)

    def _sample(self, time: int) -> Sample:
        self.caches.append(self._rows[:, r.K_LIVE] * self._rows[:, r.K_SIZE])
        self.sites.append(self._site_rows[: int(self.state[r.SITE_USED]), r.W_BYTES].copy())
        return super()._sample(time)


def trace_page(recording: Recording, options: Options, title: str) -> str:
    """Replay *recording* and draw it."""
    watched = Watched(recording, options)
    result = watched.run()
    info = result.info
    lines, events = headline(info), info.events
    notes = [
        f"The timeline has {len(result.samples)} points; between two of them memory may have been more or less.",
        "Memory is the model's at the end of the replay: the kernel's own lay elsewhere.",
        *(line for line in lines[1:] if line.startswith("MISSING")),
    ]
    memory = scene(watched.mm.view) if result.ram <= LARGEST else None
    if memory is None:
        notes.append(f"Memory is not drawn: {result.ram >> 30} GiB are more than {LARGEST >> 30}.")
    data = {
        "kind": "trace",
        "title": title,
        "facts": {
            "trace": lines[0],
            "complete": lines[1],
            "replayed on": f"Linux {result.release}, {result.cpus} CPUs, {result.ram >> 20:,} MiB",
        },
        "verdict": "",
        "findings": [],
        "log": [],
        "notes": notes,
        "timeline": {"times": [sample.time for sample in result.samples], **series(watched, result)},
        "steps": _steps(recording),
        "events": events,
        "sites": [_site(info, row) for row in result.sites[1:] if row.allocs],
        "moments": [],
        "memory": memory,
    }
    return page(f"kmem report {title}", data)


def series(watched: Watched, result: Result) -> dict[str, Any]:
    """What lived at each sample: names with their bytes, by cache and by call site."""
    info = result.info
    caches = [cache.name for cache in result.caches]
    sites = [site_name(info, row.key) if number else "?" for number, row in enumerate(result.sites)]
    return {"cache": _largest(watched.caches, caches), "site": _largest(watched.sites, sites), "module": []}


def _largest(samples: list[Array], names: list[str]) -> list[dict[str, Any]]:
    """The groups that ever had most, and the others together; later samples may know of more groups."""
    table = np.zeros((len(samples), len(names)), np.int64)
    for at, sample in enumerate(samples):
        n = min(len(sample), len(names))
        table[at, :n] = np.maximum(sample[:n], 0)
    order = np.argsort(-table.max(axis=0), kind="stable") if len(samples) else np.zeros(0, np.int64)
    shown = [int(n) for n in order[:GROUPS] if table[:, n].any()]
    rows = [{"name": names[n], "values": table[:, n].tolist()} for n in shown]
    rest = table.sum(axis=1) - table[:, shown].sum(axis=1) if shown else np.zeros(0, np.int64)
    if rest.any():
        rows.append({"name": "all others", "values": rest.tolist()})
    return rows


def _site(info: Info, row: WhoResult) -> dict[str, Any]:
    return {
        "name": site_name(info, row.key),
        "group": row.cache,
        "allocs": row.allocs,
        "frees": row.frees,
        "live": row.live,
        "bytes": row.bytes,
        "peak": row.peak,
        "asked": row.asked,
        "given": row.total,
        "life": int(row.lifetime * row.frees),
        "failed": 0,
    }


def _steps(recording: Recording) -> list[list[Any]]:
    """The first events, one by one."""
    for batch in recording.batches():
        return [_step(recording.info, batch, n) for n in range(min(batch.n, EVENTS))]
    return []


def _step(info: Info, batch: Columns, n: int) -> list[Any]:
    def value(column: str) -> int:
        return int(batch[column][n])

    kind = KINDS[value("kind")]
    pages = kind.startswith("mm_page_")
    cache, site = value("cache"), value("call_site")
    return [
        value("time"),
        kind,
        hex(u64(value("ptr"))),
        value("requested"),
        4096 << value("order") if pages else value("allocated"),
        info.strings[cache] if cache else "pages" if pages else "",
        site_name(info, site) if site else "the kernel",
        value("cpu"),
        value("order"),
    ]
