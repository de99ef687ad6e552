"""Devices, DMA, pools and special memory, called from Python by their C names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kmem
from kmem.kapi.executor import TaskDied

GFP_KERNEL = 0xCC0


@pytest.fixture
def k() -> Iterator[kmem.Kernel]:
    with kmem.boot(ram="128M") as machine:
        yield machine


@pytest.fixture
def dev(k: kmem.Kernel) -> int:
    pdev: int = k.platform_device_alloc("owner", -1)
    assert k.platform_device_add(pdev) == 0
    return pdev + k.layout["platform_device"].offset("dev")


def test_a_device_gives_back_what_it_owns(k: kmem.Kernel, dev: int) -> None:
    handle = k.kmalloc(8)
    assert k.devm_kmalloc(dev, 100, GFP_KERNEL)
    assert k.dmam_alloc_attrs(dev, 8192, handle, GFP_KERNEL, 0)
    assert k.devm_get_free_pages(dev, GFP_KERNEL, 2)
    assert k.devm_ioremap(dev, 0xFEB00000, 4096)
    assert "phys=0x00000000feb00000" in k.proc("vmallocinfo")
    k.device_unregister(dev)
    assert "phys=0x00000000feb00000" not in k.proc("vmallocinfo")


def test_devm_kfree_of_what_the_device_does_not_have_warns(k: kmem.Kernel, dev: int) -> None:
    k.devm_kfree(dev, k.devm_kmalloc(dev, 64, GFP_KERNEL))
    assert "WARNING" not in k.dmesg()
    k.devm_kfree(dev, k.kmalloc(64))
    assert "at drivers/base/devres.c:1073" in k.dmesg()


def test_a_dma_pool_with_blocks_in_use_is_busy(k: kmem.Kernel, dev: int) -> None:
    handle = k.kmalloc(8)
    pool = k.dma_pool_create("busy one", dev, 64, 64, 0)
    block = k.dma_pool_alloc(pool, GFP_KERNEL, handle)
    assert block == k.phys_to_virt(k.mem.u64(handle))
    k.dma_pool_free(pool, block, 0x1234)
    assert "dma_pool_free busy one" in k.dmesg()
    k.dma_pool_destroy(pool)
    assert k.dmesg().splitlines()[-1].endswith(" busy")


def test_memory_beyond_the_mask_of_a_device_is_an_overflow(k: kmem.Kernel, dev: int) -> None:
    assert k.dma_set_mask(dev, (1 << 24) - 1) == 0
    page = k.virt_to_page(k.phys_to_virt(100 << 20))
    assert k.dma_map_page_attrs(dev, page, 0, 64, 1, 0) == (1 << 64) - 1
    assert "owner: DMA addr 0x0000000006400000+64 overflow (mask ffffff, bus limit 0)." in k.dmesg()
    assert k.dma_map_page_attrs(dev, k.virt_to_page(k.phys_to_virt(1 << 20)), 8, 64, 1, 0) == (1 << 20) + 8


def test_special_memory_that_is_still_used_stops_the_kernel(k: kmem.Kernel) -> None:
    pool = k.gen_pool_create(4, -1)
    k.gen_pool_add_owner(pool, 0x1000, 0x1000, 256, -1, 0)
    assert k.gen_pool_avail(pool) == k.gen_pool_size(pool) == 256
    assert k.gen_pool_alloc_algo_owner(pool, 20, k.address_of("gen_pool_first_fit"), 0, 0) == 0x1000
    assert k.gen_pool_avail(pool) == 224
    with pytest.raises(TaskDied):
        k.gen_pool_destroy(pool)
    assert "kernel BUG at lib/genalloc.c:255" in k.dmesg()


def test_a_name_that_nobody_has_is_an_attribute_error(k: kmem.Kernel) -> None:
    with pytest.raises(AttributeError, match="no_such_function"):
        k.no_such_function(1)
