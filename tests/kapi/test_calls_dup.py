"""Copies of memory and strings, from Python: text arguments are C strings for as long as the call lasts."""

from __future__ import annotations

import pytest

from kmem.kernel import Kernel
from tests.kapi.booted import GFP_KERNEL, GFP_NOWARN, SIZE_MAX, consistent


def text(k: Kernel, p: int) -> bytes:
    return k.mem.cstr(p)


def test_kmemdup_copies_bytes(kernel: Kernel) -> None:
    p = kernel.kmalloc(64)
    kernel.write(p, bytes(range(64)))
    q = kernel.kmemdup(p, 40, GFP_KERNEL)
    assert (q != p, kernel.read(q, 40), kernel.ksize(q)) == (True, bytes(range(40)), 64)
    assert kernel.kmemdup(p, SIZE_MAX, GFP_KERNEL | GFP_NOWARN) == 0


def test_kmemdup_nul_ends_the_copy(kernel: Kernel) -> None:
    assert kernel.read(kernel.kmemdup_nul("driver", 3, GFP_KERNEL), 4) == b"dri\0"
    assert kernel.kmemdup_nul(0, 3, GFP_KERNEL) == 0


def test_kstrdup(kernel: Kernel) -> None:
    p = kernel.kstrdup("a string", GFP_KERNEL)
    assert (text(kernel, p), kernel.ksize(p)) == (b"a string", 16)
    assert kernel.kstrdup(0, GFP_KERNEL) == 0


def test_kstrndup_stops_early(kernel: Kernel) -> None:
    assert text(kernel, kernel.kstrndup("a string", 3, GFP_KERNEL)) == b"a s"
    assert text(kernel, kernel.kstrndup("a", 3, GFP_KERNEL)) == b"a"


def test_kasprintf_formats_into_a_new_object(kernel: Kernel) -> None:
    p = kernel.kasprintf(GFP_KERNEL, "%s-%d-%x-%5u|%c|%lu|%s", "disk", -7, 255, 42, 33, 1 << 40, "end")
    assert text(kernel, p) == b"disk--7-ff-   42|!|1099511627776|end"


def test_kasprintf_strarray_numbers_its_strings(kernel: Kernel) -> None:
    names = kernel.kasprintf_strarray(GFP_KERNEL, "gpio", 3)
    strings = [kernel.mem.u64(names + 8 * n) for n in range(4)]
    assert [text(kernel, p) for p in strings[:3]] == [b"gpio-0", b"gpio-1", b"gpio-2"]
    assert strings[3] == 0
    kernel.kfree_strarray(names, 3)
    assert all(kernel.mm.core.k_object_is_free(p) for p in (names, *strings[:3]))


def test_kvmemdup_falls_back_as_kvmalloc_does(kernel: Kernel) -> None:
    p = kernel.vzalloc(8 << 20)
    kernel.write(p, b"front")
    q = kernel.kvmemdup(p, 8 << 20, GFP_KERNEL)
    assert kernel.is_vmalloc_addr(q)
    assert kernel.read(q, 6) == b"front\0"


@pytest.mark.parametrize("call", ["memdup_user", "vmemdup_user", "memdup_user_nul"])
def test_a_copy_from_an_unmapped_user_address_is_efault(call: str, kernel: Kernel) -> None:
    got = getattr(kernel, call)(0x1000, 16)
    assert got & SIZE_MAX == SIZE_MAX + 1 - 14
    consistent(kernel)


def test_strndup_user_of_an_unmapped_address_is_efault(kernel: Kernel) -> None:
    assert kernel.strndup_user(0x1000, 16) & SIZE_MAX == SIZE_MAX + 1 - 14
