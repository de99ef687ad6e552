"""kvmalloc: kmalloc if it is small or easy, vmalloc if not (mm/util.c, 6.1)."""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_DIRECT_RECLAIM, __GFP_NOFAIL, __GFP_NORETRY, __GFP_NOWARN, __GFP_RETRY_MAYFAIL
from kmem.lib.jit import entry, jit
from kmem.mm import places
from kmem.mm.kmalloc import kfree, trace_kmalloc, try_kmalloc
from kmem.mm.mmzone import PAGE_SIZE, is_vmalloc_addr, kernel
from kmem.mm.upcalls import warn
from kmem.mm.vm_flags import VM_ALLOW_HUGE_VMAP
from kmem.mm.vmalloc import vfree, vmalloc_node

INT_MAX = (1 << 31) - 1


@jit
def kvmalloc_node(k: Any, size: int, flags: int, node: int) -> int:
    """``void *kvmalloc_node(size_t size, gfp_t flags, int node)``.

    Above a page kmalloc is tried without effort and without complaint; if that fails vmalloc follows, but only for
    masks that may sleep. Above INT_MAX: NULL and, unless ``__GFP_NOWARN``, a warning. An attempt that vmalloc follows
    leaves no event: the request has not failed.
    """
    kmalloc_flags = flags
    if size > PAGE_SIZE:
        kmalloc_flags |= __GFP_NOWARN
        if not kmalloc_flags & __GFP_RETRY_MAYFAIL:
            kmalloc_flags |= __GFP_NORETRY
        kmalloc_flags &= ~__GFP_NOFAIL
    got = try_kmalloc(k, size, kmalloc_flags, node)
    if got or 0 <= size <= PAGE_SIZE or not flags & __GFP_DIRECT_RECLAIM:
        trace_kmalloc(k, got, size, kmalloc_flags, node)
        return got
    if size < 0 or size > INT_MAX:
        if not flags & __GFP_NOWARN:
            warn(k, places.KVMALLOC_INT_MAX, size, flags)
        return 0
    return vmalloc_node(k, size, 1, flags, VM_ALLOW_HUGE_VMAP, node)


@entry
def k_kvmalloc(ram: Any, size: int, gfp: int, node: int) -> int:
    """Entry for :func:`kvmalloc_node`."""
    return kvmalloc_node(kernel(ram), size, gfp, node)


@entry
def k_kvfree(ram: Any, p: int) -> int:
    """``void kvfree(const void *addr)``: by address, to vfree or kfree."""
    k = kernel(ram)
    if is_vmalloc_addr(p):
        vfree(k, p)
    else:
        kfree(k, p)
    return 0
