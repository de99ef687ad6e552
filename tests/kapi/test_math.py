"""Plain computations: sorting, checksums, arithmetic, numbers in strings, random numbers, CPU masks."""

from __future__ import annotations

import math
import zlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kapi.fakehost import FakeHost

U64 = 1 << 64


# Sorting and searching


def compare_at(k: FakeHost, pairs: list[tuple[int, int]] | None = None) -> int:
    """A guest function that compares the first bytes of two elements."""

    def compare(a: int, b: int, *priv: int) -> int:
        if pairs is not None:
            pairs.append((k.mem.u8(a + 1), k.mem.u8(b + 1)))
        return k.mem.u8(a) - k.mem.u8(b)

    return k.guest(compare)


@given(keys=st.lists(st.integers(0, 9), max_size=20), size=st.sampled_from([1, 3, 8]))
def test_sort_orders_and_keeps_the_elements(keys: list[int], size: int) -> None:
    k = FakeHost()
    elements = [bytes([key]).ljust(size, bytes([index])) for index, key in enumerate(keys)]
    base = k.put(b"".join(elements) + b"$")
    k.run("sort", base, len(keys), size, compare_at(k), 0)
    raw = k.mem.read(base, len(keys) * size)
    after = [raw[at : at + size] for at in range(0, len(raw), size)]
    assert [element[0] for element in after] == sorted(keys)
    assert sorted(after) == sorted(elements)
    assert k.mem.u8(base + len(raw)) == ord("$")


# What lib/sort.c of 6.1, compiled for the host, compares and makes of keys 1 0 1 0 and 3 1 2 1 3 2 1.
FOUR = [(1, 3), (1, 2), (0, 2), (1, 2), (3, 2), (3, 1)]
SEVEN = [(5, 6), (2, 5), (3, 4), (1, 4), (4, 2), (3, 1), (0, 3), (0, 4), (4, 2), (3, 1), (6, 3), (6, 4), (6, 2), (5, 2)]
SEVEN += [(6, 2), (1, 2), (6, 1), (3, 6), (1, 6)]


@pytest.mark.parametrize(
    ("keys", "compared", "order"),
    [((1, 0, 1, 0), FOUR, "1320"), ((3, 1, 2, 1, 3, 2, 1), SEVEN, "6132540")],
)
def test_sort_compares_and_orders_equal_elements_as_the_kernel_does(
    keys: tuple[int, ...], compared: list[tuple[int, int]], order: str, k: FakeHost
) -> None:
    base = k.put(b"".join(bytes((key, index)) for index, key in enumerate(keys)))
    pairs: list[tuple[int, int]] = []
    k.run("sort", base, len(keys), 2, compare_at(k, pairs), 0)
    assert pairs == compared
    assert "".join(str(k.mem.u8(base + 2 * index + 1)) for index in range(len(keys))) == order


def test_sort_uses_the_swap_function_and_sort_r_hands_priv_on(k: FakeHost) -> None:
    base = k.put(bytes((2, 1)))
    seen: list[tuple[int, ...]] = []

    def swap(a: int, b: int, size: int, *priv: int) -> int:
        seen.append((a - base, b - base, size, *priv))
        x, y = k.mem.u8(a), k.mem.u8(b)
        k.mem.set_u8(a, y)
        k.mem.set_u8(b, x)
        return 0

    k.run("sort_r", base, 2, 1, compare_at(k), k.guest(swap), 77)
    assert k.mem.read(base, 2) == bytes((1, 2))
    assert seen == [(0, 1, 1, 77)]
    assert all(call[3:] == (77,) for call in k.calls if len(call) == 4)


@given(keys=st.sets(st.integers(0, 200), max_size=20), wanted=st.integers(0, 200))
def test_bsearch(keys: set[int], wanted: int) -> None:
    k = FakeHost()
    base = k.put(bytes(sorted(keys)))
    found = k.run("bsearch", bytes([wanted]), base, len(keys), 1, compare_at(k))
    assert (k.mem.u8(found) == wanted) if wanted in keys else found == 0


# Checksums


def crc_by_bit(content: bytes, crc: int, polynomial: int, width: int) -> int:
    """A CRC with the most significant bit first, by long division."""
    for byte in content:
        for bit in range(7, -1, -1):
            top = crc >> (width - 1) ^ (byte >> bit & 1)
            crc = (crc << 1 & ((1 << width) - 1)) ^ (polynomial if top & 1 else 0)
    return crc


def reverse(value: int, width: int) -> int:
    return int(f"{value:0{width}b}"[::-1], 2)


@given(content=st.binary(max_size=40), crc=st.integers(0, (1 << 32) - 1))
def test_checksums(content: bytes, crc: int) -> None:
    k = FakeHost()
    buf, short = k.put(content + b"$"), crc & 0xFFFF
    length = len(content)
    assert k.run("crc32_le", crc, buf, length) == zlib.crc32(content, crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    assert k.run("crc32_be", crc, buf, length) == crc_by_bit(content, crc, 0x04C11DB7, 32)
    assert k.run("crc_ccitt_false", short, buf, length) == crc_by_bit(content, short, 0x1021, 16)
    reflected = crc_by_bit(bytes(reverse(c, 8) for c in content), reverse(short, 16), 0x1021, 16)
    assert k.run("crc_ccitt", short, buf, length) == reverse(reflected, 16)


def test_tables(k: FakeHost) -> None:
    rev, ccitt = k.address_of("byte_rev_table"), k.address_of("crc_ccitt_table")
    assert [k.mem.u8(rev + c) for c in (0, 1, 0x80, 0x0F)] == [0, 0x80, 1, 0xF0]
    assert [k.mem.u16(ccitt + 2 * c) for c in (0, 1, 255)] == [0, 0x1189, 0x0F78]


# Arithmetic


@given(a=st.integers(0, U64 - 1), b=st.integers(0, U64 - 1))
def test_divisors_and_multiples(a: int, b: int) -> None:
    k = FakeHost()
    assert k.run("gcd", a, b) == math.gcd(a, b)
    assert k.run("lcm", a, b) == math.lcm(a, b) % U64
    assert k.run("int_sqrt", a) == math.isqrt(a)
    assert k.run("int_pow", a, b & 0xFF) == pow(a, b & 0xFF, U64)


def test_lcm_not_zero(k: FakeHost) -> None:
    assert [k.run("lcm_not_zero", a, b) for a, b in ((4, 6), (0, 6), (4, 0), (0, 0))] == [12, 6, 4, 0]


def test_iter_div(k: FakeHost) -> None:
    rest = k.alloc(8)
    assert k.run("iter_div_u64_rem", 10**10, 3 * 10**9, rest) == 3
    assert k.mem.u64(rest) == 10**9


@given(n=st.integers(1, 10**6), d=st.integers(1, 10**6), top=st.integers(1, 255), bottom=st.integers(1, 255))
def test_the_best_rational_approximation(n: int, d: int, top: int, bottom: int) -> None:
    k = FakeHost()
    where = k.alloc(16)
    k.run("rational_best_approximation", n, d, top, bottom, where, where + 8)
    p, q = k.mem.u64(where), k.mem.u64(where + 8)
    assert p <= top
    assert 0 < q <= bottom
    if bottom == 255 and top == 255:
        best = min(
            abs(Fraction(n, d) - Fraction(x, y))
            for y in range(1, 256)
            for x in (n * y // d, n * y // d + 1)
            if x <= 255
        )
        assert abs(Fraction(n, d) - Fraction(p, q)) == best


@pytest.mark.parametrize(
    ("text", "value", "used"),
    [
        ("64K", 65536, 3),
        ("1M", 1 << 20, 2),
        ("2g", 2 << 30, 2),
        ("0x10k", 16384, 5),
        ("7", 7, 1),
        ("1E", 1 << 60, 2),
        ("3x", 3, 1),
    ],
)
def test_memparse(text: str, value: int, used: int, k: FakeHost) -> None:
    where, end = k.put(text), k.alloc(8)
    assert k.run("memparse", where, end) == value
    assert k.mem.u64(end) == where + used


@pytest.mark.parametrize(
    ("text", "result", "value", "used"),
    [
        ("5,6", 2, 5, 2),
        ("5", 1, 5, 1),
        ("5-9", 3, 5, 1),
        ("-5", 1, -5, 2),
        ("x", 0, 0, 0),
        ("-", 0, 0, 1),
        ("", 0, 99, 0),
    ],
)
def test_get_option(text: str, result: int, value: int, used: int, k: FakeHost) -> None:
    where = k.put(text)
    cursor, target = k.put(where.to_bytes(8, "little")), k.put((99).to_bytes(4, "little"))
    assert k.run("get_option", cursor, target) == result
    assert (k.mem.s32(target), k.mem.u64(cursor) - where) == (value, used)


# Random numbers


def test_random_numbers_depend_on_the_seed(k: FakeHost) -> None:
    buf = k.alloc(16)
    k.run("get_random_bytes", buf, 16)
    numbers = [k.run(f"get_random_u{bits}") for bits in (8, 16, 32, 64)]
    again = FakeHost()
    other = again.alloc(16)
    again.run("get_random_bytes", other, 16)
    assert again.mem.read(other, 16) == k.mem.read(buf, 16)
    assert [again.run(f"get_random_u{bits}") for bits in (8, 16, 32, 64)] == numbers
    assert all(number < 1 << bits for number, bits in zip(numbers, (8, 16, 32, 64), strict=True))


def test_prandom_is_taus113(k: FakeHost) -> None:
    # the first entry of the kernel's self-test: seed 1, result after the warm-up of ten numbers
    state = k.alloc(16)
    seed = 1

    def lcg(x: int) -> int:
        return x * 69069 & 0xFFFFFFFF

    words = []
    for lowest in (2, 8, 16, 128):
        seed = lcg(seed)
        words.append(seed + lowest if seed < lowest else seed)
    k.mem.write(state, b"".join(word.to_bytes(4, "little") for word in words))
    for _ in range(10):
        k.run("prandom_u32_state", state)
    assert k.run("prandom_u32_state", state) == 3484351685


def test_prandom_bytes(k: FakeHost) -> None:
    a, b, buf = k.put(bytes(range(100, 116))), k.put(bytes(range(100, 116))), k.put(b"$" * 8)
    k.run("prandom_bytes_state", a, buf, 6)
    expected = (
        k.run("prandom_u32_state", b).to_bytes(4, "little") + k.run("prandom_u32_state", b).to_bytes(4, "little")[:2]
    )
    assert k.mem.read(buf, 8) == expected + b"$$"


# CPU masks and facts


def test_masks_hold_the_cpus_of_the_machine(k: FakeHost) -> None:
    assert k.mem.u64(k.address_of("__cpu_online_mask")) == 3
    assert k.mem.u32(k.address_of("nr_cpu_ids")) == 2
    bitmap = k.address_of("cpu_bit_bitmap")
    assert k.mem.u64(bitmap + 1024 * (1 + 5)) == 1 << 5
    # the mask of CPU 70 begins one word before row 7
    assert int.from_bytes(k.mem.read(bitmap + 1024 * 7 - 8, 1024), "little") == 1 << 70


def test_going_round_a_mask_once(k: FakeHost) -> None:
    k.nr_cpus = 4
    mask = k.put((0b1011).to_bytes(8, "little"))
    visited, n, wrap = [], 1, 0
    while (n := k.run("cpumask_next_wrap", n, mask, 2, wrap)) < 4:
        visited.append(n)
        wrap = 1
    assert visited == [3, 0, 1]


def test_cpus_are_handed_out_in_turn(k: FakeHost) -> None:
    assert [k.run("cpumask_local_spread", i, 0) for i in range(3)] == [0, 1, 0]


def test_facts_about_the_cpu(k: FakeHost) -> None:
    cpu = k.address_of("boot_cpu_data")
    assert k.mem.read(cpu + 136, 12) == b"AuthenticAMD"
    assert k.mem.u32(cpu + 40) >> 26 & 1, "sse2"
    assert k.mem.u64(k.address_of("zero_pfn")) == k.mem.translate(k.address_of("empty_zero_page")) // 4096


# UUIDs

TEXT = "c33f4995-3701-450e-9fbf-206a2e98e576"


def test_uuids_and_guids(k: FakeHost) -> None:
    raw = k.alloc(16)
    assert k.run("uuid_parse", TEXT + " and more", raw) == 0
    assert k.mem.read(raw, 16).hex() == TEXT.replace("-", "")
    assert k.run("guid_parse", TEXT.upper(), raw) == 0
    assert k.mem.read(raw, 16).hex() == "95493fc301370e459fbf206a2e98e576"
    assert k.run("uuid_is_valid", TEXT) == 1


@pytest.mark.parametrize("text", ["", TEXT[:-1], TEXT.replace("-", ":"), "g" + TEXT[1:]])
def test_what_is_no_uuid(text: str, k: FakeHost) -> None:
    raw = k.put(b"$" * 16)
    assert k.run("uuid_is_valid", text) == 0
    assert k.run("uuid_parse", text, raw) == k.run("guid_parse", text, raw) == U64 - 22
    assert k.mem.read(raw, 16) == b"$" * 16


def test_random_uuids_say_that_they_are(k: FakeHost) -> None:
    raw = k.alloc(16)
    k.run("uuid_gen", raw)
    assert (k.mem.u8(raw + 6) >> 4, k.mem.u8(raw + 8) >> 6) == (4, 2)
    k.run("guid_gen", raw)
    assert (k.mem.u8(raw + 7) >> 4, k.mem.u8(raw + 8) >> 6) == (4, 2)


@given(st.integers(0, (1 << 32) - 1))
def test_random_numbers_below(ceil: int) -> None:
    assert FakeHost().run("__get_random_u32_below", ceil) < (ceil or 1 << 32)
