"""Queues of elements in a ring (lib/kfifo.c), 6.1, on the kernel's ``struct __kfifo``."""

from __future__ import annotations

from kmem.kapi.errno import EINVAL, ENOMEM
from kmem.kapi.export import export, faithful
from kmem.kapi.fields import get, put
from kmem.kapi.host import Host

UINT = (1 << 32) - 1


def _reset(k: Host, fifo: int, esize: int, data: int, size: int) -> None:
    mask = size - 1 if size >= 2 else 0
    for member, value in (("in", 0), ("out", 0), ("esize", esize), ("data", data), ("mask", mask)):
        put(k, "__kfifo", fifo, member, value)


@export(faithful)
def __kfifo_alloc(k: Host, fifo: int, size: int, esize: int, gfp_mask: int) -> int:
    """``int __kfifo_alloc(struct __kfifo *fifo, unsigned int size, size_t esize, gfp_t gfp_mask)``

    lib/kfifo.c, 6.1. *size* is rounded up to a power of two; -EINVAL below two, -ENOMEM.
    """
    size = 1 << (size - 1).bit_length() if size else 0
    if size < 2:
        _reset(k, fifo, esize, 0, 0)
        return -EINVAL
    data = k.mm.kmalloc(esize * size, gfp_mask, -1, k.caller)
    _reset(k, fifo, esize, data, size if data else 0)
    return 0 if data else -ENOMEM


@export(faithful)
def __kfifo_init(k: Host, fifo: int, buffer: int, size: int, esize: int) -> int:
    """``int __kfifo_init(struct __kfifo *fifo, void *buffer, unsigned int size, size_t esize)``

    lib/kfifo.c, 6.1. As many elements as *size* bytes hold, rounded down to a power of two; -EINVAL below two.
    """
    count = size // esize
    count = 1 << count.bit_length() - 1 if count else 0
    _reset(k, fifo, esize, buffer, count)
    return 0 if count >= 2 else -EINVAL


@export(faithful)
def __kfifo_free(k: Host, fifo: int) -> None:
    """``void __kfifo_free(struct __kfifo *fifo)``

    lib/kfifo.c, 6.1.
    """
    k.mm.kfree(get(k, "__kfifo", fifo, "data"))
    _reset(k, fifo, 0, 0, 0)


def _parts(k: Host, fifo: int, start: int, count: int) -> list[tuple[int, int]]:
    """Address and length of the one or two pieces that *count* elements from index *start* are in."""
    esize, size = get(k, "__kfifo", fifo, "esize"), get(k, "__kfifo", fifo, "mask") + 1
    data, at = get(k, "__kfifo", fifo, "data"), start & size - 1
    first = min(count, size - at)
    return [(data + at * esize, first * esize), (data, (count - first) * esize)]


def _used(k: Host, fifo: int) -> int:
    return get(k, "__kfifo", fifo, "in") - get(k, "__kfifo", fifo, "out") & UINT


@export(faithful)
def __kfifo_in(k: Host, fifo: int, buf: int, len: int) -> int:
    """``unsigned int __kfifo_in(struct __kfifo *fifo, const void *buf, unsigned int len)``

    lib/kfifo.c, 6.1. How many elements there was room for.
    """
    len = min(len, get(k, "__kfifo", fifo, "mask") + 1 - _used(k, fifo))
    start = get(k, "__kfifo", fifo, "in")
    for address, size in _parts(k, fifo, start, len):
        k.mem.write(address, k.mem.read(buf, size))
        buf += size
    put(k, "__kfifo", fifo, "in", start + len)
    return len


@export(faithful)
def __kfifo_out_peek(k: Host, fifo: int, buf: int, len: int) -> int:
    """``unsigned int __kfifo_out_peek(struct __kfifo *fifo, void *buf, unsigned int len)``

    lib/kfifo.c, 6.1. Copies elements and leaves them in.
    """
    len = min(len, _used(k, fifo))
    for address, size in _parts(k, fifo, get(k, "__kfifo", fifo, "out"), len):
        k.mem.write(buf, k.mem.read(address, size))
        buf += size
    return len


@export(faithful)
def __kfifo_out(k: Host, fifo: int, buf: int, len: int) -> int:
    """``unsigned int __kfifo_out(struct __kfifo *fifo, void *buf, unsigned int len)``

    lib/kfifo.c, 6.1.
    """
    len = __kfifo_out_peek(k, fifo, buf, len)
    put(k, "__kfifo", fifo, "out", get(k, "__kfifo", fifo, "out") + len)
    return len
