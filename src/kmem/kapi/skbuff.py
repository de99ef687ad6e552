"""Queues of packets (net/core/skbuff.c, gro_cells.c), 6.1: the kernel's lists. No packet ever comes."""

from __future__ import annotations

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.errno import ENOMEM
from kmem.kapi.export import export, simplified
from kmem.kapi.host import Host
from kmem.kapi.lists import add, add_tail, del_init, init_list_head
from kmem.kapi.registry import accepts

QLEN = 16
"""``struct sk_buff_head``: next, prev, qlen, lock; packets begin with next and prev, too."""
CELL_SIZE = 512
"""Enough for ``struct gro_cell``: a queue and a ``napi_struct``."""
NO_PACKETS = simplified("a queue is a list; no packet ever comes")


def _count(k: Host, head: int, more: int) -> None:
    k.mem.set_u32(head + QLEN, k.mem.u32(head + QLEN) + more & 0xFFFFFFFF)


def _take(k: Host, skb: int, head: int) -> int:
    """``__skb_unlink()``: the packet, or NULL if it is the head of an empty queue."""
    if skb == head:
        return 0
    del_init(k, skb)
    k.mem.fill(skb, 0, 16)
    _count(k, head, -1)
    return skb


@export(NO_PACKETS)
def skb_dequeue(k: Host, list_: int) -> int:
    """``struct sk_buff *skb_dequeue(struct sk_buff_head *list)``

    net/core/skbuff.c, 6.1. The first one, NULL of an empty queue.
    """
    return _take(k, k.mem.u64(list_), list_)


@export(NO_PACKETS)
def skb_dequeue_tail(k: Host, list_: int) -> int:
    """``struct sk_buff *skb_dequeue_tail(struct sk_buff_head *list)``

    net/core/skbuff.c, 6.1.
    """
    return _take(k, k.mem.u64(list_ + 8), list_)


@export(NO_PACKETS)
def skb_queue_tail(k: Host, list_: int, newsk: int) -> None:
    """``void skb_queue_tail(struct sk_buff_head *list, struct sk_buff *newsk)``

    net/core/skbuff.c, 6.1.
    """
    add_tail(k, newsk, list_)
    _count(k, list_, 1)


@export(NO_PACKETS)
def skb_queue_head(k: Host, list_: int, newsk: int) -> None:
    """``void skb_queue_head(struct sk_buff_head *list, struct sk_buff *newsk)``

    net/core/skbuff.c, 6.1.
    """
    skb_append(k, list_, newsk, list_)


@export(NO_PACKETS)
def skb_append(k: Host, old: int, newsk: int, list_: int) -> None:
    """``void skb_append(struct sk_buff *old, struct sk_buff *newsk, struct sk_buff_head *list)``

    net/core/skbuff.c, 6.1. Behind *old*.
    """
    add(k, newsk, old)
    _count(k, list_, 1)


@export(NO_PACKETS)
def skb_unlink(k: Host, skb: int, list_: int) -> None:
    """``void skb_unlink(struct sk_buff *skb, struct sk_buff_head *list)``

    net/core/skbuff.c, 6.1.
    """
    _take(k, skb, list_)


@export(NO_PACKETS)
def skb_queue_purge(k: Host, list_: int) -> None:
    """``void skb_queue_purge(struct sk_buff_head *list)``

    net/core/skbuff.c, 6.1. What is in it is dropped.
    """
    while skb_dequeue(k, list_):
        pass


accepts(
    "net/core/skbuff.c",
    "void consume_skb(struct sk_buff *skb)",
    "void kfree_skb_reason(struct sk_buff *skb, unsigned int reason)",
    how="no packet is ever made: there is none to free",
)


@export(NO_PACKETS)
def gro_cells_init(k: Host, gcells: int, dev: int) -> int:
    """``int gro_cells_init(struct gro_cells *gcells, struct net_device *dev)``

    net/core/gro_cells.c, 6.1. A queue for each CPU. -ENOMEM.
    """
    cells = k.mm.alloc_percpu(CELL_SIZE, 8, GFP_KERNEL)
    k.mem.set_u64(gcells, cells)
    if not cells:
        return -ENOMEM
    for cpu in range(k.nr_cpus):
        init_list_head(k, k.mm.per_cpu_ptr(cells, cpu))
    return 0


@export(NO_PACKETS)
def gro_cells_destroy(k: Host, gcells: int) -> None:
    """``void gro_cells_destroy(struct gro_cells *gcells)``

    net/core/gro_cells.c, 6.1.
    """
    cells = k.mem.u64(gcells)
    if cells:
        k.mm.free_percpu(cells)
        k.mem.set_u64(gcells, 0)


@export(simplified("one page of locks, where nodes do not make more"))
def inet_ehash_locks_alloc(k: Host, hashinfo: int) -> int:
    """``int inet_ehash_locks_alloc(struct inet_hashinfo *hashinfo)``

    net/ipv4/inet_hashtables.c, 6.1. A power of two of locks, no more than buckets. -ENOMEM.
    """
    info = k.layout["inet_hashinfo"]
    buckets = k.mem.u32(hashinfo + info.offset("ehash_mask")) + 1
    wanted = max(2 * 64 // 4 * k.nr_cpus, k.nr_nodes * 4096 // 4)
    count = min(1 << (wanted - 1).bit_length(), buckets)
    locks = k.mm.kvmalloc(4 * count, GFP_KERNEL)
    if not locks:
        return -ENOMEM
    k.mem.fill(locks, 0, 4 * count)
    k.mem.set_u64(hashinfo + info.offset("ehash_locks"), locks)
    k.mem.set_u32(hashinfo + info.offset("ehash_locks_mask"), count - 1)
    return 0
