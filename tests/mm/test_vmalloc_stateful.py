"""vmalloc against a sorted list of address ranges: lowest fit, guard pages, lazy purge, blocks; bytes through page
tables.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kmem.abi.address import MODULES_END, MODULES_VADDR, VMALLOC_END, VMALLOC_START
from kmem.abi.gfp import GFP_KERNEL
from kmem.machine.fault import AccessFault
from kmem.machine.paging import AddressSpace as VirtualMemory
from tests.mm.booted import MIB, BootedMm, expect_consistent
from tests.mm.machines import sized
from tests.naive.space import AddressSpace, Blocks

PAGE = 4096
VMALLOC = ("V1", "V2", "V3", "V4", "V5", "P1", "P2", "T1", "T6", "B1", "B4", "S1")
LAZY_PAGES = 2 * (32 << 20) // PAGE
"""Of a machine with two CPUs: 32 MiB for each bit of their number."""


def whole_pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


class VmallocMachine(RuleBasedStateMachine):
    """Allocates, maps and frees ranges of the vmalloc and module areas."""

    @initialize(config=st.sampled_from(("plain", "debug")))
    def boot(self, config: str) -> None:
        self.mm = BootedMm(config, ram=96 * MIB)
        self.memory = VirtualMemory(self.mm.ram, self.mm.boot.cr3)
        self.space = AddressSpace(VMALLOC_START, VMALLOC_END + 1, LAZY_PAGES)
        self.modules = AddressSpace(MODULES_VADDR, MODULES_END, LAZY_PAGES)
        self.content: dict[int, tuple[int, bytes]] = {}
        """Of every vmalloc area: its size, and what its owner wrote at its start and end."""
        self.blocks = Blocks(self.space)
        self.deferred: list[int] = []
        """Areas that were freed where that is not possible, and wait."""
        self.maps: dict[int, list[int]] = {}
        self.ram_maps: dict[int, list[int]] = {}
        self.io: dict[int, int] = {}
        self.arrays: dict[int, int] = {}
        """Where the page array of a large area lies: itself a vmalloc, made after the area."""

    def _take(self, space: AddressSpace, addr: int, length: int) -> None:
        """An area of *length* bytes of pages, and its guard page, and the array of its pages."""
        space.take(addr, length + PAGE)
        array = length // PAGE * 8
        if array > PAGE:
            size = whole_pages(array) + PAGE
            inner = self.space.lowest(size)
            assert inner is not None
            self.space.take(inner, size)
            self.arrays[addr] = inner

    def _worked(self) -> None:
        """What waited has been freed, the last one first."""
        while self.deferred:
            self._give(self.deferred.pop())

    def _give(self, addr: int) -> None:
        (self.modules if addr >= MODULES_VADDR else self.space).give(addr)
        if addr in self.arrays:
            self.space.give(self.arrays.pop(addr))

    def _write(self, addr: int, size: int) -> None:
        tag = len(self.content).to_bytes(4, "little") + addr.to_bytes(8, "little")
        tag = tag[:size]
        self.memory.write(addr, tag)
        self.memory.write(addr + size - len(tag), tag)
        self.content[addr] = (size, tag)

    def _check(self, addr: int) -> None:
        size, tag = self.content[addr]
        assert self.memory.read(addr + size - len(tag), len(tag)) == tag
        with pytest.raises(AccessFault):
            self.memory.u8(addr + whole_pages(size))

    def _room(self) -> bool:
        return not hasattr(self, "mm") or sum(size for size, _ in self.content.values()) < 16 * MIB

    @precondition(_room)
    @rule(size=st.one_of(st.integers(1, 40 * PAGE), st.sampled_from((PAGE, 64 * PAGE, 513 * PAGE, 1500 * PAGE))))
    def vmalloc(self, size: int) -> None:
        self._worked()
        expected = self.space.lowest(whole_pages(size) + PAGE)
        addr = self.mm.vmalloc(size)
        assert addr == expected
        self._take(self.space, addr, whole_pages(size))
        self._write(addr, size)

    @precondition(_room)
    @rule(size=st.sampled_from((2 * MIB, 2 * MIB + 1, 5 * MIB)))
    def vmalloc_huge(self, size: int) -> None:
        self._worked()
        addr = self.mm.vmalloc_huge(size)
        length = -(-size // (2 * MIB)) * 2 * MIB
        assert addr % (2 * MIB) == 0
        self._take(self.space, addr, length)
        self._write(addr, length)
        assert self.mm.vmalloc_to_page(addr + PAGE) == self.mm.vmalloc_to_page(addr) + 64

    @precondition(lambda self: self.content)
    @rule(which=st.integers(0, 1000), inside=st.booleans())
    def vfree(self, which: int, inside: bool) -> None:
        addr = sorted(self.content)[which % len(self.content)]
        self._check(addr)
        del self.content[addr]
        # The kernel looks up the area that the address lies in; only misaligned ones are refused.
        self.mm.vfree(addr + PAGE if inside else addr)
        self._give(addr)
        self._worked()
        with pytest.raises(AccessFault):
            self.memory.u8(addr)

    @precondition(lambda self: any(addr < MODULES_VADDR for addr in self.content))
    @rule(which=st.integers(0, 1000))
    def vfree_atomic(self, which: int) -> None:
        areas = sorted(addr for addr in self.content if addr < MODULES_VADDR)
        addr = areas[which % len(areas)]
        self._check(addr)
        del self.content[addr]
        self.mm.vfree_atomic(addr)
        self.deferred.append(addr)
        assert self.memory.u8(addr) >= 0

    @rule()
    def sleep(self) -> None:
        self.mm.run_work()
        self._worked()

    @precondition(lambda self: any(size >= 2 * MIB for size, _ in self.content.values()))
    @rule(which=st.integers(0, 1000), page=st.integers(0, 511))
    def read_only_page_of_a_large_area(self, which: int, page: int) -> None:
        areas = sorted(addr for addr, (size, _) in self.content.items() if size >= 2 * MIB)
        addr = areas[which % len(areas)]
        before = [self.mm.vmalloc_to_page(addr + i * PAGE) for i in range(512)]
        assert self.mm.set_memory(addr + page * PAGE, 1, write=False, execute=False) == 0
        assert [self.mm.vmalloc_to_page(addr + i * PAGE) for i in range(512)] == before
        with pytest.raises(AccessFault):
            self.memory.set_u8(addr + page * PAGE, 0)
        assert self.mm.set_memory(addr + page * PAGE, 1, write=True, execute=False) == 0
        self._check(addr)

    @rule(count=st.integers(1, 80))
    def vm_map_ram(self, count: int) -> None:
        pages = [self.mm.alloc_pages(GFP_KERNEL, 0) for _ in range(count)]
        array = self.mm.kmalloc(8 * count)
        self.memory.write(array, b"".join(page.to_bytes(8, "little") for page in pages))
        addr = self.mm.vm_map_ram(array, count)
        self.mm.kfree(array)
        self.blocks.map(count, addr)
        self.ram_maps[addr] = pages
        assert [self.mm.vmalloc_to_page(addr + i * PAGE) for i in range(count)] == pages

    @precondition(lambda self: self.ram_maps)
    @rule(which=st.integers(0, 1000))
    def vm_unmap_ram(self, which: int) -> None:
        addr = sorted(self.ram_maps)[which % len(self.ram_maps)]
        pages = self.ram_maps.pop(addr)
        self.mm.vm_unmap_ram(addr, len(pages))
        self.blocks.unmap(addr, len(pages))
        self._worked()
        for page in pages:
            self.mm.free_pages(page, 0)

    @rule(count=st.integers(1, 20))
    def vmap(self, count: int) -> None:
        self._worked()
        pages = [self.mm.alloc_pages(GFP_KERNEL, 0) for _ in range(count)]
        expected = self.space.lowest((count + 1) * PAGE)
        addr = self.mm.vmap(pages)
        assert addr == expected
        self.space.take(addr, (count + 1) * PAGE)
        self.maps[addr] = pages
        assert [self.mm.vmalloc_to_page(addr + i * PAGE) for i in range(count)] == pages

    @precondition(lambda self: self.maps)
    @rule(which=st.integers(0, 1000))
    def vunmap(self, which: int) -> None:
        addr = sorted(self.maps)[which % len(self.maps)]
        self.mm.vunmap(addr)
        self.space.give(addr)
        self._worked()
        for page in self.maps.pop(addr):
            self.mm.free_pages(page, 0)

    @rule(phys=st.sampled_from((0xFEB00000, 0xFEB01234)), size=st.sampled_from((8, PAGE, 5 * PAGE, 1 * MIB)))
    def ioremap(self, phys: int, size: int) -> None:
        self._worked()
        addr = self.mm.ioremap(phys, size)
        length = whole_pages(phys % PAGE + size)
        assert addr % PAGE == phys % PAGE
        assert (addr & -PAGE) % (1 << (length - 1).bit_length()) == 0
        assert self.mm.phys_of(addr) == phys
        self.space.take(addr & -PAGE, length + PAGE)
        self.io[addr & -PAGE] = addr

    @precondition(lambda self: self.io)
    @rule(which=st.integers(0, 1000))
    def iounmap(self, which: int) -> None:
        base = sorted(self.io)[which % len(self.io)]
        self.mm.iounmap(self.io.pop(base))
        self.space.give(base)
        self._worked()

    @rule(size=st.integers(1, 30 * PAGE))
    def module_alloc(self, size: int) -> None:
        expected = self.modules.lowest(whole_pages(size) + PAGE)
        addr = self.mm.core.k_module_alloc(size)
        assert addr == expected
        self._take(self.modules, addr, whole_pages(size))
        self._write(addr, size)

    @precondition(lambda self: any(addr >= MODULES_VADDR for addr in self.content))
    @rule(which=st.integers(0, 1000))
    def module_memfree(self, which: int) -> None:
        modules = sorted(addr for addr in self.content if addr >= MODULES_VADDR)
        addr = modules[which % len(modules)]
        self._check(addr)
        del self.content[addr]
        self.mm.core.k_module_memfree(addr)
        self._give(addr)
        self._purged()

    def _purged(self) -> None:
        self.blocks.purge()
        self.modules.purge()
        self.space.purge()

    @rule()
    def unmap_aliases(self) -> None:
        self.mm.core.k_vm_unmap_aliases()
        self._purged()

    @invariant()
    def consistent(self) -> None:
        if hasattr(self, "mm"):
            expect_consistent(self.mm, VMALLOC)

    def teardown(self) -> None:
        if hasattr(self, "mm"):
            for addr in sorted(self.content):
                self._check(addr)
                self.mm.vfree(addr)
            self.mm.run_work()
            self.mm.core.k_vm_unmap_aliases()
            expect_consistent(self.mm)
            assert self.mm.view.kdata.nr_vmalloc_pages == 0
            told = {"UP_SLAB_TRACK", "UP_OUT_OF_MEMORY", "UP_ALLOC_FAILED", "UP_TLB_FLUSH", "UP_SHRINK_SLAB"}
            assert self.mm.upcalls.keys() <= told
            self.mm.ram.close()


VmallocMachine.TestCase.settings = sized(150, 10, 25)
TestVmalloc = pytest.mark.slow(VmallocMachine.TestCase)
