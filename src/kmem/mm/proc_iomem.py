"""/proc/iomem (kernel/resource.c, arch/x86/kernel/e820.c and setup.c; 6.1).

The simulated machine has memory and nothing else: no ROM, PCI bus, interrupt controller or timer takes addresses. Of
the kernel image the code is always shown; read-only data, data and bss if the symbol table knows where they begin and
end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kmem.abi.address import PAGE_SIZE, START_KERNEL_MAP
from kmem.abi.release import release
from kmem.mm.boot import ram_end
from kmem.mm.proc_symbols import Symbols

if TYPE_CHECKING:
    from kmem.mm.api import Mm

Resource = tuple[int, int, str]
"""First address, last address plus one, name."""

_LOW_END, _HIGH_START, _PCI_HOLE, _ABOVE = 0xA0000, 1 << 20, 3 << 30, 4 << 30
_IMAGE = (
    ("_text", "_etext", "Kernel code"),
    ("__start_rodata", "__end_rodata", "Kernel rodata"),
    ("_sdata", "_edata", "Kernel data"),
    ("__bss_start", "__bss_stop", "Kernel bss"),
)


def _installed(ram: int) -> Iterator[tuple[int, int]]:
    """Where a PC has its memory: below the video memory, above 1 MiB up to the PCI hole, the rest above 4 GiB."""
    yield 0, _LOW_END
    yield _HIGH_START, min(ram, _PCI_HOLE)
    if ram > _PCI_HOLE:
        yield _ABOVE, ram_end(ram)


def _memory(mm: Mm) -> Iterator[Resource]:
    """Usable memory, and what firmware keeps of the rest. The kernel reserves page 0 (``trim_bios_range()``)."""
    for start, end in _installed(mm.config.ram):
        at = start
        for first, last in mm.boot.usable:
            if not start <= first < end:
                continue
            first = max(first, PAGE_SIZE)
            if at < first:
                yield at, first, "Reserved"
            yield first, last, "System RAM"
            at = last
        if at < end:
            yield at, end, "Reserved"


def _image(mm: Mm, kallsyms: Symbols | None) -> Iterator[Resource]:
    """The parts of the kernel image, by address."""
    addresses = release(mm.config.release).addresses
    known: dict[str, int | None] = {"_text": addresses.text, "_etext": addresses.text_end}
    for first, last, name in _IMAGE:
        for edge in (first, last):
            if edge not in known:
                known[edge] = kallsyms.address(edge) if kallsyms else None
        start, end = known[first], known[last]
        if start and end:
            yield start - START_KERNEL_MAP, end - START_KERNEL_MAP, name


def iomem(mm: Mm, kallsyms: Symbols | None = None) -> str:
    """/proc/iomem, as root sees it."""
    lines = []
    image = list(_image(mm, kallsyms))
    for start, end, name in _memory(mm):
        lines.append(f"{start:08x}-{end - 1:08x} : {name}\n")
        for first, last, part in image:
            if start <= first < end:
                lines.append(f"  {first:08x}-{last - 1:08x} : {part}\n")
    return "".join(lines)
