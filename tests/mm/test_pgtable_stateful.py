"""Page tables against a dictionary of pages: every mapping made and undone, at every edge, by both walkers."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kmem.abi.gfp import GFP_KERNEL
from kmem.machine.fault import AccessFault
from kmem.machine.paging import AddressSpace
from tests.mm.booted import MIB, BootedMm, expect_consistent
from tests.mm.machines import sized
from tests.naive.translations import PAGE, Translations

TABLES = ("P1", "P2", "P3", "P4", "P5", "V1", "V2", "V3", "V5")
DEVICE = 0xFE000000
ALLOW_HUGE = 0x400


class PageTableMachine(RuleBasedStateMachine):
    """Maps pages, huge pages and device memory, and takes them away again."""

    @initialize(config=st.sampled_from(("plain", "debian")))
    def boot(self, config: str) -> None:
        self.mm = BootedMm(config, ram=96 * MIB)
        self.space = AddressSpace(self.mm.ram, self.mm.boot.cr3)
        self.naive = Translations()
        self.pages = [self.mm.alloc_pages(GFP_KERNEL, 0) for _ in range(64)]
        self.undo: list[tuple[str, int, int]] = []

    def _phys(self, page: int) -> int:
        return self.mm.page_to_pfn(page) * PAGE

    @rule(which=st.lists(st.integers(0, 63), min_size=1, max_size=40))
    def vmap(self, which: list[int]) -> None:
        """The same page may be mapped several times."""
        pages = [self.pages[n] for n in which]
        addr = self.mm.vmap(pages)
        for n, page in enumerate(pages):
            self.naive.map(addr + n * PAGE, self._phys(page))
        self.undo.append(("vunmap", addr, len(pages) * PAGE))

    @precondition(lambda self: len(self.undo) < 12)
    @rule(size=st.sampled_from((2 * MIB, 4 * MIB)))
    def huge(self, size: int) -> None:
        addr = self.mm.core.k_vmalloc(size, 1, GFP_KERNEL, ALLOW_HUGE, -1)
        if addr:
            self._took(addr, size)
            self.undo.append(("vfree", addr, size))

    @precondition(lambda self: len(self.undo) < 30)
    @rule(count=st.integers(1, 600))
    def vmalloc(self, count: int) -> None:
        addr = self.mm.vmalloc(count * PAGE)
        if addr:
            self._took(addr, count * PAGE)
            self.undo.append(("vfree", addr, count * PAGE))

    def _took(self, addr: int, size: int) -> None:
        """Where the pages lie the machine says by vmalloc_to_page; no two of them are one."""
        seen = set()
        for at in range(addr, addr + size, PAGE):
            phys = self._phys(self.mm.vmalloc_to_page(at))
            assert phys not in seen
            seen.add(phys)
            self.naive.map(at, phys)

    @rule(first=st.integers(0, 500), count=st.integers(1, 20))
    def ioremap(self, first: int, count: int) -> None:
        addr = self.mm.ioremap(DEVICE + first * PAGE, count * PAGE)
        for n in range(count):
            self.naive.map(addr + n * PAGE, DEVICE + (first + n) * PAGE)
        self.undo.append(("iounmap", addr, count * PAGE))

    @precondition(lambda self: self.undo)
    @rule(which=st.integers(0, 1000))
    def unmap(self, which: int) -> None:
        call, addr, size = self.undo.pop(which % len(self.undo))
        getattr(self.mm, call)(addr)
        self.naive.unmap(addr, size)

    @rule()
    def purge(self) -> None:
        self.mm.core.k_vm_unmap_aliases()

    @invariant()
    def both_walkers_agree_at_every_edge(self) -> None:
        if not hasattr(self, "mm"):
            return
        edges = sorted(self.naive.edges())
        for addr in edges[:: 1 + len(edges) // 300]:
            expected = self.naive.lookup(addr)
            found = self.mm.phys_of(addr)
            assert found == (-1 if expected is None else expected), f"{addr:#x}"
            if expected is None or expected < self.mm.ram.size:
                assert self._walked(addr) == expected, f"{addr:#x}"

    def _walked(self, addr: int) -> int | None:
        try:
            return self.space.translate(addr)
        except AccessFault:
            return None

    @invariant()
    def consistent(self) -> None:
        if hasattr(self, "mm"):
            expect_consistent(self.mm, TABLES)

    def teardown(self) -> None:
        if hasattr(self, "mm"):
            for call, addr, _ in self.undo:
                getattr(self.mm, call)(addr)
            self.mm.core.k_vm_unmap_aliases()
            for page in self.pages:
                self.mm.free_pages(page, 0)
            expect_consistent(self.mm)
            self.mm.ram.close()


PageTableMachine.TestCase.settings = sized(100, 8, 25)
TestPageTables = pytest.mark.slow(PageTableMachine.TestCase)
