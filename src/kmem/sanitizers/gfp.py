"""Flags of an allocation that cannot be meant: what a driver asked for, judged from its event."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_DIRECT_RECLAIM, __GFP_DMA, __GFP_DMA32, __GFP_HIGHMEM, __GFP_NOFAIL
from kmem.mm.stream import Event

ZONES = {__GFP_DMA: "__GFP_DMA", __GFP_DMA32: "__GFP_DMA32", __GFP_HIGHMEM: "__GFP_HIGHMEM"}
SUSPECT = __GFP_DMA | __GFP_DMA32 | __GFP_HIGHMEM | __GFP_NOFAIL
"""Flags that may be wrong; ``vmalloc`` is judged without them, too."""
LARGEST_NOFAIL = 1
"""``PAGE_ALLOC_COSTLY_ORDER`` does not matter here: the kernel warns of ``__GFP_NOFAIL`` above this order."""


def wrong(event: Event) -> str:
    """What is wrong with the flags of an allocation, empty for nothing."""
    gfp = event.gfp
    zones = [name for bit, name in ZONES.items() if gfp & bit]
    if len(zones) > 1:
        return f"{' and '.join(zones)} together: an allocation comes from one zone"
    if gfp & __GFP_NOFAIL and not gfp & __GFP_DIRECT_RECLAIM:
        return "__GFP_NOFAIL without __GFP_DIRECT_RECLAIM: what may not wait for memory cannot be promised any"
    if gfp & __GFP_NOFAIL and event.allocated > 4096 << LARGEST_NOFAIL and event.kind != "vmalloc":
        return f"__GFP_NOFAIL for {event.allocated} bytes in one piece: more than two pages cannot be promised"
    if event.kind == "vmalloc" and not gfp & __GFP_DIRECT_RECLAIM:
        return "vmalloc with flags that may not sleep: it sleeps whatever the flags; take kmalloc or allocate before"
    return ""
