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


class Blocks:
    """One CPU's blocks of 256 pages that small mappings are cut from, in powers of two, never the same place twice."""

    PAGES, LARGEST = 256, 64

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.cut: dict[int, int] = {}
        """Pages handed out of each block, in the order in which the blocks were made."""
        self.back: dict[int, int] = {}

    def map(self, count: int, addr: int) -> None:
        """*count* pages were mapped at *addr*: in the first block with room for them, else in a new one, which may lie
        anywhere that is free and aligned.
        """
        if count > self.LARGEST:
            assert addr == self.space.lowest(count * PAGE)
            self.space.take(addr, count * PAGE)
            return
        pages = 1 << (count - 1).bit_length()
        for start, used in self.cut.items():
            if self.PAGES - used >= pages:
                assert addr == start + used * PAGE
                self.cut[start] += pages
                return
        assert addr % (self.PAGES * PAGE) == 0
        self.space.take(addr, self.PAGES * PAGE)
        self.cut[addr], self.back[addr] = pages, 0

    def unmap(self, addr: int, count: int) -> None:
        """A mapping is gone."""
        if count > self.LARGEST:
            self.space.give(addr)
            return
        start = addr - addr % (self.PAGES * PAGE)
        self.back[start] += 1 << (count - 1).bit_length()
        if self.back[start] == self.PAGES:
            self._drop(start)

    def purge(self) -> None:
        """Blocks of which all that was handed out has come back go."""
        for start in [start for start, used in self.cut.items() if used == self.back[start]]:
            self._drop(start)

    def _drop(self, start: int) -> None:
        del self.cut[start], self.back[start]
        self.space.give(start)
