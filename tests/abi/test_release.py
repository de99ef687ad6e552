"""The data of each release agree with each other, and with what the real kernel printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmem.abi import address
from kmem.abi.data import releases
from kmem.abi.layout import enums, layout
from kmem.abi.release import release
from kmem.errors import UsageError

HEADERS = Path("/lib/modules/6.1.0-56-amd64/build")
R = release("6.1")


@pytest.mark.parametrize("name", releases())
def test_the_address_map_is_in_order_and_does_not_overlap(name: str) -> None:
    a = release(name).addresses
    ordered = [
        a.task_size_max,
        a.guard_hole,
        a.guard_hole_end,
        a.ldt_base,
        a.page_offset,
        a.page_offset_end,
        a.vmalloc_start,
        a.vmalloc_end,
        a.vmemmap_start,
        a.vmemmap_end,
        a.cpu_entry_area,
        a.espfix,
        a.efi_start,
        a.efi_end,
        a.start_kernel_map,
        a.text,
        a.text_end,
        a.image_end,
        a.modules_vaddr,
        a.first_module,
        a.modules_end,
        a.vsyscall,
        a.fixaddr_top,
    ]
    assert ordered == sorted(ordered)


def test_the_address_map_is_that_of_the_constants() -> None:
    a = R.addresses
    assert (a.page_offset, a.page_offset_end) == (address.PAGE_OFFSET, address.PAGE_OFFSET + address.DIRECT_MAP_SIZE)
    assert (a.vmalloc_start, a.vmalloc_end - 1) == (address.VMALLOC_START, address.VMALLOC_END)
    assert (a.vmemmap_start, a.start_kernel_map) == (address.VMEMMAP_START, address.START_KERNEL_MAP)
    assert (a.text, a.modules_vaddr, a.modules_end) == (
        address.KERNEL_TEXT,
        address.MODULES_VADDR,
        address.MODULES_END,
    )
    assert a.task_size_max == address.TASK_SIZE_MAX


def test_the_vmemmap_has_a_struct_page_for_every_frame_of_the_direct_map() -> None:
    frames = (R.addresses.page_offset_end - R.addresses.page_offset) >> R.constants["PAGE_SHIFT"]
    assert R.addresses.vmemmap_end - R.addresses.vmemmap_start == frames * layout("6.1")["page"].size


def test_the_constants_are_those_that_follow_from_each_other() -> None:
    c = R.constants
    assert 1 << c["PAGE_SHIFT"] == c["PAGE_SIZE"]
    assert 1 << (c["MAX_ORDER"] - 1) == c["MAX_ORDER_NR_PAGES"]
    assert 1 << c["pageblock_order"] == c["pageblock_nr_pages"]
    assert 1 << c["KMALLOC_SHIFT_HIGH"] == c["KMALLOC_MAX_CACHE_SIZE"]
    assert 1 << c["KMALLOC_SHIFT_MAX"] == c["KMALLOC_MAX_SIZE"]
    assert c["KMALLOC_SHIFT_MAX"] == c["MAX_ORDER"] + c["PAGE_SHIFT"] - 1
    assert c["NR_LOWORDER_PCP_LISTS"] == c["MIGRATE_PCPTYPES"] * (c["PAGE_ALLOC_COSTLY_ORDER"] + 1)
    assert 1 << (c["SECTION_SIZE_BITS"] - c["PAGE_SHIFT"]) == c["PAGES_PER_SECTION"]
    assert c["MAX_ZONES_PER_ZONELIST"] == c["MAX_NUMNODES"] * c["MAX_NR_ZONES"]
    assert c["VMAP_BLOCK_SIZE"] == c["VMAP_BBMAP_BITS"] * c["PAGE_SIZE"]
    assert c["LIST_POISON1"] - 0x100 == c["POISON_POINTER_DELTA"] == R.config["CONFIG_ILLEGAL_POINTER_VALUE"]


def test_the_constants_are_those_that_the_layouts_were_compiled_with() -> None:
    c, structs, tables = R.constants, layout("6.1").structs, enums("6.1")
    assert structs["zone"]["free_area"].type == f"[{c['MAX_ORDER']}]struct free_area"
    assert structs["per_cpu_pages"]["lists"].type == f"[{c['NR_PCP_LISTS']}]struct list_head"
    assert structs["pglist_data"]["node_zones"].type == f"[{c['MAX_NR_ZONES']}]struct zone"
    assert structs["kmem_cache"]["node"].type == f"[{c['MAX_NUMNODES']}]*kmem_cache_node"
    assert structs["zonelist"]["_zonerefs"].type == f"[{c['MAX_ZONES_PER_ZONELIST'] + 1}]struct zoneref"
    assert structs["pglist_data"]["node_zonelists"].type == f"[{c['MAX_ZONELISTS']}]struct zonelist"
    assert structs["module"]["name"].type == f"[{c['MODULE_NAME_LEN']}]s8"
    assert structs["free_area"]["free_list"].type == f"[{len(R.migratetypes)}]struct list_head"
    assert c["SECTIONS_PER_ROOT"] * structs["mem_section"].size == c["PAGE_SIZE"]
    assert tables["zone_type"]["__MAX_NR_ZONES"] == c["MAX_NR_ZONES"] == len(R.zones)
    assert tables["migratetype"]["MIGRATE_TYPES"] == len(R.migratetypes)
    assert tables["migratetype"]["MIGRATE_PCPTYPES"] == c["MIGRATE_PCPTYPES"]
    assert tables["pageblock_bits"]["NR_PAGEBLOCK_BITS"] == c["NR_PAGEBLOCK_BITS"]
    assert tables["kmalloc_cache_type"]["NR_KMALLOC_TYPES"] == c["NR_KMALLOC_TYPES"] == len(R.kmalloc_types)
    assert len(R.kmalloc_sizes) == c["KMALLOC_SHIFT_HIGH"] + 1


def test_the_orders_of_types_are_those_of_the_enums() -> None:
    tables = enums("6.1")
    assert [tables["zone_type"][f"ZONE_{name.upper()}"] for name in R.zones] == list(range(5))
    assert [tables["migratetype"][f"MIGRATE_{name.upper()}"] for name in R.migratetypes] == list(range(5))
    types = {"kmalloc": "NORMAL", "kmalloc-cg": "CGROUP", "kmalloc-rcl": "RECLAIM", "dma-kmalloc": "DMA"}
    assert [tables["kmalloc_cache_type"][f"KMALLOC_{types[name]}"] for name in R.kmalloc_types] == list(range(4))


def test_the_names_of_the_kernel_contain_its_version() -> None:
    assert R.linux_banner.startswith(f"Linux version {R.version} ")
    assert R.linux_banner.endswith(R.build)
    assert R.oops_version.startswith(f"{R.version} #1 ")
    assert R.vermagic == f"{R.version} {R.vermagic_tail}"
    assert len(R.taint_letters) == 19


def test_the_configurations_differ_in_what_they_say() -> None:
    assert R.configs["debian"] == R.config
    assert R.config["CONFIG_SLAB_FREELIST_HARDENED"] is True
    assert R.configs["plain"]["CONFIG_SLAB_FREELIST_HARDENED"] is False
    assert R.configs["debug"]["slub_debug"] == "FZPU"
    assert set(R.configs["plain"]) == set(R.config)


def test_nothing_of_a_release_can_be_changed() -> None:
    with pytest.raises(TypeError):
        R.constants["MAX_ORDER"] = 12  # type: ignore[index]
    with pytest.raises(AttributeError):
        R.version = "6.2"  # type: ignore[misc]


def test_an_unknown_release_names_those_that_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        release("9.9")
    assert "6.1" in caught.value.remedy


@pytest.mark.skipif(not (HEADERS / ".config").exists(), reason=f"no {HEADERS}/.config: CONFIG facts NOT compared")
def test_the_configuration_is_that_of_the_distribution() -> None:
    theirs: dict[str, str] = {}
    for line in (HEADERS / ".config").read_text().splitlines():
        if line.startswith("CONFIG_"):
            option, _, spelled = line.partition("=")
            theirs[option] = spelled
    for key, value in R.config.items():
        spelled = theirs.get(key, "n")
        if isinstance(value, str):
            assert spelled == value, key
        elif value is True or value is False:
            assert spelled == ("y" if value else "n"), key
        else:
            assert int(spelled, 0) == value, key


@pytest.mark.needs_shared
def test_the_names_are_those_of_recorded_logs(shared: Path) -> None:
    boot = (shared / "truth" / "boot0" / "dmesg.txt").read_text()
    oops = (shared / "truth" / "deb.bug.null" / "serial.log").read_text(errors="replace")
    assert R.linux_banner in boot
    assert f"Hardware name: {R.hardware}\n" in oops
    assert f"Oops: 0002 [#1] {R.oops_options}\n" in oops
    taint = "".join(letter if letter in "OE" else " " for letter in R.taint_letters[1:])
    assert f"Comm: insmod Tainted: G{taint} {R.oops_version}\n" in oops


@pytest.mark.needs_shared
def test_zones_and_migrate_types_are_those_of_pagetypeinfo(shared: Path) -> None:
    text = (shared / "truth" / "boot0" / "snap" / "before" / "pagetypeinfo").read_text()
    assert f"Page block order: {R.constants['pageblock_order']}\n" in text
    assert f"Pages per block:  {R.constants['pageblock_nr_pages']}\n" in text
    heading = re.search(r"Number of blocks type (.*)\n", text)
    assert heading is not None
    assert tuple(heading[1].split()) == R.migratetypes
    assert set(re.findall(r"zone +(\w+)", text)) <= set(R.zones)
