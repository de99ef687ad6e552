"""The resources of a machine that boots: its memory (arch/x86/kernel/e820.c, setup.c; 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from kmem.lib.cstruct import s64
from kmem.mm.mm_types import resource
from kmem.mm.resource import IORESOURCE_BUSY, IORESOURCE_IO, IORESOURCE_MEM, IORESOURCE_SYSTEM_RAM, Resources

if TYPE_CHECKING:
    from kmem.mm.view import View

PAGE = 4096
_LOW_END, _HIGH_START, _PCI_HOLE, _ABOVE = 0xA0000, 1 << 20, 3 << 30, 4 << 30
PHYS_LAST, PORT_LAST = (1 << 52) - 1, 0xFFFF


def _installed(ram: int) -> Iterator[tuple[int, int]]:
    """Where a PC has its memory: below the video memory, above 1 MiB up to the PCI hole, the rest above 4 GiB."""
    yield 0, _LOW_END
    yield _HIGH_START, min(ram, _PCI_HOLE)
    if ram > _PCI_HOLE:
        yield _ABOVE, _ABOVE + ram - _PCI_HOLE


def firmware_map(ram: int, usable: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """Usable memory, and what firmware keeps of the rest: start, end, name. The kernel reserves page 0
    (``trim_bios_range()``).
    """
    for start, end in _installed(ram):
        at = start
        for first, last in usable:
            if not start <= first < end:
                continue
            first = max(first, PAGE)
            if at < first:
                yield at, first, "Reserved"
            yield first, last, "System RAM"
            at = last
        if at < end:
            yield at, end, "Reserved"


def e820_reserve_resources(
    view: View, ram: int, usable: Sequence[tuple[int, int]], slots: int, string: Callable[[str], int]
) -> None:
    """``e820__reserve_resources()``: fill the tree, with ``struct resource`` from the page at *slots*."""
    k = view.kdata
    for root, name, last, flags in (
        (k.iomem_resource, "PCI mem", PHYS_LAST, IORESOURCE_MEM),
        (k.ioport_resource, "PCI IO", PORT_LAST, IORESOURCE_IO),
    ):
        root.name, root.start, root.end, root.flags = s64(string(name)), 0, last, flags
    tree = Resources(view, lambda size, gfp: 0, lambda p: None, lambda level, text: None)
    names: dict[str, int] = {}
    for index, (start, end, name) in enumerate(firmware_map(ram, usable)):
        res = view.ptr(resource, slots + index * resource.among(view.ram.structs).size)
        if name not in names:
            names[name] = s64(string(name))
        res.name, res.start, res.end = names[name], start, end - 1
        busy = name == "System RAM" or start < _HIGH_START
        res.flags = (IORESOURCE_SYSTEM_RAM if name == "System RAM" else IORESOURCE_MEM) | IORESOURCE_BUSY * busy
        assert not tree.insert(k.iomem_resource, res)
