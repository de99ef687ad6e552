"""The slow, obviously right page allocator: which pages are given out."""

from __future__ import annotations

PAGE = 4096
GFP_DMA, GFP_DMA32 = 0x01, 0x04
DMA_END, DMA32_END = 16 << 20, 4 << 30


class PagesInUse:
    """Blocks that were given out, by first pfn. It refuses what no allocator may do."""

    def __init__(self) -> None:
        self.order: dict[int, int] = {}
        self.taken: set[int] = set()

    def take(self, pfn: int, order: int, gfp: int) -> None:
        """A block was handed out."""
        block = range(pfn, pfn + (1 << order))
        limit = DMA_END if gfp & GFP_DMA else DMA32_END if gfp & GFP_DMA32 else 1 << 52
        assert pfn % (1 << order) == 0, f"pfn {pfn} is not aligned for order {order}"
        assert pfn > 0
        assert (pfn + (1 << order)) * PAGE <= limit, f"pfn {pfn} is above what the mask allows"
        assert self.taken.isdisjoint(block), f"pages of block {pfn} order {order} are in use"
        self.order[pfn] = order
        self.taken.update(block)

    def give(self, pfn: int) -> int:
        """A block is given back; its order."""
        order = self.order.pop(pfn)
        self.taken.difference_update(range(pfn, pfn + (1 << order)))
        return order
