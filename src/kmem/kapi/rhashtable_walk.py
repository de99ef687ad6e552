"""Walking through a hash table that may be resized meanwhile (lib/rhashtable.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import EAGAIN, err_ptr
from kmem.kapi.export import export, faithful
from kmem.kapi.fields import at, get, put
from kmem.kapi.host import Host
from kmem.kapi.lists import add, delete
from kmem.kapi.rcu import __rcu_read_lock, __rcu_read_unlock
from kmem.kapi.rhashtable import LIST_NEXT
from kmem.kapi.rhashtable_nested import bucket_of

_ITER = "rhashtable_iter"


def _link(k: Host, iter: int) -> int:
    """The iterator's link in its table's list of walkers; ``tbl`` comes behind it."""
    return at(k, _ITER, iter, "walker")


def _table(k: Host, iter: int) -> int:
    return get(k, "rhashtable_walker", _link(k, iter), "tbl")


def _set_table(k: Host, iter: int, tbl: int) -> None:
    put(k, "rhashtable_walker", _link(k, iter), "tbl", tbl)


def _set(k: Host, iter: int, **values: int) -> None:
    for member, value in values.items():
        put(k, _ITER, iter, member, value)


def _chain(k: Host, tbl: int, slot: int, several: int) -> list[tuple[int, int]]:
    """The elements of a bucket: (head of those with one key, element)."""
    bkt, found = bucket_of(k, tbl, slot), []
    head = k.mem.u64(bkt) & ~1 or 1 if bkt else 1
    while not head & 1:
        element = head
        while element:
            found.append((head, element))
            element = k.mem.u64(element + LIST_NEXT) if several else 0
        head = k.mem.u64(head)
    return found


def _several(k: Host, iter: int) -> int:
    return get(k, "rhashtable", get(k, _ITER, iter, "ht"), "rhlist")


def _object(k: Host, iter: int, element: int) -> int:
    params = at(k, "rhashtable", get(k, _ITER, iter, "ht"), "p")
    return element - get(k, "rhashtable_params", params, "head_offset")


def _found(k: Host, iter: int, head: int, element: int) -> int:
    skip = get(k, _ITER, iter, "skip") + 1
    _set(k, iter, skip=skip, p=head, list=element if _several(k, iter) else get(k, _ITER, iter, "list"))
    return _object(k, iter, element)


def _find_next(k: Host, iter: int) -> int:
    """``__rhashtable_walk_find_next()``: the next object from the slot on; 0 at the end, -EAGAIN for another table."""
    tbl, several = _table(k, iter), _several(k, iter)
    if not tbl:
        return 0
    for slot in range(get(k, _ITER, iter, "slot"), get(k, "bucket_table", tbl, "size")):
        _set(k, iter, slot=slot)
        rest = _chain(k, tbl, slot, several)[get(k, _ITER, iter, "skip") :]
        if rest:
            return _found(k, iter, *rest[0])
        _set(k, iter, skip=0)
    _set(k, iter, p=0, slot=get(k, "bucket_table", tbl, "size"))
    following = get(k, "bucket_table", tbl, "future_tbl")
    _set_table(k, iter, following)
    if following:
        _set(k, iter, slot=0, skip=0)
        return err_ptr(-EAGAIN)
    _set(k, iter, end_of_table=1)
    return 0


@export(faithful)
def rhashtable_walk_enter(k: Host, ht: int, iter: int) -> None:
    """``void rhashtable_walk_enter(struct rhashtable *ht, struct rhashtable_iter *iter)``

    lib/rhashtable.c, 6.1.
    """
    tbl = get(k, "rhashtable", ht, "tbl")
    _set(k, iter, ht=ht, p=0, slot=0, skip=0, end_of_table=0)
    _set_table(k, iter, tbl)
    add(k, _link(k, iter), at(k, "bucket_table", tbl, "walkers"))


@export(faithful)
def rhashtable_walk_exit(k: Host, iter: int) -> None:
    """``void rhashtable_walk_exit(struct rhashtable_iter *iter)``

    lib/rhashtable.c, 6.1.
    """
    if _table(k, iter):
        delete(k, _link(k, iter))


@export(faithful)
def rhashtable_walk_start_check(k: Host, iter: int) -> int:
    """``int rhashtable_walk_start_check(struct rhashtable_iter *iter)``

    lib/rhashtable.c, 6.1. A read-side section of RCU begins; -EAGAIN if the table was resized: from the beginning.
    """
    __rcu_read_lock(k)
    tbl = _table(k, iter)
    if tbl:
        delete(k, _link(k, iter))
    if get(k, _ITER, iter, "end_of_table"):
        return 0
    if not tbl:
        _set_table(k, iter, get(k, "rhashtable", get(k, _ITER, iter, "ht"), "tbl"))
        _set(k, iter, slot=0, skip=0, p=0)
        return -EAGAIN
    last, several = get(k, _ITER, iter, "p"), _several(k, iter)
    if last:
        wanted = get(k, _ITER, iter, "list") if several else last
        for number, (head, element) in enumerate(_chain(k, tbl, get(k, _ITER, iter, "slot"), several)):
            if element == wanted:
                _set(k, iter, p=head, skip=number + 1)
                return 0
        _set(k, iter, p=0)
    return 0


@export(faithful)
def rhashtable_walk_next(k: Host, iter: int) -> int:
    """``void *rhashtable_walk_next(struct rhashtable_iter *iter)``

    lib/rhashtable.c, 6.1. The next object; NULL at the end, -EAGAIN if the table was resized.
    """
    last = get(k, _ITER, iter, "p")
    if last:
        several, element = _several(k, iter), 0
        if several:
            element = k.mem.u64(get(k, _ITER, iter, "list") + LIST_NEXT)
        head = last if element else k.mem.u64(last)
        if not head & 1:
            return _found(k, iter, head, element or head)
        _set(k, iter, skip=0, slot=get(k, _ITER, iter, "slot") + 1)
    return _find_next(k, iter)


@export(faithful)
def rhashtable_walk_peek(k: Host, iter: int) -> int:
    """``void *rhashtable_walk_peek(struct rhashtable_iter *iter)``

    lib/rhashtable.c, 6.1. The object of now, without going on.
    """
    last = get(k, _ITER, iter, "p")
    if last:
        return _object(k, iter, get(k, _ITER, iter, "list") if _several(k, iter) else last)
    skip = get(k, _ITER, iter, "skip")
    if skip:
        _set(k, iter, skip=skip - 1)
    return _find_next(k, iter)


@export(faithful)
def rhashtable_walk_stop(k: Host, iter: int) -> None:
    """``void rhashtable_walk_stop(struct rhashtable_iter *iter)``

    lib/rhashtable.c, 6.1. The read-side section of RCU ends.
    """
    tbl = _table(k, iter)
    if tbl:
        callback = k.mem.u64(at(k, "bucket_table", tbl, "rcu") + 8)
        if callback == k.address_of("bucket_table_free_rcu"):
            _set_table(k, iter, 0)
        else:
            add(k, _link(k, iter), at(k, "bucket_table", tbl, "walkers"))
    __rcu_read_unlock(k)
