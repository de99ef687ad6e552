"""Per-cpu memory: one allocation, one copy for each CPU (mm/percpu.c, 6.1).

A per-cpu pointer is an offset; CPU *c* finds its copy at ``offset + __per_cpu_offset[c]``. Simplified: one chunk, the
first, grown to the whole unit, and a map with one byte for each 8 bytes (0 free, 1 first, 2 rest) in place of the
kernel's block bitmaps; first fit.

Private layout: that map; ``struct pcpu_chunk`` is not kept.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import entry, fill, jit, load8, store8
from kmem.mm.events import PERCPU_ALLOC, PERCPU_FREE, emit, may_fail
from kmem.mm.mmzone import kernel

GRAIN = 8
FREE, FIRST, REST = range(3)
PCPU_MIN_UNIT_SIZE = 32 << 10


@jit
def pcpu_alloc(k: Any, size: int, align: int) -> int:
    """``pcpu_alloc()``: the offset of *size* zeroed bytes on every CPU, or 0."""
    align = max(align, GRAIN)
    need = (size + GRAIN - 1) // GRAIN
    if size <= 0 or size > PCPU_MIN_UNIT_SIZE or align > 4096 or align & (align - 1):
        return 0
    at = k.pcpu_static_size // GRAIN
    end = k.pcpu_unit_size // GRAIN
    while at + need <= end:
        run = 0
        while run < need and load8(k, k.pcpu_map + at + run) == FREE:
            run += 1
        if run == need:
            store8(k, k.pcpu_map + at, FIRST)
            for i in range(1, need):
                store8(k, k.pcpu_map + at + i, REST)
            for cpu in range(k.nr_cpu_ids):
                fill(k, k.__per_cpu_offset[cpu] + at * GRAIN, 0, need * GRAIN)
            k.pcpu_free_bytes = k.pcpu_free_bytes - need * GRAIN
            return at * GRAIN
        at += run + 1
        step = align // GRAIN
        at = (at + step - 1) // step * step
    return 0


@jit
def pcpu_free(k: Any, ptr: int) -> None:
    """``free_percpu()``."""
    at = ptr // GRAIN
    n = 0
    while n == 0 or load8(k, k.pcpu_map + at + n) == REST:
        store8(k, k.pcpu_map + at + n, FREE)
        n += 1
    k.pcpu_free_bytes = k.pcpu_free_bytes + n * GRAIN


@entry
def k_alloc_percpu(ram: Any, size: int, align: int, gfp: int) -> int:
    """``void __percpu *__alloc_percpu_gfp(size_t size, size_t align, gfp_t gfp)``."""
    k = kernel(ram)
    got = pcpu_alloc(k, size, align) if may_fail(k, gfp) else 0
    emit(k, PERCPU_ALLOC, got, size, size, gfp, -1, 0, 0)
    return got


@entry
def k_free_percpu(ram: Any, p: int) -> int:
    """``void free_percpu(void __percpu *ptr)``."""
    k = kernel(ram)
    if p:
        emit(k, PERCPU_FREE, p, 0, 0, 0, -1, 0, 0)
        pcpu_free(k, p)
    return 0
