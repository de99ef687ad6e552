"""What the release that model code is compiled with does: its features as constants, so that the compiler drops the
other branch.

The names and the commits that brought them are in ``abi/releases/*.toml``. Code outside the model asks the release of
the boot (`kmem.abi.release.Release.features`).
"""

from __future__ import annotations

from kmem.abi.layout import enums
from kmem.abi.release import MODEL, release

_release = release(MODEL)
_features = _release.features

PAGE_TYPE_BYTE = "page-type-byte" in _features
"""A page has one type, in the top byte of ``page_type``; PageSlab is one."""
PAGE_CHECKS = "page-checks" in _features
"""Every page is checked when it is freed and when it is allocated."""
FOLIO_ORDER = "folio-order" in _features
"""The order of a compound page is in the low byte of its first tail page's flags."""
PCP_HIGH_AUTO = "pcp-high-auto" in _features
"""How many pages a CPU keeps follows what it allocates and frees, between ``high_min`` and ``high_max``."""
PAGE_BLOCK_EXACT = "page-block-exact" in _features
"""A free block is always on the list of its page block's migrate type, and counted by it."""
GFP_ATOMIC_BIT = "gfp-atomic-bit" in _features
HIGHATOMIC_MINIMUM = "highatomic-minimum" in _features
"""A zone whose hundredth is less than a page block reserves none for high-order atomic requests."""

SLUB_PARTIAL_NOT_FROZEN = "slub-partial-not-frozen" in _features
"""Slabs on a CPU's partial list are not frozen; those on a node's list bear PG_workingset."""
SLUB_ORDER_BY_FRACTION = "slub-order-by-fraction" in _features
"""``calculate_order()`` tries every fraction for one number of objects, down to a half, then takes one object's."""
SLUB_ORIG_SIZE_LONG = "slub-orig-size-long" in _features
"""slub_debug checks what kmalloc gives beyond the size that was asked for."""
SLAB_ALWAYS_COMPOUND = "slab-always-compound" in _features
KMALLOC_NO_MERGE = "kmalloc-no-merge" in _features
"""Ordinary kmalloc caches are marked SLAB_NO_MERGE, where they had a reference count of -1."""
KMALLOC_ALIGN_DIVISOR = "kmalloc-align-divisor" in _features
"""Objects of kmalloc are aligned to the largest power of two that divides their size."""
KMALLOC_ODD_SIZES_FIRST = "kmalloc-odd-sizes-first" in _features
"""kmalloc-96 and kmalloc-192 are created before the powers of two."""
SLAB_BUCKETS = "slab-buckets" in _features
VM_REQUESTED_SIZE = "vm-requested-size" in _features
"""A vmalloc area knows how many bytes were asked for."""
VMAP_NODES = "vmap-nodes" in _features
"""Busy and freed vmap areas are kept by node, each node for a part of the address space."""

_types = enums(MODEL)["kmalloc_cache_type"]
KMALLOC_NORMAL, KMALLOC_CGROUP = _types["KMALLOC_NORMAL"], _types["KMALLOC_CGROUP"]
KMALLOC_RECLAIM, KMALLOC_DMA = _types["KMALLOC_RECLAIM"], _types["KMALLOC_DMA"]
KMALLOC_ALIASES = _types.get("KMALLOC_NO_OBJ_EXT", _types["NR_KMALLOC_TYPES"])
"""The kmalloc types from here on share the caches of KMALLOC_NORMAL."""
NR_KMALLOC_TYPES = _types["NR_KMALLOC_TYPES"]
PAGE_FLAG = enums(MODEL)["pageflags"]
NODE_STAT = enums(MODEL)["node_stat_item"]
BLOCK_ORDER: int = _release.constants["pageblock_order"]
PERCPU_STATIC = _release.constants["PERCPU_STATIC"]
