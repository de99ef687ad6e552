"""Changing an XArray (lib/xarray.c), 6.1: nodes come and go as entries do.

A state may ask to be told of every node that changes (``xa_update``), so everything here that changes nodes is a
generator; :func:`run` carries one out where nobody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kmem.abi.gfp import __GFP_ACCOUNT, __GFP_DIRECT_RECLAIM, __GFP_NOWARN, GFP_NOWAIT
from kmem.kapi.errno import ENOMEM
from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.rcu import call_rcu
from kmem.kapi.xa_entry import (
    ACCOUNT,
    BOUNDS,
    CHUNK_MASK,
    CHUNK_SHIFT,
    CHUNK_SIZE,
    FREE_MARK,
    LOCK_BH,
    LOCK_IRQ,
    MARK_MAX,
    MASK64,
    RESTART,
    RETRY,
    ZERO,
    ZERO_BUSY,
    Nodes,
    error_of,
    internal,
    is_node,
    is_sibling,
    is_value,
)
from kmem.kapi.xa_state import Xas

_ALL = MASK64
_NODE_FREE = 1
"""``XA_RCU_FREE``, in the ``array`` of a node that waits to be freed."""

data("radix_tree_node_cachep", 8, doc="The slab cache of nodes, lib/radix-tree.c.", private=True)


def run(steps: Guest) -> int:
    """Carry out *steps*, which call no guest code; their result."""
    try:
        next(steps)
    except StopIteration as end:
        return int(end.value or 0)
    raise AssertionError("an array without an update function calls no guest code")


@export(faithful, private=True)
def radix_tree_node_rcu_free(k: Host, head: int) -> None:
    """``void radix_tree_node_rcu_free(struct rcu_head *head)``

    lib/radix-tree.c, 6.1. The node goes back empty, as the cache's constructor made it.
    """
    node = head - Nodes(k).rcu_at
    _empty(k, node)
    k.mm.kmem_cache_free(_cache(k), node)


def _empty(k: Host, node: int) -> None:
    """``radix_tree_node_ctor()``."""
    k.mem.fill(node, 0, k.layout["xa_node"].size)
    own = node + k.layout["xa_node"].offset("private_list")
    k.mem.write(own, own.to_bytes(8, "little") * 2)


def _cache(k: Host) -> int:
    """``radix_tree_node_cachep``, made when it is first needed: the kernel's own, whoever needed it."""
    at = k.address_of("radix_tree_node_cachep")
    cache = k.mem.u64(at)
    if not cache:
        flags = 0x00020000 | 0x00040000  # SLAB_RECLAIM_ACCOUNT, SLAB_PANIC
        with k.context.as_at_boot():
            cache = k.mm.kmem_cache_create("radix_tree_node", k.layout["xa_node"].size, 0, flags, 0, caller=at)
        k.mem.set_u64(at, cache)
    return cache


def _new_node(xas: Xas, gfp: int) -> int:
    k = xas.n.k
    if xas.n.flags(xas.xa) & ACCOUNT:
        gfp |= __GFP_ACCOUNT
    node = k.mm.kmem_cache_alloc(_cache(k), gfp)
    if node:
        _empty(k, node)
    return node


def node_free(xas: Xas, node: int) -> None:
    """``xa_node_free()``."""
    k = xas.n.k
    k.mem.set_u64(node + xas.n.array_at, _NODE_FREE)
    call_rcu(k, node + xas.n.rcu_at, k.address_of("radix_tree_node_rcu_free"))


def destroy(xas: Xas) -> None:
    """``xas_destroy()``: nodes that were allocated and not needed go."""
    k = xas.n.k
    while xas.alloc:
        node, xas.alloc = xas.alloc, xas.n.parent(xas.alloc)
        _empty(k, node)
        k.mm.kmem_cache_free(_cache(k), node)


def nomem(xas: Xas, gfp: int) -> bool:
    """``xas_nomem()``: if it was memory that lacked, allocate with *gfp* and let the operation be tried again."""
    if xas.error != -ENOMEM:
        destroy(xas)
        return False
    with _unlocked(xas, gfp):
        xas.alloc = _new_node(xas, gfp)
    if not xas.alloc:
        return False
    xas.n.set_parent(xas.alloc, 0)
    xas.node = RESTART
    return True


@contextmanager
def _unlocked(xas: Xas, gfp: int) -> Iterator[None]:
    """``xas_unlock_type()`` and ``xas_lock_type()``: the lock, if it is held, is not while memory is waited for.

    The context alone changes: nobody else runs before the lock is taken again.
    """
    k, flags = xas.n.k, xas.n.flags(xas.xa)
    if not (gfp & __GFP_DIRECT_RECLAIM and k.mem.u32(xas.xa)):
        yield
        return
    if flags & LOCK_IRQ:
        k.context.local_irq_enable()
    elif flags & LOCK_BH:
        k.context.local_bh_enable()
    k.context.preempt_enable()
    yield
    k.context.preempt_disable()
    if flags & LOCK_IRQ:
        k.context.local_irq_disable()
    elif flags & LOCK_BH:
        k.context.local_bh_disable()


def update(xas: Xas, node: int) -> Guest:
    """``xas_update()``."""
    if xas.update:
        yield Call(xas.update, (node,))
    return 0


def _alloc(xas: Xas, shift: int) -> Guest:
    """``xas_alloc()``: a node below the place; 0, and the error in the state, if there is no memory."""
    n, parent = xas.n, xas.node
    if xas.invalid:
        return 0
    if xas.alloc:
        node, xas.alloc = xas.alloc, 0
    else:
        node = _new_node(xas, GFP_NOWAIT | __GFP_NOWARN)
        if not node:
            xas.set_error(-ENOMEM)
            return 0
    if parent:
        n.set_offset(node, xas.offset)
        n.set_count(parent, n.count(parent) + 1)
        yield from update(xas, parent)
    n.set_shift(node, shift)
    n.set_count(node, 0)
    n.set_values(node, 0)
    n.set_parent(node, xas.node)
    n.mem.set_u64(node + n.array_at, xas.xa)
    return node


def _shrink(xas: Xas) -> Guest:
    """``xas_shrink()``: a top node with nothing but slot 0 is not needed."""
    n, xa, node = xas.n, xas.xa, xas.node
    while n.count(node) == 1:
        entry = n.slot(node, 0)
        if not entry or (not is_node(entry) and n.shift(node)):
            break
        if entry == ZERO and n.flags(xa) & ZERO_BUSY:
            entry = 0
        xas.node = BOUNDS
        n.set_head(xa, entry)
        if xas.tracks_free and not n.marks(node, FREE_MARK) & 1:
            n.mark_array(xa, FREE_MARK, False)
        n.set_count(node, 0)
        n.set_values(node, 0)
        if not is_node(entry):
            n.set_slot(node, 0, RETRY)
        yield from update(xas, node)
        node_free(xas, node)
        if not is_node(entry):
            break
        node = entry - 2
        n.set_parent(node, 0)
    return 0


def _delete_node(xas: Xas) -> Guest:
    """``xas_delete_node()``: an empty node goes, and those above that it leaves empty."""
    n, node = xas.n, xas.node
    while not n.count(node):
        parent = n.parent(node)
        xas.node, xas.offset = parent, n.offset(node)
        node_free(xas, node)
        if not parent:
            n.set_head(xas.xa, 0)
            xas.node = BOUNDS
            return 0
        n.set_slot(parent, xas.offset, 0)
        n.set_count(parent, n.count(parent) - 1)
        node = parent
        yield from update(xas, node)
    if not n.parent(node):
        yield from _shrink(xas)
    return 0


def free_nodes(xas: Xas, top: int) -> Guest:
    """``xas_free_nodes()``: *top* and all below it; readers find that they must try again."""
    n, node, offset = xas.n, top, 0
    while True:
        entry = n.slot(node, offset)
        if n.shift(node) and is_node(entry):
            node, offset = entry - 2, 0
            continue
        if entry:
            n.set_slot(node, offset, RETRY)
        offset += 1
        while offset == CHUNK_SIZE:
            parent, offset = n.parent(node), n.offset(node) + 1
            n.set_count(node, 0)
            n.set_values(node, 0)
            yield from update(xas, node)
            node_free(xas, node)
            if node == top:
                return 0
            node = parent


def _expand(xas: Xas, head: int) -> Guest:
    """``xas_expand()``: nodes on top until the array reaches the place; the shift above the top one, or -ENOMEM."""
    n, xa, node, shift, largest = xas.n, xas.xa, 0, 0, xas.max
    if not head:
        if not largest:
            return 0
        while largest >> shift >= CHUNK_SIZE:
            shift += CHUNK_SHIFT
        return shift + CHUNK_SHIFT
    if is_node(head):
        node = head - 2
        shift = n.shift(node) + CHUNK_SHIFT
    xas.node = 0
    while largest > n.max_index(head):
        node = yield from _alloc(xas, shift)
        if not node:
            return -ENOMEM
        n.set_count(node, 1)
        if is_value(head):
            n.set_values(node, 1)
        n.set_slot(node, 0, head)
        for mark in range(MARK_MAX + 1):
            if mark == FREE_MARK and xas.tracks_free:
                marked = n.marked(xa, FREE_MARK)
                n.set_marks(node, mark, _ALL if marked else _ALL & ~1)
                n.mark_array(xa, FREE_MARK, True)
            elif n.marked(xa, mark):
                n.set_marks(node, mark, n.marks(node, mark) | 1)
        if is_node(head):
            n.set_offset(head - 2, 0)
            n.set_parent(head - 2, node)
        head = node + 2
        n.set_head(xa, head)
        yield from update(xas, node)
        shift += CHUNK_SHIFT
    xas.node = node
    return shift


def create(xas: Xas, allow_root: bool) -> Guest:
    """``xas_create()``: all nodes down to the place; the entry there."""
    n, xa = xas.n, xas.xa
    node, slot = xas.node, 0
    if xas.top:
        entry = n.head(xa)
        xas.node = 0
        if not entry and n.flags(xa) & ZERO_BUSY:
            entry = ZERO
        shift = yield from _expand(xas, entry)
        if shift < 0:
            return 0
        if not shift and not allow_root:
            shift = CHUNK_SHIFT
        entry, slot = n.head(xa), xa + n.head_at
    elif xas.error:
        return 0
    else:
        shift = n.shift(node)
        entry, slot = n.slot(node, xas.offset), node + n.slots_at + 8 * xas.offset
    while shift > xas.order_shift:
        shift -= CHUNK_SHIFT
        if not entry:
            node = yield from _alloc(xas, shift)
            if not node:
                break
            if xas.tracks_free:
                n.set_marks(node, FREE_MARK, _ALL)
            n.mem.set_u64(slot, node + 2)
        elif is_node(entry):
            node = entry - 2
        else:
            break
        entry = xas.descend(node)
        slot = node + n.slots_at + 8 * xas.offset
    return entry


def create_range(xas: Xas) -> Guest:
    """``xas_create_range()``: the nodes that a range of single entries needs."""
    n = xas.n
    index, shift, sibs = xas.index, xas.order_shift, xas.sibs
    xas.index |= (sibs + 1 << shift) - 1
    if not xas.not_node and n.shift(xas.node) == shift:
        xas.offset |= sibs
    xas.order_shift = xas.sibs = 0
    while True:
        yield from create(xas, True)
        if xas.error:
            xas.order_shift, xas.sibs, xas.index = shift, sibs, index
            return 0
        if xas.index <= index | CHUNK_MASK:
            break
        xas.index -= CHUNK_SIZE
        while n.shift(node := xas.node) < shift:
            xas.node, xas.offset = n.parent(node), n.offset(node) - 1
            if n.offset(node):
                break
    xas.index = index
    if xas.node:
        xas.set_offset()
    return 0


def _squash_marks(xas: Xas) -> None:
    """``xas_squash_marks()``: a mark of a slot that becomes a sibling is the entry's."""
    n = xas.n
    others = ((1 << xas.sibs) - 1) << xas.offset + 1
    for mark in range(MARK_MAX + 1):
        bits = n.marks(xas.node, mark)
        if bits & others:
            n.set_marks(xas.node, mark, bits & ~others | 1 << xas.offset)


def store(xas: Xas, entry: int) -> Guest:
    """``xas_store()``: the entry that was there."""
    n = xas.n
    value = is_value(entry)
    if entry:
        first = yield from create(xas, not is_node(entry) and entry != ZERO)
    else:
        first = xas.load()
    if xas.invalid:
        return first
    node = xas.node
    if node and xas.order_shift < n.shift(node):
        xas.sibs = 0
    if first == entry and not xas.sibs:
        return first
    following, offset, last = first, xas.offset, xas.offset + xas.sibs
    if node and xas.sibs:
        _squash_marks(xas)
    if not entry:
        xas.init_marks()
    count = values = 0
    while True:
        if node:
            n.set_slot(node, offset, entry)
        else:
            n.set_head(xas.xa, entry)
        if is_node(following) and (not node or n.shift(node)):
            yield from free_nodes(xas, following - 2)
        if not node:
            break
        count += (not following) - (not entry)
        values += (not is_value(first)) - (not value)
        if entry:
            if offset == last:
                break
            if not is_sibling(entry):
                entry = internal(xas.offset)
        elif offset == CHUNK_MASK:
            break
        offset += 1
        following = n.slot(node, offset)
        if not is_sibling(following):
            if not entry and offset > last:
                break
            first = following
    yield from _update_node(xas, node, count, values)
    return first


def _update_node(xas: Xas, node: int, count: int, values: int) -> Guest:
    """``update_node()``."""
    if not node or not (count or values):
        return 0
    n = xas.n
    n.set_count(node, n.count(node) + count)
    n.set_values(node, n.values(node) + values)
    yield from update(xas, node)
    if count < 0:
        yield from _delete_node(xas)
    return 0


def split_alloc(xas: Xas, entry: int, order: int, gfp: int) -> None:
    """``xas_split_alloc()``: the nodes that splitting an entry of *order* at the place needs, filled already."""
    n, k = xas.n, xas.n.k
    if xas.order_shift + 2 * CHUNK_SHIFT < order:
        k.warn("lib/xarray.c", 1027, "xas_split_alloc")
        xas.set_error(-ENOMEM)
        return
    if xas.order_shift + CHUNK_SHIFT > order:
        return
    for _ in range(1 << order % CHUNK_SHIFT):
        node = _new_node(xas, gfp)
        if not node:
            destroy(xas)
            xas.set_error(-ENOMEM)
            return
        n.mem.set_u64(node + n.array_at, xas.xa)
        sibling = 0
        for slot in range(CHUNK_SIZE):
            if slot & xas.sibs:
                n.set_slot(node, slot, sibling)
            else:
                n.set_slot(node, slot, entry)
                sibling = internal(slot)
        n.set_parent(node, xas.alloc)
        xas.alloc = node


def split(xas: Xas, entry: int, order: int) -> Guest:
    """``xas_split()``: the entry of *order* becomes several of the order of the place, which are *entry*."""
    n = xas.n
    current = xas.load()
    node, values = xas.node, 0
    if xas.top:
        return 0
    marks = [mark for mark in range(MARK_MAX + 1) if n.marks(node, mark) >> xas.offset & 1]
    offset = xas.offset + (1 << order % CHUNK_SHIFT) - 1
    while True:
        if xas.order_shift < n.shift(node):
            child, xas.alloc = xas.alloc, n.parent(xas.alloc)
            n.set_shift(child, n.shift(node) - CHUNK_SHIFT)
            n.set_offset(child, offset)
            n.set_count(child, CHUNK_SIZE)
            n.set_values(child, CHUNK_SIZE if is_value(entry) else 0)
            n.set_parent(child, node)
            for mark in marks:
                n.set_marks(node, mark, n.marks(node, mark) | 1 << offset)
                n.set_marks(child, mark, _ALL)
            n.set_slot(node, offset, child + 2)
            values -= is_value(current)
            yield from update(xas, child)
        else:
            canon = offset - xas.sibs
            for mark in marks:
                n.set_marks(node, mark, n.marks(node, mark) | 1 << canon)
            n.set_slot(node, canon, entry)
            while offset > canon:
                n.set_slot(node, offset, internal(canon))
                offset -= 1
            values += (is_value(entry) - is_value(current)) * (xas.sibs + 1)
        offset -= 1
        if offset < xas.offset:
            break
    n.set_values(node, n.values(node) + values)
    yield from update(xas, node)
    return 0


def result(xas: Xas, current: int) -> int:
    """``xas_result()``: what the plain interface returns."""
    if current == ZERO:
        return 0
    return xas.node if error_of(xas.node) else current
