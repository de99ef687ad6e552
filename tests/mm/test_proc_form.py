"""The texts of /proc have the form of a real kernel's: every line, column and blank; only numbers differ."""

from __future__ import annotations

import re

import pytest

from kmem.errors import UsageError
from kmem.mm import proc
from kmem.mm.api import Mm
from kmem.mm.config import configuration
from kmem.modules.kallsyms import Kallsyms
from tests.golden.proc.forms import form, golden
from tests.golden.proc.machine import SITE, Machine

MODULE = "drv"
ADDRESS = re.compile(r"0x(?:[0-9a-f]{16}|\(____ptrval____\))")


@pytest.fixture(scope="module")
def machine() -> Machine:
    """Like the machine whose texts were recorded: 512 MiB, 2 CPUs."""
    made = Machine("debian", 512 << 20, no_hash_pointers=True)
    made.work(seed=7, rounds=120)
    return made


@pytest.mark.parametrize("name", ["buddyinfo", "pagetypeinfo", "meminfo"])
def test_every_line_has_its_columns(machine: Machine, name: str) -> None:
    lines = proc.text(machine.mm, name).split("\n")
    recorded = golden(name)
    assert lines.pop() == ""
    assert len(lines) == len(recorded)
    for line, real in zip(lines, recorded, strict=True):
        assert form(real, right=True).fullmatch(line), (line, real)


def test_zoneinfo_has_every_line_of_a_real_one(machine: Machine) -> None:
    lines = proc.text(machine.mm, "zoneinfo").split("\n")
    recorded = golden("zoneinfo")
    assert lines.pop() == ""
    assert len(lines) == len(recorded)
    for line, real in zip(lines, recorded, strict=True):
        assert form(real, right=False).fullmatch(line), (line, real)


@pytest.mark.parametrize("what", ["spanned", "present", "start_pfn:", "vm stats threshold:"])
def test_zones_lie_where_a_real_machine_of_this_size_has_them(machine: Machine, what: str) -> None:
    lines = [line for line in proc.text(machine.mm, "zoneinfo").split("\n") if line.strip().startswith(what)]
    assert lines == [line for line in golden("zoneinfo") if line.strip().startswith(what)]


def test_slabinfo_has_the_header_and_the_columns(machine: Machine) -> None:
    lines = proc.text(machine.mm, "slabinfo").split("\n")
    recorded = golden("slabinfo")
    assert lines.pop() == ""
    assert lines[:2] == recorded[:2]
    columns = form(recorded[4][17:], right=True)
    assert len(lines) > 50
    for line in lines[2:]:
        assert re.fullmatch(r"\S+ *", line[:17]), line
        assert columns.fullmatch(line[17:]), line


def test_a_long_cache_name_pushes_the_columns(machine: Machine) -> None:
    name = "request_sock_subflow_v6"
    cache = machine.mm.kmem_cache_create(name, 384, flags=0x800000)
    lines = proc.text(machine.mm, "slabinfo").split("\n")
    machine.mm.kmem_cache_destroy(cache)
    assert lines[2] == next(line for line in golden("slabinfo") if line.startswith(name))


@pytest.mark.parametrize(
    "line", [line for line in golden("slabinfo") if line.startswith(("kmalloc", "dma-k", "kmem_"))]
)
def test_geometry_of_the_boot_caches_is_the_real_one(machine: Machine, line: str) -> None:
    def geometry(text: str) -> list[str]:
        name, _, _, *sizes = text.partition(":")[0].split()
        return [name, *sizes]

    mine = [geometry(other) for other in proc.text(machine.mm, "slabinfo").split("\n")[2:-1]]
    assert geometry(line) in mine


def test_vmstat_names_its_counters_as_vmstat_text_does(machine: Machine) -> None:
    lines = proc.text(machine.mm, "vmstat").split("\n")
    assert lines.pop() == ""
    assert [line.split(" ")[0] for line in lines] == golden("vmstat")
    assert all(re.fullmatch(r"\w+ \d+", line) for line in lines)


def _kinds(lines: list[str]) -> set[str]:
    """Lines with sizes, addresses and names of functions taken out; the column of the size stays."""
    kinds = set()
    for line in lines:
        head, size, rest = line[:37], line[37:45], line[45:]
        assert re.fullmatch(rf"{ADDRESS.pattern}-{ADDRESS.pattern}", head), line
        assert re.fullmatch(r" {1,7}\d{1,7}", size), line
        rest = re.sub(r" (?:\w+\+0x[0-9a-f]+/0x[0-9a-f]+|0x[0-9a-f]{16})(?: \[\w+\])?(?= |$)", " CALLER", rest, count=1)
        rest = re.sub(r"0x[0-9a-f]{16}", "PHYS", rest)
        kinds.add(re.sub(r"=\d+", "=N", rest))
    return kinds


@pytest.mark.parametrize("hashed", [False, True])
def test_vmallocinfo_prints_every_kind_of_area_as_a_real_kernel(machine: Machine, hashed: bool) -> None:
    mm = machine.mm
    made = [mm.vmalloc(12000), mm.vmalloc(8 << 20)]
    pages = [mm.alloc_pages(0xCC0, 0) for _ in range(4)]
    mapped, device, gone = mm.vmap(pages), mm.ioremap(0xFED00000, 1024), mm.vmalloc(4096)
    mm.vfree(gone)
    lines = proc.text(mm, "vmallocinfo", hash_pointer=(lambda p: p >> 4 & 0xFFFFFFFF) if hashed else None).split("\n")
    assert lines.pop() == ""
    recorded = [line for line in golden("vmallocinfo") if "pcpu_get_vm_areas" not in line]
    assert _kinds(lines) == _kinds(recorded)
    for address in made:
        mm.vfree(address)
    mm.vunmap(mapped)
    mm.iounmap(device)
    for page in pages:
        mm.free_pages(page, 0)


def test_vmallocinfo_addresses_are_plain_hashed_or_not_yet_known(machine: Machine) -> None:
    mm = machine.mm
    address = mm.vmalloc(4096)
    size = f"{8192:7}"
    plain = proc.text(mm, "vmallocinfo")
    hashed = proc.text(mm, "vmallocinfo", hash_pointer=lambda p: p & 0xFFFFFFFF)
    mm.vfree(address)
    assert f"\n0x{address:016x}-0x{address + 8192:016x} {size} " in f"\n{plain}"
    assert f"\n0x{address & 0xFFFFFFFF:016x}-0x{(address + 8192) & 0xFFFFFFFF:016x} {size} " in f"\n{hashed}"
    for config, start in (("plain", "0x(____ptrval____)-0x(____ptrval____)"), ("debug", "0xffffc9")):
        other = Machine(config)
        other.mm.vmalloc(4096)
        assert proc.text(other.mm, "vmallocinfo").startswith(start)
        assert f" {size} " in proc.text(other.mm, "vmallocinfo")


def test_vmallocinfo_names_the_caller_through_kallsyms(machine: Machine) -> None:
    address = machine.mm.vmalloc(4096)
    names = Kallsyms()
    names.add("drv_init", SITE - 0x52, 0x80, MODULE)
    with_names = proc.text(machine.mm, "vmallocinfo", kallsyms=names)
    without = proc.text(machine.mm, "vmallocinfo")
    machine.mm.vfree(address)
    assert f"-0x{address + 8192:016x}    8192 drv_init+0x52/0x80 [drv] pages=1 vmalloc N0=1\n" in with_names
    assert f"-0x{address + 8192:016x}    8192 {SITE:#x} pages=1 vmalloc N0=1\n" in without


_IMAGE = {
    "_text": 0x1000000,
    "_etext": 0x1E01D32,
    "__start_rodata": 0x2000000,
    "__end_rodata": 0x28EB000,
    "_sdata": 0x2A00000,
    "_edata": 0x2C48980,
    "__bss_start": 0x3310000,
    "__bss_stop": 0x4400000,
}
"""Where Debian's kernel image has its parts, as physical addresses."""


def test_iomem_is_a_real_one_without_devices() -> None:
    names = Kallsyms()
    for name, phys in _IMAGE.items():
        names.add(name, phys + 0xFFFFFFFF80000000, 1)
    mm = Mm(configuration("debian", ram=512 << 20), lambda *what: 0)
    mm.start()
    of_devices = ("PCI", "ROM", "0000:", "IOAPIC", "HPET", "PNP", "APIC")
    real = [line for line in golden("iomem") if not any(word in line for word in of_devices)]
    # what firmware keeps for itself (its ROM, and addresses behind all memory) is no memory that the model has
    real = [line for line in real if not line.startswith(("000f0000", "fffc0000", "fd00000000"))]
    assert proc.text(mm, "iomem", kallsyms=names).split("\n")[:-1] == real
    without = [line for line in real if not re.search(r"rodata|data|bss", line)]
    assert proc.text(mm, "iomem").split("\n")[:-1] == without


def test_iomem_of_much_memory_goes_on_above_4_gib() -> None:
    mm = Mm(configuration("debian", ram=8 << 30), lambda *what: 0)
    mm.start()
    lines = proc.text(mm, "iomem").split("\n")
    assert lines[-4:] == [
        "  01000000-01e01d31 : Kernel code",
        "bffe0000-bfffffff : Reserved",
        "100000000-23fffffff : System RAM",
        "",
    ]


def test_a_file_that_there_is_not_is_a_usage_error(machine: Machine) -> None:
    with pytest.raises(UsageError, match="no /proc/kcore") as caught:
        proc.text(machine.mm, "kcore")
    assert all(name in caught.value.remedy for name in proc.NAMES)
