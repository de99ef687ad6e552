"""What the invariant checks read: the array of ``struct page`` as columns, lists and words anywhere in RAM.

Nothing here uses the allocator's code. Every check scans all of memory, so that it does not repeat a mistake of the
bookkeeping.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from kmem.abi.address import PAGE_OFFSET, VMEMMAP_START
from kmem.abi.page_flags import PGTY_SLAB
from kmem.abi.release import release
from kmem.abi.slab_flags import slab_flags
from kmem.lib.cstruct import Field
from kmem.mm.mm_types import page
from kmem.mm.view import View

PAGE_SIZE = 4096
STRUCT_PAGE = page.size
NO_TYPE = 0xFFFFFFFF
_LINKS = struct.Struct("<QQ")
_WORD = struct.Struct("<Q")


class Violation(NamedTuple):
    """An invariant that does not hold: *slug* is its number (``B1`` … ``T6``), *message* says where and how."""

    slug: str
    message: str


class BrokenList(Exception):
    """A list whose links do not fit together; the message says where."""


class Memory:
    """One RAM, read as plain numbers."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.ram = view.ram
        self.k: Any = view.kdata
        self.page_flags = view.page_flags
        self.slab_flags = slab_flags(self.ram.release)
        self.features = release(self.ram.release).features
        self.last_pfn = self.ram.mem_map_size // STRUCT_PAGE
        start = self.ram.mem_map_phys
        self._map = self.ram.mem[start : start + self.ram.mem_map_size]
        self._arrays: dict[str, Any] = {}

    def column(self, member: str) -> list[int]:
        """The (unsigned) value of *member* of every ``struct page``, by pfn."""
        found: list[int] = self.array(member).tolist()
        return found

    def array(self, member: str) -> Any:
        """The same as an array of its own, made once."""
        made = self._arrays.get(member)
        if made is None:
            field: Field = self.view.struct(page).field(member)
            whole = np.frombuffer(self._map, f"<u{field.size}")
            made = self._arrays[member] = whole[field.offset // field.size :: STRUCT_PAGE // field.size].copy()
        return made

    @cached_property
    def flags(self) -> list[int]:
        """``page->flags``."""
        return self.column("flags")

    @cached_property
    def refcount(self) -> list[int]:
        """``page->_refcount``."""
        return self.column("_refcount")

    @cached_property
    def page_type(self) -> list[int]:
        """``page->page_type``, which shares its word with ``_mapcount``."""
        return self.column("page_type")

    @cached_property
    def typed(self) -> list[tuple[int, int]]:
        """(pfn, page_type) of every page that has a type: heads of free blocks, page tables."""
        kinds = self.array("page_type")
        at = np.flatnonzero((kinds != 0xFFFFFFFF) & (kinds != 0))
        return list(zip(at.tolist(), kinds[at].tolist(), strict=True))

    @cached_property
    def heads(self) -> list[tuple[int, int]]:
        """(pfn, flags) of every slab and of the first page of every compound page."""
        flags = self.array("flags")
        mask = 1 << self.page_flags.bit("PG_head")
        if self.page_flags.typed:
            at = np.flatnonzero((flags & mask != 0) | (self.array("page_type") >> 24 == PGTY_SLAB))
        else:
            at = np.flatnonzero(flags & (mask | 1 << self.page_flags.bit("PG_slab")))
        return list(zip(at.tolist(), flags[at].tolist(), strict=True))

    def is_slab(self, pfn: int) -> bool:
        """``PageSlab()``, of a head page."""
        return self.page_flags.is_slab(self.flags[pfn], self.page_type[pfn])

    @cached_property
    def orders(self) -> list[int]:
        """The order of every compound page, at the number of its first page; elsewhere anything."""
        second = self.column("flags") if "folio-order" in self.features else self.column("compound_order")
        return [order & 0xFF for order in [*second[1:], 0]]

    def flag_bytes(self, byte: int) -> bytes:
        """One byte of every page's flags."""
        found: bytes = (self.array("flags") >> np.uint64(8 * byte)).astype(np.uint8).tobytes()
        return found

    @cached_property
    def compound_head(self) -> list[int]:
        """``page->compound_head``: of a tail page the address of its head plus one."""
        return self.column("compound_head")

    def phys(self, addr: int) -> int:
        """Physical address behind a linear kernel address (unsigned); BrokenList if there is none."""
        found = self.ram.phys(addr - (1 << 64) if addr >> 63 else addr)
        if found is None:
            raise BrokenList(f"{addr:#x} is no address of RAM")
        return found

    def word(self, addr: int) -> int:
        """The 64-bit word at a linear address."""
        value: int = _WORD.unpack_from(self.ram.mem, self.phys(addr))[0]
        return value

    def links(self, head: int) -> list[int]:
        """Addresses of the entries of the list whose head is at *head*, each link checked in both directions."""
        found: list[int] = []
        before, at = head, _LINKS.unpack_from(self.ram.mem, self.phys(head))[0]
        while at != head:
            following, prev = _LINKS.unpack_from(self.ram.mem, self.phys(at))
            if prev != before:
                raise BrokenList(f"list {head:#x}: {at:#x} is behind {before:#x}, but its prev is {prev:#x}")
            found.append(at)
            if len(found) > self.last_pfn * 64:
                raise BrokenList(f"list {head:#x} does not end")
            before, at = at, following
        if _LINKS.unpack_from(self.ram.mem, self.phys(head))[1] != before:
            raise BrokenList(f"list {head:#x}: prev of the head is not its last entry")
        return found

    def pfn_of_page(self, addr: int) -> int:
        """``page_to_pfn()`` of an unsigned address; -1 if it is not that of a ``struct page``."""
        pfn, rest = divmod(addr - VMEMMAP_START, STRUCT_PAGE)
        return pfn if rest == 0 and 0 <= pfn < self.last_pfn else -1

    def bytes_at(self, addr: int, n: int) -> bytes:
        """*n* bytes at an address of the direct map."""
        at = addr - PAGE_OFFSET
        return bytes(self.ram.mem[at : at + n])

    def percpu(self, offset: int, cpu: int) -> int:
        """``per_cpu_ptr(offset, cpu)`` as an unsigned address."""
        base: int = getattr(self.k, "__per_cpu_offset")[cpu]
        return (offset + base) & ((1 << 64) - 1)
