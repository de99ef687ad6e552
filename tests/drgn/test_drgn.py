"""The independent witness: stock drgn's own helpers on a core of the machine say what kmem says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

import kmem
from kmem.abi.address import MODULES_VADDR, PAGE_OFFSET, VMEMMAP_START
from kmem.abi.data import releases
from kmem.abi.gfp import GFP_KERNEL
from kmem.kernel import Kernel
from kmem.mm.config import CONFIGS
from kmem.mm.mm_types import kmem_cache_cpu
from kmem.mm.validate_memory import Memory
from kmem.mm.validate_slub import Slub
from kmem.modules.debugger import open_core
from kmem.modules.vmcoreinfo import dump_core

pytest.importorskip("drgn", reason="drgn is not installed: ./dev setup")

import drgn.helpers.linux as linux

OPERATIONS = 10_000
SIZES = (8, 24, 64, 96, 100, 192, 256, 500, 1024, 2048, 3000, 4096, 8192, 20000)
COMP = 0x40000
OFTEN = {
    "kmalloc": 34,
    "kfree": 24,
    "kmem_cache_alloc": 14,
    "kmem_cache_free": 12,
    "kmem_cache_create": 1.5,
    "kmem_cache_destroy": 1.5,
    "alloc_pages": 4,
    "free_pages": 3.5,
    "vmalloc": 2.5,
    "vfree": 2,
    "vmap": 1.5,
    "vunmap": 1.5,
}
"""How often each operation is drawn."""


@dataclass
class Machine:
    """A machine after the operations, what they left alive, and drgn on its core."""

    k: Kernel
    prog: Any = None
    kmalloc: list[int] = field(default_factory=list)
    objects: list[tuple[int, int]] = field(default_factory=list)
    pages: list[tuple[int, int]] = field(default_factory=list)
    vmalloc: list[int] = field(default_factory=list)
    vmap: list[int] = field(default_factory=list)
    mapped: list[int] = field(default_factory=list)
    caches: list[int] = field(default_factory=list)
    short_lived: list[tuple[int, list[int]]] = field(default_factory=list)
    modules: list[int] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def operate(self, random: Random) -> None:
        """One random call of the mm."""
        mm = self.k.mm
        cpu = random.randrange(2)
        mm.moment = lambda: (0, 0, 0, cpu, 0)
        what = random.choices(tuple(OFTEN), tuple(OFTEN.values()))[0]
        self.done[what] += self.step(what, random)

    def step(self, what: str, random: Random) -> bool:
        """Do *what*; False if there is nothing to do it to."""
        mm = self.k.mm
        if what == "kmalloc":
            self.kmalloc.append(mm.kmalloc(random.choice(SIZES)))
        elif what == "kfree" and self.kmalloc:
            mm.kfree(taken(self.kmalloc, random))
        elif what == "kmem_cache_alloc":
            cache = random.choice(self.caches)
            self.objects.append((cache, mm.kmem_cache_alloc(cache)))
        elif what == "kmem_cache_free" and self.objects:
            mm.kmem_cache_free(*taken(self.objects, random))
        elif what == "kmem_cache_create" and len(self.short_lived) < 4:
            cache = mm.kmem_cache_create(f"short_{sum(self.done.values())}", random.randrange(8, 2000), 8, 0)
            self.short_lived.append((cache, [mm.kmem_cache_alloc(cache) for _ in range(random.randrange(20))]))
        elif what == "kmem_cache_destroy" and self.short_lived:
            cache, objects = taken(self.short_lived, random)
            for p in objects:
                mm.kmem_cache_free(cache, p)
            mm.kmem_cache_destroy(cache)
        elif what == "alloc_pages":
            order = random.randrange(4)
            self.pages.append((mm.alloc_pages(GFP_KERNEL | COMP, order), order))
        elif what == "free_pages" and self.pages:
            mm.free_pages(*taken(self.pages, random))
        elif what == "vmalloc" and len(self.vmalloc) < 60:
            self.vmalloc.append(mm.vmalloc(random.randrange(1, 100_000)))
        elif what == "vfree" and self.vmalloc:
            mm.vfree(taken(self.vmalloc, random))
        elif what == "vmap" and len(self.vmap) < 20:
            self.vmap.append(mm.vmap(random.sample(self.mapped, random.randrange(1, 17))))
        elif what == "vunmap" and self.vmap:
            mm.vunmap(taken(self.vmap, random))
        else:
            return False
        return True


def taken(live: list[Any], random: Random) -> Any:
    """One of *live*, and no longer one of them."""
    return live.pop(random.randrange(len(live)))


@pytest.fixture(
    scope="module",
    params=[(release, config) for release in releases() for config in CONFIGS],
    ids=lambda chosen: "-".join(chosen),
)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine after 10,000 random operations on two CPUs, and drgn on its core."""
    release, config = request.param
    with kmem.boot(release=release, config=config, ram="128M", seed=1) as k:
        m = Machine(k)
        random = Random(f"drgn {config}")
        m.caches = [k.mm.kmem_cache_create(f"drgn_{size}", size, 0, 0) for size in (40, 333, 1500)]
        m.modules = [k.mm.core.k_module_alloc(random.randrange(1, 60_000)) for _ in range(5)]
        m.mapped = [k.mm.alloc_pages(GFP_KERNEL, 0) for _ in range(64)]
        while m.done.total() < OPERATIONS:
            m.operate(random)
        assert all(m.done[what] > 100 for what in OFTEN), m.done
        for live in (m.kmalloc, m.vmalloc, m.vmap, m.modules, [p for p, _ in m.pages], [p for _, p in m.objects]):
            assert live
            assert all(live)
        core = tmp_path_factory.mktemp("drgn") / "core"
        before = k.mm.ram.hash()
        dump_core(core, k.mm, k.kallsyms)
        assert k.mm.ram.hash() == before
        m.prog = open_core(core)
        yield m


def test_the_caches_have_the_same_names_and_sizes_in_the_same_order(machine: Machine) -> None:
    view = machine.k.mm.view
    ours = [(view.cache_name(s), s.object_size, s.size, s.refcount) for s in view.caches()]
    theirs = [
        (s.name.string_().decode(), int(s.object_size), int(s.size), int(s.refcount))
        for s in linux.for_each_slab_cache(machine.prog)
    ]
    assert len(ours) > 50
    assert theirs == ours


def test_each_cache_has_the_same_allocated_objects(machine: Machine) -> None:
    slub = Slub(Memory(machine.k.mm.view))
    total = empty = 0
    for theirs in linux.for_each_slab_cache(machine.prog):
        cache = slub.caches[int(theirs)]
        expected = set()
        if not any(slub.of(cache)):
            empty += 1
            if empty > 3:  # drgn looks at every page for each cache
                continue
        for sl in slub.of(cache):
            start = PAGE_OFFSET + sl.pfn * 4096 + cache.pad
            expected |= {start + i * cache.size for i in range(sl.objects)} - set(slub.free_objects(cache, sl))
        got = [int(p) for p in linux.slab_cache_for_each_allocated_object(theirs, "char")]
        assert len(got) == len(set(got))
        assert set(got) == expected, cache.name
        total += len(got)
    assert total > 1000


def test_what_was_handed_out_is_allocated_and_nothing_else_of_our_caches(machine: Machine) -> None:
    for address in machine.caches:
        cache = machine.prog.type("struct kmem_cache")
        theirs = drgn_pointer(machine, cache, address)
        got = {int(p) for p in linux.slab_cache_for_each_allocated_object(theirs, "char")}
        # a merged cache holds the objects of others too
        live = {p for cache, p in machine.objects if cache == address}
        assert live <= got
        if int(theirs.refcount) == 1:
            assert got == live
    slab = [p for p in machine.kmalloc if machine.k.mm.slab_of(p)]
    assert len(slab) > 500
    for p in slab[::7]:
        info = linux.slab_object_info(machine.prog, p + 3)
        assert (info.address, info.allocated) == (p, True)
        assert int(info.slab_cache) == machine.k.mm.slab_of(p)


def drgn_pointer(machine: Machine, kind: Any, address: int) -> Any:
    from drgn import Object

    return Object(machine.prog, machine.prog.pointer_type(kind), address)


def test_the_usage_of_each_cache_adds_up(machine: Machine) -> None:
    slub = Slub(Memory(machine.k.mm.view))
    for theirs in linux.for_each_slab_cache(machine.prog):
        cache = slub.caches[int(theirs)]
        slabs = list(slub.of(cache))
        usage = linux.slab_cache_usage(theirs)
        assert (usage.num_slabs, usage.num_objs) == (len(slabs), sum(sl.objects for sl in slabs)), cache.name
        # as SLUB does, drgn guesses for slabs on a CPU's partial list, and leaves out what was freed into a CPU's slab
        if not any(cache.cpu_partial):
            on_lists = {pfn for node in cache.partial for pfn in node}
            free = sum(map(len, cache.current.values())) + sum(len(sl.free) for sl in slabs if sl.pfn in on_lists)
            assert usage.free_objs == free, cache.name


def test_the_cache_that_a_random_address_belongs_to(machine: Machine) -> None:
    random = Random(2)
    mm = machine.k.mm
    for _ in range(2000):
        p = PAGE_OFFSET + random.randrange(mm.ram.size)
        assert int(linux.find_containing_slab_cache(machine.prog, p)) == mm.slab_of(p), hex(p)
    for p in machine.kmalloc[::3]:
        assert int(linux.find_containing_slab_cache(machine.prog, p)) == mm.slab_of(p)


def random_addresses(machine: Machine, random: Random) -> Iterator[int]:
    mm = machine.k.mm
    for _ in range(500):
        yield PAGE_OFFSET + random.randrange(mm.ram.size)
        yield VMEMMAP_START + random.randrange(mm.boot.mem_map_size)
        yield 0xFFFFFFFF81000000 + random.randrange(40 << 20)
    for va in mm.view.vmap_areas():
        for _ in range(10):
            yield (va.va_start + random.randrange(va.va_end - va.va_start)) & (1 << 64) - 1


def test_random_addresses_translate_to_the_same_physical_ones(machine: Machine) -> None:
    from drgn import FaultError

    from kmem.machine.fault import AccessFault

    init_mm = machine.prog["init_mm"].address_of_()
    mapped = unmapped = modules = 0
    for address in random_addresses(machine, Random(3)):
        try:
            expected = machine.k.mem.translate(address)
        except AccessFault:
            unmapped += 1
            with pytest.raises(FaultError):
                linux.follow_phys(init_mm, address)
            continue
        mapped += 1
        modules += address >= MODULES_VADDR
        assert int(linux.follow_phys(init_mm, address)) == expected, hex(address)
        size = min(16, 4096 - address % 4096)
        assert machine.prog.read(address, size) == machine.k.read(address, size), hex(address)
    assert mapped > 1500
    assert unmapped > 10
    assert modules > 10


def test_pages_of_vmalloc_memory(machine: Machine) -> None:
    mm = machine.k.mm
    assert len(machine.vmalloc) > 20
    for p in machine.vmalloc:
        assert int(linux.vmalloc_to_page(machine.prog, p)) == mm.vmalloc_to_page(p)
        assert int(linux.find_vmap_area(machine.prog, p).va_start) == p


def test_vmap_areas_by_address(machine: Machine) -> None:
    mask = (1 << 64) - 1
    ours = [(va.va_start & mask, va.va_end & mask, va.vm._addr & mask) for va in machine.k.mm.view.vmap_areas()]
    theirs = [(int(va.va_start), int(va.va_end), int(va.vm)) for va in linux.for_each_vmap_area(machine.prog)]
    assert theirs == ours
    assert {*machine.vmalloc, *machine.modules} <= {start for start, _, _ in theirs}
    linux.validate_rbtree(
        machine.prog.type("struct vmap_area"),
        machine.prog["vmap_area_root"].address_of_(),
        "rb_node",
        lambda a, b: int(a.va_start) - int(b.va_start),
        False,
    )


def test_page_numbers_flags_and_addresses_of_every_page(machine: Machine) -> None:
    view = machine.k.mm.view
    count = machine.k.mm.max_pfn()
    for pfn, page in enumerate(linux.for_each_page(machine.prog)):
        if pfn == count:
            break
        if pfn % 61 == 0 or pfn < 300:
            ours = view.page(pfn)
            assert int(page) == ours._addr & (1 << 64) - 1
            assert int(page.flags) == ours.flags & (1 << 64) - 1
            assert int(page._refcount.counter) == ours._refcount
            assert int(linux.page_to_pfn(page)) == pfn
            assert int(linux.page_to_virt(page)) == PAGE_OFFSET + pfn * 4096
    for page, order in machine.pages:
        theirs = linux.pfn_to_page(machine.prog, machine.k.mm.page_to_pfn(page))
        assert int(linux.compound_order(theirs)) == order
        assert linux.PageHead(theirs) == (order > 0)
        assert int(linux.compound_head(theirs + (1 << order) - 1)) == page


def test_free_pages_and_processors(machine: Machine) -> None:
    view = machine.k.mm.view
    zones = [z for z in machine.prog["node_data"][0].node_zones if int(z.present_pages.value_())]
    assert [z.name.string_().decode() for z in zones] == [view.string(z.name) for z in view.zones()]
    assert [linux.zone_page_state(z.address_of_(), 0) for z in zones] == [z.vm_stat[0] for z in view.zones()]
    assert list(linux.for_each_online_cpu(machine.prog)) == [0, 1]
    assert list(linux.for_each_online_node(machine.prog)) == [0]
    assert linux.totalram_pages(machine.prog) == view.kdata.totalram_pages
    for cpu in range(2):
        offset = machine.prog["__per_cpu_offset"][cpu]
        assert int(offset) == view.per_cpu_offset(cpu) & (1 << 64) - 1


def test_the_free_pages_of_the_whole_machine(machine: Machine) -> None:
    assert linux.nr_free_pages(machine.prog) == sum(z.vm_stat[0] for z in machine.k.mm.view.zones())


def test_the_pages_of_slabs(machine: Machine) -> None:
    slabs = Slub(Memory(machine.k.mm.view)).slabs.values()
    held = [machine.k.current, *machine.kmalloc]
    large = [machine.k.mm.ksize(p) for p in held if not machine.k.mm.slab_of(p)]
    assert len(large) > 20
    total = sum(1 << sl.order for sl in slabs) + sum(large) // 4096
    assert linux.slab_total_usage(machine.prog).total_pages == total


def test_pages_in_holes_are_reserved(machine: Machine) -> None:
    assert linux.PageReserved(linux.pfn_to_page(machine.prog, 0))


def test_each_processor_has_its_own_slab(machine: Machine) -> None:
    view = machine.k.mm.view
    for s, theirs in zip(view.caches(), linux.for_each_slab_cache(machine.prog), strict=True):
        for cpu in range(2):
            ours = view.ptr(kmem_cache_cpu, s.cpu_slab._addr + view.per_cpu_offset(cpu))
            c = linux.per_cpu_ptr(theirs.cpu_slab, cpu)
            mask = (1 << 64) - 1
            assert int(c) == ours._addr & mask
            assert (int(c.tid), int(c.slab)) == (ours.tid & mask, ours.slab._addr & mask)


def test_symbols_have_names(tmp_path: Path) -> None:
    with kmem.boot(config="debian", ram="96M", seed=3) as k:
        placed = {name: k.address_of(name) for name in ("kfree", "__cpu_online_mask")}
        image = k.mm.core.k_module_alloc(4096)
        k.kallsyms.add("drv_init", image + 32, 16, "drv")
        dump_core(tmp_path / "core", k.mm, k.kallsyms)
    prog = open_core(tmp_path / "core")
    assert prog.symbol(placed["kfree"] + 2).name == "kfree"
    assert prog.symbol("drv_init").address == image + 32
    assert prog["__cpu_online_mask"].address_ == placed["__cpu_online_mask"]
    assert list(linux.for_each_online_cpu(prog)) == [0, 1]


def test_the_lists_are_lists(machine: Machine) -> None:
    for zone in machine.prog["node_data"][0].node_zones:
        if not int(zone.present_pages):
            continue
        blocks = 0
        for order, area in enumerate(zone.free_area):
            entries = sum(
                1
                for head in area.free_list
                for _ in linux.validate_list_for_each_entry("struct page", head.address_of_(), "buddy_list")
            )
            assert entries == int(area.nr_free)
            blocks += entries << order
        assert blocks == linux.zone_page_state(zone.address_of_(), 0)


def test_a_core_after_a_rollback_is_the_machine_after_the_rollback(tmp_path: Path) -> None:
    with kmem.boot(config="debian", ram="96M", seed=3) as k:
        kept = k.kmalloc(64)
        k.write(kept, b"before the snapshot")
        k.snapshot()
        k.write(kept, b"after  the snapshot")
        dump_core(tmp_path / "written", k.mm, k.kallsyms)
        k.rollback()
        dump_core(tmp_path / "rolled back", k.mm, k.kallsyms)
    assert open_core(tmp_path / "written").read(kept, 19) == b"after  the snapshot"
    assert open_core(tmp_path / "rolled back").read(kept, 19) == b"before the snapshot"
