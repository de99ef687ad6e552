"""The event stream: what happened, as records in a ring that listeners read (include/trace/events/kmem.h).

The allocator emits; it does not know who listens. With nobody listening an event costs one test. Failure injection
asks here too, because a failed allocation is one more thing that an allocation can be.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_NOFAIL
from kmem.lib.jit import always_inline, jit, noinline
from kmem.mm.codes import UP_EVENTS_FULL
from kmem.mm.mm_types import EVENT_RING
from kmem.mm.mmzone import priv
from kmem.mm.upcalls import tell

KMALLOC, KFREE, KMEM_CACHE_ALLOC, KMEM_CACHE_FREE, MM_PAGE_ALLOC, MM_PAGE_FREE, VMALLOC, VFREE = range(8)
PERCPU_ALLOC, PERCPU_FREE, IOREMAP, IOUNMAP, CACHE_CREATE, CACHE_DESTROY = range(8, 14)
KINDS = (
    "kmalloc",
    "kfree",
    "kmem_cache_alloc",
    "kmem_cache_free",
    "mm_page_alloc",
    "mm_page_free",
    "vmalloc",
    "vfree",
    "percpu_alloc_percpu",
    "percpu_free_percpu",
    "ioremap",
    "iounmap",
    "kmem_cache_create",
    "kmem_cache_destroy",
)
"""Names by kind; the kernel's own where it traces the event."""


@always_inline
def emit(
    k: Any, kind: int, addr: int, requested: int, allocated: int, gfp: int, node: int, cache: int, order: int
) -> None:
    """Append one record. The call site, task, CPU, context and time are those that the caller set in the private
    area.
    """
    if priv(k).listening:
        record(k, kind, addr, requested, allocated, gfp, node, cache, order)


@noinline
def record(
    k: Any, kind: int, addr: int, requested: int, allocated: int, gfp: int, node: int, cache: int, order: int
) -> None:
    """Put the record into the ring; a full ring is handed over first."""
    v = priv(k)
    if v.events >= EVENT_RING:
        tell(k, UP_EVENTS_FULL, 0, 0, 0, 0)
        v.events = 0
    e = v.ring[v.events]
    e.time = v.time
    e.kind = kind
    e.cpu = v.cpu
    e.context = v.context
    e.task = v.task
    e.call_site = v.call_site
    e.ptr = addr
    e.requested = requested
    e.allocated = allocated
    e.gfp = gfp
    e.node = node
    e.cache = cache
    e.order = order
    v.events = v.events + 1


@always_inline
def may_fail(k: Any, gfp: int) -> bool:
    """Count an allocation; False if it is the one that is to fail."""
    v = priv(k)
    v.allocations = v.allocations + 1
    if v.fail_after < 0 or gfp & __GFP_NOFAIL:
        return True
    v.fail_after = v.fail_after - 1
    return v.fail_after >= 0


@jit
def inner_fails(k: Any, gfp: int) -> bool:
    """``should_failslab()`` and ``should_fail_alloc_page()`` of what the allocator allocates for itself: slabs, page
    tables, arrays, descriptions. True if this is the one that is to fail, and with ``fail_persist`` ever after.
    """
    v = priv(k)
    if v.fail_inner < 0 or gfp & __GFP_NOFAIL:
        return False
    if v.fail_inner > 0:
        v.fail_inner = v.fail_inner - 1
        return False
    v.inner_failures = v.inner_failures + 1
    if not v.fail_persist:
        v.fail_inner = -1
    return True
