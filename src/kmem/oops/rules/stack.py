"""Rule 26: kernel stack overflow."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, LIKELY, POSSIBLE, Case, Finding, rule


@rule(26, "kernel stack overflow")
def stack_overflow(case: Case) -> Finding | None:
    """A fault just below the stack (or in its guard page) is an overflow: recursion without end, or large arrays on
    the stack. The distance says how far.
    """
    report = case.report
    function = case.caller
    steps = (
        "look for recursion in the trace and for large local arrays (checkstack.pl)",
        "CONFIG_VMAP_STACK=y gives each stack a guard page",
    )
    low = report.value("stack-hit", "low") or report.value("task-stack", "low")
    at = report.value("stack-hit", "addr") or report.value("far", "addr")
    if report.kind in ("stack-guard", "insufficient") or (low and at and at[0] != "("):
        distance = ""
        if low and at and at[0] != "(":
            below = int(low, 16) - int(at, 16)
            if below > 0x10000 or below < -0x10000:
                return None
            distance = f", {below} bytes below it" if below > 0 else ""
        loop = _repeats(case)
        story = f"; {loop} calls itself" if loop else ""
        return Finding(
            26,
            "stack_overflow",
            CERTAIN,
            f"the kernel stack overflowed in {function}{distance}{story}",
            case.lines("stack-hit", "far", "task-stack"),
            ("memory_corruption",),
            next=steps,
        )
    if report.fact("stack-end"):
        return Finding(
            26,
            "stack_overflow",
            LIKELY,
            "the word at the end of the kernel stack was overwritten: the stack overflowed",
            case.lines("stack-end"),
            ("memory_corruption",),
            next=steps,
        )
    if report.kind == "double-fault":
        pointer = report.regs.get("rsp", report.regs.get("esp"))
        user = pointer is not None and case.meaning(pointer).kind in ("user", "small")
        text = (
            f"the stack pointer {pointer:#x} is in user space"
            if user and pointer is not None
            else "the stack could not be used (most often an overflow)"
        )
        return Finding(
            26,
            "stack_overflow",
            POSSIBLE if user else LIKELY,
            f"double fault in {function}: {text}",
            case.fault_lines,
            ("memory_corruption", "wild_pointer"),
            next=steps,
        )
    return None


def _repeats(case: Case) -> str:
    counts: dict[str, int] = {}
    for frame in case.report.frames:
        counts[frame.name] = counts.get(frame.name, 0) + 1
    top = max(counts, key=lambda name: counts[name], default="")
    return top if counts.get(top, 0) > 4 else ""
