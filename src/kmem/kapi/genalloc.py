"""The allocator for special memory (lib/genalloc.c), 6.1: a pool of chunks, each with a bitmap of its units.

Where in a chunk an allocation goes the pool's algorithm decides, a function that may be a module's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.devres import devres_add, free, own, owned
from kmem.kapi.errno import EINVAL, ENOMEM
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.lists import add, entries, init_list_head

MASK64 = (1 << 64) - 1
FILE = "lib/genalloc.c"


class _Pool:
    """The ``struct gen_pool`` at *address*."""

    def __init__(self, k: Host, address: int) -> None:
        self.k, self.address = k, address
        self.layout, self.chunk = k.layout["gen_pool"], k.layout["gen_pool_chunk"]

    def at(self, member: str) -> int:
        return self.address + self.layout.offset(member)

    def word(self, member: str) -> int:
        return self.k.mem.u64(self.at(member))

    @property
    def order(self) -> int:
        return self.k.mem.s32(self.at("min_alloc_order"))

    def chunks(self) -> Iterator[int]:
        offset = self.chunk.offset("next_chunk")
        return (entry - offset for entry in entries(self.k, self.at("chunks")))

    def of(self, chunk: int, member: str) -> int:
        return self.k.mem.u64(chunk + self.chunk.offset(member))

    def bits(self, chunk: int) -> tuple[int, int]:
        """The address of its bitmap and how many units it has."""
        size = self.of(chunk, "end_addr") - self.of(chunk, "start_addr") + 1
        return chunk + self.chunk.offset("bits"), size >> self.order

    def holds(self, chunk: int, addr: int) -> bool:
        return self.of(chunk, "start_addr") <= addr <= self.of(chunk, "end_addr")

    def charge(self, chunk: int, size: int) -> None:
        at = chunk + self.chunk.offset("avail")
        self.k.mem.set_u64(at, self.k.mem.u64(at) + size & MASK64)


def _bitmap(k: Host, at: int, count: int) -> int:
    return int.from_bytes(k.mem.read(at, -(-count // 64) * 8), "little") if count else 0


def _change(k: Host, at: int, start: int, count: int, value: bool) -> bool:
    """``bitmap_set_ll()`` and ``bitmap_clear_ll()``: False, and nothing changed, if a bit is not the other way."""
    first, words = start // 64 * 8, -(-(start % 64 + count) // 64) * 8
    old = int.from_bytes(k.mem.read(at + first, words), "little")
    mask = (1 << count) - 1 << start % 64
    if old & mask != (0 if value else mask):
        return False
    k.mem.write(at + first, (old ^ mask).to_bytes(words, "little"))
    return True


@export(faithful)
def gen_pool_create(k: Host, min_alloc_order: int, nid: int) -> int:
    """``struct gen_pool *gen_pool_create(int min_alloc_order, int nid)``

    lib/genalloc.c, 6.1. First fit; units of 2^*min_alloc_order* bytes. NULL on failure.
    """
    address = k.mm.kmalloc(k.layout["gen_pool"].size, GFP_KERNEL, nid, k.caller)
    if address:
        pool = _Pool(k, address)
        k.mem.set_u32(pool.at("lock"), 0)
        init_list_head(k, pool.at("chunks"))
        k.mem.set_u32(pool.at("min_alloc_order"), min_alloc_order & 0xFFFFFFFF)
        k.mem.set_u64(pool.at("algo"), k.address_of("gen_pool_first_fit"))
        k.mem.set_u64(pool.at("data"), 0)
        k.mem.set_u64(pool.at("name"), 0)
    return address


@export(faithful)
def gen_pool_add_owner(k: Host, pool: int, virt: int, phys: int, size: int, nid: int, owner: int) -> int:
    """``int gen_pool_add_owner(struct gen_pool *pool, unsigned long virt, phys_addr_t phys, size_t size, int nid, void
    *owner)``

    lib/genalloc.c, 6.1. What gen_pool_add() and gen_pool_add_virt() become. 0 or -ENOMEM.
    """
    p = _Pool(k, pool)
    need = p.chunk.size + -(-(size >> p.order) // 64) * 8
    chunk = k.mm.vmalloc(need, GFP_KERNEL | 0x100, nid)
    if not chunk:
        return -ENOMEM
    end = virt + size - 1 & MASK64
    for member, value in (
        ("phys_addr", phys),
        ("start_addr", virt),
        ("end_addr", end),
        ("owner", owner),
        ("avail", size),
    ):
        k.mem.set_u64(chunk + p.chunk.offset(member), value)
    add(k, chunk + p.chunk.offset("next_chunk"), p.at("chunks"))
    return 0


@export(faithful)
def gen_pool_virt_to_phys(k: Host, pool: int, addr: int) -> int:
    """``phys_addr_t gen_pool_virt_to_phys(struct gen_pool *pool, unsigned long addr)``

    lib/genalloc.c, 6.1. All ones for what is not in the pool.
    """
    p = _Pool(k, pool)
    for chunk in p.chunks():
        if p.holds(chunk, addr):
            return p.of(chunk, "phys_addr") + addr - p.of(chunk, "start_addr") & MASK64
    return MASK64


@export(faithful)
def gen_pool_destroy(k: Host, pool: int) -> None:
    """``void gen_pool_destroy(struct gen_pool *pool)``

    lib/genalloc.c, 6.1. Something that is still allocated stops the kernel.
    """
    p = _Pool(k, pool)
    for chunk in p.chunks():
        at, count = p.bits(chunk)
        if _bitmap(k, at, count) & (1 << count) - 1:
            k.bug(FILE, 255, "gen_pool_destroy")
        k.mm.vfree(chunk)
    k.mm.kfree(p.word("name"))
    k.mm.kfree(pool)


def _place(k: Host, algo: int, map_: int, size: int, nr: int, data: int, pool: int, start_addr: int) -> Guest:
    """Ask an algorithm, which may be a module's own."""
    for own_algo in ALGORITHMS:
        if algo == k.address_of(own_algo.__name__):
            return own_algo(k, map_, size, 0, nr, data, pool, start_addr)
    return (yield Call(algo, (map_, size, 0, nr, data, pool, start_addr)))


@export(faithful)
def gen_pool_alloc_algo_owner(k: Host, pool: int, size: int, algo: int, data: int, owner: int) -> Guest:
    """``unsigned long gen_pool_alloc_algo_owner(struct gen_pool *pool, size_t size, genpool_algo_t algo, void *data,
    void **owner)``

    lib/genalloc.c, 6.1. What gen_pool_alloc() becomes. 0 if no chunk has room; the newest chunk is tried first.
    """
    p = _Pool(k, pool)
    if owner:
        k.mem.set_u64(owner, 0)
    if not size:
        return 0
    order = p.order
    units = size + (1 << order) - 1 >> order
    for chunk in p.chunks():
        if size > p.of(chunk, "avail"):
            continue
        at, end_bit = p.bits(chunk)
        begin = p.of(chunk, "start_addr")
        start = yield from _place(k, algo, at, end_bit, units, data, pool, begin)
        if start >= end_bit:
            continue
        if not _change(k, at, start, units, True):
            continue
        p.charge(chunk, -(units << order))
        if owner:
            k.mem.set_u64(owner, p.of(chunk, "owner"))
        return begin + (start << order)
    return 0


def _dma(k: Host, pool: int, size: int, dma: int, algo: int, data: int) -> Guest:
    if not pool:
        return 0
    vaddr = yield from gen_pool_alloc_algo_owner(k, pool, size, algo, data, 0)
    if vaddr and dma:
        k.mem.set_u64(dma, gen_pool_virt_to_phys(k, pool, vaddr))
    return vaddr


@export(faithful)
def gen_pool_dma_alloc_algo(k: Host, pool: int, size: int, dma: int, algo: int, data: int) -> Guest:
    """``void *gen_pool_dma_alloc_algo(struct gen_pool *pool, size_t size, dma_addr_t *dma, genpool_algo_t algo, void
    *data)``

    lib/genalloc.c, 6.1.
    """
    return (yield from _dma(k, pool, size, dma, algo, data))


@export(faithful)
def gen_pool_dma_alloc(k: Host, pool: int, size: int, dma: int) -> Guest:
    """``void *gen_pool_dma_alloc(struct gen_pool *pool, size_t size, dma_addr_t *dma)``

    lib/genalloc.c, 6.1.
    """
    p = _Pool(k, pool)
    return (yield from _dma(k, pool, size, dma, p.word("algo"), p.word("data")))


@export(faithful)
def gen_pool_dma_zalloc(k: Host, pool: int, size: int, dma: int) -> Guest:
    """``void *gen_pool_dma_zalloc(struct gen_pool *pool, size_t size, dma_addr_t *dma)``

    lib/genalloc.c, 6.1.
    """
    vaddr = yield from gen_pool_dma_alloc(k, pool, size, dma)
    if vaddr:
        k.mem.fill(vaddr, 0, size)
    return vaddr


@export(faithful)
def gen_pool_free_owner(k: Host, pool: int, addr: int, size: int, owner: int) -> None:
    """``void gen_pool_free_owner(struct gen_pool *pool, unsigned long addr, size_t size, void **owner)``

    lib/genalloc.c, 6.1. What gen_pool_free() becomes. What is not allocated, or not the pool's, stops the kernel.
    """
    p = _Pool(k, pool)
    if owner:
        k.mem.set_u64(owner, 0)
    units = size + (1 << p.order) - 1 >> p.order
    for chunk in p.chunks():
        if not p.holds(chunk, addr):
            continue
        if addr + size - 1 > p.of(chunk, "end_addr"):
            k.bug(FILE, 505, "gen_pool_free_owner")
        at, _ = p.bits(chunk)
        if not _change(k, at, addr - p.of(chunk, "start_addr") >> p.order, units, False):
            k.bug(FILE, 508, "gen_pool_free_owner")
        p.charge(chunk, units << p.order)
        if owner:
            k.mem.set_u64(owner, p.of(chunk, "owner"))
        return
    k.bug(FILE, 515, "gen_pool_free_owner")


@export(faithful)
def gen_pool_for_each_chunk(k: Host, pool: int, func: int, data: int) -> Guest:
    """``void gen_pool_for_each_chunk(struct gen_pool *pool, void (*func)(struct gen_pool *pool, struct gen_pool_chunk
    *chunk, void *data), void *data)``

    lib/genalloc.c, 6.1.
    """
    for chunk in list(_Pool(k, pool).chunks()):
        yield Call(func, (pool, chunk, data))
    return 0


@export(faithful)
def gen_pool_has_addr(k: Host, pool: int, start: int, size: int) -> bool:
    """``bool gen_pool_has_addr(struct gen_pool *pool, unsigned long start, size_t size)``

    lib/genalloc.c, 6.1. Whether the whole range lies in one chunk.
    """
    p = _Pool(k, pool)
    return any(p.holds(chunk, start) and start + size - 1 <= p.of(chunk, "end_addr") for chunk in p.chunks())


@export(faithful)
def gen_pool_avail(k: Host, pool: int) -> int:
    """``size_t gen_pool_avail(struct gen_pool *pool)``

    lib/genalloc.c, 6.1.
    """
    p = _Pool(k, pool)
    return sum(p.of(chunk, "avail") for chunk in p.chunks())


@export(faithful)
def gen_pool_size(k: Host, pool: int) -> int:
    """``size_t gen_pool_size(struct gen_pool *pool)``

    lib/genalloc.c, 6.1.
    """
    p = _Pool(k, pool)
    return sum(p.of(chunk, "end_addr") - p.of(chunk, "start_addr") + 1 for chunk in p.chunks())


@export(faithful)
def gen_pool_set_algo(k: Host, pool: int, algo: int, data: int) -> None:
    """``void gen_pool_set_algo(struct gen_pool *pool, genpool_algo_t algo, void *data)``

    lib/genalloc.c, 6.1. First fit for NULL.
    """
    p = _Pool(k, pool)
    k.mem.set_u64(p.at("algo"), algo or k.address_of("gen_pool_first_fit"))
    k.mem.set_u64(p.at("data"), data)


def _next_zero_area(k: Host, map_: int, size: int, start: int, nr: int, mask: int, offset: int = 0) -> int:
    """``bitmap_find_next_zero_area_off()``: where *nr* zero bits begin, aligned; beyond *size* if nowhere."""
    bits = _bitmap(k, map_, size)
    at = start
    while True:
        at = (at + offset + mask & ~mask) - offset
        if at + nr > size:
            return at + nr
        taken = bits >> at & (1 << nr) - 1
        if not taken:
            return at
        at += taken.bit_length()


@export(faithful)
def gen_pool_first_fit(k: Host, map: int, size: int, start: int, nr: int, data: int, pool: int, start_addr: int) -> int:
    """``unsigned long gen_pool_first_fit(unsigned long *map, unsigned long size, unsigned long start, unsigned int nr,
    void *data, struct gen_pool *pool, unsigned long start_addr)``

    lib/genalloc.c, 6.1.
    """
    return _next_zero_area(k, map, size, start, nr, 0)


@export(faithful)
def gen_pool_first_fit_align(
    k: Host, map: int, size: int, start: int, nr: int, data: int, pool: int, start_addr: int
) -> int:
    """``unsigned long gen_pool_first_fit_align(unsigned long *map, unsigned long size, unsigned long start, unsigned
    int nr, void *data, struct gen_pool *pool, unsigned long start_addr)``

    lib/genalloc.c, 6.1. *data* holds the alignment.
    """
    order, align = _Pool(k, pool).order, k.mem.s32(data)
    mask = (align + (1 << order) - 1 >> order) - 1
    offset = (start_addr & align - 1) >> order
    return _next_zero_area(k, map, size, start, nr, mask, offset)


@export(faithful)
def gen_pool_fixed_alloc(
    k: Host, map: int, size: int, start: int, nr: int, data: int, pool: int, start_addr: int
) -> int:
    """``unsigned long gen_pool_fixed_alloc(unsigned long *map, unsigned long size, unsigned long start, unsigned int
    nr, void *data, struct gen_pool *pool, unsigned long start_addr)``

    lib/genalloc.c, 6.1. At the offset that *data* holds, or nowhere.
    """
    order, offset = _Pool(k, pool).order, k.mem.u64(data)
    if offset & (1 << order) - 1:
        k.warn(FILE, 706, "gen_pool_fixed_alloc")
    wanted = offset >> order
    return wanted if _next_zero_area(k, map, size, start + wanted, nr, 0) == wanted else size


@export(faithful)
def gen_pool_first_fit_order_align(
    k: Host, map: int, size: int, start: int, nr: int, data: int, pool: int, start_addr: int
) -> int:
    """``unsigned long gen_pool_first_fit_order_align(unsigned long *map, unsigned long size, unsigned long start,
    unsigned int nr, void *data, struct gen_pool *pool, unsigned long start_addr)``

    lib/genalloc.c, 6.1. Aligned to the power of two that holds the request.
    """
    return _next_zero_area(k, map, size, start, nr, (1 << (nr - 1).bit_length()) - 1)


@export(faithful)
def gen_pool_best_fit(k: Host, map: int, size: int, start: int, nr: int, data: int, pool: int, start_addr: int) -> int:
    """``unsigned long gen_pool_best_fit(unsigned long *map, unsigned long size, unsigned long start, unsigned int nr,
    void *data, struct gen_pool *pool, unsigned long start_addr)``

    lib/genalloc.c, 6.1. The smallest hole that holds it, the first of equals.
    """
    bits = _bitmap(k, map, size) | 1 << size
    best, length = size, size + 1
    at = _next_zero_area(k, map, size, start, nr, 0)
    while at < size:
        above = bits >> at
        hole = (above & -above).bit_length() - 1
        if hole < length:
            best, length = at, hole
            if hole == nr:
                break
        at = _next_zero_area(k, map, size, at + hole + 1, nr, 0)
    return best


ALGORITHMS = (
    gen_pool_first_fit,
    gen_pool_first_fit_align,
    gen_pool_fixed_alloc,
    gen_pool_first_fit_order_align,
    gen_pool_best_fit,
)


@export(faithful, private=True)
def devm_gen_pool_release(k: Host, dev: int, res: int) -> None:
    """``void devm_gen_pool_release(struct device *dev, void *res)``

    lib/genalloc.c, 6.1.
    """
    gen_pool_destroy(k, k.mem.u64(res))


@export(faithful)
def gen_pool_get(k: Host, dev: int, name: int) -> int:
    """``struct gen_pool *gen_pool_get(struct device *dev, const char *name)``

    lib/genalloc.c, 6.1. The device's pool of this name (NULL: the one without a name), or NULL.
    """
    wanted = k.mem.cstr(name) if name else None
    for res in owned(k, dev, "devm_gen_pool_release"):
        pool = k.mem.u64(res)
        own_name = _Pool(k, pool).word("name")
        if (k.mem.cstr(own_name) if own_name else None) == wanted:
            return pool
    return 0


@export(simplified("a name is copied even if it is a constant"))
def devm_gen_pool_create(k: Host, dev: int, min_alloc_order: int, nid: int, name: int) -> int:
    """``struct gen_pool *devm_gen_pool_create(struct device *dev, int min_alloc_order, int nid, const char *name)``

    lib/genalloc.c, 6.1. An error pointer on failure, and for a name that a pool of the device has.
    """
    if gen_pool_get(k, dev, name):
        return -EINVAL & MASK64
    res = own(k, dev, "devm_gen_pool_release", 8)
    pool = gen_pool_create(k, min_alloc_order, nid) if res else 0
    if not pool:
        if res:
            free(k, res)
        return -ENOMEM & MASK64
    if name:
        raw = k.mem.cstr(name) + b"\0"
        copy = k.mm.kmalloc(len(raw), GFP_KERNEL, -1, k.caller)
        if copy:
            k.mem.write(copy, raw)
        k.mem.set_u64(_Pool(k, pool).at("name"), copy)
    k.mem.set_u64(res, pool)
    devres_add(k, dev, res)
    return pool
