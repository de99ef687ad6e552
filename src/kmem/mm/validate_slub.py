"""Invariants S1 … S9 and S15 of SLUB, as full scans: slabs are found by their page flag, not by the lists they should
be on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kmem.abi.address import PAGE_OFFSET
from kmem.abi.release import release
from kmem.abi.slab_flags import SlabFlags
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import kmem_cache, kmem_cache_cpu, slab
from kmem.mm.validate_memory import PAGE_SIZE, STRUCT_PAGE, BrokenList, Memory, Violation

RCU_FREE_SLAB = 0xFFFFFFFF81000FF8
"""The RCU callback of a slab that waits for a grace period (kmem.kapi.rcu)."""
VMEMMAP = 0xFFFFEA0000000000
TRACK_SIZE = 32
MAX_OBJS = 32767


class SlabState(NamedTuple):
    """One slab as it lies in memory: the words of its struct and the objects of its free list."""

    pfn: int
    order: int
    cache: int
    inuse: int
    objects: int
    frozen: int
    free: list[int]
    problem: str


class CacheState:
    """One cache: its fields, the slabs its lists hold, and what its CPUs hold."""

    def __init__(self, memory: Memory, s: Any) -> None:
        self.s, self.addr, self.name = s, u64(s._addr), memory.view.cache_name(s)
        self.size, self.object_size, self.inuse = int(s.size), int(s.object_size), int(s.inuse)
        self.offset, self.pad, self.flags = int(s.offset), int(s.red_left_pad), int(s.flags)
        self.f = memory.slab_flags
        self.orig_size = 8 if "slub-orig-size-long" in memory.features else 4
        self.random = u64(s.random) if memory.k.hardened else None
        self.problems: list[str] = []
        self.partial: list[list[int]] = []
        self.full: list[list[int]] = []
        for node in range(memory.k.nr_node_ids):
            self.partial.append(self._slabs(memory, u64(s.node[node].partial._addr)))
            self.full.append(self._slabs(memory, u64(s.node[node].full._addr)))
        self.current: dict[int, list[int]] = {}
        """pfn of each CPU's current slab, with the objects of that CPU's list."""
        self.cpu_partial: list[list[int]] = []
        for cpu in range(memory.k.nr_cpu_ids):
            c = memory.view.ptr(kmem_cache_cpu, memory.percpu(s.cpu_slab._addr, cpu))
            if c.slab:
                pfn = memory.pfn_of_page(u64(c.slab._addr))
                self.current[pfn] = self.chain(memory, u64(c.freelist), pfn)
            elif c.freelist:
                self.problems.append(f"cpu {cpu} has a free list but no slab")
            self.cpu_partial.append(self._partial_chain(memory, c.partial))

    def _slabs(self, memory: Memory, head: int) -> list[int]:
        at = memory.view.offset(slab, "slab_list")
        try:
            return [memory.pfn_of_page(link - at) for link in memory.links(head)]
        except BrokenList as error:
            self.problems.append(str(error))
            return []

    def _partial_chain(self, memory: Memory, sl: Any) -> list[int]:
        found: list[int] = []
        while sl and len(found) < 10000:
            found.append(memory.pfn_of_page(u64(sl._addr)))
            sl = sl.next
        return found

    def chain(self, memory: Memory, obj: int, pfn: int) -> list[int]:
        """The free objects from *obj* on, decoded; what is wrong with them goes to ``problems``."""
        found: list[int] = []
        seen: set[int] = set()
        start = PAGE_OFFSET + pfn * PAGE_SIZE + self.pad
        while obj:
            if (obj - start) % self.size or not 0 <= obj - start < MAX_OBJS * self.size or obj in seen:
                self.problems.append(f"slab at pfn {pfn}: free pointer {obj:#x} is no object or was there before")
                break
            found.append(obj)
            seen.add(obj)
            at = obj + self.offset
            word = memory.word(at)
            obj = word if self.random is None else word ^ self.random ^ int.from_bytes(at.to_bytes(8, "little"), "big")
        return found


class Slub:
    """All caches by address, all slabs by pfn."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.caches = {u64(s._addr): CacheState(memory, s) for s in memory.view.caches()}
        self.slabs: dict[int, SlabState] = {}
        self.waiting: list[SlabState] = []
        head = memory.page_flags.bit("PG_head")
        for pfn, flags in memory.heads:
            if memory.is_slab(pfn):
                sl = self._slab(pfn, memory.orders[pfn] if flags >> head & 1 else 0)
                if self._waits(pfn):
                    self.waiting.append(sl)
                else:
                    self.slabs[pfn] = sl
        self.orphans = [pfn for pfn, sl in self.slabs.items() if sl.cache not in self.caches]

    def _waits(self, pfn: int) -> bool:
        """Whether the slab is empty, on no list, and waits for the end of an RCU grace period."""
        at = VMEMMAP + pfn * STRUCT_PAGE + self.memory.view.offset(slab, "slab_list")
        return self.memory.word(at + 8) == RCU_FREE_SLAB

    def _slab(self, pfn: int, order: int) -> SlabState:
        sl = self.memory.view.ptr(slab, VMEMMAP + pfn * STRUCT_PAGE)
        address = u64(sl.slab_cache._addr)
        cache = self.caches.get(address)
        before = len(cache.problems) if cache else 0
        free = cache.chain(self.memory, u64(sl.freelist), pfn) if cache else []
        problem = "; ".join(cache.problems[before:]) if cache else ""
        return SlabState(pfn, order, address, int(sl.inuse), int(sl.objects), int(sl.frozen), free, problem)

    def of(self, cache: CacheState) -> Iterator[SlabState]:
        """The slabs of one cache."""
        return (sl for sl in self.slabs.values() if sl.cache == cache.addr)

    def free_objects(self, cache: CacheState, sl: SlabState) -> list[int]:
        """Every free object of a slab: its own list and, if it is a CPU's current slab, the CPU's."""
        return sl.free + cache.current.get(sl.pfn, [])


def s1(b: Slub) -> Iterator[Violation]:
    """Objects in use and free objects add up to the objects of the slab."""
    for pfn in b.orphans:
        yield Violation("S1", f"slab at pfn {pfn} belongs to {b.slabs[pfn].cache:#x}, which is no cache")
    for cache in b.caches.values():
        for sl in b.of(cache):
            lost = sl.frozen and cache.flags & cache.f.SLAB_DEBUG_FLAGS
            fits = 1 <= sl.objects <= (PAGE_SIZE << sl.order) // cache.size
            if (sl.inuse + len(sl.free) != sl.objects and not lost) or not fits:
                yield Violation(
                    "S1", f"{cache.name}: slab at pfn {sl.pfn}: inuse {sl.inuse} + free {len(sl.free)} of {sl.objects}"
                )


def s2(b: Slub) -> Iterator[Violation]:
    """Free lists hold objects of their slab, none twice, and end."""
    for cache in b.caches.values():
        for problem in cache.problems:
            yield Violation("S2", f"{cache.name}: {problem}")
        for sl in b.of(cache):
            end = PAGE_OFFSET + sl.pfn * PAGE_SIZE + cache.pad + sl.objects * cache.size
            if any(obj >= end for obj in b.free_objects(cache, sl)):
                yield Violation("S2", f"{cache.name}: slab at pfn {sl.pfn}: a free object lies behind the last")


def s3(b: Slub) -> Iterator[Violation]:
    """No object is on two lists."""
    for cache in b.caches.values():
        for sl in b.of(cache):
            free = b.free_objects(cache, sl)
            if len(set(free)) != len(free):
                yield Violation(
                    "S3", f"{cache.name}: slab at pfn {sl.pfn}: an object is both on the slab's and on the CPU's list"
                )


def s4(b: Slub) -> Iterator[Violation]:
    """A node's partial list holds exactly its unfrozen slabs with free objects; counts are right; few are empty."""
    unfrozen, listed = "slub-partial-not-frozen" in b.memory.features, b.memory.page_flags.bit("PG_workingset")
    for cache in b.caches.values():
        mine = list(b.of(cache))
        kept = {pfn for chain in cache.cpu_partial for pfn in chain}
        for node, partial in enumerate(cache.partial):
            n = cache.s.node[node]
            here = [sl for sl in mine if b.memory.flags[sl.pfn] >> 54 == node]
            expected = sorted(sl.pfn for sl in here if not sl.frozen and sl.inuse < sl.objects and sl.pfn not in kept)
            if unfrozen and any(b.memory.flags[sl.pfn] >> listed & 1 != (sl.pfn in partial) for sl in here):
                yield Violation(
                    "S4", f"{cache.name}: PG_workingset does not say which slabs {sorted(partial)} are listed"
                )
            if sorted(partial) != expected or n.nr_partial != len(partial):
                yield Violation(
                    "S4", f"{cache.name}: partial list {sorted(partial)} ({n.nr_partial}), slabs {expected}"
                )
            if n.nr_slabs != len(here) or n.total_objects != sum(sl.objects for sl in here):
                yield Violation(
                    "S4",
                    f"{cache.name}: nr_slabs {n.nr_slabs}, total_objects {n.total_objects}; found {len(here)} slabs",
                )
            full = sorted(sl.pfn for sl in here if not sl.frozen and sl.inuse == sl.objects and sl.pfn not in kept)
            if sorted(cache.full[node]) != (full if cache.flags & cache.f.SLAB_STORE_USER else []):
                yield Violation("S4", f"{cache.name}: full list {sorted(cache.full[node])}, full slabs {full}")
            empty = sum(sl.inuse == 0 for sl in here if not sl.frozen and sl.pfn not in kept)
            if empty > cache.s.min_partial:
                yield Violation("S4", f"{cache.name}: {empty} empty slabs, min_partial is {cache.s.min_partial}")


def s5(b: Slub) -> Iterator[Violation]:
    """A frozen slab is one CPU's, as its current slab or, where those are frozen too, on its partial list."""
    unfrozen = "slub-partial-not-frozen" in b.memory.features
    for cache in b.caches.values():
        owners = Counter(cache.current.keys())
        for chain in cache.cpu_partial:
            owners.update(chain)
            counts = [int(b.memory.view.ptr(slab, VMEMMAP + pfn * STRUCT_PAGE).slabs) for pfn in chain]
            if counts != list(range(len(chain), 0, -1)):
                yield Violation("S5", f"{cache.name}: a CPU's partial list of {len(chain)} slabs counts {counts}")
        for pfn, times in owners.items():
            sl = b.slabs.get(pfn)
            free = unfrozen and pfn not in cache.current
            if times > 1 or sl is None or sl.cache != cache.addr or (not sl.frozen) != free:
                yield Violation(
                    "S5",
                    f"{cache.name}: slab at pfn {pfn} is held {times} times by CPUs, or is no frozen slab of the cache",
                )
        for sl in b.of(cache):
            if sl.frozen and sl.pfn not in owners and not cache.flags & cache.f.SLAB_DEBUG_FLAGS:
                yield Violation("S5", f"{cache.name}: slab at pfn {sl.pfn} is frozen, but no CPU has it")
        if cache.flags & cache.f.SLAB_DEBUG_FLAGS and owners:
            yield Violation("S5", f"{cache.name} is checked, but CPUs hold slabs of it")


def geometry(object_size: int, align: int, flags: int, ctor: bool, f: SlabFlags, sized: bool = False) -> dict[str, int]:
    """Where things lie in an object (``calculate_sizes()`` up to the order), from the documentation of its layout.

    *sized*: objects of kmalloc remember the size that was asked for in a word, and the red zone begins behind that.
    """
    padded = -(-object_size // 8) * 8
    if flags & f.SLAB_RED_ZONE and padded == object_size:
        padded += 8
    outside = flags & (f.SLAB_TYPESAFE_BY_RCU | f.SLAB_POISON) or ctor or (flags & f.SLAB_RED_ZONE and object_size < 8)
    kmalloc = flags & f.SLAB_KMALLOC and flags & f.SLAB_STORE_USER
    outside = outside or (sized and kmalloc and flags & f.SLAB_RED_ZONE)
    parts = [padded, 8 if outside else 0]
    if flags & f.SLAB_STORE_USER:
        parts.append(2 * TRACK_SIZE + ((8 if sized else 4) if kmalloc else 0))
    left = -(-8 // align) * align if flags & f.SLAB_RED_ZONE else 0
    parts.append(8 + left if flags & f.SLAB_RED_ZONE else 0)
    size = -(-sum(parts) // align) * align
    return {
        "inuse": padded,
        "offset": padded if outside else object_size // 2 // 8 * 8,
        "red_left_pad": left,
        "size": size,
    }


def slab_order(size: int, cpus: int, most: int = 3, once: bool = False) -> int:
    """The order of slabs for objects of *size*: enough objects, then little waste, before less of either.

    *once*: fewer objects are not tried, but half of the slab may be wasted.
    """
    wanted = min(4 * (cpus.bit_length() + 1), (PAGE_SIZE << most) // size)
    for objects in (wanted,) if once and wanted else range(wanted, 1, -1):
        for waste in (16, 8, 4, 2) if once else (16, 8, 4):
            for order in range(most + 1):
                area = PAGE_SIZE << order
                if area >= objects * size and area % size <= area // waste:
                    return order
    return next(order for order in range(11) if PAGE_SIZE << order >= size)


def s6(b: Slub) -> Iterator[Violation]:
    """Geometry follows from object size, alignment, flags and constructor."""
    k = b.memory.k
    plain = not (k.slub_min_order or k.slub_min_objects)
    once = "slub-order-by-fraction" in b.memory.features
    for cache in b.caches.values():
        s = cache.s
        sized = "slub-orig-size-long" in b.memory.features
        expected = geometry(cache.object_size, int(s.align), cache.flags, bool(s.ctor), cache.f, sized)
        found = {"inuse": cache.inuse, "offset": cache.offset, "red_left_pad": cache.pad, "size": cache.size}
        if cache.offset < cache.inuse:  # an alias may have made the object larger since
            expected["offset"] = min(expected["offset"], cache.offset)
        if found != expected or cache.offset % 8:
            yield Violation("S6", f"{cache.name}: {found}, expected {expected}")
        oo, smallest = int(s.oo.x), int(s.min.x)
        for x in (oo, smallest):
            if x & 0xFFFF != (PAGE_SIZE << (x >> 16)) // cache.size:
                yield Violation("S6", f"{cache.name}: {x & 0xFFFF} objects in a slab of order {x >> 16}")
        if plain and oo >> 16 != slab_order(cache.size, int(k.nr_cpu_ids), int(k.slub_max_order), once):
            yield Violation("S6", f"{cache.name}: slabs of order {oo >> 16}")
        if s.min_partial != (0 if k.slub_tiny else max(5, min(10, (cache.size.bit_length() - 1) // 2))):
            yield Violation("S6", f"{cache.name}: min_partial {s.min_partial}")
        poisoned = cache.flags & cache.f.SLAB_POISON and not cache.flags & cache.f.SLAB_TYPESAFE_BY_RCU and not s.ctor
        if bool(cache.flags & cache.f.OBJECT_POISON) != bool(poisoned):
            yield Violation("S6", f"{cache.name}: cache.f.OBJECT_POISON is wrong in {cache.flags:#x}")


def s7(b: Slub) -> Iterator[Violation]:
    """With hardening each cache has a secret of its own; without it none has."""
    secrets = [u64(cache.s.random) for cache in b.caches.values()]
    if b.memory.k.hardened and (0 in secrets or len(set(secrets)) != len(secrets)):
        yield Violation("S7", "two caches share the secret of their free lists, or one has none")
    if not b.memory.k.hardened and any(secrets):
        yield Violation("S7", "a cache has a secret, but free lists are not hardened")


def s8(b: Slub) -> Iterator[Violation]:
    """Poison, red zones and padding are as slub_debug left them."""
    for cache in b.caches.values():
        if not cache.flags & (cache.f.SLAB_POISON | cache.f.SLAB_RED_ZONE):
            continue
        for sl in b.of(cache):
            base = PAGE_OFFSET + sl.pfn * PAGE_SIZE
            image = b.memory.bytes_at(base, PAGE_SIZE << sl.order)
            free = set(b.free_objects(cache, sl))
            if sl.frozen:
                continue
            for index in range(sl.objects):
                at = cache.pad + index * cache.size
                wrong = _marks(cache, image, at, base + at in free)
                if wrong:
                    yield Violation(
                        "S8", f"{cache.name}: {'free' if base + at in free else 'used'} object {base + at:#x}: {wrong}"
                    )
            rest = len(image) % cache.size
            if cache.flags & cache.f.SLAB_POISON and rest and image[-rest:] != b"\x5a" * rest:
                yield Violation("S8", f"{cache.name}: slab at pfn {sl.pfn}: the bytes behind the last object")


def _marks(cache: CacheState, image: bytes, at: int, free: bool) -> str:
    """Which marks of the object at *at* are wrong, or nothing."""
    if cache.flags & cache.f.SLAB_RED_ZONE:
        zone = b"\xbb" if free else b"\xcc"
        right = cache.inuse - cache.object_size
        if image[at - cache.pad : at] != zone * cache.pad:
            return "left red zone"
        if image[at + cache.object_size : at + cache.inuse] != zone * right:
            return "right red zone"
    if (
        free
        and cache.flags & cache.f.OBJECT_POISON
        and image[at : at + cache.object_size] != b"\x6b" * (cache.object_size - 1) + b"\xa5"
    ):
        return "poison"
    if cache.flags & cache.f.SLAB_POISON:
        info = cache.inuse + (8 if cache.offset >= cache.inuse else 0)
        if cache.flags & cache.f.SLAB_STORE_USER:
            info += 2 * TRACK_SIZE + (cache.orig_size if cache.flags & cache.f.SLAB_KMALLOC else 0)
        end = cache.size - cache.pad
        if image[at + info : at + end] != b"\x5a" * (end - info):
            return "padding"
    return ""


def s15(b: Slub) -> Iterator[Violation]:
    """What waits for a grace period is an empty slab of a SLAB_TYPESAFE_BY_RCU cache, on no list and of no CPU."""
    for sl in b.waiting:
        flags = b.memory.view.ptr(kmem_cache, sl.cache).flags
        if not flags & b.memory.slab_flags.SLAB_TYPESAFE_BY_RCU or sl.inuse or sl.frozen:
            yield Violation("S15", f"slab at pfn {sl.pfn} waits for a grace period: inuse {sl.inuse}, flags {flags:#x}")
        if not b.memory.refcount[sl.pfn]:
            yield Violation("S15", f"slab at pfn {sl.pfn} waits for a grace period, and its pages are free")


_KMALLOC_SIZES = {1: 96, 2: 192} | {n: 1 << n for n in range(3, 14)}


def s9(b: Slub) -> Iterator[Violation]:
    """The kmalloc array: every class of every type, of the right size, naturally aligned."""
    f = b.memory.slab_flags
    marks = {
        "kmalloc": 0,
        "kmalloc-cg": f.SLAB_ACCOUNT,
        "kmalloc-rcl": f.SLAB_RECLAIM_ACCOUNT,
        "dma-kmalloc": f.SLAB_CACHE_DMA,
    }
    types = release(b.memory.ram.release).kmalloc_types
    for kind, name in enumerate(types):
        extra = marks.get(name, 0)
        if b.memory.k.slub_tiny and name == "kmalloc-rcl":
            continue  # is the normal type there
        for index, size in _KMALLOC_SIZES.items():
            s = b.memory.view.ptr(kmem_cache, u64(b.memory.k.kmalloc_caches[kind][index]._addr))
            cache = b.caches.get(u64(s._addr))
            if cache is None:
                yield Violation("S9", f"kmalloc_caches[{kind}][{index}] is no cache")
                continue
            natural = size if size & (size - 1) == 0 else 8
            if (
                cache.object_size != size
                or s.align % natural
                or cache.size % natural
                or not cache.flags & cache.f.SLAB_KMALLOC
            ):
                yield Violation("S9", f"{cache.name}: size {cache.object_size}, align {s.align}")
            if cache.flags & f.SLAB_MERGE_SAME != extra:
                yield Violation("S9", f"{cache.name}: flags {cache.flags:#x}")


PREDICATES: tuple[Callable[[Slub], Iterator[Violation]], ...] = (s1, s2, s3, s4, s5, s6, s7, s8, s9, s15)
