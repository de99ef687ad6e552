"""The free-list load of SLUB in machine code: which register is the cache, which the object, what size it has."""

from __future__ import annotations

from typing import NamedTuple

from kmem.oops import gfp
from kmem.oops.decode import register
from kmem.oops.rules.base import Case

_SIZES = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
_INDEX = {1: 96, 2: 192}
"""kmalloc_caches[1] and [2]; index n else holds objects of 2^n bytes (mm/slub.c, mm/slab_common.c)."""


class Cache(NamedTuple):
    """What the code and registers say of the cache that was allocated from."""

    name: str
    pointer: int
    """Its struct kmem_cache, 0 when unknown."""
    size: int
    offset: int | None
    """Where in a free object its free pointer lies, when known."""
    why: str


def cache_of(case: Case) -> Cache | None:
    """The cache in a free-list crash, from loads with one base register in front of the trapping load. Up to 2.6.3x
    without SMP the per-CPU part is embedded in struct kmem_cache: freelist, objsize and offset are loaded
    with the cache's own register, and the kmalloc caches form an array.
    """
    trap = case.trap
    if case.code is None or trap is None or not trap.memory or not case.in_allocator:
        return None
    loads = [step for step in case.code.before() if step.memory and not step.store and step.base]
    chain = next((step for step in reversed(loads) if step.target == trap.base), None)
    if chain is None:
        return None
    same = [step for step in loads if step.base == chain.base and step is not chain]
    sizes = [
        value for step in same if step.target != trap.index and (value := register(case.report, step.target)) in _SIZES
    ]
    offset = register(case.report, trap.index) if trap.index else trap.offset
    pointer = register(case.report, chain.base) or 0
    if not sizes:
        return None
    size = sizes[0]
    place = next(step.offset for step in same if register(case.report, step.target) == size)
    why = f"objsize = {size:#x} was loaded from [{chain.base}+{place:#x}]"
    stride, index = _index(case, pointer, size)
    if stride:
        why += f"; {chain.base} = {pointer:#x} is entry {index} of kmalloc_caches"
        why += f" (sizeof(struct kmem_cache) = {stride:#x})"
    return Cache(f"kmalloc-{size}", pointer, size, None if offset is None else offset * trap.scale, why)


def _index(case: Case, pointer: int, size: int) -> tuple[int, int]:
    """Size of a cache's structure, and its index, when a register holds a size that divides its place in its page."""
    for value in case.report.regs.values():
        if 0x40 <= value <= 0x400 and value not in _SIZES and pointer & 0xFFF and (pointer & 0xFFF) % value == 0:
            index = (pointer & 0xFFF) // value
            if index < 14 and _INDEX.get(index, 1 << index) == size:
                return value, index
    return 0, 0


def gfp_argument(case: Case) -> tuple[str, int, str] | None:
    """Register, mask and names of the GFP argument of an allocation, where a register still holds one."""
    if not case.in_allocator or not gfp.known(case.report.version):
        return None
    found: dict[int, list[str]] = {}
    for name, value in case.report.regs.items():
        if name not in ("psr", "eflags", "cr2") and gfp.usual(value, case.report.version):
            found.setdefault(value, []).append(name)
    if not found:
        return None
    mask, names = max(found.items(), key=lambda item: (len(item[1]), item[0] > 0xFF))
    return " and ".join(names), mask, gfp.usual(mask, case.report.version)


def cpu_interrupts(case: Case) -> tuple[str, int] | None:
    """Register and value of a saved CPSR with interrupts masked: they were off before the allocator masked them."""
    if case.report.arch != "arm":
        return None
    for name, value in case.report.regs.items():
        if (
            name not in ("psr", "sp", "pc", "lr")
            and value & 0x1F == 0x13
            and value & 0x80
            and not value & 0x0FF0FE20
            and value >> 28
        ):
            return name, value
    return None
