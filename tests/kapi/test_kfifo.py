"""Queues in a ring: they wrap round, and take no more than there is room for."""

from __future__ import annotations

from kmem.kapi.fields import get
from kmem.kernel import Kernel

EINVAL = -22


def made(k: Kernel, count: int, esize: int = 1) -> int:
    fifo: int = k.kzalloc(k.layout["__kfifo"].size)
    assert k.__getattr__("__kfifo_alloc")(fifo, count, esize, 0xCC0) == 0
    return fifo


def test_the_size_is_rounded_up_to_a_power_of_two(kernel: Kernel) -> None:
    assert get(kernel, "__kfifo", made(kernel, 100), "mask") == 127
    fifo = kernel.kzalloc(kernel.layout["__kfifo"].size)
    assert kernel.__getattr__("__kfifo_alloc")(fifo, 1, 1, 0xCC0) == EINVAL


def test_what_goes_in_comes_out_in_order_round_the_end_of_the_ring(kernel: Kernel) -> None:
    put, out = kernel.__getattr__("__kfifo_in"), kernel.__getattr__("__kfifo_out")
    fifo, buffer = made(kernel, 8), kernel.kzalloc(16)
    kernel.write(buffer, b"abcdef")
    assert put(fifo, buffer, 6) == 6
    assert out(fifo, buffer, 4) == 4
    kernel.write(buffer, b"ghijklmn")
    assert put(fifo, buffer, 8) == 6  # two of eight are taken
    assert out(fifo, buffer, 16) == 8
    assert kernel.read(buffer, 8) == b"efghijkl"


def test_elements_of_several_bytes_stay_whole(kernel: Kernel) -> None:
    put, out = kernel.__getattr__("__kfifo_in"), kernel.__getattr__("__kfifo_out")
    fifo, buffer = made(kernel, 4, 3), kernel.kzalloc(16)
    kernel.write(buffer, b"aaabbbcccdddeee")
    assert put(fifo, buffer, 5) == 4
    assert out(fifo, buffer, 3) == 3
    assert kernel.read(buffer, 9) == b"aaabbbccc"
