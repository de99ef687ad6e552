"""The slow, obviously right page tables: a dictionary from each virtual page to where it leads."""

from __future__ import annotations

PAGE = 4096


class Translations:
    """Virtual pages that are mapped. Mapping a page twice, or unmapping one that is not mapped, is refused."""

    def __init__(self) -> None:
        self.phys: dict[int, int] = {}

    def map(self, addr: int, phys: int) -> None:
        """One page."""
        assert addr not in self.phys, f"{addr:#x} is mapped already"
        assert addr % PAGE == phys % PAGE == 0
        self.phys[addr] = phys

    def unmap(self, addr: int, size: int) -> None:
        """A range of pages, all of them mapped."""
        for page in range(addr, addr + size, PAGE):
            del self.phys[page]

    def lookup(self, addr: int) -> int | None:
        """The physical address behind *addr*, None if there is none."""
        phys = self.phys.get(addr & -PAGE)
        return None if phys is None else phys + addr % PAGE

    def edges(self) -> set[int]:
        """The first and last byte of every page that is mapped, and their neighbours."""
        return {page + at for page in self.phys for at in (-1, 0, PAGE - 1, PAGE)}
