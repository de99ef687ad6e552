"""GFP flags: the constants of release 6.1 (include/linux/gfp_types.h), and their printing for any modelled release.

The bits move between releases. Code that models one release uses the constants; code that reads a number from a log
uses `decode` with the release that the log came from, whose table is in ``releases/<release>.flags.json``.

Inside a class body Python mangles names that begin with two underscores. ``gfp.__GFP_ZERO`` works there all the same;
a bare ``__GFP_ZERO`` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmem.abi.flags import flag_names, format_flags, parse_flags

__GFP_DMA = 0x01
__GFP_HIGHMEM = 0x02
__GFP_DMA32 = 0x04
__GFP_MOVABLE = 0x08
__GFP_RECLAIMABLE = 0x10
__GFP_HIGH = 0x20
__GFP_IO = 0x40
__GFP_FS = 0x80
__GFP_ZERO = 0x100
__GFP_ATOMIC = 0x200
__GFP_DIRECT_RECLAIM = 0x400
__GFP_KSWAPD_RECLAIM = 0x800
__GFP_WRITE = 0x1000
__GFP_NOWARN = 0x2000
__GFP_RETRY_MAYFAIL = 0x4000
__GFP_NOFAIL = 0x8000
__GFP_NORETRY = 0x10000
__GFP_MEMALLOC = 0x20000
__GFP_COMP = 0x40000
__GFP_NOMEMALLOC = 0x80000
__GFP_HARDWALL = 0x100000
__GFP_THISNODE = 0x200000
__GFP_ACCOUNT = 0x400000
__GFP_ZEROTAGS = 0x800000

__GFP_RECLAIM = __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM
# 27 bits: the three of CONFIG_KASAN_HW_TAGS are counted, that of CONFIG_LOCKDEP is not.
__GFP_BITS_SHIFT = 27
__GFP_BITS_MASK = (1 << __GFP_BITS_SHIFT) - 1

GFP_ATOMIC = __GFP_HIGH | __GFP_ATOMIC | __GFP_KSWAPD_RECLAIM
GFP_KERNEL = __GFP_RECLAIM | __GFP_IO | __GFP_FS
GFP_KERNEL_ACCOUNT = GFP_KERNEL | __GFP_ACCOUNT
GFP_NOWAIT = __GFP_KSWAPD_RECLAIM
GFP_NOIO = __GFP_RECLAIM
GFP_NOFS = __GFP_RECLAIM | __GFP_IO
GFP_USER = GFP_KERNEL | __GFP_HARDWALL
GFP_DMA = __GFP_DMA
GFP_DMA32 = __GFP_DMA32
GFP_HIGHUSER = GFP_USER | __GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | __GFP_MOVABLE
GFP_TRANSHUGE_LIGHT = (GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOMEMALLOC | __GFP_NOWARN) & ~__GFP_RECLAIM
GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM

# include/linux/gfp.h, mm/internal.h
GFP_ZONEMASK = __GFP_DMA | __GFP_HIGHMEM | __GFP_DMA32 | __GFP_MOVABLE
GFP_MOVABLE_MASK = __GFP_RECLAIMABLE | __GFP_MOVABLE
GFP_MOVABLE_SHIFT = 3
GFP_RECLAIM_MASK = (
    __GFP_RECLAIM
    | __GFP_HIGH
    | __GFP_IO
    | __GFP_FS
    | __GFP_NOWARN
    | __GFP_RETRY_MAYFAIL
    | __GFP_NOFAIL
    | __GFP_NORETRY
    | __GFP_MEMALLOC
    | __GFP_NOMEMALLOC
    | __GFP_ATOMIC
)
GFP_BOOT_MASK = __GFP_BITS_MASK & ~(__GFP_RECLAIM | __GFP_IO | __GFP_FS)
GFP_CONSTRAINT_MASK = __GFP_HARDWALL | __GFP_THISNODE
GFP_SLAB_BUG_MASK = __GFP_DMA32 | __GFP_HIGHMEM | (~__GFP_BITS_MASK & 0xFFFFFFFF)


def decode(mask: int, release: str = "6.1") -> str:
    """``show_gfp_flags``: "GFP_KERNEL|__GFP_ZERO", or "none" when no bit is set (include/trace/events/mmflags.h)."""
    return pgg(mask, release) or "none"


def pgg(mask: int, release: str = "6.1") -> str:
    """What printk's ``%pGg`` prints: as `decode`, but the empty string when no bit is set (lib/vsprintf.c)."""
    return format_flags(mask, flag_names("gfp", release))


def parse(text: str, release: str = "6.1") -> int:
    """The value of "GFP_KERNEL|__GFP_ZERO" in `release`. Raises UsageError for a name that it does not have."""
    return parse_flags(text, flag_names("gfp", release))


if not TYPE_CHECKING:

    def __getattr__(name: str) -> int:
        """Undoes the mangling of ``gfp.__GFP_ZERO`` into ``gfp._SomeClass__GFP_ZERO``."""
        _, mangled, bare = name.partition("__GFP_")
        value = globals().get(mangled + bare)
        if value is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return value
