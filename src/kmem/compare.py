"""``kmem compare``: what the allocation functions really do, each row an experiment on a booted machine.

Every experiment starts from the same snapshot. Memory is dirtied first, so that an allocation that is not wiped shows
what was there. Whether a call may sleep is found by making it with preemption disabled; which function frees the
memory, by trying all of them; the largest size, by bisection. Nothing here knows the answers.

The last row is not the kernel's: a program's malloc, in a process of its own. What it takes is counted before and after
every page of it is written to.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kmem.abi.gfp import GFP_ATOMIC, GFP_KERNEL
from kmem.kapi.context import HARDIRQ_OFFSET, PREEMPT_OFFSET, SOFTIRQ_OFFSET
from kmem.kapi.executor import TaskDied
from kmem.lib.cstruct import CoreFault
from kmem.mm.mm_types import NR_VM_EVENTS, kmem_cache
from kmem.mm.vm_events import (
    EV_PAGE_TABLE,
    EV_PGALLOC,
    EV_PGFAULT,
    EV_PTE_SET,
    EV_SLAB_FASTPATH,
    EV_SLAB_SLOWPATH,
    EV_TLB_FLUSH,
    EV_ZEROED,
)

if TYPE_CHECKING:
    from kmem.kernel import Kernel

Alloc = Callable[["Kernel", int], int]
PAGE = 4096
CONTEXTS = {"process": 0, "softirq": SOFTIRQ_OFFSET, "hardirq": HARDIRQ_OFFSET, "spinlock": PREEMPT_OFFSET}


def _order(size: int) -> int:
    return max((size - 1) >> 12, 0).bit_length()


def _cache_alloc(k: Kernel, size: int) -> int:
    s = k.mm.kmem_cache_create("compare", size, 0, 0, 0)
    return k.mm.kmem_cache_alloc(s) if s else 0


CALLS: dict[str, Alloc] = {
    "kmalloc": lambda k, size: k.mm.kmalloc(size, GFP_KERNEL),
    "kmalloc(GFP_ATOMIC)": lambda k, size: k.mm.kmalloc(size, GFP_ATOMIC),
    "kzalloc": lambda k, size: k.mm.kzalloc(size, GFP_KERNEL),
    "kcalloc": lambda k, size: k.mm.kcalloc(1, size, GFP_KERNEL),
    "vmalloc": lambda k, size: k.mm.vmalloc(size),
    "vzalloc": lambda k, size: k.mm.vzalloc(size),
    "kvmalloc": lambda k, size: k.mm.kvmalloc(size, GFP_KERNEL),
    "__get_free_pages": lambda k, size: k.mm.get_free_pages(GFP_KERNEL, _order(size)),
    "kmem_cache_alloc": _cache_alloc,
}
FREES: dict[str, Callable[[Kernel, int, int], None]] = {
    "kmem_cache_free": lambda k, p, size: k.mm.kmem_cache_free(k.mm.slab_of(p), p) if k.mm.slab_of(p) else _refuse(),
    "kfree": lambda k, p, size: k.mm.kfree(p),
    "vfree": lambda k, p, size: k.mm.vfree(p),
    "kvfree": lambda k, p, size: k.mm.kvfree(p),
    "free_pages": lambda k, p, size: k.mm.free_pages_addr(p, _order(size)),
}


def _refuse() -> None:
    raise CoreFault(0, 0, False)


@dataclass(frozen=True)
class Row:
    """One experiment. Sizes in bytes; *runs* counts physically contiguous pieces; counters are for this one call."""

    call: str
    address: str
    region: str
    asked: int
    given: int
    source: str
    pages: int
    runs: int
    content: str
    may_sleep: bool
    allowed: str
    largest: int | None
    free: str
    path: str
    buddy_pages: int
    bytes_zeroed: int
    pte_writes: int
    tlb_flushes: int
    touched_pages: int
    table_pages: int
    faults: int


class Lab:
    """A booted machine at a snapshot. *trouble* collects what the kernel complained about since the last experiment
    began.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.k = kernel
        self.trouble: list[str] = []
        self._seen = 0
        kernel.finding = self._finding  # type: ignore[method-assign]
        for size in (64, 1000, 9000, 70000):  # leave something behind in freed memory
            for alloc, free in (("kmalloc", "kfree"), ("vmalloc", "vfree")):
                got = [CALLS[alloc](kernel, size) for _ in range(8)]
                for p in got:
                    kernel.write(p, b"\xa5" * size)
                for p in got:
                    FREES[free](kernel, p, size)
        kernel.mm.core.k_vm_unmap_aliases()
        kernel.snapshot()

    def _finding(self, kind: str, message: str, **facts: Any) -> None:
        self.trouble.append(f"{kind}: {message}")

    def reset(self) -> None:
        """Back to the snapshot."""
        self.k.rollback()
        self.trouble.clear()

    def attempt(self, call: str, size: int, context: int) -> tuple[int, str]:
        """Make the call in a context; the address and what was wrong with that."""
        self.reset()
        self.k.context.add(context)
        try:
            got = CALLS[call](self.k, size)
        except TaskDied:
            return 0, f"no: {self.trouble[-1].partition(': ')[2]}"
        finally:
            self.k.context.add(-context)
        return got, f"no: {self.trouble[0].partition(':')[0]}" if self.trouble else "yes"

    def events(self) -> list[int]:
        """The work counters."""
        counters = self.k.mm.view.kdata.vm_events
        return [int(counters[i]) for i in range(NR_VM_EVENTS)]

    def is_free(self, p: int) -> bool:
        """Whether the memory at *p* belongs to nobody now."""
        mm = self.k.mm
        if mm.is_vmalloc_addr(p):
            return not mm.core.k_find_vm_area(p)
        if mm.slab_of(p):
            return bool(mm.core.k_object_is_free(p))
        return bool(mm.view.page_of(p)._refcount == 0)

    def frees(self, call: str, size: int) -> str:
        """The functions that take the memory back without complaint."""
        good = []
        for name, free in FREES.items():
            self.reset()
            p = CALLS[call](self.k, size)
            cache = self.k.mm.slab_of(p)
            slabs = self._slabs(cache)
            try:
                free(self.k, p, size)
            except (CoreFault, TaskDied):
                continue
            stolen = cache and not self.k.mm.slab_of(p) and self._slabs(cache) == slabs  # pages, from below the cache
            if not self.trouble and not stolen and self.is_free(p):
                good.append(name)
        return ", ".join(good)

    def _slabs(self, cache: int) -> int:
        return int(self.k.mm.view.ptr(kmem_cache, cache).node[0].nr_slabs) if cache else 0

    def largest(self, call: str) -> int:
        """The largest size that succeeds, to 3 %: exact where it is a power of two."""
        good, bad = PAGE, 1 << 40
        while bad - good > max(good >> 5, PAGE):
            middle = (good + bad) // 2 if bad < good * 8 else good * 4
            middle &= -PAGE
            self.reset()
            if CALLS[call](self.k, middle):
                good = middle
            else:
                bad = middle
        return good


def _describe(k: Kernel, p: int, size: int) -> tuple[int, str, int, int]:
    """What was given for *p*: bytes, cache or order, pages, contiguous runs."""
    mm = k.mm
    pages = ((p + max(size, 1) - 1) >> 12) - (p >> 12) + 1
    if mm.is_vmalloc_addr(p):
        frames = [mm.phys_of((p & -PAGE) + n * PAGE) >> 12 for n in range(pages)]
        runs = 1 + sum(b != a + 1 for a, b in itertools.pairwise(frames))
        return pages * PAGE, "pages", pages, runs
    s = mm.slab_of(p)
    if s:
        return mm.ksize(p), mm.view.cache_name(mm.view.ptr(k.site.kmem_cache, s)), pages, 1
    given = PAGE << _order(size)
    return given, f"order {_order(size)}", given // PAGE, 1


def _row(lab: Lab, call: str, size: int, context: int, largest: int) -> Row:
    k = lab.k
    lab.reset()
    before = lab.events()
    p = CALLS[call](k, size)
    after = lab.events()
    work = [b - a for a, b in zip(before, after, strict=True)]
    given, source, pages, runs = _describe(k, p, size) if p else (0, "", 0, 0)
    content = ("zeroed" if not any(k.read(p, size)) else "stale") if p else ""
    if p:
        k.write(p, b"\x5a" * size)
    touched = [b - a for a, b in zip(before, lab.events(), strict=True)]
    frees = lab.frees(call, size) if p else ""
    lab.reset()
    before = lab.events()
    p = CALLS[call](k, size)
    if p:
        FREES[frees.split(", ")[0]](k, p, size)
        k.mm.core.k_vm_unmap_aliases()
    flushes = lab.events()[EV_TLB_FLUSH] - before[EV_TLB_FLUSH]
    _, asleep = lab.attempt(call, size, PREEMPT_OFFSET)
    _, allowed = lab.attempt(call, size, context)
    if work[EV_PTE_SET]:
        path = "pages, mapped"
    elif source.startswith("order"):
        path = "pages"
    else:
        path = "slab, slow" if work[EV_SLAB_SLOWPATH] else "slab, fast" if work[EV_SLAB_FASTPATH] else ""
    return Row(
        call=call,
        address=f"{p:#018x}" if p else "NULL",
        region=k.site.region(p) if p else "",
        asked=size,
        given=given,
        source=source,
        pages=pages,
        runs=runs,
        content=content,
        may_sleep=asleep != "yes",
        allowed=allowed,
        largest=largest,
        free=frees,
        path=path,
        buddy_pages=sum(work[EV_PGALLOC:]),
        bytes_zeroed=work[EV_ZEROED],
        pte_writes=work[EV_PTE_SET],
        tlb_flushes=flushes,
        touched_pages=sum(touched[EV_PGALLOC:]),
        table_pages=touched[EV_PAGE_TABLE],
        faults=touched[EV_PGFAULT],
    )


MALLOC = "malloc (user)"


def _largest_malloc(lab: Lab) -> int:
    """The largest malloc that succeeds, to 3 %, in a process of its own."""
    good, bad = PAGE, 1 << 47
    while bad - good > max(good >> 5, PAGE):
        middle = ((good + bad) // 2 if bad < good * 8 else good * 4) & -PAGE
        lab.reset()
        if lab.k.process("compare").malloc(middle):
            good = middle
        else:
            bad = middle
    return good


def _user_row(lab: Lab, size: int, context: str, largest: int) -> Row:
    """A program's malloc: what it costs when it is called, and when the memory is written to."""
    k = lab.k
    lab.reset()
    process = k.process("compare")
    process.malloc(1)  # the heap is there, as in a program that has run for a while
    taken = lab.events()
    p = process.malloc(size)
    work = [b - a for a, b in zip(taken, lab.events(), strict=True)]
    if not p:
        return Row(MALLOC, "NULL", "", size, 0, "", 0, 0, "", True, "yes", largest, "", "", 0, 0, 0, 0, 0, 0, 0)
    first, last = p & -PAGE, -(-(p + size) // PAGE) * PAGE
    process.write(p, b"\x5a" * size)
    touched = [b - a for a, b in zip(taken, lab.events(), strict=True)]
    frames = [process.phys_of(at) >> 12 for at in range(first, last, PAGE)]
    mapped = next(line for line in process.proc("maps").splitlines() if _covers(line, p))
    heap = "[heap]" in mapped
    region = "user" if _covers(mapped, last - 1) else "user, in pieces"
    before = lab.events()[EV_TLB_FLUSH]
    if not heap:
        process.munmap(p & -PAGE, last - first)
    flushes = lab.events()[EV_TLB_FLUSH] - before
    lab.reset()
    process = k.process("compare")
    content = "stale" if any(process.read(process.malloc(size), size)) else "zeroed"
    return Row(
        call=MALLOC,
        address=f"{p:#018x}",
        region=region,
        asked=size,
        given=last - first if not heap else -(-(size + 8) // 16) * 16 - 8,
        source="heap (brk)" if heap else "mapping (mmap)",
        pages=len(frames),
        runs=1 + sum(b != a + 1 for a, b in itertools.pairwise(frames)),
        content=content,
        may_sleep=True,
        allowed="yes" if context == "process" else "no: a program",
        largest=largest,
        free="free",
        path="page faults",
        buddy_pages=sum(work[EV_PGALLOC:]),
        bytes_zeroed=touched[EV_ZEROED],
        pte_writes=touched[EV_PTE_SET],
        tlb_flushes=flushes,
        touched_pages=sum(touched[EV_PGALLOC:]),
        table_pages=touched[EV_PAGE_TABLE],
        faults=touched[EV_PGFAULT],
    )


def _covers(line: str, addr: int) -> bool:
    """Whether a line of /proc/PID/maps is that of the area around *addr*."""
    first, last = (int(word, 16) for word in line.split()[0].split("-"))
    return first <= addr < last


def compare(sizes: Sequence[int], context: str = "process", **machine: Any) -> list[Row]:
    """Rows for every size and call, made in *context*, on the machine that `kmem.boot` makes of *machine*."""
    import kmem

    with kmem.boot(**{**machine, "config": "plain"}) as wide:
        limits = Lab(wide)  # how much fits does not depend on hardening, and unwiped memory is quicker to take
        largest = {call: limits.largest(call) for call in CALLS}
        largest[MALLOC] = _largest_malloc(limits)
    with kmem.boot(**machine) as kernel:
        lab = Lab(kernel)
        rows = []
        for size in sizes:
            rows += [_row(lab, call, size, CONTEXTS[context], largest[call]) for call in CALLS]
            rows.append(_user_row(lab, size, context, largest[MALLOC]))
        return rows
