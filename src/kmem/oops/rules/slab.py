"""Rules 5, 6, 9, 10, 14-17, 31: what the slab allocator, KASAN, KFENCE and kmemleak report, and free-list crashes."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, LIKELY, POSSIBLE, WEAK, Case, Finding, rule
from kmem.oops.rules.freelist import cache_of, cpu_interrupts

REPEAT = "boot with slub_debug=FZPU and repeat: the report then names who allocated and who freed the object"


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
    bad = case.base[1] if trap is not None and trap.memory and case.base else case.real_address
    at_word = "The first word" if cache and cache.offset == 0 else "The free pointer"
    known = trap is not None and trap.memory
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


@rule(14, "freed twice")
def slub_double_free(case: Case) -> Finding | None:
    """SLUB's BUG_ON(object == fp), "Object already free" and KASAN's double-free each say that an object was freed
    while it was free.
    """
    report = case.report
    what = report.value("slub", "what") + report.value("kasan", "what") + report.value("kfence", "what")
    at = report.value("bug-at", "file")
    words = report.headline.lower()
    if "already free" in what.lower() or "double-free" in what or "double free" in words or "object already" in words:
        sure = LIKELY if "or invalid" in what else CERTAIN
        return Finding(
            14,
            "double_free",
            sure,
            f"an object{_of(case)} was freed while it was free; the second free is in {case.caller}",
            case.lines("slub", "kasan", "slub-free", "slub-alloc"),
            ("bad_free",),
            next=(REPEAT, "CONFIG_KASAN=y names both frees"),
        )
    if "invalid-free" in what or "invalid free" in what or "nvalid pointer" in what:
        return Finding(
            16,
            "bad_free",
            LIKELY,
            f"{case.caller} freed a pointer that is not the start of a live object{_of(case)}",
            case.lines("kasan", "kfence", "invalid-free"),
            ("double_free",),
            next=(REPEAT,),
        )
    if at.endswith("mm/slub.c") and report.kind in ("bug", "slub"):
        return Finding(
            14,
            "double_free",
            LIKELY,
            f"SLUB found a free list that points to itself (BUG_ON at {at}:{report.value('bug-at', 'line')}): an "
            f"object "
            "was freed twice",
            case.lines("bug-at"),
            ("freelist_corruption", "bad_free"),
            f"{case.function or 'kfree'} is the messenger",
            (REPEAT,),
        )
    if report.kind == "trace" and report.frames and report.frames[0].name.startswith(("idr_remove", "ida_remove")):
        return Finding(
            14,
            "double_free",
            POSSIBLE,
            "idr_remove() was called for an id that is not allocated: the id was released twice",
            (report.frames[0].line,),
            ("warning",),
        )
    return None


def _of(case: Case) -> str:
    cache = (
        case.report.value("slub", "cache")
        or case.report.value("cache", "cache")
        or case.report.value("kfence-object", "cache")
    )
    return f" of {cache}" if cache else ""


@rule(5, "poison overwritten")
def poison_overwritten(case: Case) -> Finding | None:
    """Poison that changed while an object was free: somebody wrote to freed memory. One byte 0x6c or 0x6a is a
    counter that was incremented or decremented; zeros are a cleared field; packet or text bytes are a DMA or
    a copy into a freed buffer.
    """
    report = case.report
    what = report.value("slub", "what")
    if not (
        "Poison overwritten" in what or report.kind == "slab-corruption" or "Poison overwritten" in report.headline
    ):
        return None
    first = report.value("slub-first", "byte")
    span = _span(case)
    story = "it was written to after it was freed"
    if first in ("0x6c", "0x6a", "0x6d", "0x69") and span < 5:
        verb = "incremented" if first in ("0x6c", "0x6d") else "decremented"
        story = f"a counter in it was {verb} after it was freed (0x6b became {first})"
    elif span >= 64:
        story = (
            f"{span} bytes were written to it after it was freed: a DMA transfer or a copy into a buffer that was gone"
        )
    elif first == "0x0":
        story = "a field of it was cleared (or a device wrote to it) after it was freed"
    freed = report.value("slub-free", "where")
    return Finding(
        5,
        "use_after_free",
        CERTAIN,
        f"an object{_of(case)} changed while it was free: {story}",
        case.lines("slub", "slub-first", "slub-bytes", "slub-free"),
        ("out_of_bounds",),
        "the function in the trace only found the damage",
        (
            f"who still uses the object after {freed}?" if freed else REPEAT,
            "CONFIG_KASAN=y catches the write (not a device's DMA: use the IOMMU)",
        ),
    )


def _span(case: Case) -> int:
    fact = case.report.fact("slub-bytes")
    return (
        int(fact.values["to"], 16) - int(fact.values["from"], 16) + 1
        if fact and fact.values["to"] >= fact.values["from"]
        else 0
    )


@rule(15, "red zone overwritten")
def red_zone(case: Case) -> Finding | None:
    """The right red zone lies behind an object: the object named was overrun. The left one lies in front: the lower
    neighbour was. kmalloc's own red zone starts at the requested size inside the bucket.
    """
    what = case.report.value("slub", "what") or case.report.headline
    if case.report.kind != "slub":
        return None
    if "edzone" in what or "adding" in what:
        side = "in front of it: its lower neighbour was overrun" if "Left" in what else "behind it: it was overrun"
        return Finding(
            15,
            "out_of_bounds",
            CERTAIN,
            f"the red zone of an object{_of(case)} was overwritten {side}",
            case.lines("slub", "slub-first", "slub-bytes", "slub-alloc"),
            ("use_after_free",),
            "the function in the trace only found the damage",
            (REPEAT, "CONFIG_KASAN=y catches the write itself"),
        )
    if "reechain" in what or "reelist" in what or "free pointer" in what.lower():
        return Finding(
            9,
            "freelist_corruption",
            CERTAIN,
            f"the free list{_of(case)} is corrupt: a free object's pointer was overwritten",
            case.lines("slub"),
            ("use_after_free", "out_of_bounds"),
            next=(REPEAT,),
        )
    return None


@rule(17, "objects remaining, leaks")
def leak(case: Case) -> Finding | None:
    """kmem_cache_destroy() found live objects, or kmemleak found memory that nothing points to."""
    report = case.report
    if report.fact("remaining") and report.kind in ("slub", "slab-corruption", "bug", "warning"):
        return Finding(
            17,
            "leak",
            CERTAIN,
            f"objects{_of(case)} were still allocated when the cache was destroyed: they were never freed",
            case.lines("slub", "remaining"),
            next=("slub_debug=U,CACHE names who allocated them; on exit free every object first",),
        )
    if report.kind == "kmemleak":
        fact = report.fact("leak")
        size = f"{fact.values['size']} bytes" if fact else "memory"
        return Finding(
            17,
            "leak",
            CERTAIN,
            f"{size} that {case.caller} asked for are no longer reachable",
            case.lines("leak", "leak-comm"),
            next=(
                "echo scan > /sys/kernel/debug/kmemleak twice: false positives vanish",
                "kmem run FILE lists what a module leaks, by line",
            ),
        )
    return None


@rule(31, "KASAN, KFENCE and KMSAN reports")
def sanitizer(case: Case) -> Finding | None:
    """The sanitizers name the access, the object, and the places of its allocation and free. When the object's owner
    has nothing to do with the accessor, the memory was reused in between: then the accessor's own pointer is
    stale.
    """
    report = case.report
    if report.kind not in ("kasan", "kfence", "kmsan"):
        return None
    what = (report.value(report.kind, "what") or report.headline).lower()
    names = (
        ("use-after", "use_after_free"),
        ("double-free", "double_free"),
        ("invalid-free", "bad_free"),
        ("out-of-bounds", "out_of_bounds"),
        ("uninit", "uninitialised"),
        ("infoleak", "uninitialised"),
        ("null-ptr", "null_pointer"),
        ("user-memory", "user_pointer"),
        ("wild", "wild_pointer"),
        ("memory corruption", "out_of_bounds"),
        ("invalid read", "wild_pointer"),
        ("invalid write", "wild_pointer"),
    )
    cause = next((cause for word, cause in names if word in what), "")
    if ("free" in what and cause in ("double_free", "bad_free")) or "invalid free" in what:
        return None
    inside = report.value("inside", "side")
    if not cause:
        cause = "out_of_bounds" if inside else "memory_corruption"
    object_ = (
        report.value("cache", "cache") or report.value("cache2", "cache") or report.value("kfence-object", "cache")
    )
    size = report.value("cache", "size") or report.value("kfence-object", "size")
    where = (
        f" {report.value('inside', 'offset')} bytes {inside} a {size}-byte object of {object_}"
        if inside and object_
        else f" of {object_}"
        if object_
        else ""
    )
    access = f"{report.value('access', 'rw').lower() or 'access'} of {report.value('access', 'size') or 'some'} bytes"
    sure = CERTAIN if report.value(report.kind, "what") else LIKELY
    stale = _unrelated(case)
    if stale and cause == "use_after_free":
        access += (
            f"; {stale} allocated the object and has nothing to do with it: the memory was reused, the pointer is stale"
        )
    others = {"out_of_bounds": ("use_after_free",), "use_after_free": ("double_free",)}.get(
        cause, ("memory_corruption",)
    )
    return Finding(
        31,
        cause,
        sure,
        f"{case.caller}: {what.strip() or 'bad access'}, {access}{where}",
        case.lines(report.kind, "access", "cache", "inside", "kfence-object"),
        others,
        next=_sanitizer_next(case, cause),
    )


def _sanitizer_next(case: Case, cause: str) -> tuple[str, ...]:
    freed = next(
        (
            frame
            for frame in case.report.free_frames
            if frame.name and "kasan" not in frame.name and "free" not in frame.name
        ),
        None,
    )
    if cause == "use_after_free" and freed:
        return (
            f"the free is in {freed}: what keeps the object alive for {case.caller}?",
            "add a reference, or cancel the user before the free",
        )
    if cause == "out_of_bounds":
        return ("compare the size of the allocation with the index or length used there",)
    if cause == "uninitialised":
        return ("zero the object when it is allocated (kzalloc), or set the field",)
    return ("scripts/decode_stacktrace.sh gives the source lines",)


def _unrelated(case: Case) -> str:
    modules = {frame.module for frame in case.report.frames if frame.module}
    owners = {frame.module for frame in case.report.alloc_frames if frame.module}
    return next(iter(sorted(owners))) if modules and owners and not modules & owners else ""


@rule(6, "red zone, padding and start poison as values")
def other_poison(case: Case) -> Finding | None:
    """0x5a fills a fresh object: a value of 0x5a5a… was never initialised. 0xa5 ends the poison, 0xbb and 0xcc are
    the red zones of inactive and active objects, 0xaa is page poison: such a value was read past an object's
    end, or from a freed page.
    """
    if not case.fault:
        return None
    bits = case.report.bits
    for name, value in (*([case.base] if case.base else []), ("the address", case.real_address)):
        if value is None:
            continue
        low = value & 0xFF
        filled = int.from_bytes(bytes([low]) * (bits // 8), "big")
        if low in (0xBB, 0xCC, 0xAA) and value == filled:
            cause = "use_after_free" if low == 0xAA else "out_of_bounds"
            return Finding(
                6,
                cause,
                POSSIBLE if low != 0xAA else LIKELY,
                f"{name} holds {value:#x}: {case.meaning(value).text}",
                case.fault_lines,
                ("use_after_free", "out_of_bounds"),
                next=(REPEAT,),
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
