"""SLAB flags (include/linux/slab.h, mm/slab.h, mm/slub.c): their values in each release, and their printing.

Model code takes them from this module: there they are those of the release that it is compiled with
(`kmem.abi.release.MODEL`). Everything else asks `slab_flags` for those of the release at hand. A flag that a release
lacks, or that its configuration has no use for, is 0 there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from kmem.abi.flags import format_flags, parse_flags
from kmem.abi.release import MODEL
from kmem.abi.release import release as _release


class SlabFlags:
    """The flags of one release, and the masks that its mm makes of them."""

    def __init__(self, values: Mapping[str, int]) -> None:
        def value(name: str) -> int:
            return values.get(name, 0)

        self.SLAB_CONSISTENCY_CHECKS = value("SLAB_CONSISTENCY_CHECKS")
        self.SLAB_RED_ZONE = value("SLAB_RED_ZONE")
        self.SLAB_POISON = value("SLAB_POISON")
        self.SLAB_KMALLOC = value("SLAB_KMALLOC")
        self.SLAB_HWCACHE_ALIGN = value("SLAB_HWCACHE_ALIGN")
        self.SLAB_CACHE_DMA = value("SLAB_CACHE_DMA")
        self.SLAB_CACHE_DMA32 = value("SLAB_CACHE_DMA32")
        self.SLAB_STORE_USER = value("SLAB_STORE_USER")
        self.SLAB_RECLAIM_ACCOUNT = value("SLAB_RECLAIM_ACCOUNT")
        self.SLAB_PANIC = value("SLAB_PANIC")
        self.SLAB_TYPESAFE_BY_RCU = value("SLAB_TYPESAFE_BY_RCU")
        self.SLAB_MEM_SPREAD = value("SLAB_MEM_SPREAD")
        self.SLAB_TRACE = value("SLAB_TRACE")
        self.SLAB_NOLEAKTRACE = value("SLAB_NOLEAKTRACE")
        self.SLAB_NO_MERGE = value("SLAB_NO_MERGE")
        self.SLAB_ACCOUNT = value("SLAB_ACCOUNT")
        self.SLAB_NO_USER_FLAGS = value("SLAB_NO_USER_FLAGS")
        self.SLAB_SKIP_KFENCE = value("SLAB_SKIP_KFENCE")
        self.SLAB_NO_OBJ_EXT = value("SLAB_NO_OBJ_EXT")
        self.SLAB_DEBUG_OBJECTS = value("SLAB_DEBUG_OBJECTS")
        self.SLAB_FAILSLAB = value("SLAB_FAILSLAB")
        self.SLAB_KASAN = value("SLAB_KASAN")
        # Internal to mm/slub.c, where they are called __CMPXCHG_DOUBLE and __OBJECT_POISON.
        self.CMPXCHG_DOUBLE = value("__CMPXCHG_DOUBLE")
        self.OBJECT_POISON = value("__OBJECT_POISON")

        self.SLAB_CORE_FLAGS = (
            self.SLAB_HWCACHE_ALIGN
            | self.SLAB_CACHE_DMA
            | self.SLAB_CACHE_DMA32
            | self.SLAB_PANIC
            | self.SLAB_TYPESAFE_BY_RCU
        )
        self.DEBUG_METADATA_FLAGS = self.SLAB_RED_ZONE | self.SLAB_POISON | self.SLAB_STORE_USER
        self.DEBUG_DEFAULT_FLAGS = self.DEBUG_METADATA_FLAGS | self.SLAB_CONSISTENCY_CHECKS
        self.SLAB_DEBUG_FLAGS = self.DEBUG_DEFAULT_FLAGS | self.SLAB_TRACE
        self.SLAB_NO_CMPXCHG = self.SLAB_CONSISTENCY_CHECKS | self.SLAB_STORE_USER | self.SLAB_TRACE
        self.SLAB_CACHE_FLAGS = (
            self.SLAB_NOLEAKTRACE
            | self.SLAB_RECLAIM_ACCOUNT
            | self.SLAB_ACCOUNT
            | self.SLAB_NO_USER_FLAGS
            | self.SLAB_NO_MERGE
            | (self.SLAB_KMALLOC if self.SLAB_NO_MERGE else 0)
        )
        self.CACHE_CREATE_MASK = self.SLAB_CORE_FLAGS | self.SLAB_DEBUG_FLAGS | self.SLAB_CACHE_FLAGS
        self.SLAB_FLAGS_PERMITTED = self.CACHE_CREATE_MASK | self.SLAB_MEM_SPREAD
        self.SLAB_NEVER_MERGE = (
            self.DEBUG_METADATA_FLAGS
            | self.SLAB_TRACE
            | self.SLAB_TYPESAFE_BY_RCU
            | self.SLAB_NOLEAKTRACE
            | self.SLAB_NO_MERGE
        )
        self.SLAB_MERGE_SAME = (
            self.SLAB_RECLAIM_ACCOUNT | self.SLAB_CACHE_DMA | self.SLAB_CACHE_DMA32 | self.SLAB_ACCOUNT
        )
        # The letters of the slub_debug= boot parameter (Documentation/mm/slub.rst); "-" switches all off.
        self.SLUB_DEBUG_LETTERS = {
            "f": self.SLAB_CONSISTENCY_CHECKS,
            "z": self.SLAB_RED_ZONE,
            "p": self.SLAB_POISON,
            "u": self.SLAB_STORE_USER,
            "t": self.SLAB_TRACE,
            "a": self.SLAB_FAILSLAB,
        }


@cache
def slab_flags(release: str) -> SlabFlags:
    """The flags of *release* ("6.12"). Raises UsageError for a release that is not modelled."""
    return SlabFlags(_release(release).slab_flags)


_model = slab_flags(MODEL)
SLAB_CONSISTENCY_CHECKS = _model.SLAB_CONSISTENCY_CHECKS
SLAB_RED_ZONE = _model.SLAB_RED_ZONE
SLAB_POISON = _model.SLAB_POISON
SLAB_KMALLOC = _model.SLAB_KMALLOC
SLAB_HWCACHE_ALIGN = _model.SLAB_HWCACHE_ALIGN
SLAB_CACHE_DMA = _model.SLAB_CACHE_DMA
SLAB_CACHE_DMA32 = _model.SLAB_CACHE_DMA32
SLAB_STORE_USER = _model.SLAB_STORE_USER
SLAB_RECLAIM_ACCOUNT = _model.SLAB_RECLAIM_ACCOUNT
SLAB_PANIC = _model.SLAB_PANIC
SLAB_TYPESAFE_BY_RCU = _model.SLAB_TYPESAFE_BY_RCU
SLAB_MEM_SPREAD = _model.SLAB_MEM_SPREAD
SLAB_TRACE = _model.SLAB_TRACE
SLAB_NOLEAKTRACE = _model.SLAB_NOLEAKTRACE
SLAB_NO_MERGE = _model.SLAB_NO_MERGE
SLAB_ACCOUNT = _model.SLAB_ACCOUNT
SLAB_NO_USER_FLAGS = _model.SLAB_NO_USER_FLAGS
SLAB_SKIP_KFENCE = _model.SLAB_SKIP_KFENCE
SLAB_NO_OBJ_EXT = _model.SLAB_NO_OBJ_EXT
SLAB_DEBUG_OBJECTS = _model.SLAB_DEBUG_OBJECTS
SLAB_FAILSLAB = _model.SLAB_FAILSLAB
SLAB_KASAN = _model.SLAB_KASAN
CMPXCHG_DOUBLE = _model.CMPXCHG_DOUBLE
OBJECT_POISON = _model.OBJECT_POISON
SLAB_CORE_FLAGS = _model.SLAB_CORE_FLAGS
SLAB_DEBUG_FLAGS = _model.SLAB_DEBUG_FLAGS
SLAB_CACHE_FLAGS = _model.SLAB_CACHE_FLAGS
CACHE_CREATE_MASK = _model.CACHE_CREATE_MASK
SLAB_FLAGS_PERMITTED = _model.SLAB_FLAGS_PERMITTED
SLAB_NEVER_MERGE = _model.SLAB_NEVER_MERGE
SLAB_MERGE_SAME = _model.SLAB_MERGE_SAME
DEBUG_DEFAULT_FLAGS = _model.DEBUG_DEFAULT_FLAGS
DEBUG_METADATA_FLAGS = _model.DEBUG_METADATA_FLAGS
SLAB_NO_CMPXCHG = _model.SLAB_NO_CMPXCHG
SLUB_DEBUG_LETTERS = _model.SLUB_DEBUG_LETTERS


def decode(mask: int, release: str = "6.1") -> str:
    """The names, lowest bit first: "SLAB_HWCACHE_ALIGN|SLAB_PANIC"; "none" for 0. 6.1 has no format of its own."""
    return format_flags(mask, _release(release).slab_flags) or "none"


def parse(text: str, release: str = "6.1") -> int:
    """The value of "SLAB_POISON|SLAB_RED_ZONE" in `release`. Raises UsageError for a name that it does not have."""
    return parse_flags(text, _release(release).slab_flags)
