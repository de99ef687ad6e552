"""What numbers in crash logs are taken for, and GFP masks by release."""

from __future__ import annotations

import pytest

from kmem.oops import gfp
from kmem.oops.values import meaning, region


@pytest.mark.parametrize(
    ("value", "bits", "arch", "kind", "words"),
    [
        (0, 64, "x86-64", "null", "NULL"),
        (16, 64, "x86-64", "zero-size", "ZERO_SIZE_PTR"),
        (0xFFFFFFFFFFFFFFF4, 64, "x86-64", "err", "ENOMEM"),
        (0xFFFFFFF4, 32, "arm", "err", "ENOMEM"),
        (0x6B6B6B6B6B6B6B6B, 64, "x86-64", "poison", "freed"),
        (0x6B6B6B9F, 32, "arm", "poison", "+0x34"),
        (0x5A5A5A5A5A5A5A5A, 64, "x86-64", "poison", "never initialised"),
        (0xDEAD000000000108, 64, "arm64", "list-poison", "LIST_POISON1 +0x8"),
        (0xDEAD000000000122, 64, "x86-64", "list-poison", "LIST_POISON2"),
        (0x00100100, 32, "x86-32", "list-poison", "LIST_POISON1"),
        (0x74736958, 32, "arm", "text", "'Xist'"),
        (0x6161616161616161, 64, "arm64", "text", "aaaaaaaa"),
        (0xBFFF9866C47FA9A0, 64, "x86-64", "bit-flip", "bit 62"),
        (0xAD5243DC23975C94, 64, "x86-64", "noncanonical", "no address"),
        (0xE1A0C00D, 32, "arm", "code", "instruction"),
        (13, 32, "arm", "small", "13"),
        (0x00007F0000001000, 64, "x86-64", "user", "user space"),
    ],
)
def test_meaning(value: int, bits: int, arch: str, kind: str, words: str) -> None:
    found = meaning(value, bits, arch)
    assert found.kind == kind
    assert words in found.text


@pytest.mark.parametrize(
    ("value", "arch", "where"),
    [
        (0xFFFF888004800000, "x86-64", "direct map"),
        (0xFFFFC90000014000, "x86-64", "vmalloc"),
        (0xFFFFEA0000000000, "x86-64", "vmemmap"),
        (0xFFFFFFFFC0001360, "x86-64", "modules"),
        (0xFFFFFFFF81000000, "x86-64", "kernel text"),
        (0xFF11000111932274, "x86-64", "5-level"),
        (0xBF06D03C, "arm", "modules"),
        (0xC03A4378, "arm", "lowmem"),
        (0xC0101000, "x86-32", "lowmem"),
    ],
)
def test_region(value: int, arch: str, where: str) -> None:
    assert where in region(value, arch)


@pytest.mark.parametrize(
    ("mask", "version", "names"),
    [
        (0x20, (2, 27), "GFP_ATOMIC"),
        (0xD0, (3, 11), "GFP_KERNEL"),
        (0x204010, (3, 18), "GFP_NOIO|__GFP_COMP|__GFP_NOTRACK"),
        (0x2088020, (4, 4), "GFP_ATOMIC|__GFP_ZERO"),
        (0x24000C2, (4, 4), "GFP_KERNEL|__GFP_HIGHMEM"),
        (0x14000C0, (4, 14), "GFP_KERNEL"),
        (0x6000C0, (4, 19), "GFP_KERNEL"),
        (0x40CC0, (5, 7), "GFP_KERNEL|__GFP_COMP"),
        (0xA20, (6, 1), "GFP_ATOMIC"),
        (0x820, (6, 12), "GFP_ATOMIC"),
    ],
)
def test_gfp_names_by_release(mask: int, version: tuple[int, int], names: str) -> None:
    assert gfp.names(mask, version) == names


def test_what_may_sleep() -> None:
    assert not gfp.may_sleep(0x20, (2, 27))
    assert gfp.may_sleep(0xD0, (2, 27))
    assert gfp.may_sleep(0xCC0, (6, 1))
    assert not gfp.may_sleep(0x820, (6, 12))
