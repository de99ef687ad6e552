"""Walking through a scatterlist: page by page, skipping, and copying."""

from __future__ import annotations

from kmem.kapi.fields import get, put
from kmem.kernel import Kernel

ATOMIC, FROM_SG = 1, 4
END = 2


def table(k: Kernel, *pieces: tuple[int, int]) -> int:
    """A list of (address, bytes)."""
    size = k.layout["scatterlist"].size
    sgl: int = k.kzalloc(size * len(pieces))
    k.sg_init_table(sgl, len(pieces))
    for number, (address, length) in enumerate(pieces):
        sg = sgl + number * size
        put(k, "scatterlist", sg, "page_link", k.mm.virt_to_page(address) | get(k, "scatterlist", sg, "page_link") & 3)
        put(k, "scatterlist", sg, "offset", address & 4095)
        put(k, "scatterlist", sg, "length", length)
    return sgl


def test_the_iterator_gives_one_page_at_a_time(kernel: Kernel) -> None:
    k = kernel
    pages, small = k.__get_free_pages(0xCC0, 1), k.kmalloc(64, 0xCC0)
    sgl = table(k, (pages + 4000, 200), (small, 64))
    miter = k.kzalloc(k.layout["sg_mapping_iter"].size)
    k.sg_miter_start(miter, sgl, 2, ATOMIC | FROM_SG)
    before, seen = k.context.preempt_count, []
    while k.sg_miter_next(miter):
        assert k.context.preempt_count == before + 1
        seen.append((get(k, "sg_mapping_iter", miter, "addr"), get(k, "sg_mapping_iter", miter, "length")))
    k.sg_miter_stop(miter)
    assert seen == [(pages + 4000, 96), (pages + 4096, 104), (small, 64)]
    assert k.context.preempt_count == before


def test_what_is_not_consumed_comes_again_and_skipping_goes_on(kernel: Kernel) -> None:
    k = kernel
    first, second = k.kmalloc(64, 0xCC0), k.kmalloc(64, 0xCC0)
    miter = k.kzalloc(k.layout["sg_mapping_iter"].size)
    k.sg_miter_start(miter, table(k, (first, 64), (second, 64)), 2, FROM_SG)
    assert k.sg_miter_next(miter)
    put(k, "sg_mapping_iter", miter, "consumed", 10)
    assert k.sg_miter_next(miter)
    assert get(k, "sg_mapping_iter", miter, "addr") == first + 10
    assert k.sg_miter_skip(miter, 6)  # what was mapped counts as consumed
    assert k.sg_miter_next(miter)
    assert get(k, "sg_mapping_iter", miter, "addr") == second + 6
    assert not k.sg_miter_skip(miter, 1)


def test_copies_begin_behind_what_is_skipped(kernel: Kernel) -> None:
    k = kernel
    first, second, buffer = k.kzalloc(64), k.kzalloc(64), k.kzalloc(64)
    sgl = table(k, (first, 8), (second, 8))
    k.write(buffer, b"0123456789")
    assert k.sg_pcopy_from_buffer(sgl, 2, buffer, 10, 4) == 10
    assert (k.read(first, 8), k.read(second, 8)) == (b"\0\0\0\0" + b"0123", b"456789\0\0")
    assert k.sg_copy_to_buffer(sgl, 2, buffer, 64) == 16
    assert k.read(buffer, 16) == b"\0\0\0\0" + b"0123456789" + b"\0\0"
    assert k.sg_zero_buffer(sgl, 2, 6, 6) == 6
    assert k.read(second, 8) == b"\0\0\0\0" + b"89\0\0"
