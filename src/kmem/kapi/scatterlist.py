"""Lists of pieces of memory (lib/scatterlist.c), 6.1."""

from __future__ import annotations

from collections.abc import Iterator

from kmem.kapi.errno import EINVAL
from kmem.kapi.export import export, faithful
from kmem.kapi.fields import at, get, put
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


# walking through the pages

_ITER, _PAGES = "sg_mapping_iter", "sg_page_iter"
SG_MITER_ATOMIC, SG_MITER_TO_SG, SG_MITER_FROM_SG = 1, 2, 4


def _length(k: Host, sg: int) -> int:
    return get(k, "scatterlist", sg, "length")


@export(faithful)
def __sg_page_iter_start(k: Host, piter: int, sglist: int, nents: int, pgoffset: int) -> None:
    """``void __sg_page_iter_start(struct sg_page_iter *piter, struct scatterlist *sglist, unsigned int nents,
    unsigned long pgoffset)``

    lib/scatterlist.c, 6.1.
    """
    for member, value in (("__pg_advance", 0), ("__nents", nents), ("sg", sglist), ("sg_pgoffset", pgoffset)):
        put(k, _PAGES, piter, member, value)


@export(faithful)
def __sg_page_iter_next(k: Host, piter: int) -> int:
    """``bool __sg_page_iter_next(struct sg_page_iter *piter)``

    lib/scatterlist.c, 6.1. Whether there is a next page.
    """
    sg, left = get(k, _PAGES, piter, "sg"), get(k, _PAGES, piter, "__nents")
    if not left or not sg:
        return 0
    offset = get(k, _PAGES, piter, "sg_pgoffset") + get(k, _PAGES, piter, "__pg_advance")
    put(k, _PAGES, piter, "__pg_advance", 1)
    while True:
        pages = get(k, "scatterlist", sg, "offset") + _length(k, sg) + 4095 >> 12
        if offset < pages:
            break
        offset, sg, left = offset - pages, sg_next(k, sg), left - 1
        if not left or not sg:
            break
    for member, value in (("sg", sg), ("__nents", left), ("sg_pgoffset", offset)):
        put(k, _PAGES, piter, member, value)
    return int(bool(left and sg))


@export(faithful)
def sg_miter_start(k: Host, miter: int, sgl: int, nents: int, flags: int) -> None:
    """``void sg_miter_start(struct sg_mapping_iter *miter, struct scatterlist *sgl, unsigned int nents,
    unsigned int flags)``

    lib/scatterlist.c, 6.1.
    """
    k.mem.fill(miter, 0, k.layout[_ITER].size)
    __sg_page_iter_start(k, at(k, _ITER, miter, "piter"), sgl, nents, 0)
    if not flags & (SG_MITER_TO_SG | SG_MITER_FROM_SG):
        k.warn("lib/scatterlist.c", 792, "sg_miter_start")
    put(k, _ITER, miter, "__flags", flags)


def _next_piece(k: Host, miter: int) -> bool:
    """``sg_miter_get_next_page()``: whether something is left."""
    if get(k, _ITER, miter, "__remaining"):
        return True
    piter = at(k, _ITER, miter, "piter")
    if not __sg_page_iter_next(k, piter):
        return False
    sg, page = get(k, _PAGES, piter, "sg"), get(k, _PAGES, piter, "sg_pgoffset")
    first = get(k, "scatterlist", sg, "offset")
    offset = 0 if page else first
    page, offset = page + (offset >> 12), offset & 4095
    put(k, _PAGES, piter, "sg_pgoffset", page)
    put(k, _ITER, miter, "__offset", offset)
    put(k, _ITER, miter, "__remaining", min(first + _length(k, sg) - (page << 12) - offset, 4096 - offset))
    return True


@export(faithful)
def sg_miter_skip(k: Host, miter: int, offset: int) -> int:
    """``bool sg_miter_skip(struct sg_mapping_iter *miter, off_t offset)``

    lib/scatterlist.c, 6.1. Whether there were so many bytes.
    """
    sg_miter_stop(k, miter)
    while offset:
        if not _next_piece(k, miter):
            return 0
        left = get(k, _ITER, miter, "__remaining")
        consumed = min(offset, left)
        put(k, _ITER, miter, "__offset", get(k, _ITER, miter, "__offset") + consumed)
        put(k, _ITER, miter, "__remaining", left - consumed)
        offset -= consumed
    return 1


@export(faithful)
def sg_miter_next(k: Host, miter: int) -> int:
    """``bool sg_miter_next(struct sg_mapping_iter *miter)``

    lib/scatterlist.c, 6.1. Whether there is another piece, in one page: its address is in ``addr``.
    """
    sg_miter_stop(k, miter)
    if not _next_piece(k, miter):
        return 0
    piter = at(k, _ITER, miter, "piter")
    page = k.mem.u64(get(k, _PAGES, piter, "sg")) & ~3
    page += get(k, _PAGES, piter, "sg_pgoffset") * k.layout["page"].size
    left = get(k, _ITER, miter, "__remaining")
    if get(k, _ITER, miter, "__flags") & SG_MITER_ATOMIC:
        k.context.preempt_disable()
        _pagefaults(k, 1)
    address = k.mm.page_to_virt(page) + get(k, _ITER, miter, "__offset")
    for member, value in (("page", page), ("consumed", left), ("length", left), ("addr", address)):
        put(k, _ITER, miter, member, value)
    return 1


def _pagefaults(k: Host, by: int) -> None:
    put(k, "task_struct", k.current, "pagefault_disabled", get(k, "task_struct", k.current, "pagefault_disabled") + by)


@export(faithful)
def sg_miter_stop(k: Host, miter: int) -> None:
    """``void sg_miter_stop(struct sg_mapping_iter *miter)``

    lib/scatterlist.c, 6.1. What was not consumed comes again.
    """
    consumed = get(k, _ITER, miter, "consumed")
    if consumed > get(k, _ITER, miter, "length"):
        k.warn("lib/scatterlist.c", 911, "sg_miter_stop")
    if not get(k, _ITER, miter, "addr"):
        return
    put(k, _ITER, miter, "__offset", get(k, _ITER, miter, "__offset") + consumed)
    put(k, _ITER, miter, "__remaining", get(k, _ITER, miter, "__remaining") - consumed)
    if get(k, _ITER, miter, "__flags") & SG_MITER_ATOMIC:
        _pagefaults(k, -1)
        k.context.preempt_enable()
    for member in ("page", "addr", "length", "consumed"):
        put(k, _ITER, miter, member, 0)


def _pieces(k: Host, sgl: int, nents: int, skip: int, length: int) -> Iterator[tuple[int, int]]:
    """(address, size) of the *length* bytes behind the first *skip*."""
    while sgl and nents and length:
        size = _length(k, sgl)
        took = min(max(size - skip, 0), length)
        if took:
            page = k.mm.page_to_virt(k.mem.u64(sgl) & ~3)
            yield page + get(k, "scatterlist", sgl, "offset") + skip, took
        skip, length = max(skip - size, 0), length - took
        sgl, nents = sg_next(k, sgl), nents - 1


@export(faithful)
def sg_copy_buffer(k: Host, sgl: int, nents: int, buf: int, buflen: int, skip: int, to_buffer: int) -> int:
    """``size_t sg_copy_buffer(struct scatterlist *sgl, unsigned int nents, void *buf, size_t buflen, off_t skip,
    bool to_buffer)``

    lib/scatterlist.c, 6.1. How many bytes were copied.
    """
    done = 0
    for address, size in _pieces(k, sgl, nents, skip, buflen):
        source, target = (address, buf + done) if to_buffer else (buf + done, address)
        k.mem.write(target, k.mem.read(source, size))
        done += size
    return done


@export(faithful)
def sg_copy_from_buffer(k: Host, sgl: int, nents: int, buf: int, buflen: int) -> int:
    """``size_t sg_copy_from_buffer(struct scatterlist *sgl, unsigned int nents, const void *buf, size_t buflen)``

    lib/scatterlist.c, 6.1.
    """
    return sg_copy_buffer(k, sgl, nents, buf, buflen, 0, 0)


@export(faithful)
def sg_copy_to_buffer(k: Host, sgl: int, nents: int, buf: int, buflen: int) -> int:
    """``size_t sg_copy_to_buffer(struct scatterlist *sgl, unsigned int nents, void *buf, size_t buflen)``

    lib/scatterlist.c, 6.1.
    """
    return sg_copy_buffer(k, sgl, nents, buf, buflen, 0, 1)


@export(faithful)
def sg_pcopy_from_buffer(k: Host, sgl: int, nents: int, buf: int, buflen: int, skip: int) -> int:
    """``size_t sg_pcopy_from_buffer(struct scatterlist *sgl, unsigned int nents, const void *buf, size_t buflen,
    off_t skip)``

    lib/scatterlist.c, 6.1.
    """
    return sg_copy_buffer(k, sgl, nents, buf, buflen, skip, 0)


@export(faithful)
def sg_pcopy_to_buffer(k: Host, sgl: int, nents: int, buf: int, buflen: int, skip: int) -> int:
    """``size_t sg_pcopy_to_buffer(struct scatterlist *sgl, unsigned int nents, void *buf, size_t buflen, off_t skip)``

    lib/scatterlist.c, 6.1.
    """
    return sg_copy_buffer(k, sgl, nents, buf, buflen, skip, 1)


@export(faithful)
def sg_zero_buffer(k: Host, sgl: int, nents: int, buflen: int, skip: int) -> int:
    """``size_t sg_zero_buffer(struct scatterlist *sgl, unsigned int nents, size_t buflen, off_t skip)``

    lib/scatterlist.c, 6.1.
    """
    done = 0
    for address, size in _pieces(k, sgl, nents, skip, buflen):
        k.mem.fill(address, 0, size)
        done += size
    return done
