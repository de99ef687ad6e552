"""Rule 31: KASAN, KFENCE, KMSAN; and the other checkers that compilers build in: UBSAN, KCSAN, fortify."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, LIKELY, Case, Finding, rule


@rule(31, "KASAN, KFENCE and KMSAN reports")
def sanitizer(case: Case) -> Finding | None:
    """The sanitizers name the access, the object, and the places of its allocation and free. When the object's owner
    has nothing to do with the accessor, the memory was reused in between: then the accessor's own pointer is
    stale.
    """
    report = case.report
    if report.kind not in ("kasan", "kfence", "kmsan"):
        return None
    what = (report.value(report.kind, "what") or report.headline).lower().replace(" ", "-")
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
        ("memory-corruption", "out_of_bounds"),
        ("invalid-read", "wild_pointer"),
        ("invalid-write", "wild_pointer"),
    )
    cause = next((cause for word, cause in names if word in what), "")
    if "free" in what and cause in ("double_free", "bad_free"):
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


@rule(34, "fortified string functions")
def fortify(case: Case) -> Finding | None:
    """With FORTIFY_SOURCE, memcpy() and its relatives compare the length with the sizes of the objects that the
    compiler knows. BUG: the object ends before the copy does. "field-spanning": only a member does, the structure
    does not; that is often a buffer that was declared as an array of one element.
    """
    report = case.report
    stopped = report.kind in ("bug", "invalid-op") and "fortify" in (report.pc.name if report.pc else "")
    if report.kind != "fortify" and not stopped:
        return None
    spans = "field-spanning" in report.headline
    return Finding(
        34,
        "out_of_bounds",
        LIKELY,
        f"{case.caller} copied {'across the end of a member' if spans else 'more than the object holds'}"
        f"{'' if stopped else f': {report.headline.strip()[:90]}'}",
        case.lines("bug-at", "warn-at"),
        ("warning",) if spans else ("bug",),
        "the string function only compared the sizes",
        (
            "declare the member as a flexible array, or use struct_group() when the copy is meant to span members"
            if spans
            else "compare the length with the declared size of the source and the destination",
        ),
    )


@rule(35, "undefined behaviour")
def undefined(case: Case) -> Finding | None:
    """UBSAN reports what C leaves undefined, with the values: an index out of an array's range, a shift by more bits
    than the type has, an overflow, a bool or enum with no valid value (most often uninitialised). An index
    reported for an array of 0, 1 or * elements is often no overrun but a trailing array declared in the old way.
    """
    report = case.report
    if report.kind != "ubsan":
        return None
    index, shift, load = (report.fact(f"ubsan-{name}") for name in ("index", "shift", "load"))
    overflow = report.fact("ubsan-sum")
    cause, step = "undefined", "check the value's range before it is used there"
    others: tuple[str, ...] = ("out_of_bounds",)
    if index is not None:
        kind = index.values["type"]
        story = f"index {index.values['index']} of an array that is {kind}"
        cause, others = "out_of_bounds", ("undefined",)
        step = "check the index against the array's size"
        if kind.endswith(("[0]", "[1]", "[*]")):
            story += " (perhaps a trailing array of a structure that was allocated longer)"
            step = "declare a trailing array as a flexible member, with __counted_by() that is set before it is used"
    elif shift is not None:
        story = f"a shift by {shift.values['n']} bits, which is {shift.values['why'].strip()}"
    elif load is not None:
        story = f"the value {load.values['n']} was read as {load.values['type']}, which it cannot be"
        others, step = ("uninitialised", "memory_corruption"), "initialise the member; KMSAN finds who left it unset"
    elif overflow is not None:
        story = f"{overflow.values['sum']} does not fit in {overflow.values['type']}"
        step = "use check_add_overflow() and its relatives, or an unsigned type when wrapping is meant"
    else:
        story = report.headline.partition("UBSAN: ")[2].partition(" in ")[0] or "undefined behaviour"
        cause = "out_of_bounds" if "bounds" in story else cause
    return Finding(
        35,
        cause,
        LIKELY,
        f"{case.caller}: {story}",
        case.lines("ubsan", "ubsan-index", "ubsan-shift", "ubsan-load", "ubsan-sum"),
        others,
        next=(step,),
    )


@rule(36, "data race")
def data_race(case: Case) -> Finding | None:
    """KCSAN saw two processors access the same bytes at once, at least one of them writing, without a lock or a marked
    access between them. Whether it does harm depends on what the reader does with an old, a new or a torn value.
    """
    report = case.report
    if report.kind != "kcsan":
        return None
    accesses = [fact.values for fact in report.facts.get("kcsan-access", [])][:2]
    what = " and ".join(f"a {each['how']} by {each['who']} on cpu {each['cpu']}" for each in accesses)
    size = f" of {accesses[0]['size']} bytes" if accesses else ""
    changed = report.fact("kcsan-value")
    seen = f"; the value changed from {changed.values['old']} to {changed.values['new']}" if changed else ""
    between = report.value("kcsan", "where").strip() or case.caller
    return Finding(
        36,
        "data_race",
        LIKELY,
        f"unsynchronised accesses{size} in {between}{f': {what}' if what else ''}{seen}",
        case.lines("kcsan", "kcsan-access", "kcsan-value"),
        ("undefined",),
        next=(
            "take the lock that guards the other accesses; READ_ONCE() and WRITE_ONCE() when a lock is not needed, "
            "data_race() when any value will do",
        ),
    )
