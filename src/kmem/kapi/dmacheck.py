"""What a driver hands to a device: memory that a device can reach, all of it the driver's, and all of it written.

What CONFIG_DMA_API_DEBUG looks at (kernel/dma/debug.c, 6.1), and KASAN and KMSAN at the moment of the mapping.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kmem.kapi.bind import RawArgs
from kmem.kapi.dma import _Scatterlist

if TYPE_CHECKING:
    from kmem.kapi.checks import Checks

BIDIRECTIONAL, TO_DEVICE, FROM_DEVICE = range(3)


class DmaCheck:
    """The looks that `Checks` takes before the functions of DMA are served."""

    def __init__(self, checks: Checks) -> None:
        self._checks, self.k = checks, checks.k

    def functions(self) -> dict[str, Callable[[RawArgs], None]]:
        """By export, what to do before it."""
        return {
            "dma_map_page_attrs": self._map_page,
            "dma_map_sg_attrs": lambda words: self._map_sg(words[1], words[2], words[3]),
            "dma_map_sgtable": self._map_sgtable,
            "dma_sync_single_for_device": lambda words: self._given(words[1], words[2], words[3]),
        }

    def _map_page(self, words: RawArgs) -> None:
        self._piece(words[1], words[2], words[3], words[4])

    def _map_sgtable(self, words: RawArgs) -> None:
        table = self.k.layout["sg_table"]
        entries = self.k.mem.u32(words[1] + table.offset("orig_nents"))
        self._map_sg(self.k.mem.u64(words[1] + table.offset("sgl")), entries, words[2])

    def _map_sg(self, sg: int, nents: int, direction: int) -> None:
        layout = self.k.layout["scatterlist"]
        for entry in _Scatterlist(self.k).entries(sg, nents):
            offset, length = (self.k.mem.u32(entry + layout.offset(name)) for name in ("offset", "length"))
            self._piece(self.k.mem.u64(entry) & ~3, offset, length, direction)

    def _piece(self, page: int, offset: int, size: int, direction: int) -> None:
        k = self.k
        vmemmap, page_size = k.regions.vmemmap_start, k.layout["page"].size
        pfn, odd = divmod(page - vmemmap, page_size)
        if odd or not 0 <= pfn < k.mm.ram.size >> 12:
            k.finding(
                "api-misuse",
                f"DMA of {size} bytes of memory that is not in the direct map",
                address=page,
                size=size,
                advice="memory of vmalloc, the stack and a module's data cannot be handed to a device: take kmalloc",
            )
            return
        self._given((pfn << 12) + offset, size, direction)

    def _given(self, phys: int, size: int, direction: int) -> None:
        """The device gets *size* bytes at *phys* to read, or to write."""
        checks, start = self._checks, self.k.mm.phys_to_virt(phys)
        if phys + size > self.k.mm.ram.size:
            return
        if direction == TO_DEVICE:
            checks.leaving(start, size, "DMA to a device")
            return
        checks.kernel_access(start, size, True)
        checks.written(start, size)


def functions(checks: Any) -> dict[str, Callable[[RawArgs], None]]:
    """What to do before each function of DMA."""
    return DmaCheck(checks).functions()
