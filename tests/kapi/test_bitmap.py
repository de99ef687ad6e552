"""Bitmaps against sets of bit numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kapi.fakehost import FakeHost

BITS = 150
WORDS = 3
U64 = 1 << 64
members = st.frozensets(st.integers(0, BITS - 1), max_size=40)


def put(k: FakeHost, bits: frozenset[int], junk: bool = True) -> int:
    """A bitmap of BITS bits; what lies behind them in the last word is set if *junk*."""
    value = sum(1 << bit for bit in bits)
    if junk:
        value |= (1 << 192) - (1 << BITS)
    return k.put(value.to_bytes(8 * WORDS, "little") + b"\xa5" * 8)


def get(k: FakeHost, bitmap: int) -> frozenset[int]:
    """The bits; the word behind the bitmap must be as it was."""
    raw = k.mem.read(bitmap, 8 * WORDS + 8)
    assert raw[-8:] == b"\xa5" * 8
    value = int.from_bytes(raw[:-8], "little")
    return frozenset(bit for bit in range(BITS) if value >> bit & 1)


@given(a=members, b=members)
def test_predicates(a: frozenset[int], b: frozenset[int]) -> None:
    k = FakeHost()
    x, y = put(k, a), put(k, b, junk=False)
    assert k.run("__bitmap_equal", x, y, BITS) == (a == b)
    assert k.run("__bitmap_intersects", x, y, BITS) == bool(a & b)
    assert k.run("__bitmap_subset", x, y, BITS) == (a <= b)
    assert k.run("__bitmap_weight", x, BITS) == len(a)
    assert k.run("__bitmap_weight_and", x, y, BITS) == len(a & b)


@given(a=members, b=members, c=members)
def test_operations(a: frozenset[int], b: frozenset[int], c: frozenset[int]) -> None:
    k = FakeHost()
    x, y, z, dst = put(k, a), put(k, b), put(k, c), put(k, frozenset())
    assert k.run("__bitmap_and", dst, x, y, BITS) == bool(a & b)
    assert get(k, dst) == a & b
    assert k.run("__bitmap_andnot", dst, x, y, BITS) == bool(a - b)
    assert get(k, dst) == a - b
    k.run("__bitmap_or", dst, x, y, BITS)
    assert get(k, dst) == a | b
    k.run("__bitmap_xor", dst, x, y, BITS)
    assert get(k, dst) == a ^ b
    k.run("__bitmap_complement", dst, x, BITS)
    assert get(k, dst) == frozenset(range(BITS)) - a
    k.run("__bitmap_replace", dst, x, y, z, BITS)
    assert get(k, dst) == (a - c) | (b & c)


@given(a=members, shift=st.integers(0, BITS - 1))
def test_shifts(a: frozenset[int], shift: int) -> None:
    k = FakeHost()
    x, dst = put(k, a), put(k, frozenset())
    k.run("__bitmap_shift_right", dst, x, shift, BITS)
    assert get(k, dst) == {bit - shift for bit in a if bit >= shift}
    k.run("__bitmap_shift_left", dst, x, shift, BITS)
    assert get(k, dst) == {bit + shift for bit in a if bit + shift < BITS}


@given(a=members, first=st.integers(0, BITS - 1), cut=st.integers(0, 20))
def test_cutting_bits_out(a: frozenset[int], first: int, cut: int) -> None:
    k = FakeHost()
    x, dst = put(k, a, junk=False), put(k, frozenset())
    k.run("bitmap_cut", dst, x, first, cut, BITS)
    assert get(k, dst) == {bit for bit in a if bit < first} | {bit - cut for bit in a if bit >= first + cut}


@given(a=members, start=st.integers(0, BITS), length=st.integers(0, BITS))
def test_setting_and_clearing_ranges(a: frozenset[int], start: int, length: int) -> None:
    k = FakeHost()
    length = min(length, BITS - start)
    x = put(k, a)
    k.run("__bitmap_set", x, start, length)
    assert get(k, x) == a | set(range(start, start + length))
    k.run("__bitmap_clear", x, start, length)
    assert get(k, x) == a - set(range(start, start + length))


@given(a=members, b=members, start=st.integers(0, BITS + 10))
def test_searches(a: frozenset[int], b: frozenset[int], start: int) -> None:
    k = FakeHost()
    x, y = put(k, a), put(k, b)
    zeros = set(range(BITS)) - a

    def first(found: set[int] | frozenset[int], at: int = 0) -> int:
        return min((bit for bit in found if bit >= at), default=BITS)

    assert k.run("_find_first_bit", x, BITS) == first(a)
    assert k.run("_find_first_zero_bit", x, BITS) == first(zeros)
    assert k.run("_find_first_and_bit", x, y, BITS) == first(a & b)
    assert k.run("_find_next_bit", x, BITS, start) == first(a, start)
    assert k.run("_find_next_zero_bit", x, BITS, start) == first(zeros, start)
    assert k.run("_find_next_and_bit", x, y, BITS, start) == first(a & b, start)
    assert k.run("_find_next_andnot_bit", x, y, BITS, start) == first(a - b, start)
    assert k.run("_find_last_bit", x, BITS) == max(a, default=BITS)


@given(
    a=members,
    start=st.integers(0, BITS),
    nr=st.integers(1, 40),
    align=st.sampled_from([0, 1, 7]),
    off=st.integers(0, 7),
)
def test_areas_of_zeros(a: frozenset[int], start: int, nr: int, align: int, off: int) -> None:
    k = FakeHost()
    found = k.run("bitmap_find_next_zero_area_off", put(k, a), BITS, start, nr, align, off)
    fits = [
        at
        for at in range(start, BITS - nr + 1)
        if (at + off) & align == 0 and not any(bit in a for bit in range(at, at + nr))
    ]
    assert found == fits[0] if fits else found > BITS - nr


def test_regions(k: FakeHost) -> None:
    x = put(k, frozenset({3, 8}))
    assert k.run("bitmap_find_free_region", x, BITS, 2) == 4
    assert k.run("bitmap_find_free_region", x, BITS, 2) == 12
    assert k.run("bitmap_find_free_region", x, BITS, 7) == U64 - 12
    assert k.run("bitmap_allocate_region", x, 12, 1) == U64 - 16
    k.run("bitmap_release_region", x, 12, 2)
    assert k.run("bitmap_allocate_region", x, 12, 1) == 0
    assert get(k, x) == {3, 4, 5, 6, 7, 8, 12, 13}


def test_arrays_of_32_bit_words(k: FakeHost) -> None:
    words = k.put(bytes(range(1, 13)) + b"\xa5" * 4)
    x = k.put(b"\xff" * 24)
    k.run("bitmap_from_arr32", x, words, 70)
    assert k.mem.read(x, 24) == bytes(range(1, 9)) + bytes([9 & 0x3F, 0, 0, 0, 0, 0, 0, 0]) + b"\xff" * 8
    back = k.put(b"\xa5" * 16)
    k.run("bitmap_to_arr32", back, x, 70)
    assert k.mem.read(back, 16) == bytes(range(1, 9)) + bytes([9, 0, 0, 0]) + b"\xa5" * 4


@pytest.mark.parametrize(("as_list", "text"), [(1, "1-2,64\n"), (0, "0,00000001,00000000,00000006\n")])
def test_printing_into_a_page(as_list: int, text: str, k: FakeHost) -> None:
    page = k.mm.allocate(4096, 4096)
    bits = k.put((6 | 1 << 64).to_bytes(16, "little"))
    assert k.run("bitmap_print_to_pagebuf", as_list, page, bits, 100) == len(text)
    assert k.text(page) == text
    # what is left of the page is the room
    assert k.run("bitmap_print_to_pagebuf", as_list, page + 4092, bits, 100) == 3
    assert k.text(page + 4092) == text[:3]
