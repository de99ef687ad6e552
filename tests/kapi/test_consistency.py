"""--check full: a violation is kmem's fault, with a dump; unless the module had a hand in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kmem
from kmem.abi.address import PAGE_OFFSET
from kmem.errors import InvariantViolated
from kmem.kapi.consistency import Consistency
from kmem.runner import RunOptions, _same_again, run_module
from tests.run.running import module as built
from tests.run.running import run


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[kmem.Kernel]:
    monkeypatch.chdir(tmp_path)
    with kmem.boot(ram="96M", config="plain") as k:
        yield k


def damage(k: kmem.Kernel) -> None:
    """Free memory that is counted wrong: no module can do this by accident."""
    z = next(k.mm.view.zones())
    z.vm_stat[0] = z.vm_stat[0] + 1


def freed(k: kmem.Kernel) -> int:
    """Physical address of a freed object."""
    obj = k.kmalloc(64)
    k.kfree(obj)
    k.drain()
    return obj - PAGE_OFFSET


def test_checks_come_often_at_first_and_never_stop(kernel: kmem.Kernel) -> None:
    watch = Consistency(kernel, "drv")
    seen = []
    watch.check = lambda when: seen.append(watch.calls)  # type: ignore[method-assign]
    for _ in range(4000):
        kernel.kfree(kernel.kmalloc(64))
    assert seen[:11] == [1 << n for n in range(11)]
    assert seen[11:] == [2048, 3072, 4096, 5120, 6144, 7168]


def test_ten_thousand_calls_are_consistent(kernel: kmem.Kernel) -> None:
    watch = Consistency(kernel, "drv")
    live: list[int] = []
    for n in range(5000):
        live.append(kernel.kmalloc(n % 3000 + 1))
        if n % 3:
            kernel.kfree(live.pop(n * 7 % len(live)))
    watch.check("at the end")
    assert (watch.violations, watch.misdeeds, watch.watch.live_in_ram()) == ([], [], [])
    assert watch.checks > 10


def test_a_violation_is_ours_and_the_state_is_in_a_file(kernel: kmem.Kernel, tmp_path: Path) -> None:
    watch = Consistency(kernel, "drv")
    kernel.kfree(kernel.kmalloc(64))
    damage(kernel)
    kernel.kmalloc(8)
    with pytest.raises(InvariantViolated, match=r"inconsistent before call 4: B1: node 0 DMA: NR_FREE_PAGES") as caught:
        kernel.kmalloc(8)
    file = tmp_path / "kmem-violation-drv-0.txt"
    assert str(file) in caught.value.remedy
    assert (caught.value.status, caught.value.slug) == (4, "invariant")
    text = file.read_text()
    titles = [line[3:] for line in text.splitlines() if line.startswith("== ")]
    assert titles == ["what is wrong", "/proc/slabinfo", "/proc/buddyinfo", "/proc/vmallocinfo", "last events", "dmesg"]
    assert "B1: node 0 DMA: NR_FREE_PAGES" in text
    assert " kmalloc ptr=0xffff" in text
    assert "seed 0" in text
    assert watch.violations


@pytest.mark.parametrize("where", ["freed object", "red zone", "struct page", "kernel variable", "page table"])
def test_what_the_module_overwrote_is_a_finding(kernel: kmem.Kernel, where: str) -> None:
    watch = Consistency(kernel, "drv")
    live = kernel.kmalloc(60)
    kernel.drain()
    area = kernel.vmalloc(4096)
    table = kernel.mem.walk(area)[-2][1] & 0x000FFFFFFFFFF000
    at, kind = {
        "freed object": (freed(kernel), "use-after-free"),
        "red zone": (live - PAGE_OFFSET + 60, "out-of-bounds"),
        "struct page": (kernel.mm.ram.mem_map_phys + 64 * 100, "wild-pointer"),
        "kernel variable": (kernel.mm.view.kdata._addr + (1 << 64) - 0xFFFFFFFF80000000, "wild-pointer"),
        "page table": (table, "page-table-write"),
    }[where]
    watch._store(at, 8)
    damage(kernel)
    watch.check("at the end")
    [finding] = kernel.findings
    assert finding.kind.value == kind
    assert "the kernel's memory is inconsistent" in finding.message


def test_what_is_the_modules_own_it_may_write(kernel: kmem.Kernel) -> None:
    watch = Consistency(kernel, "drv")
    live, page, area = kernel.kmalloc(64), kernel.alloc_pages(0xCC0, 0), kernel.vmalloc(4096)
    kernel.drain()
    for at in (live, live + 56, kernel.mm.page_to_virt(page), PAGE_OFFSET + kernel.mm.phys_of(area)):
        watch._store(at - PAGE_OFFSET, 8)
    assert watch.misdeeds == []


def test_freeing_what_one_does_not_have_is_a_misdeed(kernel: kmem.Kernel) -> None:
    watch = Consistency(kernel, "drv")
    obj = kernel.kmalloc(64)
    kernel.kfree(obj)
    kernel.kfree(obj)
    watch.check("at the end")
    [finding] = kernel.findings
    assert (finding.kind.value, "S2" in {v.slug for v in watch.violations}) == ("invalid-free", True)


def test_after_a_finding_nothing_more_is_blamed(kernel: kmem.Kernel) -> None:
    watch = Consistency(kernel, "drv")
    kernel.finding("bug", "it went wrong before")
    damage(kernel)
    watch.check("at the end")
    assert [finding.message for finding in kernel.findings] == ["it went wrong before"]


@pytest.mark.needs_headers
@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "words", "status", "kind"),
    [
        ("examples/cache_list_driver", [], 0, ""),
        ("examples/vmalloc_driver", ["--config", "debug"], 0, ""),
        ("examples/freelist_corruption", ["--config", "plain"], 1, "freelist-corruption"),
        ("tests/kmod/bug", ["mode=oob", "size=8", "--config", "plain"], 1, "out-of-bounds"),
        ("tests/kmod/bug", ["mode=dblfree", "--config", "plain"], 1, "freelist-corruption"),
    ],
)
def test_kmem_run_tells_the_modules_faults_from_its_own(module: str, words: list[str], status: int, kind: str) -> None:
    done: Any = run(built(module), *words, "--check", "full")
    assert done.status == status, done.told
    assert f"{kind}: " in done.told if kind else "verdict: clean" in done.told


@pytest.mark.needs_headers
def test_a_run_that_does_not_repeat_itself_is_reported() -> None:
    first = run_module(RunOptions(str(built("examples/vmalloc_driver")), ram=96 << 20))
    _same_again(first, first)
    for changed in (
        replace(first, hashes={**first.hashes, "ram": "0"}),
        replace(first, hashes={**first.hashes, "events": "0"}),
        replace(first, dmesg=first.dmesg[:-1]),
        replace(first, verdict="findings"),
    ):
        with pytest.raises(InvariantViolated, match=r"came out different \(T[25]\)"):
            _same_again(first, changed)
