"""The plain interface of the XArray (lib/xarray.c), 6.1: one entry at an index."""

from __future__ import annotations

from kmem.kapi import xa_store
from kmem.kapi.errno import EBUSY, EINVAL
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Guest, Host
from kmem.kapi.xa_entry import (
    ALLOC_WRAPPED,
    CHUNK_MASK,
    CHUNK_SHIFT,
    CHUNK_SIZE,
    FREE_MARK,
    MARKS,
    MASK64,
    RESTART,
    RETRY,
    ZERO,
    ZERO_BUSY,
    Nodes,
    error,
    is_advanced,
    is_internal,
    is_node,
)
from kmem.kapi.xa_state import Xas

FILE = "lib/xarray.c"


def load(k: Host, xa: int, index: int) -> int:
    """``xa_load()``."""
    entry = Xas(Nodes(k), xa, index).load()
    return 0 if entry in (ZERO, RETRY) else entry


@export(faithful)
def xa_load(k: Host, xa: int, index: int) -> int:
    """``void *xa_load(struct xarray *xa, unsigned long index)``

    lib/xarray.c, 6.1.
    """
    return load(k, xa, index)


def _store(xas: Xas, entry: int) -> int:
    return xa_store.run(xa_store.store(xas, entry))


@export(faithful)
def __xa_erase(k: Host, xa: int, index: int) -> int:
    """``void *__xa_erase(struct xarray *xa, unsigned long index)``

    lib/xarray.c, 6.1.
    """
    xas = Xas(Nodes(k), xa, index)
    return xa_store.result(xas, _store(xas, 0))


@export(faithful)
def xa_erase(k: Host, xa: int, index: int) -> int:
    """``void *xa_erase(struct xarray *xa, unsigned long index)``

    lib/xarray.c, 6.1.
    """
    return __xa_erase(k, xa, index)


def _refused(k: Host, entry: int, line: int, function: str) -> bool:
    """Whether *entry* is none that the plain interface may store; then it warns."""
    if is_advanced(entry):
        k.warn(FILE, line, function, once=True)
        return True
    return False


@export(faithful)
def __xa_store(k: Host, xa: int, index: int, entry: int, gfp: int) -> int:
    """``void *__xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp)``

    lib/xarray.c, 6.1.
    """
    if _refused(k, entry, 1592, "__xa_store"):
        return error(-EINVAL)
    xas = Xas(Nodes(k), xa, index)
    tracks_free = xas.tracks_free
    if tracks_free and not entry:
        entry = ZERO
    while True:
        before = _store(xas, entry)
        if tracks_free:
            xas.clear_mark(FREE_MARK)
        if not xa_store.nomem(xas, gfp):
            return xa_store.result(xas, before)


@export(faithful, name="xa_store")
def xa_store_plain(k: Host, xa: int, index: int, entry: int, gfp: int) -> int:
    """``void *xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp)``

    lib/xarray.c, 6.1.
    """
    return __xa_store(k, xa, index, entry, gfp)


@export(faithful)
def __xa_cmpxchg(k: Host, xa: int, index: int, old: int, entry: int, gfp: int) -> int:
    """``void *__xa_cmpxchg(struct xarray *xa, unsigned long index, void *old, void *entry, gfp_t gfp)``

    lib/xarray.c, 6.1. Stores *entry* where *old* is.
    """
    if _refused(k, entry, 1658, "__xa_cmpxchg"):
        return error(-EINVAL)
    xas = Xas(Nodes(k), xa, index)
    while True:
        before = xas.load()
        if before == old:
            _store(xas, entry)
            if xas.tracks_free and entry and not before:
                xas.clear_mark(FREE_MARK)
        if not xa_store.nomem(xas, gfp):
            return xa_store.result(xas, before)


@export(faithful)
def __xa_insert(k: Host, xa: int, index: int, entry: int, gfp: int) -> int:
    """``int __xa_insert(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp)``

    lib/xarray.c, 6.1. -EBUSY if there is an entry.
    """
    if _refused(k, entry, 1694, "__xa_insert"):
        return -EINVAL
    xas = Xas(Nodes(k), xa, index)
    while True:
        if xas.load():
            xas.set_error(-EBUSY)
        else:
            _store(xas, entry or ZERO)
            if xas.tracks_free:
                xas.clear_mark(FREE_MARK)
        if not xa_store.nomem(xas, gfp):
            return xas.error


def _set_range(xas: Xas, first: int, last: int) -> None:
    """``xas_set_range()``: the largest entry that begins at *first* and does not reach beyond *last*."""
    shift, sibs, offset = 0, last - first, CHUNK_MASK
    xas.index, xas.node = first, RESTART
    while not first & CHUNK_MASK:
        if sibs < CHUNK_MASK or (sibs == CHUNK_MASK and offset < CHUNK_MASK):
            break
        shift += CHUNK_SHIFT
        if offset == CHUNK_MASK:
            offset = sibs & CHUNK_MASK
        sibs >>= CHUNK_SHIFT
        first >>= CHUNK_SHIFT
    offset = first & CHUNK_MASK
    sibs = min(sibs, CHUNK_MASK - offset)
    if ((first + sibs + 1 << shift) - 1) & MASK64 > last:
        sibs -= 1
    xas.order_shift, xas.sibs = shift, sibs


def _set_order(xas: Xas, index: int, order: int) -> None:
    """``xas_set_order()``."""
    xas.index = index >> order << order if order < 64 else 0
    xas.order_shift = order - order % CHUNK_SHIFT
    xas.sibs = (1 << order % CHUNK_SHIFT) - 1
    xas.node = RESTART


@export(faithful)
def xa_store_range(k: Host, xa: int, first: int, last: int, entry: int, gfp: int) -> int:
    """``void *xa_store_range(struct xarray *xa, unsigned long first, unsigned long last, void *entry, gfp_t gfp)``

    lib/xarray.c, 6.1. One entry for a range of indices; internal ones are refused.
    """
    if is_internal(entry):
        k.warn(FILE, 1773, "xa_store_range", once=True)
        return error(-EINVAL)
    if last < first:
        return error(-EINVAL)
    xas = Xas(Nodes(k), xa)
    while True:
        first = _try_range(xas, first, last, entry)
        if not xa_store.nomem(xas, gfp):
            return xa_store.result(xas, 0)


def _try_range(xas: Xas, first: int, last: int, entry: int) -> int:
    """Store as far as memory allows; where to go on."""
    if entry:
        end = last + 1 & MASK64
        _set_order(xas, last, (end & -end).bit_length() - 1 if end else 64)
        xa_store.run(xa_store.create(xas, True))
        if xas.error:
            return first
    while True:
        _set_range(xas, first, last)
        _store(xas, entry)
        if xas.error:
            return first
        first += xas.size
        if first > last:
            return first


@export(faithful)
def xa_get_order(k: Host, xa: int, index: int) -> int:
    """``int xa_get_order(struct xarray *xa, unsigned long index)``

    lib/xarray.c, 6.1.
    """
    xas = Xas(Nodes(k), xa, index)
    return xas.order() if xas.load() else 0


def _alloc(k: Host, xa: int, id_: int, entry: int, low: int, high: int, gfp: int) -> int:
    xas = Xas(Nodes(k), xa)
    if not xas.tracks_free:
        k.warn(FILE, 1894, "__xa_alloc", once=True)
        return -EINVAL
    while True:
        xas.index = low
        xas.find_marked(high, FREE_MARK)
        if xas.node == RESTART:
            xas.set_error(-EBUSY)
        else:
            k.mem.set_u32(id_, xas.index & 0xFFFFFFFF)
        _store(xas, entry or ZERO)
        xas.clear_mark(FREE_MARK)
        if not xa_store.nomem(xas, gfp):
            return xas.error


@export(faithful)
def __xa_alloc(k: Host, xa: int, id: int, entry: int, limit: int, gfp: int) -> int:
    """``int __xa_alloc(struct xarray *xa, u32 *id, void *entry, u64 limit, gfp_t gfp)``

    lib/xarray.c, 6.1. *limit* is a ``struct xa_limit``: the largest index in the low half, the smallest above. -EBUSY
    if none is free.
    """
    if _refused(k, entry, 1892, "__xa_alloc"):
        return -EINVAL
    return _alloc(k, xa, id, entry, limit >> 32, limit & 0xFFFFFFFF, gfp)


@export(faithful)
def __xa_alloc_cyclic(k: Host, xa: int, id: int, entry: int, limit: int, next: int, gfp: int) -> int:
    """``int __xa_alloc_cyclic(struct xarray *xa, u32 *id, void *entry, u64 limit, u32 *next, gfp_t gfp)``

    lib/xarray.c, 6.1. From ``*next`` on, then from the smallest; 1 if it began anew.
    """
    if _refused(k, entry, 1892, "__xa_alloc"):
        return -EINVAL
    n = Nodes(k)
    high, low = limit & 0xFFFFFFFF, limit >> 32
    start = max(low, k.mem.u32(next))
    result = _alloc(k, xa, id, entry, start, high, gfp)
    if not result and n.flags(xa) & ALLOC_WRAPPED:
        n.set_flags(xa, n.flags(xa) & ~ALLOC_WRAPPED)
        result = 1
    if result < 0 and start > low:
        result = _alloc(k, xa, id, entry, low, high, gfp) or 1
    if result >= 0:
        following = k.mem.u32(id) + 1 & 0xFFFFFFFF
        k.mem.set_u32(next, following)
        if not following:
            n.set_flags(xa, n.flags(xa) | ALLOC_WRAPPED)
    return result


@export(faithful)
def __xa_set_mark(k: Host, xa: int, index: int, mark: int) -> None:
    """``void __xa_set_mark(struct xarray *xa, unsigned long index, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    xas = Xas(Nodes(k), xa, index)
    if xas.load():
        xas.set_mark(mark)


@export(faithful)
def __xa_clear_mark(k: Host, xa: int, index: int, mark: int) -> None:
    """``void __xa_clear_mark(struct xarray *xa, unsigned long index, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    xas = Xas(Nodes(k), xa, index)
    if xas.load():
        xas.clear_mark(mark)


@export(faithful)
def xa_set_mark(k: Host, xa: int, index: int, mark: int) -> None:
    """``void xa_set_mark(struct xarray *xa, unsigned long index, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    __xa_set_mark(k, xa, index, mark)


@export(faithful)
def xa_clear_mark(k: Host, xa: int, index: int, mark: int) -> None:
    """``void xa_clear_mark(struct xarray *xa, unsigned long index, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    __xa_clear_mark(k, xa, index, mark)


@export(faithful)
def xa_get_mark(k: Host, xa: int, index: int, mark: int) -> bool:
    """``bool xa_get_mark(struct xarray *xa, unsigned long index, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    xas = Xas(Nodes(k), xa, index)
    entry = xas.start()
    while xas.get_mark(mark):
        if not is_node(entry):
            return True
        entry = xas.descend(entry - 2)
    return False


def _find(xas: Xas, max: int, filter: int) -> int:
    return xas.find_marked(max, filter) if filter < MARKS else xas.find(max)


def _retry(xas: Xas, entry: int) -> bool:
    """``xas_retry()``."""
    if entry == ZERO:
        return True
    if entry != RETRY:
        return False
    xas.node = RESTART
    return True


@export(faithful)
def xa_find(k: Host, xa: int, indexp: int, max: int, filter: int) -> int:
    """``void *xa_find(struct xarray *xa, unsigned long *indexp, unsigned long max, xa_mark_t filter)``

    lib/xarray.c, 6.1. From ``*indexp`` on.
    """
    xas = Xas(Nodes(k), xa, k.mem.u64(indexp))
    while _retry(xas, entry := _find(xas, max, filter)):
        pass
    if entry:
        k.mem.set_u64(indexp, xas.index)
    return entry


def _sibling(xas: Xas) -> bool:
    """``xas_sibling()``: the index is not the first of its entry."""
    if not xas.node:
        return False
    shift = xas.n.shift(xas.node)
    return xas.index & (CHUNK_SIZE << shift) - 1 > xas.offset << shift


@export(faithful)
def xa_find_after(k: Host, xa: int, indexp: int, max: int, filter: int) -> int:
    """``void *xa_find_after(struct xarray *xa, unsigned long *indexp, unsigned long max, xa_mark_t filter)``

    lib/xarray.c, 6.1. Behind ``*indexp``.
    """
    start = k.mem.u64(indexp) + 1 & MASK64
    if not start:
        return 0
    xas = Xas(Nodes(k), xa, start)
    while True:
        entry = _find(xas, max, filter)
        if xas.invalid:
            break
        if _sibling(xas):
            continue
        if not _retry(xas, entry):
            break
    if entry:
        k.mem.set_u64(indexp, xas.index)
    return entry


@export(faithful)
def xa_extract(k: Host, xa: int, dst: int, start: int, max: int, n: int, filter: int) -> int:
    """``unsigned int xa_extract(struct xarray *xa, void **dst, unsigned long start, unsigned long max, unsigned int n,
    xa_mark_t filter)``

    lib/xarray.c, 6.1. At most *n* entries.
    """
    xas, count = Xas(Nodes(k), xa, start), 0
    while count < n and (entry := _find(xas, max, filter)):
        if not _retry(xas, entry):
            k.mem.set_u64(dst + 8 * count, entry)
            count += 1
    return count


@export(faithful)
def xa_delete_node(k: Host, node: int, update: int) -> Guest:
    """``void xa_delete_node(struct xa_node *node, xa_update_node_t update)``

    lib/xarray.c, 6.1. All entries below *node* go.
    """
    n = Nodes(k)
    shift = n.shift(node) + CHUNK_SHIFT
    xas = Xas(n, k.mem.u64(node + n.array_at), n.offset(node) << shift & MASK64)
    xas.order_shift, xas.offset, xas.node, xas.update = shift, n.offset(node), n.parent(node), update
    yield from xa_store.store(xas, 0)
    return 0


@export(faithful)
def xa_destroy(k: Host, xa: int) -> None:
    """``void xa_destroy(struct xarray *xa)``

    lib/xarray.c, 6.1. Entries are the caller's to free.
    """
    xas = Xas(Nodes(k), xa)
    xas.node = 0
    entry = xas.n.head(xa)
    xas.n.set_head(xa, 0)
    xas.init_marks()
    if xas.n.flags(xa) & ZERO_BUSY:
        xas.n.mark_array(xa, FREE_MARK, False)
    if is_node(entry):
        xa_store.run(xa_store.free_nodes(xas, entry - 2))
