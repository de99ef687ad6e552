"""Module arguments, split and converted as the kernel's parse_args, kstrto* and kstrtobool do."""

from __future__ import annotations

import errno

import pytest

from kmem.modules.params import (
    KernelParam,
    Setting,
    error_line,
    match,
    parse_args,
    parse_bool,
    parse_integer,
    parse_value,
)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("  \t ", []),
        ("count=3", [("count", "3")]),
        ("a=1 b=2\tc", [("a", "1"), ("b", "2"), ("c", None)]),
        ('name="two words" x=1', [("name", "two words"), ("x", "1")]),
        ('"name=two words" x=1', [("name", "two words"), ("x", "1")]),
        ("list=1,2,3", [("list", "1,2,3")]),
        ("a=b=c", [("a", "b=c")]),
        ("=5", [("=5", None)]),
        ("a=", [("a", "")]),
        ("a=1 -- b=2", [("a", "1")]),
        ('a="', [("a", "")]),
        ('a="open end', [("a", "open end")]),
    ],
)
def test_arguments_are_split_as_the_kernel_splits_them(text: str, pairs: list[tuple[str, str | None]]) -> None:
    assert parse_args(text) == pairs


def param(name: str) -> KernelParam:
    return KernelParam(0x1000, name, 0, 0, 0o644, -1, 0, 0)


def test_arguments_find_their_parameters() -> None:
    count, dash = param("count"), param("max_rate")
    settings, unknown = match([count, dash], {"max-rate": "9", "count": None, "nope": "1", "async_probe": "1"})
    assert settings == [Setting(dash, "9"), Setting(count, None)]
    assert unknown == ["nope"]


def test_error_lines_are_the_kernels() -> None:
    assert error_line("drv", "count", "x", errno.EINVAL) == "drv: `x' invalid for parameter `count'"
    assert error_line("drv", "who", "long", errno.ENOSPC) == "drv: `long' too large for parameter `who'"
    assert error_line("drv", "count", None, errno.ERANGE) == "drv: `' invalid for parameter `count'"
    assert error_line("drv", "count", "x", errno.ENOENT) == "drv: Unknown parameter `count'"


@pytest.mark.parametrize(
    ("text", "bits", "signed", "value"),
    [
        ("0", 32, True, 0),
        ("42\n", 32, True, 42),
        ("-42", 32, True, -42),
        ("+42", 32, False, 42),
        ("0x1F", 32, True, 31),
        ("0X1f", 8, False, 31),
        ("017", 32, True, 15),
        ("-2147483648", 32, True, -(1 << 31)),
        ("18446744073709551615", 64, False, (1 << 64) - 1),
        ("0" * 40 + "7", 32, True, 7),
    ],
)
def test_numbers_are_read_in_any_base(text: str, bits: int, signed: bool, value: int) -> None:
    assert parse_integer(text, bits, signed=signed) == value


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1\n\n", "--1", "-+1", "0x", "0xg", "08", "1k", "abc", "1e3", "٣"])
def test_what_is_no_number_is_einval(text: str) -> None:
    with pytest.raises(OSError, match="not a number") as caught:
        parse_integer(text, 32, signed=True)
    assert caught.value.errno == errno.EINVAL


def test_unsigned_number_takes_no_minus() -> None:
    with pytest.raises(OSError, match="not a number"):
        parse_integer("-1", 32, signed=False)


@pytest.mark.parametrize(
    ("text", "bits", "signed"),
    [
        ("2147483648", 32, True),
        ("-2147483649", 32, True),
        ("256", 8, False),
        ("9" * 5000, 64, False),
        ("0x1" + "0" * 16, 64, False),
    ],
)
def test_number_that_does_not_fit_is_erange(text: str, bits: int, signed: bool) -> None:
    with pytest.raises(OSError, match="does not fit") as caught:
        parse_integer(text, bits, signed=signed)
    assert caught.value.errno == errno.ERANGE


def test_truth_values() -> None:
    assert all(parse_bool(text) for text in ("y", "Yes", "t", "1", "on", "ON", "1abc"))
    assert not any(parse_bool(text) for text in ("n", "No", "f", "0", "off", "Of"))
    for text in ("", "o", "x", "2"):
        with pytest.raises(OSError, match="truth"):
            parse_bool(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "-5", -5),
        ("bool", "y", True),
        ("bool", None, True),
        ("invbool", "y", False),
        ("bint", None, True),
        ("charp", "text", "text"),
        ("string", "text", "text"),
        ("array of int", "1,-2,0x3", [1, -2, 3]),
        ("array of charp", "a,b", ["a", "b"]),
        ("ushort", "65535", 65535),
        ("own_type", "as it is", "as it is"),
    ],
)
def test_values_have_the_type_of_their_parameter(kind: str, text: str | None, value: object) -> None:
    assert parse_value(kind, text) == value


@pytest.mark.parametrize("kind", ["int", "charp", "invbool", "array of int"])
def test_parameter_that_needs_a_value_says_so(kind: str) -> None:
    with pytest.raises(OSError, match="needs a value"):
        parse_value(kind, None)
