"""Sorting of lists, interval trees, patterns and option lists: what comes out, whatever goes in."""

from __future__ import annotations

from fnmatch import fnmatchcase
from random import Random

import pytest

from kmem.kapi.glob import glob
from kmem.kapi.hsiphash import siphash
from kmem.kapi.lists import add_tail, entries, init_list_head
from tests.kapi.fakehost import FakeHost


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 64, 100])
def test_a_list_is_sorted_and_equals_keep_their_order(length: int, k: FakeHost) -> None:
    random, head = Random(length), k.alloc(16)
    init_list_head(k, head)
    for number in range(length):
        node = k.alloc(32)
        k.mem.set_u64(node + 16, random.randrange(10))
        k.mem.set_u64(node + 24, number)
        add_tail(k, node, head)
    before = [(k.mem.u64(node + 16), k.mem.u64(node + 24)) for node in entries(k, head)]
    compare = k.guest(lambda priv, a, b: int(k.mem.u64(a + 16) > k.mem.u64(b + 16)))
    k.run("list_sort", 0, head, compare)
    after = [(k.mem.u64(node + 16), k.mem.u64(node + 24)) for node in entries(k, head)]
    assert after == sorted(before)
    assert all(k.mem.u64(k.mem.u64(node) + 8) == node for node in entries(k, head))


def test_intervals_that_meet_are_found(k: FakeHost) -> None:
    random, root, layout = Random(3), k.alloc(16), k.layout["interval_tree_node"]
    live: dict[int, tuple[int, int]] = {}
    for _ in range(300):
        if live and random.random() < 0.4:
            node = random.choice(sorted(live))
            k.run("interval_tree_remove", node, root)
            del live[node]
        else:
            node, start = k.alloc(layout.size), random.randrange(200)
            live[node] = (start, start + random.randrange(20))
            k.mem.set_u64(node + layout.offset("start"), live[node][0])
            k.mem.set_u64(node + layout.offset("last"), live[node][1])
            k.run("interval_tree_insert", node, root)
        first = random.randrange(220)
        last = first + random.randrange(10)
        met, node = [], k.run("interval_tree_iter_first", root, first, last)
        while node:
            met.append(node)
            node = k.run("interval_tree_iter_next", node, first, last)
        assert sorted(met) == sorted(node for node, (a, b) in live.items() if a <= last and first <= b)


@pytest.mark.parametrize("pattern", ["", "a", "*", "a*b", "*a*b*", "?b", "[ab]c", "[!a]*", "a[b-d]*", "[]]", "*[!x]"])
@pytest.mark.parametrize("text", ["", "a", "ab", "acb", "bc", "abcab", "]", "x", "axbxc"])
def test_patterns_match_as_the_shells(pattern: str, text: str) -> None:
    assert glob(pattern.encode(), text.encode()) == fnmatchcase(text, pattern)


@pytest.mark.parametrize(
    ("text", "room", "numbers", "rest"),
    [
        ("1,2,3", 8, [1, 2, 3], ""),
        ("4-7,9", 8, [4, 5, 6, 7, 9], ""),
        ("0x10", 8, [16], ""),
        ("-5,2", 8, [-5, 2], ""),
        ("7--9", 8, [], "-9"),
        ("1,2,3,4", 3, [1, 2], "3,4"),
    ],
)
def test_an_option_list_is_counted_and_stored(text: str, room: int, numbers: list[int], rest: str, k: FakeHost) -> None:
    ints = k.alloc(4 * room)
    assert k.text(k.run("get_options", k.put(text), room, ints)) == rest
    assert k.mem.s32(ints) == len(numbers)
    assert [k.mem.s32(ints + 4 * n) for n in range(1, len(numbers) + 1)] == numbers


def test_siphash_is_the_published_one() -> None:
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert siphash(bytes(range(15)), key) == 0xA129CA6149BE45E5


def test_a_name_is_hashed_alike_by_length_and_by_its_end(k: FakeHost) -> None:
    name = k.put("a rather long name")
    both = k.run("hashlen_string", 5, name)
    assert both >> 32 == 18
    assert both & 0xFFFFFFFF == k.run("full_name_hash", 5, name, 18)


def test_a_checksum_goes_on_over_zeros(k: FakeHost) -> None:
    data = k.put(b"123456789" + bytes(100))
    assert k.run("__crc32c_le", 0xFFFFFFFF, data, 9) ^ 0xFFFFFFFF == 0xE3069283
    for name in ("crc32_le", "__crc32c_le"):
        short = k.run(name, 7, data, 9)
        assert k.run(name, 7, data, 109) == k.run(f"{name}_shift", short, 100)
