"""Counters of /proc/vmstat by the kernel's own numbers (include/linux/vm_event_item.h): ``vm_event_states`` in RAM.

Where :mod:`kmem.mm.vm_events` counts the model's work for `kmem compare`, these are what reclaim, compaction and the
OOM killer count in a kernel, at the index that the release's enum gives.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.layout import enums
from kmem.lib.jit import jit
from kmem.lib.kstructs import RELEASE

_ITEM = enums(RELEASE)["vm_event_item"]

ALLOCSTALL = _ITEM["ALLOCSTALL_DMA"]
PGSCAN_SKIP = _ITEM["PGSCAN_SKIP_DMA"]
"""The first of one for each zone."""
PGACTIVATE, PGDEACTIVATE, PGREFILL = _ITEM["PGACTIVATE"], _ITEM["PGDEACTIVATE"], _ITEM["PGREFILL"]
PGSTEAL_KSWAPD, PGSTEAL_DIRECT = _ITEM["PGSTEAL_KSWAPD"], _ITEM["PGSTEAL_DIRECT"]
PGSCAN_KSWAPD, PGSCAN_DIRECT = _ITEM["PGSCAN_KSWAPD"], _ITEM["PGSCAN_DIRECT"]
PGSCAN_DIRECT_THROTTLE = _ITEM["PGSCAN_DIRECT_THROTTLE"]
PGSCAN_ANON, PGSTEAL_ANON = _ITEM["PGSCAN_ANON"], _ITEM["PGSTEAL_ANON"]
SLABS_SCANNED, PAGEOUTRUN, OOM_KILL = _ITEM["SLABS_SCANNED"], _ITEM["PAGEOUTRUN"], _ITEM["OOM_KILL"]
DROP_PAGECACHE = _ITEM["DROP_PAGECACHE"]
PGMIGRATE_SUCCESS, PGMIGRATE_FAIL = _ITEM["PGMIGRATE_SUCCESS"], _ITEM["PGMIGRATE_FAIL"]
COMPACTMIGRATE_SCANNED, COMPACTFREE_SCANNED = _ITEM["COMPACTMIGRATE_SCANNED"], _ITEM["COMPACTFREE_SCANNED"]
COMPACTISOLATED, COMPACTSTALL = _ITEM["COMPACTISOLATED"], _ITEM["COMPACTSTALL"]
COMPACTFAIL, COMPACTSUCCESS = _ITEM["COMPACTFAIL"], _ITEM["COMPACTSUCCESS"]


@jit
def count_vm_item(k: Any, item: int, n: int) -> None:
    """``count_vm_events(item, n)``."""
    k.vm_event_states[item] = k.vm_event_states[item] + n
