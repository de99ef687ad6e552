"""DMA without an IOMMU (kernel/dma/mapping.c, kernel/dma/direct.c), 6.1: a device's address is the physical address.

A buffer comes from the page allocator, from the zone that the device's mask asks for. What a device cannot reach is
refused. Simplified: there are no bounce buffers (swiotlb), as on a machine whose memory ends below 4 GiB; device trees
that say otherwise (``dma_range_map``), device-private pools and CMA are not looked at.
"""

from __future__ import annotations

from kmem.abi import gfp
from kmem.abi.address import PAGE_OFFSET
from kmem.kapi.device import describe, dev_print
from kmem.kapi.devres import devres_add, free, own, take
from kmem.kapi.errno import EINVAL, EIO
from kmem.kapi.export import export, faithful, family, simplified, stub
from kmem.kapi.host import Host
from kmem.kapi.logbuf import ERR

PAGE_SIZE = 4096
DMA_MAPPING_ERROR = (1 << 64) - 1
SIZE_MAX = (1 << 64) - 1
ZONE_DMA_MASK, DMA32_MASK = (1 << 24) - 1, (1 << 32) - 1
DMA_ATTR_NO_KERNEL_MAPPING, DMA_ATTR_NO_WARN = 1 << 4, 1 << 8
MAPPING, DIRECT = "kernel/dma/mapping.c", "kernel/dma/direct.h"
_NO_BOUNCE = simplified("there are no bounce buffers: memory that the device cannot reach is refused")
COHERENT = simplified("the caches of x86 are coherent: nothing is to be done")


class _Device:
    """What DMA looks at in the ``struct device`` at *address*."""

    def __init__(self, k: Host, address: int) -> None:
        self.k, self.address, self._layout = k, address, k.layout["device"]

    def word(self, member: str) -> int:
        return self.k.mem.u64(self.address + self._layout.offset(member))

    @property
    def mask_at(self) -> int:
        """``dev->dma_mask``, a pointer."""
        return self.word("dma_mask")

    @property
    def mask(self) -> int:
        """``*dev->dma_mask``, or 0."""
        return self.k.mem.u64(self.mask_at) if self.mask_at else 0

    def _limit(self, mask: int) -> int:
        """``min_not_zero(mask, dev->bus_dma_limit)``."""
        bus = self.word("bus_dma_limit")
        return min(mask, bus) if mask and bus else mask or bus

    def reaches(self, phys: int, size: int) -> bool:
        """``dma_capable()``: for streaming mappings."""
        return bool(self.mask_at) and phys + size - 1 <= self._limit(self.mask)

    @property
    def coherent_limit(self) -> int:
        """The last address of coherent memory."""
        return self._limit(self.word("coherent_dma_mask"))


def get_order(size: int) -> int:
    """``get_order()``."""
    return ((size - 1) >> 12).bit_length() if size else 52


def _pages(k: Host, dev: int, size: int, gfp_mask: int) -> int:
    """``__dma_direct_alloc_pages()``: pages that the device reaches, or 0; tries lower zones in turn."""
    device = _Device(k, dev)
    limit = device.coherent_limit
    zone = gfp.__GFP_DMA if limit <= ZONE_DMA_MASK else gfp.__GFP_DMA32 if limit <= DMA32_MASK else 0
    gfp_mask |= zone
    order = get_order(size)
    while True:
        page = k.mm.alloc_pages(gfp_mask, order)
        if not page or (k.mm.page_to_pfn(page) << 12) + size - 1 <= limit:
            return page
        k.mm.free_pages(page, order)
        if not gfp_mask & (gfp.__GFP_DMA32 | gfp.__GFP_DMA):
            gfp_mask |= gfp.__GFP_DMA32
        elif not gfp_mask & gfp.__GFP_DMA:
            gfp_mask = gfp_mask & ~gfp.__GFP_DMA32 | gfp.__GFP_DMA
        else:
            return 0


@export(simplified("pages of their own are taken for atomic allocations too, and there is no CMA"))
def dma_alloc_attrs(k: Host, dev: int, size: int, dma_handle: int, flag: int, attrs: int) -> int:
    """``void *dma_alloc_attrs(struct device *dev, size_t size, dma_addr_t *dma_handle, gfp_t flag, unsigned long
    attrs)``

    kernel/dma/mapping.c, 6.1. What dma_alloc_coherent() and dma_alloc_wc() become: zeroed, in whole pages of a power of
    two, below the device's coherent mask. NULL on failure.
    """
    device = _Device(k, dev)
    if not device.word("coherent_dma_mask"):
        k.warn(MAPPING, 499, "dma_alloc_attrs", once=True)
    flag &= ~(gfp.__GFP_DMA | gfp.__GFP_DMA32 | gfp.__GFP_HIGHMEM)
    if attrs & DMA_ATTR_NO_WARN:
        flag |= gfp.__GFP_NOWARN
    size = -(-size // PAGE_SIZE) * PAGE_SIZE
    page = _pages(k, dev, size, flag & ~gfp.__GFP_ZERO)
    if not page:
        return 0
    addr = k.mm.page_to_virt(page)
    k.mem.set_u64(dma_handle, addr - PAGE_OFFSET)
    if attrs & DMA_ATTR_NO_KERNEL_MAPPING:
        return page
    k.mem.fill(addr, 0, size)
    return addr


@export(faithful)
def dma_free_attrs(k: Host, dev: int, size: int, cpu_addr: int, dma_handle: int, attrs: int) -> None:
    """``void dma_free_attrs(struct device *dev, size_t size, void *cpu_addr, dma_addr_t dma_handle, unsigned long
    attrs)``

    kernel/dma/mapping.c, 6.1. Not with interrupts off; NULL is allowed.
    """
    if k.context.irqs_disabled():
        k.warn(MAPPING, 533, "dma_free_attrs")
    if cpu_addr:
        page = cpu_addr if attrs & DMA_ATTR_NO_KERNEL_MAPPING else k.mm.virt_to_page(cpu_addr)
        k.mm.free_pages(page, get_order(size))


@export(simplified("there is no CMA"))
def dma_alloc_pages(k: Host, dev: int, size: int, dma_handle: int, dir: int, gfp_mask: int) -> int:
    """``struct page *dma_alloc_pages(struct device *dev, size_t size, dma_addr_t *dma_handle, enum dma_data_direction
    dir, gfp_t gfp)``

    kernel/dma/mapping.c, 6.1. dma_alloc_noncoherent() is an inline around it. Zeroed.
    """
    if not _Device(k, dev).word("coherent_dma_mask"):
        k.warn(MAPPING, 551, "__dma_alloc_pages", once=True)
    if gfp_mask & (gfp.__GFP_DMA | gfp.__GFP_DMA32 | gfp.__GFP_HIGHMEM):
        k.warn(MAPPING, 553, "__dma_alloc_pages", once=True)
        return 0
    size = -(-size // PAGE_SIZE) * PAGE_SIZE
    page = _pages(k, dev, size, gfp_mask)
    if page:
        addr = k.mm.page_to_virt(page)
        k.mem.fill(addr, 0, size)
        k.mem.set_u64(dma_handle, addr - PAGE_OFFSET)
    return page


@export(faithful)
def dma_free_pages(k: Host, dev: int, size: int, page: int, dma_handle: int, dir: int) -> None:
    """``void dma_free_pages(struct device *dev, size_t size, struct page *page, dma_addr_t dma_handle, enum
    dma_data_direction dir)``

    kernel/dma/mapping.c, 6.1.
    """
    k.mm.free_pages(page, get_order(-(-size // PAGE_SIZE) * PAGE_SIZE))


def _overflow(device: _Device, phys: int, size: int) -> str:
    limits = f"(mask {device.mask:x}, bus limit {device.word('bus_dma_limit'):x})"
    return f"DMA addr {phys:#018x}+{size} overflow {limits}.\n"


def _direct_map(k: Host, dev: int, phys: int, size: int) -> int:
    """``dma_direct_map_page()``."""
    device = _Device(k, dev)
    if device.reaches(phys, size):
        return phys
    message = f"{describe(k, dev)}{_overflow(device, phys, size)}"
    k.warn(DIRECT, 103, "dma_direct_map_page", message, once=True)
    return DMA_MAPPING_ERROR


@export(_NO_BOUNCE)
def dma_map_page_attrs(k: Host, dev: int, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
    """``dma_addr_t dma_map_page_attrs(struct device *dev, struct page *page, size_t offset, size_t size, enum
    dma_data_direction dir, unsigned long attrs)``

    kernel/dma/mapping.c, 6.1. What dma_map_single() becomes. DMA_MAPPING_ERROR for what the device cannot reach.
    """
    if dir not in (0, 1, 2):
        k.bug(MAPPING, 150, "dma_map_page_attrs")
    if not _Device(k, dev).mask_at:
        k.warn(MAPPING, 152, "dma_map_page_attrs", once=True)
        return DMA_MAPPING_ERROR
    return _direct_map(k, dev, (k.mm.page_to_pfn(page) << 12) + offset, size)


@export(COHERENT)
def dma_unmap_page_attrs(k: Host, dev: int, addr: int, size: int, dir: int, attrs: int) -> None:
    """``void dma_unmap_page_attrs(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir,
    unsigned long attrs)``

    kernel/dma/mapping.c, 6.1.
    """
    if dir not in (0, 1, 2):
        k.bug(MAPPING, 172, "dma_unmap_page_attrs")


class _Scatterlist:
    """``for_each_sg()``: the entries of a list, chains followed."""

    def __init__(self, k: Host) -> None:
        self.k, self.layout = k, k.layout["scatterlist"]

    def entries(self, sg: int, nents: int) -> list[int]:
        found = []
        for _ in range(nents):
            link = self.k.mem.u64(sg)
            if link & 1:
                sg = link & ~3
            found.append(sg)
            sg += self.layout.size
        return found

    def map(self, dev: int, sg: int, nents: int) -> bool:
        mem, offset = self.k.mem, self.layout.offset
        for entry in self.entries(sg, nents):
            page, length = mem.u64(entry) & ~3, mem.u32(entry + offset("length"))
            phys = (self.k.mm.page_to_pfn(page) << 12) + mem.u32(entry + offset("offset"))
            handle = _direct_map(self.k, dev, phys, length)
            if handle == DMA_MAPPING_ERROR:
                return False
            mem.set_u64(entry + offset("dma_address"), handle)
            mem.set_u32(entry + offset("dma_length"), length)
        return True


def _map_sg(k: Host, dev: int, sg: int, nents: int, dir: int) -> int:
    """``__dma_map_sg_attrs()``."""
    if dir not in (0, 1, 2):
        k.bug(MAPPING, 188, "__dma_map_sg_attrs")
    if not _Device(k, dev).mask_at:
        k.warn(MAPPING, 190, "__dma_map_sg_attrs", once=True)
        return 0
    return nents if _Scatterlist(k).map(dev, sg, nents) else -EIO


@export(_NO_BOUNCE)
def dma_map_sg_attrs(k: Host, dev: int, sg: int, nents: int, dir: int, attrs: int) -> int:
    """``unsigned int dma_map_sg_attrs(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction
    dir, unsigned long attrs)``

    kernel/dma/mapping.c, 6.1. How many entries were mapped: all, or none.
    """
    return max(0, _map_sg(k, dev, sg, nents, dir))


@export(_NO_BOUNCE)
def dma_map_sgtable(k: Host, dev: int, sgt: int, dir: int, attrs: int) -> int:
    """``int dma_map_sgtable(struct device *dev, struct sg_table *sgt, enum dma_data_direction dir, unsigned long
    attrs)``

    kernel/dma/mapping.c, 6.1. 0, -EINVAL or -EIO.
    """
    table = k.layout["sg_table"]
    entries = k.mem.u32(sgt + table.offset("orig_nents"))
    mapped = _map_sg(k, dev, k.mem.u64(sgt + table.offset("sgl")), entries, dir)
    if mapped <= 0:
        return mapped or -EINVAL
    k.mem.set_u32(sgt + table.offset("nents"), mapped)
    return 0


@export(COHERENT)
def dma_unmap_sg_attrs(k: Host, dev: int, sg: int, nents: int, dir: int, attrs: int) -> None:
    """``void dma_unmap_sg_attrs(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction dir,
    unsigned long attrs)``

    kernel/dma/mapping.c, 6.1.
    """
    if dir not in (0, 1, 2):
        k.bug(MAPPING, 285, "dma_unmap_sg_attrs")


@export(faithful)
def dma_map_resource(k: Host, dev: int, phys_addr: int, size: int, dir: int, attrs: int) -> int:
    """``dma_addr_t dma_map_resource(struct device *dev, phys_addr_t phys_addr, size_t size, enum dma_data_direction
    dir, unsigned long attrs)``

    kernel/dma/mapping.c, 6.1. Memory of another device.
    """
    if dir not in (0, 1, 2):
        k.bug(MAPPING, 301, "dma_map_resource")
    device = _Device(k, dev)
    if not device.mask_at:
        k.warn(MAPPING, 303, "dma_map_resource", once=True)
        return DMA_MAPPING_ERROR
    if device.reaches(phys_addr, size):
        return phys_addr
    dev_print(k, ERR, dev, _overflow(device, phys_addr, size).encode())
    return DMA_MAPPING_ERROR


@export(stub)
def dma_unmap_resource(k: Host, dev: int, addr: int, size: int, dir: int, attrs: int) -> None:
    """``void dma_unmap_resource(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir, unsigned
    long attrs)``

    kernel/dma/mapping.c, 6.1.
    """


def _declare_sync(name: str, parameters: str, line: int) -> None:
    def sync(k: Host, dev: int, addr: int, size: int, dir: int) -> None:
        if dir not in (0, 1, 2):
            k.bug(MAPPING, line, name)

    prototype = f"void {name}(struct device *dev, {parameters}, enum dma_data_direction dir)"
    family(COHERENT, prototype, "kernel/dma/mapping.c, 6.1.", sync)


for _name, _parameters, _line in (
    ("dma_sync_single_for_cpu", "dma_addr_t addr, size_t size", 333),
    ("dma_sync_single_for_device", "dma_addr_t addr, size_t size", 347),
    ("dma_sync_sg_for_cpu", "struct scatterlist *sg, int nelems", 361),
    ("dma_sync_sg_for_device", "struct scatterlist *sg, int nelems", 375),
):
    _declare_sync(_name, _parameters, _line)


def _supported(k: Host, mask: int) -> bool:
    """``dma_direct_supported()``: the mask reaches what GFP_DMA gives, or all memory there is."""
    return mask >= min(ZONE_DMA_MASK, (k.mm.max_pfn() - 1) << 12)


@export(faithful)
def dma_set_mask(k: Host, dev: int, mask: int) -> int:
    """``int dma_set_mask(struct device *dev, u64 mask)``

    kernel/dma/mapping.c, 6.1. 0, or -EIO for a mask that no memory satisfies and for a device without one.
    """
    at = _Device(k, dev).mask_at
    if not at or not _supported(k, mask):
        return -EIO
    k.mem.set_u64(at, mask)
    return 0


@export(faithful)
def dma_set_coherent_mask(k: Host, dev: int, mask: int) -> int:
    """``int dma_set_coherent_mask(struct device *dev, u64 mask)``

    kernel/dma/mapping.c, 6.1. dma_set_mask_and_coherent() is an inline that sets both.
    """
    if not _supported(k, mask):
        return -EIO
    k.mem.set_u64(dev + k.layout["device"].offset("coherent_dma_mask"), mask)
    return 0


@export(faithful)
def dma_get_required_mask(k: Host, dev: int) -> int:
    """``u64 dma_get_required_mask(struct device *dev)``

    kernel/dma/mapping.c, 6.1. All ones below twice the highest address.
    """
    last = (k.mm.max_pfn() - 1) << 12
    return (1 << last.bit_length()) - 1


@export(_NO_BOUNCE)
def dma_max_mapping_size(k: Host, dev: int) -> int:
    """``size_t dma_max_mapping_size(struct device *dev)``

    kernel/dma/mapping.c, 6.1.
    """
    return SIZE_MAX


@export(_NO_BOUNCE)
def dma_opt_mapping_size(k: Host, dev: int) -> int:
    """``size_t dma_opt_mapping_size(struct device *dev)``

    kernel/dma/mapping.c, 6.1.
    """
    return SIZE_MAX


@export(faithful)
def dma_need_sync(k: Host, dev: int, dma_addr: int) -> bool:
    """``bool dma_need_sync(struct device *dev, dma_addr_t dma_addr)``

    kernel/dma/mapping.c, 6.1. Never: x86 is coherent.
    """
    return False


@export(faithful)
def dma_get_merge_boundary(k: Host, dev: int) -> int:
    """``unsigned long dma_get_merge_boundary(struct device *dev)``

    kernel/dma/mapping.c, 6.1. 0: nothing is merged.
    """
    return 0


@export(faithful, private=True)
def dmam_release(k: Host, dev: int, res: int) -> None:
    """``void dmam_release(struct device *dev, void *res)``

    kernel/dma/mapping.c, 6.1. Frees a managed buffer: size, address, handle, attributes.
    """
    size, vaddr, handle, attrs = (k.mem.u64(res + 8 * index) for index in range(4))
    dma_free_attrs(k, dev, size, vaddr, handle, attrs)


@export(faithful)
def dmam_alloc_attrs(k: Host, dev: int, size: int, dma_handle: int, gfp_mask: int, attrs: int) -> int:
    """``void *dmam_alloc_attrs(struct device *dev, size_t size, dma_addr_t *dma_handle, gfp_t gfp, unsigned long
    attrs)``

    kernel/dma/mapping.c, 6.1. dma_alloc_attrs() that the device gives back. dmam_alloc_coherent() is an inline.
    """
    res = own(k, dev, "dmam_release", 32, gfp_mask)
    if not res:
        return 0
    vaddr = dma_alloc_attrs(k, dev, size, dma_handle, gfp_mask, attrs)
    if not vaddr:
        free(k, res)
        return 0
    for index, value in enumerate((size, vaddr, k.mem.u64(dma_handle), attrs)):
        k.mem.set_u64(res + 8 * index, value)
    devres_add(k, dev, res)
    return vaddr


@export(faithful)
def dmam_free_coherent(k: Host, dev: int, size: int, vaddr: int, dma_handle: int) -> None:
    """``void dmam_free_coherent(struct device *dev, size_t size, void *vaddr, dma_addr_t dma_handle)``

    kernel/dma/mapping.c, 6.1.
    """
    dma_free_attrs(k, dev, size, vaddr, dma_handle, 0)
    res = take(k, dev, "dmam_release", vaddr, 8)
    if res:
        free(k, res)
    else:
        k.warn(MAPPING, 66, "dmam_free_coherent")
