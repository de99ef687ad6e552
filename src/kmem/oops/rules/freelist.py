"""The free-list load of SLUB in machine code: which register is the cache, which the object, what size it has; and
what a hardened free pointer was before it was decoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kmem.oops import gfp
from kmem.oops.decode import Step, register
from kmem.oops.rules.base import Case
from kmem.oops.values import poison

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


class Load(NamedTuple):
    """The load of the next free object, as the kernel's C has it."""

    expression: str
    """``*(void **)(object + s->offset)`` with the registers that stand for its parts."""
    object: int | None
    """Where the free list led to: a free object, if the list were whole."""
    hardened: bool
    """Whether the code decodes what it loads (CONFIG_SLAB_FREELIST_HARDENED)."""
    size: int | None
    """``s->object_size`` or ``s->size``, when a register still holds it."""


_MEMBERS = (
    ((3, 1), {0x10: "size", 0x14: "object_size", 0x18: "offset"}),
    ((5, 9), {0x18: "size", 0x1C: "object_size", 0x20: "offset"}),
    ((99, 0), {0x18: "size", 0x1C: "object_size", 0x28: "offset"}),
)
"""Members of struct kmem_cache on 64-bit machines by release: 3.1 put min_partial first, 5.9 reciprocal_size in."""


def load_of(case: Case) -> Load | None:
    """The free-pointer load that trapped, recognised by where its index came from: a load of ``s->offset``.

    x86-64 and arm64, 2.6.39 to 6.18: ``mov r, [object + offset]`` after ``mov offset, [s + 0x28]``.
    """
    trap, code = case.trap, case.code
    if code is None or trap is None or not trap.memory or trap.store or not case.in_allocator:
        return None
    if case.report.arch not in ("x86-64", "arm64") or case.report.version == (0, 0):
        return None
    members = next(members for before, members in _MEMBERS if case.report.version < before)
    loads = [step for step in code.before() if step.memory and not step.store and step.base and not step.index]
    for base, index, summed in _terms(trap, code.before()):
        source = next((step for step in reversed(loads) if _same(step.target, index)), None)
        if source is None or members.get(source.offset) != "offset":
            continue
        object_, offset, cache = (register(case.report, name) for name in (base, index, source.base))
        if summed and object_ is not None and offset is not None:
            offset -= object_
        values = [
            " = ".join(filter(None, (what, name, "" if value is None else f"{value:#x}")))
            for what, name, value in (
                ("object", base, object_),
                ("s->offset", "" if summed else index, offset),
                ("s", source.base, cache),
            )
        ]
        size = next(
            (
                register(case.report, step.target)
                for step in loads
                if _same(step.base, source.base) and members.get(step.offset) in ("size", "object_size")
            ),
            None,
        )
        return Load(f"*(void **)(object + s->offset) with {', '.join(values)}", object_, _decodes(code.steps), size)
    return None


def _terms(trap: Step, before: list[Step]) -> list[tuple[str, str, bool]]:
    """Object and offset, by the registers that the trapping load adds: in its address, or with an ``add`` before it,
    which leaves the sum in the offset's register (then the third is true).
    """
    if trap.index:
        return [(trap.base, trap.index, False), (trap.index, trap.base, False)]
    for step in reversed(before):
        found = re.fullmatch(r"add (\w+), (?:(\w+), )?(\w+)", step.text)
        if found and _same(found[1], trap.base):
            return [(found[3], trap.base, True)]
    return []


def _same(one: str, other: str) -> bool:
    """Whether two names are one register: ``eax`` is ``rax``, ``w3`` is ``x3``, ``r8d`` is ``r8``."""
    return _whole(one) == _whole(other)


def _whole(name: str) -> str:
    if name[:1] == "w" and name[1:].isdigit():
        return "x" + name[1:]
    if name[:1] == "r" and name[-1:] == "d":
        return name[:-1]
    return "r" + name[1:] if name[:1] == "e" else name


def _decodes(steps: list[Step]) -> bool:
    """Whether code swaps bytes and xors, as the decoding of a free pointer does."""
    names = {step.mnemonic for step in steps}
    return bool(names & {"bswap", "rev"} and names & {"xor", "eor"})


class Stored(NamedTuple):
    """What a hardened free pointer was stored as."""

    value: int
    random: str
    """The register that holds ``s->random``."""
    slot: int
    """Where it was stored."""


def stored_word(case: Case) -> Stored | None:
    """The word that was written over a hardened free pointer, when the registers still hold what decodes it:
    ``s->random`` and the address of the free object. Every pair of registers is tried; one is believed when it
    decodes to a small number or to poison, which a wrong pair does once in 2^40 logs.
    """
    bad = _bad_pointer(case)
    if bad is None or case.report.bits == 32 or case.report.version < (4, 14):
        return None
    registers = {name: value for name, value in case.report.regs.items() if name not in ("cr2", "eflags", "pc")}
    kernel = [value for value in registers.values() if value >> 48 == 0xFFFF]
    offsets = sorted({0, *(value for value in registers.values() if 0 < value < 4096 and value % 8 == 0)})
    for name, random in registers.items():
        if random < 1 << 48 or random >> 48 == 0xFFFF:
            continue
        for slot in (value + offset for value in kernel for offset in offsets):
            word = bad ^ random ^ int.from_bytes((slot & (1 << 64) - 1).to_bytes(8, "little"), "big")
            if word < 1 << 16 or poison(word, 64):
                return Stored(word, name, slot)
    return None


def _bad_pointer(case: Case) -> int | None:
    """The object that the free list led to, without the offset at which its own free pointer was looked for."""
    if not case.fault or not case.in_allocator:
        return None
    if case.trap is not None and case.trap.memory and case.base:
        return case.base[1]
    return case.real_address


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
