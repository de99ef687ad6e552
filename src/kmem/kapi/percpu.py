"""The per-CPU allocator's exports (mm/percpu.c), 6.1. The work is done by `Host.mm`."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host


@export(faithful)
def __alloc_percpu(k: Host, size: int, align: int) -> int:
    """``void __percpu *__alloc_percpu(size_t size, size_t align)``

    mm/percpu.c, 6.1. Zeroed; the result is an offset to be added to each CPU's base.
    """
    return k.mm.alloc_percpu(size, align)


@export(faithful)
def __alloc_percpu_gfp(k: Host, size: int, align: int, gfp: int) -> int:
    """``void __percpu *__alloc_percpu_gfp(size_t size, size_t align, gfp_t gfp)``

    mm/percpu.c, 6.1.
    """
    return k.mm.alloc_percpu(size, align, gfp)


@export(faithful)
def free_percpu(k: Host, ptr: int) -> None:
    """``void free_percpu(void __percpu *ptr)``

    mm/percpu.c, 6.1. NULL is allowed.
    """
    if ptr:
        k.mm.free_percpu(ptr)
