"""Flag words print as the kernel prints them, and the constants are those of the release's own tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmem.abi import gfp, page_flags, slab_flags
from kmem.abi.data import releases
from kmem.abi.flags import flag_names, vmstat_names
from kmem.abi.layout import enums
from kmem.abi.release import MODEL, release
from kmem.errors import UsageError

# Numbers and words as logs of 6.1 have them.
GFP_GOLDEN = {
    0xCC0: "GFP_KERNEL",
    0xDC0: "GFP_KERNEL|__GFP_ZERO",
    0xA20: "GFP_ATOMIC",
    0x800: "GFP_NOWAIT",
    0xC00: "GFP_NOIO",
    0xC40: "GFP_NOFS",
    0x400CC0: "GFP_KERNEL_ACCOUNT",
    0x100CC0: "GFP_USER",
    0x100CC2: "GFP_HIGHUSER",
    0x100CCA: "GFP_HIGHUSER_MOVABLE",
    0x140CCA: "GFP_HIGHUSER_MOVABLE|__GFP_COMP",
    0x1C24CA: "GFP_TRANSHUGE",
    0x1C20CA: "GFP_TRANSHUGE_LIGHT",
    0xCC1: "GFP_KERNEL|GFP_DMA",
    0xCC4: "GFP_KERNEL|GFP_DMA32",
    0xCC2: "GFP_KERNEL|__GFP_HIGHMEM",
    0x2: "__GFP_HIGHMEM",
    0x4: "GFP_DMA32",
    0x12A20: "GFP_ATOMIC|__GFP_NOWARN|__GFP_NORETRY",
    0x52DC0: "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP|__GFP_ZERO",
    0x10000000: "0x10000000",
    0x10000CC0: "GFP_KERNEL|0x10000000",
    0: "none",
}


@pytest.mark.parametrize(("mask", "text"), GFP_GOLDEN.items())
def test_gfp_masks_print_as_the_kernel_prints_them(mask: int, text: str) -> None:
    assert gfp.decode(mask) == text


def test_an_empty_mask_is_none_in_tracepoints_and_nothing_in_printk() -> None:
    assert gfp.decode(0) == "none"
    assert gfp.pgg(0) == ""


def test_gfp_names_are_read_back() -> None:
    for mask, text in GFP_GOLDEN.items():
        if mask:
            assert gfp.parse(text) == mask
    with pytest.raises(UsageError, match="GFP_WAIT"):
        gfp.parse("GFP_KERNEL|__GFP_WAIT")


def test_every_gfp_constant_has_the_value_that_the_kernel_prints_it_for() -> None:
    table = flag_names("gfp", "6.1")
    for name, mask in table.items():
        assert getattr(gfp, name) == mask, name
    bits = {name: value for name, value in vars(gfp).items() if re.fullmatch(r"__GFP_\w+(?<!SHIFT)(?<!MASK)", name)}
    # These two print under their short names.
    assert set(bits) - {"__GFP_DMA", "__GFP_DMA32"} == {name for name in table if name.startswith("__")}


def test_gfp_constants_can_be_named_inside_a_class() -> None:
    class Test:
        zero = gfp.__GFP_ZERO

    assert Test.zero == 0x100
    with pytest.raises(AttributeError):
        getattr(gfp, "__GFP_WAIT")


@pytest.mark.needs_shared
def test_gfp_masks_of_recorded_logs(shared: Path) -> None:
    printed = re.compile(r"(?:mode:|gfp_mask=|gfp: )(0x[0-9a-f]+)\s?\(([\w|]+)\)")
    pairs = set()
    for log in (shared / "truth").glob("*/serial.log"):
        pairs |= set(printed.findall(log.read_text(errors="replace")))
    for number, text in pairs:
        assert gfp.decode(int(number, 16)) == text
    assert len(pairs) >= 4


def test_page_flags_print_as_the_kernel_prints_them() -> None:
    assert page_flags.decode(0xFFFFFC0000200) == "0xfffffc0000200(slab|node=0|zone=1|lastcpupid=0x1fffff)"
    assert page_flags.decode(0xFFFFFC0010200) == "0xfffffc0010200(slab|head|node=0|zone=1|lastcpupid=0x1fffff)"
    assert page_flags.decode(0x0) == "0x0(node=0|zone=0|lastcpupid=0x0)"
    assert page_flags.decode(0x57FFFFC0001000) == "0x57ffffc0001000(reserved|node=1|zone=2|lastcpupid=0x1fffff)"
    assert page_flags.names(0xFFFFFC0000044) == "uptodate|workingset"
    assert page_flags.names(0xFFFFFC0000000) == "none"


@pytest.mark.needs_shared
def test_page_flags_of_recorded_logs(shared: Path) -> None:
    lines = set()
    for log in (shared / "truth").glob("deb.*/serial.log"):
        lines |= set(re.findall(r"flags=(0x[0-9a-f]+\([^)]*\))", log.read_text(errors="replace")))
    for line in lines:
        assert page_flags.decode(int(line.partition("(")[0], 16)) == line
    assert lines


def test_page_flag_constants_are_those_of_the_kernels_enum() -> None:
    kernel = enums("6.1")["pageflags"]
    ours = {name: value for name, value in vars(page_flags).items() if name.startswith("PG_")}
    page_types = {"PG_buddy", "PG_offline", "PG_table", "PG_guard"}
    assert {name: kernel[name] for name in ours if name not in page_types} == {
        name: value for name, value in ours.items() if name not in page_types
    }
    assert kernel["__NR_PAGEFLAGS"] == page_flags.NR_PAGEFLAGS == release("6.1").constants["NR_PAGEFLAGS"]
    assert {1 << value for name, value in ours.items() if name not in page_types} == set(
        flag_names("page", "6.1").values()
    )


def test_page_flag_fields_are_those_of_the_release() -> None:
    fields = {field.name: (field.shift, field.width) for field in release("6.1").page_flag_fields}
    assert fields == {
        "node": (page_flags.NODES_SHIFT, page_flags.NODES_WIDTH),
        "zone": (page_flags.ZONES_SHIFT, page_flags.ZONES_WIDTH),
        "lastcpupid": (page_flags.LAST_CPUPID_SHIFT, page_flags.LAST_CPUPID_WIDTH),
    }
    assert page_flags.LRU_REFS_SHIFT >= page_flags.NR_PAGEFLAGS


def test_slab_flags_print_lowest_bit_first() -> None:
    assert slab_flags.decode(0x42000) == "SLAB_HWCACHE_ALIGN|SLAB_PANIC"
    assert slab_flags.decode(0x40001000) == "SLAB_KMALLOC|__CMPXCHG_DOUBLE"
    assert slab_flags.decode(0x1) == "0x1"
    assert slab_flags.decode(0) == "none"
    assert slab_flags.parse("SLAB_POISON|SLAB_RED_ZONE") == 0xC00


def test_slab_flag_constants_are_those_of_the_release() -> None:
    internal = {"__CMPXCHG_DOUBLE": "CMPXCHG_DOUBLE", "__OBJECT_POISON": "OBJECT_POISON"}
    for of in releases():
        for name, mask in release(of).slab_flags.items():
            assert getattr(slab_flags.slab_flags(of), internal.get(name, name)) == mask
            assert mask.bit_count() == 1
    assert slab_flags.slab_flags(MODEL).SLAB_MERGE_SAME == slab_flags.SLAB_MERGE_SAME


@pytest.mark.parametrize("of", releases())
def test_vmstat_has_the_lines_of_its_enums(of: str) -> None:
    names = vmstat_names(of)
    counts = [
        enums(of)["zone_stat_item"]["NR_VM_ZONE_STAT_ITEMS"],
        enums(of)["numa_stat_item"]["NR_VM_NUMA_EVENT_ITEMS"],
        enums(of)["node_stat_item"]["NR_VM_NODE_STAT_ITEMS"],
        4 if "nr_memmap_pages" in names else 2,  # nr_dirty_threshold, nr_dirty_background_threshold, two of the memmap
        enums(of)["vm_event_item"]["NR_VM_EVENT_ITEMS"],
    ]
    assert len(names) == sum(counts)
    assert names[enums(of)["zone_stat_item"]["NR_FREE_CMA_PAGES"]] == "nr_free_cma"
    assert names[sum(counts[:4]) + enums(of)["vm_event_item"]["OOM_KILL"]] == "oom_kill"


def test_flags_of_a_release_that_is_not_modelled() -> None:
    with pytest.raises(UsageError) as caught:
        gfp.decode(0xCC0, "2.4")
    assert "6.1" in caught.value.remedy


def test_page_flag_masks_are_the_numbers_in_the_kernels_code() -> None:
    assert page_flags.PAGE_FLAGS_CHECK_AT_FREE == 0x3830F231
    assert page_flags.PAGE_FLAGS_CHECK_AT_PREP == 0x3F7FFFFF
    last_cpupid = ((1 << page_flags.LAST_CPUPID_WIDTH) - 1) << page_flags.LAST_CPUPID_SHIFT
    assert last_cpupid == 0x7FFFFC0000000
