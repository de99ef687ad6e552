"""Ranges of kernel virtual addresses: which are free, which are taken, which wait to be purged (mm/vmalloc.c, 6.1).

Three sets of ``struct vmap_area``: *busy* (tree by address, sorted list; ``vm`` leads to its ``vm_struct``), *free*
(tree that knows the largest gap below each node, sorted list) and *lazy* (freed, unmapped, but not yet flushed from
the TLB, so not yet reusable). Free space starts as one range. The kernel's begins at address 1; ours at the kernel
half, which is all that is ever asked for.

Each CPU keeps one ``vmap_area`` in reserve for the split of a free range in two.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_NOWARN, __GFP_ZERO, GFP_KERNEL, GFP_NOWAIT, GFP_RECLAIM_MASK
from kmem.lib.jit import address, container_of, fls64, jit, ptr, sizeof
from kmem.lib.list import INIT_LIST_HEAD, list_add, list_add_tail, list_del
from kmem.lib.rbtree import no_rb, rb_erase, rb_insert, rb_parent, rb_propagate
from kmem.mm.codes import NO_SPACE, UP_VMALLOC_FAILED
from kmem.mm.events import inner_fails
from kmem.mm.mm_types import kmem_cache, vm_struct, vmap_area, vmap_block
from kmem.mm.mmzone import PAGE_SIZE, priv
from kmem.mm.slab_common import kfree_object
from kmem.mm.slub import kmem_cache_free_one, slab_alloc_node
from kmem.mm.tlb import flush_tlb_kernel_range
from kmem.mm.upcalls import tell

SPACE_START, SPACE_END = -(1 << 47), -4096
VMAP_BBMAP_BITS = 256
"""Pages of one per-CPU block: 1 MiB with CONFIG_NR_CPUS=8192."""


@jit
def no_va(k: Any) -> Any:
    """``(struct vmap_area *)NULL``."""
    return ptr(vmap_area, 0, k)


@jit
def va_of(node: Any) -> Any:
    """``rb_entry(node, struct vmap_area, rb_node)``."""
    return container_of(node, vmap_area, "rb_node")


@jit
def new_va(k: Any, start: int, end: int, gfp: int, node: int) -> Any:
    """A ``struct vmap_area`` from its cache, or NULL."""
    got = 0
    if not inner_fails(k, gfp):
        got = slab_alloc_node(k, k.vmap_area_cachep, gfp | __GFP_ZERO, node, sizeof(vmap_area))
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
        cpu = priv(k).cpu
        low = k.ne_fit_preload_node[cpu]
        if low:
            k.ne_fit_preload_node[cpu] = no_va(k)
        else:
            low = new_va(k, 0, 0, GFP_NOWAIT, -1)
        if not low:
            return False
        low.va_start = va.va_start
        low.va_end = start
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
def free_vmap_block(k: Any, vb: Any) -> None:
    """``free_vmap_block()``: its addresses wait for the purge.

    Differs: the block itself is freed at once, not after a grace period.
    """
    list_del(vb.purge)
    free_vmap_area_noflush(k, vb.va)
    kfree_object(k, address(vb))


@jit
def purge_fragmented_blocks(k: Any, cpu: int) -> None:
    """``purge_fragmented_blocks()``: free the blocks of a CPU of which everything that was handed out has come back."""
    head = k.vmap_block_queue[cpu]
    link = head.next
    while link != head:
        vb = container_of(link, vmap_block, "free_list")
        link = link.next
        if vb.free + vb.dirty == VMAP_BBMAP_BITS and vb.dirty != VMAP_BBMAP_BITS:
            vb.free = 0
            vb.dirty = VMAP_BBMAP_BITS
            list_del(vb.free_list)
            free_vmap_block(k, vb)


@jit
def purge_fragmented_blocks_allcpus(k: Any) -> None:
    """``purge_fragmented_blocks_allcpus()``."""
    for cpu in range(k.nr_cpu_ids):
        purge_fragmented_blocks(k, cpu)


@jit
def purge_lazy_list(k: Any, start: int, end: int) -> bool:
    """``__purge_vmap_area_lazy()``: one TLB flush, then all waiting ranges are free; False if none waits."""
    head = k.purge_vmap_area_list
    if head.next == head:
        return False
    k.purge_vmap_area_root.rb_node = no_rb(head)
    flush_tlb_kernel_range(k, start, end)
    while head.next != head:
        va = container_of(head.next, vmap_area, "list")
        list_del(va.list)
        k.vmap_lazy_nr = k.vmap_lazy_nr - (va.va_end - va.va_start) // PAGE_SIZE
        merge_or_add(k, k.free_vmap_area_root, k.free_vmap_area_list, va, True)
    return True


@jit
def purge_vmap_area_lazy(k: Any) -> None:
    """``purge_vmap_area_lazy()``."""
    purge_fragmented_blocks_allcpus(k)
    purge_lazy_list(k, 0, 0)


@jit
def vm_unmap_aliases(k: Any) -> None:
    """``_vm_unmap_aliases()``: after it no TLB knows what was unmapped, neither of areas nor of parts of blocks."""
    flush = False
    for cpu in range(k.nr_cpu_ids):
        head = k.vmap_block_queue[cpu]
        link = head.next
        while link != head:
            vb = container_of(link, vmap_block, "free_list")
            flush = flush or (vb.dirty != 0 and vb.dirty != VMAP_BBMAP_BITS)
            link = link.next
    purge_fragmented_blocks_allcpus(k)
    if not purge_lazy_list(k, 0, 0) and flush:
        flush_tlb_kernel_range(k, 0, 0)


@jit
def alloc_vmap_area(k: Any, size: int, align: int, vstart: int, vend: int, node: int, gfp: int) -> Any:
    """``alloc_vmap_area()``: a busy area of *size* bytes in [vstart, vend), the lowest; purges before it gives up."""
    gfp &= GFP_RECLAIM_MASK
    va = new_va(k, 0, 0, gfp, node)
    if not va:
        return va
    for attempt in range(2):
        cpu = priv(k).cpu
        if not k.ne_fit_preload_node[cpu]:
            k.ne_fit_preload_node[cpu] = new_va(k, 0, 0, gfp, node)
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
    if not gfp & __GFP_NOWARN:
        tell(k, UP_VMALLOC_FAILED, NO_SPACE, size, gfp, node)
    free_va(k, va)
    return no_va(k)


@jit
def free_vmap_area(k: Any, va: Any) -> None:
    """``free_vmap_area()``: from busy to free, without a purge; nothing was ever mapped there."""
    unlink_va(k.vmap_area_root, va, False)
    merge_or_add(k, k.free_vmap_area_root, k.free_vmap_area_list, va, True)


@jit
def free_vmap_area_noflush(k: Any, va: Any) -> None:
    """``free_vmap_area_noflush()``: from busy to lazy, joined with its lazy neighbours; too many are purged by work
    that runs as soon as it can.
    """
    unlink_va(k.vmap_area_root, va, False)
    k.vmap_lazy_nr = k.vmap_lazy_nr + (va.va_end - va.va_start) // PAGE_SIZE
    merge_or_add(k, k.purge_vmap_area_root, k.purge_vmap_area_list, va, False)
    if k.vmap_lazy_nr > lazy_max_pages(k):
        k.drain_vmap_work = 1


@jit
def drain_vmap_area_work(k: Any) -> None:
    """``drain_vmap_area_work()``."""
    if k.drain_vmap_work:
        k.drain_vmap_work = 0
        purge_lazy_list(k, 0, 0)


@jit
def vmap_init_free_space(k: Any, cache: int) -> None:
    """``vmap_init_free_space()``: everything is free."""
    k.vmap_area_cachep = ptr(kmem_cache, cache, k)
    INIT_LIST_HEAD(k.vmap_area_list)
    INIT_LIST_HEAD(k.free_vmap_area_list)
    INIT_LIST_HEAD(k.purge_vmap_area_list)
    INIT_LIST_HEAD(k.vmap_blocks)
    INIT_LIST_HEAD(k.memtype_list)
    for cpu in range(k.nr_cpu_ids):
        INIT_LIST_HEAD(k.vmap_block_queue[cpu])
    va = new_va(k, SPACE_START, SPACE_END, GFP_KERNEL, -1)
    insert_sorted(k.free_vmap_area_root, k.free_vmap_area_list, va, True)
