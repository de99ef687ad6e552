"""Memory pools (mm/mempool.c), 6.1: elements kept in reserve, allocated and freed by functions that the pool's owner
gives."""

from __future__ import annotations

from kmem.abi import gfp
from kmem.kapi.errno import ENOMEM
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.lists import init_list_head
from kmem.kapi.sched import TASK_UNINTERRUPTIBLE, block, set_task_state, stuck
from kmem.kapi.timekeeping import TICK_NSEC
from kmem.sched.core import TIME

_WAIT_HEAD = 8
_SIZE_MAX = (1 << 64) - 1


class _Pool:
    """Members of the ``struct mempool_s`` at *address*."""

    def __init__(self, k: Host, address: int) -> None:
        self.k = k
        self.address = address
        self.layout = k.layout["mempool_s"]

    def at(self, member: str) -> int:
        return self.address + self.layout.offset(member)

    def word(self, member: str) -> int:
        return self.k.mem.u64(self.at(member))

    def number(self, member: str) -> int:
        return self.k.mem.s32(self.at(member))

    def allocate(self, gfp_mask: int) -> Guest:
        return (yield Call(self.word("alloc"), (gfp_mask, self.word("pool_data"))))

    def release(self, element: int) -> Guest:
        return (yield Call(self.word("free"), (element, self.word("pool_data"))))

    def push(self, element: int) -> None:
        """``add_element()``."""
        count = self.number("curr_nr")
        if count >= self.number("min_nr"):
            self.k.bug("mm/mempool.c", 143, "add_element")
        self.k.mem.set_u64(self.word("elements") + 8 * count, element)
        self.k.mem.set_u32(self.at("curr_nr"), count + 1)

    def pop(self) -> int:
        """``remove_element()``."""
        count = self.number("curr_nr") - 1
        if count < 0:
            self.k.bug("mm/mempool.c", 153, "remove_element")
        self.k.mem.set_u32(self.at("curr_nr"), count)
        return self.k.mem.u64(self.word("elements") + 8 * count)


def _array(k: Host, count: int, flags: int, node: int = -1) -> int:
    return k.mm.kmalloc(count * 8, flags, node, k.caller) if 0 <= count * 8 <= _SIZE_MAX else 0


@export(faithful)
def mempool_init_node(
    k: Host, pool: int, min_nr: int, alloc_fn: int, free_fn: int, pool_data: int, gfp_mask: int, node_id: int
) -> Guest:
    """``int mempool_init_node(mempool_t *pool, int min_nr, mempool_alloc_t *alloc_fn, mempool_free_t *free_fn,
    void *pool_data, gfp_t gfp_mask, int node_id)``

    mm/mempool.c, 6.1. Allocates *min_nr* elements; 0 or -ENOMEM. The pool must be zeroed.
    """
    p = _Pool(k, pool)
    k.mem.set_u32(p.at("lock"), 0)
    k.mem.set_u32(p.at("min_nr"), min_nr & 0xFFFFFFFF)
    k.mem.set_u64(p.at("pool_data"), pool_data)
    k.mem.set_u64(p.at("alloc"), alloc_fn)
    k.mem.set_u64(p.at("free"), free_fn)
    k.mem.set_u32(p.at("wait"), 0)
    init_list_head(k, p.at("wait") + _WAIT_HEAD)
    elements = _array(k, min_nr, gfp_mask, node_id)
    k.mem.set_u64(p.at("elements"), elements)
    if not elements:
        return -ENOMEM
    while p.number("curr_nr") < min_nr:
        element = yield from p.allocate(gfp_mask)
        if not element:
            yield from mempool_exit(k, pool)
            return -ENOMEM
        p.push(element)
    return 0


@export(faithful)
def mempool_init(k: Host, pool: int, min_nr: int, alloc_fn: int, free_fn: int, pool_data: int) -> Guest:
    """``int mempool_init(mempool_t *pool, int min_nr, mempool_alloc_t *alloc_fn, mempool_free_t *free_fn, void
    *pool_data)``

    mm/mempool.c, 6.1.
    """
    return (yield from mempool_init_node(k, pool, min_nr, alloc_fn, free_fn, pool_data, gfp.GFP_KERNEL, -1))


@export(faithful)
def mempool_create_node(
    k: Host, min_nr: int, alloc_fn: int, free_fn: int, pool_data: int, gfp_mask: int, node_id: int
) -> Guest:
    """``mempool_t *mempool_create_node(int min_nr, mempool_alloc_t *alloc_fn, mempool_free_t *free_fn, void *pool_data,
    gfp_t gfp_mask, int node_id)``

    mm/mempool.c, 6.1.
    """
    pool = k.mm.kmalloc(k.layout["mempool_s"].size, gfp_mask | gfp.__GFP_ZERO, node_id, k.caller)
    if not pool:
        return 0
    if (yield from mempool_init_node(k, pool, min_nr, alloc_fn, free_fn, pool_data, gfp_mask, node_id)):
        k.mm.kfree(pool)
        return 0
    return pool


@export(faithful)
def mempool_create(k: Host, min_nr: int, alloc_fn: int, free_fn: int, pool_data: int) -> Guest:
    """``mempool_t *mempool_create(int min_nr, mempool_alloc_t *alloc_fn, mempool_free_t *free_fn, void *pool_data)``

    mm/mempool.c, 6.1.
    """
    return (yield from mempool_create_node(k, min_nr, alloc_fn, free_fn, pool_data, gfp.GFP_KERNEL, -1))


@export(faithful)
def mempool_exit(k: Host, pool: int) -> Guest:
    """``void mempool_exit(mempool_t *pool)``

    mm/mempool.c, 6.1.
    """
    p = _Pool(k, pool)
    while p.number("curr_nr"):
        yield from p.release(p.pop())
    k.mm.kfree(p.word("elements"))
    k.mem.set_u64(p.at("elements"), 0)
    return 0


@export(faithful)
def mempool_destroy(k: Host, pool: int) -> Guest:
    """``void mempool_destroy(mempool_t *pool)``

    mm/mempool.c, 6.1. NULL is allowed.
    """
    if pool:
        yield from mempool_exit(k, pool)
        k.mm.kfree(pool)
    return 0


@export(faithful)
def mempool_resize(k: Host, pool: int, new_min_nr: int) -> Guest:
    """``int mempool_resize(mempool_t *pool, int new_min_nr)``

    mm/mempool.c, 6.1. 0 or -ENOMEM; the reserve may stay short when elements cannot be allocated.
    """
    if new_min_nr <= 0:
        k.bug("mm/mempool.c", 324, "mempool_resize")
    k.context.might_sleep("mempool_resize", "mm/mempool.c", 325)
    p = _Pool(k, pool)
    if new_min_nr > p.number("min_nr"):
        elements = _array(k, new_min_nr, gfp.GFP_KERNEL)
        if not elements:
            return -ENOMEM
        old, count = p.word("elements"), p.number("curr_nr")
        k.mem.write(elements, k.mem.read(old, 8 * count) if count else b"")
        k.mm.kfree(old)
        k.mem.set_u64(p.at("elements"), elements)
        k.mem.set_u32(p.at("min_nr"), new_min_nr)
        while p.number("curr_nr") < new_min_nr:
            element = yield from p.allocate(gfp.GFP_KERNEL)
            if not element:
                break
            p.push(element)
        return 0
    while new_min_nr < p.number("curr_nr"):
        yield from p.release(p.pop())
    k.mem.set_u32(p.at("min_nr"), new_min_nr)
    return 0


PATIENCE = 5_000_000_000
"""Nanoseconds for which an empty pool is waited for before that counts as a hang."""


@export(simplified("waits for an element at most five seconds: a hang after that"))
def mempool_alloc(k: Host, pool: int, gfp_mask: int) -> Guest:
    """``void *mempool_alloc(mempool_t *pool, gfp_t gfp_mask)``

    mm/mempool.c, 6.1. Tries the allocator without sleeping, then the reserve, then the allocator as the mask allows.
    A mask that may sleep waits on an empty reserve: a hang where nobody is left who could return an element.
    """
    p = _Pool(k, pool)
    gfp_mask |= gfp.__GFP_NOMEMALLOC | gfp.__GFP_NORETRY | gfp.__GFP_NOWARN
    careful = gfp_mask & ~(gfp.__GFP_DIRECT_RECLAIM | gfp.__GFP_IO)
    element = yield from p.allocate(careful)
    if not element and p.number("curr_nr"):
        return p.pop()
    if not element and careful != gfp_mask:
        element = yield from p.allocate(gfp_mask)
        if not element and p.number("curr_nr"):
            return p.pop()
    end = k.clock.ns + PATIENCE
    while not element and gfp_mask & gfp.__GFP_DIRECT_RECLAIM and k.sched.on and k.clock.ns < end:
        set_task_state(k, TASK_UNINTERRUPTIBLE)
        yield from block(k, TIME, pool, k.clock.ns + TICK_NSEC)
        if p.number("curr_nr"):
            return p.pop()
    if not element and gfp_mask & gfp.__GFP_DIRECT_RECLAIM:
        stuck(k, "hang", "mempool_alloc(): nobody is left who could return an element to the empty pool", address=pool)
    return element


@export(faithful)
def mempool_free(k: Host, element: int, pool: int) -> Guest:
    """``void mempool_free(void *element, mempool_t *pool)``

    mm/mempool.c, 6.1. Fills the reserve first.
    """
    if not element:
        return 0
    p = _Pool(k, pool)
    if p.number("curr_nr") < p.number("min_nr"):
        p.push(element)
    else:
        yield from p.release(element)
    return 0


@export(faithful)
def mempool_alloc_slab(k: Host, gfp_mask: int, pool_data: int) -> int:
    """``void *mempool_alloc_slab(gfp_t gfp_mask, void *pool_data)``

    mm/mempool.c, 6.1. *pool_data* is the cache.
    """
    return k.mm.kmem_cache_alloc(pool_data, gfp_mask)


@export(faithful)
def mempool_free_slab(k: Host, element: int, pool_data: int) -> None:
    """``void mempool_free_slab(void *element, void *pool_data)``

    mm/mempool.c, 6.1.
    """
    k.mm.kmem_cache_free(pool_data, element)


@export(faithful)
def mempool_kmalloc(k: Host, gfp_mask: int, pool_data: int) -> int:
    """``void *mempool_kmalloc(gfp_t gfp_mask, void *pool_data)``

    mm/mempool.c, 6.1. *pool_data* is the size.
    """
    return k.mm.kmalloc(pool_data, gfp_mask, caller=k.caller)


@export(faithful)
def mempool_kfree(k: Host, element: int, pool_data: int) -> None:
    """``void mempool_kfree(void *element, void *pool_data)``

    mm/mempool.c, 6.1.
    """
    k.mm.kfree(element)


@export(faithful)
def mempool_alloc_pages(k: Host, gfp_mask: int, pool_data: int) -> int:
    """``void *mempool_alloc_pages(gfp_t gfp_mask, void *pool_data)``

    mm/mempool.c, 6.1. *pool_data* is the order; the element is a ``struct page *``.
    """
    return k.mm.alloc_pages(gfp_mask, pool_data & 0xFFFFFFFF)


@export(faithful)
def mempool_free_pages(k: Host, element: int, pool_data: int) -> None:
    """``void mempool_free_pages(void *element, void *pool_data)``

    mm/mempool.c, 6.1.
    """
    k.mm.free_pages(element, pool_data & 0xFFFFFFFF)
