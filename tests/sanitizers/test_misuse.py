"""Calls that are wrong without a wrong access: what is handed to a device, flags of an allocation, what stays
registered, sleeping where that is forbidden. Each has its right form, where nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kmem
from kmem.kapi.forbidden import instead
from kmem.kernel import Kernel
from kmem.modules.kbuild import build
from kmem.runner import report_leaks
from kmem.sanitizers.report import Finding, Findings

KMOD = Path(__file__).resolve().parent.parent / "kmod"
SOURCE = (KMOD / "misuse" / "misuse.c").read_text().splitlines()

pytestmark = pytest.mark.needs_headers


def line_of(text: str) -> int:
    [number] = [number for number, line in enumerate(SOURCE, 1) if text in line]
    return number


@pytest.fixture(scope="module")
def machine() -> Iterator[Kernel]:
    [path] = build(KMOD / "misuse").modules
    with kmem.boot(ram="128M", check="fast") as kernel:
        kernel.insmod(path).rmmod()
        assert not list(kernel.findings)
        kernel.snapshot()
        yield kernel


def findings(kernel: Kernel, what: str) -> list[Finding]:
    kernel.rollback()
    kernel.findings = Findings()
    [path] = build(KMOD / "misuse").modules
    kernel.insmod(path, what=what).rmmod()
    kernel.drain()
    report_leaks(kernel)
    return list(kernel.findings)


@pytest.mark.parametrize("what", ["nothing", "dma_right", "dma_from_device", "sg_right", "gfp_right"])
def test_the_right_form_finds_nothing(machine: Kernel, what: str) -> None:
    assert findings(machine, what) == []


MAP = "dma_addr_t addr = dma_map_page("


@pytest.mark.parametrize(
    ("what", "kind", "words", "line"),
    [
        ("dma_unwritten", "uninitialised-leak", "DMA to a device of 200 bytes that were never written", MAP),
        ("dma_beyond", "out-of-bounds", "0 bytes right of 200 bytes", MAP),
        ("dma_write_beyond", "out-of-bounds", "write of 51 bytes 0 bytes right of 200 bytes", MAP),
        ("dma_freed", "use-after-free", "write of 200 bytes", MAP),
        ("dma_vmalloc", "api-misuse", "not in the direct map", MAP),
        ("dma_stack", "api-misuse", "not in the direct map", MAP),
        ("dma_global", "api-misuse", "not in the direct map", MAP),
        ("sg_beyond", "out-of-bounds", "0 bytes right of 200 bytes", "if (dma_map_sg("),
        ("gfp_zones", "bad-gfp", "__GFP_DMA and __GFP_HIGHMEM together", "__GFP_DMA | __GFP_HIGHMEM, 0"),
        ("nofail_large", "bad-gfp", "more than two pages cannot be promised", "64 << 10, GFP_KERNEL"),
        ("nofail_atomic", "bad-gfp", "__GFP_NOFAIL without", "GFP_ATOMIC | __GFP_NOFAIL"),
        ("vmalloc_atomic", "bad-gfp", "it sleeps whatever the flags", "__vmalloc(8192, GFP_ATOMIC)"),
        ("leave_proc", "leak", "an entry of /proc is still registered", "proc_create("),
        ("leave_misc", "leak", "a misc device is still registered", "misc_register("),
        ("leave_cdev", "leak", "a character device is still registered", "cdev_add("),
        ("leave_region", "leak", "a region of device numbers is still registered", "alloc_chrdev_region("),
    ],
)
def test_the_wrong_form_is_found_where_it_stands(machine: Kernel, what: str, kind: str, words: str, line: str) -> None:
    found = [one for one in findings(machine, what) if str(one.kind) == kind]
    assert found, list(machine.findings)
    assert words in found[0].message
    assert (Path(found[0].file).name, found[0].line) == ("misuse.c", line_of(line))


def test_what_the_headers_check_themselves_is_the_kernels_warning(machine: Kernel) -> None:
    [finding] = findings(machine, "dma_single_stack")
    assert str(finding.kind) == "warning"
    assert "rejecting DMA map of vmalloc memory" in machine.dmesg()


@pytest.mark.parametrize(
    ("mode", "op", "who", "advice"),
    [
        ("spin", "kmalloc", "insmod holds a spinlock, taken at under_spinlock() (", "GFP_ATOMIC instead of GFP_KERNEL"),
        ("spin", "msleep", "insmod holds a spinlock, taken at", "mdelay() or udelay()"),
        ("rcu", "vmalloc", "this is an RCU reader, since under_rcu() (", "allocate before"),
        ("rcu", "msleep", "this is an RCU reader, since under_rcu() (", "mdelay()"),
        ("irqoff", "pages", "interrupts are disabled", "GFP_ATOMIC"),
        ("irqoff", "msleep", "interrupts are disabled", "sleep after"),
    ],
)
def test_sleeping_where_that_is_forbidden_names_who_forbade_it(mode: str, op: str, who: str, advice: str) -> None:
    [path] = build(KMOD / "atomic").modules
    with kmem.boot(ram="128M", check="fast") as kernel:
        kernel.insmod(path, mode=mode, op=op)
        first = next(iter(kernel.findings))
    assert str(first.kind) == "sleep-in-atomic"
    assert who in first.advice
    assert advice in first.advice
    assert first.advice in str(first)


def test_there_is_advice_for_the_usual_sleepers() -> None:
    assert "GFP_ATOMIC" in instead("__kmalloc")
    assert "spinlock" in instead("mutex_lock")
    assert "buffer" in instead("_copy_from_user")
    assert instead("") == ""
    assert instead("anything_else")
