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


def parse(name: str, text: str, *middle: int, bits: int = BITS) -> frozenset[int] | int:
    """The bits, or the (positive) error."""
    k = FakeHost()
    x = put(k, frozenset(range(BITS)), junk=False)
    error = k.run(name, text, *middle, x, bits)
    return U64 - error if error else frozenset(bit for bit in get(k, x) if bit < bits)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", frozenset()),
        ("0", frozenset({0})),
        ("1-3,7\n", frozenset({1, 2, 3, 7})),
        (" 5,\t 6 ,", frozenset({5, 6})),
        ("\n4", frozenset({4})),
        ("4\n5", frozenset({4})),
        ("N", frozenset({BITS - 1})),
        ("148-N", frozenset({148, 149})),
        ("all", frozenset(range(BITS))),
        ("ALL:1/50", frozenset({0, 50, 100})),
        ("0-9:2/4", frozenset({0, 1, 4, 5, 8, 9})),
        ("0-9:2/4,20", frozenset({0, 1, 4, 5, 8, 9, 20})),
        ("3-1", 22),
        ("1-", 22),
        ("a", 22),
        ("1:2", 22),
        ("0-9:2", 22),
        ("0-9:5/4", 22),
        ("0-9:0/0", 22),
        ("150", 34),
        ("4294967296", 75),
    ],
)
def test_lists_of_ranges(text: str, expected: frozenset[int] | int) -> None:
    assert parse("bitmap_parselist", text) == expected


def test_what_stands_before_a_bad_range_stays(k: FakeHost) -> None:
    x = put(k, frozenset({9}), junk=False)
    k.run("bitmap_parselist", "1,2,x", x, BITS)
    assert get(k, x) == {1, 2}


@pytest.mark.parametrize(
    ("text", "bits", "expected"),
    [
        ("0", 70, frozenset()),
        ("f", 70, frozenset({0, 1, 2, 3})),
        ("1,00000000,80000001\n", 70, frozenset({0, 31, 64})),
        ("3f,0,0", 70, frozenset(range(64, 70))),
        (" 1, 2 ", 70, frozenset({1, 32})),
        ("40,0,0", 70, 75),
        ("1,0,0,0", 70, 75),
        ("123456789", 70, 75),
        ("x", 70, 22),
        ("1x2", 70, 22),
        ("", 70, frozenset()),
        ("ffffffff", 32, frozenset(range(32))),
        ("1f", 4, 75),
    ],
)
def test_hexadecimal_words(text: str, bits: int, expected: frozenset[int] | int) -> None:
    assert parse("bitmap_parse", text, 1000, bits=bits) == expected


@given(a=members)
def test_text_is_read_back(a: frozenset[int]) -> None:
    k = FakeHost()
    x, buf = put(k, a), k.alloc(1000)
    for printer, reader, middle in (
        ("bitmap_print_list_to_buf", "bitmap_parselist", ()),
        ("bitmap_print_bitmask_to_buf", "bitmap_parse", (1000,)),
    ):
        length = k.run(printer, buf, x, BITS, 0, 1000)
        text = k.text(buf)
        assert (len(text) + 1, text[-1]) == (length, "\n")
        assert parse(reader, text, *middle) == a


def test_text_is_printed_piece_by_piece(k: FakeHost) -> None:
    x, buf = put(k, frozenset({1, 2, 70})), k.put(b"$" * 16)
    assert k.run("bitmap_print_list_to_buf", buf, x, BITS, 2, 3) == 3
    assert k.mem.read(buf, 4) == b"2,7$"
    assert k.run("bitmap_print_list_to_buf", buf, x, BITS, 100, 3) == 0
    assert k.run("bitmap_print_list_to_buf", buf, x, BITS, -1, 3) == U64 - 22


@given(a=members, n=st.integers(0, 45), start=st.integers(0, BITS))
def test_the_nth_bit_and_the_next_byte(a: frozenset[int], n: int, start: int) -> None:
    k = FakeHost()
    x, clump = put(k, a), k.alloc(8)
    assert k.run("__find_nth_bit", x, BITS, n) == (sorted(a)[n] if n < len(a) else BITS)
    found = min((bit for bit in a if bit >= start), default=BITS)
    assert k.run("find_next_clump8", clump, x, BITS, start) == (found & ~7 if found < BITS else BITS)
    if found < 144:
        assert k.mem.u64(clump) == sum(1 << bit % 8 for bit in a if bit // 8 == found // 8)
