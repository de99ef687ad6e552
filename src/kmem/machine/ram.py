"""Simulated physical memory: one memfd, mapped once, and the single source of truth.

The file holds the model's private area first (:data:`~kmem.lib.cstruct.PRIVATE_SIZE` bytes: bounds, fault record,
event ring; not part of the machine) and physical memory behind it, so that physical address 0 is at :attr:`Ram.base`
and everything private at negative offsets from it. Behind that are SLACK bytes for objects that begin in RAM and end
behind it. Pages cost host memory only when touched.

A snapshot is a remap: what is in the file is the state to return to, and what is written afterwards lives in private
pages that
:meth:`Ram.rollback` drops (0.05 ms whatever the size).
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import struct
from collections.abc import Callable

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP, VMEMMAP_START
from kmem.lib.cstruct import (
    ANY,
    DIRECT,
    IMAGE,
    MEM_MAP_AT,
    MEM_MAP_SIZE_AT,
    PRIVATE,
    PRIVATE_SIZE,
    RAM_SIZE_AT,
    VMEMMAP,
    CoreFault,
    s64,
)
from kmem.lib.kstructs import RELEASE, structs

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_PROT_RW = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_NORESERVE = 0x01, 0x02, 0x10, 0x4000
_MADV_DONTNEED = 4
_FAILED = ctypes.c_void_p(-1).value
PAGE = 4096
SLACK = 2 << 20
"""No object that a pointer can name is larger."""

_DIRECT, _VMEMMAP, _IMAGE = s64(PAGE_OFFSET), s64(VMEMMAP_START), s64(START_KERNEL_MAP)


class Ram:
    """*size* bytes of physical memory (the highest physical address plus one; a multiple of 2 MiB).

    What lies in it has the layout of *release*: typed pointers into it take their struct from :attr:`structs`.
    """

    def __init__(self, size: int, release: str = RELEASE) -> None:
        if size % (2 << 20):
            raise ValueError("RAM size must be a multiple of 2 MiB")
        self.size = size
        self.release = release
        self.structs = structs(release)
        self._length = PRIVATE_SIZE + size + SLACK
        self._fd = os.memfd_create("kmem-ram", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, self._length)
        self._start = self._map(None, _MAP_SHARED)
        self.base = self._start + PRIVATE_SIZE
        self.whole = memoryview((ctypes.c_char * self._length).from_address(self._start)).cast("B")
        self.mem = self.whole[PRIVATE_SIZE : PRIVATE_SIZE + size]
        self.snapshotted = False
        self.mem_map_phys = 0
        self.mem_map_size = 0
        self.upcall: Callable[[int, int, int, int, int], int] = lambda code, a, b, c, d: 0
        """What interpreted model code calls back (compiled code has an address for that in the private area)."""
        self._put(RAM_SIZE_AT, size)

    def _map(self, where: int | None, flags: int) -> int:
        fixed = _MAP_FIXED if where is not None else 0
        got = _libc.mmap(where, self._length, _PROT_RW, flags | fixed | _MAP_NORESERVE, self._fd, 0)
        if got == _FAILED or got is None:
            raise MemoryError(f"cannot map {self._length} bytes of simulated RAM: {os.strerror(ctypes.get_errno())}")
        return int(got)

    def _put(self, at: int, value: int) -> None:
        struct.pack_into("<q", self.whole, PRIVATE_SIZE + at, value)

    def place_mem_map(self, phys: int, size: int) -> None:
        """Say where in physical memory the array of ``struct page`` lies; once, before any model code runs."""
        self.mem_map_phys, self.mem_map_size = phys, size
        self._put(MEM_MAP_AT, phys)
        self._put(MEM_MAP_SIZE_AT, size)

    def phys(self, addr: int) -> int | None:
        """The physical address behind a (signed) address in one of the linear windows, or None."""
        if 0 <= addr - _DIRECT < self.size:
            return addr - _DIRECT
        if 0 <= addr - _VMEMMAP < self.mem_map_size:
            return addr - _VMEMMAP + self.mem_map_phys
        if 0 <= addr - _IMAGE < min(self.size, 1 << 30):
            return addr - _IMAGE
        return None

    def offset(self, window: str, addr: int, size: int, write: bool, inside: int = 0) -> int:
        """Where in :attr:`whole` the member at offset *inside* of the object at *addr* is; CoreFault if the object does
        not begin in the window.
        """
        if window == PRIVATE:
            return PRIVATE_SIZE + addr + inside
        if window == ANY:
            phys = self.phys(addr)
        elif window == DIRECT:
            phys = addr - _DIRECT if 0 <= addr - _DIRECT < self.size else None
        elif window == VMEMMAP:
            phys = addr - _VMEMMAP + self.mem_map_phys if 0 <= addr - _VMEMMAP < self.mem_map_size else None
        else:
            assert window == IMAGE
            phys = addr - _IMAGE if 0 <= addr - _IMAGE < self.size else None
        if phys is None:
            raise CoreFault(addr + inside, size, write)
        return PRIVATE_SIZE + phys + inside

    def snapshot(self) -> None:
        """Make the state of now the one that :meth:`rollback` returns to."""
        if self.snapshotted:
            self._flush_private_pages()
        self._map(self._start, _MAP_PRIVATE)
        self.snapshotted = True

    def _flush_private_pages(self) -> None:
        """Write every page that differs from the file into it (pages written since the last snapshot)."""
        for first, count in self.dirty_runs():
            os.pwrite(self._fd, self.whole[first * PAGE : (first + count) * PAGE], first * PAGE)

    def dirty_runs(self) -> list[tuple[int, int]]:
        """Runs (first page, count) of the mapping that hold private copies, from /proc/self/pagemap."""
        runs: list[tuple[int, int]] = []
        pages = self._length // PAGE
        with open("/proc/self/pagemap", "rb") as pagemap:
            pagemap.seek(self._start // PAGE * 8)
            done = 0
            while done < pages:
                chunk = memoryview(pagemap.read(min(pages - done, 1 << 16) * 8)).cast("Q")
                for index, entry in enumerate(chunk):
                    if entry >> 61 == 0b100 or entry >> 61 == 0b010:
                        page = done + index
                        if runs and runs[-1][0] + runs[-1][1] == page:
                            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
                        else:
                            runs.append((page, 1))
                done += len(chunk)
        return runs

    def rollback(self) -> None:
        """Return to the last snapshot. The emulated CPU's TLB and translated code are the caller's business."""
        if not self.snapshotted:
            raise RuntimeError("no snapshot was taken")
        if _libc.madvise(self._start, self._length, _MADV_DONTNEED):
            raise OSError(ctypes.get_errno(), "madvise")

    def hash(self) -> str:
        """SHA-256 of physical memory (holes count as zeros and cost nothing)."""
        digest = hashlib.sha256()
        zero = b"\0" * PAGE
        for first, last in self.populated():
            for at in range(first, last, PAGE):
                page = bytes(self.mem[at : at + PAGE])  # which compares ten times as fast as a view does
                if page != zero:
                    digest.update(at.to_bytes(8, "little"))
                    digest.update(page)
        return digest.hexdigest()

    def populated(self) -> list[tuple[int, int]]:
        """Ranges of physical memory that were ever touched."""
        runs: list[list[int]] = []

        def add(first: int, last: int) -> None:
            if runs and first <= runs[-1][1]:
                runs[-1][1] = max(runs[-1][1], last)
            else:
                runs.append([first, last])

        found = (
            [(first * PAGE, (first + count) * PAGE) for first, count in self.dirty_runs()] if self.snapshotted else []
        )
        at = 0
        while at < self._length:
            try:
                first = os.lseek(self._fd, at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(self._fd, first, os.SEEK_HOLE)
            found.append((first, at))
        for first, last in sorted(found):
            add(max(first - PRIVATE_SIZE, 0), min(last - PRIVATE_SIZE, self.size))
        return [(first, last) for first, last in runs if last > first]

    def close(self) -> None:
        """Give the memory back. Nothing may use the RAM afterwards."""
        if self._fd >= 0:
            self.mem.release()
            self.whole.release()
            _libc.munmap(self._start, self._length)
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()
