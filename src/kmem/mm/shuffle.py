"""The largest free blocks in random order, also when freed (mm/shuffle.c; ``page_alloc.shuffle=1``; 6.1)."""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import entry, jit, lshr
from kmem.lib.list import list_add, list_unlink
from kmem.mm.mmzone import (
    MAX_NR_ZONES,
    MAX_ORDER,
    get_pageblock_migratetype,
    kernel,
    page_buddy,
    page_zone,
    pfn_to_page,
)
from kmem.mm.slub_freelist import random_u64

SHUFFLE_ORDER = MAX_ORDER - 1
SHUFFLE_RETRY = 10


@jit
def shuffle_pick_tail(k: Any) -> bool:
    """``bool shuffle_pick_tail(void)``: one bit of a random word after the other."""
    if k.shuffle_rand_bits == 0:
        k.shuffle_rand_bits = 64
        k.shuffle_rand = random_u64(k)
    tail = k.shuffle_rand & 1
    k.shuffle_rand_bits = k.shuffle_rand_bits - 1
    k.shuffle_rand = lshr(k.shuffle_rand, 1)
    return tail != 0


@jit
def shuffle_valid_page(k: Any, z: Any, pfn: int) -> bool:
    """``shuffle_valid_page()``: the first page of a largest free block of the zone."""
    if not z.zone_start_pfn <= pfn < z.zone_start_pfn + z.spanned_pages:
        return False
    p = pfn_to_page(k, pfn)
    return page_zone(k, p) == z and page_buddy(p) and p.private == SHUFFLE_ORDER


@jit
def list_swap(one: Any, other: Any) -> None:
    """``list_swap()`` (include/linux/list.h)."""
    pos = other.prev
    list_unlink(other)
    after, before = one.next, one.prev
    other.next, other.prev = after, before
    after.prev = other
    before.next = other
    list_add(one, other if pos == one else pos)


@jit
def shuffle_zone(k: Any, z: Any) -> None:
    """``__shuffle_zone()``: swap each largest block with one from a random place of the zone, of the same type."""
    pages = 1 << SHUFFLE_ORDER
    pfn = (z.zone_start_pfn + pages - 1) & ~(pages - 1)
    while pfn < z.zone_start_pfn + z.spanned_pages:
        if shuffle_valid_page(k, z, pfn):
            for _ in range(SHUFFLE_RETRY):
                other = z.zone_start_pfn + (lshr(random_u64(k), 1) % z.spanned_pages & ~(pages - 1))
                if other != pfn and shuffle_valid_page(k, z, other):
                    if get_pageblock_migratetype(k, pfn) == get_pageblock_migratetype(k, other):
                        list_swap(pfn_to_page(k, pfn).lru, pfn_to_page(k, other).lru)
                    break
        pfn += pages


@entry
def k_shuffle_free_memory(ram: Any) -> int:
    """``shuffle_free_memory()`` of every node, if the boot wants it."""
    k = kernel(ram)
    for node in range(k.nr_node_ids if k.shuffle_page_alloc else 0):
        for index in range(MAX_NR_ZONES):
            z = k.node_data[node].node_zones[index]
            if z.managed_pages:
                shuffle_zone(k, z)
    return 0
