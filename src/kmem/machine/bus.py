"""What lies behind physical addresses without RAM and behind I/O ports:

nothing, unless a device model is put there.
"""

from __future__ import annotations

from typing import Protocol

PHYS_BITS = 40
"""Width of a physical address of the emulated CPU; a page table entry with a bit above it is malformed."""
ASIDE = (1 << PHYS_BITS) - (1 << 30)
"""From here on lies memory of the CPU that is not the machine's, if any (`kmem.machine.cpu.Cpu.map_aside`)."""


class Bus(Protocol):
    """Device memory and ports. *size* is 1, 2 or 4 bytes; an eight-byte access comes as two of four."""

    def read(self, phys: int, size: int) -> int: ...
    def write(self, phys: int, size: int, value: int) -> None: ...
    def port_in(self, port: int, size: int) -> int: ...
    def port_out(self, port: int, size: int, value: int) -> None: ...


class OpenBus:
    """No devices: reads give all ones, writes go nowhere, as on a PC."""

    def read(self, phys: int, size: int) -> int:
        """All ones."""
        return (1 << 8 * size) - 1

    def write(self, phys: int, size: int, value: int) -> None:
        """Nothing."""

    def port_in(self, port: int, size: int) -> int:
        """All ones."""
        return (1 << 8 * size) - 1

    def port_out(self, port: int, size: int, value: int) -> None:
        """Nothing."""
