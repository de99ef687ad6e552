"""Rules 9, 10, 16: faults inside the slab allocator: who is the victim, and what its free list holds."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, FREERS, LIKELY, POSSIBLE, REPEAT, WEAK, Case, Finding, rule
from kmem.oops.rules.freelist import cache_of, cpu_interrupts, load_of, stored_word


@rule(9, "fault at the free-pointer load")
def freelist(case: Case) -> Finding | None:
    """SLUB keeps the address of the next free object inside each free object. kmalloc() loads it when it hands one
    out; when that word was overwritten while the object was free, the *next* allocation follows a bad pointer
    and faults. So the caller is a victim: the damage was done before the previous allocation from this cache
    on this CPU, by a write after free, or by an overrun of the object in front. A double free alone leaves
    valid pointers.
    """
    if not case.fault or not case.in_allocator or case.report.access in ("write", "fetch"):
        return None
    if case.real_address is None:
        return Finding(
            9,
            "freelist_corruption",
            POSSIBLE,
            f"{case.function} followed a bad free pointer, or was given a bad cache: the log does not say the address",
            case.fault_lines,
            ("null_pointer", "use_after_free"),
            _blameless(case),
            (REPEAT,),
        )
    trap = case.trap
    if trap is not None and trap.memory and not trap.index and case.base is not None and case.base[1] < 4096:
        return Finding(
            9,
            "wild_pointer",
            LIKELY,
            f"{case.function} was given {case.base[1]:#x} as the cache: the fault is at a field of struct "
            f"kmem_cache (offset {trap.offset:#x}), not at a free pointer",
            case.fault_lines,
            ("type_confusion", "null_pointer"),
            next=(
                "print the kmem_cache pointer before the call: it was overwritten, or belongs to another type of "
                "object",
            ),
        )
    cache = cache_of(case)
    name = cache.name if cache else "the cache"
    sure = CERTAIN if trap is not None and trap.index and cache else LIKELY
    load = load_of(case)
    bad = case.base[1] if trap is not None and trap.memory and case.base else case.real_address
    bad = load.object if load is not None and load.object is not None else bad
    at_word = "The first word" if cache and cache.offset == 0 else "The free pointer"
    known = trap is not None and trap.memory and not (load is not None and load.hardened)
    value = "" if case.meaning(bad).kind == "noncanonical" else f" with {bad:#x}" if known else f" (it led to {bad:#x})"
    verdict = (
        f"{at_word} of a free object of {name} was overwritten{value} before the previous allocation from {name} "
        f"on this CPU: "
        "by a write to freed memory, or by an overrun from the object in front of it (a double free alone leaves "
        "valid pointers)"
    )
    steps = [
        f"slub_debug=FZPU,{cache.name} on the command line (all caches: slub_debug=FZPU); it reports who wrote it"
        if cache
        else "slub_debug=FZPU on the command line: it checks each object when it is freed and allocated, and "
        "names its users",
        "CONFIG_KASAN=y catches the write itself",
        _review(case),
    ]
    return Finding(
        9,
        "freelist_corruption",
        sure,
        verdict,
        case.fault_lines,
        ("use_after_free", "out_of_bounds"),
        _blameless(case),
        tuple(steps),
    )


def _review(case: Case) -> str:
    modules = list(dict.fromkeys(frame.module for frame in case.report.frames if frame.module))
    who = (
        f"the modules in the trace ({', '.join(modules[:4])})"
        if modules
        else "the code that allocates objects of this size"
    )
    return f"review {who}: is an object freed, or its request retired, while a device, a timer or a list still uses it?"


def _blameless(case: Case) -> str:
    off = cpu_interrupts(case)
    text = (
        f"{case.function} and its callers here are the victim: another allocation function would meet the same damage "
        "(kzalloc, kcalloc and kmalloc share the caches)"
    )
    if off or case.report.value("irqs-off", "state") == "off":
        text += (
            "; vmalloc() may sleep and is forbidden with interrupts off, as is GFP_KERNEL: GFP_ATOMIC is right there"
        )
    return text


@rule(10, "hardened free pointer")
def hardened(case: Case) -> Finding | None:
    """With CONFIG_SLAB_FREELIST_HARDENED a free pointer is stored as pointer ^ s->random ^ swab(its address). A
    plain overwrite then decodes to a random-looking, mostly non-canonical address: so such a fault in an
    allocation function is an overwrite, not a stale pointer.
    """
    address = case.address
    if (
        not case.fault
        or not case.in_allocator
        or address is None
        or case.report.bits == 32
        or case.report.version < (4, 14)
    ):
        return None
    stored = stored_word(case)
    if stored is not None:
        return Finding(
            10,
            "freelist_corruption",
            CERTAIN,
            f"the free pointer at {stored.slot:#x} was overwritten with {stored.value:#x}: that is what "
            f"{address:#x} was before it was decoded with s->random ({stored.random}) and its own address",
            case.fault_lines,
            ("use_after_free", "out_of_bounds"),
            _blameless(case),
            (REPEAT, _review(case)),
        )
    if case.meaning(address).kind not in ("noncanonical", "bit-flip"):
        return None
    return Finding(
        10,
        "freelist_corruption",
        LIKELY,
        f"{address:#x} is what a hardened free pointer decodes to after a plain overwrite: "
        "the stored word was pointer ^ s->random ^ swab(address)",
        case.fault_lines,
        ("use_after_free", "out_of_bounds"),
        _blameless(case),
        (REPEAT,),
    )


@rule(16, "fault in a free function")
def bad_free(case: Case) -> Finding | None:
    """kfree() takes only what kmalloc() returned. Given a static object, a stack or vmalloc address, or a pointer
    into the middle, it looks up a page that is not a slab's and faults or reports.
    """
    report = case.report
    wrong = report.fact("wrong-cache")
    if wrong:
        return Finding(
            16,
            "bad_free",
            CERTAIN,
            f"an object of {wrong.values['cache'].rstrip('.')} was freed to {wrong.values['want']}: the wrong pointer, "
            "or the wrong cache",
            case.lines("wrong-cache", "warn-at"),
            ("use_after_free", "type_confusion"),
            "kmem_cache_free() only compared the two",
            ("look for the kmem_cache_free() of this type: is its pointer stale, or of another type?", REPEAT),
        )
    place = report.fact("warn-at")
    where = place.values.get("where", "").split("+")[0] if place else ""
    in_slab = place is not None and place.values["file"].rpartition("/")[2] in ("slub.c", "slab.c", "slab_common.c")
    if report.fact("no-slab") or (in_slab and (case.in_free or FREERS.match(where) or "free" in case.function)):
        return Finding(
            16,
            "bad_free",
            LIKELY,
            "a pointer was freed that does not point to a slab object",
            case.lines("no-slab", "warn-at"),
            ("double_free", "freelist_corruption"),
            "the free function only looked at the page",
            (REPEAT, "print the pointer before the call: is it in the module's data, or on the stack?"),
        )
    if case.fault and case.in_free and report.kind != "oops":
        return Finding(
            16,
            "bad_free",
            POSSIBLE if report.access else WEAK,
            f"{case.caller} gave {case.function} a pointer that no allocation returned (static, stack, "
            "module or vmalloc memory), or one that was freed before",
            case.fault_lines,
            ("double_free", "freelist_corruption"),
            f"{case.function} only tripped over the pointer",
            (REPEAT, "print the pointer before the call: is it in the module's data?"),
        )
    return None


@rule(9, "write past memory in a zeroing allocation")
def zeroing(case: Case) -> Finding | None:
    """A write fault inside an allocation function is its memset() for __GFP_ZERO, not a free pointer: the object's
    size or address that the cache gave is wrong.
    """
    if case.fault and case.in_allocator and case.report.access == "write":
        return Finding(
            9,
            "freelist_corruption",
            WEAK,
            f"{case.function} faulted while it cleared the object: the address or the size that the cache "
            "gave is wrong",
            case.fault_lines,
            ("use_after_free", "memory_corruption"),
            next=(REPEAT,),
        )
    return None
