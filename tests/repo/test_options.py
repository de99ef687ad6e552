"""Sizes, counts and module parameters as they are typed."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.commands import options
from kmem.errors import UsageError
from kmem.report.table import size as spelled


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4096", 4096),
        ("0x1000", 4096),
        ("64K", 65536),
        ("64k", 65536),
        ("64KiB", 65536),
        ("512M", 512 << 20),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert options.size(text) == value


@pytest.mark.parametrize("text", ["", "K", "iB", "1.5M", "-1", "64KB", "64X", "1_000", "5 K", "0x10K", "ten"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no size"):
        options.size(text)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_a_printed_size_reads_back(count: int) -> None:
    assert options.size(spelled(count)) == count


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("250", 250), ("1e8", 10**8), ("100M", 10**8), ("3k", 3000)])
def test_counts(text: str, value: int) -> None:
    assert options.count(text) == value


@pytest.mark.parametrize("text", ["0", "-3", "", "M", "1.5", "1e-1", "1e400", "nan"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="whole number"):
        options.count(text)


def test_module_parameters_as_insmod_takes_them() -> None:
    assert options.module_parameters(["count=3", "name=a=b", "verbose", "empty="]) == {
        "count": "3",
        "name": "a=b",
        "verbose": None,
        "empty": "",
    }


def test_a_parameter_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError):
        options.module_parameters(["=3"])
