"""Ranges of kernel virtual addresses: which are free, which are taken, which wait to be purged (mm/vmalloc.c, 6.1).

Three sets of ``struct vmap_area``: *busy* (tree by address, sorted list; ``vm`` leads to its ``vm_struct``), *free*
(tree that knows the largest gap below each node, sorted list) and *lazy* (freed, unmapped, but not yet flushed from
the TLB, so not yet reusable). Free space starts as one range. The kernel's begins at address 1; ours at the kernel
half, which is all that is ever asked for.

Simplified: one tree and one list for all CPUs' requests, without the per-CPU preloaded ``vmap_area``.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.lib.jit import address, container_of, fls64, jit, ptr
from kmem.lib.list import INIT_LIST_HEAD, list_add, list_add_tail, list_del
from kmem.lib.rbtree import no_rb, rb_erase, rb_insert, rb_parent, rb_propagate
from kmem.mm.events import inner_fails
from kmem.mm.mm_types import kmem_cache, vm_struct, vmap_area
from kmem.mm.mmzone import PAGE_SIZE, count_vm_events
from kmem.mm.slub import kmem_cache_free_one, slab_alloc_node
from kmem.mm.vm_events import EV_TLB_FLUSH

SPACE_START, SPACE_END = -(1 << 47), -4096


@jit
def no_va(k: Any) -> Any:
    """``(struct vmap_area *)NULL``."""
    return ptr(vmap_area, 0, k)


@jit
def va_of(node: Any) -> Any:
    """``rb_entry(node, struct vmap_area, rb_node)``."""
    return container_of(node, vmap_area, "rb_node")


@jit
def new_va(k: Any, start: int, end: int) -> Any:
    """A ``struct vmap_area`` from its cache, or NULL."""
    got = 0
    if not inner_fails(k, GFP_KERNEL):
        got = slab_alloc_node(k, k.vmap_area_cachep, GFP_KERNEL | __GFP_ZERO, -1, 64)
    va = ptr(vmap_area, got, k)
    if got:
        va.va_start = start
        va.va_end = end
    return va


@jit
def free_va(k: Any, va: Any) -> None:
    """Give a ``struct vmap_area`` back."""
    kmem_cache_free_one(k, k.vmap_area_cachep, address(va))


@jit
def insert_sorted(root: Any, head: Any, va: Any, augmented: bool) -> None:
    """``insert_vmap_area()`` and its augmented form: into tree and list, by address."""
    parent = no_rb(root)
    link = root.rb_node
    left = False
    while link:
        parent = link
        left = va.va_start < va_of(link).va_start
        link = link.rb_left if left else link.rb_right
    rb_insert(root, va.rb_node, parent, left, augmented)
    if not parent:
        list_add(va.list, head)
    elif left:
        list_add_tail(va.list, va_of(parent).list)
    else:
        list_add(va.list, va_of(parent).list)


@jit
def unlink_va(root: Any, va: Any, augmented: bool) -> None:
    """``unlink_va()``."""
    rb_erase(root, va.rb_node, augmented)
    list_del(va.list)


@jit
def find_vmap_area(k: Any, addr: int) -> Any:
    """``__find_vmap_area()``: the busy area that *addr* lies in, or NULL."""
    node = k.vmap_area_root.rb_node
    while node:
        va = va_of(node)
        if addr < va.va_start:
            node = node.rb_left
        elif addr >= va.va_end:
            node = node.rb_right
        else:
            return va
    return no_va(k)


@jit
def fits(va: Any, size: int, align: int, vstart: int) -> bool:
    """``is_within_this_va()``."""
    start = (max(va.va_start, vstart) + align - 1) & ~(align - 1)
    return start + size <= va.va_end


@jit
def subtree_max(node: Any) -> int:
    """``get_subtree_max_size()``."""
    return va_of(node).subtree_max_size if node else 0


@jit
def find_vmap_lowest_match(k: Any, size: int, align: int, vstart: int, vend: int) -> Any:
    """``find_vmap_lowest_match()``: the lowest free range that holds the request, in O(log n).

    For alignments above a page only ranges are considered that hold it however they lie, unless the window is as small
    as the request.
    """
    node = k.free_vmap_area_root.rb_node
    length = size + align - 1 if align > PAGE_SIZE and vend - vstart != size else size
    while node:
        va = va_of(node)
        if subtree_max(node.rb_left) >= length and vstart < va.va_start:
            node = node.rb_left
            continue
        if fits(va, size, align, vstart):
            return va
        if subtree_max(node.rb_right) >= length:
            node = node.rb_right
            continue
        node = rb_parent(node)
        while node:
            va = va_of(node)
            if fits(va, size, align, vstart):
                return va
            if subtree_max(node.rb_right) >= length and vstart <= va.va_start:
                vstart = va.va_start + 1
                node = node.rb_right
                break
            node = rb_parent(node)
    return no_va(k)


@jit
def clip(k: Any, va: Any, start: int, size: int) -> bool:
    """``adjust_va_to_fit_type()``: cut [start, start + size) out of a free range."""
    end = start + size
    root = k.free_vmap_area_root
    if va.va_start == start and va.va_end == end:
        unlink_va(root, va, True)
        free_va(k, va)
        return True
    if va.va_start == start:
        va.va_start = end
    elif va.va_end == end:
        va.va_end = start
    else:
        low = new_va(k, va.va_start, start)
        if not low:
            return False
        va.va_start = end
        rb_propagate(va.rb_node)
        insert_sorted(root, k.free_vmap_area_list, low, True)
        return True
    rb_propagate(va.rb_node)
    return True


@jit
def merge_or_add(k: Any, root: Any, head: Any, va: Any, augmented: bool) -> None:
    """``__merge_or_add_vmap_area()``: into the tree at *root* and the list at *head*, joined with the neighbours that
    it touches.
    """
    after = head
    link = root.rb_node
    while link:
        candidate = va_of(link)
        if va.va_start < candidate.va_start:
            after = candidate.list
            link = link.rb_left
        else:
            link = link.rb_right
    before = after.prev
    merged = False
    if after != head:
        right = container_of(after, vmap_area, "list")
        if right.va_start == va.va_end:
            right.va_start = va.va_start
            free_va(k, va)
            va = right
            merged = True
    if before != head:
        left = container_of(before, vmap_area, "list")
        if left.va_end == va.va_start:
            if merged:
                unlink_va(root, va, augmented)
            left.va_end = va.va_end
            free_va(k, va)
            va = left
            merged = True
    if not merged:
        insert_sorted(root, head, va, augmented)
    if augmented:
        rb_propagate(va.rb_node)


@jit
def lazy_max_pages(k: Any) -> int:
    """``lazy_max_pages()``: 32 MiB for each doubling of the CPUs may wait for the purge."""
    return fls64(k.nr_cpu_ids) * (32 << 20) // PAGE_SIZE


@jit
def purge_vmap_area_lazy(k: Any) -> None:
    """``__purge_vmap_area_lazy()``: one TLB flush, then all waiting ranges are free."""
    head = k.purge_vmap_area_list
    if head.next == head:
        return
    k.purge_vmap_area_root.rb_node = no_rb(head)
    count_vm_events(k, EV_TLB_FLUSH, 1)
    while head.next != head:
        va = container_of(head.next, vmap_area, "list")
        list_del(va.list)
        k.vmap_lazy_nr = k.vmap_lazy_nr - (va.va_end - va.va_start) // PAGE_SIZE
        merge_or_add(k, k.free_vmap_area_root, k.free_vmap_area_list, va, True)


@jit
def alloc_vmap_area(k: Any, size: int, align: int, vstart: int, vend: int) -> Any:
    """``alloc_vmap_area()``: a busy area of *size* bytes in [vstart, vend), the lowest; purges before it gives up."""
    va = new_va(k, 0, 0)
    if not va:
        return va
    for attempt in range(2):
        free = find_vmap_lowest_match(k, size, align, vstart, vend)
        if free:
            start = (max(free.va_start, vstart) + align - 1) & ~(align - 1)
            if start + size <= vend and clip(k, free, start, size):
                va.va_start = start
                va.va_end = start + size
                va.vm = ptr(vm_struct, 0, k)
                insert_sorted(k.vmap_area_root, k.vmap_area_list, va, False)
                return va
        if attempt == 0:
            purge_vmap_area_lazy(k)
    free_va(k, va)
    return no_va(k)


@jit
def free_vmap_area_lazy(k: Any, va: Any) -> None:
    """``free_vmap_area_noflush()``: from busy to lazy, joined with its lazy neighbours; too many are purged."""
    unlink_va(k.vmap_area_root, va, False)
    k.vmap_lazy_nr = k.vmap_lazy_nr + (va.va_end - va.va_start) // PAGE_SIZE
    merge_or_add(k, k.purge_vmap_area_root, k.purge_vmap_area_list, va, False)
    if k.vmap_lazy_nr > lazy_max_pages(k):
        purge_vmap_area_lazy(k)


@jit
def vmap_init_free_space(k: Any, cache: int) -> None:
    """``vmap_init_free_space()``: everything is free."""
    k.vmap_area_cachep = ptr(kmem_cache, cache, k)
    INIT_LIST_HEAD(k.vmap_area_list)
    INIT_LIST_HEAD(k.free_vmap_area_list)
    INIT_LIST_HEAD(k.purge_vmap_area_list)
    va = new_va(k, SPACE_START, SPACE_END)
    insert_sorted(k.free_vmap_area_root, k.free_vmap_area_list, va, True)
