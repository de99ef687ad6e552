"""Invariants of user memory, as full scans: areas, page tables, what pages know of their mappings, counters.

They are U1 … U5: P1, P2 and the accounts T1 for the lower half. That the emulated CPU sees what the tables say (P3),
and that unmapped memory faults (P6), is tested where there is a CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from kmem.abi.address import PAGE_OFFSET, TASK_SIZE_MAX
from kmem.abi.layout import enums
from kmem.lib.cstruct import u64
from kmem.mm import proc_maps
from kmem.mm.mm_types import mm_struct, page
from kmem.mm.proc_maps import MM_ANONPAGES, MM_FILEPAGES, get_mm_counter
from kmem.mm.validate_memory import BrokenList, Violation

if TYPE_CHECKING:
    from kmem.mm.validate_buddy import Buddy

PAGE = 4096
FRAME, PRESENT, PROTNONE, SPECIAL = 0x000FFFFFFFFFF000, 1, 1 << 8, 1 << 9
VM_WRITE, VM_SHARED, VM_ACCOUNT = 2, 8, 0x100000
HALF = 2048
_LRU = page.field("lru").offset


def is_table(page_type: int) -> bool:
    """``PageTable()``: a clear bit, or a value of the top byte."""
    return page_type == 0xFFFFFDFF or page_type >> 24 == 0xF2


class Leaf(NamedTuple):
    """One page that a process maps."""

    mm: int
    addr: int
    entry: int

    @property
    def pfn(self) -> int:
        """Its frame."""
        return (self.entry & FRAME) >> 12


class User:
    """All address spaces: those whose top table is on ``pgd_list``."""

    def __init__(self, buddy: Buddy) -> None:
        self.buddy, self.memory, self.view = buddy, buddy.memory, buddy.memory.view
        self.stat = enums(self.memory.ram.release)["node_stat_item"]
        self.problems: list[str] = []
        self.mms: list[int] = []
        self.tables: Counter[int] = Counter()
        """Pages of tables by frame, and how many entries lead to each."""
        self.low_tables: set[int] = set()
        """Those that are marked as tables: the two lower levels."""
        self.leaves: list[Leaf] = []
        head = self.view.kdata.pgd_list
        if not head.next:
            return  # there was no process yet
        try:
            links = self.memory.links(u64(head._addr))
        except BrokenList as error:
            self.problems.append(str(error))
            return
        for link in links:
            top = self.view.ptr(page, link - _LRU)
            mm = u64(top.index)
            self.mms.append(mm)
            self._walk(mm, self.view.pfn(top._addr) << 12, 3, 0)

    def _walk(self, mm: int, table: int, level: int, base: int) -> None:
        words = memoryview(self.memory.ram.mem)[table : table + (PAGE if level < 3 else HALF)].cast("Q")
        for index, entry in enumerate(words.tolist()):
            if not entry:
                continue
            addr = base + (index << (12 + 9 * level))
            if level == 0:
                self.leaves.append(Leaf(mm, addr, entry))
            elif entry & PRESENT and entry & FRAME < self.memory.ram.size:
                self.tables[entry >> 12 & 0xFFFFFFFFFF] += 1
                if level < 3:
                    self.low_tables.add(entry >> 12 & 0xFFFFFFFFFF)
                self._walk(mm, entry & FRAME, level - 1, addr)
            else:
                self.problems.append(f"mm {mm:#x}: an entry of level {level} is {entry:#x}")

    def areas(self, mm: int) -> list[Any]:
        """The areas of one address space."""
        return list(proc_maps.areas(self.view, mm))

    @cached_property
    def mappings(self) -> Counter[int]:
        """How often each frame is mapped by an entry that counts."""
        return Counter(leaf.pfn for leaf in self.leaves if not leaf.entry & SPECIAL)

    def anonymous(self, pfn: int) -> bool:
        """``PageAnon()``."""
        return bool(self.view.page(pfn).mapping & 1)


def u1(u: User) -> Iterator[Violation]:
    """Areas are sorted, disjoint, page aligned and below the top; ``map_count`` and the sums of pages are theirs."""
    for problem in u.problems:
        yield Violation("U1", problem)
    committed = 0
    for mm in u.mms:
        space, at = u.view.ptr(mm_struct, mm), 0
        sums = Counter[str]()
        areas = u.areas(mm)
        for vma in areas:
            if not at <= vma.vm_start < vma.vm_end <= TASK_SIZE_MAX or (vma.vm_start | vma.vm_end) % PAGE:
                yield Violation("U1", f"mm {mm:#x}: area {vma.vm_start:#x}-{vma.vm_end:#x} behind {at:#x}")
            at = vma.vm_end
            pages = (vma.vm_end - vma.vm_start) >> 12
            sums["total"] += pages
            committed += pages if vma.vm_flags & VM_ACCOUNT else 0
        if space.map_count != len(areas) or space.total_vm != sums["total"]:
            counted = f"{space.map_count} areas of {space.total_vm} pages"
            yield Violation("U1", f"mm {mm:#x}: counts {counted}, has {len(areas)} of {sums['total']}")
    if u.view.kdata.vm_committed_as != committed:
        yield Violation("U1", f"vm_committed_as {u.view.kdata.vm_committed_as}, areas have {committed}")


def u2(u: User) -> Iterator[Violation]:
    """A table has one parent and a page of its own, marked if it is of the lower levels; the bytes are counted; the
    kernel's half of every top table is the kernel's.
    """
    for pfn, parents in u.tables.items():
        marked = is_table(u.view.page(pfn).page_type)
        if parents != 1 or u.buddy.state[pfn] != ord(".") or marked != (pfn in u.low_tables):
            yield Violation("U2", f"table pfn {pfn}: {parents} parents, marked {marked}, {chr(u.buddy.state[pfn])!r}")
    swapper = u64(u.view.kdata.swapper_pg_dir) - PAGE_OFFSET
    kernel = bytes(u.memory.ram.mem[swapper + HALF : swapper + PAGE])
    total = 0
    for mm in u.mms:
        space = u.view.ptr(mm_struct, mm)
        total += space.pgtables_bytes
        top = u64(space.pgd) - PAGE_OFFSET
        if bytes(u.memory.ram.mem[top + HALF : top + PAGE]) != kernel:
            yield Violation("U2", f"mm {mm:#x}: the kernel's half differs from the kernel's own")
    if total != PAGE * len(u.tables):
        yield Violation("U2", f"pgtables_bytes add up to {total}, there are {len(u.tables)} tables")


def u3(u: User) -> Iterator[Violation]:
    """What is mapped lies in an area that allows it, and its page is somebody's."""
    for mm in u.mms:
        areas, at = u.areas(mm), 0
        for leaf in (leaf for leaf in u.leaves if leaf.mm == mm):
            while at < len(areas) and areas[at].vm_end <= leaf.addr:
                at += 1
            if at == len(areas) or not areas[at].vm_start <= leaf.addr:
                yield Violation("U3", f"mm {mm:#x}: {leaf.addr:#x} is mapped outside of all areas")
                continue
            flags = areas[at].vm_flags
            if leaf.entry & 2 and not flags & VM_WRITE:
                yield Violation("U3", f"mm {mm:#x}: {leaf.addr:#x} is writable, its area is not")
            if leaf.pfn < u.memory.last_pfn and chr(u.buddy.state[leaf.pfn]) in "fc":
                yield Violation("U3", f"mm {mm:#x}: {leaf.addr:#x} maps pfn {leaf.pfn}, which is free")


def u4(u: User) -> Iterator[Violation]:
    """``_mapcount`` is the number of entries that count; there is a reference for each; a page that may be written is
    mapped once unless shared.
    """
    for pfn, count in u.mappings.items():
        p = u.view.page(pfn)
        if p._mapcount + 1 != count or p._refcount < count:
            yield Violation("U4", f"pfn {pfn}: mapped {count} times, mapcount {p._mapcount}, refcount {p._refcount}")
    for leaf in u.leaves:
        private = not leaf.entry & SPECIAL and u.anonymous(leaf.pfn)
        if leaf.entry & 2 and private and u.mappings[leaf.pfn] > 1:
            vma = next(area for area in u.areas(leaf.mm) if area.vm_end > leaf.addr)
            if not vma.vm_flags & VM_SHARED:
                yield Violation("U4", f"{leaf.addr:#x}: pfn {leaf.pfn} is writable here and mapped elsewhere")


def u5(u: User) -> Iterator[Violation]:
    """``rss_stat`` of each address space, and the node's counts of mapped pages, are what is mapped."""
    for mm in u.mms:
        mine = [leaf.pfn for leaf in u.leaves if leaf.mm == mm and not leaf.entry & SPECIAL]
        anon = sum(u.anonymous(pfn) for pfn in mine)
        counted = get_mm_counter(u.view, mm, MM_ANONPAGES), get_mm_counter(u.view, mm, MM_FILEPAGES)
        if counted != (anon, len(mine) - anon):
            yield Violation("U5", f"mm {mm:#x}: rss {counted}, mapped {(anon, len(mine) - anon)}")
    anon = sum(u.anonymous(pfn) for pfn in u.mappings)
    stat = u.view.kdata.vm_node_stat
    counts = (stat[u.stat["NR_ANON_MAPPED"]], stat[u.stat["NR_FILE_MAPPED"]])
    if counts != (anon, len(u.mappings) - anon):
        yield Violation("U5", f"the node counts {counts} pages mapped, there are {(anon, len(u.mappings) - anon)}")


PREDICATES: tuple[Callable[[User], Iterator[Violation]], ...] = (u1, u2, u3, u4, u5)
