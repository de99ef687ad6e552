"""The kernel command line: parsed as the kernel parses it, and each setting has its effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kmem
from kmem.abi.slab_flags import (
    SLAB_CONSISTENCY_CHECKS,
    SLAB_NO_USER_FLAGS,
    SLAB_NOLEAKTRACE,
    SLAB_POISON,
    SLAB_RED_ZONE,
)
from kmem.errors import UsageError
from kmem.mm.cmdline import arguments, get_option, kstrtobool, parse, parse_slub_debug
from kmem.mm.config import configuration
from tests.conftest import Kmem
from tests.mm.booted import BootedMm, expect_consistent
from tests.mm.conftest import Boot

F, Z, P, U = SLAB_CONSISTENCY_CHECKS, SLAB_RED_ZONE, SLAB_POISON, 0x10000


def settings(text: str) -> dict[str, Any]:
    return parse(text, {"shuffle": True}).settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b=1\tc=", [("a", None), ("b", "1"), ("c", "")]),
        ('a="x y" b', [("a", "x y"), ("b", None)]),
        ('"a=x y" b', [("a", "x y"), ("b", None)]),
        ('"a b"', [("a b", None)]),
        ("a=b=c", [("a", "b=c")]),
        ("a -- b=1", [("a", None)]),
        ("a --=1 b", [("a", None), ("--", "1"), ("b", None)]),
        ('a="x y', [("a", "x y")]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert list(arguments(text)) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0x10", 16), ("010", 8), ("-2", -2), ("2abc", 2), ("x", 0), ("", 0), ("0xg", 0), ("08", 0)],
)
def test_numbers(text: str, value: int) -> None:
    assert get_option(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1", True), ("Y", True), ("true", True), ("on", True)),
        *(("0", False), ("no", False), ("OFF", False), ("", None), ("2", None), ("o", None)),
    ],
)
def test_yes_and_no(text: str, value: bool | None) -> None:
    assert kstrtobool(text) is value


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", {"": F | Z | P | U}),
        ("FZ", {"": F | Z}),
        ("-", {"": 0}),
        ("fz,kmalloc-64", {"kmalloc-64": F | Z}),
        (",kmalloc-64", {"kmalloc-64": F | Z | P | U}),
        ("F,kmalloc-64,dma*;Z;;P,kmalloc-64", {"kmalloc-64": F, "dma*": F, "": Z}),
        ("F;Z", {"": Z}),
        ("FPO", {"": F | P}),
    ],
)
def test_slub_debug(text: str, flags: dict[str, int]) -> None:
    assert parse_slub_debug(text) == (flags, "O" in text)


def test_the_first_block_that_names_a_cache_counts() -> None:
    made = configuration("plain", cmdline="slub_debug=Z,kmalloc-6*;P;F,kmalloc-64")
    assert [made.kmem_cache_flags(name, 1) for name in ("kmalloc-64", "kmalloc-8")] == [1 | Z, 1 | P]
    everything = configuration("plain", cmdline="slub_debug")
    assert everything.kmem_cache_flags("x", SLAB_NO_USER_FLAGS) == SLAB_NO_USER_FLAGS
    assert everything.kmem_cache_flags("x", SLAB_NOLEAKTRACE) == SLAB_NOLEAKTRACE | F | Z | P


def test_names_may_have_dashes_or_underscores_and_switches_may_have_a_tail() -> None:
    assert settings("slub-max-order=2") == settings("slub_max_order=2") == {"slub_max_order": 2}
    assert settings("slab_nomergeable") == {"slab_nomerge": True}
    assert settings("slub_max_order=12") == {"slub_max_order": 10}
    assert settings("slub_max_order") == {}


def test_the_kernel_says_what_it_does_not_know() -> None:
    line = parse("a=1 quiet b init_on_free=perhaps slub_debug=FX foo.bar=1", {})
    assert line.log[1:] == [
        (4, "Malformed early option 'init_on_free'"),
        (3, "slub_debug option 'X' unknown. skipped"),
        (5, 'Unknown kernel command line parameters "b a=1", will be passed to user space.'),
    ]
    assert [note.split()[0] for note in line.notes] == ["quiet", "init_on_free", "slub_debug", "foo.bar", "Unknown"]


def cache(mm: BootedMm, name: str) -> Any:
    return next(s for s in mm.view.caches() if mm.view.cache_name(s) == name)


def test_slub_debug_names_caches(boot: Boot) -> None:
    mm = boot(cmdline="slub_debug=FZ,kmalloc-64,dma*")
    assert [cache(mm, name).flags & (F | Z | P) for name in ("kmalloc-64", "dma-kmalloc-8", "kmalloc-96")] == [
        F | Z,
        F | Z,
        0,
    ]


def test_slub_debug_with_o_leaves_alone_what_would_need_larger_slabs(boot: Boot) -> None:
    with_o, without = boot(cmdline="slub_debug=FZPUO"), boot(cmdline="slub_debug=FZPU")
    assert cache(without, "kmalloc-4k").flags & Z
    assert cache(with_o, "kmalloc-4k").flags & (F | Z | P | U) == F
    assert (cache(with_o, "kmalloc-4k").size, cache(with_o, "kmalloc-64").flags & Z) == (4096, Z)
    obj = with_o.kmalloc(4096)
    with_o.kfree(obj)
    expect_consistent(with_o)


@pytest.mark.parametrize(("word", "merged"), [("slab_nomerge", False), ("slub_nomerge", False), ("slab_merge", True)])
def test_merging(boot: Boot, word: str, merged: bool) -> None:
    mm = boot(cmdline=word)
    one, other = (mm.kmem_cache_create(name, 200, 0, 0x2000) for name in "ab")
    assert (one == other) == merged


def test_the_order_of_slabs(boot: Boot) -> None:
    def orders(line: str) -> list[int]:
        mm = boot(cmdline=line)
        expect_consistent(mm)
        return [int(cache(mm, f"kmalloc-{size}").oo.x >> 16) for size in ("64", "512", "2k", "8k")]

    assert orders("") == [0, 1, 3, 3]
    assert orders("slub_max_order=1") == [0, 1, 1, 1]
    assert orders("slub_max_order=0") == [0, 0, 0, 1]
    assert orders("slub_min_order=2") == [2, 2, 3, 3]
    assert orders("slub_min_objects=64") == [0, 3, 3, 3]
    assert orders("slub_min_objects=1") == [0, 0, 0, 1]


@pytest.mark.parametrize(("cpus", "objects"), [(1, 8), (2, 16), (4, 16), (8, 32), (16, 32)])
def test_more_cpus_want_more_objects_in_a_slab(boot: Boot, cpus: int, objects: int) -> None:
    mm = boot(cpus=cpus)
    expect_consistent(mm)
    assert cache(mm, "kmalloc-512").oo.x & 0xFFFF == objects


@pytest.mark.parametrize(("value", "content"), [("1", 0), ("0", 0xA5)])
def test_init_on_alloc(boot: Boot, value: str, content: int) -> None:
    mm = boot("debian", cmdline=f"init_on_alloc={value}")
    obj = mm.kmalloc(64)
    at = mm.virt_to_phys(obj)
    mm.ram.mem[at : at + 64] = b"\xa5" * 64
    mm.kfree(obj)
    assert mm.kmalloc(64) == obj
    assert mm.ram.mem[at] == content


def test_init_on_free(boot: Boot) -> None:
    mm = boot(cmdline="init_on_free=on")
    obj = mm.kmalloc(64)
    at = mm.virt_to_phys(obj)
    mm.ram.mem[at : at + 64] = b"\xa5" * 64
    mm.kfree(obj)
    assert bytes(mm.ram.mem[at : at + 32]) == bytes(32)
    expect_consistent(mm)


def test_watermarks_follow_the_sysctls(boot: Boot) -> None:
    mm = boot(cmdline="sysctl.vm.min_free_kbytes=8192 sysctl.vm/watermark_scale_factor=100")
    expect_consistent(mm)
    assert sum(int(z._watermark[0]) for z in mm.view.zones()) in (2047, 2048)
    z = next(z for z in mm.view.zones() if z.managed_pages > 10000)
    assert z._watermark[1] - z._watermark[0] == max(z._watermark[0] // 4, z.managed_pages // 100)


def test_a_sysctl_that_is_refused_or_not_there_has_no_effect(boot: Boot) -> None:
    line = parse("sysctl.vm.watermark_scale_factor=5000 sysctl.vm.swappiness=1 sysctl.vm.min_free_kbytes=x", {})
    assert line.settings == {}
    assert len(line.notes) == 3


def blocks(mm: BootedMm) -> list[int]:
    """pfns of the largest free movable blocks of the largest zone, in the order of their list."""
    z = max(mm.view.zones(), key=lambda z: z.managed_pages)
    head, found = z.free_area[10].free_list[1], []
    link = head.next
    while link != head:
        found.append(mm.view.pfn(link._addr - 8))
        link = link.next
    return found


def test_shuffled_blocks_are_the_same_ones_in_another_order(boot: Boot) -> None:
    plain = blocks(boot("debian"))
    one, same, other = (boot("debian", cmdline="page_alloc.shuffle=1", seed=seed) for seed in (1, 1, 2))
    assert plain == sorted(plain)
    assert sorted(blocks(one)) == plain != blocks(one)
    assert blocks(one) == blocks(same) != blocks(other)
    page = one.alloc_pages(0xCC0, 10)
    one.free_pages(page, 10)
    expect_consistent(one)
    assert blocks(boot("plain", cmdline="page_alloc.shuffle=1")) == plain, "the plain kernel is built without it"


def work(mm: BootedMm) -> None:
    """Fill and empty caches so that slabs pass through every state."""
    for cpu in (0, 1):
        mm.on_cpu(cpu)
        objects = [mm.kmalloc(size) for size in (64, 200, 512, 4096) for _ in range(70)]
        for obj in objects[::3]:
            mm.kfree(obj)
        expect_consistent(mm)
        mm.on_cpu(1 - cpu)
        for index, obj in enumerate(objects):
            if index % 3:
                mm.kfree(obj)
        expect_consistent(mm)


def test_without_partial_slabs_of_cpus_full_slabs_go_back_to_their_node(boot: Boot) -> None:
    mm = boot(slub_cpu_partial=False)
    work(mm)
    assert {int(s.cpu_partial) for s in mm.view.caches()} == {0}
    assert cache(mm, "kmalloc-64").node[0].nr_partial <= 5


def test_slub_tiny_keeps_no_slab_for_a_cpu_and_no_empty_slab(boot: Boot) -> None:
    mm = boot("debian", slub_tiny=True)
    before = mm.view.kdata.vm_node_stat[6]
    work(mm)
    s = cache(mm, "kmalloc-512")
    assert (s.min_partial, s.oo.x >> 16, mm.view.kdata.hardened) == (0, 1, 0)
    assert mm.view.kdata.vm_node_stat[6] == before, "every slab was given back at once"
    assert mm.kmalloc(64, 0xCD0)
    assert cache(mm, "kmalloc-64").node[0].nr_slabs == 1
    assert not any(mm.view.cache_name(other).startswith("kmalloc-rcl") for other in mm.view.caches())


def test_slub_tiny_has_no_slub_debug() -> None:
    with pytest.raises(UsageError, match="SLUB_TINY"):
        configuration("debug", slub_tiny=True)


def test_what_a_boot_says_is_in_the_log() -> None:
    with kmem.boot(ram="96M", cmdline="slab_nomerge what") as k:
        assert [record.text for record in k.log.records] == [
            "Kernel command line: slab_nomerge what",
            'Unknown kernel command line parameters "what", will be passed to user space.',
        ]


def test_pointers_are_not_hashed_on_demand() -> None:
    with kmem.boot(ram="96M", cmdline="no_hash_pointers") as k:
        area = k.vmalloc(4096)
        assert f"\n{area:#018x}-" in "\n" + k.proc("vmallocinfo")


def test_the_command_takes_it_and_notes_what_is_in_vain(kmem: Kmem, tmp_path: Path) -> None:
    done = kmem("boot", "--ram", "96M", "--cmdline", "slub_max_order=0 mem=1G zzz", "--proc", "slabinfo")
    assert (done.returncode, done.stderr.count("kmem: note: ")) == (0, 2)
    assert "mem has no effect: --ram says how much memory there is" in done.stderr
    assert "\nkmalloc-1k " in done.stdout
    assert next(line for line in done.stdout.splitlines() if line.startswith("kmalloc-1k ")).split()[4:6] == ["4", "1"]


def test_a_later_release_spells_slub_parameters_slab() -> None:
    text = "slab_debug=FZ,kmalloc-64 slab_max_order=2 slab_min_objects=5"
    expected = {"slub_debug": {"kmalloc-64": 3}, "slub_max_order": 2, "slub_min_objects": 5}
    assert parse(text, {}, "6.12").settings == expected
    assert parse(text.replace("slab", "slub"), {}, "6.12").settings == expected
    assert (3, "slab_debug option 'X' unknown. skipped") in parse("slab_debug=FX", {}, "6.12").log
    old = parse(text, {}, "6.1")
    assert old.settings == {}
    assert "Unknown kernel command line parameters" in old.notes[0]
