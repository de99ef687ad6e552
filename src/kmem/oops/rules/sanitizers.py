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
