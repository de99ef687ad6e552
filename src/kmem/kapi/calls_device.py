"""The inlines and macros around I/O memory, DMA, device-managed memory and special memory, as calls of `Kernel`
(include/linux/dma-mapping.h, dmapool.h, device.h, genalloc.h, ioport.h, vmalloc.h, include/asm-generic/io.h; 6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kmem.abi.gfp import __GFP_NOWARN, __GFP_ZERO, GFP_KERNEL

if TYPE_CHECKING:
    from kmem.kernel import Kernel

SIZE_MAX = (1 << 64) - 1
DMA_MAPPING_ERROR = SIZE_MAX
DMA_ATTR_WRITE_COMBINE, DMA_ATTR_NO_WARN = 1 << 2, 1 << 8
ENOMEM = 12
PAGE_SIZE = 4096


def _quiet(gfp: int) -> int:
    return DMA_ATTR_NO_WARN if gfp & __GFP_NOWARN else 0


def _dma_alloc_wc(k: Kernel, dev: int, size: int, handle: int, gfp: int) -> int:
    return int(k.dma_alloc_attrs(dev, size, handle, gfp, DMA_ATTR_WRITE_COMBINE | _quiet(gfp)))


def _dma_alloc_noncoherent(k: Kernel, dev: int, size: int, handle: int, direction: int, gfp: int) -> int:
    page = k.dma_alloc_pages(dev, size, handle, direction, gfp)
    return k.mm.page_to_virt(page) if page else 0


def _dma_free_noncoherent(k: Kernel, dev: int, size: int, vaddr: int, handle: int, direction: int) -> None:
    k.dma_free_pages(dev, size, k.mm.virt_to_page(vaddr), handle, direction)


def _dma_map_single(k: Kernel, dev: int, p: int, size: int, direction: int) -> int:
    """``dma_map_single()``: vmalloc memory is rejected with a warning."""
    if k.mm.is_vmalloc_addr(p):
        k.warn("include/linux/dma-mapping.h", 330, k.serving() or "dma_map_single", once=True)
        return DMA_MAPPING_ERROR
    return int(k.dma_map_page_attrs(dev, k.mm.virt_to_page(p), p % PAGE_SIZE, size, direction, 0))


def _dma_unmap_sgtable(k: Kernel, dev: int, sgt: int, direction: int, attrs: int) -> None:
    table = k.layout["sg_table"]
    sgl, entries = k.mem.u64(sgt + table.offset("sgl")), k.mem.u32(sgt + table.offset("orig_nents"))
    k.dma_unmap_sg_attrs(dev, sgl, entries, direction, attrs)


def _dma_set_mask_and_coherent(k: Kernel, dev: int, mask: int) -> int:
    refused = k.dma_set_mask(dev, mask)
    if not refused:
        k.dma_set_coherent_mask(dev, mask)
    return int(refused)


def _devm_kmalloc_array(k: Kernel, dev: int, n: int, size: int, gfp: int) -> int:
    return 0 if n * size > SIZE_MAX else int(k.devm_kmalloc(dev, n * size, gfp))


def _devm_add_action_or_reset(k: Kernel, dev: int, action: int, data: int) -> int:
    failed = k.devm_add_action(dev, action, data)
    if failed:
        k.run_guest(action, data)
    return int(failed)


def _devm_request_mem_region(k: Kernel, dev: int, start: int, n: int, name: str) -> int:
    return int(getattr(k, "__devm_request_region")(dev, k.address_of("iomem_resource"), start, n, name))


def _gen_pool_add(k: Kernel, pool: int, addr: int, size: int, nid: int) -> int:
    return int(k.gen_pool_add_owner(pool, addr, SIZE_MAX, size, nid, 0))


def _gen_pool_alloc(k: Kernel, pool: int, size: int) -> int:
    layout = k.layout["gen_pool"]
    algo, data = (k.mem.u64(pool + layout.offset(member)) for member in ("algo", "data"))
    return int(k.gen_pool_alloc_algo_owner(pool, size, algo, data, 0))


def _vrealloc(k: Kernel, p: int, size: int, gfp: int = GFP_KERNEL) -> int:
    """``void *vrealloc(const void *p, size_t size, gfp_t flags)``, 6.12: moves only what is too small, and wipes what
    is cut off if wiping is wanted. NULL, and *p* stays, on failure.
    """
    if not size:
        k.mm.vfree(p)
        return 0
    info = k.mm.vmalloc_area_info(p) if p else None
    if p and info is None:
        k.warn(
            "mm/vmalloc.c", 4104, "vrealloc_noprof", f"Trying to vrealloc() nonexistent vm area ({k.hash_pointer(p)})\n"
        )
        return 0
    old = info[0] * PAGE_SIZE if info else 0
    if size <= old:
        if gfp & __GFP_ZERO or k.mm.config.init_on_alloc:
            k.mem.fill(p + size, 0, old - size)
        return p
    new = k.mm.vmalloc(size, gfp)
    if new and p:
        k.mem.write(new, k.mem.read(p, old))
        k.mm.vfree(p)
    return new


def _kmalloc_flex(k: Kernel, size: int, element: int, n: int, gfp: int = GFP_KERNEL) -> int:
    """``kmalloc_flex()``: a struct of *size* bytes and *n* elements behind it."""
    return 0 if size + n * element > SIZE_MAX else k.mm.kmalloc(size + n * element, gfp)


def _io(k: Kernel, name: str, *args: int) -> Any:
    return getattr(k, name)(*args)


INLINES: dict[str, Callable[..., Any]] = {
    "ioremap_np": lambda k, phys, size: 0,  # x86 has no mapping without posted writes
    "vrealloc": _vrealloc,
    **{
        f"read{letter}": lambda k, addr, bits=bits: _io(k, f"ioread{bits}", addr)
        for letter, bits in (("b", 8), ("w", 16), ("l", 32))
    },
    **{
        f"write{letter}": lambda k, value, addr, bits=bits: _io(k, f"iowrite{bits}", value, addr)
        for letter, bits in (("b", 8), ("w", 16), ("l", 32))
    },
    "readq": lambda k, addr: k.mem.u64(addr),
    "writeq": lambda k, value, addr: k.mem.set_u64(addr, value),
    "devm_request_mem_region": _devm_request_mem_region,
    "dma_alloc_coherent": lambda k, dev, size, handle, gfp: k.dma_alloc_attrs(dev, size, handle, gfp, _quiet(gfp)),
    "dma_free_coherent": lambda k, dev, size, vaddr, handle: k.dma_free_attrs(dev, size, vaddr, handle, 0),
    "dma_alloc_wc": _dma_alloc_wc,
    "dma_free_wc": lambda k, dev, size, vaddr, handle: k.dma_free_attrs(
        dev, size, vaddr, handle, DMA_ATTR_WRITE_COMBINE
    ),
    "dma_alloc_noncoherent": _dma_alloc_noncoherent,
    "dma_free_noncoherent": _dma_free_noncoherent,
    "dma_map_single": _dma_map_single,
    "dma_unmap_single": lambda k, dev, addr, size, direction: k.dma_unmap_page_attrs(dev, addr, size, direction, 0),
    "dma_map_page": lambda k, dev, page, offset, size, direction: k.dma_map_page_attrs(
        dev, page, offset, size, direction, 0
    ),
    "dma_unmap_page": lambda k, dev, addr, size, direction: k.dma_unmap_page_attrs(dev, addr, size, direction, 0),
    "dma_map_sg": lambda k, dev, sg, nents, direction: k.dma_map_sg_attrs(dev, sg, nents, direction, 0),
    "dma_unmap_sg": lambda k, dev, sg, nents, direction: k.dma_unmap_sg_attrs(dev, sg, nents, direction, 0),
    "dma_unmap_sgtable": _dma_unmap_sgtable,
    "dma_mapping_error": lambda k, dev, addr: -ENOMEM if addr == DMA_MAPPING_ERROR else 0,
    "dma_set_mask_and_coherent": _dma_set_mask_and_coherent,
    "dma_pool_zalloc": lambda k, pool, gfp, handle: k.dma_pool_alloc(pool, gfp | __GFP_ZERO, handle),
    "dmam_alloc_coherent": lambda k, dev, size, handle, gfp: k.dmam_alloc_attrs(dev, size, handle, gfp, _quiet(gfp)),
    "devm_kzalloc": lambda k, dev, size, gfp: k.devm_kmalloc(dev, size, gfp | __GFP_ZERO),
    "devm_kmalloc_array": _devm_kmalloc_array,
    "devm_kcalloc": lambda k, dev, n, size, gfp: _devm_kmalloc_array(k, dev, n, size, gfp | __GFP_ZERO),
    "devm_alloc_percpu": lambda k, dev, size, align=8: getattr(k, "__devm_alloc_percpu")(dev, size, align),
    "devm_add_action_or_reset": _devm_add_action_or_reset,
    "devres_alloc": lambda k, release, size, gfp: getattr(k, "__devres_alloc_node")(release, size, gfp, -1, "release"),
    "gen_pool_add": _gen_pool_add,
    "gen_pool_add_virt": lambda k, pool, virt, phys, size, nid: k.gen_pool_add_owner(pool, virt, phys, size, nid, 0),
    "gen_pool_alloc": _gen_pool_alloc,
    "gen_pool_alloc_algo": lambda k, pool, size, algo, data: k.gen_pool_alloc_algo_owner(pool, size, algo, data, 0),
    "gen_pool_free": lambda k, pool, addr, size: k.gen_pool_free_owner(pool, addr, size, 0),
    "kmalloc_obj": lambda k, size, gfp=GFP_KERNEL: k.mm.kmalloc(size, gfp),
    "kmalloc_objs": lambda k, size, n, gfp=GFP_KERNEL: k.mm.kmalloc_array(n, size, gfp),
    "kmalloc_flex": _kmalloc_flex,
    "kmem_buckets_alloc": lambda k, b, size, gfp: getattr(k, "__kmalloc_node_noprof")(size, b, gfp, -1),
}
"""By name; arguments as in C."""
