"""The slow, obviously right heap: live objects and what was written into them."""

from __future__ import annotations

from bisect import bisect_left, insort

from kmem.abi.address import PAGE_OFFSET
from kmem.machine.ram import Ram


class LiveObjects:
    """Objects in the direct map. Each is filled with a pattern of its own, which must be there until it is freed."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.size: dict[int, int] = {}
        self._pattern: dict[int, bytes] = {}
        self._sorted: list[int] = []
        self._count = 0

    def take(self, addr: int, size: int, align: int = 8) -> None:
        """An object was handed out: it must be aligned and touch no other."""
        assert addr % align == 0, f"{addr:#x} is not aligned to {align}"
        at = bisect_left(self._sorted, addr)
        if at < len(self._sorted):
            assert addr + size <= self._sorted[at], f"{addr:#x} of {size} bytes overlaps {self._sorted[at]:#x}"
        if at:
            before = self._sorted[at - 1]
            assert before + self.size[before] <= addr, f"{before:#x} overlaps {addr:#x}"
        self._count += 1
        pattern = (self._count.to_bytes(4, "little") * (size // 4 + 1))[:size]
        self.size[addr], self._pattern[addr] = size, pattern
        insort(self._sorted, addr)
        self.ram.mem[addr - PAGE_OFFSET : addr - PAGE_OFFSET + size] = pattern

    def give(self, addr: int) -> int:
        """The object is about to be freed; its size."""
        self.verify(addr)
        del self._pattern[addr]
        self._sorted.remove(addr)
        return self.size.pop(addr)

    def verify(self, addr: int) -> None:
        """Nobody but the owner wrote to it."""
        at = addr - PAGE_OFFSET
        found = bytes(self.ram.mem[at : at + self.size[addr]])
        assert found == self._pattern[addr], f"object {addr:#x} was overwritten"

    def verify_all(self) -> None:
        """All of them."""
        for addr in self._sorted:
            self.verify(addr)

    def addresses(self) -> list[int]:
        """Live objects in address order."""
        return list(self._sorted)
