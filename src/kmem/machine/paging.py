"""Virtual memory as the kernel's own code sees it: reads and writes through the page tables in RAM, with their
permissions.

The direct map is one addition; everything else is a walk. Nothing is cached, so a changed entry is seen at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kmem.abi.address import PAGE_OFFSET
from kmem.machine.fault import AccessFault
from kmem.machine.ram import Ram

if TYPE_CHECKING:
    from kmem.machine.bus import Bus

PRESENT, RW, PSE, NX = 1, 2, 1 << 7, 1 << 63
FRAME = 0x000F_FFFF_FFFF_F000
LEVELS = (("PGD", 39), ("PUD", 30), ("PMD", 21), ("PTE", 12))
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")

PCI_HOLE = (3 << 30, 4 << 30)
"""Physical addresses of devices, on a machine whose RAM goes on behind them."""


def _accesses(at: int, n: int) -> Iterator[tuple[int, int]]:
    """A range in naturally aligned accesses of 4, 2 and 1 bytes."""
    while n:
        size = next(size for size in (4, 2, 1) if size <= n and at % size == 0)
        yield at, size
        at, n = at + size, n - size


class AddressSpace:
    """The address space whose top page table is at physical *cr3*. An access that the tables refuse raises
    AccessFault. What lies above RAM is asked of *bus*; without one it is refused, too.
    """

    def __init__(self, ram: Ram, cr3: int, bus: Bus | None = None) -> None:
        self.ram = ram
        self.cr3 = cr3
        self.bus = bus
        self._mem = ram.mem
        self._hole = PCI_HOLE if ram.size > PCI_HOLE[1] else (ram.size, ram.size)

    def _linear(self, offset: int, n: int) -> bool:
        """Whether the direct map has all of the *n* bytes from *offset* on."""
        start, end = self._hole
        return offset >= 0 and (offset + n <= start or (end <= offset and offset + n <= self.ram.size))

    def walk(self, addr: int) -> list[tuple[str, int]]:
        """The entries that translate *addr*, from the top, as far as they exist: (level, entry)."""
        table, found = self.cr3, []
        for name, shift in LEVELS:
            at = table + (addr >> shift & 511) * 8
            if at + 8 > self.ram.size:
                break
            entry: int = _U64.unpack_from(self._mem, at)[0]
            found.append((name, entry))
            if not entry & PRESENT or shift == 12 or entry & PSE:
                break
            table = entry & FRAME
        return found

    def translate(self, addr: int, size: int = 1, access: str = "read") -> int:
        """The physical address behind *addr*."""
        offset = addr - PAGE_OFFSET
        if self._linear(offset, 1):
            return offset
        if addr >> 47 not in (0, 0x1FFFF):
            raise AccessFault(addr, size, access)
        entries = self.walk(addr)
        leaf = entries[-1][1] if entries else 0
        if not leaf & PRESENT or (len(entries) < 4 and not leaf & PSE):
            raise AccessFault(addr, size, access)
        if access == "write" and not all(entry & RW for _, entry in entries):
            raise AccessFault(addr, size, access, present=True)
        below = (1 << LEVELS[len(entries) - 1][1]) - 1
        phys = (leaf & FRAME & ~below) | (addr & below)
        if phys + size > self.ram.size and self.bus is None:
            raise AccessFault(addr, size, access, present=True)
        return phys

    def _load(self, at: int, n: int) -> bytes:
        """*n* bytes at a physical address: of RAM, or of a device in accesses of at most four bytes."""
        if at + n <= self.ram.size or self.bus is None:
            return bytes(self._mem[at : at + n])
        return b"".join(
            (self.bus.read(one, size) & (1 << 8 * size) - 1).to_bytes(size, "little") for one, size in _accesses(at, n)
        )

    def _store(self, at: int, data: bytes | bytearray | memoryview) -> None:
        if at + len(data) <= self.ram.size or self.bus is None:
            self._mem[at : at + len(data)] = data
            return
        for one, size in _accesses(at, len(data)):
            self.bus.write(one, size, int.from_bytes(data[one - at : one - at + size], "little"))

    def _pieces(self, addr: int, n: int, access: str) -> Iterator[tuple[int, int]]:
        """Physical (start, length) of each part of the range; linear memory is one part."""
        if self._linear(addr - PAGE_OFFSET, n):
            yield addr - PAGE_OFFSET, n
            return
        while n > 0:
            length = min(n, 4096 - addr % 4096)
            yield self.translate(addr, length, access), length
            addr, n = (addr + length) & 0xFFFF_FFFF_FFFF_FFFF, n - length

    def read(self, addr: int, n: int) -> bytes:
        """*n* bytes at *addr*."""
        return b"".join([self._load(at, length) for at, length in self._pieces(addr, n, "read")])

    def write(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        """Store *data* at *addr*; nothing is stored if a part of the range refuses it."""
        done = 0
        for at, length in list(self._pieces(addr, len(data), "write")):
            self._store(at, data[done : done + length])
            done += length

    def fill(self, addr: int, byte: int, n: int) -> None:
        """``memset(addr, byte, n)``."""
        for at, length in list(self._pieces(addr, n, "write")):
            self._store(at, bytes([byte & 0xFF]) * length)

    def cstr(self, addr: int, limit: int = 4096) -> bytes:
        """The bytes before the first NUL, at most *limit*."""
        found = b""
        while len(found) < limit:
            part = self.read(addr + len(found), min(4096 - (addr + len(found)) % 4096, limit - len(found)))
            end = part.find(b"\0")
            if end >= 0:
                return found + part[:end]
            found += part
        return found

    def u8(self, addr: int) -> int:
        """An unsigned byte."""
        return self._load(self.translate(addr), 1)[0]

    def u16(self, addr: int) -> int:
        """An unsigned 16-bit number."""
        return int.from_bytes(self.read(addr, 2), "little")

    def u32(self, addr: int) -> int:
        """An unsigned 32-bit number."""
        offset = addr - PAGE_OFFSET
        if 0 <= offset <= self.ram.size - 4:
            return int(_U32.unpack_from(self._mem, offset)[0])
        return int.from_bytes(self.read(addr, 4), "little")

    def u64(self, addr: int) -> int:
        """An unsigned 64-bit number."""
        offset = addr - PAGE_OFFSET
        if 0 <= offset <= self.ram.size - 8:
            return int(_U64.unpack_from(self._mem, offset)[0])
        return int.from_bytes(self.read(addr, 8), "little")

    def s32(self, addr: int) -> int:
        """A signed 32-bit number."""
        return int.from_bytes(self.read(addr, 4), "little", signed=True)

    def s64(self, addr: int) -> int:
        """A signed 64-bit number."""
        return int.from_bytes(self.read(addr, 8), "little", signed=True)

    def set_u8(self, addr: int, value: int) -> None:
        """Store a byte."""
        self.write(addr, bytes([value & 0xFF]))

    def set_u16(self, addr: int, value: int) -> None:
        """Store 16 bits."""
        self.write(addr, (value & 0xFFFF).to_bytes(2, "little"))

    def set_u32(self, addr: int, value: int) -> None:
        """Store 32 bits."""
        self.write(addr, (value & 0xFFFF_FFFF).to_bytes(4, "little"))

    def set_u64(self, addr: int, value: int) -> None:
        """Store 64 bits."""
        self.write(addr, (value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little"))
