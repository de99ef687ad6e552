"""A memory to read /proc of, and what its page frames say, read without kmem's own views."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from struct import iter_unpack, unpack_from

from kmem.mm.api import Mm
from tests.mm.booted import BootedMm

GFP_KERNEL, GFP_DMA, RECLAIMABLE, ACCOUNT = 0xCC0, 0x01, 0x10, 0x400000
SITE = 0xFFFFFFFFC0201052
"""Where all allocations of the workload come from."""


@dataclass
class Live:
    """What the workload holds, by what gives it back."""

    objects: list[int] = field(default_factory=list)
    large: dict[int, int] = field(default_factory=dict)
    pages: dict[int, int] = field(default_factory=dict)
    areas: dict[int, int] = field(default_factory=dict)
    mappings: dict[int, int] = field(default_factory=dict)


class Machine:
    """A booted memory; *cpu* is the one that works."""

    def __init__(self, config: str = "plain", ram: int = 128 << 20, **changes: object) -> None:
        self.cpu = 0
        self.live = Live()
        self.mm = BootedMm(config, ram, **changes)
        self.mm.moment = lambda: (SITE, 0, 1, self.cpu, 0)

    def work(self, seed: int, rounds: int, *, large: bool = True) -> None:
        """Allocate and free at random, on both CPUs; without *large*, no kmalloc of whole pages."""
        random = Random(seed)
        takes = [self._object, self._object, self._object, self._pages, self._area, self._mapping]
        if large:
            takes.append(self._large)
        for _ in range(rounds):
            self.cpu = random.randrange(2)
            random.choice(takes)(random)
            if random.random() < 0.45:
                self._give(random)
        self.cpu = 0

    def _object(self, random: Random) -> None:
        gfp = GFP_KERNEL | random.choice((0, 0, RECLAIMABLE, ACCOUNT, GFP_DMA))
        size = random.choice((8, 24, 64, 96, 200, 1024, 3000, 8192))
        self.live.objects += [self.mm.kmalloc(size, gfp) for _ in range(random.randrange(1, 40))]

    def _large(self, random: Random) -> None:
        order = random.randrange(2, 5)
        self.live.large[self.mm.kmalloc(4096 << order)] = 1 << order

    def _pages(self, random: Random) -> None:
        order = random.randrange(5)
        self.live.pages[self.mm.alloc_pages(GFP_KERNEL, order)] = order

    def _area(self, random: Random) -> None:
        size = random.choice((1, 4096, 10000, 300000, 2200000))
        self.live.areas[self.mm.vmalloc(size)] = -(-size // 4096)

    def _mapping(self, random: Random) -> None:
        phys = 0xFEB00000 + 4096 * random.randrange(64)
        self.live.mappings[self.mm.ioremap(phys, 4096)] = phys

    def _give(self, random: Random) -> None:
        live = self.live
        for _ in range(min(len(live.objects), 15)):
            self.mm.kfree(live.objects.pop(random.randrange(len(live.objects))))
        if live.pages and random.random() < 0.3:
            page = random.choice(sorted(live.pages))
            self.mm.free_pages(page, live.pages.pop(page))
        for held, free in ((live.areas, self.mm.vfree), (live.mappings, self.mm.iounmap), (live.large, self.mm.kfree)):
            if held and random.random() < 0.3:
                address = random.choice(sorted(held))
                del held[address]
                free(address)


@dataclass
class Slabs:
    """All slabs of one cache: how many, their pages, their objects, and those that are not known to be free."""

    slabs: int = 0
    pages: int = 0
    objects: int = 0
    active: int = 0
    frozen: int = 0
    partial: int = 0
    partial_inuse: int = 0


@dataclass
class Frames:
    """What the array of ``struct page`` says: free blocks by (zone index, order), slabs by cache address."""

    free: Counter[tuple[int, int]] = field(default_factory=Counter)
    slabs: dict[int, Slabs] = field(default_factory=dict)


def frames(mm: Mm) -> Frames:
    """Look at every page frame; a ``struct page`` of 6.1 is 64 bytes."""
    found = Frames()
    start = mm.ram.mem_map_phys
    raw = mm.ram.mem[start : start + mm.ram.size // 4096 * 64]
    for index, (flags, _, _, cache, _, counters, page_type, _, _) in enumerate(iter_unpack("<6QIIQ", raw)):
        if page_type & 0xF0000080 == 0xF0000000:
            found.free[flags >> 51 & 7, counters] += 1
        elif flags >> 9 & 1:
            inuse, objects, frozen = counters & 0xFFFF, counters >> 16 & 0x7FFF, counters >> 31 & 1
            order = raw[(index + 1) * 64 + 17] if flags >> 16 & 1 else 0
            slabs = found.slabs.setdefault(cache, Slabs())
            slabs.slabs += 1
            slabs.pages += 1 << order
            slabs.objects += objects
            slabs.active += objects if frozen else inuse
            slabs.frozen += frozen
            if not frozen and inuse < objects:
                slabs.partial += 1
                slabs.partial_inuse += inuse
    return found


def page_tables(mm: Mm) -> list[int]:
    """How many tables map the vmalloc area: of 4 KiB pages, of 2 MiB, of 1 GiB."""
    counts = [0, 0, 0]
    tables = [(mm.boot.cr3, 3)]
    while tables:
        table, level = tables.pop()
        for index, entry in enumerate(unpack_from("<512Q", mm.ram.mem, table)):
            if entry & 0x81 == 1 and level and (level < 3 or 402 <= index < 466):
                counts[level - 1] += 1
                tables.append((entry & 0x000FFFFFFFFFF000, level - 1))
    return counts
