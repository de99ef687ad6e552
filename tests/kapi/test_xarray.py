"""XArrays, IDAs and IDRs: the same answers as a dictionary and a set, whatever is stored and erased."""

from __future__ import annotations

from random import Random

import pytest

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.errno import ENOSPC
from kmem.kapi.xa_entry import TRACK_FREE, Nodes, is_node
from tests.kapi.fakehost import MASK64, FakeHost


@pytest.fixture
def xa(k: FakeHost) -> int:
    """An empty array, and memory for nodes."""
    size = k.layout["xa_node"].size
    k.mm.kmem_cache_alloc = lambda s, gfp, node=-1: k.mm.allocate(size, 8)  # type: ignore[method-assign]
    return k.alloc(16)


def value(number: int) -> int:
    """``xa_mk_value()``."""
    return number << 1 | 1


def test_an_array_holds_what_a_dictionary_holds(k: FakeHost, xa: int) -> None:
    random, oracle = Random(1), dict[int, int]()
    indices = [0, 1, 63, 64, 65, 4095, 4096, 1 << 20, (1 << 20) + 1, 1 << 40, MASK64]
    for step in range(600):
        index = random.choice(indices)
        if random.random() < 0.6:
            before = k.run("xa_store", xa, index, value(step), GFP_KERNEL)
            assert before == oracle.get(index, 0)
            oracle[index] = value(step)
        else:
            assert k.run("xa_erase", xa, index) == oracle.pop(index, 0)
        probe = random.choice(indices)
        assert k.run("xa_load", xa, probe) == oracle.get(probe, 0)
    assert found(k, xa) == sorted(oracle.items())
    for index in list(oracle):
        k.run("xa_erase", xa, index)
    assert Nodes(k).head(xa) == 0


def found(k: FakeHost, xa: int) -> list[tuple[int, int]]:
    """All that xa_find() and xa_find_after() walk over."""
    at, seen = k.alloc(8), []
    entry = k.run("xa_find", xa, at, MASK64, 8)
    while entry:
        seen.append((k.mem.u64(at), entry))
        entry = k.run("xa_find_after", xa, at, MASK64, 8)
    return seen


def test_a_mark_is_found_and_goes_with_its_entry(k: FakeHost, xa: int) -> None:
    for index in (3, 70, 5000):
        k.run("xa_store", xa, index, value(index), GFP_KERNEL)
    k.run("xa_set_mark", xa, 70, 1)
    at = k.alloc(8)
    assert k.run("xa_find", xa, at, MASK64, 1) == value(70)
    assert k.mem.u64(at) == 70
    k.run("xa_erase", xa, 70)
    k.mem.set_u64(at, 0)
    assert k.run("xa_find", xa, at, MASK64, 1) == 0


def test_a_range_is_one_entry(k: FakeHost, xa: int) -> None:
    assert k.run("xa_store_range", xa, 64, 127, value(7), GFP_KERNEL) == 0
    assert [k.run("xa_load", xa, index) for index in (63, 64, 100, 127, 128)] == [0, value(7), value(7), value(7), 0]
    assert k.run("xa_get_order", xa, 100) == 6
    assert found(k, xa) == [(64, value(7))]
    k.run("xa_erase", xa, 90)
    assert found(k, xa) == []


def test_a_node_that_is_not_needed_waits_for_a_grace_period(k: FakeHost, xa: int) -> None:
    k.run("xa_store", xa, 100, value(1), GFP_KERNEL)
    node = Nodes(k).head(xa)
    assert is_node(node)
    k.run("xa_erase", xa, 100)
    assert k.mem.u64(k.address_of("rcu_cblist"))


def test_ids_are_the_smallest_that_are_free(k: FakeHost, xa: int) -> None:
    nodes, random, used = Nodes(k), Random(2), set[int]()
    nodes.set_flags(xa, TRACK_FREE | 1 << nodes.tag_shift)
    for _ in range(500):
        if used and random.random() < 0.3:
            gone = random.choice(sorted(used))
            k.run("ida_free", xa, gone)
            used.remove(gone)
        else:
            low = random.choice([0, 0, 60, 1020])
            got = k.run("ida_alloc_range", xa, low, 5000, GFP_KERNEL)
            assert got == next(number for number in range(low, 5001) if number not in used)
            used.add(got)
    assert k.run("ida_alloc_range", xa, 5001, 5000, GFP_KERNEL) == -ENOSPC & MASK64
    assert k.warnings == []


def test_a_number_that_is_not_in_use_is_not_freed(k: FakeHost, xa: int) -> None:
    nodes = Nodes(k)
    nodes.set_flags(xa, TRACK_FREE | 1 << nodes.tag_shift)
    k.run("ida_free", xa, 5)
    assert len(k.warnings) == 1


def test_numbers_for_pointers(k: FakeHost, xa: int) -> None:
    idr, nodes = k.alloc(k.layout["idr"].size), Nodes(k)
    nodes.set_flags(idr, TRACK_FREE | 1 << nodes.tag_shift)
    assert [k.run("idr_alloc", idr, 4096 + 4 * n, 1, 0, GFP_KERNEL) for n in range(70)] == list(range(1, 71))
    assert k.run("idr_find", idr, 5) == 4096 + 16
    assert k.run("idr_remove", idr, 5) == 4096 + 16
    assert k.run("idr_find", idr, 5) == 0
    assert k.run("idr_alloc", idr, 8192, 1, 0, GFP_KERNEL) == 5
    assert k.run("idr_alloc", idr, 8192, 10, 20, GFP_KERNEL) == -ENOSPC & MASK64
