"""Hash tables that grow and shrink (lib/rhashtable.c), 6.1, on the kernel's own structures.

Modules look up, insert and remove by inline code of the header, so everything lies in memory as theirs expects it: a
bucket holds the first element or 0, and the lock in bit 0; the end of a chain is marked by the bucket's address with
bit 0 set. What is here is the slow way of inserting, the resizing, which a work does, and walking.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from kmem.abi.gfp import __GFP_NOFAIL, __GFP_NOWARN, __GFP_ZERO, GFP_ATOMIC, GFP_KERNEL
from kmem.kapi.errno import E2BIG, EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, err_ptr
from kmem.kapi.export import data, export, faithful
from kmem.kapi.fields import at, get, put
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.jhash import jhash
from kmem.kapi.lists import entries, init_list_head
from kmem.kapi.mutex import __mutex_init, mutex_lock, mutex_unlock
from kmem.kapi.random import get_random_u32
from kmem.kapi.rcu import __rcu_read_lock, __rcu_read_unlock, call_rcu
from kmem.kapi.rhashtable_nested import bucket_of, free_nested, nested_table, new_bucket
from kmem.kapi.sched import stuck
from kmem.kapi.workqueue import cancel_work_sync, init_work, queue_work_on

if TYPE_CHECKING:
    from kmem.abi.layout import Layout

DEFAULT_SIZE, MIN_SIZE, ELASTICITY = 64, 4, 16
LIST_NEXT = 8
"""``next`` in ``struct rhlist_head``: the next of several elements with one key."""
MASK64 = (1 << 64) - 1

data("rhashtable_compare_args", 16 * 64, doc="For each CPU, what obj_cmpfn gets. The model's own.", private=True)


class _Offsets:
    """Of the members that are read for each element."""

    def __init__(self, layout: Layout) -> None:
        params = layout["rhashtable"].offset("p")
        self.tbl, self.key_len = layout["rhashtable"].offset("tbl"), layout["rhashtable"].offset("key_len")
        self.nelems, self.rhlist = layout["rhashtable"].offset("nelems"), layout["rhashtable"].offset("rhlist")
        own = layout["rhashtable_params"].offset
        self.p_key_len, self.key_offset = params + own("key_len"), params + own("key_offset")
        self.head_offset, self.max_size = params + own("head_offset"), params + own("max_size")
        self.min_size, self.shrinks = params + own("min_size"), params + own("automatic_shrinking")
        self.hashfn, self.obj_hashfn = params + own("hashfn"), params + own("obj_hashfn")
        self.obj_cmpfn = params + own("obj_cmpfn")
        self.size, self.nest = layout["bucket_table"].offset("size"), layout["bucket_table"].offset("nest")
        self.hash_rnd, self.future = (
            layout["bucket_table"].offset("hash_rnd"),
            layout["bucket_table"].offset("future_tbl"),
        )


@cache
def _offsets(layout: Layout) -> _Offsets:
    return _Offsets(layout)


def _is_end(head: int) -> bool:
    """``rht_is_a_nulls()``."""
    return bool(head & 1)


def _first(k: Host, bkt: int) -> int:
    """``rht_ptr()``: the first element, or the mark of the end."""
    return k.mem.u64(bkt) & ~1 or bkt | 1


def _set_first(k: Host, bkt: int, head: int) -> None:
    """``rht_assign_locked()``."""
    k.mem.set_u64(bkt, 1 if _is_end(head) else head | 1)


def _lock(k: Host, bkt: int) -> Guest:
    """``rht_lock()``."""
    k.context.local_bh_disable()
    k.context.preempt_disable()
    while k.mem.u64(bkt) & 1:
        if not k.sched.on:
            stuck(k, "deadlock", "the bucket of a hash table is locked, and nobody is left who could unlock it",
                  address=bkt)  # fmt: skip
        yield from k.sched.spin(bkt)
    k.mem.set_u64(bkt, k.mem.u64(bkt) | 1)
    return 0


def _unlock(k: Host, bkt: int) -> None:
    """``rht_unlock()``."""
    k.mem.set_u64(bkt, k.mem.u64(bkt) & ~1)
    if k.sched.on:
        k.sched.let_spinners_look()
    k.context.preempt_enable()
    k.context.local_bh_enable()


# tables


def _new_table(k: Host, nbuckets: int, gfp: int) -> int:
    """``bucket_table_alloc()``; 0 without memory."""
    layout = k.layout["bucket_table"]
    tbl = k.mm.kvmalloc(layout.size + 8 * nbuckets, gfp | __GFP_ZERO)
    if not tbl and gfp & ~__GFP_NOFAIL != GFP_KERNEL:
        tbl = nested_table(k, nbuckets, gfp)
    if tbl:
        put(k, "bucket_table", tbl, "size", nbuckets)
        k.mem.set_u64(tbl + layout.offset("rcu") + 8, MASK64)  # no callback yet: rcu_head_init()
        init_list_head(k, tbl + layout.offset("walkers"))
        put(k, "bucket_table", tbl, "hash_rnd", get_random_u32(k))
    return tbl


def _free_table(k: Host, tbl: int) -> None:
    """``bucket_table_free()``."""
    if get(k, "bucket_table", tbl, "nest"):
        free_nested(k, tbl)
    k.mm.kvfree(tbl)


@export(faithful, private=True)
def bucket_table_free_rcu(k: Host, head: int) -> None:
    """``void bucket_table_free_rcu(struct rcu_head *head)``

    lib/rhashtable.c, 6.1.
    """
    _free_table(k, head - k.layout["bucket_table"].offset("rcu"))


def _table(k: Host, ht: int) -> int:
    return k.mem.u64(ht + _offsets(k.layout).tbl)


def _future(k: Host, tbl: int) -> int:
    return k.mem.u64(tbl + _offsets(k.layout).future)


def _last_table(k: Host, tbl: int) -> int:
    """``rhashtable_last_table()``."""
    while following := _future(k, tbl):
        tbl = following
    return tbl


def _hash(k: Host, ht: int, tbl: int, head: int) -> Guest:
    """``head_hashfn()``: the number of the element's bucket."""
    o, mem = _offsets(k.layout), k.mem
    obj = head - mem.u16(ht + o.head_offset)
    seed, mask = mem.u32(tbl + o.hash_rnd), mem.u32(tbl + o.size) - 1
    of_object = mem.u64(ht + o.obj_hashfn)
    if of_object:
        return (yield Call(of_object, (obj, mem.u16(ht + o.p_key_len) or mem.u32(ht + o.key_len), seed))) & mask
    key, function = obj + mem.u16(ht + o.key_offset), mem.u64(ht + o.hashfn)
    length = mem.u32(ht + o.key_len)
    if function == k.address_of("rhashtable_jhash2"):
        return jhash(mem.read(key, 4 * length), seed) & mask
    if function == k.address_of("rhashtable_jhash"):
        return jhash(mem.read(key, length), seed) & mask
    return (yield Call(function, (key, length, seed))) & mask


@export(faithful, private=True)
def rhashtable_jhash2(k: Host, key: int, length: int, seed: int) -> int:
    """``u32 rhashtable_jhash2(const void *key, u32 length, u32 seed)``

    lib/rhashtable.c, 6.1. *length* in words.
    """
    return jhash(k.mem.read(key, 4 * length), seed)


@export(faithful, private=True)
def rhashtable_jhash(k: Host, key: int, length: int, seed: int) -> int:
    """``u32 rhashtable_jhash(const void *key, u32 length, u32 seed)``

    linux/jhash.h, 6.1: there ``jhash()``, of which lib/rhashtable.c has a copy.
    """
    return jhash(k.mem.read(key, length), seed)


def _nelems(k: Host, ht: int) -> int:
    return k.mem.u32(ht + _offsets(k.layout).nelems)


def _may_grow(k: Host, ht: int, tbl: int) -> bool:
    o = _offsets(k.layout)
    most = k.mem.u32(ht + o.max_size)
    return not most or k.mem.u32(tbl + o.size) < most


def _above_75(k: Host, ht: int, tbl: int) -> bool:
    return _nelems(k, ht) > k.mem.u32(tbl + _offsets(k.layout).size) // 4 * 3 and _may_grow(k, ht, tbl)


def _schedule(k: Host, ht: int) -> None:
    queue_work_on(k, k.cpu, k.mem.u64(k.address_of("system_wq")), at(k, "rhashtable", ht, "run_work"))


# resizing


def _move_chain(k: Host, ht: int, old: int, number: int) -> Guest:
    """``rhashtable_rehash_chain()``: the last element first; -EAGAIN for a table that is nested."""
    bkt = bucket_of(k, old, number)
    if not bkt:
        return 0
    yield from _lock(k, bkt)
    error = 0
    chain, head = [], _first(k, bkt)
    while not _is_end(head):
        chain.append(head)
        head = k.mem.u64(head)
    end = head
    while True:
        new = _last_table(k, old)
        if get(k, "bucket_table", new, "nest"):
            error = -EAGAIN
            break
        if not chain:
            break
        entry = chain.pop()
        target = bucket_of(k, new, (yield from _hash(k, ht, new, entry)))
        yield from _lock(k, target)
        k.mem.set_u64(entry, _first(k, target))
        _set_first(k, target, entry)
        _unlock(k, target)
        if chain:
            k.mem.set_u64(chain[-1], end)
        else:
            _set_first(k, bkt, end)
    _unlock(k, bkt)
    return error


def _move_all(k: Host, ht: int) -> Guest:
    """``rhashtable_rehash_table()``: all elements into the next table, which then is the table."""
    old = _table(k, ht)
    new = _future(k, old)
    if not new:
        return 0
    for number in range(get(k, "bucket_table", old, "size")):
        error = s32((yield from _move_chain(k, ht, old, number)))
        if error:
            return error
    put(k, "rhashtable", ht, "tbl", new)
    for link in entries(k, at(k, "bucket_table", old, "walkers")):
        put(k, "rhashtable_walker", link, "tbl", 0)
    call_rcu(k, at(k, "bucket_table", old, "rcu"), k.address_of("bucket_table_free_rcu"))
    return -EAGAIN if _future(k, new) else 0


def _attach(k: Host, tbl: int, size: int, gfp: int) -> int:
    """``rhashtable_rehash_alloc()``: a table of another size to move to; -ENOMEM, -EEXIST if there is one."""
    new = _new_table(k, size, gfp)
    if not new:
        return -ENOMEM
    if _future(k, tbl):
        _free_table(k, new)
        return -EEXIST
    put(k, "bucket_table", tbl, "future_tbl", new)
    return 0


def _shrink(k: Host, ht: int) -> int:
    """``rhashtable_shrink()``: to the smallest size that does not grow at once."""
    old, count, size = _table(k, ht), _nelems(k, ht), 0
    if count:
        size = 1 << (count * 3 // 2 - 1).bit_length()
    size = max(size, k.mem.u16(ht + _offsets(k.layout).min_size))
    if get(k, "bucket_table", old, "size") <= size:
        return 0
    return -EEXIST if _future(k, old) else _attach(k, old, size, GFP_KERNEL)


@export(faithful, private=True)
def rht_deferred_worker(k: Host, work: int) -> Guest:
    """``void rht_deferred_worker(struct work_struct *work)``

    lib/rhashtable.c, 6.1. Grows, shrinks, or makes a nested table a plain one; again if that did not work.
    """
    ht, o = work - k.layout["rhashtable"].offset("run_work"), _offsets(k.layout)
    mutex = at(k, "rhashtable", ht, "mutex")
    locking = mutex_lock(k, mutex)
    if not isinstance(locking, int):
        yield from locking
    tbl = _last_table(k, _table(k, ht))
    size, error = k.mem.u32(tbl + o.size), 0
    if _above_75(k, ht, tbl):
        error = _attach(k, tbl, size * 2, GFP_KERNEL)
    elif k.mem.u8(ht + o.shrinks) and _nelems(k, ht) < size * 3 // 10 and size > k.mem.u16(ht + o.min_size):
        error = _shrink(k, ht)
    elif k.mem.u32(tbl + o.nest):
        error = _attach(k, tbl, size, GFP_KERNEL)
    if error in (0, -EEXIST):
        moved: int = yield from _move_all(k, ht)
        error = error or moved
    mutex_unlock(k, mutex)
    if error:
        _schedule(k, ht)
    return 0


# inserting


def _same_key(k: Host, ht: int, key: int, head: int) -> Guest:
    """Whether the element has that key: by the table's function, or byte for byte."""
    o = _offsets(k.layout)
    obj, compare = head - k.mem.u16(ht + o.head_offset), k.mem.u64(ht + o.obj_cmpfn)
    if compare:
        arg = k.address_of("rhashtable_compare_args") + 16 * k.cpu  # nothing else runs on this CPU meanwhile
        k.mem.set_u64(arg, ht)
        k.mem.set_u64(arg + 8, key)
        return int(not s32((yield Call(compare, (arg, obj)))))
    length = k.mem.u16(ht + o.p_key_len)
    return int(k.mem.read(obj + k.mem.u16(ht + o.key_offset), length) == k.mem.read(key, length))


def _look_up(k: Host, ht: int, bkt: int, key: int, new: int) -> Guest:
    """``rhashtable_lookup_one()``: the object with the key; 0 if *new* was put before it, into its list; -ENOENT, or
    -EAGAIN for a chain that is too long.
    """
    before, head, left = 0, _first(k, bkt), ELASTICITY
    while not _is_end(head):
        left -= 1
        if not key or not (yield from _same_key(k, ht, key, head)):
            before, head = head, k.mem.u64(head)
            continue
        if not k.mem.u8(ht + _offsets(k.layout).rhlist):
            return head - k.mem.u16(ht + _offsets(k.layout).head_offset)
        k.mem.set_u64(new + LIST_NEXT, head)
        k.mem.set_u64(new, k.mem.u64(head))
        if before:
            k.mem.set_u64(before, new)
        else:
            _set_first(k, bkt, new)
        return 0
    return err_ptr(-EAGAIN if left <= 0 else -ENOENT)


def _insert_here(k: Host, ht: int, bkt: int, tbl: int, new: int) -> int:
    """``rhashtable_insert_one()`` behind its checks of what was found: 0, -E2BIG or -EAGAIN."""
    if _nelems(k, ht) >= get(k, "rhashtable", ht, "max_elems"):
        return -E2BIG
    if _nelems(k, ht) > k.mem.u32(tbl + _offsets(k.layout).size) and _may_grow(k, ht, tbl):
        return -EAGAIN
    k.mem.set_u64(new, _first(k, bkt))
    if k.mem.u8(ht + _offsets(k.layout).rhlist):
        k.mem.set_u64(new + LIST_NEXT, 0)
    _set_first(k, bkt, new)
    put(k, "rhashtable", ht, "nelems", _nelems(k, ht) + 1)
    if _above_75(k, ht, tbl):
        _schedule(k, ht)
    return 0


def _grow_now(k: Host, ht: int, tbl: int) -> int:
    """``rhashtable_insert_rehash()``: a table to insert into; 0 if there is one now."""
    size = get(k, "bucket_table", tbl, "size")
    if _above_75(k, ht, tbl):
        size *= 2
    elif _table(k, ht) != tbl:
        return 0 if _future(k, tbl) else -EBUSY  # one move at a time
    error = _attach(k, tbl, size, GFP_ATOMIC | __GFP_NOWARN)
    if error == -EEXIST:
        return 0
    if error and _future(k, tbl):
        return 0
    _schedule(k, ht)  # to move, or to try again where memory can be waited for
    return error


def _try_insert(k: Host, ht: int, key: int, new: int) -> Guest:
    """``rhashtable_try_insert()``: the object with the key, 0, or an error pointer."""
    tbl = _table(k, ht)
    while True:
        number: int = yield from _hash(k, ht, tbl, new)
        bkt = bucket_of(k, tbl, number) if _future(k, tbl) else new_bucket(k, tbl, number)
        if not bkt:
            found = err_ptr(-EAGAIN)
        else:
            yield from _lock(k, bkt)
            found = yield from _look_up(k, ht, bkt, key, new)
            if found in (err_ptr(-EAGAIN), err_ptr(-ENOENT)) and not _future(k, tbl):
                if found == err_ptr(-ENOENT):
                    found = err_ptr(_insert_here(k, ht, bkt, tbl, new))
                _unlock(k, bkt)
                break
            _unlock(k, bkt)
            if found not in (err_ptr(-EAGAIN), err_ptr(-ENOENT)):
                return found
        following = _future(k, tbl)
        if not following:
            break
        tbl = following
    if found == err_ptr(-EAGAIN):
        found = err_ptr(_grow_now(k, ht, tbl) or -EAGAIN)
    return found


@export(faithful)
def rhashtable_insert_slow(k: Host, ht: int, key: int, obj: int) -> Guest:
    """``void *rhashtable_insert_slow(struct rhashtable *ht, const void *key, struct rhash_head *obj)``

    lib/rhashtable.c, 6.1. 0; the object that has the key; or an error pointer: -E2BIG, -ENOMEM, -EBUSY.
    """
    while True:
        __rcu_read_lock(k)
        found: int = yield from _try_insert(k, ht, key, obj)
        __rcu_read_unlock(k)
        if found != err_ptr(-EAGAIN):
            return found


# making and unmaking


def _rounded_size(k: Host, ht: int) -> int:
    """``rounded_hashtable_size()``."""
    params = at(k, "rhashtable", ht, "p")
    hint, least = (get(k, "rhashtable_params", params, member) for member in ("nelem_hint", "min_size"))
    return max(1 << (hint * 4 // 3 - 1).bit_length() if hint else DEFAULT_SIZE, least)


@export(faithful)
def rhashtable_init(k: Host, ht: int, params: int) -> int:
    """``int rhashtable_init(struct rhashtable *ht, const struct rhashtable_params *params)``

    lib/rhashtable.c, 6.1. -EINVAL for a table without keys whose objects nobody hashes or compares.
    """

    def given(member: str) -> int:
        return get(k, "rhashtable_params", params, member)

    if (not given("key_len") and not given("obj_hashfn")) or (given("obj_hashfn") and not given("obj_cmpfn")):
        return -EINVAL
    layout = k.layout["rhashtable"]
    k.mem.fill(ht, 0, layout.size)
    __mutex_init(k, ht + layout.offset("mutex"), 0, 0)
    own = ht + layout.offset("p")
    k.mem.write(own, k.mem.read(params, k.layout["rhashtable_params"].size))
    least, most = given("min_size"), given("max_size")
    put(k, "rhashtable_params", own, "min_size", max(1 << (least - 1).bit_length() if least else 0, MIN_SIZE))
    limit = 1 << 31
    if most:
        most = 1 << most.bit_length() - 1
        put(k, "rhashtable_params", own, "max_size", most)
        limit = most * 2 if most < limit // 2 else limit
    put(k, "rhashtable", ht, "max_elems", limit)
    length, words = given("key_len"), given("key_len") % 4 == 0
    if not given("hashfn"):
        function = "rhashtable_jhash2" if words else "rhashtable_jhash"
        put(k, "rhashtable_params", own, "hashfn", k.address_of(function))
        length = length // 4 if words else length
    put(k, "rhashtable", ht, "key_len", length)
    tbl = _new_table(k, _rounded_size(k, ht), GFP_KERNEL)
    if not tbl:
        tbl = _new_table(k, get(k, "rhashtable_params", own, "min_size"), GFP_KERNEL | __GFP_NOFAIL)
    put(k, "rhashtable", ht, "tbl", tbl)
    init_work(k, ht + layout.offset("run_work"), k.address_of("rht_deferred_worker"))
    return 0


@export(faithful)
def rhltable_init(k: Host, hlt: int, params: int) -> int:
    """``int rhltable_init(struct rhltable *hlt, const struct rhashtable_params *params)``

    lib/rhashtable.c, 6.1. A table in which several elements may have one key.
    """
    error = rhashtable_init(k, hlt, params)
    put(k, "rhashtable", hlt, "rhlist", 1)
    return error


def _give_back(k: Host, ht: int, tbl: int, free_fn: int, arg: int) -> Guest:
    """Call *free_fn* for each object of a table."""
    offset, several = k.mem.u16(ht + _offsets(k.layout).head_offset), get(k, "rhashtable", ht, "rhlist")
    for number in range(get(k, "bucket_table", tbl, "size")):
        bkt = bucket_of(k, tbl, number)
        head = _first(k, bkt) if bkt else 1
        while not _is_end(head):
            following = k.mem.u64(head)
            while head:
                again = k.mem.u64(head + LIST_NEXT) if several else 0
                yield Call(free_fn, (head - offset, arg))
                head = again
            head = following
    return 0


@export(faithful)
def rhashtable_free_and_destroy(k: Host, ht: int, free_fn: int, arg: int) -> Guest:
    """``void rhashtable_free_and_destroy(struct rhashtable *ht, void *free_fn, void *arg)``

    lib/rhashtable.c, 6.1. ``free_fn(object, arg)`` for each object, if there is one, then frees the tables.
    """
    yield from cancel_work_sync(k, at(k, "rhashtable", ht, "run_work"))
    tbl = _table(k, ht)
    while tbl:
        if free_fn:
            yield from _give_back(k, ht, tbl, free_fn, arg)
        following = _future(k, tbl)
        _free_table(k, tbl)
        tbl = following
    return 0


@export(faithful)
def rhashtable_destroy(k: Host, ht: int) -> Guest:
    """``void rhashtable_destroy(struct rhashtable *ht)``

    lib/rhashtable.c, 6.1. Frees the tables, not what is in them.
    """
    return (yield from rhashtable_free_and_destroy(k, ht, 0, 0))
