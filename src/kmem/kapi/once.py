"""Small helpers that modules' inline functions call (lib/once.c, lib/math/reciprocal_div.c, net/core), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import ENOMEM
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.fields import get
from kmem.kapi.host import Host
from kmem.kapi.lists import init_list_head


@export(simplified("the lock is taken by nobody else: there is one task"))
def __do_once_start(k: Host, done: int, flags: int) -> bool:
    """``bool __do_once_start(bool *done, unsigned long *flags)``

    lib/once.c, 6.1. Whether this is the first time.
    """
    return not k.mem.u8(done)


@export(simplified("the code stays as it was built"))
def __do_once_done(k: Host, done: int, once_key: int, flags: int, mod: int) -> None:
    """``void __do_once_done(bool *done, struct static_key_true *once_key, unsigned long *flags, struct module *mod)``

    lib/once.c, 6.1.
    """
    k.mem.set_u8(done, 1)


@export(faithful)
def reciprocal_value(k: Host, d: int) -> int:
    """``u64 reciprocal_value(u32 d)``

    lib/math/reciprocal_div.c, 6.1. A ``struct reciprocal_value`` in one register: the factor, then two shifts.
    """
    length = (d - 1).bit_length()
    factor = ((1 << 32) * ((1 << length) - d)) // d + 1
    return factor & 0xFFFFFFFF | min(length, 1) << 32 | max(length - 1, 0) << 40


@export(faithful)
def dev_addr_mod(k: Host, dev: int, offset: int, addr: int, size: int) -> None:
    """``void dev_addr_mod(struct net_device *dev, unsigned int offset, const void *addr, size_t len)``

    net/core/dev_addr_lists.c, 6.1. Writes the device's own address.
    """
    where = get(k, "net_device", dev, "dev_addr")
    if where:
        k.mem.write(where + offset, k.mem.read(addr, size))


@export(faithful)
def __alloc_bucket_spinlocks(
    k: Host, locks: int, locks_mask: int, max_size: int, cpu_mult: int, gfp: int, name: int, key: int
) -> int:
    """``int __alloc_bucket_spinlocks(spinlock_t **locks, unsigned int *locks_mask, size_t max_size, unsigned int
    cpu_mult, gfp_t gfp, const char *name, struct lock_class_key *key)``

    lib/bucket_locks.c, 6.1. Locks for a hash table: *cpu_mult* for each CPU, at most *max_size*. -ENOMEM.
    """
    size = min(min(k.nr_cpus, 64) * cpu_mult, max_size) if cpu_mult else max_size
    made = k.mm.kvmalloc(4 * size, gfp)
    if not made:
        return -ENOMEM
    k.mem.fill(made, 0, 4 * size)
    k.mem.set_u64(locks, made)
    k.mem.set_u32(locks_mask, size - 1)
    return 0


@export(faithful)
def free_bucket_spinlocks(k: Host, locks: int) -> None:
    """``void free_bucket_spinlocks(spinlock_t *locks)``

    lib/bucket_locks.c, 6.1.
    """
    k.mm.kvfree(locks)


@export(faithful)
def dev_valid_name(k: Host, name: int) -> bool:
    """``bool dev_valid_name(const char *name)``

    net/core/dev.c, 6.1. Whether a network device may be called that.
    """
    text = k.mem.read(name, IFNAMSIZ).partition(b"\0")[0]
    return 0 < len(text) < IFNAMSIZ and text not in (b".", b"..") and not _UNUSABLE & set(text)


IFNAMSIZ = 16
_UNUSABLE = set(b"/: \t\n\v\f\r\xa0")


@export(simplified("nobody sets options of frame buffers"))
def fb_get_options(k: Host, name: int, option: int) -> int:
    """``int fb_get_options(const char *name, char **option)``

    drivers/video/fbdev/core/fb_cmdline.c, 6.1. NULL for the options; 0: the driver is wanted.
    """
    if option:
        k.mem.set_u64(option, 0)
    return 0


_PCPU_SIZE = 48


@export(simplified("no route is ever kept"))
def dst_cache_init(k: Host, dst_cache: int, gfp: int) -> int:
    """``int dst_cache_init(struct dst_cache *dst_cache, gfp_t gfp)``

    net/core/dst_cache.c, 6.1. -ENOMEM.
    """
    made = k.mm.alloc_percpu(_PCPU_SIZE, 8, gfp)
    k.mem.set_u64(dst_cache, made)
    return 0 if made else -ENOMEM


@export(simplified("no route is ever kept"))
def dst_cache_destroy(k: Host, dst_cache: int) -> None:
    """``void dst_cache_destroy(struct dst_cache *dst_cache)``

    net/core/dst_cache.c, 6.1.
    """
    if made := k.mem.u64(dst_cache):
        k.mm.free_percpu(made)


@export(faithful)
def __hw_addr_init(k: Host, list_: int) -> None:
    """``void __hw_addr_init(struct netdev_hw_addr_list *list)``

    net/core/dev_addr_lists.c, 6.1. An empty list of addresses.
    """
    init_list_head(k, list_)
    k.mem.set_u32(list_ + 16, 0)
    k.mem.set_u64(list_ + 24, 0)
