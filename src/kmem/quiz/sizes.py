"""Questions about sizes: which cache, how much is wasted, how many pages."""

from __future__ import annotations

from random import Random

from kmem.abi.gfp import GFP_KERNEL
from kmem.quiz.question import Question
from kmem.quiz.room import Room

PAGE = 4096


def cache(room: Room, random: Random) -> Question:
    """Which cache serves a size."""
    k = room.kernel()
    size = random.choice([*range(9, 200), *range(200, 8193, 37)])
    p = k.kmalloc(size, GFP_KERNEL)
    name = k.mm.view.cache_name(k.mm.view.ptr(k.site.kmem_cache, k.mm.slab_of(p)))
    return Question(
        "cache",
        f"Which cache serves kmalloc({size}, GFP_KERNEL)? (its name in /proc/slabinfo)",
        name,
        f"The smallest class that holds {size} bytes has objects of {k.ksize(p)}. Classes are powers of two, "
        "and 96 and 192.",
        f"kmem compare --size {size}",
    )


def waste(room: Room, random: Random) -> Question:
    """What rounding up costs an array."""
    k = room.kernel()
    n, size = random.randint(2, 30), random.choice((12, 20, 24, 40, 56, 72, 100))
    p = k.kcalloc(n, size, GFP_KERNEL)
    given = k.ksize(p)
    return Question(
        "waste",
        f"How many bytes does kcalloc({n}, {size}, GFP_KERNEL) take beyond those that it was asked for?",
        str(given - n * size),
        f"{n} times {size} is {n * size}; the object that it gets has {given} bytes.",
        f"kmem compare --size {n * size}",
    )


def order(room: Room, random: Random) -> Question:
    """What the buddy allocator makes of a number of pages."""
    k = room.kernel()
    pages = random.choice([n for n in range(3, 900) if n & (n - 1)][:: random.randint(1, 9)])
    got = k.ksize(k.kmalloc(pages * PAGE, GFP_KERNEL)) // PAGE
    found = got.bit_length() - 1
    return Question(
        "order",
        f"kmalloc of {pages} pages ({pages * PAGE} bytes) gets a block of the buddy allocator. Of which order?",
        str(found),
        f"Blocks have 2^order pages: order {found} has {got}, so {got - pages} of them are wasted. "
        "alloc_pages_exact() would give them back.",
        f"kmem compare --size {pages * PAGE}",
    )


def objects(room: Room, random: Random) -> Question:
    """The geometry of a slab."""
    config = random.choice(("debian", "debug"))
    k = room.kernel(config)
    size = random.choice(("64", "96", "128", "192", "256", "512", "1k", "2k", "4k", "8k"))
    name = f"kmalloc-{size}"
    count = k.sysfs(name, "objs_per_slab").strip()
    pages = 1 << int(k.sysfs(name, "order"))
    each = k.sysfs(name, "slab_size").strip()
    options = "" if config == "debian" else "slub_debug=FZPU: "
    return Question(
        "objects",
        f"{options}How many objects are in one slab of {name}, which has {pages} page{'s' if pages > 1 else ''}?",
        count,
        f"An object takes {each} bytes{' with its red zones and tracks' if config == 'debug' else ''}, and "
        f"{pages} times 4096 holds {count} of them.",
        f"kmem boot --config {config} --proc slabinfo",
    )


def address_space(room: Room, random: Random) -> Question:
    """The guard page of a vmalloc area."""
    k = room.kernel()
    size = random.randint(1, 40) * 1000
    before = set(k.proc("vmallocinfo").splitlines())
    k.vmalloc(size)
    (line,) = [each for each in k.proc("vmallocinfo").splitlines() if each not in before and "pages=" in each]
    taken = int(line.split()[1])
    pages = int(line.split("pages=")[1].split()[0])
    return Question(
        "address-space",
        f"How many bytes of address space does /proc/vmallocinfo show for vmalloc({size})?",
        str(taken),
        f"{size} bytes are {pages} page{'s' if pages > 1 else ''}, {pages * PAGE} bytes; the rest is a guard "
        "page, which is not mapped, so that an overrun faults.",
        "kmem run examples/vmalloc_driver --proc vmallocinfo",
    )
