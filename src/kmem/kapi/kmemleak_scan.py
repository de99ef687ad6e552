"""kmemleak (mm/kmemleak.c, 6.1): what a module has allocated, and nothing in memory points to any more.

A word of memory that holds an address inside an allocation is a reference to it. The search begins at all memory in use
but the allocations that are looked for; stacks count from their stack pointers on. An area of vmalloc needs one more
reference than the kernel's own ``struct vm_struct``. Pages, per-cpu variables and ioremap are not looked for, as in
6.1. Simplified: an object is reported the first time that it is seen so.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from kmem.abi.address import PAGE_OFFSET
from kmem.kapi.hexdump import hex_line

if TYPE_CHECKING:
    from kmem.sanitizers.kmemleak import Allocation

LOOKED_FOR = frozenset(("kmalloc", "kmem_cache_alloc", "vmalloc"))
PAGE, WORDS = 4096, 512
STRUCT_PAGE, REFCOUNT_AT = 64, 52
HEX_ROWS, HEX_WIDTH = 2, 16
"""``HEX_MAX_LINES``, ``HEX_ROW_SIZE``."""


def scan(k: Any) -> list[Allocation]:
    """The module's live allocations that nothing refers to, oldest first."""
    k.drain()
    found = sorted((one for one in k.leaks.live() if one.event.kind in LOOKED_FOR), key=lambda one: one.address)
    if not found:
        return []
    starts = np.array([one.address for one in found], dtype=np.uint64)
    ends = starts + np.array([max(_size(one), 1) for one in found], dtype=np.uint64)
    frames = _frames(k)
    words = np.frombuffer(k.mm.ram.mem, dtype=np.uint64)[: k.mm.ram.size // 8].reshape(-1, WORDS)[frames].reshape(-1)
    target = np.searchsorted(starts, words, side="right") - 1
    hits = np.flatnonzero((target >= 0) & (words < ends[np.maximum(target, 0)]))
    own = _Places(k, found)
    needed = [2 if one.event.kind == "vmalloc" else 1 for one in found]
    edges: dict[int, list[int]] = {}
    roots: list[int] = []
    for at in hits:
        phys = int(frames[at // WORDS]) * PAGE + int(at % WORDS) * 8
        owner, pointed = own.of(phys), int(target[at])
        if owner >= 0:
            edges.setdefault(owner, []).append(pointed)
        elif not own.dead(phys):
            roots.append(pointed)
    reached: set[int] = set()
    while roots:
        number = roots.pop()
        needed[number] -= 1
        if needed[number] <= 0 and number not in reached:
            reached.add(number)
            roots += edges.get(number, [])
    lost = [one for number, one in enumerate(found) if number not in reached]
    return sorted(lost, key=lambda one: one.number)


def _size(one: Allocation) -> int:
    return one.event.requested or one.event.allocated


def _frames(k: Any) -> Any:
    """The page frames that somebody has, but for the array of struct page and the kernel's text."""
    mm = k.mm
    entries = np.frombuffer(mm.ram.mem, dtype=np.int32)
    first = mm.ram.mem_map_phys // 4 + REFCOUNT_AT // 4
    count = mm.ram.size // PAGE
    used = entries[first : first + count * (STRUCT_PAGE // 4) : STRUCT_PAGE // 4] > 0
    array = mm.ram.mem_map_phys // PAGE
    heads = np.frombuffer(mm.ram.mem, dtype=np.uint64)[
        mm.ram.mem_map_phys // 8 + 1 : mm.ram.mem_map_phys // 8 + 1 + count * (STRUCT_PAGE // 8) : STRUCT_PAGE // 8
    ]
    used = used.copy()
    tails = np.flatnonzero(heads & np.uint64(1))
    first_of = (heads[tails] - np.uint64(1) - np.uint64(k.regions.vmemmap_start)) // np.uint64(STRUCT_PAGE)
    used[tails] = used[np.minimum(first_of, np.uint64(count - 1)).astype(np.int64)]
    for one in k.leaks.live():
        if one.event.kind == "mm_page_alloc":
            used[one.event.ptr : one.event.ptr + (1 << one.event.order)] = True
    used[array : array + -(-mm.ram.mem_map_size // PAGE)] = False
    return np.flatnonzero(used)


class _Places:
    """Whose a physical address is: an allocation's, dead (the unused part of a stack, the kernel's note of an area), or
    anybody's.
    """

    def __init__(self, k: Any, found: list[Allocation]) -> None:
        self._k = k
        pieces = []
        for number, one in enumerate(found):
            if one.event.kind == "vmalloc":
                for at in range(0, _size(one), PAGE):
                    pieces.append((int(k.mm.phys_of(one.address + at)), min(PAGE, _size(one) - at), number))
            else:
                pieces.append((one.address - PAGE_OFFSET, _size(one), number))
        self._pieces = sorted(pieces)
        self._starts = [piece[0] for piece in self._pieces]
        self._dead = sorted(self._unused())

    def of(self, phys: int) -> int:
        """Number of the allocation, or -1."""
        at = bisect_right(self._starts, phys) - 1
        if at < 0:
            return -1
        start, size, number = self._pieces[at]
        return number if phys < start + size else -1

    def dead(self, phys: int) -> bool:
        """Whether what lies there is no reference."""
        at = bisect_right(self._dead, (phys, 1 << 62)) - 1
        if at >= 0 and phys < self._dead[at][1]:
            return True
        view = self._k.mm.view
        head = view.page_of(PAGE_OFFSET + phys)
        return bool(view.is_slab(head)) and view.cache_name(view.slab(head).slab_cache) == "vmap_area"

    def _unused(self) -> list[tuple[int, int]]:
        k, found = self._k, []
        executor = k._executor
        if executor is not None:
            stack = executor.main_stack
            sp = k.site.regs().rsp if executor.cpu.depth else stack + (16 << 10)
            for at in range(stack & -PAGE, sp, PAGE):
                phys = int(k.mm.phys_of(at))
                if phys >= 0:
                    found.append((phys, phys + min(PAGE, sp - at)))
        return found


def report(k: Any, one: Allocation) -> list[str]:
    """``print_unreferenced()``."""
    size = _size(one)
    age = (k.clock.ns - one.event.time) / 1e9
    jiffies = 4294892296 + one.event.time // 4_000_000
    content = k.mm.ram.mem
    shown = bytes(content[p : p + 1][0] for p in _bytes(k, one.address, min(size, HEX_ROWS * HEX_WIDTH)))
    lines = [
        f"unreferenced object {one.address:#018x} (size {size}):",
        f'  comm "{k.comm()}", pid {one.event.task}, jiffies {jiffies} (age {age:.3f}s)',
        f"  hex dump (first {len(shown)} bytes):",
        *(
            f"    {hex_line(shown[at : at + HEX_WIDTH], HEX_WIDTH, 1, True).decode('latin-1')}"
            for at in range(0, len(shown), HEX_WIDTH)
        ),
        "  backtrace:",
    ]
    thing = k.checks.kasan.objects.get(one.address) if k.checks else None
    stack = k.site.sampled(thing.sample) if thing is not None and thing.sample is not None else []
    return lines + [f"    [<{k.hash_pointer(at)}>] {_named(k, one, at)}" for at in stack or [one.event.call_site]]


def _named(k: Any, one: Allocation, at: int) -> str:
    """``%pS``; the place of the call itself is known after init's code is gone."""
    site: Any = one.site
    if at == one.event.call_site and site is not None and k.kallsyms.lookup(at) is None:
        return f"{site.function}+{site.offset:#x} [{site.module.name}]"
    return str(k.kallsyms.sprint(at))


def _bytes(k: Any, address: int, n: int) -> list[int]:
    return [int(k.mm.phys_of(address + at)) for at in range(n)]


def find(k: Any) -> int:
    """Make a finding of each site that lost something; how many objects that are."""
    lost = scan(k)
    for one in lost:
        facts = one.site.facts() if one.site else {}
        message = f"{_size(one)} bytes ({one.cache or one.region}) that nothing points to any more"
        k.finding("leak", message, address=one.address, text=tuple(report(k, one)), **facts)
    return len(lost)
