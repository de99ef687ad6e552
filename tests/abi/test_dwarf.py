"""The DWARF reader on what gcc writes; the expected offsets are those that gcc itself computes."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kmem.abi.ctype import Row, flatten
from kmem.abi.dwarf import Dwarf
from kmem.abi.extract import STRUCTS, extract
from kmem.abi.layout import layout
from kmem.errors import InputError

HEADERS = Path("/lib/modules/6.1.0-56-amd64/build")
GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="no gcc on PATH: the DWARF reader is NOT tested")

SOURCE = """
typedef struct { int counter; } atomic_t;
typedef struct { unsigned long pgd; } pgd_t;
struct page;
struct list_head { struct list_head *next, *prev; };
enum zone_type { ZONE_DMA, ZONE_NORMAL = 2 };
enum { HI_SOFTIRQ, TIMER_SOFTIRQ };
struct slab {
    unsigned long flags;
    union {
        struct list_head list;
        struct { struct slab *next; int slabs; };
    };
    const volatile struct page *page;
    pgd_t *pgd;
    void (*ctor)(void *);
    struct { short first; char last; } shared;
    unsigned inuse:16, objects:15, frozen:1;
    atomic_t refs;
    enum zone_type zone;
    _Bool on;
    char name[3][5];
    unsigned long long tail[];
};
struct slab slab;
int softirq = TIMER_SOFTIRQ;
"""
EXPECTED: dict[str, Row] = {
    "flags": [0, 8, "u64"],
    "list": [8, 16, "struct list_head"],
    "next": [8, 8, "*slab"],
    "slabs": [16, 4, "s32"],
    "page": [24, 8, "*page"],
    "pgd": [32, 8, "*pgd_t"],
    "ctor": [40, 8, "*"],
    "shared": [48, 4, "struct"],
    "shared.first": [48, 2, "s16"],
    "shared.last": [50, 1, "s8"],
    "inuse": [52, 4, "u32", 0, 16],
    "objects": [52, 4, "u32", 16, 15],
    "frozen": [52, 4, "u32", 31, 1],
    "refs": [56, 4, "s32"],
    "zone": [60, 4, "u32"],
    "on": [64, 1, "u8"],
    "name": [65, 15, "[3][5]s8"],
    "tail": [80, 0, "[0]u64"],
}


def compile_c(source: str, target: Path, *flags: str) -> bytes:
    """The object file that gcc makes of `source`."""
    assert GCC is not None
    subprocess.run([GCC, "-xc", "-", "-c", "-o", target, *flags], input=source, text=True, check=True)
    return target.read_bytes()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_struct_of_every_kind_of_member(version: int, tmp_path: Path) -> None:
    types = Dwarf(compile_c(SOURCE, tmp_path / "a.o", f"-gdwarf-{version}"))
    (slab,) = types.find_all("slab")
    assert slab.size == 80
    assert flatten(slab) == EXPECTED


def test_the_offsets_are_those_of_the_compiler(tmp_path: Path) -> None:
    names = [name for name, row in EXPECTED.items() if len(row) == 3 and "." not in name]
    checks = "\n".join(
        f'_Static_assert(__builtin_offsetof(struct slab, {name}) == {EXPECTED[name][0]}, "{name}");' for name in names
    )
    compile_c(SOURCE + checks, tmp_path / "a.o")


def test_enums_by_tag_and_by_first_constant(tmp_path: Path) -> None:
    types = Dwarf(compile_c(SOURCE, tmp_path / "a.o", "-g"))
    assert types.enum("zone_type") == {"ZONE_DMA": 0, "ZONE_NORMAL": 2}
    assert types.enum("HI_SOFTIRQ") == {"HI_SOFTIRQ": 0, "TIMER_SOFTIRQ": 1}
    assert types.enum("no_such") == {}


def test_a_typedef_of_an_anonymous_struct_is_found_by_its_name(tmp_path: Path) -> None:
    (found,) = Dwarf(compile_c(SOURCE, tmp_path / "a.o", "-g")).find_all("atomic_t")
    assert flatten(found) == {"counter": [0, 4, "s32"]}


def test_a_declared_struct_is_not_a_definition(tmp_path: Path) -> None:
    assert Dwarf(compile_c(SOURCE, tmp_path / "a.o", "-g")).find_all("page") == []


def test_an_object_without_debug_information_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Dwarf(compile_c(SOURCE, tmp_path / "a.o", "-g0"))
    assert "-g" in caught.value.remedy


MODULE = """
#include <linux/cdev.h>
#include <linux/genalloc.h>
#include <linux/interrupt.h>
#include <linux/mempool.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/vmalloc.h>
struct page page;
struct pglist_data node;
struct task_struct task;
struct module module;
struct vm_struct vm;
struct vmap_area area;
struct cdev cdev;
struct miscdevice misc;
struct irqaction action;
struct gen_pool pool;
struct mempool_s mempool;
struct kparam_array array;
MODULE_LICENSE("GPL");
"""


def one_dimension(row: Row) -> Row:
    """pahole writes an array of arrays into BTF as one array."""
    spelled = str(row[2])
    dimensions = [int(number) for number in re.findall(r"\[(\d+)\]", spelled)]
    element = spelled.rpartition("]")[2]
    return [*row[:2], f"[{math.prod(dimensions)}]{element}" if dimensions else spelled, *row[3:]]


@pytest.mark.slow
@pytest.mark.skipif(not HEADERS.exists(), reason=f"no {HEADERS}: the layouts are NOT compared with DWARF of the kernel")
def test_a_module_built_with_debug_information_has_the_layouts_of_the_release(tmp_path: Path) -> None:
    (tmp_path / "types.c").write_text(MODULE)
    (tmp_path / "Kbuild").write_text("obj-m := types.o\n")
    subprocess.run(["make", "-C", HEADERS, f"M={tmp_path}", "KCFLAGS=-g", "modules"], check=True, capture_output=True)
    structs, _, ambiguous = extract(Dwarf((tmp_path / "types.ko").read_bytes()), STRUCTS)
    assert not ambiguous
    compared = 0
    for name, entry in structs.items():
        ours = layout("6.1")[name]
        assert ours.size == entry["size"], name
        assert list(ours.members) == list(entry["members"]), name
        for key, row in entry["members"].items():
            member = ours[key]
            mine = [member.offset, member.size, member.type, member.bit_offset, member.bit_size]
            assert mine == [*one_dimension(row), 0, 0][:5], (name, key)
            compared += 1
    assert compared > 1200
