"""What no kernel has a knob for: other size classes of kmalloc, caches of call sites, pages instead of large objects.

What lived before the trace stays in the caches that were recorded; what the trace allocates goes elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kmem.trace import first as f
from kmem.trace import replay_state as r
from kmem.trace.before import Caches, guess
from kmem.trace.engine import Table
from kmem.trace.schema import NUMBER, Array, Recording, site_name
from kmem.trace.settings import CLASSES, LARGEST
from kmem.trace.settings import classes as sizes_of

_PREFIXES = ("kmalloc-", "kmalloc-rcl-", "kmalloc-cg-", "dma-kmalloc-")
MAPPED = "mapped pages"
"""What stands for a cache where there are single pages."""


class WhatIf:
    """Caches that the recorded kernel did not have, and the tables that lead to them."""

    def __init__(self, chosen: Mapping[str, Any], caches: Caches, recording: Recording) -> None:
        self._class_rows: Array = np.zeros((len(_PREFIXES), LARGEST // 8 + 1), np.uint16)
        self._sites = Table(f.WIDTH, 1 << 12)
        self._above = int(chosen.get("kvmalloc_above", 0))
        self.row = -1
        self.caches: list[int] = []
        self._classes, self._any_site = str(chosen.get(CLASSES, "")), bool(chosen.get("site_caches"))
        if self._classes:
            self._size_classes(caches, sizes_of(self._classes))
        if self._any_site:
            self._site_caches(caches, recording, int(chosen["site_caches"]))
        if self._above:
            self.row = caches.add(guess(MAPPED, 4096))

    def _size_classes(self, caches: Caches, sizes: list[int]) -> None:
        for kind, prefix in enumerate(_PREFIXES):
            least = 0
            for size in sizes:
                n = caches.add(guess(f"{prefix}{size}?", size))
                self.caches.append(n)
                self._class_rows[kind, least // 8 + 1 if least else 0 : size // 8 + 1] = n + 1
                least = size

    def _site_caches(self, caches: Caches, recording: Recording, most: int) -> None:
        """Call sites with the most bytes, of all that ask for one size only."""
        asked: dict[int, list[int]] = {}
        for batch in recording.batches():
            mine = (batch["kind"] == NUMBER["kmalloc"]) & (batch["requested"] <= LARGEST) & (batch["requested"] > 0)
            sites, which = np.unique(batch["call_site"][mine], return_inverse=True)
            sizes = batch["requested"][mine].astype(np.int64)
            least: Array = np.full(len(sites), 1 << 62, np.int64)
            largest: Array = np.zeros(len(sites), np.int64)
            np.minimum.at(least, which, sizes)
            np.maximum.at(largest, which, sizes)
            counts = np.bincount(which, minlength=len(sites))
            for site, a, b, n in zip(*(x.tolist() for x in (sites, least, largest, counts)), strict=True):
                known = asked.setdefault(site, [a, b, 0])
                known[:] = [min(known[0], a), max(known[1], b), known[2] + n]
        one = [(site, low, count) for site, (low, high, count) in asked.items() if low == high]
        one.sort(key=lambda x: (-x[1] * x[2], x[0]))
        for site, size, _ in one[:most]:
            n = caches.add(guess(f"{site_name(recording.info, site)}?", max(-(-size // 8) * 8, 8)))
            self.caches.append(n)
            self._sites.put(site + 1, n + 1)

    def tell(self, state: Array) -> None:
        """Put the tables into the state of the compiled code."""
        state[r.MAPPED_ROW], state[r.MAPPED_ABOVE] = self.row, self._above
        state[r.CLASS_ROWS] = self._class_rows.ctypes.data if self._classes else 0
        state[r.SITE_CACHES] = self._sites.address if self._any_site else 0
        state[r.SITE_CACHE_MASK] = self._sites.capacity - 1
