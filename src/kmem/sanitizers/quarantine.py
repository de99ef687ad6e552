"""Freed objects that are kept back for a while, so that who still uses them is seen (mm/kasan/quarantine.c, 6.1).

First in, first out, up to a share of memory. The allocator learns of a free when the object leaves: what is allocated
in between lies elsewhere than without a quarantine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

SHARE = 32
"""``QUARANTINE_FRACTION``: the part of memory that may be in it."""


class Quarantine:
    """Objects by address, with their cache (0: none) and size. *release(address, cache)* frees one for good."""

    def __init__(self, memory: int, release: Callable[[int, int], None]) -> None:
        self.limit, self._release = memory // SHARE, release
        self._held: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self.size = 0

    def __contains__(self, address: int) -> bool:
        return address in self._held

    def put(self, address: int, cache: int, size: int) -> None:
        """Keep an object, and let the oldest go when there are too many."""
        self._held[address] = cache, size
        self.size += size
        while self.size > self.limit:
            self._go()

    def flush(self) -> None:
        """Let all go."""
        while self._held:
            self._go()

    def _go(self) -> None:
        address, (cache, size) = self._held.popitem(last=False)
        self.size -= size
        self._release(address, cache)

    def mark(self) -> list[tuple[int, tuple[int, int]]]:
        """The state of now, for :meth:`rewind`."""
        return list(self._held.items())

    def rewind(self, mark: list[tuple[int, tuple[int, int]]]) -> None:
        """What is kept is as it was at *mark*."""
        self._held = OrderedDict(mark)
        self.size = sum(size for _, size in self._held.values())
