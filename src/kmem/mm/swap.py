"""LRU lists of user pages (mm/swap.c, 6.1): :mod:`kmem.mm.mm_inline` has the lists."""

from __future__ import annotations

from typing import Any

from kmem.abi.layout import enums
from kmem.lib.jit import jit
from kmem.lib.kstructs import RELEASE
from kmem.mm.features import NODE_STAT
from kmem.mm.mm_inline import page_cache_release
from kmem.mm.page_free import put_page as put_last

NR_ANON_MAPPED, NR_FILE_MAPPED = NODE_STAT["NR_ANON_MAPPED"], NODE_STAT["NR_FILE_MAPPED"]
PG_ANON_EXCLUSIVE = enums(RELEASE)["pageflags"]["PG_anon_exclusive"]


@jit
def put_user_page(k: Any, p: Any) -> None:
    """``void put_page(struct page *page)`` of a page that may be on a list."""
    if p._refcount == 1:
        page_cache_release(k, p)
    put_last(k, p)
