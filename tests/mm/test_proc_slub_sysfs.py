"""/sys/kernel/slab: facts of the boot caches are the real kernel's, counts are those of the slabs."""

from __future__ import annotations

import re
from struct import unpack_from
from typing import Any

import pytest

from kmem.abi.address import PAGE_OFFSET, VMEMMAP_START
from kmem.abi.slab_flags import SLAB_ACCOUNT, SLAB_HWCACHE_ALIGN, SLAB_RECLAIM_ACCOUNT, SLAB_TYPESAFE_BY_RCU
from kmem.errors import UsageError
from kmem.lib.cstruct import u64
from kmem.mm import proc
from kmem.mm.api import Mm
from kmem.mm.slub_sysfs import ATTRIBUTES, directory, find_cache, sysfs
from kmem.modules.kallsyms import Kallsyms
from tests.golden.proc.forms import HERE
from tests.golden.proc.machine import Machine, frames

_TABLE = [line.split("\t") for line in (HERE / "slab.tsv").read_text(encoding="ascii").splitlines()]


@pytest.fixture(scope="module")
def machine() -> Machine:
    made = Machine("debian")
    made.work(seed=11, rounds=250)
    return made


def total(text: str) -> int:
    """The sum in front; the parts behind it add up to it."""
    first, *parts = text.split()
    assert sum(int(part.partition("=")[2]) for part in parts) == int(first)
    return int(first)


@pytest.mark.parametrize("row", _TABLE[1:], ids=[row[0] for row in _TABLE[1:]])
def test_boot_caches_have_the_attributes_of_a_real_kernel(machine: Machine, row: list[str]) -> None:
    mine = [row[0], *(sysfs(machine.mm, row[0], attribute).removesuffix("\n") for attribute in _TABLE[0][1:])]
    assert mine == row


def cpu_slabs(mm: Mm, s: Any) -> list[tuple[int, int]]:
    """By CPU: the address of the current slab, and how many are on the partial list (``slabs`` of its head)."""
    found = []
    for cpu in range(2):
        at = s.cpu_slab._addr + mm.view.per_cpu_offset(cpu)
        current, partial = unpack_from("<2Q", mm.ram.mem, u64(at) - PAGE_OFFSET + 16)
        head = partial - VMEMMAP_START + mm.ram.mem_map_phys
        found.append((current, unpack_from("<i", mm.ram.mem, head + 16)[0] if partial else 0))
    return found


def test_counts_are_those_of_the_slabs(machine: Machine) -> None:
    mm = machine.mm
    seen = frames(mm).slabs
    alone = 0
    for s in mm.view.caches():
        values = {attribute: sysfs(mm, u64(s._addr), attribute) for attribute in ATTRIBUTES}
        found = seen.get(u64(s._addr))
        if found is None:
            assert values["slabs"] == values["objects"] == values["cpu_slabs"] == values["partial"] == "0\n"
            continue
        assert total(values["slabs"]) == found.slabs
        assert total(values["total_objects"]) == found.objects
        assert total(values["objects"]) == found.active
        assert total(values["partial"]) == found.partial
        assert total(values["objects_partial"]) == found.partial_inuse
        cpus = cpu_slabs(mm, s)
        assert total(values["cpu_slabs"]) == sum(1 + partial for current, partial in cpus if current)
        assert found.frozen == sum((current != 0) + partial for current, partial in cpus)
        assert values["slabs_cpu_partial"].partition("(")[2].startswith(f"{sum(partial for _, partial in cpus)})")
        alone += sum(1 for current, partial in cpus if partial and not current)
    assert alone  # a CPU's partial slabs are not counted while it has no current one


def test_partial_slabs_of_cpus_are_taken_for_half_full(machine: Machine) -> None:
    seen = 0
    for s in machine.mm.view.caches():
        name = machine.mm.view.cache_name(s)
        text = sysfs(machine.mm, name, "slabs_cpu_partial")
        found = re.fullmatch(r"(\d+)\((\d+)\)((?: C[01]=\d+\(\d+\))*)\n", text)
        assert found
        per_slab = int(sysfs(machine.mm, name, "objs_per_slab"))
        parts = [(int(o), int(n)) for o, n in re.findall(r"=(\d+)\((\d+)\)", found[3])]
        assert sum(slabs for _, slabs in parts) == int(found[2])
        for objects, slabs in [*parts, (int(found[1]), int(found[2]))]:
            assert objects == slabs * per_slab // 2
        seen += len(parts)
    assert seen > 2


def test_slabinfo_and_sysfs_agree(machine: Machine) -> None:
    for line in proc.text(machine.mm, "slabinfo").splitlines()[2:]:
        fields = line.split()
        name = fields[0]
        assert total(sysfs(machine.mm, name, "objects")) == int(fields[1])
        assert total(sysfs(machine.mm, name, "total_objects")) == int(fields[2])
        assert sysfs(machine.mm, name, "slab_size") == f"{fields[3]}\n"
        assert total(sysfs(machine.mm, name, "slabs")) == int(fields[-2])


def test_mergeable_caches_have_directories_named_by_what_they_are() -> None:
    mm = Machine().mm
    plain = mm.kmem_cache_create("plain_things", 200)
    assert directory(mm.view, find_cache(mm, plain)) == ":0000200"
    assert sysfs(mm, ":0000200", "aliases") == "0\n"
    assert mm.kmem_cache_create("same_things", 196) == plain
    assert sysfs(mm, "plain_things", "aliases") == "1\n"
    flags = SLAB_HWCACHE_ALIGN | SLAB_ACCOUNT | SLAB_RECLAIM_ACCOUNT
    assert directory(mm.view, find_cache(mm, mm.kmem_cache_create("accounted", 100, flags=flags))) == ":aA-0000128"
    assert directory(mm.view, find_cache(mm, "kmalloc-64")) == "kmalloc-64"


def test_a_constructor_is_named_and_keeps_its_cache_apart() -> None:
    mm = Machine().mm
    names = Kallsyms()
    names.add("init_once", 0xFFFFFFFF81300000, 0x20)
    mm.kmem_cache_create("inodes", 600, flags=SLAB_TYPESAFE_BY_RCU, ctor=0xFFFFFFFF81300000)
    assert sysfs(mm, "inodes", "ctor", kallsyms=names) == "init_once+0x0/0x20\n"
    assert sysfs(mm, "inodes", "ctor") == "0xffffffff81300000\n"
    assert sysfs(mm, "inodes", "destroy_by_rcu") == "1\n"
    assert sysfs(mm, "kmalloc-64", "ctor") == ""


def test_debugging_shows_in_the_attributes() -> None:
    mm = Machine("debug").mm
    for attribute in ("red_zone", "poison", "store_user", "sanity_checks"):
        assert sysfs(mm, "kmalloc-64", attribute) == "1\n"
    assert sysfs(mm, "kmalloc-64", "trace") == "0\n"
    assert sysfs(mm, "kmalloc-64", "cpu_partial") == "0\n"
    mm.kmalloc(64)
    assert sysfs(mm, "kmalloc-64", "cpu_slabs") == "0\n"


@pytest.mark.parametrize(("cache", "attribute"), [("nothing", "slabs"), ("kmalloc-64", "colour")])
def test_what_there_is_not_is_a_usage_error(machine: Machine, cache: str, attribute: str) -> None:
    with pytest.raises(UsageError):
        sysfs(machine.mm, cache, attribute)
