"""Entries as Python functions: what they take, give and raise."""

from __future__ import annotations

import pytest

from kmem.lib.cstruct import CoreFault
from kmem.lib.jit import INTERPRETED
from tests.mm.booted import BootedMm

pytestmark = pytest.mark.skipif(INTERPRETED, reason="there is no compiled code")


@pytest.fixture(scope="module")
def mm() -> BootedMm:
    return BootedMm("plain")


def test_addresses_go_in_and_come_out_unsigned(mm: BootedMm) -> None:
    p = mm.core.k_kmalloc(64, 0xCC0, -1)
    assert p >> 63 == 1
    assert mm.core.k_ksize(p) == mm.core.k_ksize(p - (1 << 64)) == 64
    mm.core.k_kfree(p)


def test_the_number_of_arguments_is_checked(mm: BootedMm) -> None:
    for wrong in ((), (64,), (64, 0xCC0, -1, 0)):
        with pytest.raises(TypeError, match="takes 3 integers"):
            mm.core.k_kmalloc(*wrong)


def test_what_is_no_integer_is_refused(mm: BootedMm) -> None:
    for wrong in ("64", 64.0, None):
        with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
            mm.core.k_kmalloc(wrong, 0xCC0, -1)


def test_a_wild_pointer_raises_and_the_next_call_works(mm: BootedMm) -> None:
    with pytest.raises(CoreFault):
        mm.core.k_kfree(1 << 40)
    assert mm.core.k_ksize(0) == 0


def test_minus_one_is_an_argument(mm: BootedMm) -> None:
    assert mm.core.k_lookup((1 << 64) - 1) == mm.core.k_lookup(-1)
