"""Reading the memory in a core, by virtual address: what its program headers map, and what its page tables map."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right

from kmem.machine.coredump import PT_LOAD, read_notes

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
PRESENT, LARGE = 1, 1 << 7
FRAME = 0x000F_FFFF_FFFF_F000


class CoreMemory:
    """The memory of the core at *path*. InputError if it is none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.notes = read_notes(path)
        self._file = open(path, "rb")  # noqa: SIM115  closed with the object
        header = _HEADER.unpack(self._file.read(_HEADER.size))
        self._file.seek(header[5])
        table = _PROGRAM.iter_unpack(self._file.read(header[10] * _PROGRAM.size))
        self._loads = sorted((vaddr, offset, filesz, memsz) for kind, _, offset, vaddr, _, filesz, memsz, _ in table
                             if kind == PT_LOAD)  # fmt: skip

    def linear(self, address: int, n: int) -> bytes | None:
        """*n* bytes that a program header maps; None if none maps all of them."""
        at = bisect_right(self._loads, (address, 1 << 64, 0, 0)) - 1
        if at < 0:
            return None
        vaddr, offset, filesz, memsz = self._loads[at]
        inside = address - vaddr
        if inside + n > memsz:
            return None
        self._file.seek(offset + inside)
        return self._file.read(max(0, min(n, filesz - inside))).ljust(n, b"\0")

    def read(self, address: int, n: int, direct_map: int, table: int) -> bytes | None:
        """Up to *n* bytes at *address*, as far as its page goes; None if nothing is mapped there. *table* is the
        address of the top page table.
        """
        n = min(n, 4096 - address % 4096)
        found = self.linear(address, n)
        if found is not None:
            return found
        for level in (3, 2, 1, 0):
            shift = 12 + 9 * level
            raw = self.linear(table + 8 * (address >> shift & 511), 8)
            entry = int.from_bytes(raw, "little") if raw else 0
            if not entry & PRESENT:
                return None
            if level == 0 or entry & LARGE:
                inside = address & (1 << shift) - 1
                return self.linear(direct_map + (entry & FRAME & -(1 << shift)) + inside, n)
            table = direct_map + (entry & FRAME)
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
