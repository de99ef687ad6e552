"""Every sequence of calls up to a length, on a zone of 16 free pages and on one slab of 4 objects.

After each call the machine is compared with a set of pages or objects that is obviously right. Two sequences that lead
to the same state have the same futures, so the calls after a state are tried once; a state is the very bytes of what
decides about the future: free lists and struct pages of the zone, or struct slab, per-CPU and per-node structures and
free pointers of the cache. No other symmetry is used. The number of sequences is counted along the way and asserted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from kmem.lib.cstruct import u64
from kmem.mm.mm_types import kmem_cache, kmem_cache_cpu, page, per_cpu_pages, slab, zone
from tests.mm import machines
from tests.mm.booted import MIB, BootedMm, expect_consistent

QUIET = 0x800 | 0x200  # GFP_NOWAIT | __GFP_NOWARN
PAGES, PAGE = 16, 4096
Op = tuple[str, int, int]
State = tuple[bytes, ...]


class Explorer:
    """Tries all sequences. A subclass has a machine at a snapshot and says what can be called and what must be."""

    def __init__(self, mm: BootedMm) -> None:
        self.mm = mm
        mm.ram.snapshot()
        self.states = 0
        self._known: dict[tuple[State, int], int] = {}
        self._checked: set[State] = set()

    def sequences(self, length: int) -> int:
        """Try every sequence of up to *length* calls; how many there are."""
        self._replay(())
        return self._from((), length)

    def _from(self, path: tuple[Op, ...], left: int) -> int:
        state = self.state()
        if state not in self._checked:
            self._checked.add(state)
            self.states += 1
            self.check()
        if (state, left) in self._known:
            return self._known[state, left]
        count = 0
        for op in list(self.ops()) if left else []:
            self._replay(path)
            self.do(op)
            count += 1 + self._from((*path, op), left - 1)
        self._known[state, left] = count
        return count

    def _replay(self, path: tuple[Op, ...]) -> None:
        self.mm.ram.rollback()
        self.begin()
        for op in path:
            self.do(op)

    def begin(self) -> None:
        raise NotImplementedError

    def ops(self) -> Iterator[Op]:
        raise NotImplementedError

    def do(self, op: Op) -> None:
        raise NotImplementedError

    def state(self) -> State:
        raise NotImplementedError

    def check(self) -> None:
        """Compare with what is obviously right."""
        raise NotImplementedError


class Zone(Explorer):
    """A zone of which 16 pages are free, and no CPU keeps pages back."""

    def __init__(self) -> None:
        mm = BootedMm("plain", ram=96 * MIB, cpus=1)
        for z in mm.view.zones():
            for n in range(3):
                z._watermark[n] = 0
            for n in range(5):
                z.lowmem_reserve[n] = 0
        for order in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0):
            blocks = []
            while block := mm.alloc_pages(QUIET, order):
                blocks.append(block)
            if order == 4:
                spare = blocks[len(blocks) // 2]
        mm.drain()
        for z in mm.view.zones():
            pcp = mm.view.ptr(per_cpu_pages, z.per_cpu_pageset._addr + mm.view.per_cpu_offset(0))
            pcp.high, pcp.batch = 0, 1
        self.first = mm.view.pfn(spare)
        mm.free_pages(spare, 4)
        self.zone = next(z for z in mm.view.zones() if z.vm_stat[0])
        assert self.zone.vm_stat[0] == PAGES
        self._map = mm.ram.mem_map_phys + self.first * page.size
        self._areas = u64(self.zone._addr) - 0xFFFF888000000000 + zone.field("free_area").offset
        super().__init__(mm)

    def begin(self) -> None:
        self.free = (1 << PAGES) - 1
        self.live: dict[int, int] = {}

    def ops(self) -> Iterator[Op]:
        for order in range(5):
            yield "alloc", order, 0
        for first, order in sorted(self.live.items()):
            yield "free", first, order

    def do(self, op: Op) -> None:
        name, a, b = op
        if name == "free":
            self.mm.free_pages(u64(self.mm.view.page(self.first + a)._addr), b)
            del self.live[a]
            self.free |= ((1 << (1 << b)) - 1) << a
            return
        fitting = [order for _, order in self.blocks() if order >= a]
        got = self.mm.alloc_pages(QUIET, a)
        assert bool(got) == bool(fitting)
        if got:
            at = self.mm.view.pfn(got) - self.first
            bits = ((1 << (1 << a)) - 1) << at
            assert at % (1 << a) == 0
            assert self.free & bits == bits
            whole = next((first, order) for first, order in self.blocks() if first <= at < first + (1 << order))
            assert whole[1] == min(fitting), "the smallest block that fits is split"
            self.free &= ~bits
            self.live[at] = a

    def blocks(self) -> list[tuple[int, int]]:
        """The free pages in the largest aligned blocks: what free lists must hold when every pair is merged."""
        found, at = [], 0
        while at < PAGES:
            order = 4
            while order >= 0:
                bits = ((1 << (1 << order)) - 1) << at
                if at % (1 << order) == 0 and self.free & bits == bits:
                    break
                order -= 1
            if order >= 0:
                found.append((at, order))
            at += 1 << max(order, 0)
        return found

    def _pages(self) -> list[bytes]:
        raw = self.mm.ram.mem[self._map : self._map + PAGES * page.size]
        return [bytes(raw[n * page.size : (n + 1) * page.size]) for n in range(PAGES)]

    def state(self) -> State:
        size = 5 * zone.field("free_area").size // 11
        lists = bytes(self.mm.ram.mem[self._areas : self._areas + size])
        # of a page that is no free block only its being in use matters: its links and private are left over
        kept = [raw if _kind(raw) == 0xFFFFFF7F else raw[0x34:0x38] for raw in self._pages()]
        return lists, b"".join(kept), repr(sorted(self.live.items())).encode()

    def check(self) -> None:
        raws = self._pages()
        marked = [
            (at, struct.unpack_from("<Q", raw, page.field("private").offset)[0])
            for at, raw in enumerate(raws)
            if _kind(raw) == 0xFFFFFF7F
        ]
        assert marked == self.blocks()
        counts = [int(self.zone.free_area[order].nr_free) for order in range(5)]
        assert counts == [sum(o == order for _, o in marked) for order in range(5)]
        assert self.zone.vm_stat[0] == self.free.bit_count()
        for first, _ in self.live.items():
            assert struct.unpack_from("<I", raws[first], 0x34)[0] == 1
        if self.states % 50 == 0:
            expect_consistent(self.mm, ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B12", "B13"))


def _kind(raw: bytes) -> int:
    return int.from_bytes(raw[0x30:0x34], "little")


class Slab(Explorer):
    """A cache that has one slab of 4 objects at most, used from two CPUs."""

    def __init__(self, config: str) -> None:
        mm = BootedMm(config, ram=96 * MIB, cpus=2, slub_max_order=0, slab_nomerge=True)
        self.cache = mm.kmem_cache_create("four", 1000, 1024)
        self.s = mm.view.ptr(kmem_cache, self.cache)
        assert self.s.oo.x == 4 or config == "debug"
        super().__init__(mm)

    def begin(self) -> None:
        self.live: set[int] = set()
        self.pfn = -1
        private = self.mm.core.private
        private.fail_inner, private.fail_persist = 1, 1

    def ops(self) -> Iterator[Op]:
        for cpu in (0, 1):
            yield "alloc", cpu, 0
            for obj in sorted(self.live):
                yield "free", cpu, obj
        yield "shrink", 0, 0

    def do(self, op: Op) -> None:
        name, cpu, obj = op
        if name == "shrink":
            self.mm.kmem_cache_shrink(self.cache)
            return
        self.mm.on_cpu(cpu)
        if name == "free":
            self.mm.kmem_cache_free(self.cache, obj)
            self.live.remove(obj)
            return
        within_reach = self._within_reach(cpu)
        got = self.mm.kmem_cache_alloc(self.cache, QUIET)
        if got:
            assert got not in self.live
            assert within_reach or self.pfn < 0
            if self.pfn < 0:
                self.pfn = self.mm.virt_to_phys(got) >> 12
            offset = self.mm.virt_to_phys(got) - (self.pfn << 12) - int(self.s.red_left_pad)
            assert 0 <= offset < PAGE
            assert offset % self.s.size == 0
            self.live.add(got)
        else:
            assert not within_reach

    def _within_reach(self, cpu: int) -> bool:
        """Whether there is a free object that is not on the other CPU."""
        if self.pfn < 0:
            return True
        sl = self.mm.view.slab(self.mm.view.page(self.pfn))
        if self.mm.view.page(self.pfn).flags >> 9 & 1 == 0 or u64(sl.slab_cache._addr) != self.cache:
            return False  # the slab was given back, and there is no second one
        if len(self.live) == sl.objects:
            return False
        other = self._cpu(1 - cpu)
        held = u64(other.slab._addr) == u64(sl._addr) or u64(other.partial._addr) == u64(sl._addr)
        return not held

    def _cpu(self, cpu: int) -> kmem_cache_cpu:  # type: ignore[valid-type]
        return self.mm.view.ptr(kmem_cache_cpu, self.s.cpu_slab._addr + self.mm.view.per_cpu_offset(cpu))

    def state(self) -> State:
        if self.pfn < 0:
            return (b"new",)
        view, mem = self.mm.view, self.mm.ram.mem
        at = self.mm.ram.mem_map_phys + self.pfn * page.size
        words = [bytes(mem[at : at + slab.size])]
        for cpu in (0, 1):
            c = self._cpu(cpu)
            words.append(struct.pack("<QQQ", u64(c.freelist), u64(c.slab._addr), u64(c.partial._addr)))
        n = self.s.node[0]
        words.append(struct.pack("<QQQ", n.nr_partial, u64(n.partial.next._addr), n.nr_slabs))
        for index in range(4):
            link = (self.pfn << 12) + int(self.s.red_left_pad) + index * int(self.s.size) + int(self.s.offset)
            words.append(bytes(mem[link : link + 8]))
        assert view.kdata.nr_cpu_ids == 2
        return (*words, repr(sorted(self.live)).encode())

    def check(self) -> None:
        expect_consistent(self.mm, ("S1", "S2", "S3", "S4", "S5", "S7", "S8"))


LONG = machines.PROFILE == "ci"
ZONE_SEQUENCES = {7: (580_231, 3123), 8: (4_515_020, 7086)}
SLAB_SEQUENCES = {
    ("plain", 6): (9676, 412),
    ("plain", 7): (54_119, 1022),
    ("debian", 6): (9676, 327),
    ("debian", 7): (54_119, 673),
}
"""By the longest sequence: how many there are, and how many different states they lead to."""


@pytest.mark.slow
def test_all_sequences_on_a_zone_of_16_pages() -> None:
    length = 8 if LONG else 7
    explorer = Zone()
    assert (explorer.sequences(length), explorer.states) == ZONE_SEQUENCES[length]


@pytest.mark.slow
@pytest.mark.parametrize("config", ["plain", "debian"])
def test_all_sequences_on_one_slab_of_4_objects(config: str) -> None:
    length = 7 if LONG else 6
    explorer = Slab(config)
    assert (explorer.sequences(length), explorer.states) == SLAB_SEQUENCES[config, length]


def test_the_explorer_notices_a_block_that_is_not_merged() -> None:
    explorer = Zone()
    explorer.begin()
    explorer.do(("alloc", 0, 0))
    explorer.free |= 1
    with pytest.raises(AssertionError):
        explorer.check()
