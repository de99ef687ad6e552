"""How much work the kernel did: indices into ``kdata.vm_events``."""

from __future__ import annotations

(
    EV_PGFREE,
    EV_PCP_REFILL,
    EV_EXTFRAG,
    EV_SLAB_FASTPATH,
    EV_SLAB_SLOWPATH,
    EV_SLAB_NEW,
    EV_SLAB_FREE_FAST,
    EV_SLAB_FREE_SLOW,
    EV_SLAB_DISCARD,
    EV_ZEROED,
    EV_PTE_SET,
    EV_PTE_CLEAR,
    EV_TLB_FLUSH,
    EV_PAGE_TABLE,
    EV_PGALLOC_FAIL,
    EV_PGFAULT,
) = range(16)
"""Indices into ``kdata.vm_events``: how much work the kernel did."""

EV_PGALLOC = 56
"""Pages allocated from ZONE_DMA; the next counters are those of the other zones, in order."""
