"""Pools of small blocks for DMA (mm/dmapool.c), 6.1 and 6.12.

A page of a pool is a coherent buffer that is cut into blocks, none across a boundary. In 6.1 each page has a list of
its own: a free block holds the offset of the next one in its first four bytes. Since 6.4 (commit "dmapool: link blocks
across pages"), seen by the pool's member ``next_block``, one list runs through all pages: a free block holds the
address of the next one and its own DMA address.
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

PAGE_SIZE, INT_MAX = 4096, (1 << 31) - 1
BLOCK_NEXT, BLOCK_DMA, BLOCK_SIZE = 0, 8, 16
"""``struct dma_block``, which is in no module's debug information."""
_NO_SYSFS = simplified("there is no file pools in sysfs")


class _Pool:
    """The ``struct dma_pool`` at *address*."""

    def __init__(self, k: Host, address: int) -> None:
        self.k, self.address, self.layout = k, address, k.layout["dma_pool"]
        self.page = k.layout["dma_page"]

    def at(self, member: str) -> int:
        return self.address + self.layout.offset(member)

    def word(self, member: str) -> int:
        return int.from_bytes(self.k.mem.read(self.at(member), self.layout[member].size), "little")

    def set(self, member: str, value: int) -> None:
        self.k.mem.write(self.at(member), value.to_bytes(self.layout[member].size, "little"))

    @property
    def linked(self) -> bool:
        """Whether one list of free blocks runs through all pages."""
        return "next_block" in self.layout.members

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

    def initialise(self, page: int) -> None:
        """``pool_initialise_page()``: chain the blocks."""
        mem = self.k.mem
        vaddr = mem.u64(page + self.page.offset("vaddr"))
        if self.linked:
            self._link(page, vaddr)
            return
        mem.set_u32(page + self.page.offset("in_use"), 0)
        mem.set_u32(page + self.page.offset("offset"), 0)
        size, boundary, allocation = self.word("size"), self.word("boundary"), self.word("allocation")
        offset, next_boundary = 0, boundary
        while offset < allocation:
            following = offset + size
            if following + size >= next_boundary:
                following, next_boundary = next_boundary, next_boundary + boundary
            self.k.mem.set_u32(vaddr + offset, following)
            offset = following

    def _link(self, page: int, vaddr: int) -> None:
        """Put the page's blocks, in order, before all others."""
        mem = self.k.mem
        size, boundary, allocation = self.word("size"), self.word("boundary"), self.word("allocation")
        offsets, offset, next_boundary = [], 0, boundary
        while offset + size <= allocation:
            if offset + size > next_boundary:
                offset, next_boundary = next_boundary, next_boundary + boundary
                continue
            offsets.append(offset)
            offset += size
        dma = mem.u64(page + self.page.offset("dma"))
        for offset, following in zip(
            offsets, [*(vaddr + at for at in offsets[1:]), self.word("next_block")], strict=True
        ):
            mem.set_u64(vaddr + offset + BLOCK_DMA, dma + offset)
            mem.set_u64(vaddr + offset + BLOCK_NEXT, following)
        self.set("next_block", vaddr)
        self.set("nr_blocks", self.word("nr_blocks") + len(offsets))
        self.set("nr_pages", self.word("nr_pages") + 1)

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
        self.initialise(page)
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
    linked = "next_block" in k.layout["dma_pool"].members
    if linked and size > INT_MAX:
        return 0
    size = -(-max(size, BLOCK_SIZE if linked else 4) // align) * align
    allocation = max(size, PAGE_SIZE)
    if boundary and (boundary < size or boundary & boundary - 1):
        return 0
    if linked:
        boundary = min(boundary, allocation)
    flags = gfp.GFP_KERNEL | (gfp.__GFP_ZERO if linked else 0)
    address = k.mm.kmalloc(k.layout["dma_pool"].size, flags, -1, k.caller)
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
        pool.set(member, value)
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
    busy = p.linked and p.word("nr_active") > 0
    if busy:
        p.complain(b"dma_pool_destroy %s busy\n" % p.name)
    for page in entries(k, p.at("page_list")):
        if p.linked:
            if not busy:
                p.free_page(page)
            else:
                del_init(k, page)
                k.mm.kfree(page)
            continue
        if not k.mem.u32(page + p.page.offset("in_use")):
            p.free_page(page)
            continue
        shown = default_pointer(k, k.mem.u64(page + p.page.offset("vaddr")), Spec())
        p.complain(b"dma_pool_destroy %s, %s busy\n" % (p.name, shown))
        del_init(k, page)
        k.mm.kfree(page)
    k.mm.kfree(pool)


def _pop(p: _Pool, mem_flags: int, handle: int) -> int:
    """``dma_pool_alloc()`` where one list has all free blocks."""
    mem = p.k.mem
    if not p.word("next_block"):
        page = p.new_page(mem_flags & ~gfp.__GFP_ZERO)
        if not page:
            return 0
        add(p.k, page, p.at("page_list"))
    found = p.word("next_block")
    p.set("next_block", mem.u64(found + BLOCK_NEXT))
    p.set("nr_active", p.word("nr_active") + 1)
    mem.set_u64(handle, mem.u64(found + BLOCK_DMA))
    if mem_flags & gfp.__GFP_ZERO or p.k.mm.config.init_on_alloc:
        mem.fill(found, 0, p.word("size"))
    return found


def _push(p: _Pool, vaddr: int, dma: int) -> None:
    """``dma_pool_free()`` where one list has all free blocks: nothing is checked."""
    mem = p.k.mem
    if p.k.mm.config.init_on_free:
        mem.fill(vaddr, 0, p.word("size"))
    mem.set_u64(vaddr + BLOCK_DMA, dma)
    mem.set_u64(vaddr + BLOCK_NEXT, p.word("next_block"))
    p.set("next_block", vaddr)
    p.set("nr_active", p.word("nr_active") - 1 & (1 << 64) - 1)


@export(faithful)
def dma_pool_alloc(k: Host, pool: int, mem_flags: int, handle: int) -> int:
    """``void *dma_pool_alloc(struct dma_pool *pool, gfp_t mem_flags, dma_addr_t *handle)``

    mm/dmapool.c, 6.1. The block that was freed last, of the page that was made last. dma_pool_zalloc() is an inline.
    """
    p, mem = _Pool(k, pool), k.mem
    if p.linked:
        return _pop(p, mem_flags, handle)
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
    if p.linked:
        _push(p, vaddr, dma)
        return
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
