"""Everything at once: slab, pages, vmalloc and per-cpu memory, failures, exhaustion, snapshots; all invariants."""

from __future__ import annotations

import copy

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kmem.abi.gfp import __GFP_NORETRY, __GFP_NOWARN, GFP_ATOMIC, GFP_KERNEL
from kmem.mm.vm_events import EV_PAGE_TABLE
from tests.mm.booted import MIB, BootedMm, expect_consistent
from tests.mm.machines import sized

QUIET = __GFP_NOWARN | __GFP_NORETRY
PAGE = 4096
sizes = st.one_of(st.integers(1, 20000), st.sampled_from((100_000, 1_000_000)))
kinds = st.sampled_from(("kmalloc", "atomic", "pages", "vmalloc", "kvmalloc", "percpu"))


class WholeMachine(RuleBasedStateMachine):
    """Calls of all kinds from two CPUs."""

    @initialize(config=st.sampled_from(("plain", "debian", "debug")), nodes=st.sampled_from((1, 2, 4)))
    def boot(self, config: str, nodes: int) -> None:
        self.mm = BootedMm(config, ram=max(96, 64 * nodes) * MIB, nodes=nodes)
        self.node = -1
        self.live: list[tuple[str, int, int]] = []
        self.saved: tuple[list[tuple[str, int, int]], str] | None = None

    def _call(self, kind: str, size: int) -> int:
        mm = self.mm
        if kind == "kmalloc":
            return mm.kmalloc(size, GFP_KERNEL | QUIET, self.node)
        if kind == "atomic":
            return mm.kmalloc(size, GFP_ATOMIC | QUIET, self.node)
        if kind == "pages":
            return mm.alloc_pages(GFP_KERNEL | QUIET, (size - 1 >> 12).bit_length(), self.node)
        if kind == "vmalloc":
            return mm.vmalloc(size, GFP_KERNEL | QUIET, self.node)
        if kind == "kvmalloc":
            return mm.kvmalloc(size, GFP_KERNEL | QUIET, self.node)
        return mm.alloc_percpu(min(size, 4096), 8)

    def _free(self, kind: str, got: int, size: int) -> None:
        mm = self.mm
        if kind in ("kmalloc", "atomic"):
            mm.kfree(got)
        elif kind == "pages":
            mm.free_pages(got, (size - 1 >> 12).bit_length())
        elif kind == "vmalloc":
            mm.vfree(got)
        elif kind == "kvmalloc":
            mm.kvfree(got)
        else:
            mm.free_percpu(got)

    @rule(cpu=st.integers(0, 1))
    def switch(self, cpu: int) -> None:
        self.mm.on_cpu(cpu)

    @rule(node=st.integers(-1, 3))
    def prefer(self, node: int) -> None:
        self.node = node if node < self.mm.config.nodes else -1

    @rule(kind=kinds, size=sizes, count=st.integers(1, 12))
    def alloc(self, kind: str, size: int, count: int) -> None:
        for _ in range(count):
            got = self._call(kind, size)
            if got:
                self.live.append((kind, got, size))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), count=st.integers(1, 6))
    def free(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.live))):
            self._free(*self.live.pop(data.draw(st.integers(0, len(self.live) - 1), label="which")))

    @precondition(lambda self: self.live)
    @rule(every=st.integers(1, 3))
    def free_many(self, every: int) -> None:
        gone = self.live[::every]
        self.live = [one for index, one in enumerate(self.live) if index % every]
        for one in gone:
            self._free(*one)

    @rule(kind=kinds, size=sizes)
    def fail_once(self, kind: str, size: int) -> None:
        before = self._used()
        self.mm.core.private.fail_after = 0
        got = self._call(kind, size)
        self.mm.core.private.fail_after = -1
        if kind == "kvmalloc" and got:  # the second try, by vmalloc, was not told to fail
            self.live.append((kind, got, size))
        else:
            assert got == 0
            assert self._used() == before

    @rule(size=st.integers(1, 24 * MIB), active=st.booleans())
    def read_files(self, size: int, active: bool) -> None:
        """The page cache takes what is free, and makes room for itself when nothing is."""
        self.mm.fill_page_cache(size, active=active)

    @rule()
    def drop_caches(self) -> None:
        self.mm.drop_caches()
        assert self._cached() == 0

    @precondition(lambda self: self.live)
    @rule(order=st.integers(1, 9))
    def large_blocks(self, order: int) -> None:
        """Reclaim and compaction for blocks that fragments stand in the way of."""
        for _ in range(3):
            got = self.mm.alloc_pages(GFP_KERNEL | QUIET, order)
            if got:
                self.live.append(("pages", got, 4096 << order))

    @rule()
    def vmalloc_too_much(self) -> None:
        """It takes all there is, fails, and gives everything back but page tables and slabs."""
        self.mm.drop_caches()
        self.mm.drain()
        k = self.mm.view.kdata
        before = self._used() - k.vm_events[EV_PAGE_TABLE] - self._slab_pages()
        size = min((self.mm.zone_free() + 64) * PAGE, int(k.totalram_pages) * PAGE)
        assert self.mm.vmalloc(size, GFP_KERNEL | QUIET) == 0
        assert self._used() - k.vm_events[EV_PAGE_TABLE] - self._slab_pages() == before

    def _used(self) -> int:
        """Pages that are neither free, nor on a CPU's list, nor of the page cache."""
        self.mm.drain()
        return int(self.mm.view.kdata.totalram_pages) - self.mm.zone_free() - self._cached()

    def _cached(self) -> int:
        """Pages of the page cache."""
        return int(self.mm.view.kdata.page_cache.nrpages)

    def _slab_pages(self) -> int:
        """Pages of slabs and of large kmallocs."""
        stat = self.mm.view.kdata.vm_node_stat
        return int(stat[5] + stat[6])

    @rule()
    def snapshot(self) -> None:
        self.mm.ram.snapshot()
        self.saved = (copy.copy(self.live), self.mm.ram.hash())

    @precondition(lambda self: self.saved)
    @rule()
    def rollback(self) -> None:
        assert self.saved is not None
        self.mm.ram.rollback()
        self.live = copy.copy(self.saved[0])
        assert self.mm.ram.hash() == self.saved[1]

    @invariant()
    def consistent(self) -> None:
        if hasattr(self, "mm"):
            expect_consistent(self.mm)

    def teardown(self) -> None:
        if hasattr(self, "mm"):
            for one in self.live:
                self._free(*one)
            expect_consistent(self.mm)
            told = {"UP_SLAB_TRACK", "UP_OUT_OF_MEMORY", "UP_ALLOC_FAILED", "UP_TLB_FLUSH", "UP_SHRINK_SLAB"}
            assert self.mm.upcalls.keys() <= told
            self.mm.ram.close()


WholeMachine.TestCase.settings = sized(200, 10, 20)
TestWhole = pytest.mark.slow(WholeMachine.TestCase)
