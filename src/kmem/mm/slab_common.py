"""Caches: creating, merging, destroying, and the kmalloc array (mm/slab_common.c and the cache half of mm/slub.c,
6.1).
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.abi.slab_flags import (
    CACHE_CREATE_MASK,
    CMPXCHG_DOUBLE,
    DEBUG_METADATA_FLAGS,
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_FLAGS_PERMITTED,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_MERGE_SAME,
    SLAB_NEVER_MERGE,
    SLAB_NO_CMPXCHG,
    SLAB_NO_MERGE,
    SLAB_NO_USER_FLAGS,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from kmem.lib.jit import (
    address,
    always_inline,
    copy,
    fls64,
    jit,
    load8,
    load32,
    load64,
    offsetof,
    ptr,
    sizeof,
    store32,
    store64,
)
from kmem.lib.list import INIT_LIST_HEAD, list_add, list_add_tail, list_del, list_empty
from kmem.mm import places
from kmem.mm.codes import REPORT_REMAINING, UP_CACHE_BUSY, UP_CACHE_FAILED, UP_CACHE_FLAGS, UP_RCU_CACHE
from kmem.mm.events import CACHE_CREATE, CACHE_DESTROY, emit, inner_fails, may_fail
from kmem.mm.features import (
    KMALLOC_ALIASES,
    KMALLOC_ALIGN_DIVISOR,
    KMALLOC_CGROUP,
    KMALLOC_DMA,
    KMALLOC_NO_MERGE,
    KMALLOC_NORMAL,
    KMALLOC_ODD_SIZES_FIRST,
    KMALLOC_RECLAIM,
    NR_KMALLOC_TYPES,
    SLAB_BUCKETS,
)
from kmem.mm.mm_types import (
    KMALLOC_SLOTS,
    kmem_cache,
    kmem_cache_cpu,
    kmem_cache_node,
)
from kmem.mm.percpu import pcpu_alloc, pcpu_free
from kmem.mm.slub import discard_empty, flush_all, kmem_cache_free_one, slab_alloc_node
from kmem.mm.slub_debug import SLUB_RED_ACTIVE, init_object, report
from kmem.mm.slub_freelist import cpu_slab, get_freepointer, oo_objects, random_below, random_u64, virt_to_slab
from kmem.mm.slub_geometry import align_up, calculate_alignment, calculate_sizes, get_order, set_min_and_cpu_partial
from kmem.mm.slub_node import (
    add_partial,
    get_node,
    inc_slabs_node,
    init_kmem_cache_node,
    new_slab,
    no_node,
    slab_from_list,
)
from kmem.mm.upcalls import tell, warn

DOWN, PARTIAL, PARTIAL_NODE, UP, FULL = range(5)
"""``enum slab_state``."""

EINVAL, ENOMEM = 22, 12
KMALLOC_SHIFT_LOW, KMALLOC_SHIFT_HIGH = 3, 13
KMALLOC_MAX_CACHE_SIZE = 1 << KMALLOC_SHIFT_HIGH
CPU_SLAB_ALIGN = 16


@jit
def no_cache(k: Any) -> Any:
    """``(struct kmem_cache *)NULL``."""
    return ptr(kmem_cache, 0, k)


@jit
def kmem_cache_zalloc(k: Any, s: Any, gfp: int) -> int:
    """``kmem_cache_zalloc()`` for the allocator's own structs."""
    return 0 if inner_fails(k, gfp) else slab_alloc_node(k, s, gfp | __GFP_ZERO, -1, s.object_size)


@jit
def early_node_alloc(k: Any, s: Any, node: int) -> None:
    """``early_kmem_cache_node_alloc()``: the first object of the cache of nodes describes the cache of nodes itself."""
    sl = new_slab(k, s, 0x800, node)
    obj: int = sl.freelist
    init_object(k, s, obj, SLUB_RED_ACTIVE)
    sl.freelist = get_freepointer(k, s, obj)
    sl.inuse = 1
    n = ptr(kmem_cache_node, obj, k)
    init_kmem_cache_node(n)
    s.node[node] = n
    inc_slabs_node(s, node, sl.objects)
    add_partial(n, sl, False)


@jit
def init_kmem_cache_nodes(k: Any, s: Any) -> bool:
    """``init_kmem_cache_nodes()``."""
    for node in range(k.nr_node_ids):
        if k.slab_state == DOWN:
            early_node_alloc(k, s, node)
            continue
        got = 0
        if not inner_fails(k, GFP_KERNEL):
            got = slab_alloc_node(k, k.kmem_cache_node, GFP_KERNEL, node, sizeof(kmem_cache_node))
        if not got:
            return False
        n = ptr(kmem_cache_node, got, k)
        init_kmem_cache_node(n)
        s.node[node] = n
    return True


@jit
def free_kmem_cache_nodes(k: Any, s: Any) -> None:
    """``free_kmem_cache_nodes()``."""
    for node in range(k.nr_node_ids):
        n = s.node[node]
        if n:
            s.node[node] = no_node(k)
            kmem_cache_free_one(k, k.kmem_cache_node, address(n))


@jit
def alloc_kmem_cache_cpus(k: Any, s: Any) -> bool:
    """``alloc_kmem_cache_cpus()``."""
    offset = 0 if inner_fails(k, GFP_KERNEL) else pcpu_alloc(k, sizeof(kmem_cache_cpu), CPU_SLAB_ALIGN)
    if not offset:
        return False
    s.cpu_slab = ptr(kmem_cache_cpu, offset, k)
    for cpu in range(k.nr_cpu_ids):
        cpu_slab(k, s, cpu).tid = cpu
    return True


@jit
def init_cache_random_seq(k: Any, s: Any) -> bool:
    """``init_cache_random_seq()``: one shuffled order of the objects, as byte offsets (Fisher-Yates)."""
    count = oo_objects(s.oo.x)
    if not k.freelist_random or count < 2 or s.random_seq:
        return True
    seq = kmalloc_from(k, count * 4, GFP_KERNEL | __GFP_ZERO, -1)
    if not seq:
        return False
    for i in range(count):
        store32(k, seq + 4 * i, i)
    for i in range(count - 1, 0, -1):
        other = random_below(k, i + 1)
        mine = load32(k, seq + 4 * i)
        store32(k, seq + 4 * i, load32(k, seq + 4 * other))
        store32(k, seq + 4 * other, mine)
    for i in range(count):
        store32(k, seq + 4 * i, load32(k, seq + 4 * i) * s.size)
    s.random_seq = seq
    return True


@jit
def kmem_cache_release(k: Any, s: Any) -> None:
    """``__kmem_cache_release()``."""
    if s.random_seq:
        kfree_object(k, s.random_seq)
        s.random_seq = 0
    if s.cpu_slab:
        pcpu_free(k, address(s.cpu_slab))
    free_kmem_cache_nodes(k, s)


@jit
def kmem_cache_open(k: Any, s: Any, flags: int) -> bool:
    """``kmem_cache_open()``: geometry, random order, node and CPU structures.

    Differs: where slub_debug=O drops the red zone, red_left_pad is cleared too; the kernel leaves it, and ignores it.
    """
    s.flags = flags if flags & SLAB_NO_USER_FLAGS else tell(k, UP_CACHE_FLAGS, s.name, flags, 0, 0)
    s.random = random_u64(k) if k.hardened else 0
    if not calculate_sizes(k, s):
        return False
    if k.disable_higher_order_debug and get_order(s.size) > get_order(s.object_size):
        s.flags = s.flags & ~DEBUG_METADATA_FLAGS
        s.offset = 0
        s.red_left_pad = 0
        if not calculate_sizes(k, s):
            return False
    if not s.flags & SLAB_NO_CMPXCHG:
        s.flags = s.flags | CMPXCHG_DOUBLE
    s.remote_node_defrag_ratio = 1000
    set_min_and_cpu_partial(k, s)
    good = k.slab_state < UP or init_cache_random_seq(k, s)
    if good:
        good = init_kmem_cache_nodes(k, s)
    if good:
        good = alloc_kmem_cache_cpus(k, s)
    if not good:
        kmem_cache_release(k, s)
    return good


@jit
def create_boot_cache(k: Any, s: Any, name: int, size: int, flags: int) -> bool:
    """``create_boot_cache()``: a cache that nothing merges with; sizes that are powers of two are aligned to
    themselves.
    """
    s.name = name
    s.object_size = size
    s.size = size
    align = size if size & (size - 1) == 0 else 8
    if KMALLOC_ALIGN_DIVISOR:
        align = size & -size if flags & SLAB_KMALLOC else 8
    s.align = calculate_alignment(flags, max(align, 8), size)
    good = kmem_cache_open(k, s, flags)
    s.refcount = -1
    return good


@jit
def bootstrap(k: Any, static_cache: Any) -> Any:
    """``bootstrap()``: move a cache's description from static memory into an object of ``kmem_cache``."""
    s = ptr(kmem_cache, kmem_cache_zalloc(k, k.kmem_cache, 0x800), k)
    copy(k, address(s), address(static_cache), k.kmem_cache.object_size)
    flush_all(k, s)
    for node in range(k.nr_node_ids):
        n = get_node(s, node)
        if not n:
            continue
        link = n.partial.next
        while link != n.partial:
            slab_from_list(link).slab_cache = s
            link = link.next
        link = n.full.next
        while link != n.full:
            slab_from_list(link).slab_cache = s
            link = link.next
    list_add(s.list, k.slab_caches)
    return s


@jit
def create_kmalloc_cache(k: Any, name: int, size: int, flags: int) -> Any:
    """``create_kmalloc_cache()``."""
    s = ptr(kmem_cache, kmem_cache_zalloc(k, k.kmem_cache, 0x800), k)
    create_boot_cache(k, s, name, size, flags | SLAB_KMALLOC)
    s.usersize = size
    list_add(s.list, k.slab_caches)
    s.refcount = 1
    return s


@jit
def kmalloc_size(index: int) -> int:
    """``kmalloc_info[index].size``."""
    if index == 1:
        return 96
    if index == 2:
        return 192
    return 1 << index


@jit
def kmalloc_name(names: int, kind: int, index: int) -> int:
    """Address of a kmalloc cache's name: 32 bytes each, by type and index, written there before boot."""
    return names + (kind * KMALLOC_SLOTS + index) * 32


@jit
def new_kmalloc_cache(k: Any, names: int, index: int, kind: int) -> None:
    """``new_kmalloc_cache()``."""
    flags = 0
    if kind == KMALLOC_RECLAIM and k.slub_tiny:
        k.kmalloc_caches[kind][index] = k.kmalloc_caches[KMALLOC_NORMAL][index]
        return
    if kind == KMALLOC_RECLAIM:
        flags = SLAB_RECLAIM_ACCOUNT
    elif kind == KMALLOC_CGROUP:
        flags = SLAB_ACCOUNT
    elif kind == KMALLOC_DMA:
        flags = SLAB_CACHE_DMA
    elif kind >= KMALLOC_ALIASES:
        k.kmalloc_caches[kind][index] = k.kmalloc_caches[KMALLOC_NORMAL][index]
        return
    elif KMALLOC_NO_MERGE:
        flags = SLAB_NO_MERGE
    s = create_kmalloc_cache(k, kmalloc_name(names, kind, index), kmalloc_size(index), flags)
    if kind == KMALLOC_NORMAL and not KMALLOC_NO_MERGE:
        s.refcount = -1
    k.kmalloc_caches[kind][index] = s


@jit
def kmem_cache_init(k: Any, boot_caches: int, names: int) -> None:
    """``kmem_cache_init()``: from nothing to kmalloc.

    *boot_caches* is room for two ``struct kmem_cache``; *names* holds the caches' names.
    """
    INIT_LIST_HEAD(k.slab_caches)
    setup_kmalloc_cache_index_table(k)
    INIT_LIST_HEAD(k.slab_caches_to_rcu_destroy)
    nodes = ptr(kmem_cache, boot_caches, k)
    caches = ptr(kmem_cache, boot_caches + 8192 + 512, k)
    k.kmem_cache_node = nodes
    k.kmem_cache = caches
    create_boot_cache(k, nodes, kmalloc_name(names, 0, 0), sizeof(kmem_cache_node), SLAB_HWCACHE_ALIGN)
    k.slab_state = PARTIAL
    size = offsetof(kmem_cache, "node") + k.nr_node_ids * 8
    create_boot_cache(k, caches, kmalloc_name(names, 1, 0), size, SLAB_HWCACHE_ALIGN)
    k.kmem_cache = bootstrap(k, caches)
    k.kmem_cache_node = bootstrap(k, nodes)
    for kind in range(NR_KMALLOC_TYPES):
        if KMALLOC_ODD_SIZES_FIRST:
            new_kmalloc_cache(k, names, 1, kind)
            new_kmalloc_cache(k, names, 2, kind)
        for index in range(KMALLOC_SHIFT_LOW, KMALLOC_SHIFT_HIGH + 1):
            new_kmalloc_cache(k, names, index, kind)
            if not KMALLOC_ODD_SIZES_FIRST and index == 6:
                new_kmalloc_cache(k, names, 1, kind)
            elif not KMALLOC_ODD_SIZES_FIRST and index == 7:
                new_kmalloc_cache(k, names, 2, kind)
    k.slab_state = UP
    if SLAB_BUCKETS:
        size = KMALLOC_SLOTS * 8
        kmem_cache_create(k, kmalloc_name(names, 2, 0), size, 0, SLAB_NO_MERGE, 0, 0, 0)
    link = k.slab_caches.next
    while link != k.slab_caches:
        init_cache_random_seq(k, cache_from_list(link))
        link = link.next


@jit
def cache_from_list(link: Any) -> Any:
    """The cache whose ``list`` is *link*."""
    return ptr(kmem_cache, address(link) - offsetof(kmem_cache, "list"), link)


@jit
def setup_kmalloc_cache_index_table(k: Any) -> None:
    """``setup_kmalloc_cache_index_table()``: the slot of the smallest class that holds a size, for up to 192 bytes."""
    for elem in range(24):
        size = (elem + 1) * 8
        k.size_index[elem] = fls64(size - 1)
        if 64 < size <= 96:
            k.size_index[elem] = 1
        elif 128 < size <= 192:
            k.size_index[elem] = 2
        elif size <= 8:
            k.size_index[elem] = KMALLOC_SHIFT_LOW


@always_inline
def kmalloc_index(k: Any, size: int) -> int:
    """The slot of the smallest class that holds *size* (1 … 8192)."""
    if size <= 192:
        found: int = k.size_index[(size - 1) >> 3]
        return found
    return fls64(size - 1)


@always_inline
def kmalloc_type(gfp: int) -> int:
    """``kmalloc_type()``: DMA before reclaimable before accounted."""
    if gfp & 0x01:
        return KMALLOC_DMA
    if gfp & 0x10:
        return KMALLOC_RECLAIM
    if gfp & 0x400000:
        return KMALLOC_CGROUP
    return KMALLOC_NORMAL


@always_inline
def kmalloc_slab(k: Any, size: int, gfp: int) -> Any:
    """``kmalloc_slab()``: the cache for a size up to 8 KiB."""
    return k.kmalloc_caches[kmalloc_type(gfp)][kmalloc_index(k, size)]


@jit
def kmalloc_from(k: Any, size: int, gfp: int, node: int) -> int:
    """An object of the kmalloc array, for the allocator's own use: no event, no injection."""
    return 0 if inner_fails(k, gfp) else slab_alloc_node(k, kmalloc_slab(k, size, gfp), gfp, node, size)


@jit
def kfree_object(k: Any, obj: int) -> None:
    """Free what :func:`kmalloc_from` gave."""
    kmem_cache_free_one(k, virt_to_slab(k, obj).slab_cache, obj)


@jit
def same_name(k: Any, a: int, b: int) -> bool:
    """``!strcmp(a, b)``."""
    i = 0
    while load8(k, a + i) == load8(k, b + i):
        if load8(k, a + i) == 0:
            return True
        i += 1
    return False


@jit
def find_mergeable(k: Any, size: int, align: int, flags: int, name: int, ctor: int, usersize: int) -> Any:
    """``find_mergeable()``: an existing cache whose objects would serve, or NULL."""
    if k.slab_nomerge or ctor or usersize:
        return no_cache(k)
    size = align_up(size, 8)
    align = calculate_alignment(flags, align, size)
    size = align_up(size, align)
    flags = tell(k, UP_CACHE_FLAGS, name, flags, 0, 0)
    if flags & SLAB_NEVER_MERGE:
        return no_cache(k)
    link = k.slab_caches.prev
    while link != k.slab_caches:
        s = cache_from_list(link)
        link = link.prev
        if s.flags & SLAB_NEVER_MERGE or s.ctor or s.usersize or s.refcount < 0 or size > s.size:
            continue
        if flags & SLAB_MERGE_SAME != s.flags & SLAB_MERGE_SAME:
            continue
        if s.size & ~(align - 1) != s.size or s.size - size >= 8:
            continue
        return s
    return no_cache(k)


@jit
def string_length(k: Any, text: int) -> int:
    """``strlen()``."""
    length = 0
    while load8(k, text + length):
        length += 1
    return length


@jit
def forget_aliases(k: Any, s: int, name: int) -> None:
    """Drop the remembered names that led to the cache at *s*, or that are spelled as *name* (0: none of these)."""
    before = 0
    at = k.alias_list
    while at:
        following = load64(k, at)
        if load64(k, at + 8) == s or (name and same_name(k, at + 16, name)):
            if before:
                store64(k, before, following)
            else:
                k.alias_list = following
            kfree_object(k, at)
        else:
            before = at
        at = following


@jit
def sysfs_slab_alias(k: Any, s: Any, name: int) -> bool:
    """``sysfs_slab_alias()``: remember *name* as another one for *s*, in place of whatever had it; False without
    memory.

    An entry is the address of the next, of the cache, and the name. It stays when the alias is destroyed, as the
    kernel's link does, until the cache goes.
    """
    length = string_length(k, name)
    entry = kmalloc_from(k, 16 + length + 1, GFP_KERNEL, -1)
    if not entry:
        return False
    forget_aliases(k, 0, name)
    store64(k, entry, k.alias_list)
    store64(k, entry + 8, address(s))
    copy(k, entry + 16, name, length + 1)
    k.alias_list = entry
    return True


@jit
def create_cache(
    k: Any, name: int, size: int, align: int, flags: int, ctor: int, useroffset: int, usersize: int
) -> Any:
    """``create_cache()``, with a copy of the name: a cache of its own, or NULL for lack of memory."""
    length = string_length(k, name)
    own = kmalloc_from(k, length + 1, GFP_KERNEL, -1) if may_fail(k, GFP_KERNEL) else 0
    if not own:
        return no_cache(k)
    copy(k, own, name, length + 1)
    got = kmem_cache_zalloc(k, k.kmem_cache, GFP_KERNEL)
    if got:
        s = ptr(kmem_cache, got, k)
        s.name = own
        s.size = size
        s.object_size = size
        s.align = calculate_alignment(flags, align, size)
        s.ctor = ctor
        s.useroffset = useroffset
        s.usersize = usersize
        if kmem_cache_open(k, s, flags):
            s.refcount = 1
            list_add(s.list, k.slab_caches)
            return s
        kmem_cache_free_one(k, k.kmem_cache, got)
    kfree_object(k, own)
    return no_cache(k)


@jit
def kmem_cache_create(
    k: Any, name: int, size: int, align: int, flags: int, ctor: int, useroffset: int, usersize: int
) -> Any:
    """``kmem_cache_create_usercopy()``: a cache, or an alias of one that fits.

    NULL, and a message, for flags that are no slab flags (-EINVAL) and for lack of memory (-ENOMEM). A usercopy region
    that does not lie in the object is warned about and not used.
    """
    if flags & ~SLAB_FLAGS_PERMITTED:
        tell(k, UP_CACHE_FAILED, name, EINVAL, flags, 0)
        return no_cache(k)
    flags &= CACHE_CREATE_MASK
    if (usersize == 0 and useroffset) or size < usersize or size - usersize < useroffset:
        warn(k, places.USERCOPY_REGION, useroffset, usersize)
        usersize = 0
        useroffset = 0
    if usersize == 0:
        s = find_mergeable(k, size, align, flags, name, ctor, usersize)
        if s:
            s.refcount = s.refcount + 1
            s.object_size = max(s.object_size, size)
            s.inuse = max(s.inuse, align_up(size, 8))
            emit(k, CACHE_CREATE, address(s), size, s.size, 0, -1, address(s), 1)
            return s
    s = create_cache(k, name, size, align, flags, ctor, useroffset, usersize)
    if s:
        emit(k, CACHE_CREATE, address(s), size, s.size, 0, -1, address(s), 0)
    else:
        tell(k, UP_CACHE_FAILED, name, ENOMEM, flags, 0)
    return s


@jit
def kmem_cache_shutdown(k: Any, s: Any) -> int:
    """``__kmem_cache_shutdown()``: free all slabs; the number of slabs that still hold objects (each is reported)."""
    flush_all(k, s)
    busy = 0
    for node in range(k.nr_node_ids):
        n = get_node(s, node)
        link = n.partial.next
        while link != n.partial:
            sl = slab_from_list(link)
            link = link.next
            if sl.inuse:
                report(k, REPORT_REMAINING, s, sl, 0)
        discard_empty(k, s, n)
        busy += n.nr_slabs
    return busy


@jit
def slab_kmem_cache_release(k: Any, s: Any) -> None:
    """``slab_kmem_cache_release()``: forget a cache that has no slabs."""
    kmem_cache_release(k, s)
    if s.name:
        kfree_object(k, s.name)
    kmem_cache_free_one(k, k.kmem_cache, address(s))


@jit
def rcu_destroy_caches(k: Any) -> int:
    """``slab_caches_to_rcu_destroy_workfn()``: the grace period is over."""
    gone = 0
    while not list_empty(k.slab_caches_to_rcu_destroy):
        s = cache_from_list(k.slab_caches_to_rcu_destroy.next)
        list_del(s.list)
        slab_kmem_cache_release(k, s)
        gone += 1
    return gone


@jit
def kmem_cache_destroy(k: Any, s: Any) -> int:
    """``kmem_cache_destroy()``: -EBUSY (-16), and a warning, if objects are still in use; an alias only drops its
    reference. One with SLAB_TYPESAFE_BY_RCU is gone after a grace period.
    """
    s.refcount = s.refcount - 1
    if s.refcount:
        emit(k, CACHE_DESTROY, address(s), 0, 0, 0, -1, address(s), 1)
        return 0
    if kmem_cache_shutdown(k, s):
        tell(k, UP_CACHE_BUSY, address(s), 0, 0, 0)
        return -16
    emit(k, CACHE_DESTROY, address(s), 0, 0, 0, -1, address(s), 0)
    list_del(s.list)
    forget_aliases(k, address(s), 0)
    if s.flags & SLAB_TYPESAFE_BY_RCU:
        list_add_tail(s.list, k.slab_caches_to_rcu_destroy)
        if not tell(k, UP_RCU_CACHE, address(s), 0, 0, 0):
            rcu_destroy_caches(k)
        return 0
    slab_kmem_cache_release(k, s)
    return 0
