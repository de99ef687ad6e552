"""The page allocator against a set of pages in use, with every invariant after every step."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kmem.abi.gfp import (
    __GFP_COMP,
    __GFP_DMA,
    __GFP_KSWAPD_RECLAIM,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_RECLAIMABLE,
    __GFP_THISNODE,
    GFP_ATOMIC,
    GFP_DMA32,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOWAIT,
)
from kmem.mm.validate_request import may_succeed
from kmem.mm.vm_events import EV_PGALLOC_FAIL
from tests.mm.booted import MIB, BootedMm, expect_consistent
from tests.mm.machines import sized
from tests.naive.pages import PagesInUse

BUDDY = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B11", "B12", "B13", "B14")
QUIET = __GFP_NOWARN | __GFP_NORETRY
THISNODE = __GFP_THISNODE
MASKS = (
    GFP_KERNEL,
    GFP_KERNEL | __GFP_COMP,
    GFP_ATOMIC,
    GFP_NOWAIT,
    GFP_KERNEL | __GFP_DMA,
    GFP_KERNEL | GFP_DMA32,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL | __GFP_RECLAIMABLE,
)
SILENT = GFP_NOWAIT & ~__GFP_KSWAPD_RECLAIM
orders = st.integers(0, 10)
masks = st.sampled_from(MASKS)


class BuddyMachine(RuleBasedStateMachine):
    """Allocates and frees blocks on two CPUs."""

    @initialize(config=st.sampled_from(("plain", "debian")), nodes=st.sampled_from((1, 2, 4)))
    def boot(self, config: str, nodes: int) -> None:
        self.mm = BootedMm(config, ram=max(96, 64 * nodes) * MIB, nodes=nodes)
        self.pages = PagesInUse()
        self.cpu = 0

    @rule(cpu=st.integers(0, 1))
    def switch(self, cpu: int) -> None:
        self.cpu = cpu
        self.mm.on_cpu(cpu)

    @rule(order=orders, gfp=masks, count=st.integers(1, 12))
    def alloc(self, order: int, gfp: int, count: int) -> None:
        for _ in range(count):
            expected = bool(gfp & 0x400) or may_succeed(self.mm.view, gfp, order, self.cpu)
            page = self.mm.alloc_pages(gfp | QUIET, order)
            assert bool(page) == expected or gfp & 0x400
            if page:
                self.pages.take(self.mm.view.pfn(page), order, gfp)

    @rule(order=st.integers(0, 5), node=st.integers(0, 3), exactly=st.booleans(), count=st.integers(1, 12))
    def alloc_on_node(self, order: int, node: int, exactly: bool, count: int) -> None:
        node %= self.mm.config.nodes
        for _ in range(count):
            gfp = GFP_KERNEL | QUIET | (THISNODE if exactly else 0)
            mask = -1 if exactly else 1 << node
            page = self.mm.alloc_pages_nodemask(gfp, order, node, mask)
            if page:
                assert self.mm.view.page(self.mm.view.pfn(page)).flags >> 54 & 0x3FF == node
                self.pages.take(self.mm.view.pfn(page), order, gfp)

    @rule(order=orders, gfp=masks)
    def exhaust(self, order: int, gfp: int) -> None:
        for _ in range(9000):
            page = self.mm.alloc_pages(gfp | QUIET, order)
            if not page:
                assert gfp & 0x400 or not may_succeed(self.mm.view, gfp, order, self.cpu)
                break
            self.pages.take(self.mm.view.pfn(page), order, gfp)

    @precondition(lambda self: self.pages.order)
    @rule(data=st.data(), count=st.integers(1, 40))
    def free(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.pages.order))):
            live = sorted(self.pages.order)
            pfn = live[data.draw(st.integers(0, len(live) - 1), label="which")]
            order = self.pages.give(pfn)
            self.mm.free_pages(self.mm.view.page(pfn)._addr & (1 << 64) - 1, order)

    @precondition(lambda self: self.pages.order)
    @rule(every=st.integers(1, 5))
    def free_many(self, every: int) -> None:
        for pfn in sorted(self.pages.order)[::every]:
            order = self.pages.give(pfn)
            self.mm.free_pages(self.mm.view.page(pfn)._addr & (1 << 64) - 1, order)

    @rule()
    def drain(self) -> None:
        self.mm.drain()
        assert self.mm.drain() == 0

    @rule(order=st.integers(4, 8))
    def fail_without_a_trace(self, order: int) -> None:
        """Of a request that wakes nobody: kswapd remembers what it was woken for."""
        if not may_succeed(self.mm.view, SILENT, order, self.cpu):
            before = self.mm.ram.hash()
            assert self.mm.alloc_pages(SILENT | QUIET, order) == 0
            events = self.mm.view.kdata.vm_events
            events[EV_PGALLOC_FAIL] = events[EV_PGALLOC_FAIL] - 1
            assert self.mm.ram.hash() == before

    @invariant()
    def consistent(self) -> None:
        if hasattr(self, "mm"):
            expect_consistent(self.mm, BUDDY)

    def teardown(self) -> None:
        if not hasattr(self, "mm"):
            return
        fresh = BootedMm(self.mm.config.config, ram=self.mm.config.ram, nodes=self.mm.config.nodes)
        for pfn in sorted(self.pages.order):
            self.mm.free_pages(self.mm.view.page(pfn)._addr & (1 << 64) - 1, self.pages.order[pfn])
        for mm in (fresh, self.mm):
            mm.drain()
        assert free_blocks(self.mm) == free_blocks(fresh)  # B8: freeing everything undoes every split
        assert self.mm.upcalls.keys() <= {"UP_OUT_OF_MEMORY", "UP_SHRINK_SLAB"}
        for mm in (fresh, self.mm):
            mm.ram.close()


def free_blocks(mm: BootedMm) -> list[tuple[int, int]]:
    """(pfn, order) of every free block; of the largest only their halves, which the reserve may have kept apart."""
    found = []
    for z in mm.view.zones():
        for order in range(11):
            for mt in range(4):
                head = z.free_area[order].free_list[mt]
                link = head.next
                while link != head:
                    pfn = mm.view.pfn(link._addr - 8)
                    found += [(pfn, order)] if order < 10 else [(pfn, 9), (pfn + 512, 9)]
                    link = link.next
    return sorted(found)


BuddyMachine.TestCase.settings = sized(250, 12, 30)
TestBuddy = pytest.mark.slow(BuddyMachine.TestCase)
