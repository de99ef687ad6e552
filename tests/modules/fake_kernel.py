"""The kernel as the loader sees it, with memory in byte arrays that knows page permissions."""

from __future__ import annotations

from kmem.abi.layout import Layout, layout
from kmem.abi.release import Release, release
from kmem.machine.fault import AccessFault
from kmem.modules.kallsyms import Kallsyms

PAGE = 4096
MODULES_VADDR = 0xFFFFFFFFC0000000
KERNEL = 0xFFFFFFFF81000000


class FakeMemory:
    """Allocated ranges by address; *permissions* has (write, execute) of each page that was set."""

    def __init__(self) -> None:
        self.ranges: dict[int, bytearray] = {}
        self.permissions: dict[int, tuple[bool, bool]] = {}

    def _find(self, addr: int, size: int, access: str) -> tuple[bytearray, int]:
        for base, data in self.ranges.items():
            if base <= addr and addr + size <= base + len(data):
                pages = range(addr & -PAGE, addr + max(size, 1), PAGE)
                if access == "write" and not all(self.permissions.get(page, (True, False))[0] for page in pages):
                    raise AccessFault(addr, size, access, present=True)
                return data, addr - base
        raise AccessFault(addr, size, access)

    def read(self, addr: int, n: int) -> bytes:
        data, at = self._find(addr, n, "read")
        return bytes(data[at : at + n])

    def write(self, addr: int, data: bytes) -> None:
        where, at = self._find(addr, len(data), "write")
        where[at : at + len(data)] = data

    def u16(self, addr: int) -> int:
        return int.from_bytes(self.read(addr, 2), "little")

    def u32(self, addr: int) -> int:
        return int.from_bytes(self.read(addr, 4), "little")

    def u64(self, addr: int) -> int:
        return int.from_bytes(self.read(addr, 8), "little")


class FakeKernel:
    """Exports any name except those in *unknown*; `exported` gives the addresses that were asked for."""

    def __init__(self, unknown: frozenset[str] = frozenset(), limit: int = 64 << 20) -> None:
        self.mem = FakeMemory()
        self.kallsyms = Kallsyms()
        self.layout: Layout = layout("6.1")
        self.release: Release = release("6.1")
        self.tainted = 0
        self.log: list[tuple[int, str]] = []
        self.exported: dict[str, int] = {}
        self.percpu: dict[int, bytes] = {}
        self.unknown = unknown
        self._limit = limit
        self._next = MODULES_VADDR

    def module_alloc(self, size: int) -> int:
        size = (size + PAGE - 1) & -PAGE
        if not size or size > self._limit:
            return 0
        base = self._next
        self._next += size + PAGE
        self.mem.ranges[base] = bytearray(size)
        return base

    def module_memfree(self, addr: int) -> None:
        size = len(self.mem.ranges.pop(addr))
        for page in range(addr, addr + size, PAGE):
            self.mem.permissions.pop(page, None)

    def set_memory(self, addr: int, size: int, write: bool, execute: bool) -> None:
        assert addr % PAGE == 0
        assert size > 0
        for page in range(addr, addr + size, PAGE):
            self.mem.permissions[page] = (write, execute)

    def resolve(self, name: str) -> int | None:
        if name in self.unknown:
            return None
        return self.exported.setdefault(name, KERNEL + 64 * len(self.exported))

    def percpu_modalloc(self, size: int, align: int, image: bytes) -> int:
        offset = 0x20000 + sum(len(data) + align for data in self.percpu.values()) + align - 1 & -align
        self.percpu[offset] = image
        return offset

    def percpu_modfree(self, offset: int) -> None:
        del self.percpu[offset]

    def add_taint(self, flag: int) -> None:
        self.tainted |= 1 << flag

    def printk(self, level: int, text: str) -> None:
        self.log.append((level, text))

    @property
    def lines(self) -> list[str]:
        return [text for _, text in self.log]
