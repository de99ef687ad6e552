"""Hardened usercopy: may this piece of kernel memory be copied to or from user memory? (mm/usercopy.c, mm/slub.c; 6.1)

An object of a cache may be copied inside its usercopy region, which is the whole object for kmalloc; large pages, areas
of vmalloc and the part of the stack that is in use as a whole; kernel text and NULL never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kmem.abi.address import KERNEL_TEXT, PAGE_OFFSET, START_KERNEL_MAP
from kmem.abi.slab_flags import slab_flags
from kmem.lib.cstruct import u64
from kmem.mm.boot import TEXT_SIZE
from kmem.mm.mm_types import kmem_cache

if TYPE_CHECKING:
    from kmem.mm.api import Mm

THREAD_SIZE = 16 << 10
ZERO_SIZE_PTR = 16
MASK64 = (1 << 64) - 1


class Refusal(NamedTuple):
    """Why not, as ``usercopy_abort()`` prints it: what it is, a detail, and the offset in it."""

    name: str
    detail: str
    offset: int


def check_object_size(mm: Mm, ptr: int, n: int, stack: int, sp: int) -> Refusal | None:
    """``__check_object_size()`` for a task whose stack begins at *stack* and is in use from *sp* on."""
    if not n:
        return None
    if (ptr + n - 1) & MASK64 < ptr:
        return Refusal("wrapped address", "", 0)
    if ptr <= ZERO_SIZE_PTR:
        return Refusal("null address", "", ptr)
    end = stack + THREAD_SIZE
    if stack and ptr < end and ptr + n > stack:
        if ptr < stack or ptr + n > end or ptr < sp:
            return Refusal("process stack", "", (sp - ptr) & MASK64)
        return None
    return _check_heap_object(mm, ptr, n) or _check_kernel_text(ptr, n)


def _check_heap_object(mm: Mm, ptr: int, n: int) -> Refusal | None:
    """``check_heap_object()``."""
    if mm.is_vmalloc_addr(ptr):
        for area in mm.view.vmap_areas():
            start, last = u64(area.va_start), u64(area.va_end)
            if start <= ptr < last:
                return Refusal("vmalloc", "", ptr - start) if n > last - ptr else None
        return Refusal("vmalloc", "no area", 0)
    if not PAGE_OFFSET <= ptr < PAGE_OFFSET + mm.ram.size:
        return None
    head = mm.view.page_of(ptr)
    base = mm.page_to_virt(u64(head._addr))
    if mm.slab_of(ptr):
        return _check_slab_object(mm, ptr, n, base)
    if head.flags >> mm.view.page_flags.bit("PG_head") & 1:
        tail = head + 1
        size = 4096 << ((tail.flags & 0xFF) if "folio-order" in mm.boot.release.features else tail.compound_order)
        return Refusal("page alloc", "", ptr - base) if n > size - (ptr - base) else None
    return None


def _check_slab_object(mm: Mm, ptr: int, n: int, base: int) -> Refusal | None:
    """``__check_heap_object()``."""
    s = mm.view.ptr(kmem_cache, mm.slab_of(ptr))
    offset = (ptr - base) % s.size
    if s.flags & slab_flags(mm.config.release).SLAB_RED_ZONE:
        if offset < s.red_left_pad:
            return Refusal("SLUB object in left red zone", mm.view.cache_name(s), offset)
        offset -= s.red_left_pad
    inside = offset - s.useroffset
    if 0 <= inside <= s.usersize and n <= s.usersize - inside:
        return None
    return Refusal("SLUB object", mm.view.cache_name(s), offset)


def _check_kernel_text(ptr: int, n: int) -> Refusal | None:
    """``check_kernel_text_object()``: the text, and its other address in the direct map."""
    linear = KERNEL_TEXT - START_KERNEL_MAP + PAGE_OFFSET
    for name, low in (("kernel text", KERNEL_TEXT), ("linear kernel text", linear)):
        if ptr < low + TEXT_SIZE and ptr + n > low:
            return Refusal(name, "", ptr - low)
    return None
