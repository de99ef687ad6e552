"""A call that fails leaves memory as it was: the exports that allocate several things.

As `tests.mm.test_atomicity` does for the calls of the mm. *Outer*: the n-th allocation that the call asks for fails;
*inner*: the n-th that the allocator needs for itself, once or from then on. Settled, everything that a failed call took
is free again; and where the first of all fails the very RAM is the same. (What was given back is not: a free list is in
another order; and a failure that the kernel reports is remembered by the limit of such reports.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

import kmem
from kmem.abi.gfp import __GFP_NOWARN, GFP_KERNEL
from kmem.kapi.process import SegmentationFault, SystemCallFailed
from kmem.kernel import Kernel
from tests.mm.booted import expect_consistent
from tests.mm.test_atomicity import exact, settle

QUIET = GFP_KERNEL | __GFP_NOWARN
PAGE = 4096
MOST = 12
"""How many of the allocations of one call fail in turn."""
SIZE = 40000
Given = dict[str, int]


@cache
def machine(release: str) -> tuple[Kernel, Given, Any]:
    """A kernel with a device, a pool of each kind, an array of pages and a process, at a snapshot."""
    k = kmem.boot(release=release, ram="128M", config="plain")
    pdev: int = k.platform_device_alloc("owner", -1)
    assert k.platform_device_add(pdev) == 0
    dev = pdev + k.layout["platform_device"].offset("dev")
    process = k.process("victim")
    given = {
        "dev": dev,
        "handle": k.kmalloc(8),
        "dma_pool": k.dma_pool_create("there", dev, 3000, 8, 0),
        "gen_pool": k.gen_pool_create(4, -1),
        "cache": k.kmem_cache_create("atomic", 700, 0, 0x2000),
        "frag": k.kzalloc(k.layout["page_frag_cache"].size),
        "text": k.kstrdup("text", GFP_KERNEL),
        "pages": k.kmalloc(8 * 20),
        "array": k.kzalloc(8 * 50),
        "mapped": process.mmap(64 * PAGE),
    }
    for index in range(20):
        k.mem.set_u64(given["pages"] + 8 * index, k.alloc_page(GFP_KERNEL))
    names(k)
    k.snapshot()
    return k, given, process


def names(k: Kernel) -> None:
    """Texts and functions that calls put into memory on first use."""
    for text in ("made", "owned", "region"):
        k.mm.boot.string(text)
    for name in (*PLACED, "kfree"):
        k.address_of(name)


PLACED = (
    "devm_kmalloc_release",
    "devm_pages_release",
    "devm_percpu_release",
    "devm_ioremap_release",
    "devm_region_release",
    "devm_gen_pool_release",
    "dmam_release",
    "dmam_pool_release",
    "devm_action_release",
    "group_open_release",
    "gen_pool_first_fit",
    "mempool_kmalloc",
    "mempool_kfree",
    "mempool_alloc_slab",
    "mempool_free_slab",
    "mempool_alloc_pages",
    "mempool_free_pages",
    "iomem_resource",
)


def refused(call: Callable[[], Any]) -> Any:
    """What a system call gave, 0 if it failed."""
    try:
        return call() or 1
    except (SystemCallFailed, SegmentationFault, MemoryError):
        return 0


CALLS: dict[str, Callable[[Kernel, Given, Any], Any]] = {
    "alloc_pages_exact": lambda k, g, p: k.alloc_pages_exact(5 * PAGE, QUIET),
    "__alloc_pages_bulk": lambda k, g, p: getattr(k, "__alloc_pages_bulk")(QUIET, 0, 0, 50, 0, g["array"]),
    "alloc_contig_pages": lambda k, g, p: k.alloc_contig_pages(700, QUIET),
    "page_frag_alloc": lambda k, g, p: k.page_frag_alloc(g["frag"], 100, QUIET),
    "vmap": lambda k, g, p: k.mm.vmap_array(g["pages"], 20, 4, 0x8000000000000163),
    "vm_map_ram": lambda k, g, p: k.mm.vm_map_ram(g["pages"], 20, -1),
    "mmap": lambda k, g, p: refused(lambda: p.mmap(16 * PAGE)),
    "fault": lambda k, g, p: refused(lambda: p.write(g["mapped"], b"touched")),
    "kmemdup": lambda k, g, p: k.kmemdup(g["text"], 4, QUIET),
    "kvmemdup": lambda k, g, p: k.kvmemdup(g["pages"], 100, QUIET),
    "kstrdup": lambda k, g, p: k.kstrdup(g["text"], QUIET),
    "kmem_cache_create": lambda k, g, p: k.kmem_cache_create("made", 900, 0, 0x2000),
    "kmem_cache_alloc_bulk": lambda k, g, p: k.mm.kmem_cache_alloc_bulk(g["cache"], QUIET, 60),
    "mempool_create, kmalloc": lambda k, g, p: k.mempool_create_kmalloc_pool(4, 3000),
    "mempool_create, slab": lambda k, g, p: k.mempool_create_slab_pool(4, g["cache"]),
    "mempool_create, pages": lambda k, g, p: k.mempool_create_page_pool(4, 1),
    "dma_alloc_coherent": lambda k, g, p: k.dma_alloc_coherent(g["dev"], SIZE, g["handle"], QUIET),
    "dma_alloc_pages": lambda k, g, p: k.dma_alloc_pages(g["dev"], SIZE, g["handle"], 0, QUIET),
    "dma_pool_create": lambda k, g, p: k.dma_pool_create("made", g["dev"], 64, 64, 0),
    "dma_pool_alloc": lambda k, g, p: k.dma_pool_alloc(g["dma_pool"], QUIET, g["handle"]),
    "dmam_alloc_coherent": lambda k, g, p: k.dmam_alloc_coherent(g["dev"], SIZE, g["handle"], QUIET),
    "dmam_pool_create": lambda k, g, p: k.dmam_pool_create("made", g["dev"], 64, 64, 0),
    "gen_pool_create": lambda k, g, p: k.gen_pool_create(4, -1),
    "gen_pool_add_virt": lambda k, g, p: not k.gen_pool_add_virt(g["gen_pool"], 0x1000, 0x1000, 1 << 20, -1),
    "devm_gen_pool_create": lambda k, g, p: k.devm_gen_pool_create(g["dev"], 4, -1, "made"),
    "devm_kmalloc": lambda k, g, p: k.devm_kmalloc(g["dev"], 3000, QUIET),
    "devm_krealloc": lambda k, g, p: k.devm_krealloc(g["dev"], 0, 3000, QUIET),
    "devm_get_free_pages": lambda k, g, p: k.devm_get_free_pages(g["dev"], QUIET, 2),
    "devm_alloc_percpu": lambda k, g, p: k.devm_alloc_percpu(g["dev"], 64),
    "devm_ioremap": lambda k, g, p: k.devm_ioremap(g["dev"], 0xFEB00000, PAGE),
    "devm_request_mem_region": lambda k, g, p: k.devm_request_mem_region(g["dev"], 0xD0000000, PAGE, "region"),
    "devm_add_action": lambda k, g, p: not k.devm_add_action(g["dev"], k.address_of("kfree"), 0),
    "devres_open_group": lambda k, g, p: k.devres_open_group(g["dev"], 0, QUIET),
    "request_mem_region": lambda k, g, p: k.request_mem_region(0xD0000000, PAGE, "region"),
}


def failed(got: Any) -> bool:
    """NULL, nothing, false, a negative number or an error pointer; an object list that is empty."""
    return not got or (isinstance(got, int) and (got < 0 or got >= (1 << 64) - 4095))


COPIES = ("kmem_cache_create",)
"""Calls from Python that first take an object for their arguments."""
TABLES = {"fault": range(4)}
"""Pages that a failed call may keep: page tables of the process, as in the kernel, until it exits."""
MODES = ("outer", "inner, once", "inner, for good")


@pytest.mark.slow
@pytest.mark.parametrize("release", ["6.1", "6.12"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_leaves_memory_as_it_was(name: str, mode: str, release: str) -> None:
    k, given, process = machine(release)
    private, mm = k.mm.core.private, k.mm
    k.rollback()
    before_exactly, before = exact(mm), settle(mm)
    for n in range(MOST):
        k.rollback()
        private.inner_failures = 0
        if mode == "outer":
            private.fail_after = n
        else:
            private.fail_inner, private.fail_persist = n, int(mode.endswith("good"))
        got = CALLS[name](k, given, process)
        reached = private.fail_after < 0 if mode == "outer" else private.inner_failures > 0
        private.fail_after = private.fail_inner = -1
        if not reached:
            assert not failed(got), "nothing failed but the call"
            return
        if not failed(got):
            expect_consistent(mm)
            continue
        if n == 0 and mode == "outer" and name not in COPIES:
            assert exact(mm) == before_exactly, "the first allocation failed, and RAM has changed"
        after = settle(mm)
        kept = int(after.pop("page tables")) - int(before["page tables"])  # type: ignore[call-overload]
        assert int(before["pages"]) - kept - after.pop("pages") in TABLES.get(name, (0,))  # type: ignore[call-overload]
        assert after == {what: before[what] for what in after}
    k.rollback()
