"""The slab allocator's exports by link symbol (mm/slab_common.c, mm/slub.c), 6.1. The work is done by `Host.mm`."""

from __future__ import annotations

from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host

KMALLOC_MAX_CACHE_SIZE = 8192
PAGE_SIZE = 4096
SIZE_MAX = (1 << 64) - 1
ZERO_SIZE_PTR = 16


@export(faithful, alias="__kmalloc_cache_noprof")
def kmalloc_trace(k: Host, s: int, gfpflags: int, size: int) -> int:
    """``void *kmalloc_trace(struct kmem_cache *s, gfp_t gfpflags, size_t size)``

    mm/slab_common.c, 6.1. What kmalloc() of a constant size becomes: the caller has picked the cache; *size* only tells
    sanitizers what was asked for.
    """
    return k.mm.kmalloc_trace(s, gfpflags, -1, size)


@export(faithful, alias="__kmalloc_cache_node_noprof")
def kmalloc_node_trace(k: Host, s: int, gfpflags: int, node: int, size: int) -> int:
    """``void *kmalloc_node_trace(struct kmem_cache *s, gfp_t gfpflags, int node, size_t size)``

    mm/slab_common.c, 6.1.
    """
    return k.mm.kmalloc_trace(s, gfpflags, node, size)


@export(faithful)
def __kmalloc(k: Host, size: int, flags: int) -> int:
    """``void *__kmalloc(size_t size, gfp_t flags)``

    mm/slab_common.c, 6.1. kmalloc() of a size that is not constant. ZERO_SIZE_PTR for 0, NULL on failure.
    """
    return k.mm.kmalloc(size, flags, caller=k.caller)


@export(faithful)
def __kmalloc_node(k: Host, size: int, flags: int, node: int) -> int:
    """``void *__kmalloc_node(size_t size, gfp_t flags, int node)``

    mm/slab_common.c, 6.1.
    """
    return k.mm.kmalloc(size, flags, node, k.caller)


@export(faithful)
def __kmalloc_node_track_caller(k: Host, size: int, flags: int, node: int, caller: int) -> int:
    """``void *__kmalloc_node_track_caller(size_t size, gfp_t flags, int node, unsigned long caller)``

    mm/slab_common.c, 6.1. *caller* is charged with the allocation.
    """
    return k.mm.kmalloc(size, flags, node, caller)


@export(faithful, alias="__kmalloc_large_noprof")
def kmalloc_large(k: Host, size: int, flags: int) -> int:
    """``void *kmalloc_large(size_t size, gfp_t flags)``

    mm/slab_common.c, 6.1. kmalloc() of a constant size above 8 KiB: whole pages.
    """
    return k.mm.kmalloc_large(size, flags, -1)


@export(faithful, alias="__kmalloc_large_node_noprof")
def kmalloc_large_node(k: Host, size: int, flags: int, node: int) -> int:
    """``void *kmalloc_large_node(size_t size, gfp_t flags, int node)``

    mm/slab_common.c, 6.1.
    """
    return k.mm.kmalloc_large(size, flags, node)


@export(faithful)
def krealloc(k: Host, p: int, new_size: int, flags: int) -> int:
    """``void *krealloc(const void *p, size_t new_size, gfp_t flags)``

    mm/slab_common.c, 6.1. Size 0 frees and gives ZERO_SIZE_PTR; on failure NULL, and *p* stays.
    """
    return k.mm.krealloc(p, new_size, flags)


@export(faithful)
def kfree(k: Host, objp: int) -> None:
    """``void kfree(const void *objp)``

    mm/slab_common.c, 6.1. NULL and ZERO_SIZE_PTR are allowed.
    """
    k.mm.kfree(objp)


@export(faithful)
def kfree_sensitive(k: Host, p: int) -> None:
    """``void kfree_sensitive(const void *p)``

    mm/slab_common.c, 6.1. Zeroes the whole object first.
    """
    size = ksize(k, p)
    if size:
        k.mem.fill(p, 0, size)
    k.mm.kfree(p)


@export(simplified("no pointer lies in the kernel's own read-only data: every one is freed"))
def kfree_const(k: Host, x: int) -> None:
    """``void kfree_const(const void *x)``

    mm/util.c, 6.1.
    """
    k.mm.kfree(x)


@export(faithful)
def ksize(k: Host, objp: int) -> int:
    """``size_t ksize(const void *objp)``

    mm/slab_common.c, 6.1. The bytes that may be used; 0 for NULL and ZERO_SIZE_PTR.
    """
    return k.mm.ksize(objp) if objp > ZERO_SIZE_PTR else 0


@export(faithful)
def kmalloc_size_roundup(k: Host, size: int) -> int:
    """``size_t kmalloc_size_roundup(size_t size)``

    mm/slab_common.c, 6.1. The bytes that kmalloc(size) would give.
    """
    if size in (0, SIZE_MAX):
        return size
    if size > KMALLOC_MAX_CACHE_SIZE:
        return max(PAGE_SIZE, 1 << (size - 1).bit_length()) & SIZE_MAX
    return min(bucket for bucket in k.release.kmalloc_sizes if bucket >= size)


@export(faithful)
def kmem_cache_create(k: Host, name: int, size: int, align: int, flags: int, ctor: int) -> int:
    """``struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align, slab_flags_t
    flags, void (*ctor)(void *))``

    mm/slab_common.c, 6.1. The cache, which may be one that it was merged with, or NULL.
    """
    return k.mm.kmem_cache_create(_name(k, name), size, align, flags, ctor)


@export(faithful)
def kmem_cache_create_usercopy(
    k: Host, name: int, size: int, align: int, flags: int, useroffset: int, usersize: int, ctor: int
) -> int:
    """``struct kmem_cache *kmem_cache_create_usercopy(const char *name, unsigned int size, unsigned int align,
    slab_flags_t flags, unsigned int useroffset, unsigned int usersize, void (*ctor)(void *))``

    mm/slab_common.c, 6.1.
    """
    return k.mm.kmem_cache_create(_name(k, name), size, align, flags, ctor, useroffset, usersize)


def _name(k: Host, name: int) -> str:
    return k.mem.cstr(name).decode("utf-8", "backslashreplace")


@export(faithful)
def kmem_cache_destroy(k: Host, s: int) -> None:
    """``void kmem_cache_destroy(struct kmem_cache *s)``

    mm/slab_common.c, 6.1. NULL is allowed. A cache with live objects warns and stays.
    """
    if s:
        k.mm.kmem_cache_destroy(s)


@export(faithful)
def kmem_cache_shrink(k: Host, cachep: int) -> int:
    """``int kmem_cache_shrink(struct kmem_cache *cachep)``

    mm/slab_common.c, 6.1. 0 when no slab is left.
    """
    return k.mm.kmem_cache_shrink(cachep)


@export(simplified("warnings about counts that disagree are not printed"))
def validate_slab_cache(k: Host, s: int) -> int:
    """``long validate_slab_cache(struct kmem_cache *s)``

    mm/slub.c, 6.1. Checks every slab that is on a list, reports and repairs; how many.
    """
    return k.mm.validate_slab_cache(s)


@export(faithful)
def kmem_cache_size(k: Host, s: int) -> int:
    """``unsigned int kmem_cache_size(struct kmem_cache *s)``

    mm/slab_common.c, 6.1. The object size.
    """
    return k.mm.kmem_cache_size(s)


@export(faithful)
def kmem_cache_alloc(k: Host, s: int, gfpflags: int) -> int:
    """``void *kmem_cache_alloc(struct kmem_cache *s, gfp_t gfpflags)``

    mm/slub.c, 6.1.
    """
    return k.mm.kmem_cache_alloc(s, gfpflags)


@export(faithful)
def kmem_cache_alloc_node(k: Host, s: int, gfpflags: int, node: int) -> int:
    """``void *kmem_cache_alloc_node(struct kmem_cache *s, gfp_t gfpflags, int node)``

    mm/slub.c, 6.1.
    """
    return k.mm.kmem_cache_alloc(s, gfpflags, node)


@export(simplified("memory control groups are not modelled: the lru is ignored"))
def kmem_cache_alloc_lru(k: Host, s: int, lru: int, gfpflags: int) -> int:
    """``void *kmem_cache_alloc_lru(struct kmem_cache *s, struct list_lru *lru, gfp_t gfpflags)``

    mm/slub.c, 6.1.
    """
    return k.mm.kmem_cache_alloc(s, gfpflags)


@export(faithful)
def kmem_cache_free(k: Host, s: int, x: int) -> None:
    """``void kmem_cache_free(struct kmem_cache *s, void *x)``

    mm/slub.c, 6.1.
    """
    k.mm.kmem_cache_free(s, x)


@export(faithful)
def kmem_cache_alloc_bulk(k: Host, s: int, flags: int, size: int, p: int) -> int:
    """``int kmem_cache_alloc_bulk(struct kmem_cache *s, gfp_t flags, size_t size, void **p)``

    mm/slub.c, 6.1. *size*, or 0 when not all could be allocated.
    """
    objects = k.mm.kmem_cache_alloc_bulk(s, flags, size)
    k.mem.write(p, b"".join(obj.to_bytes(8, "little") for obj in objects))
    return len(objects)


@export(faithful)
def kmem_cache_free_bulk(k: Host, s: int, size: int, p: int) -> None:
    """``void kmem_cache_free_bulk(struct kmem_cache *s, size_t size, void **p)``

    mm/slub.c, 6.1. Without a cache (kfree_bulk()) each object goes to its own. Objects of one slab go back as one
    chain, from the last on; the array is sorted on the way, as the kernel's is not ours to read afterwards.
    """
    k.mm.kmem_cache_free_bulk(s, [k.mem.u64(p + 8 * index) for index in range(size)])


@export(simplified("stacks of allocation and free are not printed"))
def kmem_dump_obj(k: Host, object: int) -> bool:
    """``bool kmem_dump_obj(void *object)``

    mm/slab_common.c, 6.1. Continues the log line with what is known of a slab object; false for what is none.
    """
    from kmem.kapi.provenance import slab_object

    text = slab_object(k, object)
    if text:
        k.log.printk(text)
    return bool(text)


@export(simplified("stacks of allocation and free are not printed"))
def mem_dump_obj(k: Host, object: int) -> None:
    """``void mem_dump_obj(void *object)``

    mm/util.c, 6.1. As kmem_dump_obj(), for any kind of memory.
    """
    from kmem.kapi.provenance import any_memory, slab_object

    k.log.printk(slab_object(k, object) or any_memory(k, object))
