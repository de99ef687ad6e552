"""The tree of physical addresses and who has claimed them (kernel/resource.c, include/linux/ioport.h; 6.1).

A ``struct resource`` is a range with a name; below it stand the ranges that it is divided into, as a list sorted by
address. A region that is claimed descends as far as it meets ranges that are not busy. Not on the path of any
allocation: plain Python over the structures in RAM.

Simplified: a muxed region that is taken is refused, where the kernel would wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kmem.abi.gfp import __GFP_ZERO as GFP_ZERO
from kmem.abi.gfp import GFP_KERNEL
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import resource

if TYPE_CHECKING:
    from kmem.mm.view import View

IORESOURCE_IO, IORESOURCE_MEM, IORESOURCE_TYPE_BITS = 0x100, 0x200, 0x1F00
IORESOURCE_EXT_TYPE_BITS, IORESOURCE_SYSRAM, IORESOURCE_BUSY = 0x01000000, 0x01000000, 0x80000000
IORESOURCE_SYSTEM_RAM = IORESOURCE_MEM | IORESOURCE_SYSRAM
IORESOURCE_EXCLUSIVE, IORESOURCE_MUXED = 0x08000000, 0x00400000
REGION_INTERSECTS, REGION_DISJOINT, REGION_MIXED = range(3)
MAX_IORES_LEVEL = 5
PAGE_SHIFT = 12


class Resources:
    """The resources of one machine. *kmalloc* and *kfree* are for those that are claimed later than at boot."""

    def __init__(
        self,
        view: View,
        kmalloc: Callable[[int, int], int],
        kfree: Callable[[int], None],
        printk: Callable[[int, str], None],
    ) -> None:
        self.view, self._kmalloc, self._kfree, self._printk = view, kmalloc, kfree, printk
        self.read_string: Callable[[int], str] = view.string

    @property
    def iomem(self) -> Any:
        """``iomem_resource``."""
        return self.view.kdata.iomem_resource

    @property
    def ioport(self) -> Any:
        """``ioport_resource``."""
        return self.view.kdata.ioport_resource

    def at(self, addr: int) -> Any:
        """``(struct resource *)addr``."""
        return self.view.ptr(resource, addr)

    def children(self, parent: Any) -> Iterator[Any]:
        """The list below *parent*."""
        child = parent.child
        while child:
            yield child
            child = child.sibling

    def walk(self, root: Any, depth: int = 0) -> Iterator[tuple[int, Any]]:
        """``for_each_resource()``: everything below *root*, with its depth."""
        for child in self.children(root):
            yield depth, child
            yield from self.walk(child, depth + 1)

    def insert(self, parent: Any, new: Any) -> Any:
        """``__request_resource()``: put *new* below *parent*; NULL, or what is in the way."""
        start, end = u64(new.start), u64(new.end)
        if end < start or start < u64(parent.start) or end > u64(parent.end):
            return parent
        before, child = None, parent.child
        while child and u64(child.start) <= end:
            if u64(child.end) >= start:
                return child
            before, child = child, child.sibling
        new.sibling = child
        if before is None:
            parent.child = new
        else:
            before.sibling = new
        new.parent = parent
        return self.at(0)

    def request_resource(self, root: int, new: int) -> int:
        """``int request_resource(struct resource *root, struct resource *new)``: 0 or -EBUSY."""
        return -16 if self.insert(self.at(root), self.at(new)) else 0

    def release_resource(self, old: int) -> int:
        """``int release_resource(struct resource *old)``: 0, or -EINVAL if it is not in its parent's list."""
        res = self.at(old)
        if not self._unlink(res.parent, res):
            return -22
        res.parent = self.at(0)
        return 0

    def _unlink(self, parent: Any, res: Any) -> bool:
        before = None
        for child in self.children(parent):
            if child == res:
                if before is None:
                    parent.child = res.sibling
                else:
                    before.sibling = res.sibling
                return True
            before = child
        return False

    def request_region(self, parent: int, start: int, n: int, name: int, flags: int) -> int:
        """``struct resource *__request_region(struct resource *parent, resource_size_t start, resource_size_t n, const
        char *name, int flags)``: NULL if a part is taken.
        """
        made = self._kmalloc(resource.among(self.view.ram.structs).size, GFP_KERNEL | GFP_ZERO)
        if not made:
            return 0
        res, root = self.at(made), self.at(parent)
        res.name, res.start, res.end = name, start, start + n - 1
        while True:
            res.flags = root.flags & (IORESOURCE_TYPE_BITS | IORESOURCE_EXT_TYPE_BITS) | IORESOURCE_BUSY | flags
            res.desc = root.desc
            conflict = self.insert(root, res)
            if not conflict:
                return made
            if conflict == root or conflict.flags & IORESOURCE_BUSY:
                self._kfree(made)
                return 0
            root = conflict

    def release_region(self, parent: int, start: int, n: int) -> None:
        """``void __release_region(struct resource *parent, resource_size_t start, resource_size_t n)``: what is not
        claimed exactly so is complained about.
        """
        end = start + n - 1
        above, child = self.at(parent), self.at(parent).child
        while child:
            if u64(child.start) <= start and u64(child.end) >= end:
                if not child.flags & IORESOURCE_BUSY:
                    above, child = child, child.child
                    continue
                if u64(child.start) != start or u64(child.end) != end:
                    break
                self._unlink(above, child)
                self._kfree(u64(child._addr))
                return
            child = child.sibling
        self._printk(4, f"Trying to free nonexistent resource <{start:#018x}-{end:#018x}>")

    def region_intersects(self, start: int, size: int, flags: int) -> int:
        """``int region_intersects(resource_size_t start, size_t size, unsigned long flags, unsigned long desc)``
        without a descriptor: whether a range lies in resources of a kind, beside them, or in both.
        """
        end, found, other = start + size - 1, 0, 0
        for res in self.children(self.iomem):
            first, last = max(u64(res.start), start), min(u64(res.end), end)
            if first > last:
                continue
            if res.flags & flags == flags:
                found += 1
                continue
            covered = False
            for _, inner in self.walk(res):
                if u64(inner.end) < start or u64(inner.start) > end or inner.flags & flags != flags:
                    continue
                found += 1
                if u64(inner.start) > first:
                    break
                if u64(inner.end) >= last:
                    covered = True
                    break
                first = max(first, u64(inner.end) + 1)
            other += not covered
        if not found:
            return REGION_DISJOINT
        return REGION_MIXED if other else REGION_INTERSECTS

    def ram(self, start: int, size: int) -> Iterator[tuple[int, int]]:
        """The parts of a range that are System RAM: start, end plus one."""
        for _, res in self.walk(self.iomem):
            if res.flags & IORESOURCE_SYSTEM_RAM == IORESOURCE_SYSTEM_RAM and res.parent == self.iomem:
                first, last = max(u64(res.start), start), min(u64(res.end) + 1, start + size)
                if first < last:
                    yield first, last

    def map_sanity_check(self, start: int, size: int) -> bool:
        """``iomem_map_sanity_check()``: False, and a complaint, if the pages of a mapping reach out of a resource that
        nobody has claimed.
        """
        end = start + size - 1
        for _, res in self.walk(self.iomem):
            first, last = u64(res.start), u64(res.end)
            if first > end or last < start or res.flags & IORESOURCE_BUSY:
                continue
            if first >> PAGE_SHIFT <= start >> PAGE_SHIFT and last >> PAGE_SHIFT >= end >> PAGE_SHIFT:
                continue
            name = self.read_string(u64(res.name))
            span = f"[mem {start:#018x}-{end:#018x}]"
            what = f"which spans more than {name} [mem {first:#010x}-{last:#010x}]"
            self._printk(4, f"resource sanity check: requesting {span}, {what}")
            return False
        return True
