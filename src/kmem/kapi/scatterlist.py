"""Lists of pieces of memory (lib/scatterlist.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import EINVAL
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

SG_CHAIN, SG_END = 1, 2


@export(faithful)
def sg_init_table(k: Host, sgl: int, nents: int) -> None:
    """``void sg_init_table(struct scatterlist *sgl, unsigned int nents)``

    lib/scatterlist.c, 6.1. All zero, the last one marked.
    """
    size = k.layout["scatterlist"].size
    k.mem.fill(sgl, 0, size * nents)
    k.mem.set_u64(sgl + size * (nents - 1), SG_END)


@export(faithful)
def sg_init_one(k: Host, sg: int, buf: int, buflen: int) -> None:
    """``void sg_init_one(struct scatterlist *sg, const void *buf, unsigned int buflen)``

    lib/scatterlist.c, 6.1.
    """
    sg_init_table(k, sg, 1)
    layout = k.layout["scatterlist"]
    k.mem.set_u64(sg, k.mm.virt_to_page(buf) | SG_END)
    k.mem.set_u32(sg + layout.offset("offset"), buf & 4095)
    k.mem.set_u32(sg + layout.offset("length"), buflen)


@export(faithful)
def sg_next(k: Host, sg: int) -> int:
    """``struct scatterlist *sg_next(struct scatterlist *sg)``

    lib/scatterlist.c, 6.1. NULL behind the last one; chains are followed.
    """
    if k.mem.u64(sg) & SG_END:
        return 0
    sg += k.layout["scatterlist"].size
    link = k.mem.u64(sg)
    return link & ~3 if link & SG_CHAIN else sg


@export(faithful)
def sg_nents(k: Host, sg: int) -> int:
    """``int sg_nents(struct scatterlist *sg)``

    lib/scatterlist.c, 6.1. How many there are, along all chains.
    """
    count = 0
    while sg:
        sg, count = sg_next(k, sg), count + 1
    return count


@export(faithful)
def sg_nents_for_len(k: Host, sg: int, len: int) -> int:
    """``int sg_nents_for_len(struct scatterlist *sg, u64 len)``

    lib/scatterlist.c, 6.1. How many hold the first *len* bytes; -EINVAL if they are fewer.
    """
    count, total = 0, 0
    while total < len:
        if not sg:
            return -EINVAL
        total += k.mem.u32(sg + k.layout["scatterlist"].offset("length"))
        sg, count = sg_next(k, sg), count + 1
    return count
