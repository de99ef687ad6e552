"""sscanf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kapi.fakehost import FakeHost

SLOT = 32


def sscanf(text: str, fmt: str, targets: int = 0) -> tuple[int, list[bytes]]:
    """The count, and the 32 bytes at each target, which were 0xa5 before."""
    k = FakeHost()
    where = [k.put(b"\xa5" * SLOT) for _ in range(targets)]
    count = k.run("sscanf", text, fmt, *where)
    return count, [k.mem.read(at, SLOT) for at in where]


def integers(text: str, fmt: str, targets: int) -> list[int]:
    """What the conversions that were done have stored, as ints."""
    count, slots = sscanf(text, fmt, targets)
    return [int.from_bytes(slot[:4], "little", signed=True) for slot in slots[:count]]


@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=8))
def test_it_reads_back_what_was_printed(values: list[int]) -> None:
    text = " ".join(map(str, values))
    assert integers(text, " ".join(["%d"] * len(values)), len(values)) == values


@pytest.mark.parametrize(
    ("text", "fmt", "expected"),
    [
        ("0x1f", "%i", [31]),
        ("017", "%i", [15]),
        ("1f", "%x", [31]),
        ("0x1f", "%x", [31]),
        ("777", "%o", [511]),
        ("12345", "%2d%3d", [12, 345]),
        ("-12", "%2d%d", [-1, 2]),
        ("-1", "%1d", []),
        ("  7,  8", "%d,%d", [7, 8]),
        ("7;8", "%d,%d", [7]),
        ("100%", "%d%%", [100]),
        ("7 x 8", "%d %*s %d", [7, 8]),
        ("7abc9", "%dabc%d", [7, 9]),
        ("", "%d", []),
        ("abc", "%d", []),
        ("8", "%o", []),
        ("5", "%0d", []),
        ("5", "%q", []),
        ("0x1f", "%3x%c", [1, -1515870874]),
    ],
)
def test_integers(text: str, fmt: str, expected: list[int]) -> None:
    assert integers(text, fmt, 2) == expected


@pytest.mark.parametrize(
    ("fmt", "size"), [("%hhd", 1), ("%hd", 2), ("%d", 4), ("%ld", 8), ("%lld", 8), ("%zu", 8), ("%Lx", 8)]
)
def test_a_conversion_stores_its_size(fmt: str, size: int) -> None:
    _, (slot,) = sscanf("7", fmt, 1)
    assert slot == b"\x07".ljust(size, b"\0").ljust(SLOT, b"\xa5")


def test_the_number_of_characters_so_far(k: FakeHost) -> None:
    value, at = k.alloc(4), k.alloc(4)
    assert k.run("sscanf", "42 rest", "%d %n", value, at) == 1
    assert (k.mem.s32(value), k.mem.s32(at)) == (42, 3)


@pytest.mark.parametrize(
    ("text", "fmt", "expected"),
    [
        ("hello world", "%s", [b"hello\0"]),
        ("hello world", "%3s%s", [b"hel\0", b"lo\0"]),
        ("  a b", "%s %s", [b"a\0", b"b\0"]),
        ("xyz", "%c%2c", [b"x", b"yz"]),
        ("00:0a:95", "%2[^:]:%2[^:]", [b"00\0", b"0a\0"]),
        ("aab", "%5[a]%c", [b"aa\0", b"b"]),
        ("aab", "%[a]", []),
        ("aab", "%5[b]", []),
        ("aab", "%5[", []),
        ("aab", "%5[]", []),
        ("key=value", "%8[^=]=%s", [b"key\0", b"value\0"]),
    ],
)
def test_strings(text: str, fmt: str, expected: list[bytes]) -> None:
    count, slots = sscanf(text, fmt, 2)
    assert count == len(expected)
    for slot, content in zip(slots, expected, strict=False):
        assert slot == content.ljust(SLOT, b"\xa5")
