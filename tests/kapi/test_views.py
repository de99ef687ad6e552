"""The tables of a kernel say what its /proc says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import kmem
from kmem.kernel import Kernel
from kmem.lib.columns import Table


@pytest.fixture(scope="module")
def k() -> Iterator[Kernel]:
    with kmem.boot(ram="128M", config="plain", history=True) as kernel:
        kernel.p = kernel.kmalloc(50)  # type: ignore[attr-defined]
        kernel.v = kernel.vmalloc(9000)  # type: ignore[attr-defined]
        kernel.kfree(kernel.kmalloc(300))
        yield kernel


def test_slabs_are_those_of_slabinfo(k: Kernel) -> None:
    told = [line.split() for line in k.proc("slabinfo").splitlines()[2:]]
    names = [str(row.cache).split(" (also")[0] for row in k.slabs]
    assert names == [words[0] for words in told]
    for row, words in zip(k.slabs, told, strict=True):
        assert [row.in_use, row.objects, row.size] == [int(word) for word in words[1:4]], row
        assert [row.pages_per_slab, row.slabs] == [int(words[5]), int(words[14])], row


def test_free_blocks_are_those_of_buddyinfo(k: Kernel) -> None:
    told = re.findall(r"Node (\d+), zone +(\w+) +([\d ]+)", k.proc("buddyinfo"))
    assert [(row.node, row.zone, *row[3:]) for row in k.free_blocks] == [
        (int(node), zone, *map(int, counts.split())) for node, zone, counts in told
    ]
    assert all(row.free_pages == sum(n << o for o, n in enumerate(row[3:])) for row in k.free_blocks)


def test_areas_are_those_of_vmallocinfo(k: Kernel) -> None:
    told = k.proc("vmallocinfo").splitlines()
    assert len(k.areas) == len(told)
    mine = next(row for row in k.areas if row.start == k.v)
    assert (mine.size, mine.pages, mine.what) == (4 * 4096, 3, "vmalloc")


def test_live_has_what_was_not_freed(k: Kernel) -> None:
    mine = [row for row in k.live if row.address in (k.p, k.v)]
    assert [(row.address, row.requested, row.size) for row in mine] == [(k.p, 50, 64), (k.v, 9000, 12288)]
    assert all(row.requested != 300 for row in k.live)


def test_without_history_live_has_what_modules_allocated() -> None:
    with kmem.boot(ram="128M", config="plain") as plain:
        plain.kmalloc(50)
        assert len(plain.live) == 0
        assert plain.live.title == "live allocations of modules"


@pytest.mark.parametrize("name", ["slabs", "free_blocks", "areas", "live", "module_list"])
def test_every_view_is_a_table_for_text_terminal_and_notebook(k: Kernel, name: str) -> None:
    view = getattr(k, name)
    assert isinstance(view, Table)
    assert str(view).startswith(view.title)
    assert view._repr_html_().startswith("<table>")
    assert view.__rich__().row_count == len(view)


def test_a_notebook_shows_the_kernel_and_its_findings(k: Kernel) -> None:
    html = k._repr_html_()
    for word in ("the machine", "Linux 6.1 (plain)", "findings", "slab caches", "<pre>"):
        assert word in html
    assert k.findings._repr_html_().startswith("<table>")
    assert str(k.findings) == "findings: none"
    assert repr(k) == "<Kernel 6.1 (plain), 128 MiB, 2 CPUs, seed 0>"


def test_completion_offers_only_what_there_is(k: Kernel) -> None:
    names = dir(k)
    assert {"kmalloc", "vmalloc", "alloc_pages", "slabs", "insmod", "kmemdup", "dma_alloc_coherent"} <= set(names)
    missing = [name for name in names if not name.startswith("__") and not hasattr(k, name)]
    assert missing == []
