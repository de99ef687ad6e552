"""The allocator's exports whose arguments changed with buckets and allocation tagging (mm/slub.c, mm/slab_common.c,
mm/util.c, mm/percpu.c), 6.12. Those that merely link under another name are declared with their old one.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.slab import KMALLOC_MAX_CACHE_SIZE

PAGE_SIZE = 4096


def _kmalloc(k: Host, size: int, b: int, flags: int, node: int, caller: int) -> int:
    """kmalloc() from the set of caches *b*, or from the common one."""
    if b and 0 < size <= KMALLOC_MAX_CACHE_SIZE:
        sizes = k.release.kmalloc_sizes
        index = sizes.index(min(bucket for bucket in sizes if bucket >= size))
        return k.mm.kmalloc_trace(k.mem.u64(b + 8 * index), flags, node, size)
    return k.mm.kmalloc(size, flags, node, caller)


@export(faithful)
def __kmalloc_node_noprof(k: Host, size: int, b: int, flags: int, node: int) -> int:
    """``void *__kmalloc_node_noprof(size_t size, kmem_buckets *b, gfp_t flags, int node)``

    mm/slub.c, 6.12. *b* is NULL, or a set of caches of its own.
    """
    return _kmalloc(k, size, b, flags, node, k.caller)


@export(faithful)
def __kmalloc_node_track_caller_noprof(k: Host, size: int, b: int, flags: int, node: int, caller: int) -> int:
    """``void *__kmalloc_node_track_caller_noprof(size_t size, kmem_buckets *b, gfp_t flags, int node, unsigned long
    caller)``

    mm/slub.c, 6.12. *caller* is charged with the allocation.
    """
    return _kmalloc(k, size, b, flags, node, caller)


@export(faithful)
def __kvmalloc_node_noprof(k: Host, size: int, b: int, flags: int, node: int) -> int:
    """``void *__kvmalloc_node_noprof(size_t size, kmem_buckets *b, gfp_t flags, int node)``

    mm/util.c, 6.12. kmalloc() first, vmalloc() if that fails and the flags allow it.
    """
    if b and 0 < size <= KMALLOC_MAX_CACHE_SIZE:
        got = _kmalloc(k, size, b, flags, node, k.caller)
        if got:
            return got
    return k.mm.kvmalloc(size, flags, node)


@export(faithful)
def kvrealloc_noprof(k: Host, p: int, size: int, flags: int) -> int:
    """``void *kvrealloc_noprof(const void *p, size_t size, gfp_t flags)``

    mm/util.c, 6.12. Memory of vmalloc() grows by a new area and a copy, and is zeroed behind *size* when it shrinks and
    the flags say so; memory of kmalloc() goes through krealloc(), then kvmalloc(). On failure NULL, and *p* stays.
    """
    mm = k.mm
    if not mm.is_vmalloc_addr(p):
        got = mm.krealloc(p, size, flags | (_QUIET if size > PAGE_SIZE else 0))
        if not got:
            got = mm.kvmalloc(size, flags)
            if got and p:
                k.mem.write(got, k.mem.read(p, mm.ksize(p)))
                mm.kfree(p)
        return got
    if not size:
        mm.vfree(p)
        return 0
    struct, area = k.layout["vm_struct"], mm.find_vm_area(p)
    if not area:
        k.warn("mm/vmalloc.c", 4140, "vrealloc_noprof", f"Trying to vrealloc() nonexistent vm area ({p:016x})")
        return 0
    room = k.mem.u64(area + struct.offset("size")) - PAGE_SIZE
    asked = area + struct.offset("requested_size")
    old = k.mem.u64(asked)
    if size <= room:
        if size < old and (flags & _ZERO or k.config.get("CONFIG_INIT_ON_ALLOC_DEFAULT_ON")):
            k.mem.fill(p + size, 0, old - size)
        k.mem.set_u64(asked, size)
        return p
    got = mm.vmalloc(size, flags)
    if got:
        k.mem.write(got, k.mem.read(p, old))
        mm.vfree(p)
    return got


_QUIET, _ZERO = 0x12000, 0x100
"""__GFP_NOWARN | __GFP_NORETRY, which ``kmalloc_gfp_adjust()`` adds above a page; __GFP_ZERO."""


@export(faithful)
def __kmem_cache_create_args(k: Host, name: int, object_size: int, args: int, flags: int) -> int:
    """``struct kmem_cache *__kmem_cache_create_args(const char *name, unsigned int object_size, struct kmem_cache_args
    *args, slab_flags_t flags)``

    mm/slab_common.c, 6.12. What kmem_cache_create() in all its forms becomes.
    """
    struct = k.layout["kmem_cache_args"]

    def arg(member: str) -> int:
        found = struct[member]
        return int.from_bytes(k.mem.read(args + found.offset, found.size), "little")

    text = k.mem.cstr(name).decode("utf-8", "backslashreplace")
    useroffset, usersize = arg("useroffset"), arg("usersize")
    return k.mm.kmem_cache_create(text, object_size, arg("align"), flags, arg("ctor"), useroffset, usersize)


@export(simplified("each size has a cache of its own, whatever the minimal alignment of DMA"))
def kmem_buckets_create(k: Host, name: int, flags: int, useroffset: int, usersize: int, ctor: int) -> int:
    """``kmem_buckets *kmem_buckets_create(const char *name, slab_flags_t flags, unsigned int useroffset, unsigned int
    usersize, void (*ctor)(void *))``

    mm/slab_common.c, 6.12. A set of caches like those of kmalloc(); NULL when memory is short.
    """
    text = k.mem.cstr(name).decode("utf-8", "backslashreplace")
    mm, sizes = k.mm, k.release.kmalloc_sizes
    b = mm.kmalloc(8 * len(sizes), 0xDC0)
    made: list[int] = []
    for index, size in enumerate(sizes):
        if not b or not size:
            continue
        usable = min(size - useroffset, usersize) if useroffset < size else 0
        label = f"{size >> 10}k" if size >= 1024 else str(size)
        s = mm.kmem_cache_create(
            f"{text}-{label}", size, 0, flags | k.release.slab_flags["SLAB_NO_MERGE"], ctor,
            useroffset if usable else 0, usable,
        )  # fmt: skip
        if not s:
            for cache in made:
                mm.kmem_cache_destroy(cache)
            mm.kfree(b)
            return 0
        made.append(s)
        k.mem.write(b + 8 * index, s.to_bytes(8, "little"))
    return b


@export(faithful)
def pcpu_alloc_noprof(k: Host, size: int, align: int, reserved: bool, gfp: int) -> int:
    """``void __percpu *pcpu_alloc_noprof(size_t size, size_t align, bool reserved, gfp_t gfp)``

    mm/percpu.c, 6.12. What alloc_percpu() in all its forms becomes.
    """
    return k.mm.alloc_percpu(size, align, gfp)


@export(faithful)
def __fortify_panic(k: Host, reason: int, avail: int, size: int) -> None:
    """``void __fortify_panic(const u8 reason, const size_t avail, const size_t size)``

    lib/string_helpers.c, 6.12. A fortified string function would have overrun an object: BUG.
    """
    name = _FORTIFY_FUNCTIONS[reason >> 1] if reason >> 1 < len(_FORTIFY_FUNCTIONS) else "unknown"
    write = "write" if reason & 1 else "read"
    k.warn(
        "lib/string_helpers.c", 1032, "__fortify_report",
        f"{name}: detected buffer overflow: {size} byte {write} of buffer size {avail}",
    )  # fmt: skip
    k.bug("lib/string_helpers.c", 1040, "__fortify_panic")


_FORTIFY_FUNCTIONS = (
    "strncpy strnlen strlen strscpy strlcat strcat strncat memset memcpy memmove memscan memcmp memchr memchr_inv "
    "kmemdup strcpy"
).split()
"""``fortify_func_name[]``: by the number in *reason*, whose lowest bit tells a write."""
