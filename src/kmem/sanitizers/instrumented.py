"""The shadow of code that the compiler has instrumented (``-fsanitize=kernel-address``): by virtual address.

Such code forbids the gaps between the variables of a stack frame itself, by stores into this shadow, and asks before
every access. It is mapped for the stacks (low vmalloc space) and the modules' data; everywhere else lies one page of
zeros: heap, pages and vmalloc areas are the business of `kmem.sanitizers.shadow`. The memory, and the page tables that
map it, are the CPU's only: a module that is not instrumented sees nothing of it, and no address differs.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmem.abi.address import MODULES_END, MODULES_VADDR, VMALLOC_START
from kmem.machine.paging import FRAME, NX, PRESENT, PSE, RW
from kmem.machine.ram import Ram

OFFSET = 0xDFFFFC0000000000
"""``KASAN_SHADOW_OFFSET``; the compiler is told."""
START, END = 0xFFFFEC0000000000, 0xFFFFFC0000000000
"""``KASAN_SHADOW_START`` and ``KASAN_SHADOW_END``."""
HEADER = START
"""Where code finds the address of the function that reports."""
PAGE, HUGE = 4096, 2 << 20
STACKS = 4 << 30
"""Bytes of vmalloc space whose shadow is mapped."""
STACK_LEFT, STACK_MID, STACK_RIGHT, STACK_PARTIAL, USE_AFTER_SCOPE = 0xF1, 0xF2, 0xF3, 0xF4, 0xF8
ALLOCA_LEFT, ALLOCA_RIGHT, GLOBAL_REDZONE = 0xCA, 0xCB, 0xF9
FRAME_MAGIC = 0x41B58AB3
"""``CURRENT_STACK_FRAME_MAGIC``, the first word of a frame that has redzones."""
ACCESSED_DIRTY = 0x60
_TABLE, _LEAF = PRESENT | RW | ACCESSED_DIRTY, PRESENT | RW | PSE | ACCESSED_DIRTY | NX
_M64 = (1 << 64) - 1


def shadow_of(address: int) -> int:
    """``kasan_mem_to_shadow()``."""
    return (address >> 3) + OFFSET & _M64


class Instrumented:
    """The shadow, and its tables; *phys* is where the CPU finds :attr:`ram`."""

    def __init__(self, phys: int) -> None:
        self._areas: list[tuple[int, int, int]] = []
        at = HUGE
        for start, end in ((VMALLOC_START, VMALLOC_START + STACKS), (MODULES_VADDR & -HUGE * 8, MODULES_END)):
            size = -(-(end - start >> 3) // HUGE) * HUGE
            self._areas.append((start, start + 8 * size, at))
            at += size
        self.ram = Ram(at)
        self.phys = phys
        self._next = 0
        self._owned: set[int] = set()
        self.tops = self._map()
        """Entries of the top page table, by number."""
        self.ram.snapshot()

    def _page(self, content: bytes = b"") -> int:
        at, self._next = self._next, self._next + PAGE
        self.ram.mem[at : at + len(content)] = content
        return at

    def _full(self, entry: int) -> int:
        return self._page(entry.to_bytes(8, "little") * 512)

    def _entry(self, at: int) -> int:
        return int.from_bytes(self.ram.mem[at : at + 8], "little")

    def _set(self, at: int, entry: int) -> None:
        self.ram.mem[at : at + 8] = entry.to_bytes(8, "little")

    def _map(self) -> dict[int, int]:
        zero = self._full(self.phys + self._page() | PRESENT | ACCESSED_DIRTY | NX)
        zeros = self._full(self.phys + zero | _TABLE)
        shared = self._full(self.phys + zeros | _TABLE)
        tops = range(START >> 39 & 511, (END - 1 >> 39 & 511) + 1)
        entries = dict.fromkeys(tops, self.phys + shared | _TABLE)
        for start, end, at in self._areas:
            for done in range(0, end - start >> 3, HUGE):
                address = shadow_of(start) + done
                below = self._below(entries, address)
                self._set(below + 8 * (address >> 21 & 511), self.phys + at + done | _LEAF)
        self._header = self._page()
        table = self._own(self._below(entries, HEADER), HEADER >> 21 & 511)
        self._set(table + 8 * (HEADER >> 12 & 511), self.phys + self._header | PRESENT | ACCESSED_DIRTY | NX)
        return entries

    def _below(self, tops: dict[int, int], address: int) -> int:
        """The table of 2 MiB entries of its own that maps *address*, made on the way down."""
        top = address >> 39 & 511
        first = (tops[top] & FRAME) - self.phys
        if first not in self._owned:
            first = self._copy(first)
            tops[top] = self.phys + first | _TABLE
        return self._own(first, address >> 30 & 511)

    def _own(self, table: int, number: int) -> int:
        below = (self._entry(table + 8 * number) & FRAME) - self.phys
        if below not in self._owned:
            below = self._copy(below)
            self._set(table + 8 * number, self.phys + below | _TABLE)
        return below

    def _copy(self, table: int) -> int:
        at = self._page(bytes(self.ram.mem[table : table + PAGE]))
        self._owned.add(at)
        return at

    def reporter(self, address: int) -> None:
        """Let the function at *address* be called for what is forbidden."""
        self._set(self._header, address)

    def _at(self, address: int) -> int:
        """Where the shadow of *address* lies in :attr:`ram`, or -1."""
        for start, end, at in self._areas:
            if start <= address < end:
                return at + (address - start >> 3)
        return -1

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int, int]]:
        """The granules of a range: address, bytes of it in there, state."""
        while size > 0:
            inside = min(8 - address % 8, size)
            at = self._at(address)
            yield address, inside, self.ram.mem[at] if at >= 0 else 0
            address, size = address + inside, size - inside

    def first_bad(self, address: int, size: int) -> int:
        """The first of *size* bytes at *address* that may not be touched, or -1."""
        at, last = self._at(address), self._at(address + max(size, 1) - 1)
        if at < 0 or last < 0 or not any(self.ram.mem[at : last + 1]):
            return -1
        for start, inside, state in self._pieces(address, size):
            allowed = 8 if not state else state if state < 8 else 0
            if start % 8 + inside > allowed:
                return start + max(0, allowed - start % 8)
        return -1

    def poison(self, address: int, size: int, code: int) -> None:
        """Forbid *size* bytes, whole granules, at *address*."""
        at = self._at(address)
        if at >= 0 and size > 0:
            self.ram.mem[at : at + size // 8] = bytes([code]) * (size // 8)

    def unpoison(self, address: int, size: int) -> None:
        """Allow *size* bytes at *address*, the start of a granule."""
        self.poison(address, size & -8, 0)
        at = self._at(address + (size & -8))
        if at >= 0 and size % 8:
            self.ram.mem[at] = size % 8

    def code(self, address: int) -> int:
        """Why *address* may not be touched: of a partial granule, what the next one says."""
        state, after = self.row(address, 2)
        return after if 0 < state < 8 else state

    def row(self, address: int, count: int) -> bytes:
        """*count* bytes of shadow from that of *address* on."""
        at = self._at(address)
        return bytes(self.ram.mem[at : at + count]) if at >= 0 else bytes(count)

    size = 1 << 64
    """As for `kmem.sanitizers.shadow.Shadow`: what addresses are below."""

    def frame_of(self, address: int) -> int:
        """``get_address_stack_frame_info()``: the start of the frame whose variable *address* is beside, or 0."""
        at = address & -8
        for _ in range(2048):
            if self.row(at, 1)[0] == STACK_LEFT:
                break
            at -= 8
        else:
            return 0
        while self.row(at - 8, 1)[0] == STACK_LEFT:
            at -= 8
        return at
