"""Facts of ``bug``: what a memory error leads to."""

from __future__ import annotations

import re

from tests.truth.facts import Collector
from tests.truth.log import Step
from tests.truth.reports import find_oops, warnings_before
from tests.truth.slubdebug import find_report

PREFIX = "bug: "
WRITING = re.compile(r"p (\w+) q (\w+) writing (\w+) at offset (\d+) of freed p")
WORD = re.compile(r"freed p word\[(\d+)\] @(\d+) = (\w+)")
KMALLOC = re.compile(r"kmalloc #(\d+) -> (\w+)")
POISON = (0x6B6B6B6B6B6B6B6B, 0xA56B6B6B6B6B6B6B)


def collect(out: Collector, step: Step) -> None:
    """Add the facts of one load of the module."""
    name = step.name
    names: dict[int, str] = {}
    freed_pointer = -1
    for text, warned in warnings_before(step.lines, PREFIX):
        for report in warned:
            out.add(name, "warning", report.place)
            out.add(name, "warning says", "; ".join(report.said))
        if match := WRITING.fullmatch(text):
            names = {int(match[1], 16): "p", int(match[2], 16): "q"}
            freed_pointer = int(match[4])
            out.update(name, {"writes": match[3], "at offset": freed_pointer})
        elif match := WORD.fullmatch(text):
            value = _word(int(match[3], 16), names)
            if int(match[2]) == freed_pointer or value != "other":
                out.add(name, f"freed word {match[1]}", value)
        elif (match := KMALLOC.fullmatch(text)) and out.config != "debug":
            out.add(name, f"kmalloc {match[1]}", names.get(int(match[2], 16), "other"))
        elif match := re.fullmatch(r"p (\w+)", text):
            names = {int(match[1], 16): "p"}
        elif text.startswith("constant "):
            out.add(name, "reads", text)
    _reports(out, step)


def _word(value: int, names: dict[int, str]) -> str:
    """Say what a word of a freed object is: 0, poison, the other object, or something else."""
    if value in POISON or value == 0:
        return f"{value:x}"
    return names.get(value, "other")


def _reports(out: Collector, step: Step) -> None:
    """Add how the load ended, the first oops, and the first report of slub_debug.

    With slub_debug each allocation may come from another slab, so what comes back, and when the report comes, is
    chance. After a double free slub_debug lets the kernel go on with a slab in two states, and all that follows is.
    """
    name = step.name
    oops = find_oops(step.lines)
    slub = find_report(step.lines, PREFIX)
    out.add(name, "slub_debug", "reports" if slub else "silent")
    if slub:
        out.update(name, slub[1])
        if str(slub[1]["report"]).endswith("Object already free"):
            return
    ended = any(line.startswith(f"{PREFIX}end of init") for line in step.lines)
    out.add(name, "init ends", "yes" if ended else "no")
    out.add(name, "oops", oops[1].says if oops else "none")
    if oops:
        start, report = oops
        out.add(name, "oops after allocations", _allocations(step, start))
        for key in ("access", "error_code", "rip", "trace"):
            value = getattr(report, key)
            if value:
                out.add(name, key, value)


def _allocations(step: Step, before: int) -> int:
    return sum(1 for line in step.lines[:before] if KMALLOC.fullmatch(line.removeprefix(PREFIX)))
