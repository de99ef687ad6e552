"""Nodes: whose memory is whose, where allocations go and where they go when that is full, and what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from kmem.abi.gfp import __GFP_DMA, __GFP_NORETRY, __GFP_NOWARN, __GFP_THISNODE, GFP_KERNEL
from kmem.errors import UsageError
from kmem.mm import node_sysfs, proc
from kmem.mm.config import configuration
from kmem.mm.mm_types import kmem_cache
from kmem.mm.slub_sysfs import sysfs
from kmem.mm.validate import check
from kmem.mm.vmstat import per_cpu_ptr
from tests.mm.booted import MIB, BootedMm

QUIET = __GFP_NOWARN | __GFP_NORETRY
Boot = Callable[..., BootedMm]


def nid(mm: BootedMm, p: int) -> int:
    """The node of the memory at *p*."""
    page = mm.vmalloc_to_page(p) if mm.is_vmalloc_addr(p) else mm.virt_to_page(p)
    return page_nid(mm, page)


def page_nid(mm: BootedMm, page: int) -> int:
    return int(mm.view.page(mm.view.pfn(page)).flags >> 54 & 0x3FF)


def zonelist(mm: BootedMm, node: int, which: int) -> list[tuple[int, int]]:
    refs = mm.view.kdata.node_data[node].node_zonelists[which]._zonerefs
    found = []
    while refs[len(found)].zone:
        found.append((int(refs[len(found)].zone.node), int(refs[len(found)].zone_idx)))
    return found


def events(mm: BootedMm, node: int) -> dict[str, int]:
    lines = node_sysfs.text(mm, node, "numastat").splitlines()
    return {name: int(value) for name, value in map(str.split, lines)}


REAL = {
    # what 6.1.192 printed with 1 GiB shared out to so many nodes in QEMU, one CPU on each
    2: ([[0, 1], [1, 0]], [(1, 130974), (131072, 131040)]),
    4: (
        [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]],
        [(1, 65438), (65536, 65536), (131072, 65536), (196608, 65504)],
    ),
}


@pytest.mark.parametrize("nodes", [2, 4])
def test_zonelists_and_zones_are_those_of_a_real_kernel(boot: Boot, nodes: int) -> None:
    mm = boot(ram=1024 * MIB, nodes=nodes, cpus=nodes)
    orders, present = REAL[nodes]
    for node, order in enumerate(orders):
        expected = [(other, zone) for other in order for zone in ((1, 0) if other == 0 else (1,))]
        assert zonelist(mm, node, 0) == expected
        assert zonelist(mm, node, 1) == [pair for pair in expected if pair[0] == node]
        pgdat = mm.view.kdata.node_data[node]
        assert (pgdat.node_start_pfn, pgdat.node_present_pages) == present[node]
        assert (pgdat.node_id, pgdat.nr_zones) == (node, 2)
        assert sum(int(pgdat.node_zones[i].present_early_pages) for i in range(5)) == present[node][1]
    assert check(mm) == []


def test_high_memory_belongs_to_the_last_nodes_and_spans_go_to_the_border_of_the_zone(boot: Boot) -> None:
    mm = boot(ram=6 << 30, nodes=2)
    first, second = (mm.view.kdata.node_data[node].node_zones for node in range(2))
    assert [bool(first[i].present_pages) for i in range(5)] == [True, True, False, False, False]
    assert [bool(second[i].present_pages) for i in range(5)] == [False, False, True, False, False]
    single = boot(ram=6 << 30).view.kdata.node_data[0].node_zones
    assert single[1].spanned_pages == (1 << 20) - 4096  # the hole below 4 GiB included, as a real kernel has it
    assert single[1].present_pages == (3 << 18) - 32 - 4096


def test_memory_comes_from_the_node_of_the_cpu(boot: Boot) -> None:
    mm = boot("debian", ram=256 * MIB, nodes=2, cpus=4)
    for cpu in range(4):
        mm.on_cpu(cpu)
        for order in (0, 3, 5, 10):
            page = mm.alloc_pages(GFP_KERNEL, order)
            assert page_nid(mm, page) == cpu % 2
            mm.free_pages(page, order)
        assert nid(mm, mm.vmalloc(5 * 4096)) == cpu % 2
        assert nid(mm, mm.kmalloc(20000)) == cpu % 2
        assert {nid(mm, mm.kmalloc(64)) for _ in range(200)} == {cpu % 2}
    assert check(mm) == []


@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
def test_objects_are_on_the_node_that_was_asked_for(boot: Boot, config: str) -> None:
    mm = boot(config, ram=256 * MIB, nodes=4)
    cache = mm.kmem_cache_create("things", 400, 0, 0x80000)
    objects = [(node, mm.kmem_cache_alloc(cache, GFP_KERNEL, node)) for node in [0, 1, 2, 3] * 40]
    assert all(nid(mm, p) == node for node, p in objects)
    assert check(mm) == []
    s = mm.view.ptr(kmem_cache, cache)
    each = [int(s.node[node].nr_slabs) for node in range(4)]
    assert sysfs(mm, "things", "slabs").split() == [str(sum(each)), *(f"N{node}={n}" for node, n in enumerate(each))]
    assert sysfs(mm, "things", "cpu_slabs") == ("0\n" if config == "debug" else f"{each_cpu(mm, s)}\n")
    for _, p in objects:
        mm.kmem_cache_free(cache, p)
    mm.kmem_cache_destroy(cache)
    assert check(mm) == []


def each_cpu(mm: BootedMm, s: object) -> str:
    counts: Counter[int] = Counter()
    for cpu in range(2):
        c = per_cpu_ptr(mm.view, s.cpu_slab, cpu)  # type: ignore[attr-defined]
        if c.slab:
            counts[page_nid(mm, mm.view.addr(c.slab))] += 1
            if c.partial:
                counts[page_nid(mm, mm.view.addr(c.partial))] += int(c.partial.slabs)
    return " ".join([str(sum(counts.values())), *(f"N{node}={counts[node]}" for node in sorted(counts))])


def test_a_full_node_falls_back_to_the_next_and_counts_it(boot: Boot) -> None:
    mm = boot(ram=256 * MIB, nodes=2)
    before = [events(mm, node) for node in range(2)]
    got = []
    while not got or page_nid(mm, got[-1]) == 0:
        got.append(mm.alloc_pages(GFP_KERNEL, 4))
        assert got[-1]
    assert page_nid(mm, got[-1]) == 1
    zero, one = (
        {key: new[key] - old[key] for key in new}
        for old, new in zip(before, [events(mm, node) for node in range(2)], strict=True)
    )
    local = len(got) - 1
    assert zero == {
        "numa_hit": local,
        "numa_miss": 0,
        "numa_foreign": 1,
        "interleave_hit": 0,
        "local_node": local,
        "other_node": 0,
    }
    assert one == {
        "numa_hit": 0,
        "numa_miss": 1,
        "numa_foreign": 0,
        "interleave_hit": 0,
        "local_node": 0,
        "other_node": 1,
    }
    strict = GFP_KERNEL | QUIET | __GFP_THISNODE
    to_the_min_watermark = list(iter(lambda: mm.alloc_pages(strict, 4), 0))
    assert {page_nid(mm, page) for page in to_the_min_watermark} == {0}
    assert mm.alloc_pages_nodemask(GFP_KERNEL | QUIET, 4, 1, 1) == 0
    assert check(mm) == []


def test_asking_another_node_is_a_hit_there_but_not_local(boot: Boot) -> None:
    mm = boot(ram=256 * MIB, nodes=2)
    before = events(mm, 1)
    mm.alloc_pages(GFP_KERNEL, 5, 1)
    after = events(mm, 1)
    assert {key: after[key] - before[key] for key in after} == {
        "numa_hit": 1,
        "numa_miss": 0,
        "numa_foreign": 0,
        "interleave_hit": 0,
        "local_node": 0,
        "other_node": 1,
    }


def test_a_mask_beats_the_preferred_node(boot: Boot) -> None:
    mm = boot(ram=256 * MIB, nodes=4)
    for preferred in range(4):
        for allowed in range(4):
            assert page_nid(mm, mm.alloc_pages_nodemask(GFP_KERNEL, 0, preferred, 1 << allowed)) == allowed
    assert mm.alloc_pages_nodemask(GFP_KERNEL | QUIET, 0, 0, 0) == 0


def test_dma_memory_is_on_the_first_node_only(boot: Boot) -> None:
    mm = boot(ram=256 * MIB, nodes=2)
    assert page_nid(mm, mm.alloc_pages(GFP_KERNEL | __GFP_DMA, 0, 1)) == 0
    assert mm.alloc_pages(GFP_KERNEL | __GFP_DMA | __GFP_THISNODE | QUIET, 0, 1) == 0


def test_partial_slabs_of_other_nodes_are_used_when_there_are_many(boot: Boot) -> None:
    mm = boot(ram=256 * MIB, nodes=2)
    cache = mm.kmem_cache_create("things", 1024, 0, 0x80000)
    objects = [mm.kmem_cache_alloc(cache, GFP_KERNEL, 1) for _ in range(16 * 40)]
    for p in objects[::2]:
        mm.kmem_cache_free(cache, p)
    mm.on_cpu(1)  # its partial list is empty
    mm.on_cpu(0)
    mm.kmem_cache_shrink(cache)
    s = mm.view.ptr(kmem_cache, cache)
    assert s.node[1].nr_partial > s.min_partial
    assert s.node[0].nr_partial == 0
    assert nid(mm, mm.kmem_cache_alloc(cache, GFP_KERNEL)) == 1
    mm.kmem_cache_shrink(cache)
    s.remote_node_defrag_ratio = 0
    assert nid(mm, mm.kmem_cache_alloc(cache, GFP_KERNEL)) == 0
    assert check(mm) == []


def test_vmallocinfo_tells_the_nodes(boot: Boot) -> None:
    mm = boot(ram=256 * MIB, nodes=2)
    mm.vmalloc(3 * 4096, GFP_KERNEL, 1)
    line = proc.text(mm, "vmallocinfo").splitlines()[-1]
    assert line.endswith("pages=3 vmalloc N1=3")


def test_files_of_a_node(boot: Boot) -> None:
    mm = boot(ram=256 * MIB, nodes=2, cpus=3)
    files = {name: text() for name, text in node_sysfs.files(mm).items()}
    assert files["node0/cpulist"] == "0,2\n"
    assert files["node0/cpumap"] == "5\n"
    assert files["node1/distance"] == "20 10\n"
    assert files["online"] == files["has_memory"] == files["has_cpu"] == "0-1\n"
    for label, kilobytes in ((line.split()[2], int(line.split()[3])) for line in files["node0/meminfo"].splitlines()):
        if label in ("MemTotal:", "Slab:"):
            other = files["node1/meminfo"].split(label)[1].split()[0]
            whole = proc.text(mm, "meminfo").split(label)[1].split()[0]
            assert kilobytes + int(other) == int(whole), label
    with pytest.raises(UsageError, match="no node2/meminfo"):
        node_sysfs.text(mm, 2, "meminfo")


def test_each_node_has_its_lines(boot: Boot) -> None:
    mm = boot(ram=256 * MIB, nodes=2)
    assert [line[:22] for line in proc.text(mm, "buddyinfo").splitlines()] == [
        "Node 0, zone      DMA ",
        "Node 0, zone    DMA32 ",
        "Node 1, zone    DMA32 ",
    ]
    zoneinfo = proc.text(mm, "zoneinfo")
    assert zoneinfo.count("per-node stats") == 2
    assert zoneinfo.index("per-node stats", 100) > zoneinfo.index("Node 1, zone    DMA32")
    assert proc.text(mm, "pagetypeinfo").count("Page block order: 9") == 2


def test_lists_of_cpus_are_as_long_as_the_cpus_of_the_node_share_it(boot: Boot) -> None:
    mm = boot(ram=1024 * MIB, nodes=2, cpus=4)
    for z in mm.view.zones():
        for cpu in range(4):
            assert per_cpu_ptr(mm.view, z.per_cpu_pageset, cpu).high == max(
                int(z._watermark[1]) // 2, 4 * int(z.pageset_batch)
            )


@pytest.mark.parametrize(("ram", "nodes"), [(96 * MIB, 2), (512 * MIB, 65), (512 * MIB, 0), (512 * MIB, 9)])
def test_nodes_that_cannot_be(ram: int, nodes: int) -> None:
    with pytest.raises(UsageError, match="nodes"):
        configuration("debian", ram=ram, nodes=nodes)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
def test_struct_pages_that_boot_put_off_are_made_when_they_are_needed(boot: Boot, nodes: int) -> None:
    mm = boot(ram=5 << 30, nodes=nodes)
    node = nodes - 1
    assert mm.view.kdata.deferred_end[node] > 0
    assert check(mm) == []
    mm.drain()
    total, free = int(mm.view.kdata.totalram_pages), mm.zone_free()
    blocks = []
    while page := mm.alloc_pages(GFP_KERNEL | QUIET, 10):
        blocks.append(page)
    assert mm.view.kdata.deferred_end[node] == 0
    assert len(set(blocks)) == len(blocks) > (free >> 10) - 200
    tail = mm.view.page(mm.view.pfn(blocks[-1]) + 77)
    assert (tail._mapcount, tail._refcount) == (-1, 0)
    assert tail.flags >> 54 & 0x3FF == page_nid(mm, blocks[-1])
    for page in reversed(blocks):
        mm.free_pages(page, 10)
    mm.drain()
    assert mm.zone_free() == free
    assert mm.view.kdata.totalram_pages == total
    assert check(mm) == []
