"""Pools of small blocks for DMA (mm/dmapool.c), 6.1.

A page of a pool is a coherent buffer that is cut into blocks, none across a boundary; a free block holds the offset of
the next one in its first four bytes, a block that is handed out nothing of the pool's.
"""

from __future__ import annotations

from kmem.abi import gfp
from kmem.kapi.device import dev_print
from kmem.kapi.devres import devres_add, free, own, take
from kmem.kapi.dma import dma_alloc_attrs, dma_free_attrs
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.lists import add, del_init, entries, init_list_head
from kmem.kapi.logbuf import ERR
from kmem.kapi.printf_spec import Spec
from kmem.kapi.vsprintf_pointer import default_pointer

PAGE_SIZE = 4096
_NO_SYSFS = simplified("there is no file pools in sysfs")


class _Pool:
    """The ``struct dma_pool`` at *address*."""

    def __init__(self, k: Host, address: int) -> None:
        self.k, self.address, self.layout = k, address, k.layout["dma_pool"]
        self.page = k.layout["dma_page"]

    def at(self, member: str) -> int:
        return self.address + self.layout.offset(member)

    def word(self, member: str) -> int:
        return self.k.mem.u64(self.at(member))

    @property
    def name(self) -> bytes:
        return self.k.mem.cstr(self.at("name"), self.layout["name"].size)

    def complain(self, text: bytes) -> None:
        """To the log, as the device if there is one."""
        dev = self.word("dev")
        if dev:
            dev_print(self.k, ERR, dev, text)
        else:
            self.k.log.printk(text, ERR)

    def initialise(self, vaddr: int) -> None:
        """``pool_initialise_page()``: chain the blocks."""
        size, boundary, allocation = self.word("size"), self.word("boundary"), self.word("allocation")
        offset, next_boundary = 0, boundary
        while offset < allocation:
            following = offset + size
            if following + size >= next_boundary:
                following, next_boundary = next_boundary, next_boundary + boundary
            self.k.mem.set_u32(vaddr + offset, following)
            offset = following

    def new_page(self, mem_flags: int) -> int:
        """``pool_alloc_page()``; 0 on failure."""
        mem = self.k.mem
        page = self.k.mm.kmalloc(self.page.size, mem_flags, -1, self.k.caller)
        if not page:
            return 0
        handle = page + self.page.offset("dma")
        vaddr = dma_alloc_attrs(self.k, self.word("dev"), self.word("allocation"), handle, mem_flags, 0)
        if not vaddr:
            self.k.mm.kfree(page)
            return 0
        mem.set_u64(page + self.page.offset("vaddr"), vaddr)
        self.initialise(vaddr)
        mem.set_u32(page + self.page.offset("in_use"), 0)
        mem.set_u32(page + self.page.offset("offset"), 0)
        return page

    def free_page(self, page: int) -> None:
        """``pool_free_page()``."""
        mem, offset = self.k.mem, self.page.offset
        vaddr, dma = mem.u64(page + offset("vaddr")), mem.u64(page + offset("dma"))
        dma_free_attrs(self.k, self.word("dev"), self.word("allocation"), vaddr, dma, 0)
        del_init(self.k, page)
        self.k.mm.kfree(page)


@export(_NO_SYSFS)
def dma_pool_create(k: Host, name: int, dev: int, size: int, align: int, boundary: int) -> int:
    """``struct dma_pool *dma_pool_create(const char *name, struct device *dev, size_t size, size_t align, size_t
    boundary)``

    mm/dmapool.c, 6.1. NULL for an alignment or a boundary that is no power of two, and for blocks of nothing.
    """
    align = align or 1
    if align & align - 1 or not size:
        return 0
    size = -(-max(size, 4) // align) * align
    allocation = max(size, PAGE_SIZE)
    if boundary and (boundary < size or boundary & boundary - 1):
        return 0
    address = k.mm.kmalloc(k.layout["dma_pool"].size, gfp.GFP_KERNEL, -1, k.caller)
    if not address:
        return 0
    pool = _Pool(k, address)
    limit = pool.layout["name"].size
    k.mem.write(pool.at("name"), (k.mem.cstr(name, limit - 1) + b"\0").ljust(limit, b"\0"))
    for member, value in (
        ("dev", dev),
        ("size", size),
        ("boundary", boundary or allocation),
        ("allocation", allocation),
    ):
        k.mem.set_u64(pool.at(member), value)
    k.mem.set_u32(pool.at("lock"), 0)
    init_list_head(k, pool.at("page_list"))
    add(k, pool.at("pools"), dev + k.layout["device"].offset("dma_pools"))
    return address


@export(_NO_SYSFS)
def dma_pool_destroy(k: Host, pool: int) -> None:
    """``void dma_pool_destroy(struct dma_pool *pool)``

    mm/dmapool.c, 6.1. NULL is allowed. Pages with blocks in use are complained about, and lost.
    """
    if not pool:
        return
    p = _Pool(k, pool)
    del_init(k, p.at("pools"))
    for page in entries(k, p.at("page_list")):
        if not k.mem.u32(page + p.page.offset("in_use")):
            p.free_page(page)
            continue
        shown = default_pointer(k, k.mem.u64(page + p.page.offset("vaddr")), Spec())
        p.complain(b"dma_pool_destroy %s, %s busy\n" % (p.name, shown))
        del_init(k, page)
        k.mm.kfree(page)
    k.mm.kfree(pool)


@export(faithful)
def dma_pool_alloc(k: Host, pool: int, mem_flags: int, handle: int) -> int:
    """``void *dma_pool_alloc(struct dma_pool *pool, gfp_t mem_flags, dma_addr_t *handle)``

    mm/dmapool.c, 6.1. The block that was freed last, of the page that was made last. dma_pool_zalloc() is an inline.
    """
    p, mem = _Pool(k, pool), k.mem
    offset_at, allocation = p.page.offset("offset"), p.word("allocation")
    pages = (page for page in entries(k, p.at("page_list")) if mem.u32(page + offset_at) < allocation)
    page = next(pages, 0)
    if not page:
        page = p.new_page(mem_flags & ~gfp.__GFP_ZERO)
        if not page:
            return 0
        add(k, page, p.at("page_list"))
    used = page + p.page.offset("in_use")
    mem.set_u32(used, mem.u32(used) + 1)
    offset = mem.u32(page + offset_at)
    block = mem.u64(page + p.page.offset("vaddr")) + offset
    mem.set_u32(page + offset_at, mem.u32(block))
    mem.set_u64(handle, mem.u64(page + p.page.offset("dma")) + offset)
    if mem_flags & gfp.__GFP_ZERO or k.mm.config.init_on_alloc:
        mem.fill(block, 0, p.word("size"))
    return block


@export(faithful)
def dma_pool_free(k: Host, pool: int, vaddr: int, dma: int) -> None:
    """``void dma_pool_free(struct dma_pool *pool, void *vaddr, dma_addr_t dma)``

    mm/dmapool.c, 6.1. Found by its DMA address; one that no page has is complained about.
    """
    p, mem = _Pool(k, pool), k.mem
    allocation = p.word("allocation")
    for page in entries(k, p.at("page_list")):
        if 0 <= dma - mem.u64(page + p.page.offset("dma")) < allocation:
            break
    else:
        shown = default_pointer(k, vaddr, Spec())
        p.complain(b"dma_pool_free %s, %s/%s (bad dma)\n" % (p.name, shown, b"%#018x" % dma))
        return
    if k.mm.config.init_on_free:
        mem.fill(vaddr, 0, p.word("size"))
    used, offset_at = page + p.page.offset("in_use"), page + p.page.offset("offset")
    mem.set_u32(used, mem.u32(used) - 1 & 0xFFFFFFFF)
    mem.set_u32(vaddr, mem.u32(offset_at))
    mem.set_u32(offset_at, vaddr - mem.u64(page + p.page.offset("vaddr")) & 0xFFFFFFFF)


@export(faithful, private=True)
def dmam_pool_release(k: Host, dev: int, res: int) -> None:
    """``void dmam_pool_release(struct device *dev, void *res)``

    mm/dmapool.c, 6.1.
    """
    dma_pool_destroy(k, k.mem.u64(res))


@export(_NO_SYSFS)
def dmam_pool_create(k: Host, name: int, dev: int, size: int, align: int, allocation: int) -> int:
    """``struct dma_pool *dmam_pool_create(const char *name, struct device *dev, size_t size, size_t align, size_t
    allocation)``

    mm/dmapool.c, 6.1. dma_pool_create() that the device destroys.
    """
    res = own(k, dev, "dmam_pool_release", 8)
    if not res:
        return 0
    pool = dma_pool_create(k, name, dev, size, align, allocation)
    if not pool:
        free(k, res)
        return 0
    k.mem.set_u64(res, pool)
    devres_add(k, dev, res)
    return pool


@export(_NO_SYSFS)
def dmam_pool_destroy(k: Host, pool: int) -> None:
    """``void dmam_pool_destroy(struct dma_pool *pool)``

    mm/dmapool.c, 6.1.
    """
    dev = _Pool(k, pool).word("dev")
    res = take(k, dev, "dmam_pool_release", pool)
    if not res:
        k.warn("mm/dmapool.c", 527, "dmam_pool_destroy")
        return
    dma_pool_destroy(k, pool)
    free(k, res)
