"""What is known of an allocation while it is fresh: where it lies, and how many physically contiguous runs it has."""

from __future__ import annotations

from typing import Any

from kmem.abi.address import PAGE_OFFSET
from kmem.sanitizers.kmemleak import Allocation

_COUNTED_PAGES = 1 << 16


def describe(k: Any, allocation: Allocation) -> None:
    """Where a new allocation lies and how many physically contiguous runs it has."""
    event = allocation.event
    address = PAGE_OFFSET + (event.ptr << 12) if event.kind == "mm_page_alloc" else event.ptr
    allocation.region = k.site.region(address)
    allocation.address = address
    allocation.site = k.site.call_site(event.call_site)
    allocation.cache = k.mm.view.described_cache(k.mm.view.ptr(k.site.kmem_cache, event.cache)) if event.cache else ""
    if event.kind in ("percpu_alloc_percpu", "kmem_cache_create", "ioremap"):
        return
    first, last = address >> 12, (address + max(event.requested or event.allocated, 1) - 1) >> 12
    allocation.pages = last - first + 1
    allocation.runs = _runs(k, first, min(allocation.pages, _COUNTED_PAGES))


def given_twice(k: Any, before: Allocation, now: Allocation) -> None:
    """The allocator gave out memory that is in use: a free list is corrupt, mostly by an earlier double free."""
    facts = now.site.facts() if now.site else {}
    message = f"{now.event.kind} gave out {now.address:#x} a second time (first at {before.site})"
    k.finding("freelist-corruption", message, address=now.address, **facts)


def _runs(k: Any, first: int, pages: int) -> int:
    if not k.mm.is_vmalloc_addr(first << 12):
        return 1
    runs, before = 0, -2
    for n in range(pages):
        frame = k.mm.phys_of((first + n) << 12) >> 12
        runs += frame != before + 1
        before = frame
    return runs
