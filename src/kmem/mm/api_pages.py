"""Calls of `kmem.mm.api.Mm` that take or give many things: objects in bulk, exact pages, ranges of page frames."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP, VMEMMAP_START
from kmem.abi.gfp import GFP_KERNEL
from kmem.lib.cstruct import PRIVATE_SIZE
from kmem.machine.ram import Ram
from kmem.mm.binding import Core
from kmem.mm.mm_types import WORDS, private
from kmem.mm.mm_types import page as struct_page
from kmem.mm.view import View
from kmem.mm.vmstat import nr_free_pages

PAGE_SIZE = 4096
MIGRATE_MOVABLE = 1
_MASK = (1 << 64) - 1
_PERCPU_STATIC = 212992


class PageCalls:
    """What `Mm` inherits."""

    core: Core
    ram: Ram
    view: View

    def _here(self, caller: int = 0, gfp: int = 0) -> None:
        raise NotImplementedError

    @property
    def _words(self) -> ctypes.Array[ctypes.c_uint64]:
        """The array that a call takes or gives (``kmem_private.words``)."""
        at = self.ram.base - PRIVATE_SIZE + private.field("words").offset
        return (ctypes.c_uint64 * WORDS).from_address(at)

    # objects

    def kmem_cache_alloc_bulk(self, s: int, gfp: int, n: int) -> list[int]:
        """``int kmem_cache_alloc_bulk(struct kmem_cache *s, gfp_t flags, size_t size, void **p)``: all *n* objects, or
        an empty list. More than 8192 are taken in portions.
        """
        self._here(0, gfp)
        got: list[int] = []
        while len(got) < n:
            portion = min(n - len(got), WORDS)
            if self.core.k_kmem_cache_alloc_bulk(s, gfp, portion) != portion:
                self.kmem_cache_free_bulk(s, got)
                return []
            got += self._words[:portion]
        return got

    def kmem_cache_free_bulk(self, s: int, objects: Sequence[int]) -> None:
        """``void kmem_cache_free_bulk(struct kmem_cache *s, size_t size, void **p)``; *s* may be NULL. NULL pointers
        are allowed nowhere in *objects*.
        """
        self._here()
        left = len(objects)
        while left:
            portion = min(left, WORDS)
            left -= portion
            self._words[:portion] = list(objects[left : left + portion])
            self.core.k_kmem_cache_free_bulk(s, portion)

    def kfree_bulk(self, objects: Sequence[int]) -> None:
        """``void kfree_bulk(size_t size, void **p)``."""
        self.kmem_cache_free_bulk(0, objects)

    # pages

    def split_page(self, page: int, order: int) -> None:
        """``void split_page(struct page *page, unsigned int order)``."""
        self.core.k_split_page(page, order)

    def alloc_pages_exact(self, size: int, gfp: int = GFP_KERNEL, node: int = -1) -> int:
        """``void *alloc_pages_exact_nid(int nid, size_t size, gfp_t gfp_mask)``: no more pages than *size* needs."""
        self._here(0, gfp)
        return self.core.k_alloc_pages_exact(size, gfp, node)

    def alloc_pages_exact_nid(self, nid: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *alloc_pages_exact_nid(int nid, size_t size, gfp_t gfp_mask)``."""
        return self.alloc_pages_exact(size, gfp, nid)

    def free_pages_exact(self, virt: int, size: int) -> None:
        """``void free_pages_exact(void *virt, size_t size)``."""
        self._here()
        for addr in range(virt, virt + -(-size // PAGE_SIZE) * PAGE_SIZE, PAGE_SIZE):
            self.core.k_free_pages_addr(addr, 0)

    def alloc_pages_bulk(self, gfp: int, nr_pages: int, node: int = -1, nodes: int = -1) -> list[int]:
        """``unsigned long __alloc_pages_bulk(…)``: up to *nr_pages* ``struct page *``; at least one if memory is left.
        Bit *n* of *nodes* allows node *n*, -1 all.

        More than 8192 are never given at once.
        """
        self._here(0, gfp)
        got = self.core.k_alloc_pages_bulk(gfp, node, nodes, max(min(nr_pages, WORDS), 0))
        return list(self._words[:got])

    def page_ref_sub(self, page: int, count: int) -> bool:
        """``page_ref_sub_and_test()``: drop references; True if they were the last and the page was freed."""
        self._here()
        return bool(self.core.k_page_ref_sub(page, count))

    def get_page(self, page: int) -> None:
        """``void get_page(struct page *page)``: one more reference to the page or its compound page."""
        head = self._head(page)
        head._refcount = head._refcount + 1

    def put_page(self, page: int) -> None:
        """``void put_page(struct page *page)``: the page is freed with its last reference."""
        self.page_ref_sub(self.view.addr(self._head(page)), 1)

    def _head(self, page: int) -> Any:
        found = self.view.ptr(struct_page, page)
        head = found.compound_head
        return self.view.ptr(struct_page, head - 1) if head & 1 else found

    def is_free_buddy_page(self, page: int) -> bool:
        """``bool is_free_buddy_page(struct page *page)``."""
        return bool(self.core.k_is_free_buddy_page(page))

    # ranges of page frames

    def alloc_contig_range(
        self, start: int, end: int, migratetype: int = MIGRATE_MOVABLE, gfp: int = GFP_KERNEL
    ) -> int:
        """``int alloc_contig_range(unsigned long start, unsigned long end, unsigned migratetype, gfp_t gfp_mask)``:
        0, or a negative error.
        """
        self._here(0, gfp)
        return -self.core.k_alloc_contig_range(start, end, migratetype, gfp)

    def alloc_contig_pages(self, nr_pages: int, gfp: int = GFP_KERNEL, nid: int = 0) -> int:
        """``struct page *alloc_contig_pages(unsigned long nr_pages, gfp_t gfp_mask, int nid, nodemask_t *)``."""
        self._here(0, gfp)
        found = self.core.k_alloc_contig_pages(nr_pages, gfp, nid)
        return VMEMMAP_START + (found - 1) * 64 if found else 0

    def free_contig_range(self, pfn: int, nr_pages: int) -> None:
        """``void free_contig_range(unsigned long pfn, unsigned long nr_pages)``."""
        self._here()
        self.core.k_free_contig_range(pfn, nr_pages)

    # per-cpu addresses

    def per_cpu_ptr(self, ptr: int, cpu: int) -> int:
        """``per_cpu_ptr(ptr, cpu)``: the copy of one CPU."""
        return (ptr + self.view.per_cpu_offset(cpu)) & _MASK

    def is_kernel_percpu_address(self, addr: int) -> bool:
        """``bool is_kernel_percpu_address(unsigned long addr)``: in a static per-cpu variable of any CPU."""
        bases = (self.view.per_cpu_offset(cpu) & _MASK for cpu in range(self.view.kdata.nr_cpu_ids))
        return any(0 <= addr - base < _PERCPU_STATIC for base in bases)

    def per_cpu_ptr_to_phys(self, addr: int) -> int:
        """``phys_addr_t per_cpu_ptr_to_phys(void *addr)``."""
        return self.core.k_lookup(addr)

    def si_meminfo(self) -> tuple[int, int]:
        """``void si_meminfo(struct sysinfo *val)``: pages that are free, and pages that the allocators have in all."""
        return nr_free_pages(self.view), int(self.view.kdata.totalram_pages)

    # addresses

    def virt_addr_valid(self, kaddr: int) -> bool:
        """``bool virt_addr_valid(unsigned long kaddr)``: an address of the direct map or of the kernel image."""
        if START_KERNEL_MAP <= kaddr < START_KERNEL_MAP + (512 << 20):
            return kaddr - START_KERNEL_MAP < self.ram.size
        return PAGE_OFFSET <= kaddr < PAGE_OFFSET + self.ram.size

    def pfn_to_page(self, pfn: int) -> int:
        """``struct page *pfn_to_page(unsigned long pfn)``."""
        return VMEMMAP_START + pfn * 64

    def virt_to_head_page(self, x: int) -> int:
        """``struct page *virt_to_head_page(const void *x)``."""
        return self.view.addr(self._head(VMEMMAP_START + ((x - PAGE_OFFSET) >> 12) * 64))

    def page_address(self, page: int) -> int:
        """``void *page_address(const struct page *page)``."""
        return PAGE_OFFSET + ((page - VMEMMAP_START) // 64 << 12)
