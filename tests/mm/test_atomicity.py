"""A call that fails leaves memory as it was: each inner allocation of each API fails in turn, once and for good.

Two measures. *Settled*: when per-cpu lists are drained, caches shrunk and freed areas purged, exactly the same blocks
are free, the same objects in use, the same areas mapped, the same per-cpu bytes free. That holds for every API; what
the kernel keeps on purpose is named in ``KEPT``. *Exact*: the very RAM is the same, but for ``COUNTERS``. That holds
where the first inner allocation fails; a later failure gives back what the call had taken, and the lists that it goes
back to remember that (a free list is in another order, a new slab stays with its CPU), in the kernel as here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kmem.abi.gfp import __GFP_NOWARN, __GFP_ZERO, GFP_ATOMIC, GFP_DMA32, GFP_KERNEL
from kmem.lib.cstruct import u64
from kmem.mm.api import Mm
from kmem.mm.mm_types import kdata
from kmem.mm.validate_paging import table_frames
from tests.mm import machines
from tests.mm.booted import MIB, BootedMm, expect_consistent

QUIET = GFP_KERNEL | __GFP_NOWARN
PAGE = 4096
MOST = 4000
COUNTERS = ("vm_events", "random_state")
"""Words that the exact measure leaves out: events that happened did happen, and random numbers that were drawn are
gone, in the kernel as here.
"""
KEPT = ("page tables",)
"""What a failed call may leave behind for good: the kernel frees no page table of the vmalloc range, either."""

Call = Callable[[BootedMm, Any], Any]
Prepare = Callable[[BootedMm], Any]


def nothing(mm: BootedMm) -> None:
    return None


def pages_to_map(mm: BootedMm) -> list[int]:
    return [mm.alloc_pages(GFP_KERNEL, 0) for _ in range(600)]


APIS: dict[str, tuple[Prepare, Call]] = {
    "kmalloc": (nothing, lambda mm, _: mm.kmalloc(64, QUIET)),
    "kmalloc of a new slab": (nothing, lambda mm, _: mm.kmalloc(6000, QUIET)),
    "kmalloc of pages": (nothing, lambda mm, _: mm.kmalloc(100_000, QUIET)),
    "kmalloc, atomic": (nothing, lambda mm, _: mm.kmalloc(3000, GFP_ATOMIC | __GFP_NOWARN)),
    "kzalloc": (nothing, lambda mm, _: mm.kmalloc(500, QUIET | __GFP_ZERO)),
    "kcalloc": (nothing, lambda mm, _: mm.kcalloc(10, 100, QUIET)),
    "krealloc": (lambda mm: mm.kmalloc(100), lambda mm, p: mm.krealloc(p, 7000, QUIET)),
    "kvmalloc": (nothing, lambda mm, _: mm.kvmalloc(5 * MIB, QUIET)),
    "kvmalloc of a page": (nothing, lambda mm, _: mm.kvmalloc(3000, QUIET)),
    "kmem_cache_create": (nothing, lambda mm, _: mm.kmem_cache_create("atomicity", 700, 0, 0x2000)),
    "kmem_cache_create, large": (nothing, lambda mm, _: mm.kmem_cache_create("atomicity", 7000, 64, 0x80000)),
    "kmem_cache_alloc": (
        lambda mm: mm.kmem_cache_create("atomicity", 700, 0, 0x2000),
        lambda mm, s: mm.kmem_cache_alloc(s, QUIET),
    ),
    "kmem_cache_alloc_bulk": (
        lambda mm: mm.kmem_cache_create("atomicity", 700, 0, 0x2000),
        lambda mm, s: mm.kmem_cache_alloc_bulk(s, QUIET, 100),
    ),
    "alloc_pages": (nothing, lambda mm, _: mm.alloc_pages(QUIET, 3)),
    "alloc_pages, DMA32": (nothing, lambda mm, _: mm.alloc_pages(QUIET | GFP_DMA32, 0)),
    "__get_free_pages": (nothing, lambda mm, _: mm.get_free_pages(QUIET, 5)),
    "alloc_pages_exact": (nothing, lambda mm, _: mm.alloc_pages_exact(5 * PAGE, QUIET)),
    "alloc_pages_bulk": (nothing, lambda mm, _: mm.alloc_pages_bulk(QUIET, 200)),
    "alloc_contig_pages": (nothing, lambda mm, _: mm.alloc_contig_pages(700, QUIET)),
    "vmalloc": (nothing, lambda mm, _: mm.vmalloc(10 * PAGE, QUIET)),
    "vmalloc with an array of pages of its own": (nothing, lambda mm, _: mm.vmalloc(600 * PAGE, QUIET)),
    "vmalloc over many page tables": (nothing, lambda mm, _: mm.vmalloc(1500 * PAGE, QUIET)),
    "vmap": (pages_to_map, lambda mm, pages: mm.vmap(pages)),
    "ioremap": (nothing, lambda mm, _: mm.ioremap(0xFEB00000, 3 * MIB)),
    "alloc_percpu": (nothing, lambda mm, _: mm.alloc_percpu(64)),
}


def settle(mm: Mm) -> dict[str, object]:
    """Bring caches, lists and lazy areas to rest and say what is there. Changes the machine: roll back afterwards."""
    mm.core.k_vm_unmap_aliases()
    for s in list(mm.view.caches()):
        mm.core.k_kmem_cache_shrink(s._addr)
    mm.core.k_drain_all_pages()
    expect_consistent(mm)
    view = mm.view
    objects: dict[str, int] = {}
    for s in view.caches():
        n = s.node[0]
        free = 0
        link = n.partial.next
        while link != n.partial:
            sl = view.slab(view.page(view.pfn(link._addr - 8)))
            free += int(sl.objects - sl.inuse)
            link = link.next
        objects[view.cache_name(s)] = int(n.total_objects) - free
    reserve = view.kdata.ne_fit_preload_node  # one of each CPU, taken or not
    objects["vmap_area"] -= sum(bool(reserve[cpu]) for cpu in range(view.kdata.nr_cpu_ids))
    areas = [(u64(va.va_start), u64(va.va_end)) for va in view.vmap_areas()]
    return {
        "pages": sum(int(z.vm_stat[0]) for z in view.zones()),
        "page tables": len(table_frames(view)),
        "objects": objects,
        "areas": areas,
        "per-cpu bytes": int(view.kdata.pcpu_free_bytes),
        "vmalloc pages": int(view.kdata.nr_vmalloc_pages),
    }


def exact(mm: Mm) -> str:
    """The hash of RAM without ``COUNTERS``."""
    ram = mm.ram
    base = view_base(mm)
    saved = []
    for name in COUNTERS:
        field = kdata.field(name)
        at = base + field.offset
        saved.append((at, bytes(ram.mem[at : at + field.size])))
        ram.mem[at : at + field.size] = bytes(field.size)
    found = ram.hash()
    for at, content in saved:
        ram.mem[at : at + len(content)] = content
    return found


def view_base(mm: Mm) -> int:
    """Physical address of the kernel's variables."""
    return u64(mm.view.kdata._addr) - 0xFFFFFFFF80000000


def steps() -> Iterator[int]:
    """Which inner allocation fails: each of the first 40, then every 97th; with the profile ``ci`` every one."""
    return itertools.count() if machines.PROFILE == "ci" else itertools.chain(range(40), itertools.count(40, 97))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
@pytest.mark.parametrize("persist", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("name", APIS)
def test_a_call_that_fails_leaves_memory_as_it_was(name: str, persist: bool, config: str) -> None:
    prepare, call = APIS[name]
    mm = BootedMm(config, ram=96 * MIB)
    given = prepare(mm)
    mm.ram.snapshot()
    before_exactly = exact(mm)
    before = settle(mm)
    mm.ram.rollback()
    private = mm.core.private
    failures = inner = 0
    for n in steps():
        private.inner_failures = 0
        private.fail_inner, private.fail_persist = n, int(persist)
        got = call(mm, given)
        private.fail_inner, reached = -1, private.inner_failures
        if not got:
            failures += 1
            if n == 0:
                assert exact(mm) == before_exactly, "the first inner allocation failed, and RAM has changed"
            after = settle(mm)
            kept = int(after.pop("page tables")) - int(before["page tables"])  # type: ignore[call-overload]
            assert kept >= 0
            assert after.pop("pages") == before["pages"] - kept  # type: ignore[operator]
            assert after == {what: before[what] for what in after}
        else:
            expect_consistent(mm)
        mm.ram.rollback()
        if not reached:
            break
        inner += 1
        assert n < MOST, "there is always one more to fail"
    assert failures or not inner or not persist, "what always fails inside must fail as a whole"


COPIES = ("kmem_cache_alloc_bulk", "kmem_cache_create", "kmem_cache_create, large", "vmap")
"""Calls from Python that first take an object for their arguments, or objects before the one that fails."""


OTHER_WAYS = ("kvmalloc", "kmem_cache_alloc_bulk", "alloc_contig_pages")
"""Calls that try something else: vmalloc, the next object, the next range of frames."""


def test_the_outer_allocation_fails_without_a_trace() -> None:
    mm = BootedMm("debian", ram=96 * MIB)
    for name, (prepare, call) in APIS.items():
        given = prepare(mm)
        mm.ram.snapshot()
        before = exact(mm)
        mm.core.private.fail_after = 0
        got = call(mm, given)
        mm.core.private.fail_after = -1
        assert not got or name.startswith(OTHER_WAYS), name
        if not got and name not in COPIES:
            assert exact(mm) == before, name
        mm.ram.rollback()
