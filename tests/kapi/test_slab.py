"""The allocation family: what each link symbol asks of the mm, and what the wrappers do themselves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kapi.fakehost import BASE, CALLER, SIZE, FakeHost

GFP_KERNEL, GFP_ZERO, GFP_COMP, GFP_DMA32 = 0xCC0, 0x100, 0x40000, 0x4
SIZE_MAX = (1 << 64) - 1
CACHE = BASE + 64


@pytest.mark.parametrize(
    ("name", "args", "call"),
    [
        ("kmalloc_trace", (CACHE, GFP_KERNEL, 24), ("kmalloc_trace", CACHE, GFP_KERNEL, -1, 24)),
        ("kmalloc_node_trace", (CACHE, GFP_KERNEL, 0, 24), ("kmalloc_trace", CACHE, GFP_KERNEL, 0, 24)),
        ("__kmalloc", (100, GFP_KERNEL), ("kmalloc", 100, GFP_KERNEL, -1, CALLER)),
        ("__kmalloc_node", (100, GFP_KERNEL, -1), ("kmalloc", 100, GFP_KERNEL, -1, CALLER)),
        ("__kmalloc_node_track_caller", (100, GFP_KERNEL, 1, 0x1234), ("kmalloc", 100, GFP_KERNEL, 1, 0x1234)),
        ("kmalloc_large", (10000, GFP_KERNEL), ("kmalloc_large", 10000, GFP_KERNEL, -1)),
        ("kmalloc_large_node", (10000, GFP_KERNEL, 0), ("kmalloc_large", 10000, GFP_KERNEL, 0)),
        ("krealloc", (0, 64, GFP_KERNEL), ("krealloc", 0, 64, GFP_KERNEL)),
        ("kmem_cache_alloc", (CACHE, GFP_KERNEL), ("kmem_cache_alloc", CACHE, GFP_KERNEL, -1)),
        ("kmem_cache_alloc_node", (CACHE, GFP_KERNEL, 1), ("kmem_cache_alloc", CACHE, GFP_KERNEL, 1)),
        ("kmem_cache_alloc_lru", (CACHE, 5, GFP_KERNEL), ("kmem_cache_alloc", CACHE, GFP_KERNEL, -1)),
        ("vmalloc", (5000,), ("vmalloc", 5000, GFP_KERNEL, -1)),
        ("vzalloc", (5000,), ("vzalloc", 5000)),
        ("vmalloc_node", (5000, 1), ("vmalloc", 5000, GFP_KERNEL, 1)),
        ("vzalloc_node", (5000, 1), ("vmalloc", 5000, GFP_KERNEL | GFP_ZERO, 1)),
        ("__vmalloc", (5000, 0x820), ("vmalloc", 5000, 0x820, -1)),
        ("vmalloc_huge", (5000, 0x820), ("vmalloc_huge", 5000, 0x820)),
        ("vmalloc_user", (5000,), ("vmalloc_user", 5000)),
        ("vmalloc_32", (5000,), ("vmalloc_32", 5000)),
        ("vmalloc_32_user", (5000,), ("vmalloc_32_user", 5000)),
        ("vmalloc_array", (10, 500), ("vmalloc", 5000, GFP_KERNEL, -1)),
        ("vcalloc", (10, 500), ("vmalloc", 5000, GFP_KERNEL | GFP_ZERO, -1)),
        ("__vmalloc_array", (10, 500, 0x820), ("vmalloc", 5000, 0x820, -1)),
        ("__vcalloc", (10, 500, 0x820), ("vmalloc", 5000, 0x820 | GFP_ZERO, -1)),
        ("kvmalloc_node", (5000, GFP_KERNEL, -1), ("kvmalloc", 5000, GFP_KERNEL, -1)),
        ("alloc_pages", (GFP_KERNEL, 2), ("alloc_pages", GFP_KERNEL, 2, -1)),
        ("__alloc_pages", (GFP_KERNEL, 2, 1, 0), ("alloc_pages_nodemask", GFP_KERNEL, 2, 1, -1)),
        ("folio_alloc", (GFP_KERNEL, 2), ("alloc_pages", GFP_KERNEL | GFP_COMP, 2, -1)),
        ("__folio_alloc", (GFP_KERNEL, 2, 0, 0), ("alloc_pages_nodemask", GFP_KERNEL | GFP_COMP, 2, 0, -1)),
        ("__get_free_pages", (GFP_KERNEL, 1), ("get_free_pages", GFP_KERNEL, 1)),
        ("get_zeroed_page", (GFP_KERNEL,), ("get_free_pages", GFP_KERNEL | GFP_ZERO, 0)),
        ("__alloc_percpu", (64, 8), ("alloc_percpu", 64, 8, GFP_KERNEL)),
        ("__alloc_percpu_gfp", (64, 8, 0x820), ("alloc_percpu", 64, 8, 0x820)),
        ("ioremap", (0xFEE00000, 4096), ("ioremap", 0xFEE00000, 4096, 2)),
        ("ioremap_wc", (0xFEE00000, 4096), ("ioremap", 0xFEE00000, 4096, 1)),
        ("ioremap_prot", (0xFEE00000, 4096, 0x98), ("ioremap", 0xFEE00000, 4096, 4)),
        ("bitmap_zalloc", (65, GFP_KERNEL), ("kmalloc", 16, GFP_KERNEL | GFP_ZERO, -1, CALLER)),
        ("bitmap_alloc_node", (64, GFP_KERNEL, 1), ("kmalloc", 8, GFP_KERNEL, 1, CALLER)),
        ("mempool_alloc_slab", (GFP_KERNEL, CACHE), ("kmem_cache_alloc", CACHE, GFP_KERNEL, -1)),
        ("mempool_kmalloc", (GFP_KERNEL, 100), ("kmalloc", 100, GFP_KERNEL, -1, CALLER)),
        ("mempool_alloc_pages", (GFP_KERNEL, 1), ("alloc_pages", GFP_KERNEL, 1, -1)),
    ],
)
def test_an_allocation_asks_the_mm(name: str, args: tuple[int, ...], call: tuple[Any, ...], k: FakeHost) -> None:
    p = k.run(name, *args)
    assert k.mm.calls == [call]
    assert p in k.mm.live
    k.mm.fail = True
    assert k.run(name, *args) == 0


@pytest.mark.parametrize(
    ("name", "args", "calls"),
    [
        ("kfree", (0,), [("kfree", 0)]),
        ("kfree", (16,), [("kfree", 16)]),
        ("kfree_const", (0,), [("kfree", 0)]),
        ("bitmap_free", (0,), [("kfree", 0)]),
        ("mempool_kfree", (0, 8), [("kfree", 0)]),
        ("kmem_cache_free", (CACHE, 5), [("kmem_cache_free", CACHE, 5)]),
        ("mempool_free_slab", (5, CACHE), [("kmem_cache_free", CACHE, 5)]),
        ("kmem_cache_destroy", (CACHE,), [("kmem_cache_destroy", CACHE)]),
        ("kmem_cache_destroy", (0,), []),
        ("kmem_cache_shrink", (CACHE,), [("kmem_cache_shrink", CACHE)]),
        ("vfree", (0,), [("vfree", 0)]),
        ("vunmap", (7,), [("vunmap", 7)]),
        ("vm_unmap_ram", (7, 1), [("vm_unmap_ram", 7, 1)]),
        ("kvfree", (7,), [("kvfree", 7)]),
        ("__free_pages", (7, 3), [("free_pages", 7, 3)]),
        ("mempool_free_pages", (7, 3), [("free_pages", 7, 3)]),
        ("free_pages", (7, 3), [("free_pages_addr", 7, 3)]),
        ("free_pages", (0, 3), []),
        ("free_percpu", (7,), [("free_percpu", 7)]),
        ("free_percpu", (0,), []),
        ("iounmap", (7,), [("iounmap", 7)]),
    ],
)
def test_freeing_asks_the_mm(name: str, args: tuple[int, ...], calls: list[tuple[Any, ...]], k: FakeHost) -> None:
    assert k.run(name, *args) == 0
    assert k.mm.calls == calls


def test_creating_a_cache(k: FakeHost) -> None:
    s = k.run("kmem_cache_create", "drv", 40, 8, 0x2000, 0xFFFFFFFFC0000000)
    assert k.mm.calls == [("kmem_cache_create", "drv", 40, 8, 0x2000, 0xFFFFFFFFC0000000, 0, 0)]
    assert s in k.mm.live
    k.run("kmem_cache_create_usercopy", "drv", 40, 8, 0, 16, 24, 7)
    assert k.mm.calls[-1] == ("kmem_cache_create", "drv", 40, 8, 0, 7, 16, 24)


@pytest.mark.parametrize(
    ("size", "rounded"),
    [
        *((0, 0), (1, 8), (8, 8), (9, 16), (65, 96), (97, 128), (129, 192), (193, 256)),
        *((8192, 8192), (8193, 16384), (20000, 32768), (SIZE_MAX, SIZE_MAX)),
    ],
)
def test_kmalloc_size_roundup(size: int, rounded: int, k: FakeHost) -> None:
    assert k.run("kmalloc_size_roundup", size) == rounded


def test_ksize_of_nothing_is_zero(k: FakeHost) -> None:
    p = k.run("__kmalloc", 20, GFP_KERNEL)
    assert [k.run("ksize", q) for q in (0, 16, p)] == [0, 0, 24]


def test_kfree_sensitive_zeroes_the_whole_object(k: FakeHost) -> None:
    p = k.run("__kmalloc", 20, GFP_KERNEL)
    k.mem.write(p, b"secret".ljust(24, b"$"))
    k.run("kfree_sensitive", p)
    assert k.mem.read(p, 24) == bytes(24)
    k.run("kfree_sensitive", 0)
    assert k.mm.live == {}


def test_bulk_allocation_fills_the_array(k: FakeHost) -> None:
    array = k.alloc(64)
    assert k.run("kmem_cache_alloc_bulk", CACHE, GFP_KERNEL, 3, array) == 3
    objects = [k.mem.u64(array + 8 * index) for index in range(4)]
    assert set(objects[:3]) == set(k.mm.live)
    assert objects[3] == 0
    k.mm.calls.clear()
    k.run("kmem_cache_free_bulk", CACHE, 3, array)
    assert k.mm.calls == [("kmem_cache_free", CACHE, obj) for obj in reversed(objects[:3])]
    k.mm.fail = True
    assert k.run("kmem_cache_alloc_bulk", CACHE, GFP_KERNEL, 3, array) == 0


def test_a_bulk_free_without_a_cache_is_kfree(k: FakeHost) -> None:
    array = k.put(k.run("__kmalloc", 8, GFP_KERNEL).to_bytes(8, "little"))
    k.run("kmem_cache_free_bulk", 0, 1, array)
    assert k.mm.live == {}


@pytest.mark.parametrize("name", ["vmalloc_array", "vcalloc", "__vmalloc_array", "__vcalloc"])
def test_an_array_whose_size_overflows_is_null(name: str, k: FakeHost) -> None:
    assert k.run(name, 1 << 33, 1 << 31, GFP_KERNEL) == 0
    assert k.mm.calls == []


def test_kvrealloc_grows_and_never_shrinks(k: FakeHost) -> None:
    p = k.run("kvmalloc_node", 8, GFP_KERNEL, -1)
    k.mem.write(p, b"content!")
    assert k.run("kvrealloc", p, 8, 4, GFP_KERNEL) == p
    q = k.run("kvrealloc", p, 8, 100, GFP_KERNEL)
    assert k.mem.read(q, 8) == b"content!"
    assert list(k.mm.live) == [q]
    k.mm.fail = True
    assert k.run("kvrealloc", q, 100, 200, GFP_KERNEL) == 0
    assert list(k.mm.live) == [q]


def test_kvfree_sensitive(k: FakeHost) -> None:
    p = k.put(b"secret!!")
    k.run("kvfree_sensitive", p, 6)
    assert k.mem.read(p, 8) == b"\0\0\0\0\0\0!!"
    k.mm.calls.clear()
    k.run("kvfree_sensitive", 16, 6)
    assert k.mm.calls == []


def test_vmap_takes_an_array_of_pages(k: FakeHost) -> None:
    pages = k.put(b"".join(page.to_bytes(8, "little") for page in (11, 22, 33)))
    k.run("vmap", pages, 3, 4, 0x8000000000000163)
    k.run("vm_map_ram", pages, 2, -1)
    assert k.mm.calls == [
        ("vmap_array", pages, 3, 4, 0x8000000000000163),
        ("vm_map_ram", pages, 2, -1),
    ]


def test_is_vmalloc_addr(k: FakeHost) -> None:
    assert k.run("is_vmalloc_addr", 0xFFFFC90000001000) == 1
    assert k.run("is_vmalloc_addr", BASE) == 0


@pytest.mark.parametrize(
    ("name", "args", "call"),
    [
        ("split_page", (7, 2), ("split_page", 7, 2)),
        ("alloc_pages_exact", (5000, GFP_KERNEL), ("alloc_pages_exact", 5000, GFP_KERNEL, -1)),
        ("free_contig_range", (9, 3), ("free_contig_range", 9, 3)),
        ("alloc_contig_range", (9, 12, 1, GFP_KERNEL), ("alloc_contig_range", 9, 12, 1, GFP_KERNEL)),
        ("__page_frag_cache_drain", (7, 3), ("page_ref_sub", 7, 3)),
    ],
)
def test_pages_by_number_are_the_business_of_the_mm(
    name: str, args: tuple[int, ...], call: tuple[Any, ...], k: FakeHost
) -> None:
    k.run(name, *args)
    assert k.mm.calls == [call]


def test_exact_pages_are_freed_one_by_one(k: FakeHost) -> None:
    k.run("free_pages_exact", BASE, 5 * 4096 - 1)
    assert k.mm.calls == [("free_pages_addr", BASE + 4096 * n, 0) for n in range(5)]


def test_pages_in_bulk_fill_the_holes_of_an_array(k: FakeHost) -> None:
    array = k.alloc(64)
    k.mem.set_u64(array + 8, 77)
    assert k.run("__alloc_pages_bulk", GFP_KERNEL, -1, 0, 4, 0, array) == 4
    assert k.mm.calls == [("alloc_pages_bulk", GFP_KERNEL, 3, -1)]
    pages = [k.mem.u64(array + 8 * n) for n in range(5)]
    assert pages[1] == 77
    assert [page in k.mm.live for page in pages] == [True, False, True, True, False]
    assert k.run("__alloc_pages_bulk", GFP_KERNEL, -1, 0, 4, 0, array) == 4


def test_pages_in_bulk_may_be_fewer(k: FakeHost) -> None:
    array = k.alloc(64)
    k.mm.most = 2
    assert k.run("__alloc_pages_bulk", GFP_KERNEL, -1, 0, 5, 0, array) == 2
    assert k.mem.u64(array + 16) == 0
    k.mm.fail = True
    assert k.run("__alloc_pages_bulk", GFP_KERNEL, -1, 0, 5, 0, array) == 2
    assert k.run("__alloc_pages_bulk", GFP_KERNEL, -1, 0, 0, 0, array) == 0


def test_pages_in_bulk_go_to_a_list_and_are_put_back_from_it(k: FakeHost) -> None:
    head = k.alloc(16)
    k.mem.write(head, head.to_bytes(8, "little") * 2)
    assert k.run("__alloc_pages_bulk", GFP_KERNEL, -1, 0, 3, head, 0) == 3
    pages = [k.mem.u64(head) - 8]
    while k.mem.u64(pages[-1] + 8) != head:
        pages.append(k.mem.u64(pages[-1] + 8) - 8)
    assert set(pages) == set(k.mm.live) - {head}
    k.mm.calls.clear()
    k.run("put_pages_list", head)
    assert k.mm.calls == [("page_ref_sub", page, 1) for page in pages]
    assert k.mem.u64(head) == head


def test_the_last_reference_frees_a_folio(k: FakeHost) -> None:
    page = k.alloc(256)
    k.run("__folio_put", page)
    assert k.mem.u32(page + 0x34) == 1
    assert k.mm.calls == [("page_ref_sub", page, 1)]


# Duplicates


def test_kmemdup(k: FakeHost) -> None:
    p = k.run("kmemdup", b"abc\0def", 7, GFP_KERNEL)
    assert k.mem.read(p, 7) == b"abc\0def"
    assert k.mm.calls == [("kmalloc", 7, GFP_KERNEL, -1, CALLER)]
    assert k.run("kmemdup", BASE + SIZE, SIZE_MAX, GFP_KERNEL) == 0


def test_kmemdup_nul(k: FakeHost) -> None:
    p = k.run("kmemdup_nul", b"abcdef", 3, GFP_KERNEL)
    assert (k.text(p), k.mm.live) == ("abc", {p: 4})
    assert k.run("kmemdup_nul", 0, 3, GFP_KERNEL) == 0


@pytest.mark.parametrize("name", ["kstrdup", "kstrdup_const"])
def test_kstrdup(name: str, k: FakeHost) -> None:
    p = k.run(name, "text", GFP_KERNEL)
    assert (k.text(p), k.mm.live) == ("text", {p: 5})
    assert k.run(name, 0, GFP_KERNEL) == 0


def test_kstrndup(k: FakeHost) -> None:
    p = k.run("kstrndup", "text", 2, GFP_KERNEL)
    assert (k.text(p), k.mm.live) == ("te", {p: 3})
    assert k.text(k.run("kstrndup", "text", 100, GFP_KERNEL)) == "text"


@pytest.mark.parametrize("name", ["memdup_user", "vmemdup_user", "memdup_user_nul", "strndup_user"])
def test_user_memory_that_is_not_there_cannot_be_duplicated(name: str, k: FakeHost) -> None:
    assert k.run(name, 0x1000, 8) == (1 << 64) - 14


def test_user_memory_that_is_not_there_cannot_be_copied(k: FakeHost) -> None:
    to = k.put(b"$" * 8)
    assert k.run("_copy_from_user", to, 0x1000, 6) == 6
    assert k.mem.read(to, 8) == b"\0\0\0\0\0\0$$"
    assert k.run("_copy_to_user", 0x1000, to, 6) == 6


def test_a_copy_that_the_compiler_knows_to_be_too_long(k: FakeHost) -> None:
    k.run("__copy_overflow", 64, 80)
    assert k.warnings == ["mm/maccess.c:228 __copy_overflow: Buffer overflow detected (64 < 80)!\n"]


def test_copying_from_an_address_that_may_be_bad(k: FakeHost) -> None:
    to = k.alloc(8)
    assert k.run("copy_from_kernel_nofault", to, b"abcd", 4) == 0
    assert k.mem.read(to, 4) == b"abcd"
    assert k.run("copy_from_kernel_nofault", to, BASE + SIZE, 4) == (1 << 64) - 14
    assert k.run("copy_from_kernel_nofault", to, 0x1000, 4) == (1 << 64) - 34


# I/O memory


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ioread8", 0x11),
        ("ioread16", 0x2211),
        ("ioread32", 0x44332211),
        ("ioread16be", 0x1122),
        ("ioread32be", 0x11223344),
    ],
)
def test_reading_io_memory(name: str, value: int, k: FakeHost) -> None:
    at = k.put(b"\x11\x22\x33\x44")
    assert k.run(name, at) == value
    back = k.alloc(4)
    k.run(name.replace("read", "write"), value, back)
    assert k.mem.read(back, 4) == k.mem.read(at, 4)[: len(f"{value:x}") // 2].ljust(4, b"\0")


def test_ports_read_as_ones_and_warn(k: FakeHost) -> None:
    assert k.run("ioread16", 0x3F8) == 0xFFFF
    assert k.warnings == ["lib/iomap.c:45 bad_io_access: Bad IO access at port 0x3f8 (ioread16)"]


def test_repeated_access_stays_in_place(k: FakeHost) -> None:
    register, buffer = k.put(b"\x11\x22\x33\x44"), k.alloc(8)
    k.run("ioread16_rep", register, buffer, 3)
    assert k.mem.read(buffer, 8) == b"\x11\x22" * 3 + b"\0\0"
    k.run("iowrite8_rep", register, b"abc", 3)
    assert k.mem.read(register, 4) == b"c\x22\x33\x44"


def test_copies_of_io_memory(k: FakeHost) -> None:
    a, b = k.put(b"abcd"), k.alloc(4)
    k.run("memcpy_fromio", b, a, 4)
    k.run("memset_io", a, 0x5A, 2)
    assert (k.mem.read(b, 4), k.mem.read(a, 4)) == (b"abcd", b"ZZcd")
    k.run("memcpy_toio", a, b, 4)
    assert k.mem.read(a, 4) == b"abcd"


def test_two_arrays_of_pointers_become_one(k: FakeHost) -> None:
    def array(*pointers: int) -> bytes:
        return b"".join(pointer.to_bytes(8, "little") for pointer in (*pointers, 0))

    p = k.run("__memcat_p", array(1, 2), array(3))
    assert k.mem.read(p, 32) == array(1, 2, 3)
    assert k.mm.live == {p: 32}
