"""Memory pools, per-cpu memory, allocation scopes, annotations, names of the past; from Python."""

from __future__ import annotations

import pytest

from kmem.kapi.executor import TaskDied
from kmem.kernel import Kernel
from tests.kapi.booted import GFP_ATOMIC, GFP_KERNEL, PAGE, consistent, free_pages


def curr_nr(k: Kernel, pool: int) -> int:
    return int(k.mem.s32(pool + k.layout["mempool_s"].offset("curr_nr")))


def test_a_slab_pool_keeps_objects_in_reserve(kernel: Kernel) -> None:
    s = kernel.kmem_cache_create("drv", 300, 0, 0x400)
    pool = kernel.mempool_create_slab_pool(4, s)
    assert curr_nr(kernel, pool) == 4
    p = kernel.mempool_alloc(pool, GFP_KERNEL)
    assert kernel.slab_of(p) == s
    kernel.mempool_free(p, pool)
    kernel.mempool_destroy(pool)
    kernel.kmem_cache_destroy(s)
    assert kernel.dmesg() == ""


def test_a_kmalloc_pool_gives_its_reserve_when_memory_fails(kernel: Kernel) -> None:
    pool = kernel.mempool_create_kmalloc_pool(2, 100)
    got = []
    try:
        for _ in range(3):
            kernel.mm.core.private.fail_after = 0  # the next allocation
            got.append(kernel.mempool_alloc(pool, GFP_ATOMIC))
    finally:
        kernel.mm.core.private.fail_after = -1
    assert [p != 0 for p in got] == [True, True, False]
    assert curr_nr(kernel, pool) == 0
    kernel.mempool_free(got[0], pool)
    assert curr_nr(kernel, pool) == 1


def test_a_page_pool_holds_blocks(kernel: Kernel) -> None:
    before = free_pages(kernel)
    pool = kernel.mempool_create_page_pool(3, 2)
    assert before - free_pages(kernel) >= 12
    kernel.mempool_destroy(pool)
    kernel.mempool_destroy(0)
    assert before - free_pages(kernel) < 12
    consistent(kernel)


def test_a_pool_of_ones_own_functions(kernel: Kernel) -> None:
    alloc, free = kernel.address_of("mempool_kmalloc"), kernel.address_of("mempool_kfree")
    pool = kernel.mempool_create_node(2, alloc, free, 64, GFP_KERNEL, 0)
    embedded = kernel.kzalloc(kernel.layout["mempool_s"].size)
    assert kernel.mempool_init(embedded, 3, alloc, free, 32) == 0
    assert (curr_nr(kernel, pool), curr_nr(kernel, embedded)) == (2, 3)
    kernel.mempool_exit(embedded)
    assert curr_nr(kernel, embedded) == 0
    other = kernel.kzalloc(kernel.layout["mempool_s"].size)
    assert kernel.mempool_init_node(other, 1, alloc, free, 32, GFP_KERNEL, 0) == 0
    assert kernel.mempool_create(1 << 28, alloc, free, 64) == 0


def test_a_pool_is_resized(kernel: Kernel) -> None:
    pool = kernel.mempool_create_kmalloc_pool(2, 100)
    assert kernel.mempool_resize(pool, 5) == 0
    assert curr_nr(kernel, pool) == 5
    assert kernel.mempool_resize(pool, 1) == 0
    assert curr_nr(kernel, pool) == 1
    with pytest.raises(TaskDied):
        kernel.mempool_resize(pool, 0)
    assert "kernel BUG at mm/mempool.c:324!" in kernel.dmesg()


# per-cpu


def test_per_cpu_memory_is_there_for_each_cpu(kernel: Kernel) -> None:
    p = kernel.alloc_percpu(24)
    copies = [kernel.per_cpu_ptr(p, cpu) for cpu in range(kernel.nr_cpus)]
    assert len(set(copies)) == kernel.nr_cpus
    for copy in copies:
        assert kernel.read(copy, 24) == bytes(24)
        kernel.write(copy, b"\xa5" * 24)
    kernel.free_percpu(p)
    again = kernel.__alloc_percpu(24, 8)
    assert again == p
    assert kernel.read(copies[1], 24) == bytes(24)
    consistent(kernel)


def test_per_cpu_memory_is_aligned_and_limited(kernel: Kernel) -> None:
    assert kernel.__alloc_percpu_gfp(64, 256, GFP_KERNEL) % 256 == 0
    assert kernel.alloc_percpu_gfp(64, 64, GFP_ATOMIC)
    assert kernel.alloc_percpu(32769) == 0
    kernel.free_percpu(0)


def test_a_per_cpu_address_is_recognised(kernel: Kernel) -> None:
    p = kernel.per_cpu_ptr(kernel.alloc_percpu(24), 1)
    assert kernel.is_kernel_percpu_address(kernel.per_cpu_ptr(0x1000, 0))
    assert not kernel.is_kernel_percpu_address(p)
    assert not kernel.is_kernel_percpu_address(kernel.kmalloc(8))
    assert kernel.per_cpu_ptr_to_phys(p) == kernel.virt_to_phys(p)


# scopes


@pytest.mark.parametrize(("scope", "flag"), [("noio", 0x80000), ("nofs", 0x40000), ("noreclaim", 0x800)])
def test_scopes_nest(scope: str, flag: int, kernel: Kernel) -> None:
    at = kernel.current + kernel.layout["task_struct"].offset("flags")
    save, restore = getattr(kernel, f"memalloc_{scope}_save"), getattr(kernel, f"memalloc_{scope}_restore")
    outer = save()
    inner = save()
    assert (outer, inner, kernel.mem.u32(at) & flag) == (0, flag, flag)
    restore(inner)
    assert kernel.mem.u32(at) & flag == flag
    restore(outer)
    assert kernel.mem.u32(at) & flag == 0


def test_might_alloc_complains_in_atomic_context(kernel: Kernel) -> None:
    kernel.might_alloc(GFP_KERNEL)
    before = len(kernel.findings)
    kernel.context.preempt_disable()
    try:
        kernel.might_alloc(GFP_ATOMIC)
        assert kernel.dmesg() == ""
        assert len(kernel.findings) == before
        kernel.might_alloc(GFP_KERNEL)
    finally:
        kernel.context.preempt_enable()
    assert "sleeping function called from invalid context at include/linux/sched/mm.h:274" in kernel.dmesg()


def test_kmemleak_annotations_do_nothing_without_kmemleak(kernel: Kernel) -> None:
    p = kernel.kmalloc(64)
    for name in ("not_leak", "ignore", "no_scan", "erase", "free"):
        getattr(kernel, f"kmemleak_{name}")(p)
    kernel.kmemleak_alloc(p, 64, 1, GFP_KERNEL)
    kernel.kmemleak_scan_area(p, 8, GFP_KERNEL)
    consistent(kernel)


# names of the past


@pytest.mark.parametrize(
    ("name", "modern"),
    [
        ("kzfree", "kfree_sensitive()"),
        ("ioremap_nocache", "ioremap()"),
        ("vmalloc_dma", "dma_alloc_coherent()"),
        ("kmem_cache_alloc_trace", "kmalloc_trace"),
    ],
)
def test_an_old_name_names_the_modern_one(name: str, modern: str, kernel: Kernel) -> None:
    with pytest.raises(AttributeError, match="is gone since Linux") as refused:
        getattr(kernel, name)
    assert modern in str(refused.value)


def test_an_unknown_name_is_an_attribute_error(kernel: Kernel) -> None:
    with pytest.raises(AttributeError, match="no function kmallok"):
        _ = kernel.kmallok
    assert not hasattr(kernel, "__wrapped__")


def test_exports_are_calls_with_their_documentation(kernel: Kernel) -> None:
    assert "kmemdup(const void *src, size_t len, gfp_t gfp)" in kernel.kmemdup.__doc__
    assert kernel.kstrdup.__name__ == "kstrdup"


def test_vmalloc_memory_is_mapped_into_a_process(kernel: Kernel) -> None:
    p = kernel.vmalloc_user(2 * PAGE)
    kernel.write(p + PAGE, b"shared")
    process = kernel.process("reader")
    at = process.mmap(2 * PAGE)
    vma = kernel.user.find_vma(kernel.user.mm_of(process.task), at)
    assert kernel.remap_vmalloc_range(vma, p, 0) == 0
    assert process.read(at + PAGE, 6) == b"shared"
    process.write(at, b"from above")
    assert kernel.read(p, 10) == bytes(10), "a private mapping copies what is written"
    assert kernel.remap_vmalloc_range(vma, kernel.vmalloc(2 * PAGE), 0) == -22
    assert kernel.remap_vmalloc_range(vma, p, 1) == -22
    process.exit()
    assert kernel.read(p + PAGE, 6) == b"shared", "the pages are the kernel's"
    consistent(kernel)
