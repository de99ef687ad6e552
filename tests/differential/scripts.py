"""Makes allocation scripts for tests/kmod/script: the same number gives the same script, on any machine.

A script is a list of operations, a letter and hexadecimal numbers each; the module's source says what they mean. The
sizes lie around the edges of the size classes, the flags are those of drivers, and nothing depends on how full the
machine is: a script holds at most LIVE bytes at a time, and LIVE_DMA in the first 16 MiB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from kmem.abi import gfp
from kmem.abi.slab_flags import SlabFlags, slab_flags

LIVE, LIVE_DMA = 24 << 20, 2 << 20
SLOTS, CACHES, ROW = 32, 4, 640
"""As in script.c."""
LONGEST = 900
"""Characters: a module parameter has at most 1,024."""
PAGE = 4096

PLAIN = (gfp.GFP_KERNEL, gfp.GFP_KERNEL, gfp.GFP_ATOMIC, gfp.GFP_NOWAIT, gfp.GFP_NOIO, gfp.GFP_NOFS, gfp.GFP_USER)
MODIFIERS = (gfp.__GFP_ZERO, gfp.__GFP_NOWARN, gfp.__GFP_NORETRY, gfp.__GFP_ACCOUNT, gfp.__GFP_NOMEMALLOC)
KMALLOC_ZONES = (gfp.__GFP_RECLAIMABLE, gfp.__GFP_DMA, gfp.__GFP_DMA32)
PAGE_MODIFIERS = (*MODIFIERS, gfp.__GFP_COMP, gfp.__GFP_MOVABLE, gfp.__GFP_RECLAIMABLE)
PAGE_ZONES = (gfp.__GFP_DMA, gfp.__GFP_DMA32, gfp.__GFP_HIGHMEM)

CLASSES = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192, *(PAGE << n for n in range(2, 11)))
MAX_KMALLOC = 4 << 20


def cache_flags(f: SlabFlags) -> tuple[int, ...]:
    """What a cache is made with: one of these."""
    return (
        *(0, 0, 0, f.SLAB_HWCACHE_ALIGN, f.SLAB_RECLAIM_ACCOUNT, f.SLAB_ACCOUNT),
        *(f.SLAB_TYPESAFE_BY_RCU, f.SLAB_CACHE_DMA, f.SLAB_CACHE_DMA32),
        *(f.SLAB_MEM_SPREAD, f.SLAB_HWCACHE_ALIGN | f.SLAB_RECLAIM_ACCOUNT),
        *(f.SLAB_RED_ZONE, f.SLAB_POISON, f.SLAB_STORE_USER),
        f.SLAB_CONSISTENCY_CHECKS | f.SLAB_RED_ZONE | f.SLAB_POISON,
    )


def never_merged(f: SlabFlags) -> int:
    """SLAB_NEVER_MERGE of mm/slab_common.c, as far as it occurs here."""
    return f.SLAB_RED_ZONE | f.SLAB_POISON | f.SLAB_STORE_USER | f.SLAB_TYPESAFE_BY_RCU


NOT_PERMITTED = 1 << 31
"""A bit that is no SLAB flag: kmem_cache_create() refuses."""


@dataclass
class Cache:
    """A cache that the script has made."""

    size: int
    row: int = 0


@dataclass
class Script:
    """The script with number *id* for *release*, and while it is made, what its operations have left alive."""

    id: int
    release: str = "6.1"
    operations: list[str] = field(default_factory=list)
    own: set[int] = field(default_factory=set)
    """The caches that no other cache is merged with."""
    slots: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    """What lies in a slot: letter, bytes, cache."""
    caches: dict[int, Cache] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The operations as the module takes them."""
        return ",".join(self.operations)

    @property
    def parameters(self) -> str:
        """What insmod is given."""
        return f"id={self.id} s={self.text}"

    def add(self, letter: str, *numbers: int) -> None:
        """Append an operation."""
        self.operations.append(letter + ".".join(f"{number:x}" for number in numbers))

    def live(self) -> int:
        """Bytes in slots."""
        return sum(size for _, size, _ in self.slots.values())


def near(random: Random, classes: tuple[int, ...] = CLASSES, limit: int = MAX_KMALLOC) -> int:
    """A size at the edge of a class, just beside it, or anywhere below."""
    edge = random.choice([size for size in classes if size <= limit])
    return max(0, random.choice((edge, edge, edge - 1, edge + 1, edge // 2 + 1, random.randint(1, edge))))


def flags(random: Random, modifiers: tuple[int, ...], zones: tuple[int, ...]) -> int:
    """GFP flags: a plain word, often a modifier or two, sometimes a zone."""
    mask = random.choice(PLAIN)
    for modifier in random.sample(modifiers, random.choice((0, 0, 1, 1, 2))):
        mask |= modifier
    return mask | (random.choice(zones) if zones and random.random() < 0.25 else 0)


def free_slot(script: Script) -> int:
    """The first empty slot; the script never fills them all."""
    return min(set(range(SLOTS)) - set(script.slots))


def dma_left(script: Script, random: Random) -> bool:
    """Whether an allocation may still be made in the first 16 MiB: now and then, and one at a time."""
    return random.random() < 0.5 and not any(letter == "D" for letter, _, _ in script.slots.values())


def kmalloc(script: Script, random: Random) -> None:
    letter = random.choice("kkz")
    size = random.choice((0, MAX_KMALLOC + 1, 8 << 20)) if random.random() < 0.06 else near(random)
    mask = flags(random, MODIFIERS, KMALLOC_ZONES)
    if mask & gfp.__GFP_DMA and size > LIVE_DMA:
        mask &= ~gfp.__GFP_DMA
    if size > 2 * PAGE and mask & gfp.__GFP_DMA and not dma_left(script, random):
        mask &= ~gfp.__GFP_DMA
    slot = free_slot(script)
    script.add(letter, slot, size, mask)
    script.slots[slot] = ("D" if mask & gfp.__GFP_DMA and size > 2 * PAGE else "k", min(size, MAX_KMALLOC), 0)


def kmalloc_array(script: Script, random: Random) -> None:
    slot = free_slot(script)
    n, size = random.choice(((1 << 63, 2), (0, 8), (3, 0), (random.randint(1, 100), near(random, CLASSES[:9]))))
    script.add("m", slot, n, size, flags(random, MODIFIERS, ()))
    script.slots[slot] = ("k", n * size if n < 1 << 32 else 0, 0)


def krealloc(script: Script, random: Random) -> None:
    slots = [slot for slot, (letter, size, _) in script.slots.items() if letter == "k" and 0 < size <= MAX_KMALLOC]
    slot = random.choice(slots) if slots else free_slot(script)
    size = random.choice((near(random, CLASSES[:14]), near(random, CLASSES[:14]), 0))
    script.add("r", slot, size, random.choice(PLAIN))
    script.slots[slot] = ("k", size, 0)


def kvmalloc(script: Script, random: Random) -> None:
    slot, size = free_slot(script), near(random, (*CLASSES, 6 << 20), 6 << 20)
    mask = random.choice((gfp.GFP_KERNEL, gfp.GFP_KERNEL, gfp.GFP_USER, gfp.GFP_ATOMIC, gfp.GFP_NOWAIT))
    script.add("q", slot, size, mask | random.choice((0, gfp.__GFP_ZERO, gfp.__GFP_NOWARN, gfp.__GFP_ACCOUNT)))
    script.slots[slot] = ("q", size, 0)


def vmalloc(script: Script, random: Random) -> None:
    slot = free_slot(script)
    size = random.choice((0, 1, PAGE, PAGE + 1, 1 << 30, 2 << 20, (2 << 20) + 1, random.randint(1, 3 << 20)))
    if random.random() < 0.4:
        script.add("w", slot, size)
    else:
        mask = random.choice(
            (gfp.GFP_KERNEL, gfp.GFP_USER, gfp.GFP_NOIO, gfp.GFP_NOFS, gfp.GFP_KERNEL | gfp.__GFP_DMA32)
        )
        script.add("v", slot, size, mask | random.choice((0, gfp.__GFP_ZERO, gfp.__GFP_NOWARN, gfp.__GFP_ACCOUNT)))
    script.slots[slot] = ("v", 0 if size == 1 << 30 else size, 0)


def pages(script: Script, random: Random) -> None:
    slot, order = free_slot(script), random.choice((0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11))
    mask = flags(random, PAGE_MODIFIERS, PAGE_ZONES)
    if mask & gfp.__GFP_DMA and (PAGE << order > LIVE_DMA or not dma_left(script, random)):
        mask &= ~gfp.__GFP_DMA
    if mask & gfp.__GFP_MOVABLE:
        mask &= ~gfp.__GFP_RECLAIMABLE
    letter = "p" if mask & gfp.__GFP_HIGHMEM else random.choice("pg")
    script.add(letter, slot, order, mask)
    script.slots[slot] = ("D" if mask & gfp.__GFP_DMA else "p", PAGE << order if order < 11 else 0, 0)


def percpu(script: Script, random: Random) -> None:
    slot = free_slot(script)
    size = random.choice((1, 4, 8, 24, 64, 200, 1024, PAGE, 32768, 32769, random.randint(1, PAGE)))
    script.add("e", slot, size, random.choice((1, 4, 8, 8, 16, 64, 256, PAGE, 2 * PAGE)))
    script.slots[slot] = ("e", 0, 0)


def reuse(script: Script, random: Random) -> None:
    script.add("u", random.choice((0, 8, 24, 64, 96, 192, 200, 1000, 4096, 8192)))


def release(script: Script, random: Random) -> None:
    if script.slots:
        slot = random.choice(sorted(script.slots))
        script.add("f", slot)
        del script.slots[slot]


def cache_create(script: Script, random: Random) -> None:
    unused = [
        n for n in range(CACHES) if n not in script.caches and not any(f"c{n:x}." in o for o in script.operations)
    ]
    if not unused:
        return
    n = unused[0]
    edges = (
        8,
        16,
        24,
        32,
        40,
        48,
        56,
        64,
        80,
        96,
        120,
        128,
        192,
        256,
        320,
        512,
        700,
        1024,
        1500,
        2048,
        3000,
        4096,
        8192,
    )
    size = near(random, (*edges, 16384, 32768)) or 8
    align = random.choice((0, 0, 0, 4, 8, 16, 32, 64, 128, 256, 512))
    f = slab_flags(script.release)
    mask = random.choice(cache_flags(f)) | (NOT_PERMITTED if random.random() < 0.03 else 0)
    ctor = int(random.random() < 0.3)
    script.add("c", n, size, align, mask, ctor)
    if not mask & NOT_PERMITTED:
        script.caches[n] = Cache(size)
        if ctor or mask & never_merged(f):
            script.own.add(n)


def a_cache(script: Script, random: Random) -> int:
    """A cache of the script's; -1 if it has none."""
    return random.choice(sorted(script.caches) or [-1])


def cache_gfp(script: Script, random: Random, n: int) -> int:
    """Flags for an allocation from a cache; an object with a constructor is not to be zeroed."""
    built = any(o.startswith(f"c{n:x}.") and o.endswith(".1") for o in script.operations)
    zero = 0 if built else random.choice((0, 0, gfp.__GFP_ZERO))
    return random.choice(PLAIN) | zero | random.choice((0, 0, gfp.__GFP_NOWARN, gfp.__GFP_ACCOUNT))


def cache_alloc(script: Script, random: Random) -> None:
    n = a_cache(script, random)
    if n >= 0:
        slot = free_slot(script)
        script.add("a", slot, n, cache_gfp(script, random, n))
        script.slots[slot] = ("a", script.caches[n].size, n)


def cache_row(script: Script, random: Random) -> None:
    n = a_cache(script, random)
    if n < 0:
        return
    cache = script.caches[n]
    count = min(random.choice((1, 7, 16, 30, 33, 64, 100, 200, 300)), ROW - cache.row, (4 << 20) // cache.size)
    if count > 0:
        script.add(random.choice("bbl"), n, count, cache_gfp(script, random, n))
        cache.row += count


def cache_thin(script: Script, random: Random) -> None:
    n = a_cache(script, random)
    if n >= 0 and script.caches[n].row:
        step = random.choice((1, 1, 2, 3, 7, 16))
        script.add("d", n, step)
        script.caches[n].row -= -(-script.caches[n].row // step)


def cache_shrink(script: Script, random: Random) -> None:
    n = a_cache(script, random)
    if n >= 0:
        script.add(random.choice("hi"), n)


def cache_destroy(script: Script, random: Random) -> None:
    n = a_cache(script, random)
    if n >= 0:
        script.add("x", n)
        del script.caches[n]
        script.slots = {slot: held for slot, held in script.slots.items() if held[0] != "a" or held[2] != n}


Operation = Callable[[Script, Random], None]
EVERYTHING: dict[Operation, int] = {
    kmalloc: 8,
    kmalloc_array: 1,
    krealloc: 4,
    kvmalloc: 3,
    vmalloc: 2,
    pages: 4,
    percpu: 2,
    reuse: 1,
    release: 7,
    cache_create: 3,
    cache_alloc: 4,
    cache_row: 3,
    cache_thin: 2,
    cache_shrink: 1,
}
SLAB: dict[Operation, int] = {
    cache_create: 4,
    cache_alloc: 8,
    cache_row: 8,
    cache_thin: 5,
    cache_shrink: 3,
    cache_destroy: 1,
    release: 3,
}
KMALLOC: dict[Operation, int] = {kmalloc: 10, kmalloc_array: 1, krealloc: 6, reuse: 1, release: 5}
PAGES: dict[Operation, int] = {pages: 8, vmalloc: 4, kvmalloc: 4, percpu: 3, release: 6}
THEMES = (EVERYTHING, SLAB, KMALLOC, PAGES)


def script(number: int, operations: int = 34, of: str = "6.1") -> Script:
    """Script *number* for release *of*; its theme goes by the number."""
    random = Random(number)
    theme = THEMES[number % len(THEMES)]
    kinds, weights = list(theme), list(theme.values())
    made = Script(number, of)
    if cache_create in theme:
        cache_create(made, random)
    for _ in range(3 * operations):
        if len(made.operations) >= operations:
            break
        full = len(made.slots) > SLOTS - 4 or made.live() > LIVE
        (release if full else random.choices(kinds, weights)[0])(made, random)
    while len(made.text) > LONGEST:
        made.operations.pop()
    return made
