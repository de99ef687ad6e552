"""Rules 5, 14-17: what slub_debug, slab checks and kmemleak report."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, LIKELY, POSSIBLE, REPEAT, Case, Finding, rule


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
        return _assertion(case, at, int(report.value("bug-at", "line")[:6]))
    if report.kind == "trace" and report.frames and report.frames[0].name.startswith(("idr_remove", "ida_remove")):
        # Up to 3.12 they dump the stack for this and for nothing else; the line above the trace is often cut off.
        return Finding(
            14,
            "double_free",
            POSSIBLE,
            "idr_remove() was called for an id that is not allocated: the id was released twice",
            (report.frames[0].line,),
            ("warning",),
        )
    return None


TOP_OF_SLUB = 600
"""set_freepointer() stands above this line of mm/slub.c in every release since 4.14, kfree() and the rest far below."""


def _assertion(case: Case, at: str, line: int) -> Finding:
    """What a BUG_ON in mm/slub.c means. set_freepointer() is inlined everywhere: its line tells, not its function."""
    where = f"BUG_ON at {at}:{line}"
    if line < TOP_OF_SLUB:
        return Finding(
            14,
            "double_free",
            LIKELY,
            f"SLUB found a free list that points to itself ({where}): an object was freed twice",
            case.lines("bug-at"),
            ("freelist_corruption", "bad_free"),
            f"{case.function or 'kfree'} is the messenger",
            (REPEAT,),
        )
    if case.in_allocator:
        return Finding(
            9,
            "freelist_corruption",
            POSSIBLE,
            f"a check of the object that {case.function} was about to hand out failed ({where}): it changed while it "
            "was free, or its page is no slab",
            case.lines("bug-at"),
            ("use_after_free", "double_free"),
            f"{case.function} and its callers are the victims",
            (REPEAT,),
        )
    if case.in_free:
        return Finding(
            16,
            "bad_free",
            LIKELY,
            f"{case.function} was given a pointer whose page is no slab and no large allocation ({where}): it was "
            "never allocated, or its page was freed already",
            case.lines("bug-at"),
            ("double_free", "freelist_corruption"),
            f"{case.function} is the messenger",
            (REPEAT, "print the pointer before the call: is it static, on the stack, or freed before?"),
        )
    return Finding(
        14,
        "double_free",
        POSSIBLE,
        f"a check of SLUB's own state failed ({where}): an object was freed twice, or a free list was overwritten",
        case.lines("bug-at"),
        ("freelist_corruption", "bad_free"),
        f"{case.function or 'SLUB'} is the messenger",
        (REPEAT,),
    )


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
