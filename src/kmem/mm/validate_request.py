"""Whether a request for pages may succeed at all, from watermarks, reserves and lists: the other side of B10."""

from __future__ import annotations

from typing import Any

from kmem.lib.cstruct import u64
from kmem.mm.mm_types import per_cpu_pages
from kmem.mm.view import View

GFP_DMA, GFP_DMA32, GFP_HIGH, GFP_DIRECT_RECLAIM, GFP_NOMEMALLOC = 0x01, 0x04, 0x20, 0x400, 0x80000
MOVABLE, HIGHMEM, RECLAIMABLE = 0x08, 0x02, 0x10


def highest_zone(gfp: int) -> int:
    """The highest zone that a mask may use, by the meaning of its modifiers."""
    if gfp & GFP_DMA:
        return 0
    if gfp & GFP_DMA32:
        return 1
    return 3 if gfp & (MOVABLE | HIGHMEM) == MOVABLE | HIGHMEM else 2


def may_succeed(view: View, gfp: int, order: int, cpu: int) -> bool:
    """Whether a request that must not sleep succeeds: above the low watermark, or by the reserves that it may touch."""
    atomic = gfp & GFP_HIGH and not gfp & GFP_DIRECT_RECLAIM
    for attempt in ("low", "reserve"):
        for z in reversed(list(view.zones())):
            index = _index(view, z)
            if index > highest_zone(gfp) or not z.managed_pages:
                continue
            mark = int(z._watermark[1 if attempt == "low" else 0]) + int(z.watermark_boost)
            usable = int(z.vm_stat[0]) - (1 << order) + 1
            reserves = attempt == "reserve" and not gfp & GFP_DIRECT_RECLAIM and not gfp & GFP_NOMEMALLOC
            reserves = reserves or (attempt == "reserve" and bool(gfp & GFP_HIGH))
            if not reserves:
                usable -= int(z.nr_reserved_highatomic)
            least = mark
            if reserves and gfp & GFP_HIGH:
                least -= least // 2
                if not gfp & GFP_DIRECT_RECLAIM:
                    least -= least // 4
            enough = usable > least + int(z.lowmem_reserve[highest_zone(gfp)])
            boosted = attempt == "reserve" and order == 0 and gfp & 0x200 and z.watermark_boost
            if not enough and boosted:
                least = int(z._watermark[0])
                least -= least // 2
                least -= least // 4
                enough = usable > least + int(z.lowmem_reserve[highest_zone(gfp)])
            high_order = bool(atomic and order and attempt == "reserve")
            if not enough or (order and not _block(z, order, high_order)):
                continue
            spare = attempt == "reserve" and not gfp & GFP_DIRECT_RECLAIM
            if _cached(view, z, gfp, order, cpu) or _block(z, order, spare):
                return True
    return False


def _index(view: View, z: Any) -> int:
    nodes = view.kdata.node_data[z.node].node_zones
    return next(i for i in range(5) if nodes[i]._addr == z._addr)


def _block(z: Any, order: int, reserved_too: bool) -> bool:
    """A free block of at least *order*, of a type that everybody may use (or of the reserve)."""
    types = (0, 1, 2, 3) if reserved_too else (0, 1, 2)
    return any(z.free_area[o].free_list[t].next != z.free_area[o].free_list[t] for o in range(order, 11) for t in types)


def _cached(view: View, z: Any, gfp: int, order: int, cpu: int) -> bool:
    """A block on the CPU's list for this order and type."""
    if order > 3 and order != 9:
        return False
    offsets = getattr(view.kdata, "__per_cpu_offset")
    pcp = view.ptr(per_cpu_pages, u64(z.per_cpu_pageset._addr + offsets[cpu]))
    mt = 1 if gfp & MOVABLE else 2 if gfp & RECLAIMABLE else 0
    lst = pcp.lists[12 + (mt == 1) if order == 9 else order * 3 + mt]
    return bool(lst.next != lst)
