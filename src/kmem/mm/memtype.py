"""How physical addresses are cached: the page attribute table and who has reserved what (arch/x86/mm/pat/memtype.c).

Two mappings of the same memory must be cached alike. A request is noted with the type that it got; one that overlaps
earlier ones gets theirs, or fails if they differ among themselves.

Simplified: pages of RAM are not marked with a type of their own. The MTRRs are a PC's: everything may be written back
but what lies between 3 and 4 GiB. Private layout: ``struct memtype`` stands in a list sorted by its start, not in a
tree.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.lib.jit import address, container_of, jit, ptr
from kmem.lib.list import list_add, list_del
from kmem.mm.codes import UP_MEMTYPE
from kmem.mm.mm_types import memtype
from kmem.mm.pgtable import PAT, PCD, PWT
from kmem.mm.slab_common import kfree_object, kmalloc_from
from kmem.mm.upcalls import tell
from kmem.mm.vm_flags import (
    ISA_END,
    ISA_START,
    MEMTYPE_CONFLICT,
    MEMTYPE_FREE_INVALID,
    MEMTYPE_RESERVE_FAILED,
    UC,
    UC_MINUS,
    WB,
    WC,
    WP,
    WT,
)

_UNCACHED_START, _UNCACHED_END = 3 << 30, 4 << 30
_EBUSY, _EINVAL, _ENOMEM = -16, -22, -12


@jit
def cachemode2protval(pcm: int) -> int:
    """``cachemode2protval()``: the bits of a 4 KiB entry; the table is WB, WC, UC-, UC, WB, WP, UC-, WT."""
    bits = 0
    if pcm in (WC, UC, WT, WP):
        bits |= PWT
    if pcm in (UC_MINUS, UC, WT):
        bits |= PCD
    if pcm in (WT, WP):
        bits |= PAT
    return bits


@jit
def pat_x_mtrr_type(start: int, end: int, pcm: int) -> int:
    """``pat_x_mtrr_type()``: write-back is had only where the MTRRs say so."""
    if pcm == WB and start < _UNCACHED_END and end > _UNCACHED_START:
        return UC_MINUS
    return pcm


@jit
def is_ISA_range(start: int, end: int) -> bool:
    """``is_ISA_range()``: not tracked."""
    return start >= ISA_START and end <= ISA_END


@jit
def _overlaps(entry: Any, start: int, end: int) -> bool:
    return entry.start < end and entry.end > start


@jit
def memtype_check_conflict(k: Any, start: int, end: int, pcm: int) -> int:
    """``memtype_check_conflict()``: the type that a new mapping has to take, or -EBUSY."""
    found = -1
    head = k.memtype_list
    link = head.next
    while link != head:
        entry = container_of(link, memtype, "list")
        if _overlaps(entry, start, end):
            if found < 0:
                found = entry.type
            elif entry.type != found:
                tell(k, UP_MEMTYPE, MEMTYPE_CONFLICT, start, end, found << 8 | entry.type)
                return _EBUSY
        link = link.next
    return pcm if found < 0 else found


@jit
def interval_insert(k: Any, new: Any) -> None:
    """``interval_insert()``: behind those that start no later."""
    head = k.memtype_list
    link = head.prev
    while link != head and container_of(link, memtype, "list").start > new.start:
        link = link.prev
    list_add(new.list, link)


@jit
def memtype_reserve(k: Any, start: int, end: int, pcm: int) -> int:
    """``memtype_reserve()``: note a mapping of non-RAM [start, end); its type, or an error."""
    if is_ISA_range(start, end):
        return WB
    actual = pat_x_mtrr_type(start, end, pcm)
    got = kmalloc_from(k, 64, GFP_KERNEL | __GFP_ZERO, -1)
    if not got:
        return _ENOMEM
    new = ptr(memtype, got, k)
    new.start = start
    new.end = end
    new.type = actual
    found = memtype_check_conflict(k, start, end, actual)
    if found < 0:
        tell(k, UP_MEMTYPE, MEMTYPE_RESERVE_FAILED, start, end, actual << 8 | pcm)
        kfree_object(k, got)
        return found
    new.type = found
    interval_insert(k, new)
    return found


@jit
def is_new_memtype_allowed(start: int, end: int, pcm: int, new: int) -> bool:
    """``is_new_memtype_allowed()``: nothing becomes cached that was not to be."""
    if is_ISA_range(start, end):
        return True
    return not (new == WB and pcm in (UC_MINUS, WC, WT)) and not (pcm == WT and new == WC)


@jit
def memtype_free(k: Any, start: int, end: int) -> int:
    """``memtype_free()``: forget one mapping of exactly this range, or cut one that ends there; 0 or -EINVAL."""
    if is_ISA_range(start, end):
        return 0
    head = k.memtype_list
    for whole in range(2):
        link = head.next
        while link != head:
            entry = container_of(link, memtype, "list")
            if entry.end == end and (entry.start == start if whole == 0 else entry.start < start):
                if whole == 0:
                    list_del(entry.list)
                    kfree_object(k, address(entry))
                else:
                    entry.end = start
                return 0
            link = link.next
    tell(k, UP_MEMTYPE, MEMTYPE_FREE_INVALID, start, end, 0)
    return _EINVAL
