"""Invariants P3 … P5 of the page tables, and S13 of the caches, as full scans."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator

from kmem.abi.address import PAGE_OFFSET
from kmem.lib.cstruct import u64
from kmem.machine.fault import AccessFault
from kmem.machine.paging import AddressSpace
from kmem.mm.validate_memory import PAGE_SIZE, Violation
from kmem.mm.validate_vmalloc import FRAME, PRESENT, PSE, RANGES, Leaf, Vmap
from kmem.mm.view import View

RW, NX = 1 << 1, 1 << 63
HALF = 1 << 47
TOP = (1 << 64) - PAGE_SIZE


def table_frames(view: View) -> set[int]:
    """Page frames of all page tables."""
    found: set[int] = set()
    below = [(u64(view.kdata.swapper_pg_dir) - PAGE_OFFSET, 3)]
    while below:
        table, level = below.pop()
        if table >> 12 in found or table + PAGE_SIZE > view.ram.size:
            continue
        found.add(table >> 12)
        if level:
            entries = struct.unpack_from("<512Q", view.ram.mem, table)
            below += [(entry & FRAME, level - 1) for entry in entries if entry & (PRESENT | PSE) == PRESENT]
    return found


def p3(v: Vmap) -> Iterator[Violation]:
    """The walker that the CPU's Python side uses and the tables read as a whole agree, at the first and last byte of
    every mapping and on both sides of it.
    """
    leaves = sorted(v.leaves)
    starts = [leaf.addr for leaf in leaves]
    space = AddressSpace(v.memory.ram, u64(v.memory.k.swapper_pg_dir) - PAGE_OFFSET)
    for leaf in leaves:
        if leaf.phys + leaf.size > v.memory.ram.size:
            continue  # a device's memory: the walker refuses it
        for addr in (leaf.addr - 1, leaf.addr, leaf.addr + leaf.size - 1, leaf.addr + leaf.size):
            if not HALF <= addr <= TOP:
                continue
            expected = _by_leaf(leaves, starts, addr)
            found = _walked(space, addr)
            if found != expected and (expected is None or expected < v.memory.ram.size):
                yield Violation("P3", f"{addr:#x} leads to {_hex(expected)}, the walker finds {_hex(found)}")


def _hex(phys: int | None) -> str:
    return "nowhere" if phys is None else f"{phys:#x}"


def _by_leaf(leaves: list[Leaf], starts: list[int], addr: int) -> int | None:
    index = bisect_right(starts, addr) - 1
    leaf = leaves[index] if index >= 0 else None
    return leaf.phys + addr - leaf.addr if leaf and addr < leaf.addr + leaf.size else None


def _walked(space: AddressSpace, addr: int) -> int | None:
    try:
        return space.translate(addr)
    except AccessFault:
        return None


def p4(v: Vmap) -> Iterator[Violation]:
    """Nothing can be both written and executed; the direct map cannot be executed; there is no user half."""
    for leaf in v.leaves:
        if leaf.entry & RW and not leaf.entry & NX:
            yield Violation("P4", f"{leaf.addr:#x} can be written and executed: entry {leaf.entry:#x}")
        if PAGE_OFFSET <= leaf.addr < PAGE_OFFSET + v.memory.ram.size and not leaf.entry & NX:
            yield Violation("P4", f"direct map: {leaf.addr:#x} can be executed")
        if leaf.addr < HALF:
            yield Violation("P4", f"{leaf.addr:#x} of the user half is mapped in the kernel's own tables")


def p5(v: Vmap) -> Iterator[Violation]:
    """A huge mapping is aligned, virtually and physically, and each of its 4 KiB pages leads where it should."""
    space = AddressSpace(v.memory.ram, u64(v.memory.k.swapper_pg_dir) - PAGE_OFFSET)
    for leaf in v.leaves:
        if leaf.size == PAGE_SIZE:
            continue
        if leaf.addr % leaf.size or leaf.entry & 0x000FFFFFFFFFE000 & (leaf.size - 1):
            yield Violation("P5", f"the mapping of {leaf.size} bytes at {leaf.addr:#x} is misaligned")
        inside = any(first <= leaf.addr < last for first, last in RANGES)
        step = PAGE_SIZE if inside else leaf.size // 2
        for at in range(0, leaf.size if leaf.phys + leaf.size <= v.memory.ram.size else 0, step):
            if _walked(space, leaf.addr + at) != leaf.phys + at:
                yield Violation("P5", f"{leaf.addr + at:#x}, inside a huge mapping, does not lead to its page")
                break


def s13(v: Vmap) -> Iterator[Violation]:
    """Only a cache that may be merged has aliases; only those of the boot can have none ever."""
    for cache in v.slub.caches.values():
        s = cache.s
        alone = cache.flags & cache.f.SLAB_NEVER_MERGE or s.ctor or s.usersize or v.memory.k.slab_nomerge
        if s.refcount == 0 or s.refcount < -1 or (s.refcount > 1 and alone):
            yield Violation("S13", f"{cache.name}: {s.refcount} references of a cache with flags {cache.flags:#x}")


PREDICATES: tuple[Callable[[Vmap], Iterator[Violation]], ...] = (p3, p4, p5, s13)
