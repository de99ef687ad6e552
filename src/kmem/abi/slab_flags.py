"""SLAB flags of release 6.1 (include/linux/slab.h, mm/slab.h, mm/slub.c), and their printing.

The bits of options that Debian's configuration lacks (failslab, KASAN, KFENCE, debug objects) have their value here;
a kernel without the option uses 0 for them, and the composite masks are those of such a kernel.
"""

from __future__ import annotations

from kmem.abi.flags import format_flags, parse_flags
from kmem.abi.release import release as _release

SLAB_CONSISTENCY_CHECKS = 0x100
SLAB_RED_ZONE = 0x400
SLAB_POISON = 0x800
SLAB_KMALLOC = 0x1000
SLAB_HWCACHE_ALIGN = 0x2000
SLAB_CACHE_DMA = 0x4000
SLAB_CACHE_DMA32 = 0x8000
SLAB_STORE_USER = 0x10000
SLAB_RECLAIM_ACCOUNT = 0x20000
SLAB_PANIC = 0x40000
SLAB_TYPESAFE_BY_RCU = 0x80000
SLAB_MEM_SPREAD = 0x100000
SLAB_TRACE = 0x200000
SLAB_DEBUG_OBJECTS = 0x400000
SLAB_NOLEAKTRACE = 0x800000
SLAB_FAILSLAB = 0x2000000
SLAB_ACCOUNT = 0x4000000
SLAB_KASAN = 0x8000000
SLAB_NO_USER_FLAGS = 0x10000000
SLAB_SKIP_KFENCE = 0x20000000
# Internal to mm/slub.c, where they are called __CMPXCHG_DOUBLE and __OBJECT_POISON.
CMPXCHG_DOUBLE = 0x40000000
OBJECT_POISON = 0x80000000

SLAB_TEMPORARY = SLAB_RECLAIM_ACCOUNT

SLAB_CORE_FLAGS = SLAB_HWCACHE_ALIGN | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_PANIC | SLAB_TYPESAFE_BY_RCU
SLAB_DEBUG_FLAGS = SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER | SLAB_TRACE | SLAB_CONSISTENCY_CHECKS
SLAB_CACHE_FLAGS = SLAB_NOLEAKTRACE | SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT | SLAB_NO_USER_FLAGS
CACHE_CREATE_MASK = SLAB_CORE_FLAGS | SLAB_DEBUG_FLAGS | SLAB_CACHE_FLAGS
SLAB_FLAGS_PERMITTED = CACHE_CREATE_MASK | SLAB_MEM_SPREAD
SLAB_NEVER_MERGE = SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER | SLAB_TRACE | SLAB_TYPESAFE_BY_RCU | SLAB_NOLEAKTRACE
SLAB_MERGE_SAME = SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_ACCOUNT
DEBUG_DEFAULT_FLAGS = SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER
DEBUG_METADATA_FLAGS = SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER
SLAB_NO_CMPXCHG = SLAB_CONSISTENCY_CHECKS | SLAB_STORE_USER | SLAB_TRACE

# The letters of the slub_debug= boot parameter (Documentation/mm/slub.rst); "-" switches all off.
SLUB_DEBUG_LETTERS = {
    "f": SLAB_CONSISTENCY_CHECKS,
    "z": SLAB_RED_ZONE,
    "p": SLAB_POISON,
    "u": SLAB_STORE_USER,
    "t": SLAB_TRACE,
    "a": SLAB_FAILSLAB,
}


def decode(mask: int, release: str = "6.1") -> str:
    """The names, lowest bit first: "SLAB_HWCACHE_ALIGN|SLAB_PANIC"; "none" for 0. 6.1 has no format of its own."""
    return format_flags(mask, _release(release).slab_flags) or "none"


def parse(text: str, release: str = "6.1") -> int:
    """The value of "SLAB_POISON|SLAB_RED_ZONE" in `release`. Raises UsageError for a name that it does not have."""
    return parse_flags(text, _release(release).slab_flags)
