"""Strings to integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kapi.fakehost import FakeHost

U64 = 1 << 64
EINVAL, ERANGE = U64 - 22, U64 - 34

TYPES = {
    "kstrtoull": (64, False),
    "kstrtoll": (64, True),
    "kstrtouint": (32, False),
    "kstrtoint": (32, True),
    "kstrtou16": (16, False),
    "kstrtos16": (16, True),
    "kstrtou8": (8, False),
    "kstrtos8": (8, True),
}


def kstrto(name: str, text: str, base: int = 0) -> int | str:
    """The value, or the name of the error; a failure must not store."""
    k = FakeHost()
    bits, signed = TYPES[name]
    res = k.put(b"\xa5" * 16)
    error = k.run(name, text, base, res)
    size = bits // 8 if not error else 0
    assert k.mem.read(res + size, 16 - size) == b"\xa5" * (16 - size)
    if error:
        return {EINVAL: "EINVAL", ERANGE: "ERANGE"}[error]
    return int.from_bytes(k.mem.read(res, size), "little", signed=signed)


@given(name=st.sampled_from(sorted(TYPES)), value=st.integers(-(1 << 65), 1 << 65))
def test_decimal_numbers_are_taken_if_they_fit(name: str, value: int) -> None:
    bits, signed = TYPES[name]
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    expected: int | str = value if low <= value < high else "ERANGE"
    if value < 0 and not signed:
        expected = "EINVAL"
    assert kstrto(name, str(value), 10) == expected


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("0x1f", 0, 31),
        ("0X1F", 16, 31),
        ("1f", 16, 31),
        ("017", 0, 15),
        ("0", 0, 0),
        ("+7", 0, 7),
        ("7\n", 0, 7),
        ("-0", 0, 0),
        ("101", 2, 5),
        ("", 0, "EINVAL"),
        ("7\n\n", 0, "EINVAL"),
        (" 7", 0, "EINVAL"),
        ("7 ", 0, "EINVAL"),
        ("0x", 0, "EINVAL"),
        ("0xg", 0, "EINVAL"),
        ("08", 0, "EINVAL"),
        ("-+7", 0, "EINVAL"),
        ("--7", 0, "EINVAL"),
        ("+", 0, "EINVAL"),
        ("9" * 30, 0, "ERANGE"),
        ("9" * 30 + "x", 0, "ERANGE"),
        ("0" * 30 + "7", 8, 7),
    ],
)
def test_forms_of_numbers(text: str, base: int, expected: int | str) -> None:
    assert kstrto("kstrtoint", text, base) == expected


@pytest.mark.parametrize("text", "y Yes 1 true on ON n N 0 false off oF".split())
def test_kstrtobool_looks_at_two_characters(text: str, k: FakeHost) -> None:
    value = int(text in ("y", "Yes", "1", "true", "on", "ON"))
    res = k.put(b"\xa5\xa5")
    assert k.run("kstrtobool", text, res) == 0
    assert k.mem.read(res, 2) == bytes([value, 0xA5])


@pytest.mark.parametrize("text", ["", "o", "ox", "2", "-"])
def test_kstrtobool_refuses_the_rest(text: str, k: FakeHost) -> None:
    assert k.run("kstrtobool", text, k.alloc(1)) == EINVAL
    assert k.run("kstrtobool", 0, k.alloc(1)) == EINVAL


@pytest.mark.parametrize(
    ("name", "text", "base", "value", "used"),
    [
        ("simple_strtoul", "123abc", 0, 123, 3),
        ("simple_strtoul", "0x1fz", 0, 31, 4),
        ("simple_strtoul", "0x", 0, 0, 1),
        ("simple_strtoul", "077", 0, 63, 3),
        ("simple_strtoul", "abc", 10, 0, 0),
        ("simple_strtoul", "-5", 10, 0, 0),
        ("simple_strtol", "-5", 10, U64 - 5, 2),
        ("simple_strtoll", "-0x10", 0, U64 - 16, 5),
        ("simple_strtoull", str(U64 + 3), 10, 3, 20),
    ],
)
def test_simple_strto(name: str, text: str, base: int, value: int, used: int, k: FakeHost) -> None:
    where, end = k.put(text), k.alloc(8)
    assert k.run(name, where, end, base) == value
    assert k.mem.u64(end) == where + used
    assert k.run(name, where, 0, base) == value
