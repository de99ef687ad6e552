"""Rollback between loads of modules: each load finds the machine as it was, whatever was started since."""

from __future__ import annotations

from pathlib import Path

import pytest

import kmem
from kmem.errors import KmemError
from kmem.kernel import Kernel
from kmem.mm.validate import check
from kmem.modules.kbuild import build

pytestmark = pytest.mark.needs_headers

DRIVER = r"""
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
static int fail;
module_param(fail, int, 0444);
static void *kept, *area;
static int __init drv_init(void)
{
	kept = kmalloc(100, GFP_KERNEL);
	area = vmalloc(10000);
	pr_info("drv: %d %d\n", kept != NULL, area != NULL);
	return fail;
}
static void __exit drv_exit(void)
{
	vfree(area);
	kfree(kept);
	kfree(NULL);
}
module_init(drv_init);
module_exit(drv_exit);
MODULE_LICENSE("GPL");
"""
OTHER = r"""
#include <linux/module.h>
#include <linux/string.h>
#include <linux/slab.h>
static char *copy;
static int __init other_init(void)
{
	copy = kstrdup("other", GFP_KERNEL);
	pr_info("other: %s\n", copy);
	return 0;
}
static void __exit other_exit(void) { kfree(copy); }
module_init(other_init);
module_exit(other_exit);
MODULE_LICENSE("GPL");
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two drivers that import different functions."""
    found = []
    for name, text in (("drv", DRIVER), ("other", OTHER)):
        source = tmp_path_factory.mktemp(name) / f"{name}.c"
        source.write_text(text)
        (made,) = build(source).modules
        found.append(made)
    return found[0], found[1]


def load(k: Kernel, driver: Path) -> str:
    """Load and unload; what was logged."""
    before = len(k.dmesg())
    k.insmod(driver).rmmod()
    return k.dmesg()[before:]


def test_a_snapshot_before_the_first_insmod(modules: tuple[Path, Path]) -> None:
    drv, other = modules
    with kmem.boot(ram="128M") as k:
        k.snapshot()
        clean = k.mm.ram.hash()
        first = load(k, drv)
        assert "drv: 1 1" in first
        k.rollback()
        assert k.mm.ram.hash() == clean
        assert load(k, drv) == first
        k.rollback()
        assert "other: other" in load(k, other)
        k.rollback()
        assert load(k, drv) == first
        assert not k.findings
        assert check(k.mm) == []


def test_a_snapshot_after_the_first_insmod_and_functions_first_linked_to_afterwards(modules: tuple[Path, Path]) -> None:
    drv, other = modules
    with kmem.boot(ram="128M") as k:
        load(k, other)
        k.snapshot()
        clean = k.mm.ram.hash()
        first = load(k, drv)
        for _ in range(3):
            k.rollback()
            assert k.mm.ram.hash() == clean
            assert load(k, drv) == first
        assert "other: other" in load(k, other)
        assert not k.findings
        assert check(k.mm) == []


def test_what_a_module_held_when_the_machine_was_rolled_back_is_no_leak_and_not_given_out_twice(
    modules: tuple[Path, Path],
) -> None:
    drv, _ = modules
    with kmem.boot(ram="128M") as k:
        k.snapshot()
        for _ in range(2):
            k.insmod(drv)
            k.drain()
            assert len(k.leaks.live()) == 2
            k.rollback()
            assert k.leaks.live() == []
        assert not k.findings


def test_what_was_held_at_the_snapshot_is_held_again(modules: tuple[Path, Path]) -> None:
    drv, _ = modules
    with kmem.boot(ram="128M") as k:
        loaded = k.insmod(drv)
        k.snapshot()
        loaded.rmmod()
        k.drain()
        assert k.leaks.live() == []
        k.rollback()
        assert [allocation.event.kind for allocation in k.leaks.live()] == ["kmalloc", "vmalloc"]
        loaded.rmmod()
        k.drain()
        assert k.leaks.live() == []


def test_a_load_that_fails_leaves_nothing_for_the_next(modules: tuple[Path, Path]) -> None:
    drv, _ = modules
    with kmem.boot(ram="128M") as k:
        k.snapshot()
        for _ in range(3):
            with pytest.raises(KmemError, match="ENOMEM"):
                k.insmod(drv, fail=-12)
            k.rollback()
        load(k, drv)
