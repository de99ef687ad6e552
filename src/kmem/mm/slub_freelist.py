"""Objects and free pointers of a slab (mm/slub.c, 6.1).

A slab of ``objects`` objects is laid out as ``[red_left_pad][object_size … inuse][free pointer?][tracks][padding] ×
objects``. A free object holds the address of the next free one at ``offset`` inside it. With the hardened free list
the stored word is ``next ^ s->random ^ swab64(address of the word)``, so that an overwrite gives an address that
faults.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import address, always_inline, bswap64, jit, load64, lshr, mul64, ptr, shl, store64
from kmem.mm import places
from kmem.mm.mm_types import kmem_cache_cpu, page, slab
from kmem.mm.mmzone import compound_order, page_to_virt, priv, virt_to_head_page
from kmem.mm.upcalls import bug

OO_SHIFT, OO_MASK = 16, 0xFFFF


@jit
def random_u64(k: Any) -> int:
    """The next number of the machine's own seeded generator (xorshift64*), where the kernel has entropy."""
    x = k.random_state
    x ^= lshr(x, 12)
    x ^= shl(x, 25)
    x ^= lshr(x, 27)
    k.random_state = x
    return mul64(x, 0x2545F4914F6CDD1D)


@jit
def random_below(k: Any, ceiling: int) -> int:
    """``prandom_u32_max(ceiling)``."""
    return (lshr(random_u64(k), 32) * ceiling) >> 32


@jit
def oo_order(x: int) -> int:
    """``oo_order()``."""
    return x >> OO_SHIFT


@jit
def oo_objects(x: int) -> int:
    """``oo_objects()``."""
    return x & OO_MASK


@always_inline
def slab_of_page(p: Any) -> Any:
    """``page_slab(page)``: the same memory seen as ``struct slab``."""
    return ptr(slab, address(p), p)


@jit
def page_of_slab(sl: Any) -> Any:
    """``slab_page(slab)``."""
    return ptr(page, address(sl), sl)


@always_inline
def virt_to_slab(k: Any, x: int) -> Any:
    """``struct slab *virt_to_slab(const void *addr)``, without asking whether it is one."""
    return slab_of_page(virt_to_head_page(k, x))


@jit
def slab_address(sl: Any) -> int:
    """``void *slab_address(const struct slab *slab)``."""
    return page_to_virt(page_of_slab(sl))


@jit
def slab_order(sl: Any) -> int:
    """``int slab_order(const struct slab *slab)``."""
    return compound_order(page_of_slab(sl))


@always_inline
def this_cpu_slab(k: Any, s: Any) -> Any:
    """``raw_cpu_ptr(s->cpu_slab)``."""
    return cpu_slab(k, s, priv(k).cpu)


@always_inline
def cpu_slab(k: Any, s: Any, cpu: int) -> Any:
    """``per_cpu_ptr(s->cpu_slab, cpu)``."""
    return ptr(kmem_cache_cpu, address(s.cpu_slab) + k.__per_cpu_offset[cpu], k)


@always_inline
def freelist_ptr(k: Any, s: Any, pointer: int, at: int) -> int:
    """``freelist_ptr()``: encode or decode a free pointer stored at *at*."""
    if k.hardened:
        return pointer ^ s.random ^ bswap64(at)
    return pointer


@always_inline
def get_freepointer(k: Any, s: Any, obj: int) -> int:
    """``get_freepointer()``. A corrupted object address faults here, as in the kernel."""
    at = obj + s.offset
    return freelist_ptr(k, s, load64(k, at), at)


@always_inline
def set_freepointer(k: Any, s: Any, obj: int, fp: int) -> None:
    """``set_freepointer()``. With the hardened free list an object that would point to itself is a double free."""
    at = obj + s.offset
    if k.hardened and obj == fp:
        bug(k, places.SLUB_DOUBLE_FREE, obj, address(s))
    store64(k, at, freelist_ptr(k, s, fp, at))


@jit
def check_valid_pointer(s: Any, sl: Any, obj: int) -> bool:
    """``check_valid_pointer()``: NULL, or on an object boundary of the slab."""
    if obj == 0:
        return True
    base = slab_address(sl)
    obj -= s.red_left_pad
    return base <= obj < base + sl.objects * s.size and (obj - base) % s.size == 0


@jit
def next_tid(tid: int) -> int:
    """``next_tid()``: transactions of this CPU, in steps of the (rounded) number of CPUs."""
    return tid + 8192
