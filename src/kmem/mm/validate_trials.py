"""Invariants of what calls do, each tried on a copy of the machine: B8, B10, S10 … S12, S14, S17, V6, V7, P6.

A state may satisfy every scan and still lead the next call astray. So these make the call, and look at what came of
it. `check_trials(mm)` tries all; the machine itself stays as it is, to the last byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from kmem.abi.address import PAGE_OFFSET
from kmem.abi.gfp import __GFP_DMA, __GFP_NORETRY, __GFP_NOWARN, __GFP_ZERO, GFP_KERNEL, GFP_NOWAIT
from kmem.abi.slab_flags import slab_flags
from kmem.lib.cstruct import CoreFault, u64
from kmem.machine.fault import AccessFault
from kmem.machine.paging import AddressSpace
from kmem.mm import places
from kmem.mm.codes import REPORT_REMAINING
from kmem.mm.mm_types import kdata, kmem_cache, page
from kmem.mm.trial import Stopped, Trial
from kmem.mm.validate_memory import BrokenList, Memory, Violation
from kmem.mm.validate_paging import table_frames
from kmem.mm.validate_request import may_succeed
from kmem.mm.validate_slub import SlabState, Slub

if TYPE_CHECKING:
    from kmem.mm.api import Mm

PAGE, LARGEST = 4096, 10
NOWAIT, QUIET = GFP_NOWAIT | __GFP_NOWARN, GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY
HARDIRQ, NMI = 0x10000, 0x100000
SIZES = (8, 64, 200, 1024, 5000)


def free_blocks(t: Trial) -> list[tuple[int, int]]:
    """(pfn, order) of every free block; the largest as two halves, which the atomic reserve may keep apart."""
    m, link = Memory(t.view), t.view.offset(page, "lru")
    found = []
    for z in t.view.zones():
        for order in range(LARGEST + 1):
            for mt in range(4):
                for at in m.links(u64(z.free_area[order].free_list[mt]._addr)):
                    pfn = m.pfn_of_page(at - link)
                    halves = (pfn, pfn + (1 << (LARGEST - 1)))
                    found += [(pfn, order)] if order < LARGEST else [(half, LARGEST - 1) for half in halves]
    return sorted(found)


def free_pages(t: Trial) -> int:
    """Free pages of all zones when lists and lazy areas are brought to rest and empty slabs given back."""
    t.core.k_vm_unmap_aliases()
    for s in list(t.view.caches()):
        t.kmem_cache_shrink(u64(s._addr))
    t.core.k_drain_all_pages()
    return sum(int(z.vm_stat[0]) for z in t.view.zones())


def b8(t: Trial) -> Iterator[Violation]:
    """Splitting a block and freeing its parts restores the free blocks."""
    for order in range(1, LARGEST + 1):
        t.again()
        first = t.alloc_pages(NOWAIT, order)  # boot may have put off what it is made of
        if not first:
            return
        t.free_pages(first, order)
        t.core.k_drain_all_pages()
        before = free_blocks(t)
        first = t.alloc_pages(NOWAIT, order)
        if not first:
            return
        for n in range(1 << order):
            t.view.ptr(page, first + n * page.size)._refcount = 1  # split_page()
        for n in range(1 << order):
            t.free_pages(first + n * page.size, 0)
        t.core.k_drain_all_pages()
        gone = set(before).symmetric_difference(free_blocks(t))
        if gone:
            yield Violation("B8", f"order {order} at pfn {t.page_to_pfn(first)}: not merged again: {sorted(gone)[:4]}")


def b10(t: Trial) -> Iterator[Violation]:
    """A request that may not wait succeeds exactly if a zone is above its mark and has a block; a failure changes
    nothing but the count of failures.
    """
    compared = 0
    for gfp in (NOWAIT, NOWAIT | __GFP_DMA):
        for order in range(LARGEST + 1):
            t.again()
            expected = may_succeed(t.view, gfp, order, 0)
            before = _hash(t) if not expected and compared < 2 else ""
            got = t.alloc_pages(gfp, order)
            if bool(got) != expected:
                yield Violation("B10", f"gfp {gfp:#x} order {order}: {'got a block' if got else 'got none'}")
            elif before:
                compared += 1
                if _hash(t) != before:
                    yield Violation("B10", f"gfp {gfp:#x} order {order}: failed, and memory has changed")


def _hash(t: Trial) -> str:
    """The hash of RAM without the counts of events."""
    field = kdata.field("vm_events")
    at = u64(t.view.kdata._addr) - 0xFFFFFFFF80000000 + field.offset
    saved = bytes(t.ram.mem[at : at + field.size])
    t.ram.mem[at : at + field.size] = bytes(field.size)
    found = t.ram.hash()
    t.ram.mem[at : at + field.size] = saved
    return found


def s10(t: Trial) -> Iterator[Violation]:
    """What is asked for zeroed is zero; with init_on_alloc all is, and with init_on_free what was freed."""
    k = t.view.kdata
    for size in SIZES:
        t.again()
        p = t.kmalloc(size, NOWAIT)
        if not p or size > 8192:
            continue
        s = t.view.ptr(kmem_cache, t.slab_of(p))
        wiped = not s.ctor and not s.flags & _kept_flags(t)
        if k.init_on_alloc and wiped and any(t.content(p, size)):
            yield Violation("S10", f"kmalloc({size}) is not zero with init_on_alloc")
        t.put(p, b"\xff" * size)
        t.kfree(p)
        if k.init_on_free and wiped:
            rest = bytearray(t.content(p, size))
            rest[int(s.offset) : int(s.offset) + 8] = b""
            if any(rest):
                yield Violation("S10", f"kmalloc({size}) is not zero when freed with init_on_free")
        p = t.kmalloc(size, NOWAIT | __GFP_ZERO)
        if p and any(t.content(p, size)):
            yield Violation("S10", f"kmalloc({size}, __GFP_ZERO) is not zero")


def _kept_flags(t: Trial) -> int:
    """Flags of caches whose objects are wiped only if the request says so."""
    f = slab_flags(t.config.release)
    return int(f.SLAB_TYPESAFE_BY_RCU | f.SLAB_POISON)


def s11(t: Trial) -> Iterator[Violation]:
    """krealloc keeps the bytes that both sizes have; an object that it left is free; if it fails the old one stays."""
    for old, new in ((8, 64), (64, 8), (64, 200), (200, 5000), (5000, 20000), (20000, 100)):
        t.again()
        p = t.kmalloc(old, NOWAIT)
        if not p:
            continue
        pattern = bytes(n * 37 + 11 & 0xFF for n in range(old))
        t.put(p, pattern)
        t.core.private.fail_after = 0
        if new > t.ksize(p) and (t.krealloc(p, new, NOWAIT) or t.content(p, old) != pattern):
            yield Violation("S11", f"krealloc from {old} to {new} failed, and the old object is not as it was")
        t.core.private.fail_after = -1
        q = t.krealloc(p, new, NOWAIT)
        if not q:
            continue
        if t.ksize(q) < new or t.content(q, min(old, new)) != pattern[: min(old, new)]:
            yield Violation("S11", f"krealloc from {old} to {new}: {t.ksize(q)} bytes, or the contents are lost")
        if q != p and t.slab_of(p) and not _is_free(t, p):
            yield Violation("S11", f"krealloc from {old} to {new}: the old object is not free")


def _is_free(t: Trial, p: int) -> bool:
    b = Slub(Memory(t.view))
    cache = b.caches[t.slab_of(p)]
    return any(p in b.free_objects(cache, sl) for sl in b.of(cache))


def s12(t: Trial) -> Iterator[Violation]:
    """An object leads to its cache; kfree of nothing does nothing; of what is no object it complains once."""
    t.again()
    for size in SIZES:
        p = t.kmalloc(size, NOWAIT)
        cache = t.view.ptr(kmem_cache, t.slab_of(p)) if p else None
        if cache and not size <= cache.object_size <= 2 * max(size, 8):
            yield Violation("S12", f"kmalloc({size}) leads to a cache of {cache.object_size} bytes")
    for nothing in (0, 16):
        t.again()
        t.kfree(nothing)
        if _ram_changed(t) or t.complaints():
            yield Violation("S12", f"kfree({nothing}) did something: {t.complaints()}")
    t.again()
    p = t.get_free_pages(NOWAIT, 0)
    if p and _complaints(t, lambda: t.kfree(p)) != [("UP_WARN", places.KFREE_NOT_SLAB)]:
        yield Violation("S12", f"kfree of a page that is no object: {t.complaints()}")
    t.again()
    p, k = t.kmalloc(64, NOWAIT), t.view.kdata
    checked = p and t.view.ptr(kmem_cache, t.slab_of(p)).flags & _checked_flags(t)
    if p and (checked or k.hardened):
        t.kfree(p)
        found = _complaints(t, lambda: t.kfree(p))
        reports = [name for name, _ in found if name in ("UP_SLAB_REPORT", "UP_BUG", "UP_WARN")]
        if reports != (["UP_SLAB_REPORT"] if checked else ["UP_BUG"]):
            yield Violation("S12", f"freeing an object twice: {found}")


def _checked_flags(t: Trial) -> int:
    return int(slab_flags(t.config.release).SLAB_CONSISTENCY_CHECKS)


def _ram_changed(t: Trial) -> bool:
    """Whether anything but the model's private area was written since `again`."""
    private = (t.ram.base - t.ram._start) // PAGE
    return any(first + count > private for first, count in t.ram.dirty_runs())


def _complaints(t: Trial, call: Callable[[], object]) -> list[tuple[str, int]]:
    t.told.clear()
    with contextlib.suppress(Stopped):
        call()
    return t.complaints()


def s14(t: Trial) -> Iterator[Violation]:
    """A cache that is destroyed gives all of its pages back; with live objects it says which, and stays."""
    t.again()
    before = free_pages(t)
    s = t.kmem_cache_create("trial", 1000, 0, _no_merge(t))
    if not s:
        return
    live: list[int] = []
    for cpu in range(t.view.kdata.nr_cpu_ids):
        t.cpu = cpu
        live += [p for _ in range(20) if (p := t.kmem_cache_alloc(s, NOWAIT))]
    for p in live[:-3]:
        t.kmem_cache_free(s, p)
    told = _complaints(t, lambda: t.kmem_cache_destroy(s))
    b = Slub(Memory(t.view))
    left = {o for sl in b.slabs.values() if sl.cache == s for o in _objects(b, sl)} if s in b.caches else set()
    if live and (left != set(live[-3:]) or ("UP_SLAB_REPORT", REPORT_REMAINING) not in told):
        yield Violation("S14", f"destroyed with 3 live objects, {len(left)} were left: {told}")
    t.again()
    free_pages(t)
    s = t.kmem_cache_create("trial", 1000, 0, _no_merge(t))
    for cpu in reversed(range(t.config.cpus)):
        t.cpu = cpu
        objects = [p for _ in range(20) if (p := t.kmem_cache_alloc(s, NOWAIT))]
        for p in objects[::-1]:
            t.kmem_cache_free(s, p)
    told = _complaints(t, lambda: t.kmem_cache_destroy(s))
    after = free_pages(t)
    if told or after != before:
        yield Violation("S14", f"a cache was made and destroyed: {before} pages were free, {after} are: {told}")


def _no_merge(t: Trial) -> int:
    """A flag that keeps the cache to itself."""
    return int(slab_flags(t.config.release).SLAB_NOLEAKTRACE)


def _objects(b: Slub, sl: SlabState) -> set[int]:
    cache = b.caches[sl.cache]
    start = PAGE_OFFSET + sl.pfn * PAGE + cache.pad
    return {start + n * cache.size for n in range(sl.objects)} - set(b.free_objects(cache, sl))


def s17(t: Trial) -> Iterator[Violation]:
    """Objects in bulk are those that single calls give; all of them or none."""
    for index in (6, 8, 12):
        t.again()
        s = u64(t.view.kdata.kmalloc_caches[0][index]._addr)
        singles = [t.kmem_cache_alloc(s, NOWAIT) for _ in range(30)]
        t.again()
        bulk = t.kmem_cache_alloc_bulk(s, NOWAIT, 30)
        if all(singles) and (sorted(bulk) != sorted(singles) or len(set(bulk)) != 30):
            yield Violation("S17", f"30 objects in bulk are {len(set(bulk))} objects, not those of 30 calls")
        t.again()
        before = _live(t, s)
        t.core.private.fail_inner, t.core.private.fail_persist = 0, 1
        got = t.kmem_cache_alloc_bulk(s, NOWAIT, 4000)
        t.core.private.fail_inner = -1
        if got or _live(t, s) != before:
            yield Violation("S17", f"4000 objects in bulk without a new slab: {len(got)}, {_live(t, s) - before} live")


def _live(t: Trial, s: int) -> int:
    b = Slub(Memory(t.view))
    return sum(len(_objects(b, sl)) for sl in b.of(b.caches[s]))


def v6(t: Trial) -> Iterator[Violation]:
    """In an interrupt vmalloc stops the kernel; vfree waits there, and stops it in an NMI."""
    t.again()
    p = t.vmalloc(3 * PAGE, QUIET)
    if not p:
        return
    for context, call, expected in (
        (HARDIRQ, lambda: t.vmalloc(PAGE, NOWAIT), [("UP_BUG", places.VMALLOC_IN_INTERRUPT)]),
        (NMI, lambda: t.vfree(p), [("UP_BUG", places.VFREE_IN_NMI)]),
        (HARDIRQ, lambda: t.vfree(p), []),
    ):
        t.context = context
        found = _complaints(t, call)
        if found != expected:
            yield Violation("V6", f"in context {context:#x}: {found}, expected {expected}")
    space = AddressSpace(t.ram, u64(t.view.kdata.swapper_pg_dir) - PAGE_OFFSET)
    if not _reads(space, p):
        yield Violation("V6", f"an area freed in an interrupt is gone at once: {p:#x}")
    t.context = 0
    found = _complaints(t, t.run_work)
    if found or _reads(space, p):
        yield Violation("V6", f"an area freed in an interrupt is not freed after it: {found}")


def v7(t: Trial) -> Iterator[Violation]:
    """If a page of a vmalloc fails, those before it go back, and no area stays."""
    t.again()
    before, tables = free_pages(t), len(table_frames(t.view))
    busy = [u64(va.va_start) for va in t.view.vmap_areas()]
    for k in range(12):
        t.again()
        private = t.core.private
        private.inner_failures = 0
        private.fail_inner, private.fail_persist = k, 1
        got = t.vmalloc(6 * PAGE, QUIET)
        private.fail_inner = -1
        if got:
            continue
        kept = len(table_frames(t.view)) - tables
        after = free_pages(t) + kept
        if after != before or [u64(va.va_start) for va in t.view.vmap_areas()] != busy:
            yield Violation("V7", f"allocation {k} of a vmalloc failed: {before} pages were free, {after} are")


def p6(t: Trial) -> Iterator[Violation]:
    """An area that was freed faults, and is not used again before the CPUs were told to forget it."""
    t.again()
    space = AddressSpace(t.ram, u64(t.view.kdata.swapper_pg_dir) - PAGE_OFFSET)
    p = t.vmalloc(3 * PAGE, QUIET)
    if not p:
        return
    if not all(_reads(space, p + n * PAGE) for n in range(3)) or _reads(space, p + 3 * PAGE):
        yield Violation("P6", f"vmalloc gave {p:#x}, which is not mapped, or its guard page is")
    t.vfree(p)
    if any(_reads(space, p + n * PAGE) for n in range(3)):
        yield Violation("P6", f"{p:#x} was freed and is still mapped")
    t.told.clear()
    for _ in range(200):
        again = t.vmalloc(3 * PAGE, QUIET)
        if p <= again < p + 3 * PAGE and not any(told[0] == "UP_TLB_FLUSH" for told in t.told):
            yield Violation("P6", f"{p:#x} was freed and used again without a flush")
        if again == p or not again:
            break
        t.vfree(again)
        if any(_reads(space, again + n * PAGE) for n in range(3)):
            yield Violation("P6", f"{again:#x} was freed and is still mapped")
            break


def _reads(space: AddressSpace, addr: int) -> bool:
    try:
        space.translate(addr)
    except AccessFault:
        return False
    return True


Predicate = Callable[[Trial], Iterator[Violation]]
TRIALS: dict[str, Predicate] = {
    predicate.__name__.upper(): predicate for predicate in (b8, b10, s10, s11, s12, s14, s17, v6, v7, p6)
}
"""Each invariant by its number."""


def check_trials(mm: Mm, only: Iterable[str] = ()) -> list[Violation]:
    """The violations that calls lead to from the state of *mm*; of the invariants *only* (all, if empty)."""
    t = Trial(mm)
    found: list[Violation] = []
    for slug in only or TRIALS:
        try:
            found += TRIALS[slug](t)
        except (CoreFault, Stopped, BrokenList, AccessFault) as error:
            found.append(Violation(slug, f"the trial ended with {type(error).__name__}: {error}"))
    t.ram.close()
    return found
