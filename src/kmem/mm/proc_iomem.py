"""/proc/iomem (kernel/resource.c, arch/x86/kernel/e820.c and setup.c; 6.1).

The simulated machine has memory and nothing else: no ROM, PCI bus, interrupt controller or timer takes addresses; what
modules claim is shown. Of the kernel image the code is always shown; read-only data, data and bss if the symbol table
knows where they begin and end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kmem.abi.address import START_KERNEL_MAP
from kmem.abi.release import release
from kmem.lib.cstruct import u64
from kmem.mm.proc_symbols import Symbols
from kmem.mm.resource import MAX_IORES_LEVEL

if TYPE_CHECKING:
    from kmem.mm.api import Mm

Resource = tuple[int, int, str]
"""First address, last address plus one, name."""

_IMAGE = (
    ("_text", "_etext", "Kernel code"),
    ("__start_rodata", "__end_rodata", "Kernel rodata"),
    ("_sdata", "_edata", "Kernel data"),
    ("__bss_start", "__bss_stop", "Kernel bss"),
)


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
    """/proc/iomem, as root sees it: the tree of resources, and in it the parts of the kernel image."""
    lines = []
    image = list(_image(mm, kallsyms))
    for depth, res in mm.resources.walk(mm.resources.iomem):
        start, end, name = (
            u64(res.start),
            u64(res.end),
            mm.resources.read_string(u64(res.name)) if res.name else "<BAD>",
        )
        indent = "  " * min(depth, MAX_IORES_LEVEL)
        lines.append(f"{indent}{start:08x}-{end:08x} : {name}\n")
        for first, last, part in image:
            if depth == 0 and start <= first <= end:
                lines.append(f"  {first:08x}-{last - 1:08x} : {part}\n")
    return "".join(lines)
