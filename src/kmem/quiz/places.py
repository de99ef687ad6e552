"""Questions about addresses: where memory is, what is in it, which object comes next."""

from __future__ import annotations

import itertools
from random import Random

from kmem.abi.gfp import GFP_KERNEL
from kmem.compare import CALLS
from kmem.quiz.question import Question
from kmem.quiz.room import Room

PAGE = 4096
YES_NO = ("yes", "no")
CONTENT = ("zeros", "what was there before")
_SIZES = {"64 KiB": 64 << 10, "256 KiB": 256 << 10, "1 MiB": 1 << 20, "one page": PAGE}


def contiguous(room: Room, random: Random) -> Question:
    """Whether a buffer is one piece of physical memory."""
    call, (words, size) = (
        random.choice(("kmalloc", "vmalloc", "vzalloc", "kvmalloc")),
        random.choice(list(_SIZES.items())),
    )
    k = room.kernel()
    p = CALLS[call](k, size)
    frames = [k.phys_of(p + at) // PAGE for at in range(0, size, PAGE)]
    runs = 1 + sum(b != a + 1 for a, b in itertools.pairwise(frames))
    return Question(
        "contiguous",
        f"A driver gets {words} by {call}() on a machine that has been used for a while. Is the buffer "
        "physically contiguous there?",
        "yes" if runs == 1 else "no",
        f"It has {len(frames)} page{'s' if len(frames) > 1 else ''} in {runs} run{'s' if runs > 1 else ''}, "
        f"at {p:#x}, in the region "
        f"{k.site.region(p)!r}. Only what lies in the direct map is contiguous by nature; of vmalloc's pages "
        "each comes from anywhere.",
        f"kmem compare --size {size}",
        YES_NO,
    )


def content(room: Room, random: Random) -> Question:
    """What is in memory that nobody has written yet."""
    config, call = (
        random.choice(("plain", "debian")),
        random.choice(("kmalloc", "kzalloc", "kcalloc", "vmalloc", "vzalloc")),
    )
    size = random.choice((64, 1000, 9000))
    k = room.kernel(config)
    stale = any(k.read(CALLS[call](k, size), size))
    kernel = "a kernel without hardening" if config == "plain" else "Debian's kernel"
    return Question(
        "content",
        f"On {kernel}, {call}() gives {size} bytes that were freed shortly before. What do they contain?",
        CONTENT[stale],
        "Asked for by __GFP_ZERO (kzalloc, kcalloc, vzalloc) it is always zeros; unasked only with "
        "init_on_alloc, which Debian's kernel has on. "
        f"Here: {CONTENT[stale]}.",
        f"kmem compare --size {size} --config {config}",
        CONTENT,
    )


def reuse(room: Room, random: Random) -> Question:
    """Last in, first out, and only within a size class."""
    k = room.kernel()
    size = random.choice((24, 60, 100, 200, 500))
    first, second = (k.kmalloc(size, GFP_KERNEL) for _ in range(2))
    order = [("a", first), ("b", second)]
    random.shuffle(order)
    for _, p in order:
        k.kfree(p)
    other = random.choice((size, size - 3, size * 2 + 9))
    again = k.kmalloc(other, GFP_KERNEL)
    where = {first: "that of a", second: "that of b"}.get(again, "neither")
    freed = " ".join(f"kfree({name});" for name, _ in order)
    return Question(
        "reuse",
        f"a = kmalloc({size}); b = kmalloc({size}); {freed} c = kmalloc({other}); which address does c have?",
        where,
        f"The CPU's free list of a cache is last in, first out; {order[-1][0]} was freed last. "
        f"kmalloc({other}) takes from the class of {k.ksize(again)} bytes.",
        "kmem run examples/freelist_corruption --config plain",
        ("that of a", "that of b", "neither"),
    )


def region(room: Room, random: Random) -> Question:
    """Regions by their addresses."""
    k = room.kernel()
    call = random.choice(("kmalloc", "vmalloc"))
    p = random.choice((CALLS[call](k, 4000), k.address_of("kmalloc_caches")))
    regions = ("direct map", "vmalloc", "modules", "kernel")
    return Question(
        "region",
        f"In which region of the kernel's address space does {p:#x} lie (no KASLR)?",
        k.site.region(p),
        "Direct map: ffff8880…, physical memory at a fixed distance. vmalloc: ffffc900…. vmemmap: ffffea00…, "
        "the struct pages. The kernel's own image: ffffffff8….",
        "kmem compare",
        regions,
    )


def physical(room: Room, random: Random) -> Question:
    """The direct map is a constant distance."""
    k = room.kernel()
    p = k.kmalloc(random.choice((32, 500, 3000)), GFP_KERNEL) + random.randrange(16)
    phys = k.virt_to_phys(p)
    return Question(
        "physical",
        f"{p:#x} is an address of the direct map, which begins at {p - phys:#x}. Which physical address is that?",
        f"{phys:#x}",
        "virt_to_phys() is a subtraction. That is why it must not be given an address of vmalloc.",
        "kmem compare --size 1K",
    )
