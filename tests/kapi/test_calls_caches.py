"""Caches: creation with every flag, merging, constructors, bulk, shrinking, destruction; from Python."""

from __future__ import annotations

import pytest

from kmem.abi.slab_flags import slab_flags
from kmem.kapi.executor import TaskDied
from kmem.kernel import Kernel
from tests.kapi.booted import GFP_DMA32, GFP_KERNEL, GFP_ZERO, consistent, free_pages, fresh

HWCACHE_ALIGN, CACHE_DMA, CACHE_DMA32, STORE_USER = 0x2000, 0x4000, 0x8000, 0x10000
RECLAIM_ACCOUNT, PANIC, TYPESAFE_BY_RCU, MEM_SPREAD, TRACE = 0x20000, 0x40000, 0x80000, 0x100000, 0x200000
NOLEAKTRACE, ACCOUNT, NO_USER_FLAGS, RED_ZONE, POISON = 0x800000, 0x4000000, 0x10000000, 0x400, 0x800
EMPTY = (1 << 64) - 1


def cache(k: Kernel, s: int) -> object:
    return k.mm.view.ptr(k.site.kmem_cache, s)


def slabinfo(k: Kernel, name: str) -> list[str]:
    return [line for line in k.proc("slabinfo").splitlines() if line.split()[0] == name]


def test_kmem_cache_create_sizes_its_objects(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 100, 0, RED_ZONE)
    assert kernel.kmem_cache_size(s) == 100
    p = kernel.kmem_cache_alloc(s)
    assert kernel.slab_of(p) == s
    assert len(slabinfo(kernel, "drv")) == 1
    consistent(kernel)


def test_kmem_cache_zalloc_wipes(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 100, 0, ACCOUNT)
    p = kernel.kmem_cache_alloc(s)
    kernel.write(p, b"\xa5" * 100)
    kernel.kmem_cache_free(s, p)
    assert kernel.kmem_cache_zalloc(s) == p
    assert kernel.read(p, 100) == bytes(100)


def test_kmem_cache_alloc_node_and_lru(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 64)
    assert kernel.slab_of(kernel.kmem_cache_alloc_node(s, GFP_KERNEL, 0)) == s
    assert kernel.slab_of(kernel.kmem_cache_alloc_lru(s, 0, GFP_KERNEL)) == s


def test_a_cache_that_fits_is_an_alias(kernel: Kernel) -> None:
    first = kernel.kmem_cache_create("first", 200, 0, ACCOUNT)
    assert kernel.kmem_cache_create("second", 196, 0, ACCOUNT) == first
    assert kernel.kmem_cache_create("third", 180, 0, ACCOUNT) != first
    assert slabinfo(kernel, "second") == []
    p = kernel.kmem_cache_alloc(first)
    kernel.kmem_cache_destroy(first)
    assert kernel.kmem_cache_size(first) == 200
    kernel.kmem_cache_free(first, p)
    kernel.kmem_cache_destroy(first)
    assert slabinfo(kernel, "first") == []
    consistent(kernel)


@pytest.mark.parametrize("flag", [RED_ZONE, POISON, STORE_USER, TRACE, TYPESAFE_BY_RCU, NOLEAKTRACE])
def test_some_flags_forbid_merging(flag: int, kernel: Kernel) -> None:
    assert kernel.kmem_cache_create("a", 200, 0, flag) != kernel.kmem_cache_create("b", 200, 0, flag)


@pytest.mark.parametrize("flag", [RECLAIM_ACCOUNT, CACHE_DMA, CACHE_DMA32, ACCOUNT])
def test_some_flags_must_be_the_same_to_merge(flag: int, kernel: Kernel) -> None:
    marked = kernel.kmem_cache_create("a", 200, 0, flag)
    assert kernel.kmem_cache_create("b", 200) != marked
    assert kernel.kmem_cache_create("c", 200, 0, flag) == marked


@pytest.mark.parametrize("flag", [MEM_SPREAD, NO_USER_FLAGS, PANIC])
def test_flags_that_change_nothing_here(flag: int, kernel: Kernel) -> None:
    assert kernel.slab_of(kernel.kmem_cache_alloc(kernel.kmem_cache_create("a", 200, 0, flag)))


def test_hwcache_align_rounds_to_a_line(kernel: Kernel) -> None:
    aligned = kernel.kmem_cache_create("a", 40, 0, HWCACHE_ALIGN | RED_ZONE)
    assert cache(kernel, aligned).align == 64  # type: ignore[attr-defined]
    assert kernel.kmem_cache_alloc(aligned) % 64 == 0
    assert kernel.kmem_cache_alloc(kernel.kmem_cache_create("b", 40, 256, RED_ZONE)) % 256 == 0


@pytest.mark.parametrize(("flag", "limit"), [(CACHE_DMA, 16 << 20), (CACHE_DMA32, 4 << 30)])
def test_zone_flags_choose_the_memory(flag: int, limit: int, kernel: Kernel) -> None:
    p = kernel.kmem_cache_alloc(kernel.kmem_cache_create("a", 200, 0, flag))
    assert kernel.virt_to_phys(p) < limit


def test_slabs_have_no_zone_of_their_own_by_gfp(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 3000, 0, ACCOUNT)
    assert kernel.kmem_cache_alloc(s, GFP_KERNEL | GFP_DMA32)
    text = "Unexpected gfp: 0x4 (GFP_DMA32). Fixing up to gfp: 0xcc0 (GFP_KERNEL). Fix your code!"
    assert text in kernel.dmesg()


def test_an_unknown_flag_is_refused_with_a_message(kernel: Kernel) -> None:
    assert kernel.kmem_cache_create("drv", 100, 0, 1 << 31) == 0
    assert "kmem_cache_create_usercopy(drv) failed with error -22\n" in kernel.dmesg()


def test_slab_panic_stops_the_machine(kernel: Kernel) -> None:
    kernel.mm.core.private.fail_after = 0
    try:
        with pytest.raises(TaskDied):
            kernel.kmem_cache_create("drv", 100, 0, PANIC)
    finally:
        kernel.mm.core.private.fail_after = -1
    assert "Kernel panic - not syncing: kmem_cache_create_usercopy: Failed to create slab 'drv'. Error -12" in (
        kernel.dmesg()
    )


def test_bulk_gives_all_or_nothing(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 1000, 0, ACCOUNT)
    before = free_pages(kernel)
    objects = kernel.kmem_cache_alloc_bulk(s, GFP_KERNEL | GFP_ZERO, 100)
    assert len(set(objects)) == 100
    assert all(kernel.read(p, 1000) == bytes(1000) for p in objects)
    kernel.kmem_cache_free_bulk(s, objects)
    consistent(kernel)
    assert kernel.kmem_cache_alloc_bulk(s, GFP_KERNEL | 0x2000, 1 << 20) == []
    kernel.kmem_cache_shrink(s)
    assert free_pages(kernel) == before
    consistent(kernel)


def test_bulk_frees_objects_of_one_slab_as_one_chain(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 512, 0, ACCOUNT)
    objects = kernel.kmem_cache_alloc_bulk(s, GFP_KERNEL, 12)
    kernel.kmem_cache_free_bulk(s, objects[:8])
    assert kernel.kmem_cache_alloc_bulk(s, GFP_KERNEL, 8) == objects[:8]


def test_kmem_cache_shrink_gives_empty_slabs_back(kernel: Kernel) -> None:
    before = free_pages(kernel)
    s = kernel.kmem_cache_create("drv", 2000, 0, ACCOUNT)
    objects = [kernel.kmem_cache_alloc(s) for _ in range(60)]
    for p in objects:
        kernel.kmem_cache_free(s, p)
    assert free_pages(kernel) < before
    assert kernel.kmem_cache_shrink(s) == 0
    assert kernel.kmem_cache_alloc(s)
    assert kernel.kmem_cache_shrink(s) == 1


def test_destroying_a_cache_with_objects_warns_and_keeps_it(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 100, 0, NOLEAKTRACE)
    p = kernel.kmem_cache_alloc(s)
    kernel.kmem_cache_destroy(s)
    text = kernel.dmesg()
    assert "BUG drv" in text
    assert "Objects remaining in drv on __kmem_cache_shutdown()" in text
    assert f"Object 0x{p:016x} @offset=" in text
    assert "WARNING: CPU: 0 PID: 97 at mm/slab_common.c:493 kmem_cache_destroy" in text
    assert "kmem_cache_destroy drv: Slab cache still has objects when called from 0x0" in text
    kernel.kmem_cache_destroy(0)


def test_a_merged_cache_is_destroyed_in_silence(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 128)
    kernel.kmem_cache_alloc(s)
    kernel.kmem_cache_create("other", 128)
    kernel.kmem_cache_destroy(s)
    assert kernel.dmesg() == ""


@pytest.mark.parametrize("release", ["6.1", "6.12"])
def test_typesafe_by_rcu_keeps_pages_for_a_grace_period(release: str) -> None:
    kernel = fresh(release=release)
    before = free_pages(kernel)
    s = kernel.kmem_cache_create("drv", 2000, 0, slab_flags(release).SLAB_TYPESAFE_BY_RCU)
    objects = [kernel.kmem_cache_alloc(s) for _ in range(60)]
    for p in objects:
        kernel.kmem_cache_free(s, p)
    held = free_pages(kernel)
    kernel.kmem_cache_shrink(s)
    assert free_pages(kernel) == held
    consistent(kernel)
    kernel.kmem_cache_destroy(s)
    assert slabinfo(kernel, "drv") == []
    kernel.rcu_barrier()
    assert free_pages(kernel) == before
    consistent(kernel)


def test_usercopy_regions_outside_the_object_are_not_used(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 100, 0, NOLEAKTRACE, 0, 40, 20)
    assert (cache(kernel, s).useroffset, cache(kernel, s).usersize) == (40, 20)  # type: ignore[attr-defined]
    t = kernel.kmem_cache_create("bad", 100, 0, NOLEAKTRACE, 0, 90, 20)
    assert cache(kernel, t).usersize == 0  # type: ignore[attr-defined]
    assert "at mm/slab_common.c:320 kmem_cache_create_usercopy" in kernel.dmesg()


def test_hardened_usercopy_refuses_what_crosses_an_object() -> None:
    k = fresh("debian")
    p = k.kmalloc(100)
    k.check_object_size(p, 128, True)
    with pytest.raises(TaskDied):
        k.check_object_size(p + 100, 29, False)
    text = k.dmesg()
    assert (
        "usercopy: Kernel memory overwrite attempt detected to SLUB object 'kmalloc-128' (offset 100, size 29)!" in text
    )
    assert "kernel BUG at mm/usercopy.c:101!" in text


def test_hardened_usercopy_obeys_the_region_of_a_cache() -> None:
    k = fresh("debian")
    s = k.kmem_cache_create("drv", 100, 0, 0, 0, 40, 20)
    p = k.kmem_cache_alloc(s)
    k.check_object_size(p + 40, 20, True)
    with pytest.raises(TaskDied):
        k.check_object_size(p, 8, True)
    assert "exposure attempt detected from SLUB object 'drv' (offset 0, size 8)!" in k.dmesg()
