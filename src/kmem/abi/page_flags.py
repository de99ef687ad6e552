"""Page flags of release 6.1 (enum pageflags, include/linux/page-flags.h), and their printing as ``%pGp``.

``page->flags`` holds the flag bits below and, in the upper bits, fields: node, zone and last CPU. Where the fields lie
depends on the configuration; their shifts and widths are in ``releases/<release>.toml``.
"""

from __future__ import annotations

from functools import cache

from kmem.abi.flags import flag_names, format_flags
from kmem.abi.layout import enums
from kmem.abi.release import release as _release

PG_locked = 0
PG_referenced = 1
PG_uptodate = 2
PG_dirty = 3
PG_lru = 4
PG_active = 5
PG_workingset = 6
PG_waiters = 7
PG_error = 8
PG_slab = 9
PG_owner_priv_1 = 10
PG_arch_1 = 11
PG_reserved = 12
PG_private = 13
PG_private_2 = 14
PG_writeback = 15
PG_head = 16
PG_mappedtodisk = 17
PG_reclaim = 18
PG_swapbacked = 19
PG_unevictable = 20
PG_mlocked = 21
PG_uncached = 22
PG_hwpoison = 23
PG_arch_2 = 24
NR_PAGEFLAGS = 25

PG_readahead = PG_reclaim
PG_anon_exclusive = PG_mappedtodisk
PG_checked = PG_owner_priv_1
PG_swapcache = PG_owner_priv_1
PG_fscache = PG_private_2
PG_double_map = PG_workingset
PG_has_hwpoisoned = PG_error
PG_isolated = PG_reclaim
PG_reported = PG_uptodate

# page->page_type, include/linux/page-flags.h: a bit that is clear says what the page is.
PAGE_TYPE_BASE = 0xF0000000
PAGE_MAPCOUNT_RESERVE = -128
PG_buddy = 0x80
PG_offline = 0x100
PG_table = 0x200
PG_guard = 0x400

# Where the fields of page->flags are on x86-64 with Debian's configuration (include/linux/page-flags-layout.h).
NODES_SHIFT = 54
NODES_WIDTH = 10
ZONES_SHIFT = 51
ZONES_WIDTH = 3
LAST_CPUPID_SHIFT = 30
LAST_CPUPID_WIDTH = 21
LRU_GEN_SHIFT = 27
LRU_GEN_WIDTH = 3
LRU_REFS_SHIFT = 25
LRU_REFS_WIDTH = 2


class PageFlags:
    """Where *release* keeps what a page is: bits of ``page->flags`` by their C name, and page types."""

    def __init__(self, release: str) -> None:
        self._bits = enums(release)["pageflags"]
        self.typed = "page-type-byte" in _release(release).features
        """A page has one type, in the top byte of ``page_type``; before, each type has a bit there that it clears."""

    def bit(self, name: str) -> int:
        """The number of the flag called *name*."""
        return self._bits[name]

    def is_slab(self, flags: int, page_type: int) -> bool:
        """``PageSlab()``."""
        return page_type >> 24 == PGTY_SLAB if self.typed else flags >> self._bits["PG_slab"] & 1 == 1

    def is_buddy(self, page_type: int) -> bool:
        """``PageBuddy()``."""
        if self.typed:
            return page_type >> 24 == PGTY_BUDDY
        return page_type & (PAGE_TYPE_BASE | PG_buddy) == PAGE_TYPE_BASE

    def is_table(self, page_type: int) -> bool:
        """``PageTable()``."""
        if self.typed:
            return page_type >> 24 == PGTY_TABLE
        return page_type & (PAGE_TYPE_BASE | PG_table) == PAGE_TYPE_BASE


PGTY_BUDDY, PGTY_TABLE, PGTY_SLAB = 0xF0, 0xF2, 0xF5


@cache
def page_flags(release: str) -> PageFlags:
    """Those of *release*. Raises UsageError for one that is not modelled."""
    return PageFlags(release)


PAGEFLAGS_MASK = (1 << NR_PAGEFLAGS) - 1
# include/linux/page-flags.h: flags that must be clear when a page is freed.
PAGE_FLAGS_CHECK_AT_FREE = (
    1 << PG_lru
    | 1 << PG_locked
    | 1 << PG_private
    | 1 << PG_private_2
    | 1 << PG_writeback
    | 1 << PG_reserved
    | 1 << PG_slab
    | 1 << PG_active
    | 1 << PG_unevictable
    | 1 << PG_mlocked
    | ((1 << LRU_GEN_WIDTH) - 1) << LRU_GEN_SHIFT
)
# Flags that must be clear when a page is allocated.
PAGE_FLAGS_CHECK_AT_PREP = (
    PAGEFLAGS_MASK & ~(1 << PG_hwpoison)
    | ((1 << LRU_GEN_WIDTH) - 1) << LRU_GEN_SHIFT
    | ((1 << LRU_REFS_WIDTH) - 1) << LRU_REFS_SHIFT
)


def decode(flags: int, release: str = "6.1") -> str:
    """What ``%pGp`` prints: "0xfffffc0000200(slab|node=0|zone=1|lastcpupid=0x1fffff)" (lib/vsprintf.c)."""
    words = [names(flags, release)] if flags & _flag_bits(release) else []
    for field in _release(release).page_flag_fields:
        value = flags >> field.shift & ((1 << field.width) - 1)
        words.append(f"{field.name}={value:#x}" if field.base == 16 else f"{field.name}={value}")
    return f"{flags:#x}({'|'.join(words)})"


def names(flags: int, release: str = "6.1") -> str:
    """``show_page_flags``: only the names of the flags, as in tracepoints; "none" when no bit is set."""
    return format_flags(flags & _flag_bits(release), flag_names("page", release)) or "none"


def _flag_bits(release: str) -> int:
    """``PAGEFLAGS_MASK`` of `release`."""
    return (1 << _release(release).constants["NR_PAGEFLAGS"]) - 1
