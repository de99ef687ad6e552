"""Small numbers for pointers (lib/idr.c) and radix trees (lib/radix-tree.c), 6.1.

Both are XArrays underneath; those of IDRs have the free mark on slots that no pointer has, NULL being a pointer, too.
"""

from __future__ import annotations

from kmem.kapi import xa_store
from kmem.kapi.errno import EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, err_ptr
from kmem.kapi.export import export, simplified
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.xa_entry import FREE_MARK, MASK64, RESTART, RETRY, TRACK_FREE, ZERO, Nodes, is_node
from kmem.kapi.xa_state import Xas

INT_MAX = (1 << 31) - 1
_TREE = simplified("nodes are not preloaded; an IDR keeps its nodes as an XArray does")


def _base(k: Host, idr: int) -> int:
    return k.mem.u32(idr + k.layout["idr"].offset("idr_base"))


def _load(k: Host, root: int, index: int) -> int:
    entry = Xas(Nodes(k), root, index).load()
    return 0 if entry in (RETRY, ZERO) else entry


def _alloc(k: Host, idr: int, ptr: int, low: int, high: int, gfp: int) -> int:
    """The smallest free number from *low* to *high*, or a negative errno."""
    base = _base(k, idr)
    if high < base:
        return -ENOSPC
    nodes = Nodes(k)
    if not nodes.flags(idr) & TRACK_FREE:
        k.warn("lib/idr.c", 42, "idr_alloc_u32", once=True)
        return -EINVAL
    xas = Xas(nodes, idr)
    while True:
        xas.index = max(low - base, 0)
        xas.node = RESTART
        xas.find_marked(high - base, FREE_MARK)
        if xas.node == RESTART:
            return -ENOSPC
        xa_store.run(xa_store.store(xas, ptr or ZERO))
        xas.clear_mark(FREE_MARK)
        if not xa_store.nomem(xas, gfp):
            return xas.error or xas.index + base


@export(_TREE)
def idr_alloc_u32(k: Host, idr: int, ptr: int, nextid: int, max: int, gfp: int) -> int:
    """``int idr_alloc_u32(struct idr *idr, void *ptr, u32 *nextid, unsigned long max, gfp_t gfp)``

    lib/idr.c, 6.1. From ``*nextid`` on; the number goes there.
    """
    number = _alloc(k, idr, ptr, k.mem.u32(nextid), max, gfp)
    if number < 0:
        return number
    k.mem.set_u32(nextid, number)
    return 0


@export(_TREE)
def idr_alloc(k: Host, idr: int, ptr: int, start: int, end: int, gfp: int) -> int:
    """``int idr_alloc(struct idr *idr, void *ptr, int start, int end, gfp_t gfp)``

    lib/idr.c, 6.1. From *start* to below *end*; no end if that is 0.
    """
    if start < 0:
        k.warn("lib/idr.c", 84, "idr_alloc", once=True)
        return -EINVAL
    return _alloc(k, idr, ptr, start, end - 1 if end > 0 else INT_MAX, gfp)


@export(_TREE)
def idr_alloc_cyclic(k: Host, idr: int, ptr: int, start: int, end: int, gfp: int) -> int:
    """``int idr_alloc_cyclic(struct idr *idr, void *ptr, int start, int end, gfp_t gfp)``

    lib/idr.c, 6.1. Behind the number that was given last, then from *start*.
    """
    next_at = idr + k.layout["idr"].offset("idr_next")
    high = end - 1 if end > 0 else INT_MAX
    first = k.mem.s32(next_at)
    first = max(first, start)
    number = _alloc(k, idr, ptr, first, high, gfp)
    if number == -ENOSPC and first > start:
        number = _alloc(k, idr, ptr, start, high, gfp)
    if number >= 0:
        k.mem.set_u32(next_at, number + 1)
    return number


def _remove(k: Host, root: int, index: int) -> int:
    xas = Xas(Nodes(k), root, index)
    before = xa_store.run(xa_store.store(xas, 0))
    return 0 if before == ZERO else before


@export(_TREE)
def idr_remove(k: Host, idr: int, id: int) -> int:
    """``void *idr_remove(struct idr *idr, unsigned long id)``

    lib/idr.c, 6.1. The pointer that was there.
    """
    return _remove(k, idr, id - _base(k, idr) & MASK64)


@export(_TREE)
def idr_find(k: Host, idr: int, id: int) -> int:
    """``void *idr_find(const struct idr *idr, unsigned long id)``

    lib/idr.c, 6.1.
    """
    return _load(k, idr, id - _base(k, idr) & MASK64)


@export(_TREE)
def idr_replace(k: Host, idr: int, ptr: int, id: int) -> int:
    """``void *idr_replace(struct idr *idr, void *ptr, unsigned long id)``

    lib/idr.c, 6.1. The old pointer; -ENOENT for a number that is not in use.
    """
    xas = Xas(Nodes(k), idr, id - _base(k, idr) & MASK64)
    before = xas.load()
    if not before:
        return err_ptr(-ENOENT)
    xa_store.run(xa_store.store(xas, ptr or ZERO))
    return 0 if before == ZERO else before


def _next(k: Host, idr: int, start: int) -> tuple[int, int]:
    """The next number from *start* on that has a pointer, and the pointer, 0 if there is none."""
    base = _base(k, idr)
    xas = Xas(Nodes(k), idr, max(start - base, 0))
    while entry := xas.find(MASK64):
        if entry != ZERO and entry != RETRY:
            return xas.index + base, entry
    return 0, 0


@export(_TREE)
def idr_get_next_ul(k: Host, idr: int, nextid: int) -> int:
    """``void *idr_get_next_ul(struct idr *idr, unsigned long *nextid)``

    lib/idr.c, 6.1.
    """
    number, entry = _next(k, idr, k.mem.u64(nextid))
    if entry:
        k.mem.set_u64(nextid, number)
    return entry


@export(_TREE)
def idr_get_next(k: Host, idr: int, nextid: int) -> int:
    """``void *idr_get_next(struct idr *idr, int *nextid)``

    lib/idr.c, 6.1.
    """
    number, entry = _next(k, idr, k.mem.s32(nextid))
    if entry:
        k.mem.set_u32(nextid, number)
    return entry


@export(_TREE)
def idr_for_each(k: Host, idr: int, fn: int, data: int) -> Guest:
    """``int idr_for_each(const struct idr *idr, int (*fn)(int id, void *p, void *data), void *data)``

    lib/idr.c, 6.1. Stops at the first that *fn* does not return 0 for.
    """
    number, entry = _next(k, idr, 0)
    while entry:
        result = s32((yield Call(fn, (number, entry, data))))
        if result:
            return result
        number, entry = _next(k, idr, number + 1)
    return 0


@export(_TREE)
def idr_preload(k: Host, gfp_mask: int) -> None:
    """``void idr_preload(gfp_t gfp_mask)``

    lib/radix-tree.c, 6.1. The caller may not be preempted until idr_preload_end().
    """
    k.context.preempt_disable()


@export(_TREE)
def idr_destroy(k: Host, idr: int) -> None:
    """``void idr_destroy(struct idr *idr)``

    lib/radix-tree.c, 6.1. The pointers are the caller's to free.
    """
    xas = Xas(Nodes(k), idr)
    xas.node = 0
    entry = xas.n.head(idr)
    xas.n.set_head(idr, 0)
    xas.n.mark_array(idr, FREE_MARK, True)
    if is_node(entry):
        xa_store.run(xa_store.free_nodes(xas, entry - 2))


@export(_TREE)
def radix_tree_insert(k: Host, root: int, index: int, item: int) -> int:
    """``int radix_tree_insert(struct xarray *root, unsigned long index, void *item)``

    lib/radix-tree.c, 6.1. -EEXIST if there is one.
    """
    xas = Xas(Nodes(k), root, index)
    if xas.load():
        return -EEXIST
    gfp = xas.n.flags(root) & (1 << xas.n.tag_shift) - 1 & ~TRACK_FREE
    while True:
        xa_store.run(xa_store.store(xas, item))
        if not xa_store.nomem(xas, gfp):
            return -ENOMEM if xas.error else 0


@export(_TREE)
def radix_tree_lookup(k: Host, root: int, index: int) -> int:
    """``void *radix_tree_lookup(const struct xarray *root, unsigned long index)``

    lib/radix-tree.c, 6.1.
    """
    return _load(k, root, index)


@export(_TREE)
def radix_tree_delete(k: Host, root: int, index: int) -> int:
    """``void *radix_tree_delete(struct xarray *root, unsigned long index)``

    lib/radix-tree.c, 6.1.
    """
    return _remove(k, root, index)


@export(_TREE)
def radix_tree_delete_item(k: Host, root: int, index: int, item: int) -> int:
    """``void *radix_tree_delete_item(struct xarray *root, unsigned long index, void *item)``

    lib/radix-tree.c, 6.1. Only *item*, unless that is NULL.
    """
    found = _load(k, root, index)
    return _remove(k, root, index) if found and item in (0, found) else 0


@export(_TREE)
def radix_tree_gang_lookup(k: Host, root: int, results: int, first_index: int, max_items: int) -> int:
    """``unsigned int radix_tree_gang_lookup(const struct xarray *root, void **results, unsigned long first_index,
    unsigned int max_items)``

    lib/radix-tree.c, 6.1. The next entries from *first_index* on; how many.
    """
    xas, count = Xas(Nodes(k), root, first_index), 0
    while count < max_items and (entry := xas.find(MASK64)):
        k.mem.set_u64(results + 8 * count, entry)
        count += 1
    return count


@export(_TREE)
def radix_tree_preload(k: Host, gfp_mask: int) -> int:
    """``int radix_tree_preload(gfp_t gfp_mask)``

    lib/radix-tree.c, 6.1. The caller may not be preempted until radix_tree_preload_end().
    """
    k.context.preempt_disable()
    return 0
