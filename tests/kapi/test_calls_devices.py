"""I/O memory, DMA, pools and what a device owns, called from Python by their C names, on both releases."""

from __future__ import annotations

from functools import cache

import pytest

import kmem
from kmem.kapi.executor import TaskDied
from kmem.kernel import Kernel

GFP_KERNEL, GFP_ZERO, GFP_NOWARN = 0xCC0, 0x100, 0x2000
HOLE = 0xD0000000
ERROR = (1 << 64) - 1
BIDIRECTIONAL, TO_DEVICE, FROM_DEVICE = 0, 1, 2
PAGE = 4096


@cache
def machine(release: str) -> tuple[Kernel, int]:
    k = kmem.boot(release=release, ram="128M")
    pdev: int = k.platform_device_alloc("owner", -1)
    assert k.platform_device_add(pdev) == 0
    for name in ("gen_pool_first_fit", "gen_pool_best_fit", "devm_gen_pool_release", "dmam_release"):
        k.address_of(name)
    k.snapshot()
    return k, pdev + k.layout["platform_device"].offset("dev")


@pytest.fixture(params=["6.1", "6.12"])
def k(request: pytest.FixtureRequest) -> Kernel:
    booted, _ = machine(request.param)
    booted.rollback()
    return booted


@pytest.fixture
def dev(k: Kernel) -> int:
    return machine(k.release.name)[1]


def flags(k: Kernel, p: int) -> int:
    """What caching the mapping of an address has: PWT, PCD and PAT of its entry."""
    return entry(k, p) & 0x98


def entry(k: Kernel, p: int) -> int:
    """What maps an address, 0 for nothing."""
    at, _ = k.mm.lookup_address(p)
    return k.mem.u64(at) if at else 0


def bytes_of(k: Kernel, p: int, n: int) -> bytes:
    return k.mem.read(p, n)


# I/O memory


def test_each_ioremap_has_its_caching(k: Kernel) -> None:
    found = {}
    for name in ("ioremap", "ioremap_uc", "ioremap_wc", "ioremap_wt", "ioremap_cache"):
        p = getattr(k, name)(HOLE, PAGE)
        found[name] = flags(k, p)
        k.iounmap(p)
    assert found == {
        "ioremap": 0x10,
        "ioremap_uc": 0x18,
        "ioremap_wc": 0x08,
        "ioremap_wt": 0x98,
        "ioremap_cache": 0x10,
    }, "cached where no memory is stays uncached, as the MTRRs say"
    p = k.ioremap_prot(HOLE, PAGE, 0x18)
    assert flags(k, p) == 0x18
    k.iounmap(p)
    assert f"{HOLE:016x}" not in k.proc("vmallocinfo")


def test_registers_are_read_and_written_by_width(k: Kernel) -> None:
    p = k.ioremap_cache(k.virt_to_phys(k.get_free_page(GFP_KERNEL)), PAGE) or k.get_free_page(GFP_KERNEL)
    for letter, value in (("b", 0x12), ("w", 0x1234), ("l", 0x12345678), ("q", 0x123456789ABCDEF0)):
        getattr(k, f"write{letter}")(value, p)
        assert getattr(k, f"read{letter}")(p) == value
    k.iowrite32(0xAABBCCDD, p)
    assert (k.ioread8(p), k.ioread16(p), k.ioread32(p)) == (0xDD, 0xCCDD, 0xAABBCCDD)


def test_io_memory_is_copied_and_set(k: Kernel) -> None:
    p, q = k.get_free_page(GFP_KERNEL), k.get_free_page(GFP_KERNEL)
    k.write(q, b"registers")
    k.memcpy_toio(p, q, 9)
    k.memset_io(p + 9, 0x7E, 3)
    k.memcpy_fromio(q + 100, p, 12)
    assert bytes_of(k, q + 100, 12) == b"registers~~~"


def test_memremap_of_memory_and_of_a_device(k: Kernel) -> None:
    assert k.memremap(4 << 20, PAGE, 1) == k.phys_to_virt(4 << 20)
    p = k.memremap(HOLE, PAGE, 4)
    assert flags(k, p) == 0x08
    k.memunmap(p)
    assert entry(k, p) & 1 == 0


def test_a_region_belongs_to_one(k: Kernel, dev: int) -> None:
    assert k.request_mem_region(HOLE, 0x2000, "one")
    assert not k.request_mem_region(HOLE + 0x1000, 0x1000, "two")
    assert f"{HOLE:08x}-{HOLE + 0x1FFF:08x} : one" in k.proc("iomem")
    k.release_mem_region(HOLE, 0x2000)
    assert k.devm_request_mem_region(dev, HOLE, 0x1000, "owned")
    assert not k.request_mem_region(HOLE, 0x1000, "two")


@pytest.mark.parametrize("name", ["devm_ioremap", "devm_ioremap_uc", "devm_ioremap_wc"])
def test_a_device_unmaps_what_it_mapped(k: Kernel, dev: int, name: str) -> None:
    p = getattr(k, name)(dev, HOLE, PAGE)
    assert flags(k, p) == {"devm_ioremap": 0x10, "devm_ioremap_uc": 0x18, "devm_ioremap_wc": 0x08}[name]
    k.devm_iounmap(dev, p)
    getattr(k, name)(dev, HOLE, PAGE)
    k.device_unregister(dev)
    assert f"{HOLE:016x}" not in k.proc("vmallocinfo")


def test_devm_memremap(k: Kernel, dev: int) -> None:
    p = k.devm_memremap(dev, HOLE, PAGE, 1)
    assert k.mm.is_vmalloc_addr(p)
    k.devm_memunmap(dev, p)
    assert entry(k, p) & 1 == 0


def test_devm_ioremap_resource_claims_and_maps(k: Kernel, dev: int) -> None:
    layout = k.layout["resource"]
    res = k.kzalloc(layout.size)
    for member, value in (("start", HOLE), ("end", HOLE + PAGE - 1), ("flags", 0x200)):
        k.mem.set_u64(res + layout.offset(member), value)
    p = k.devm_ioremap_resource(dev, res)
    assert k.mm.is_vmalloc_addr(p)
    assert k.devm_ioremap_resource(dev, res) == ERROR + 1 - 16, "it is claimed: -EBUSY"


# DMA


def test_a_coherent_buffer_is_zeroed_and_contiguous(k: Kernel, dev: int) -> None:
    handle = k.kmalloc(8)
    p = k.dma_alloc_coherent(dev, 5000, handle, GFP_KERNEL)
    assert k.mem.u64(handle) == k.virt_to_phys(p)
    assert bytes_of(k, p, 5000) == bytes(5000)
    k.dma_free_coherent(dev, 5000, p, k.mem.u64(handle))
    q = k.dma_alloc_attrs(dev, 5000, handle, GFP_KERNEL, 0)
    k.dma_free_attrs(dev, 5000, q, k.mem.u64(handle), 0)
    assert k.dma_alloc_coherent(dev, 16 << 20, handle, GFP_KERNEL | GFP_NOWARN) == 0


def test_write_combining_and_noncoherent_buffers(k: Kernel, dev: int) -> None:
    handle = k.kmalloc(8)
    p = k.dma_alloc_wc(dev, PAGE, handle, GFP_KERNEL)
    assert p
    k.dma_free_wc(dev, PAGE, p, k.mem.u64(handle))
    p = k.dma_alloc_noncoherent(dev, 2 * PAGE, handle, TO_DEVICE, GFP_KERNEL)
    assert k.virt_to_phys(p) == k.mem.u64(handle)
    k.dma_free_noncoherent(dev, 2 * PAGE, p, k.mem.u64(handle), TO_DEVICE)
    page = k.dma_alloc_pages(dev, 3 * PAGE, handle, BIDIRECTIONAL, GFP_KERNEL)
    assert k.page_to_pfn(page) << 12 == k.mem.u64(handle)
    k.dma_free_pages(dev, 3 * PAGE, page, k.mem.u64(handle), BIDIRECTIONAL)


def test_a_mapping_is_the_physical_address(k: Kernel, dev: int) -> None:
    p = k.kmalloc(1000)
    handle = k.dma_map_single(dev, p, 1000, TO_DEVICE)
    assert handle == k.virt_to_phys(p)
    assert k.dma_mapping_error(dev, handle) == 0
    k.dma_sync_single_for_cpu(dev, handle, 1000, TO_DEVICE)
    k.dma_sync_single_for_device(dev, handle, 1000, TO_DEVICE)
    k.dma_unmap_single(dev, handle, 1000, TO_DEVICE)
    page = k.alloc_page(GFP_KERNEL)
    handle = k.dma_map_page(dev, page, 8, 64, FROM_DEVICE)
    assert handle == (k.page_to_pfn(page) << 12) + 8
    k.dma_unmap_page(dev, handle, 64, FROM_DEVICE)
    assert k.dma_map_page_attrs(dev, page, 8, 64, FROM_DEVICE, 0) == handle
    k.dma_unmap_page_attrs(dev, handle, 64, FROM_DEVICE, 0)
    assert k.dma_map_resource(dev, HOLE, PAGE, BIDIRECTIONAL, 0) == HOLE


def test_vmalloc_memory_cannot_be_mapped_for_a_device(k: Kernel, dev: int) -> None:
    handle = k.dma_map_single(dev, k.vmalloc(PAGE), 64, TO_DEVICE)
    assert handle == ERROR
    assert k.dma_mapping_error(dev, handle) == -12
    assert "WARNING" in k.dmesg()


def test_a_mask_is_refused_or_obeyed(k: Kernel, dev: int) -> None:
    handle = k.kmalloc(8)
    assert k.dma_set_mask_and_coherent(dev, (1 << 20) - 1) == -5
    assert k.dma_set_mask_and_coherent(dev, (1 << 24) - 1) == 0
    assert k.dma_set_mask(dev, (1 << 32) - 1) == k.dma_set_coherent_mask(dev, (1 << 24) - 1) == 0
    assert k.dma_alloc_coherent(dev, PAGE, handle, GFP_KERNEL)
    assert k.mem.u64(handle) < 16 << 20


def test_scatterlists_are_mapped_entry_by_entry(k: Kernel, dev: int) -> None:
    layout, p = k.layout["scatterlist"], k.kmalloc(1024)
    table, sgl = k.kzalloc(16), k.kzalloc(2 * layout.size)
    k.sg_init_table(sgl, 2)
    k.mem.set_u64(table, sgl)
    k.mem.set_u32(table + 8, 2)
    k.mem.set_u32(table + 12, 2)
    for index in (0, 1):
        sg = sgl + index * layout.size
        link = k.mem.u64(sg) & 3
        k.mem.set_u64(sg, k.virt_to_page(p) | link)
        k.mem.set_u32(sg + layout.offset("offset"), p % PAGE + 512 * index)
        k.mem.set_u32(sg + layout.offset("length"), 512)
    assert k.dma_map_sg(dev, sgl, 2, TO_DEVICE) == 2
    handles = [k.mem.u64(sgl + index * layout.size + layout.offset("dma_address")) for index in (0, 1)]
    assert handles == [k.virt_to_phys(p), k.virt_to_phys(p) + 512]
    k.dma_sync_sg_for_cpu(dev, sgl, 2, TO_DEVICE)
    k.dma_unmap_sg(dev, sgl, 2, TO_DEVICE)
    assert k.dma_map_sg_attrs(dev, sgl, 2, TO_DEVICE, 0) == 2
    k.dma_unmap_sg_attrs(dev, sgl, 2, TO_DEVICE, 0)
    assert k.dma_map_sgtable(dev, table, TO_DEVICE, 0) == 0
    k.dma_unmap_sgtable(dev, table, TO_DEVICE, 0)


def test_a_managed_buffer_and_a_managed_pool(k: Kernel, dev: int) -> None:
    handle = k.kmalloc(8)
    p = k.dmam_alloc_coherent(dev, PAGE, handle, GFP_KERNEL)
    k.dmam_free_coherent(dev, PAGE, p, k.mem.u64(handle))
    pool = k.dmam_pool_create("managed", dev, 64, 64, 0)
    block = k.dma_pool_zalloc(pool, GFP_KERNEL, handle)
    assert bytes_of(k, block, 64) == bytes(64)
    k.dma_pool_free(pool, block, k.mem.u64(handle))
    k.dmam_pool_destroy(pool)
    assert "busy" not in k.dmesg()


def test_blocks_of_a_pool_keep_apart_and_within_boundaries(k: Kernel, dev: int) -> None:
    handle = k.kmalloc(8)
    pool = k.dma_pool_create("bounded", dev, 1000, 1, 2048)

    def block() -> tuple[int, int]:
        p = k.dma_pool_alloc(pool, GFP_KERNEL, handle)
        return p, k.mem.u64(handle)

    blocks = [block() for _ in range(5)]
    assert [dma for _, dma in blocks] == [k.virt_to_phys(p) for p, _ in blocks]
    assert [p - blocks[0][0] for p, _ in blocks[:4]] == [0, 1000, 2048, 3048]
    assert abs(blocks[4][0] - blocks[0][0]) >= PAGE, "the fifth is of another page"
    k.dma_pool_free(pool, *blocks[4])
    assert block() == blocks[4], "what was freed last comes first"
    for each in blocks:
        k.dma_pool_free(pool, *each)
    k.dma_pool_destroy(pool)
    assert "busy" not in k.dmesg()
    assert k.dma_pool_create("x", dev, 0, 0, 0) == k.dma_pool_create("x", dev, 8, 3, 0) == 0


def test_a_pool_that_is_destroyed_too_early_is_busy(k: Kernel, dev: int) -> None:
    pool = k.dma_pool_create("early", dev, 64, 64, 0)
    assert k.dma_pool_alloc(pool, GFP_KERNEL, k.kmalloc(8))
    k.dma_pool_destroy(pool)
    assert k.dmesg().splitlines()[-1].endswith(" busy")


# what a device owns


def test_managed_memory(k: Kernel, dev: int) -> None:
    p = k.devm_kzalloc(dev, 100, GFP_KERNEL)
    assert bytes_of(k, p, 100) == bytes(100)
    q = k.devm_krealloc(dev, p, 5000, GFP_KERNEL)
    assert q not in (0, p)
    k.devm_kfree(dev, q)
    assert k.devm_kmalloc(dev, 0, GFP_KERNEL) == 16
    assert k.devm_kmalloc_array(dev, 1 << 62, 8, GFP_KERNEL) == 0
    p = k.devm_kcalloc(dev, 10, 10, GFP_KERNEL)
    assert bytes_of(k, p, 100) == bytes(100)
    assert k.devm_kmalloc_array(dev, 10, 10, GFP_KERNEL)


def test_managed_copies(k: Kernel, dev: int) -> None:
    assert k.mem.cstr(k.devm_kstrdup(dev, "text", GFP_KERNEL)) == b"text"
    assert k.mem.cstr(k.devm_kstrdup_const(dev, "text", GFP_KERNEL)) == b"text"
    assert k.mem.cstr(k.devm_kasprintf(dev, GFP_KERNEL, "%s-%d", "printed", 7)) == b"printed-7"
    src = k.kmalloc(8)
    k.write(src, b"12345678")
    assert bytes_of(k, k.devm_kmemdup(dev, src, 8, GFP_KERNEL), 8) == b"12345678"


def test_managed_pages_and_per_cpu_memory(k: Kernel, dev: int) -> None:
    p = k.devm_get_free_pages(dev, GFP_KERNEL, 1)
    k.devm_free_pages(dev, p)
    q = k.devm_alloc_percpu(dev, 64)
    assert q
    k.devm_free_percpu(dev, q)
    assert "WARNING" not in k.dmesg()


def test_all_of_it_goes_with_the_device(k: Kernel, dev: int) -> None:
    for take in (
        lambda: k.devm_kmalloc(dev, 3000, GFP_KERNEL),
        lambda: k.devm_get_free_pages(dev, GFP_KERNEL, 2),
        lambda: k.devm_alloc_percpu(dev, 64),
        lambda: k.devm_gen_pool_create(dev, 4, -1, "pool"),
    ):
        assert take()
    k.device_unregister(dev)
    head = dev + k.layout["device"].offset("devres_head")
    assert k.mem.u64(head) == head


def test_actions_run_when_they_are_released(k: Kernel, dev: int) -> None:
    """kfree() serves as the action."""
    action = k.address_of("kfree")
    first, second, third = (k.kmalloc(64) for _ in range(3))
    assert k.devm_add_action(dev, action, first) == 0
    assert k.devm_add_action_or_reset(dev, action, second) == 0
    assert k.devm_add_action(dev, action, third) == 0
    k.devm_remove_action(dev, action, third)
    k.devm_release_action(dev, action, second)
    assert not alive(k, second)
    assert alive(k, first)
    k.device_unregister(dev)
    assert not alive(k, first)
    assert alive(k, third), "it was taken off"


def alive(k: Kernel, p: int) -> bool:
    """Whether the slab object is in use."""
    return not k.mm.core.k_object_is_free(p)


def test_a_group_is_released_alone(k: Kernel, dev: int) -> None:
    action = k.address_of("kfree")
    inside, outside = k.kmalloc(64), k.kmalloc(64)
    group = k.devres_open_group(dev, 0, GFP_KERNEL)
    k.devm_add_action(dev, action, inside)
    k.devres_close_group(dev, group)
    k.devm_add_action(dev, action, outside)
    assert k.devres_release_group(dev, group) == 1
    assert (alive(k, inside), alive(k, outside)) == (False, True)
    group = k.devres_open_group(dev, 0, GFP_KERNEL)
    k.devres_remove_group(dev, group)
    assert k.devres_release_group(dev, group) == 0
    assert "WARNING" in k.dmesg()


def test_resources_of_ones_own_are_found_by_their_release_function(k: Kernel, dev: int) -> None:
    release = k.address_of("devm_action_release")
    res = k.devres_alloc(release, 16, GFP_KERNEL)
    assert bytes_of(k, res, 16) == bytes(16)
    k.devres_add(dev, res)
    assert k.devres_find(dev, release, 0, 0) == res
    other = k.devres_alloc(release, 16, GFP_KERNEL)
    assert k.devres_get(dev, other, 0, 0) == res
    assert k.devres_remove(dev, release, 0, 0) == res
    k.devres_free(res)
    assert k.devres_find(dev, release, 0, 0) == 0
    k.devres_add(dev, k.devres_alloc(release, 16, GFP_KERNEL))
    assert (k.devres_destroy(dev, release, 0, 0), k.devres_destroy(dev, release, 0, 0)) == (0, -2)
    res = k.devres_alloc(k.address_of("devm_kmalloc_release"), 16, GFP_KERNEL)
    k.devres_add(dev, res)
    assert k.devres_release(dev, k.address_of("devm_kmalloc_release"), 0, 0) == 0


# special memory


def test_a_pool_of_special_memory(k: Kernel) -> None:
    pool = k.gen_pool_create(6, -1)
    assert k.gen_pool_add_virt(pool, 0x10000, 0xA0010000, 8192, -1) == 0
    a, b, c = (k.gen_pool_alloc(pool, size) for size in (100, 1000, 64))
    assert [a, b, c] == [0x10000, 0x10080, 0x10480]
    k.gen_pool_free(pool, b, 1000)
    k.gen_pool_free(pool, a, 100)
    d = k.gen_pool_alloc(pool, 3000)
    assert d == 0x104C0
    assert (k.gen_pool_avail(pool), k.gen_pool_size(pool)) == (8192 - 64 - 3008, 8192)
    k.gen_pool_set_algo(pool, k.address_of("gen_pool_best_fit"), 0)
    assert k.gen_pool_alloc(pool, 1100) == 0x10000
    assert k.gen_pool_virt_to_phys(pool, d) == 0xA00104C0
    assert (k.gen_pool_has_addr(pool, d, 3000), k.gen_pool_has_addr(pool, 0x10000, 9000)) == (True, False)
    assert k.gen_pool_alloc(pool, 10000) == 0
    with pytest.raises(TaskDied):
        k.gen_pool_destroy(pool)


@pytest.mark.parametrize(
    ("algo", "data", "where"),
    [
        ("gen_pool_first_fit", None, 0x10040),
        ("gen_pool_best_fit", None, 0x10040),
        ("gen_pool_first_fit_align", 1024, 0x10400),
        ("gen_pool_fixed_alloc", 0x200, 0x10200),
        ("gen_pool_first_fit_order_align", None, 0x10080),
    ],
)
def test_where_an_algorithm_puts_128_bytes(k: Kernel, algo: str, data: int | None, where: int) -> None:
    pool = k.gen_pool_create(6, -1)
    k.gen_pool_add(pool, 0x10000, 8192, -1)
    assert k.gen_pool_alloc(pool, 64) == 0x10000
    given = 0
    if data is not None:
        given = k.kmalloc(8)
        k.mem.set_u64(given, data)
    assert k.gen_pool_alloc_algo(pool, 128, k.address_of(algo), given) == where
    k.gen_pool_free(pool, where, 128)


def test_special_memory_for_dma(k: Kernel) -> None:
    pool, handle = k.gen_pool_create(6, -1), k.kmalloc(8)
    page = k.get_free_page(GFP_KERNEL)
    k.gen_pool_add_virt(pool, page, 0xA0000000, PAGE, -1)
    p = k.gen_pool_dma_zalloc(pool, 200, handle)
    assert (p, k.mem.u64(handle)) == (page, 0xA0000000)
    assert bytes_of(k, p, 200) == bytes(200)
    assert k.gen_pool_dma_alloc(pool, 200, handle) == page + 256
    assert k.mem.u64(handle) == 0xA0000100


def test_a_pool_is_found_by_device_and_name(k: Kernel, dev: int) -> None:
    pool = k.devm_gen_pool_create(dev, 6, -1, "sram")
    assert k.gen_pool_get(dev, "sram") == pool
    assert k.gen_pool_get(dev, "other") == k.gen_pool_get(dev, 0) == 0
    assert k.devm_gen_pool_create(dev, 6, -1, "sram") == ERROR + 1 - 22


# vmalloc


def test_vmalloc_node_with_an_alignment(k: Kernel) -> None:
    p = getattr(k, "__vmalloc_node")(PAGE, 1 << 16, GFP_KERNEL, -1, 0)
    assert p % (1 << 16) == 0
    k.vfree(p)


def test_vrealloc_moves_only_what_is_too_small(k: Kernel) -> None:
    p = k.vmalloc(PAGE)
    k.write(p, b"kept")
    assert k.vrealloc(p, 100) == p
    q = k.vrealloc(p, 3 * PAGE)
    assert q != p
    assert k.read(q, 4) == b"kept"
    assert k.vrealloc(q, 0) == 0
    assert k.vrealloc(0, PAGE)
    assert k.vrealloc(HOLE, PAGE) == 0
    assert "nonexistent vm area" in k.dmesg()


def test_a_set_of_caches_of_ones_own(k: Kernel) -> None:
    if k.release.name == "6.1":
        pytest.skip("sets of caches came with 6.11")
    b = k.kmem_buckets_create("own", 0, 0, 1 << 30, 0)
    p = k.kmem_buckets_alloc(b, 100, GFP_KERNEL)
    assert k.mm.slab_of(p) != k.mm.slab_of(k.kmalloc(100))
    assert k.ksize(p) == 128
    k.kfree(p)
