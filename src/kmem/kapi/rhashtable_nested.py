"""Buckets of a hash table in pages of their own (lib/rhashtable.c), 6.1: for a large table made where nobody may wait.

A nested table has one page of pointers at its top, and below it pages of pointers and at last pages of buckets, made
when they are first inserted into. ``nest`` is how many bits of the hash choose in the topmost page.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_ATOMIC
from kmem.kapi.export import data, export, faithful
from kmem.kapi.fields import get, put
from kmem.kapi.host import Host

PAGE, SHIFT = 4096, 9
"""A page holds 1 << SHIFT pointers."""

data(
    "rht_bucket_nested.rhnull", 8, doc="The bucket of every hash that nobody inserted, lib/rhashtable.c.", private=True
)


def _buckets(k: Host, tbl: int) -> int:
    return tbl + k.layout["bucket_table"].offset("buckets")


def _page(k: Host, pointer: int) -> int:
    """``nested_table_alloc()``: the page that *pointer* points to, made if there is none; 0 without memory."""
    found = k.mem.u64(pointer)
    if not found:
        found = k.mm.kmalloc(PAGE, GFP_ATOMIC | __GFP_ZERO, -1, k.caller)
        k.mem.set_u64(pointer, found)
    return found


def nested_table(k: Host, nbuckets: int, gfp: int) -> int:
    """``nested_bucket_table_alloc()``: 0 without memory, or for a table that is too small for it."""
    if nbuckets < 1 << SHIFT + 1:
        return 0
    tbl = k.mm.kmalloc(k.layout["bucket_table"].size + 8, gfp | __GFP_ZERO, -1, k.caller)
    if not tbl:
        return 0
    if not _page(k, _buckets(k, tbl)):
        k.mm.kfree(tbl)
        return 0
    put(k, "bucket_table", tbl, "nest", (nbuckets.bit_length() - 2) % SHIFT + 1)
    return tbl


def _free(k: Host, pointer: int, size: int) -> None:
    page = k.mem.u64(pointer)
    if page:
        if size > 1 << SHIFT:
            for number in range(1 << SHIFT):
                _free(k, page + 8 * number, size >> SHIFT)
        k.mm.kfree(page)


def free_nested(k: Host, tbl: int) -> None:
    """``nested_bucket_table_free()``: the pages, not the table itself."""
    nest, top = get(k, "bucket_table", tbl, "nest"), k.mem.u64(_buckets(k, tbl))
    for number in range(1 << nest):
        _free(k, top + 8 * number, get(k, "bucket_table", tbl, "size") >> nest)
    k.mm.kfree(top)


def bucket_of(k: Host, tbl: int, hash: int) -> int:
    """``rht_bucket_var()``: the address of a bucket; 0 for one of a nested table that is not there yet."""
    if get(k, "bucket_table", tbl, "nest"):
        return __rht_bucket_nested(k, tbl, hash)
    return _buckets(k, tbl) + 8 * hash


def new_bucket(k: Host, tbl: int, hash: int) -> int:
    """``rht_bucket_insert()``: the address of a bucket; 0 without memory."""
    if get(k, "bucket_table", tbl, "nest"):
        return rht_bucket_nested_insert(k, 0, tbl, hash)
    return _buckets(k, tbl) + 8 * hash


@export(faithful)
def __rht_bucket_nested(k: Host, tbl: int, hash: int) -> int:
    """``struct rhash_lock_head **__rht_bucket_nested(const struct bucket_table *tbl, unsigned int hash)``

    lib/rhashtable.c, 6.1. NULL for a bucket that is not there yet.
    """
    nest = get(k, "bucket_table", tbl, "nest")
    size, below = get(k, "bucket_table", tbl, "size") >> nest, hash >> nest
    page = k.mem.u64(k.mem.u64(_buckets(k, tbl)) + 8 * (hash & (1 << nest) - 1))
    while page and size > 1 << SHIFT:
        page = k.mem.u64(page + 8 * (below & (1 << SHIFT) - 1))
        size, below = size >> SHIFT, below >> SHIFT
    return page + 8 * below if page else 0


@export(faithful)
def rht_bucket_nested(k: Host, tbl: int, hash: int) -> int:
    """``struct rhash_lock_head **rht_bucket_nested(const struct bucket_table *tbl, unsigned int hash)``

    lib/rhashtable.c, 6.1. An empty bucket for one that is not there yet.
    """
    return __rht_bucket_nested(k, tbl, hash) or k.address_of("rht_bucket_nested.rhnull")


@export(faithful)
def rht_bucket_nested_insert(k: Host, ht: int, tbl: int, hash: int) -> int:
    """``struct rhash_lock_head **rht_bucket_nested_insert(struct rhashtable *ht, struct bucket_table *tbl,
    unsigned int hash)``

    lib/rhashtable.c, 6.1. Makes the pages on the way; NULL without memory.
    """
    nest = get(k, "bucket_table", tbl, "nest")
    size, below = get(k, "bucket_table", tbl, "size") >> nest, hash >> nest
    page = _page(k, k.mem.u64(_buckets(k, tbl)) + 8 * (hash & (1 << nest) - 1))
    while page and size > 1 << SHIFT:
        page = _page(k, page + 8 * (below & (1 << SHIFT) - 1))
        size, below = size >> SHIFT, below >> SHIFT
    return page + 8 * below if page else 0
