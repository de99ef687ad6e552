"""SLUB against a dictionary of live objects, each filled with a pattern of its own, every invariant along the way."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kmem.abi.address import PAGE_OFFSET
from kmem.abi.gfp import __GFP_DMA, __GFP_RECLAIMABLE, __GFP_ZERO, GFP_ATOMIC, GFP_KERNEL, GFP_KERNEL_ACCOUNT
from kmem.abi.slab_flags import SLAB_HWCACHE_ALIGN, SLAB_RECLAIM_ACCOUNT, SLAB_TYPESAFE_BY_RCU
from kmem.mm.mm_types import kmem_cache
from tests.mm.booted import MIB, BootedMm, expect_consistent
from tests.mm.machines import sized
from tests.naive.objects import LiveObjects

SLUB = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "B1", "B4", "T1")
ZERO, DMA = __GFP_ZERO, __GFP_DMA
MASKS = (
    GFP_KERNEL,
    GFP_ATOMIC,
    GFP_KERNEL | ZERO,
    GFP_KERNEL | DMA,
    GFP_KERNEL | __GFP_RECLAIMABLE,
    GFP_KERNEL_ACCOUNT,
)
CACHE_FLAGS = (0, SLAB_HWCACHE_ALIGN, SLAB_RECLAIM_ACCOUNT, SLAB_TYPESAFE_BY_RCU)
sizes = st.one_of(
    st.integers(1, 300), st.sampled_from((1, 8, 96, 97, 192, 193, 512, 1024, 2048, 4096, 4097, 8192, 8193, 20000))
)


def kmalloc_class(size: int) -> int:
    """The smallest class that holds *size*."""
    classes = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
    return next((c for c in classes if c >= size), 4096 << (size - 1 >> 12).bit_length())


class SlubMachine(RuleBasedStateMachine):
    """Allocates, resizes and frees objects of many caches on two CPUs."""

    CONFIG = "plain"

    @initialize(seed=st.integers(0, 3), nodes=st.sampled_from((1, 2, 4)))
    def boot(self, seed: int, nodes: int) -> None:
        self.mm = BootedMm(self.CONFIG, ram=max(96, 64 * nodes) * MIB, seed=seed, nodes=nodes)
        self.objects = LiveObjects(self.mm.ram)
        self.owner: dict[int, int] = {}
        self.caches: dict[int, list[int]] = {}
        """Size, alignment and number of names of each cache."""
        self.steps = 0

    def _take(self, addr: int, size: int, cache: int, gfp: int, align: int = 8) -> None:
        assert addr, "there is plenty of memory"
        if gfp & ZERO or (self.CONFIG == "debian" and not cache):
            at = addr - PAGE_OFFSET
            assert not any(self.mm.ram.mem[at : at + size])
        self.objects.take(addr, size, align)
        self.owner[addr] = cache

    def _free(self, addr: int) -> None:
        self.objects.give(addr)
        cache = self.owner.pop(addr)
        if cache:
            self.mm.kmem_cache_free(cache, addr)
        else:
            self.mm.kfree(addr)

    @rule(cpu=st.integers(0, 1))
    def switch(self, cpu: int) -> None:
        self.mm.on_cpu(cpu)

    @rule(size=sizes, gfp=st.sampled_from(MASKS), count=st.integers(1, 60))
    def kmalloc(self, size: int, gfp: int, count: int) -> None:
        wanted = kmalloc_class(size)
        for _ in range(count if wanted < 4096 else 2):
            addr = self.mm.kmalloc(size, gfp)
            self._take(addr, size, 0, gfp, wanted & -wanted if wanted not in (96, 192) else 8)
            assert size <= self.mm.ksize(addr) <= wanted
            assert not gfp & DMA or addr + size <= PAGE_OFFSET + 16 * MIB

    @rule(size=sizes, node=st.integers(0, 3), count=st.integers(1, 40))
    def kmalloc_node(self, size: int, node: int, count: int) -> None:
        node %= self.mm.config.nodes
        for _ in range(count if size < 4096 else 2):
            addr = self.mm.kmalloc(size, GFP_KERNEL, node)
            self._take(addr, size, 0, GFP_KERNEL)
            assert self.mm.view.page_of(addr).flags >> 54 & 0x3FF == node

    @rule(size=st.integers(1, 3000), align=st.sampled_from((0, 8, 64, 256)), flags=st.sampled_from(CACHE_FLAGS))
    def create(self, size: int, align: int, flags: int) -> None:
        if len(self.caches) < 6:
            cache = self.mm.kmem_cache_create(f"cache-{self.steps}", size, align, flags)
            assert cache
            known = self.caches.setdefault(cache, [size, 8, 0])
            self.caches[cache] = [max(size, known[0]), max(align, known[1]), known[2] + 1]

    @precondition(lambda self: self.caches)
    @rule(which=st.integers(0, 5), gfp=st.sampled_from((GFP_KERNEL, GFP_KERNEL | ZERO)), count=st.integers(1, 60))
    def cache_alloc(self, which: int, gfp: int, count: int) -> None:
        cache = sorted(self.caches)[which % len(self.caches)]
        size, align, _ = self.caches[cache]
        for _ in range(count):
            self._take(self.mm.kmem_cache_alloc(cache, gfp), size, cache, gfp, align)

    @precondition(lambda self: self.owner)
    @rule(data=st.data(), count=st.integers(1, 8))
    def free(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.owner))):
            live = self.objects.addresses()
            self._free(live[data.draw(st.integers(0, len(live) - 1), label="which")])

    @precondition(lambda self: self.owner)
    @rule(every=st.integers(1, 4), backwards=st.booleans())
    def free_many(self, every: int, backwards: bool) -> None:
        for addr in self.objects.addresses()[:: -every if backwards else every]:
            self._free(addr)

    @precondition(lambda self: any(not cache for cache in self.owner.values()))
    @rule(which=st.integers(0, 1000), size=sizes)
    def krealloc(self, which: int, size: int) -> None:
        live = [addr for addr in self.objects.addresses() if not self.owner[addr]]
        addr = live[which % len(live)]
        at = addr - PAGE_OFFSET
        kept = min(size, self.objects.size[addr])
        before = bytes(self.mm.ram.mem[at : at + kept])
        fits = self.mm.ksize(addr) >= size
        self.objects.give(addr)
        del self.owner[addr]
        new = self.mm.krealloc(addr, size, GFP_KERNEL)
        assert (new == addr) == fits
        assert bytes(self.mm.ram.mem[new - PAGE_OFFSET : new - PAGE_OFFSET + kept]) == before
        self.objects.take(new, size)
        self.owner[new] = 0

    @precondition(lambda self: self.caches)
    @rule(which=st.integers(0, 5))
    def shrink(self, which: int) -> None:
        cache = sorted(self.caches)[which % len(self.caches)]
        left = self.mm.kmem_cache_shrink(cache) != 0
        ours = self.mm.view.ptr(kmem_cache, cache).refcount == self.caches[cache][2]
        assert left == (cache in self.owner.values()) or not ours

    @precondition(lambda self: self.caches)
    @rule(which=st.integers(0, 5))
    def destroy(self, which: int) -> None:
        cache = sorted(self.caches)[which % len(self.caches)]
        if cache not in self.owner.values():
            self._destroy(cache)

    def _destroy(self, cache: int) -> None:
        self.caches[cache][2] -= 1
        if not self.caches[cache][2]:
            del self.caches[cache]
        self.mm.kmem_cache_destroy(cache)
        assert "UP_SLAB_REPORT" not in self.mm.upcalls

    @invariant()
    def consistent(self) -> None:
        if hasattr(self, "mm"):
            self.steps += 1
            if self.steps % 2 == 0:
                expect_consistent(self.mm, SLUB)

    def teardown(self) -> None:
        if hasattr(self, "mm"):
            self.objects.verify_all()
            expect_consistent(self.mm)
            for addr in self.objects.addresses():
                self._free(addr)
            while self.caches:
                self._destroy(min(self.caches))
            expect_consistent(self.mm)
            assert self.mm.upcalls.keys() <= {"UP_CACHE_FLAGS", "UP_SLAB_TRACK", "UP_RCU_SLAB", "UP_RCU_CACHE"}
            self.mm.ram.close()


class DebianMachine(SlubMachine):
    """Hardened and shuffled free lists; objects of caches without a state of their own are wiped."""

    CONFIG = "debian"


class DebugMachine(SlubMachine):
    """slub_debug=FZPU."""

    CONFIG = "debug"


for _machine, _examples in ((SlubMachine, 8), (DebianMachine, 6), (DebugMachine, 6)):
    _machine.TestCase.settings = sized(100, _examples, 25)
TestPlain = pytest.mark.slow(SlubMachine.TestCase)
TestDebian = pytest.mark.slow(DebianMachine.TestCase)
TestDebug = pytest.mark.slow(DebugMachine.TestCase)
