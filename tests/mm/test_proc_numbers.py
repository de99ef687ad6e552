"""The numbers in /proc are those of the structures, counted another way, and they add up."""

from __future__ import annotations

import re
from collections import Counter
from struct import unpack_from

import pytest

from kmem.abi.address import PAGE_OFFSET, VMEMMAP_START
from kmem.abi.layout import enums
from kmem.lib.cstruct import u64
from kmem.mm import proc, proc_zones
from kmem.mm.mm_types import kmem_cache
from kmem.mm.mmzone import get_pageblock_migratetype, set_pageblock_migratetype
from tests.golden.proc.machine import SITE, Frames, Machine, frames, page_tables

ZONES = {"DMA": 0, "DMA32": 1}


@pytest.fixture(scope="module", params=["plain", "debian", "debug"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """Some hundred operations old, in each configuration."""
    made = Machine(request.param, no_hash_pointers=True)
    made.work(seed=3, rounds=250)
    return made


@pytest.fixture(scope="module")
def seen(machine: Machine) -> Frames:
    return frames(machine.mm)


def buddyinfo(machine: Machine) -> dict[str, list[int]]:
    found = {}
    for line in proc.text(machine.mm, "buddyinfo").splitlines():
        _, _, _, zone, *counts = line.split()
        found[zone] = [int(count) for count in counts]
    return found


def slabinfo(machine: Machine) -> dict[str, list[int]]:
    """active_objs, num_objs, objsize, objperslab, pagesperslab, active_slabs, num_slabs by cache, newest first."""
    found = {}
    for line in proc.text(machine.mm, "slabinfo").splitlines()[2:]:
        statistics, tunables, data = line.split(" : ")
        assert tunables.split() == ["tunables", "0", "0", "0"]
        name, *values = statistics.split()
        _, active_slabs, slabs, shared = data.split()
        assert shared == "0"
        found[name] = [int(value) for value in (*values, active_slabs, slabs)]
    return found


def meminfo(machine: Machine) -> dict[str, int]:
    lines = proc.text(machine.mm, "meminfo").splitlines()
    return {label: int(rest.split()[0]) for label, rest in (line.split(":") for line in lines)}


def vmstat(machine: Machine) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in proc.text(machine.mm, "vmstat").splitlines())}


def zoneinfo(machine: Machine) -> dict[str, dict[str, list[int]]]:
    """By zone: label to numbers, in order of appearance."""
    found: dict[str, dict[str, list[int]]] = {}
    for line in proc.text(machine.mm, "zoneinfo").splitlines():
        if header := re.fullmatch(r"Node 0, zone +(\w+)", line):
            zone = found.setdefault(header[1], {})
        elif entry := re.fullmatch(r" +([a-z][\w ]*?):? +(-?\d+)", line):
            zone.setdefault(entry[1], []).append(int(entry[2]))
        elif entry := re.fullmatch(r" +protection: \(([\d, ]+)\)", line):
            zone["protection"] = [int(value) for value in entry[1].split(", ")]
    return found


def on_cpus(machine: Machine) -> int:
    return sum(sum(zone.get("count", [])) for zone in zoneinfo(machine).values())


def test_buddyinfo_counts_the_free_blocks_of_the_frames(machine: Machine, seen: Frames) -> None:
    counts = buddyinfo(machine)
    assert counts == {name: [seen.free[index, order] for order in range(11)] for name, index in ZONES.items()}


def test_free_blocks_make_the_free_pages_of_a_zone(machine: Machine) -> None:
    zones = zoneinfo(machine)
    for name, counts in buddyinfo(machine).items():
        pages = sum(count << order for order, count in enumerate(counts))
        assert zones[name]["pages free"] == zones[name]["nr_free_pages"] == [pages]


def test_pagetypeinfo_splits_buddyinfo_by_type(machine: Machine) -> None:
    lines = proc.text(machine.mm, "pagetypeinfo").splitlines()
    sums: dict[str, list[int]] = {}
    for line in lines:
        if found := re.fullmatch(r"Node +0, zone +(\w+), type +(\w+) ((?: *>?\d+ )+)", line):
            row = [int(count) for count in found[3].split()]
            sums[found[1]] = [a + b for a, b in zip(sums.get(found[1], [0] * 11), row, strict=True)]
    assert sums == buddyinfo(machine)


def test_pagetypeinfo_counts_every_page_block_once(machine: Machine) -> None:
    lines = proc.text(machine.mm, "pagetypeinfo").splitlines()
    blocks = {line.split()[3]: [int(n) for n in line.split()[4:]] for line in lines[-2:]}
    zones = zoneinfo(machine)
    for name, counts in blocks.items():
        first, count = zones[name]["start_pfn"][0], -(-zones[name]["spanned"][0] // 512)
        k = machine.mm.view.kdata
        types = Counter(get_pageblock_migratetype(k, first + 512 * block) for block in range(count))
        assert counts == [types[mtype] for mtype in range(5)]
        assert sum(counts) == count
        assert counts[0] > 0  # kmalloc took blocks over
    assert sum(counts[2] for counts in blocks.values()) > 0  # and __GFP_RECLAIMABLE did


def test_pagetypeinfo_tells_neighbouring_page_blocks_apart() -> None:
    machine = Machine()
    k = machine.mm.view.kdata
    for block, mtype in ((20, 2), (21, 3), (23, 4), (24, 0)):
        set_pageblock_migratetype(k, 512 * block, mtype)
    before = [int(n) for n in proc.text(Machine().mm, "pagetypeinfo").splitlines()[-1].split()[4:]]
    after = [int(n) for n in proc.text(machine.mm, "pagetypeinfo").splitlines()[-1].split()[4:]]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, -4, 1, 1, 1]


def test_pagetypeinfo_counts_no_list_beyond_its_limit(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc_zones, "_LIST_LIMIT", 2)
    line = proc.text(machine.mm, "pagetypeinfo").splitlines()[5]
    assert re.fullmatch(r"Node    0, zone      DMA, type      Movable(?: {6}[01]| >     2)+ ", line)
    assert ">     2 " in line


def test_zoneinfo_zones_are_what_there_is(machine: Machine) -> None:
    zones = zoneinfo(machine)
    assert list(zones) == ["DMA", "DMA32", "Normal", "Movable", "Device"]
    assert sum(zone["managed"][0] for zone in zones.values()) * 4 == meminfo(machine)["MemTotal"]
    assert zones["DMA"]["protection"] == [0] + [zones["DMA32"]["managed"][0] // 256] * 4
    for zone in (zones["DMA"], zones["DMA32"]):
        assert zone["min"] < zone["low"] < zone["high"] < zone["managed"] <= zone["present"] <= zone["spanned"]


def test_zoneinfo_pagesets_count_the_pages_on_their_lists(machine: Machine) -> None:
    """Each list holds blocks of one order: 3 types times orders 0 to 3, then two for huge pages."""
    mm = machine.mm
    zones = zoneinfo(machine)
    for name, index in ZONES.items():
        pageset = mm.view.kdata.node_data[0].node_zones[index].per_cpu_pageset._addr
        for cpu in range(2):
            lists = u64(pageset + mm.view.per_cpu_offset(cpu)) + 24
            pages = 0
            for which in range(14):
                head = lists + 16 * which
                (link,) = unpack_from("<Q", mm.ram.mem, head - PAGE_OFFSET)
                while link != head:
                    pages += 1 << (which // 3 if which < 12 else 9)
                    (link,) = unpack_from("<Q", mm.ram.mem, link - VMEMMAP_START + mm.ram.mem_map_phys)
            assert zones[name]["count"][cpu] == pages


def test_slabinfo_counts_the_slabs_of_the_frames(machine: Machine, seen: Frames) -> None:
    info = slabinfo(machine)
    caches = {machine.mm.view.cache_name(s): s for s in machine.mm.view.caches()}
    assert list(info) == list(caches)
    for name, (active, objects, size, per_slab, pages, active_slabs, slabs) in info.items():
        s = caches[name]
        found = seen.slabs.pop(u64(s._addr), None)
        expected = (found.active, found.objects, found.slabs, found.pages) if found else (0, 0, 0, 0)
        assert (active, objects, slabs, slabs * pages) == expected, name
        assert active_slabs == slabs
        assert objects == slabs * per_slab
        assert per_slab == (pages * 4096) // size
    assert not seen.slabs  # no slab belongs to a cache that is not listed


def test_with_debugging_active_objects_are_the_live_ones() -> None:
    """No slab belongs to a CPU then, so nothing that is free counts as active."""
    machine = Machine("debug")
    cache = machine.mm.kmem_cache_create("things", 72)
    live = [machine.mm.kmem_cache_alloc(cache) for _ in range(100)]
    for address in live[:37]:
        machine.mm.kmem_cache_free(cache, address)
    active, objects, size, *_ = slabinfo(machine)["things"]
    assert active == 63
    assert objects >= 100
    assert size == machine.mm.view.ptr(kmem_cache, cache).size > 72 + 2 * 32


def test_a_cache_is_listed_first_until_it_is_destroyed() -> None:
    machine = Machine()
    cache = machine.mm.kmem_cache_create("things", 72)
    assert next(iter(slabinfo(machine))) == "things"
    machine.mm.kmem_cache_destroy(cache)
    assert "things" not in slabinfo(machine)


def test_every_page_is_accounted_for(machine: Machine) -> None:
    """Memory is free, on a CPU's list, in a slab, mapped by vmalloc, a page table, or held by the workload."""
    figures, live = meminfo(machine), machine.live
    slabs = sum(row[4] * row[6] for row in slabinfo(machine).values())
    held = sum(1 << order for order in live.pages.values()) + sum(live.large.values())
    used = on_cpus(machine) + slabs + figures["VmallocUsed"] // 4 + sum(page_tables(machine.mm)) + held
    assert figures["MemTotal"] == figures["MemFree"] + used * 4


def test_meminfo_slab_is_the_sum_of_slabinfo() -> None:
    machine = Machine()
    machine.work(seed=5, rounds=150, large=False)
    figures, info = meminfo(machine), slabinfo(machine)
    reclaimable = sum(row[4] * row[6] for name, row in info.items() if name.startswith("kmalloc-rcl"))
    assert reclaimable > 0
    assert figures["SReclaimable"] == figures["KReclaimable"] == reclaimable * 4
    assert figures["Slab"] == sum(row[4] * row[6] for row in info.values()) * 4
    assert figures["Slab"] == figures["SReclaimable"] + figures["SUnreclaim"]


def test_meminfo_agrees_with_the_other_files(machine: Machine) -> None:
    figures, counters, zones = meminfo(machine), vmstat(machine), zoneinfo(machine)
    assert figures["MemTotal"] == machine.mm.view.kdata.totalram_pages * 4
    assert figures["MemFree"] == counters["nr_free_pages"] * 4
    assert figures["PageTables"] == counters["nr_page_table_pages"] * 4
    assert counters["nr_page_table_pages"] == page_tables(machine.mm)[1]  # the kernel counts no others of its own
    assert figures["SUnreclaim"] == counters["nr_slab_unreclaimable"] * 4
    assert figures["SReclaimable"] == counters["nr_slab_reclaimable"] * 4
    assert zones["DMA"]["nr_slab_unreclaimable"] == [counters["nr_slab_unreclaimable"]]
    slabs = sum(row[4] * row[6] for row in slabinfo(machine).values())
    assert figures["Slab"] == (slabs + sum(machine.live.large.values())) * 4  # a large kmalloc counts as slab memory
    assert figures["CommitLimit"] == figures["MemTotal"] // 4 // 2 * 4
    assert figures["DirectMap4k"] + figures["DirectMap2M"] + figures["DirectMap1G"] == 128 << 10
    assert figures["MemFree"] > figures["MemAvailable"] > 0


def test_available_memory_leaves_the_reserves_alone(machine: Machine) -> None:
    figures, zones = meminfo(machine), zoneinfo(machine)
    reserve = sum(min(max(zone["protection"]) + zone["high"][0], zone["managed"][0]) for zone in zones.values())
    low = sum(zone["low"][0] for zone in zones.values())
    reclaimable = figures["KReclaimable"] // 4
    pages = figures["MemFree"] // 4 - reserve + reclaimable - min(reclaimable // 2, low)
    assert figures["MemAvailable"] == pages * 4
    dirtyable = figures["MemFree"] // 4 - reserve + 1
    counters = vmstat(machine)
    assert counters["nr_dirty_threshold"] == dirtyable * 819 // 4096
    assert counters["nr_dirty_background_threshold"] == dirtyable * 409 // 4096


def test_counters_are_printed_in_their_own_units() -> None:
    machine = Machine()
    stats = machine.mm.view.kdata.vm_node_stat
    items = enums("6.1")["node_stat_item"]
    stats[items["NR_SHMEM_THPS"]] = 1024
    stats[items["NR_SLAB_RECLAIMABLE_B"]] = 3
    stats[items["NR_KERNEL_STACK_KB"]] = 880
    stats[items["NR_WRITEBACK"]] = -5
    figures, counters = meminfo(machine), vmstat(machine)
    assert (figures["ShmemHugePages"], counters["nr_shmem_hugepages"]) == (4096, 2)
    assert (figures["SReclaimable"], counters["nr_slab_reclaimable"]) == (12, 3)
    assert (figures["KernelStack"], counters["nr_kernel_stack"]) == (880, 880)
    assert (figures["Writeback"], counters["nr_writeback"]) == (0, 0)


@pytest.mark.parametrize(("failures", "unreclaimable"), [(15, 0), (16, 1)])
def test_a_node_that_kswapd_gave_up_on_says_so(failures: int, unreclaimable: int) -> None:
    machine = Machine()
    machine.mm.view.kdata.node_data[0].kswapd_failures = failures
    assert zoneinfo(machine)["DMA"]["node_unreclaimable"] == [unreclaimable]


def test_vmstat_pages_freed_less_pages_taken_are_there(machine: Machine) -> None:
    """Boot frees every page once."""
    counters = vmstat(machine)
    taken = sum(counters[f"pgalloc_{zone}"] for zone in ("dma", "dma32", "normal", "movable", "device"))
    assert counters["pgfree"] - taken == counters["nr_free_pages"] + on_cpus(machine)


def test_vmallocinfo_lists_what_is_mapped_by_address(machine: Machine) -> None:
    text = proc.text(machine.mm, "vmallocinfo")
    lines = [line for line in text.splitlines() if not line.endswith("unpurged vm_area")]
    areas, mappings, inner = {}, {}, 0
    for line in lines:
        found = re.fullmatch(r"0x(\w{16})-0x(\w{16}) +(\d+) 0x(\w+) (.*)", line)
        assert found
        start, end = int(found[1], 16), int(found[2], 16)
        assert end - start == int(found[3])
        assert int(found[4], 16) == SITE
        words = found[5].split()
        if "ioremap" in words:
            mappings[start] = int(words[0].removeprefix("phys="), 16)
            continue
        pages = int(words[0].removeprefix("pages="))
        assert end - start == (pages + 1) * 4096
        assert words[1:] == (["vmalloc", "vpages", f"N0={pages}"] if pages > 512 else ["vmalloc", f"N0={pages}"])
        inner += pages > 512
        areas[start] = pages
    assert lines == sorted(lines)
    assert mappings == machine.live.mappings
    assert areas.items() >= machine.live.areas.items()
    assert len(areas) == len(machine.live.areas) + inner  # the page arrays of large areas are areas themselves
    assert meminfo(machine)["VmallocUsed"] == sum(areas.values()) * 4


def test_areas_that_wait_for_the_purge_are_listed_until_it() -> None:
    machine = Machine(no_hash_pointers=True)
    kept, gone = machine.mm.vmalloc(4096), machine.mm.vmalloc(8192)
    machine.mm.vfree(gone)
    waits = f"0x{gone:016x}-0x{gone + 0x3000:016x}   12288 unpurged vm_area\n"
    assert proc.text(machine.mm, "vmallocinfo").endswith(waits)
    machine.mm.core.k_vm_unmap_aliases()
    assert "unpurged" not in proc.text(machine.mm, "vmallocinfo")
    machine.mm.vfree(kept)
    assert proc.text(machine.mm, "vmallocinfo") == ""  # the kernel prints the waiting ones behind the last busy one


@pytest.mark.parametrize("name", proc.NAMES)
def test_reading_changes_nothing(machine: Machine, name: str) -> None:
    before = machine.mm.ram.hash()
    first = proc.text(machine.mm, name)
    assert proc.text(machine.mm, name) == first
    assert machine.mm.ram.hash() == before
