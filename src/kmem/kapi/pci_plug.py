"""PCI devices that a test plugs in: where their memory lies, who has them, and taking them out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kmem.errors import UsageError
from kmem.kapi import pci
from kmem.kapi.fields import at, get, text

HOLE = 0xE0000000
"""Where base addresses are handed out: below 4 GiB, behind what may be RAM there."""
SLOT_SPACE = 64 << 20
MAX_BARS = 6


@dataclass(frozen=True)
class PciDevice:
    """A device in the machine; *address* is that of its ``struct pci_dev``, *bars* are (physical address, size)."""

    kernel: Any
    address: int
    bars: tuple[tuple[int, int], ...]

    @property
    def driver(self) -> str:
        """Name of the driver that has it, empty if none has."""
        k = self.kernel
        bound = get(k, "device", at(k, "pci_dev", self.address, "dev"), "driver")
        return text(k, get(k, "device_driver", bound, "name")).decode("utf-8", "replace") if bound else ""

    @property
    def config(self) -> bytes:
        """Its configuration space."""
        found: bytes = self.kernel.mem.read(pci.config(self.kernel, self.address), pci.CONFIG_SIZE)
        return found

    def unplug(self) -> None:
        """Take it out; its driver's remove is called."""
        self.kernel.executor.drive(pci.unplug(self.kernel, self.address))


def plug(
    kernel: Any,
    vendor: int,
    device: int,
    bars: Sequence[int | tuple[int, int]],
    *,
    cls: int,
    subsystem: tuple[int, int],
    irq: int,
) -> PciDevice:
    """As `Kernel.plug_pci`. UsageError for more than six regions, or a size that is no power of two."""
    if len(bars) > MAX_BARS:
        raise UsageError(f"{len(bars)} base addresses", remedy=f"a PCI device has at most {MAX_BARS}")
    start = HOLE + SLOT_SPACE * len(pci.devices(kernel))
    placed = []
    for bar in bars:
        size = bar if isinstance(bar, int) else bar[1]
        if size < 16 or size & size - 1 or (isinstance(bar, int) and size > SLOT_SPACE):
            raise UsageError(f"a region of {size} bytes", remedy="give a power of two from 16 bytes to 64 MiB")
        address = -(-start // size) * size if isinstance(bar, int) else bar[0]
        start = address + size if isinstance(bar, int) else start
        placed.append((address, size))
    made = kernel.executor.drive(pci.plug(kernel, vendor, device, placed, cls=cls, subsystem=subsystem, irq=irq))
    return PciDevice(kernel, made, tuple(placed))
