"""Hash tables that grow, shrink and are walked through; the buckets are looked at as a module's inline code does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kmem
from kmem.kapi.fields import at, get, put
from kmem.kapi.jhash import jhash
from kmem.kernel import Kernel

KEY, HEAD, NEXT = 0, 8, 16
"""In an element: its key, its ``rhash_head`` (an ``rhlist_head``)."""
EINVAL, EAGAIN, E2BIG = -22, (1 << 64) - 11, (1 << 64) - 7


@pytest.fixture
def k() -> Iterator[Kernel]:
    with kmem.boot(ram="128M", cpus=1) as machine:
        yield machine


def table(k: Kernel, *, several: bool = False, **params: int) -> int:
    wanted = k.kzalloc(k.layout["rhashtable_params"].size)
    for member, value in {"key_len": 4, "key_offset": KEY, "head_offset": HEAD, **params}.items():
        put(k, "rhashtable_params", wanted, member, value)
    ht: int = k.kzalloc(k.layout["rhashtable"].size)
    assert (k.rhltable_init if several else k.rhashtable_init)(ht, wanted) == 0
    return ht


def insert(k: Kernel, ht: int, key: int) -> int:
    element: int = k.kzalloc(24)
    k.mem.set_u32(element + KEY, key)
    assert k.rhashtable_insert_slow(ht, element + KEY, element + HEAD) == 0
    return element


def buckets(k: Kernel, ht: int) -> list[list[int]]:
    """The keys of each bucket, in the order of the chain."""
    tbl, found = get(k, "rhashtable", ht, "tbl"), []
    for number in range(get(k, "bucket_table", tbl, "size")):
        bkt = at(k, "bucket_table", tbl, "buckets") + 8 * number
        head, keys = k.mem.u64(bkt), []
        assert not head & 1  # nobody holds the bucket
        while head and not head & 1:
            keys.append(k.mem.u32(head - HEAD + KEY))
            head = k.mem.u64(head)
        assert head in (0, bkt | 1)
        found.append(keys)
    return found


def walked(k: Kernel, ht: int) -> list[int]:
    """Keys in the order of a walk, from the beginning again after a resize."""
    iterator, keys = k.kzalloc(k.layout["rhashtable_iter"].size), []
    k.rhashtable_walk_enter(ht, iterator)
    k.rhashtable_walk_start_check(iterator)
    while found := k.rhashtable_walk_next(iterator):
        keys = [] if found == EAGAIN else [*keys, k.mem.u32(found + KEY)]
    k.rhashtable_walk_stop(iterator)
    k.rhashtable_walk_exit(iterator)
    return keys


def test_an_element_is_in_the_bucket_of_its_hash(k: Kernel) -> None:
    ht = table(k)
    for key in range(40):
        insert(k, ht, key)
    tbl = get(k, "rhashtable", ht, "tbl")
    seed, found = get(k, "bucket_table", tbl, "hash_rnd"), buckets(k, ht)
    assert (len(found), get(k, "rhashtable", ht, "nelems")) == (64, 40)
    for number, keys in enumerate(found):
        assert all(jhash(key.to_bytes(4, "little"), seed) & 63 == number for key in keys)


def test_a_key_that_is_there_is_given_back(k: Kernel) -> None:
    ht = table(k)
    first, second = insert(k, ht, 7), k.kzalloc(24)
    k.mem.set_u32(second + KEY, 7)
    assert k.rhashtable_insert_slow(ht, second + KEY, second + HEAD) == first
    assert get(k, "rhashtable", ht, "nelems") == 1


def test_it_grows_above_three_quarters_and_shrinks_below_three_tenths(k: Kernel) -> None:
    ht = table(k, nelem_hint=6, automatic_shrinking=1)
    assert len(buckets(k, ht)) == 8
    for key in range(100):
        insert(k, ht, key)
        k.run_for(20_000_000)
    assert len(buckets(k, ht)) == 256  # 100 are more than three quarters of 128
    assert sorted(key for keys in buckets(k, ht) for key in keys) == list(range(100)) == sorted(walked(k, ht))
    k.rhashtable_destroy(ht)


def test_a_table_with_a_largest_size_is_full_at_twice_that(k: Kernel) -> None:
    ht = table(k, nelem_hint=3, max_size=8)
    for key in range(16):
        insert(k, ht, key)
        k.run_for(20_000_000)
    element = k.kzalloc(24)
    k.mem.set_u32(element + KEY, 16)
    assert k.rhashtable_insert_slow(ht, element + KEY, element + HEAD) == E2BIG


def test_elements_with_one_key_are_a_list(k: Kernel) -> None:
    ht = table(k, several=True)
    elements = [insert(k, ht, 5) for _ in range(3)]
    assert (get(k, "rhashtable", ht, "nelems"), buckets(k, ht).count([5])) == (1, 1)
    assert walked(k, ht) == [5, 5, 5]
    assert k.mem.u64(elements[2] + NEXT) == elements[1] + HEAD


def test_a_table_without_keys_needs_functions(k: Kernel) -> None:
    wanted, ht = k.kzalloc(k.layout["rhashtable_params"].size), k.kzalloc(k.layout["rhashtable"].size)
    assert k.rhashtable_init(ht, wanted) == EINVAL


def test_buckets_of_a_nested_table_are_made_when_they_are_inserted_into(k: Kernel) -> None:
    from kmem.kapi.rhashtable_nested import bucket_of, free_nested, nested_table, new_bucket

    tbl = nested_table(k, 1 << 20, kmem.GFP_ATOMIC)
    put(k, "bucket_table", tbl, "size", 1 << 20)
    assert get(k, "bucket_table", tbl, "nest") == 2
    seen = set()
    for number in (0, 1, 12345, (1 << 20) - 1):
        assert bucket_of(k, tbl, number) == 0
        made = new_bucket(k, tbl, number)
        assert bucket_of(k, tbl, number) == made == new_bucket(k, tbl, number)
        seen.add(made)
    assert len(seen) == 4
    free_nested(k, tbl)
    assert nested_table(k, 512, kmem.GFP_ATOMIC) == 0
