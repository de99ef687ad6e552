"""A booted kernel for the tests of its calls: each test starts from the same state."""

from __future__ import annotations

from functools import cache

import kmem
from kmem.kernel import Kernel
from kmem.mm.validate import check_view

GFP_KERNEL, GFP_ATOMIC, GFP_ZERO, GFP_COMP, GFP_NOWARN = 0xCC0, 0xA20, 0x100, 0x40000, 0x2000
GFP_NOFAIL, GFP_NORETRY, GFP_DMA, GFP_DMA32, GFP_HIGHMEM = 0x8000, 0x10000, 0x1, 0x4, 0x2
SIZE_MAX = (1 << 64) - 1
ZERO_SIZE_PTR = 16
PAGE = 4096


@cache
def machine(config: str = "plain", **changes: object) -> Kernel:
    """One machine for all tests of a process, at a snapshot."""
    k = kmem.boot(ram="128M", config=config, **changes)
    for name in ("mempool_alloc_slab", "mempool_free_slab", "mempool_kmalloc", "mempool_kfree"):
        k.address_of(name)  # what is placed on first use must be there before the snapshot
    for name in ("mempool_alloc_pages", "mempool_free_pages", "rcu_cblist"):
        k.address_of(name)
    k.snapshot()
    return k


def fresh(config: str = "plain", **changes: object) -> Kernel:
    """The machine as it was at its snapshot."""
    k = machine(config, **changes)
    k.rollback()
    return k


def consistent(k: Kernel) -> None:
    """No invariant of the memory is violated."""
    assert [f"{found.slug}: {found.message}" for found in check_view(k.mm.view)] == []


def free_pages(k: Kernel) -> int:
    """Pages that nobody has, those on CPUs' lists included."""
    k.mm.core.k_drain_all_pages()
    return sum(int(z.vm_stat[0]) for z in k.mm.view.zones())
