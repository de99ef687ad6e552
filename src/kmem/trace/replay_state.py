"""What compiled code of a replay works on: the words of its state, and the entries of its tables."""

from __future__ import annotations

# The state.
COLUMNS, N, OBJECTS, OBJECT_MASK, OBJECT_USED, BLOCKS, BLOCK_MASK, BLOCK_USED = range(8)
CACHES, CACHE_OF, CLASS_OF, PAGE_OFFSET, SITES, SITE_MASK, SITE_USED, SITE_ROOM = range(8, 16)
TASKS, TASK_MASK, TASK_USED, TASK_ROOM, LIFETIMES, FROM, TO, CPUS = range(16, 24)
TASK_ROWS, SITE_ROWS, FIRST, REUSES, CLASS_ROWS, SITE_CACHES, SITE_CACHE_MASK, MAPPED_ABOVE = range(24, 32)
"""The last are of what-ifs: the cache of a requested size, of a call site; the size above which pages are mapped."""
# Counts.
(EVENTS, UNKNOWN_FREES, NULL_FREES, UNKNOWN_CACHES, FAILED, INFERRED_REUSE, INFERRED_PAGE, PAGES_TO_SLAB) = range(
    32, 40
)
LARGE, UNKNOWN_PAGES, PAGE_FAILED, REPEATED_PAGES, PAGES_LIVE, INFERRED_SILENT, MAPPED_PAGES, MAPPED_ROW = range(40, 48)
HOST, HOST_PAGES = 48, 49
"""Where physical 0 and the first page's descriptor are in the host's memory."""
STATE_WORDS = 64

# An object: its recorded address, the model's, cache and CPU, site and task, time, requested and allocated bytes.
O_KEY, O_OBJECT, O_CACHE, O_WHO, O_TIME, O_REQUESTED, O_ALLOCATED, O_MORE = range(8)
OBJECT_WIDTH = 64
COUNTED, MAPPED = 1, 2
"""What an object may be: counted, as allocated in the part of the trace that is asked for; single pages, mapped."""
# A block of pages: its recorded page frame plus 1; the model's; order and what it is; site and task.
B_KEY, B_PFN, B_WHAT, B_WHO = range(4)
BLOCK_WIDTH = 32
PLAIN, SLAB, SPLIT, CHAIN = 1, 2, 3, 4
"""A block is a whole, a slab, a part of a block that was freed in parts, or single pages in its stead."""

# A cache: what it is, then counts.
(K_MODEL, K_SIZE, K_ORDER, K_PER_SLAB, K_ALLOCS, K_FREES, K_INFERRED, K_UNKNOWN) = range(8)
(K_LIVE, K_PEAK, K_REQUESTED, K_CROSS, K_LIFE, K_FAILED, K_LIFETIMES, K_TOTAL) = range(8, 16)
K_CAME, K_WENT, K_BYTES = 16, 17, 18
CACHE_WORDS = 20
# A call site or a task: counts.
(W_ALLOCS, W_FREES, W_LIVE, W_BYTES, W_REQUESTED, W_TOTAL, W_ASKED, W_CROSS) = range(8)
(W_LIFE, W_PEAK, W_CACHE, W_Q1, W_Q2, W_Q3, W_LIFETIMES, W_KEY) = range(8, 16)
WHO_WORDS = 16
WHO_WIDTH = 16
LIVES = 64
"""How many counts a call site has of lives that ended with its address handed out again: one each power of two."""

SLAB_GFP = 0x800 | 0x2000 | 0x10000
"""``__GFP_KSWAPD_RECLAIM | __GFP_NOWARN | __GFP_NORETRY``: what the recorded kernel reclaimed is in the trace."""
PLACEMENT = 0x1F
"""The bits of a gfp mask that say from where: zone and mobility, the same in all releases."""
HIGHMEM = 0x2
"""``__GFP_HIGHMEM``, which what is mapped may come from."""
BLOCK_ORDER = 10
