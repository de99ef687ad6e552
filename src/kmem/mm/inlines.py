"""What C has as inline functions and macros, for Python: `kmem.mm.api.Mm` inherits it.

A module carries these in its own code; here they are the same few lines around the calls that are exported
(include/linux/slab.h, gfp.h, mm.h; 6.1).
"""

from __future__ import annotations

from kmem.abi import gfp as _gfp
from kmem.abi.gfp import __GFP_COMP as GFP_COMP
from kmem.abi.gfp import __GFP_DMA as GFP_DMA
from kmem.abi.gfp import __GFP_ZERO as ZERO
from kmem.abi.gfp import GFP_KERNEL
from kmem.abi.release import release
from kmem.mm.config import BootConfig

SIZE_MAX = (1 << 64) - 1
PAGE_SIZE = 4096
ZERO_SIZE_PTR = 16
KMALLOC_MAX_CACHE_SIZE = 8192


class Inlines:
    """The exported calls are those of `Mm`."""

    config: BootConfig

    def kmalloc(self, size: int, gfp: int = GFP_KERNEL, node: int = -1, caller: int = 0) -> int:
        raise NotImplementedError

    def kfree(self, p: int) -> None:
        raise NotImplementedError

    def ksize(self, p: int) -> int:
        raise NotImplementedError

    def krealloc(self, p: int, size: int, gfp: int = GFP_KERNEL) -> int:
        raise NotImplementedError

    def kvmalloc(self, size: int, gfp: int = GFP_KERNEL, node: int = -1) -> int:
        raise NotImplementedError

    def kmem_cache_alloc(self, s: int, gfp: int = GFP_KERNEL, node: int = -1) -> int:
        raise NotImplementedError

    def alloc_pages(self, gfp: int, order: int, node: int = -1) -> int:
        raise NotImplementedError

    def get_free_pages(self, gfp: int, order: int) -> int:
        raise NotImplementedError

    def free_pages_addr(self, addr: int, order: int) -> None:
        raise NotImplementedError

    # kmalloc

    def kzalloc(self, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *kzalloc(size_t size, gfp_t flags)``."""
        return self.kmalloc(size, gfp | ZERO)

    def kmalloc_node(self, size: int, gfp: int, node: int) -> int:
        """``void *kmalloc_node(size_t size, gfp_t flags, int node)``."""
        return self.kmalloc(size, gfp, node)

    def kzalloc_node(self, size: int, gfp: int, node: int) -> int:
        """``void *kzalloc_node(size_t size, gfp_t flags, int node)``."""
        return self.kmalloc(size, gfp | ZERO, node)

    def kmalloc_array(self, n: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *kmalloc_array(size_t n, size_t size, gfp_t flags)``: NULL if the product does not fit size_t."""
        return 0 if n * size > SIZE_MAX else self.kmalloc(n * size, gfp)

    def kcalloc(self, n: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *kcalloc(size_t n, size_t size, gfp_t flags)``: NULL if the product does not fit size_t."""
        return self.kmalloc_array(n, size, gfp | ZERO)

    def kmalloc_array_node(self, n: int, size: int, gfp: int, node: int) -> int:
        """``void *kmalloc_array_node(size_t n, size_t size, gfp_t flags, int node)``."""
        return 0 if n * size > SIZE_MAX else self.kmalloc(n * size, gfp, node)

    def kcalloc_node(self, n: int, size: int, gfp: int, node: int) -> int:
        """``void *kcalloc_node(size_t n, size_t size, gfp_t flags, int node)``."""
        return self.kmalloc_array_node(n, size, gfp | ZERO, node)

    def krealloc_array(self, p: int, n: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *krealloc_array(void *p, size_t new_n, size_t new_size, gfp_t flags)``: NULL, and *p* stays, if the
        product does not fit size_t.
        """
        return 0 if n * size > SIZE_MAX else self.krealloc(p, n * size, gfp)

    def kmalloc_track_caller(self, size: int, gfp: int = GFP_KERNEL, caller: int = 0) -> int:
        """``void *kmalloc_track_caller(size_t size, gfp_t flags)``: charged to *caller*."""
        return self.kmalloc(size, gfp, -1, caller)

    def kmalloc_size_roundup(self, size: int) -> int:
        """``size_t kmalloc_size_roundup(size_t size)``: what kmalloc(*size*) would really give."""
        if size in (0, SIZE_MAX):
            return size
        if size > KMALLOC_MAX_CACHE_SIZE:
            return max(PAGE_SIZE, 1 << (size - 1).bit_length()) & SIZE_MAX
        return min(bucket for bucket in release(self.config.release).kmalloc_sizes if bucket >= size)

    # kvmalloc

    def kvzalloc(self, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *kvzalloc(size_t size, gfp_t flags)``."""
        return self.kvmalloc(size, gfp | ZERO)

    def kvmalloc_node(self, size: int, gfp: int, node: int) -> int:
        """``void *kvmalloc_node(size_t size, gfp_t flags, int node)``."""
        return self.kvmalloc(size, gfp, node)

    def kvzalloc_node(self, size: int, gfp: int, node: int) -> int:
        """``void *kvzalloc_node(size_t size, gfp_t flags, int node)``."""
        return self.kvmalloc(size, gfp | ZERO, node)

    def kvmalloc_array(self, n: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *kvmalloc_array(size_t n, size_t size, gfp_t flags)``: NULL if the product does not fit size_t."""
        return 0 if n * size > SIZE_MAX else self.kvmalloc(n * size, gfp)

    def kvcalloc(self, n: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *kvcalloc(size_t n, size_t size, gfp_t flags)``."""
        return self.kvmalloc_array(n, size, gfp | ZERO)

    # caches

    def kmem_cache_zalloc(self, s: int, gfp: int = GFP_KERNEL) -> int:
        """``void *kmem_cache_zalloc(struct kmem_cache *k, gfp_t flags)``."""
        return self.kmem_cache_alloc(s, gfp | ZERO)

    def kmem_cache_alloc_node(self, s: int, gfp: int, node: int) -> int:
        """``void *kmem_cache_alloc_node(struct kmem_cache *s, gfp_t gfpflags, int node)``."""
        return self.kmem_cache_alloc(s, gfp, node)

    # pages

    def alloc_page(self, gfp: int = GFP_KERNEL) -> int:
        """``struct page *alloc_page(gfp_t gfp_mask)``."""
        return self.alloc_pages(gfp, 0)

    def alloc_pages_node(self, nid: int, gfp: int, order: int) -> int:
        """``struct page *alloc_pages_node(int nid, gfp_t gfp_mask, unsigned int order)``."""
        return self.alloc_pages(gfp, order, nid)

    def folio_alloc(self, gfp: int, order: int) -> int:
        """``struct folio *folio_alloc(gfp_t gfp, unsigned int order)``: a compound page."""
        return self.alloc_pages(gfp | GFP_COMP, order)

    def get_zeroed_page(self, gfp: int = GFP_KERNEL) -> int:
        """``unsigned long get_zeroed_page(gfp_t gfp_mask)``."""
        return self.get_free_pages(gfp | ZERO, 0)

    def get_dma_pages(self, gfp: int, order: int) -> int:
        """``unsigned long __get_dma_pages(gfp_t gfp_mask, unsigned int order)``: below 16 MiB."""
        return self.get_free_pages(gfp | GFP_DMA, order)

    def get_free_page(self, gfp: int = GFP_KERNEL) -> int:
        """``unsigned long __get_free_page(gfp_t gfp_mask)``."""
        return self.get_free_pages(gfp, 0)

    def free_page(self, addr: int) -> None:
        """``void free_page(unsigned long addr)``."""
        self.free_pages_addr(addr, 0)

    def gfpflags_allow_blocking(self, gfp: int) -> bool:
        """``bool gfpflags_allow_blocking(const gfp_t gfp_flags)``."""
        return gfp & _gfp.__GFP_DIRECT_RECLAIM != 0
