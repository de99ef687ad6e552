"""Shrinkers (mm/vmscan.c), 6.1: caches of modules that give objects back when memory is short.

``struct shrinker`` stays where the module has it, linked into ``shrinker_list``; reclaim calls its functions on the
emulated CPU.
"""

from __future__ import annotations

from typing import Protocol

from kmem.kapi.errno import ENOMEM
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.lists import init_list_head
from kmem.kapi.varargs import VaArgs

SHRINKER_REGISTERED = 1 << 0
SHRINKER_ALLOCATED = 1 << 1
"""Where the kernel allocates shrinkers itself, this bit says so, and the bits above it stand one higher."""
SHRINK_STOP, SHRINK_EMPTY = (1 << 64) - 1, (1 << 64) - 2
SHRINK_BATCH = 128
GFP_KERNEL = 0xCC0
DEFAULT_SEEKS = 2
_SHRINK_CONTROL = 32
"""``struct shrink_control``: gfp_mask, nid, nr_to_scan, nr_scanned, memcg."""

data("shrinker_list", 16, doc="Every registered shrinker. Not exported by the kernel.", private=True)
data("shrink_control", _SHRINK_CONTROL, doc="What a shrinker is asked for; on the kernel's stack.", private=True)

NO_NAME = simplified("the name, which CONFIG_SHRINKER_DEBUG keeps, is ignored; there are no memory control groups")


class Running(Host, Protocol):
    """A kernel that can run guest code in the middle of an allocation."""

    def run_guest(self, fn: int, *args: int) -> int: ...


class _Shrinker:
    """Members of the ``struct shrinker`` at *address*."""

    def __init__(self, k: Host, address: int) -> None:
        self.k, self.address, self.layout = k, address, k.layout["shrinker"]

    def at(self, member: str) -> int:
        return self.address + self.layout.offset(member)

    @property
    def flags(self) -> int:
        return self.k.mem.u32(self.at("flags"))

    def set_flags(self, flags: int) -> None:
        self.k.mem.set_u32(self.at("flags"), flags)

    @property
    def allocated_by_kernel(self) -> bool:
        """Whether this release has ``shrinker_alloc()`` in place of ``register_shrinker()``."""
        return "refcount" in self.layout.members

    def bit(self, place: int) -> int:
        return 1 << place + self.allocated_by_kernel

    @property
    def numa_aware(self) -> bool:
        return self.flags & self.bit(1) != 0

    @property
    def memcg_aware(self) -> int:
        return self.bit(2)

    def deferred(self, nid: int) -> int:
        """Where the work that was put off for a node is counted."""
        return self.k.mem.u64(self.at("nr_deferred")) + 8 * (nid if self.numa_aware else 0)


def _unlink(k: Host, s: _Shrinker) -> None:
    """Take a registered shrinker from the list."""
    following, before = k.mem.u64(s.at("list")), k.mem.u64(s.at("list") + 8)
    k.mem.set_u64(before, following)
    k.mem.set_u64(following + 8, before)
    k.mem.set_u64(s.at("list"), 0xDEAD000000000100)
    k.mem.set_u64(s.at("list") + 8, 0xDEAD000000000122)
    s.set_flags(s.flags & ~SHRINKER_REGISTERED)


def _head(k: Host) -> int:
    head = k.address_of("shrinker_list")
    if not k.mem.u64(head):
        init_list_head(k, head)
    return head


def _prealloc(k: Host, shrinker: int) -> int:
    """``__prealloc_shrinker()``."""
    s = _Shrinker(k, shrinker)
    s.set_flags(s.flags & ~s.memcg_aware)
    nodes = k.mm.nr_node_ids() if s.numa_aware else 1
    counters = k.mm.kmalloc(8 * nodes, GFP_KERNEL | 0x100, caller=k.caller)
    k.mem.set_u64(s.at("nr_deferred"), counters)
    return 0 if counters else -ENOMEM


def _free_prealloced(k: Host, shrinker: int) -> None:
    """``free_prealloced_shrinker()``."""
    s = _Shrinker(k, shrinker)
    k.mm.kfree(k.mem.u64(s.at("nr_deferred")))
    k.mem.set_u64(s.at("nr_deferred"), 0)


def _register_prepared(k: Host, shrinker: int) -> None:
    """``register_shrinker_prepared()``: reclaim finds it from now on."""
    s, head = _Shrinker(k, shrinker), _head(k)
    entry, last = s.at("list"), k.mem.u64(head + 8)
    k.mem.set_u64(entry, head)
    k.mem.set_u64(entry + 8, last)
    k.mem.set_u64(last, entry)
    k.mem.set_u64(head + 8, entry)
    s.set_flags(s.flags | SHRINKER_REGISTERED)


@export(NO_NAME)
def register_shrinker(k: Host, shrinker: int, fmt: int, args: VaArgs) -> int:
    """``int register_shrinker(struct shrinker *shrinker, const char *fmt, ...)``

    mm/vmscan.c, 6.1. 0 or -ENOMEM. From now on reclaim asks it for objects.
    """
    error = _prealloc(k, shrinker)
    if not error:
        _register_prepared(k, shrinker)
    return error


@export(faithful)
def unregister_shrinker(k: Host, shrinker: int) -> None:
    """``void unregister_shrinker(struct shrinker *shrinker)``

    mm/vmscan.c, 6.1. One that is not registered is left alone.
    """
    s = _Shrinker(k, shrinker)
    if not s.flags & SHRINKER_REGISTERED:
        return
    _unlink(k, s)
    _free_prealloced(k, shrinker)


@export(NO_NAME)
def shrinker_alloc(k: Host, flags: int, fmt: int, args: VaArgs) -> int:
    """``struct shrinker *shrinker_alloc(unsigned int flags, const char *fmt, ...)``

    mm/shrinker.c, 6.12. NULL without memory.
    """
    shrinker = k.mm.kmalloc(k.layout["shrinker"].size, GFP_KERNEL | 0x100, caller=k.caller)
    if not shrinker:
        return 0
    s = _Shrinker(k, shrinker)
    s.set_flags(flags | SHRINKER_ALLOCATED)
    k.mem.set_u32(s.at("seeks"), DEFAULT_SEEKS)
    if _prealloc(k, shrinker):
        k.mm.kfree(shrinker)
        return 0
    return shrinker


@export(faithful)
def shrinker_register(k: Host, shrinker: int) -> None:
    """``void shrinker_register(struct shrinker *shrinker)``

    mm/shrinker.c, 6.12. From now on reclaim asks it for objects. One that ``shrinker_alloc()`` did not give is
    refused with a message.
    """
    s = _Shrinker(k, shrinker)
    if not s.flags & SHRINKER_ALLOCATED:
        k.log.printk("Must use shrinker_alloc() to dynamically allocate the shrinker\n", 4)
        return
    _register_prepared(k, shrinker)
    k.mem.set_u32(s.at("refcount"), 1)


@export(simplified("freed at once: no grace period passes while reclaim looks at it"))
def shrinker_free(k: Host, shrinker: int) -> None:
    """``void shrinker_free(struct shrinker *shrinker)``

    mm/shrinker.c, 6.12. NULL, and one that was never registered, are allowed.
    """
    if not shrinker:
        return
    s = _Shrinker(k, shrinker)
    if s.flags & SHRINKER_REGISTERED:
        _unlink(k, s)
    _free_prealloced(k, shrinker)
    k.mm.kfree(shrinker)


@export(faithful)
def synchronize_shrinkers(k: Host) -> None:
    """``void synchronize_shrinkers(void)``

    mm/vmscan.c, 6.1. No shrinker runs while anything else does.
    """


def do_shrink_slab(k: Running, shrinker: int, gfp: int, nid: int, priority: int) -> tuple[int, int]:
    """``do_shrink_slab()``: objects that were freed, and that were scanned.

    *priority* 12 asks for a 4096th of the objects, times four by ``seeks``; 0 for all. What is less than a batch is
    put off, and comes on top next time.
    """
    s, control = _Shrinker(k, shrinker), k.address_of("shrink_control")
    k.mem.fill(control, 0, _SHRINK_CONTROL)
    k.mem.set_u32(control, gfp)
    k.mem.set_u32(control + 4, nid & 0xFFFFFFFF)
    freeable = k.run_guest(k.mem.u64(s.at("count_objects")), shrinker, control)
    if freeable in (0, SHRINK_EMPTY) or freeable >> 63:
        return 0, 0
    deferred = k.mem.s64(s.deferred(nid))
    k.mem.set_u64(s.deferred(nid), 0)
    seeks, batch = k.mem.s32(s.at("seeks")), k.mem.s64(s.at("batch")) or SHRINK_BATCH
    delta = (freeable >> priority) * 4 // seeks if seeks else freeable // 2
    total = min((deferred >> priority) + delta, 2 * freeable)
    freed = scanned = 0
    while total >= batch or total >= freeable:
        wanted = min(batch, total)
        k.mem.set_u64(control + 8, wanted)
        k.mem.set_u64(control + 16, wanted)
        got = k.run_guest(k.mem.u64(s.at("scan_objects")), shrinker, control)
        if got == SHRINK_STOP:
            break
        freed += got
        done = k.mem.u64(control + 16)
        total -= done
        scanned += done
        if not done:
            break
    left = min(max(deferred + delta - scanned, 0), 2 * freeable)
    k.mem.set_u64(s.deferred(nid), k.mem.u64(s.deferred(nid)) + left)
    return freed, scanned


def shrink_slab(k: Running, gfp: int, nid: int, priority: int) -> tuple[int, int]:
    """``shrink_slab()``: every registered shrinker in turn; objects freed and scanned."""
    head, freed, scanned = _head(k), 0, 0
    entry, offset = k.mem.u64(head), k.layout["shrinker"].offset("list")
    while entry != head:
        got, seen = do_shrink_slab(k, entry - offset, gfp, nid, priority)
        freed, scanned = freed + got, scanned + seen
        entry = k.mem.u64(entry)
    return freed, scanned
