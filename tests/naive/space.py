"""The slow, obviously right allocator of addresses: a sorted list of what is taken, searched from the bottom."""

from __future__ import annotations

PAGE = 4096


class AddressSpace:
    """Ranges in [*start*, *end*). Freed ones wait until more than *lazy_pages* pages wait; then all become free at
    once.
    """

    def __init__(self, start: int, end: int, lazy_pages: int) -> None:
        self.start, self.end, self.lazy_pages = start, end, lazy_pages
        self.busy: dict[int, int] = {}
        self.lazy: dict[int, int] = {}

    def lowest(self, size: int) -> int | None:
        """The lowest address where *size* bytes are free, whatever waits."""
        at = self.start
        for start, end in sorted([*self.busy.items(), *self.lazy.items()]):
            if start - at >= size:
                return at
            at = end
        return at if self.end - at >= size else None

    def take(self, start: int, size: int) -> None:
        """A range was handed out."""
        assert self.start <= start <= self.end - size
        for first, last in [*self.busy.items(), *self.lazy.items()]:
            assert start + size <= first or last <= start, f"{start:#x} of {size} bytes overlaps {first:#x}-{last:#x}"
        self.busy[start] = start + size

    def give(self, start: int) -> None:
        """A range is freed."""
        self.lazy[start] = self.busy.pop(start)
        if sum(last - first for first, last in self.lazy.items()) // PAGE > self.lazy_pages:
            self.lazy.clear()

    def purge(self) -> None:
        """What waits is free now."""
        self.lazy.clear()
