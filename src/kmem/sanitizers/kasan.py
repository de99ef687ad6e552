"""Which memory may be touched, kept up to date from the event stream, and what it means when forbidden memory is.

Named after KASAN (mm/kasan, 6.1), whose shadow it keeps; but the layout of slabs is that of a kernel without KASAN. So
an access beyond an object is seen where it meets memory that is not in use: the rest of the object's size class, free
objects, other pages; the pointer that it was computed from tells which object it was meant for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from kmem.abi.address import PAGE_OFFSET
from kmem.mm.stream import Event
from kmem.sanitizers import shadow as codes
from kmem.sanitizers.shadow import Shadow

PAGE = 4096
ZERO_SIZE_PTR = 16
PERCPU_AROUND = 64
"""Bytes on either side of a module's per-cpu variable that are watched, if nobody is known to have them."""
ZEROED = 0x100
"""``__GFP_ZERO``."""


class Sample(Protocol):
    """A call stack, kept cheaply and unwound when somebody wants to see it."""


@dataclass(slots=True)
class Object:
    """One allocation of the module's: where it lies, and how it came and went."""

    address: int
    size: int
    room: int
    kind: str
    cache: int
    order: int
    site: int
    pid: int
    sample: Sample | None
    freed_site: int = 0
    freed_pid: int = 0
    freed_sample: Sample | None = None
    live: bool = True

    def holds(self, address: int) -> bool:
        """Whether *address* lies in what was asked for."""
        return self.address <= address < self.address + max(self.size, 1)

    def near(self, address: int) -> bool:
        """Whether *address* lies in what was given."""
        return self.address <= address < self.address + max(self.room, 1)


class Bug(StrEnum):
    """``get_shadow_bug_type()``, mm/kasan/report_generic.c."""

    SLAB_OUT_OF_BOUNDS = "slab-out-of-bounds"
    OUT_OF_BOUNDS = "out-of-bounds"
    USE_AFTER_FREE = "use-after-free"
    GLOBAL_OUT_OF_BOUNDS = "global-out-of-bounds"
    VMALLOC_OUT_OF_BOUNDS = "vmalloc-out-of-bounds"
    STACK_OUT_OF_BOUNDS = "stack-out-of-bounds"
    ALLOCA_OUT_OF_BOUNDS = "alloca-out-of-bounds"
    USE_AFTER_SCOPE = "use-after-scope"


_BUGS = {
    codes.PAGE_FREE: Bug.USE_AFTER_FREE,
    codes.SLAB_FREE: Bug.USE_AFTER_FREE,
    codes.SLAB_FREETRACK: Bug.USE_AFTER_FREE,
    codes.PERCPU_FREE: Bug.USE_AFTER_FREE,
    codes.PAGE_REDZONE: Bug.SLAB_OUT_OF_BOUNDS,
    codes.SLAB_REDZONE: Bug.SLAB_OUT_OF_BOUNDS,
    codes.GLOBAL_REDZONE: Bug.GLOBAL_OUT_OF_BOUNDS,
    codes.VMALLOC_INVALID: Bug.VMALLOC_OUT_OF_BOUNDS,
}


@dataclass(frozen=True, slots=True)
class Access:
    """A forbidden access: virtual and physical address, bytes, and the first byte of them that is forbidden."""

    address: int
    phys: int
    size: int
    write: bool
    bad: int
    base: int | None = None
    """The pointer that the address was computed from, if the instruction tells."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of instrumented code; of one on the stack, the *function* and the *frame* that it is in."""

    name: str
    address: int
    size: int
    function: int = 0
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an access was: the kernel's word for it, and the object or variable that it was meant for."""

    bug: Bug
    object: Object | None
    variable: Variable | None = None

    def distance(self, address: int) -> str:
        """Where *address* lies, seen from the object."""
        thing = self.object or self.variable
        assert thing is not None
        if address < thing.address:
            return f"{thing.address - address} bytes to the left of"
        if address >= thing.address + thing.size:
            return f"{address - thing.address - thing.size} bytes to the right of"
        return f"{address - thing.address} bytes inside of"


Mark = tuple[
    list[Object],
    dict[int, int],
    set[int],
    dict[int, int],
    dict[int, int],
    dict[int, list[Object]],
    dict[int, Object],
]


class Memory(Protocol):
    """What is asked of the kernel's memory management."""

    def phys_of(self, p: int) -> int: ...
    def object_size(self, cache: int) -> int: ...
    def delays_reuse(self, cache: int) -> bool:
        """Whether freed objects may still be read (``SLAB_TYPESAFE_BY_RCU``)."""

    def slab_around(self, address: int) -> tuple[range, int, range]:
        """The page frames of the slab that *address* lies in, the size of its objects, and where they begin."""

    def is_free(self, pfn: int) -> bool:
        """Whether nobody has the page."""

    def percpu(self, offset: int) -> Iterator[int]:
        """The physical address of a per-cpu variable on each CPU."""

    def object_of(self, address: int) -> int:
        """Where the slab object begins that an address of the direct map lies in; the address itself elsewhere."""


class Kasan:
    """The shadow of one machine. *mine* tells whether a call came from a module, *sample* keeps the stack of now."""

    def __init__(
        self, size: int, memory: Memory, mine: Callable[[int], bool], sample: Callable[[], Sample | None]
    ) -> None:
        self.shadow = Shadow(size)
        self._memory, self._mine, self._sample = memory, mine, sample
        self.objects: dict[int, Object] = {}
        """The newest allocation of the module's at each address, live or freed."""
        self._known: set[int] = set()
        """Objects that were allocated, by whomever, since somebody watches, in slabs from before."""
        self._seen: dict[int, int] = {}
        """The cache of each page frame of a slab in which what is nobody's is marked."""
        self._percpus: dict[int, int] = {}
        """Bytes of each per-cpu variable that was allocated, by its offset."""
        self._large: dict[int, int] = {}
        """Bytes of each allocation that has pages of its own."""
        self.caches: dict[int, list[Object]] = {}
        """How often each cache was made: a cache that fits is shared."""
        self.destroyed: dict[int, Object] = {}
        """Caches of the module's that are gone, until another one lies there."""
        self.released = 0
        """The object that leaves the quarantine: its free was seen when it happened."""
        self.bad_free: Callable[[str, Event, Object | None], None] = lambda what, event, thing: None
        """Told of a free that may not be: double-free, invalid-free or mismatched-free."""

    # events

    def __call__(self, event: Event) -> None:
        """Bring the shadow up to date with one event."""
        kind = event.kind
        if kind in ("kmalloc", "kmem_cache_alloc"):
            if event.ptr > ZERO_SIZE_PTR:
                self._allocated(event)
        elif kind in ("kfree", "kmem_cache_free"):
            if event.ptr > ZERO_SIZE_PTR:
                self._freed(event)
        elif kind == "mm_page_alloc":
            self._pages(event)
        elif kind == "mm_page_free":
            self._pages_freed(event)
        elif kind == "vmalloc":
            if event.ptr:
                self._vmalloc(event)
        elif kind == "percpu_alloc_percpu":
            if event.ptr:
                self._percpu(event)
        elif kind == "percpu_free_percpu":
            self._percpu_freed(event)
        elif kind == "ioremap":
            if event.ptr:
                room = -(-(event.ptr % PAGE + event.requested) // PAGE) * PAGE - event.ptr % PAGE
                self._note(event, event.ptr, event.requested, room)
        elif kind in ("vfree", "iounmap"):
            self._gone(event, self.objects.get(event.ptr))
        elif kind == "kmem_cache_create":
            if event.ptr:
                self._created(event)
        elif kind == "kmem_cache_destroy":
            made = self.caches.get(event.ptr)
            if made:
                thing = made.pop()
                self._gone(event, thing)
                if not made:
                    self.destroyed[event.ptr] = thing

    def _created(self, event: Event) -> None:
        self.destroyed.pop(event.ptr, None)
        if self._mine(event.call_site):
            made = self.caches.setdefault(event.ptr, [])
            made.append(Object(event.ptr, event.requested, 0, event.kind, 0, 0, event.call_site, event.task, None))

    def resized(self, address: int, size: int) -> None:
        """An object got another size where it is."""
        thing = self.objects.get(address)
        phys = address - PAGE_OFFSET
        if thing is None or not thing.live or not 0 <= phys < self.shadow.size:
            return
        thing.size = min(size, thing.room)
        redzone = codes.SLAB_REDZONE if thing.cache else codes.PAGE_REDZONE
        self.shadow.poison(phys, -(-thing.room // 8) * 8, redzone)
        self.shadow.unpoison(phys, thing.size)

    def _note(self, event: Event, address: int, size: int, room: int) -> None:
        self.objects.pop(address, None)  # what is found later is the newest
        if self._mine(event.call_site):
            self.objects[address] = Object(
                address, size, room, event.kind, event.cache, event.order, event.call_site, event.task, self._sample()
            )

    def _gone(self, event: Event, thing: Object | None) -> None:
        if thing is not None:
            thing.live = False
            thing.freed_site, thing.freed_pid, thing.freed_sample = event.call_site, event.task, self._sample()

    def _allocated(self, event: Event) -> None:
        address, shadow = event.ptr, self.shadow
        phys = address - PAGE_OFFSET
        if not 0 <= phys < shadow.size or phys % codes.GRANULE:
            return
        if event.cache:
            room, redzone = self._memory.object_size(event.cache), codes.SLAB_REDZONE
            if self._seen.get(phys >> 12) != event.cache:
                self._known.add(address)
                if self._mine(event.call_site):
                    self._look_around(address, event.cache)
        else:
            room, redzone = event.allocated, codes.PAGE_REDZONE
            self._large[address] = room
            if self._mine(event.call_site):
                self._mark_beside(phys, room)
        size = min(event.requested, room)
        shadow.poison(phys, -(-room // 8) * 8, redzone)
        shadow.unpoison(phys, size)
        if event.gfp & ZEROED or not self._mine(event.call_site):
            shadow.written(phys, size)
        else:
            shadow.fresh(phys, size)
        self._note(event, address, size, room)

    def _mark_beside(self, phys: int, size: int) -> None:
        """Pages that nobody has, before and behind *size* bytes at *phys*."""
        for pfn in ((phys >> 12) - 1, phys + size >> 12):
            if self._memory.is_free(pfn) and not self.shadow.code(pfn << 12):
                self.shadow.poison(pfn << 12, PAGE, codes.PAGE_REDZONE)

    def _look_around(self, address: int, cache: int) -> None:
        """The first object of a slab that was there before: what else is in it is free, or the kernel's since boot."""
        pages, size, objects = self._memory.slab_around(address)
        self._seen.update(dict.fromkeys(pages, cache))
        self._mark_beside(pages.start * PAGE, len(pages) * PAGE)
        whole = -(-size // 8) * 8
        for obj in objects:
            if obj != address and obj not in self._known:
                self.shadow.poison(obj - PAGE_OFFSET, whole, codes.SLAB_REDZONE)
            self.shadow.poison(obj - PAGE_OFFSET + whole, objects.step - whole, codes.SLAB_REDZONE)
        before = objects.start - PAGE_OFFSET - pages.start * PAGE  # slub_debug's left red zone
        self.shadow.poison(pages.start * PAGE, before, codes.SLAB_REDZONE)

    def _freed(self, event: Event) -> None:
        address, thing = event.ptr, self.objects.get(event.ptr)
        if address == self.released:
            return
        phys = address - PAGE_OFFSET
        if not 0 <= phys < self.shadow.size:
            inside = self.find(address)
            wrong = inside is not None and inside.address == address
            self.bad_free("mismatched-free" if wrong else "invalid-free", event, inside)
            return
        if thing is None:
            start = self._memory.object_of(address)
            if start != address:
                self.bad_free("invalid-free", event, self.objects.get(start))
                return
            around = self.find(address) if not event.cache and self._mine(event.call_site) else None
            if around is not None and around.live:
                self.bad_free("invalid-free", event, around)
                if around.address == address & -PAGE and not around.cache:  # all of its pages are freed
                    self.shadow.poison(
                        around.address - PAGE_OFFSET, self._large.pop(around.address, 0), codes.PAGE_FREE
                    )
                    self._gone(event, around)
                return
            if self.shadow.first_bad(phys, 1) >= 0 and self._mine(event.call_site):
                self.bad_free("invalid-free", event, None)
                return
        elif not thing.live:
            self.bad_free("double-free", event, thing)
            return
        elif thing.kind == "mm_page_alloc":
            self.bad_free("mismatched-free", event, thing)
            return
        elif event.kind == "kmem_cache_free" and thing.cache != event.cache:
            self.bad_free("mismatched-free", event, thing)
        cache = thing.cache if thing else event.cache
        if not cache:
            room = self._large.pop(address, 0)
            self.shadow.poison(phys, room, codes.PAGE_FREE)
            self._gone(event, thing)
            return
        self._known.discard(address)
        room = self._memory.object_size(cache)
        if not self._memory.delays_reuse(cache):
            self.shadow.poison(phys, -(-room // 8) * 8, codes.SLAB_FREE if thing else codes.SLAB_REDZONE)
            if thing:
                self.shadow.poison(phys, 8, codes.SLAB_FREETRACK)
        self._gone(event, thing)

    def _pages(self, event: Event) -> None:
        phys, size = event.ptr << 12, PAGE << event.order
        if phys + size > self.shadow.size:
            return
        self.shadow.unpoison(phys, size)
        if event.gfp & ZEROED or not self._mine(event.call_site):
            self.shadow.written(phys, size)
        else:
            self.shadow.fresh(phys, size)
        self._note(event, PAGE_OFFSET + phys, size, size)
        if self._mine(event.call_site):
            self._mark_beside(phys, size)

    def _pages_freed(self, event: Event) -> None:
        phys, size = event.ptr << 12, PAGE << event.order
        thing = self.objects.get(PAGE_OFFSET + phys)
        if thing is not None and thing.kind == "mm_page_alloc" and self._mine(event.call_site):
            if not thing.live and self.shadow.code(phys) == codes.PAGE_FREE:
                self.bad_free("double-free", event, thing)
                return
            if thing.live and event.order > thing.order:
                self.bad_free("mismatched-free", event, thing)
        if phys + size <= self.shadow.size:
            self.shadow.poison(phys, size, codes.PAGE_FREE)
        if thing is not None and thing.live:
            self._gone(event, thing)

    def _percpu(self, event: Event) -> None:
        """A per-cpu variable: on each CPU, what lies between a module's and the next one is nobody's."""
        first, start, mine = event.ptr, event.ptr & -8, self._mine(event.call_site)
        end = first + event.requested + 7 & -8
        before = max((s + n for s, n in self._percpus.items() if s < first), default=start - PERCPU_AROUND)
        behind = min((s for s in self._percpus if s > first), default=end + PERCPU_AROUND)
        self._percpus[first] = event.requested
        exact = first == start and behind >= end
        for at in self._memory.percpu(first):
            phys = at & -8
            self.shadow.unpoison(phys, event.requested if exact and mine else end - start)
            self.shadow.written(phys, end - start)  # alloc_percpu() zeroes
            self._note(event, PAGE_OFFSET + at, event.requested, end - first)
            if mine:
                left, right = min(start - before, PERCPU_AROUND) & -8, min(behind - end, PERCPU_AROUND) & -8
                for edge, length in ((phys - left, left), (phys + end - start, right)):
                    if length > 0:
                        self.shadow.poison(edge, length, codes.PERCPU_REDZONE)

    def _percpu_freed(self, event: Event) -> None:
        size = self._percpus.pop(event.ptr, 0)
        for phys in self._memory.percpu(event.ptr):
            thing = self.objects.get(PAGE_OFFSET + phys)
            if thing is not None and thing.kind == "percpu_alloc_percpu":
                self.shadow.poison(phys + 7 & -8, size, codes.PERCPU_FREE)
                self._gone(event, thing)

    def _vmalloc(self, event: Event) -> None:
        size, shadow = event.requested, self.shadow
        for at in range(0, size, PAGE):
            phys = self._memory.phys_of(event.ptr + at)
            if not 0 <= phys < shadow.size:
                continue
            length = min(PAGE, size - at)
            shadow.unpoison(phys, length)
            if event.gfp & ZEROED or not self._mine(event.call_site):
                shadow.written(phys, length)
            else:
                shadow.fresh(phys, length)
            if length < PAGE:
                rest = -(-length // 8) * 8
                shadow.poison(phys + rest, PAGE - rest, codes.VMALLOC_INVALID)
            self.objects.pop(PAGE_OFFSET + phys, None)
        self._note(event, event.ptr, size, -(-size // PAGE) * PAGE)

    def under_construction(self, address: int, size: int) -> Callable[[], None]:
        """Let a constructor touch the *size* bytes of an object that nobody has allocated; what ends that."""
        phys = address - PAGE_OFFSET
        self.shadow.unpoison(phys, size)
        return lambda: self.shadow.poison(phys, -(-size // 8) * 8, codes.SLAB_REDZONE)

    # judging

    def find(self, address: int) -> Object | None:
        """The allocation whose room *address* lies in; live ones first, then the newest."""
        exact = self.objects.get(address)
        if exact is not None and exact.live:
            return exact
        found = exact
        for thing in reversed(self.objects.values()):
            if thing.near(address):
                if thing.live:
                    return thing
                found = found or thing
        return found

    def judge(self, access: Access) -> Verdict:
        """What a forbidden access was."""
        state = self.shadow.code(access.phys + access.bad - access.address)
        bug = _BUGS.get(state, Bug.OUT_OF_BOUNDS)
        meant = self.find(access.base) if access.base is not None else None
        if meant is not None and meant.live and meant.holds(access.base or 0) and not meant.holds(access.bad):
            return Verdict(Bug.VMALLOC_OUT_OF_BOUNDS if meant.kind == "vmalloc" else Bug.SLAB_OUT_OF_BOUNDS, meant)
        thing = self.find(access.bad)
        if thing is None and bug is not Bug.USE_AFTER_FREE:
            thing = self._nearest(access.bad)
        return Verdict(bug, thing)

    def _nearest(self, address: int) -> Object | None:
        """The live allocation next to *address*, at most its own size away."""
        best, least = None, 1 << 64
        for thing in self.objects.values():
            away = thing.address - address if address < thing.address else address - thing.address - thing.size
            if thing.live and away <= max(thing.room, 64) and away < least:
                best, least = thing, away
        return best

    def explain(self, address: int) -> Verdict | None:
        """What is known of an address where nothing is mapped: behind a live area, or in one that is gone."""
        for thing in reversed(self.objects.values()):
            if thing.kind not in ("vmalloc", "ioremap"):
                continue
            if thing.near(address) and not thing.live:
                return Verdict(Bug.USE_AFTER_FREE, thing)
            if thing.live and -PAGE <= address - thing.address < thing.room + PAGE:
                return Verdict(Bug.VMALLOC_OUT_OF_BOUNDS, thing)
        return None

    def mark(self) -> Mark:
        """The state of now, for :meth:`rewind`."""
        self.shadow.snapshot()
        return (
            [replace(thing) for thing in self.objects.values()],
            dict(self._seen),
            set(self._known),
            dict(self._large),
            dict(self._percpus),
            {address: [replace(thing) for thing in made] for address, made in self.caches.items()},
            dict(self.destroyed),
        )

    def rewind(self, mark: Mark) -> None:
        """Memory is as it was at *mark*."""
        self.shadow.rollback()
        objects, seen, known, large, percpus, caches, destroyed = mark
        self.caches = {address: [replace(thing) for thing in made] for address, made in caches.items()}
        self.destroyed = dict(destroyed)
        self.objects = {thing.address: replace(thing) for thing in objects}
        self._seen, self._known, self._large = dict(seen), set(known), dict(large)
        self._percpus = dict(percpus)
