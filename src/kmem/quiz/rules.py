"""Questions about rules: who may sleep, what odd sizes give, what a wrong free does."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from kmem.abi.gfp import GFP_KERNEL
from kmem.compare import CALLS, CONTEXTS, FREES
from kmem.kernel import Kernel
from kmem.quiz.question import Question
from kmem.quiz.room import CRASH, FREED, REPORT, SILENT, Room

YES_NO = ("yes", "no")
_WHERE = {
    "process": "in a system call",
    "softirq": "in a softirq (a timer, a tasklet)",
    "hardirq": "in an interrupt handler",
    "spinlock": "while a spinlock is held",
}
_WRITTEN = {
    "kmalloc": "kmalloc(…, GFP_KERNEL)",
    "kmalloc(GFP_ATOMIC)": "kmalloc(…, GFP_ATOMIC)",
    "kzalloc": "kzalloc(…, GFP_KERNEL)",
    "vmalloc": "vmalloc()",
    "kvmalloc": "kvmalloc(…, GFP_KERNEL)",
}


def context(room: Room, random: Random) -> Question:
    """Which call may be made where."""
    call, where = random.choice(list(_WRITTEN)), random.choice(list(_WHERE))
    size = random.choice((100, 1000, 64 << 10))
    _, allowed = room.lab().attempt(call, size, CONTEXTS[where])
    refused = allowed.removeprefix("no: ")
    said = "The kernel has nothing against it" if allowed == "yes" else f"What comes of it: {refused}"
    return Question(
        "context",
        f"May {_WRITTEN[call]} be called {_WHERE[where]}?",
        "yes" if allowed == "yes" else "no",
        f"{said}. GFP_KERNEL may wait for memory, and vmalloc always may; in atomic context nothing may wait. "
        "GFP_ATOMIC never does.",
        f"kmem compare --size {size} --context {where}",
        YES_NO,
    )


_ODD: dict[str, Callable[[Kernel], int]] = {
    "kmalloc(0, GFP_KERNEL)": lambda k: k.kmalloc(0, GFP_KERNEL),
    "kcalloc(0, 8, GFP_KERNEL)": lambda k: k.kcalloc(0, 8, GFP_KERNEL),
    "kcalloc(SIZE_MAX / 4, 8, GFP_KERNEL)": lambda k: k.kcalloc(((1 << 64) - 1) // 4, 8, GFP_KERNEL),
    "kmalloc(4 MiB, GFP_KERNEL)": lambda k: k.kmalloc(4 << 20, GFP_KERNEL),
    "kmalloc(4 MiB + 1, GFP_KERNEL)": lambda k: k.kmalloc((4 << 20) + 1, GFP_KERNEL),
    "kvmalloc(4 MiB + 1, GFP_KERNEL)": lambda k: k.kvmalloc((4 << 20) + 1, GFP_KERNEL),
    "vmalloc(0)": lambda k: k.vmalloc(0),
    "vmalloc(1 TiB)": lambda k: k.vmalloc(1 << 40),
    "krealloc(p, 0, GFP_KERNEL)": lambda k: k.krealloc(k.kmalloc(64, GFP_KERNEL), 0, GFP_KERNEL),
}
_GIVES = ("NULL", "an address that is not NULL and must not be used", "memory")


def odd(room: Room, random: Random) -> Question:
    """What comes of sizes at the edge."""
    call = random.choice(list(_ODD))
    lab = room.lab()
    got = _ODD[call](lab.k)
    gives = _GIVES[0 if got == 0 else 1 if got < 4096 else 2]
    warned = f" The kernel also says: {lab.trouble[0].partition(':')[0]}." if lab.trouble else ""
    return Question(
        "odd-size",
        f"What does {call} return, on a machine of 512 MiB?",
        gives,
        f"It returns {got:#x}.{warned} ZERO_SIZE_PTR, 0x10, is what nothing is: kfree() takes it, touching it "
        "faults. Products are "
        "checked for overflow. The page allocator's largest block is 4 MiB; vmalloc takes single pages, as "
        "many as there are.",
        "kmem compare --size 4M",
        _GIVES,
    )


def wrong_free(room: Room, random: Random) -> Question:
    """Memory that goes back by another door."""
    call = random.choice(("kmalloc", "vmalloc", "kvmalloc", "__get_free_pages"))
    free = random.choice(("kfree", "vfree", "kvfree"))
    size = random.choice((100, 5000)) if call != "__get_free_pages" else 8192
    lab = room.lab()
    p = CALLS[call](lab.k, size)
    came = room.outcome(lab, p, lambda: FREES[free](lab.k, p, size))
    return Question(
        "wrong-free",
        f"{free}() is given the address of {size} bytes that came from {call}(). What happens?",
        came,
        f"{p:#x} lies in the region {lab.k.site.region(p)!r}. kfree() looks for the struct page of its "
        "address, which exists for the direct map only; vfree() "
        "looks for a vmalloc area; kvfree() looks which of the two it is.",
        f"kmem compare --size {size}",
        (FREED, SILENT, REPORT, CRASH),
    )


def double_free(room: Room, random: Random) -> Question:
    """The same object freed twice."""
    config, between = random.choice(("plain", "debian", "debug")), random.choice((False, True))
    size = random.choice((32, 64, 200, 1000))
    lab = room.lab(config)
    a, b = (lab.k.kmalloc(size, GFP_KERNEL) for _ in range(2))

    def act() -> None:
        lab.k.kfree(a)
        if between:
            lab.k.kfree(b)
        lab.k.kfree(a)

    came = room.outcome(lab, a, act).partition(",")[0]
    kernel = {
        "plain": "a kernel without hardening",
        "debian": "Debian's kernel",
        "debug": "a kernel with slub_debug=FZPU",
    }[config]
    calls = "kfree(a); kfree(b); kfree(a);" if between else "kfree(a); kfree(a);"
    return Question(
        "double-free",
        f"On {kernel}: a and b are objects of kmalloc({size}). {calls} What happens at the last?",
        came,
        "CONFIG_SLAB_FREELIST_HARDENED compares a freed object with the head of the free list only; "
        "slub_debug looks at the object's marks. "
        "Where nobody looks, the object is in the list twice, and two callers will get it.",
        f"kmem run examples/freelist_corruption --config {config}",
        (FREED.partition(",")[0], REPORT, CRASH),
    )
