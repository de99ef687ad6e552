"""One verdict from all that the rules say: eight short lines, each with the lines of the log that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kmem.oops import gfp
from kmem.oops.parse import NEAR, parse
from kmem.oops.patterns import FAULTS
from kmem.oops.report import Report
from kmem.oops.rules import CAUSES, Case, Doubt, Finding, apply, doubts
from kmem.oops.rules.freelist import cache_of, cpu_interrupts, gfp_argument, load_of
from kmem.oops.values import region

MILD = ("alloc-failure", "vmap-failure")
"""Kinds of reports after which a kernel goes on as if nothing had happened."""

UNKNOWN = Finding(0, "unknown", 0.0, "the log does not say what happened", ())
"""The verdict when no rule applies."""


class Note(NamedTuple):
    """One of the eight lines."""

    label: str
    text: str
    evidence: tuple[int, ...]


@dataclass(slots=True)
class Explanation:
    """A report and what it means."""

    report: Report
    verdict: Finding
    confidence: float
    findings: list[Finding]
    doubts: list[Doubt]
    notes: list[Note]
    secondary: bool
    """Whether an earlier report in the log is likelier to be the cause."""

    @property
    def causes(self) -> list[str]:
        """Cause classes, the likeliest first: the verdict, then what it could not exclude."""
        return list(
            dict.fromkeys([self.verdict.cause, *self.verdict.alternatives, *(each.cause for each in self.findings[1:])])
        )


def explain(log: str) -> list[Explanation]:
    """Every report of *log*, explained, in the order of the log."""
    reports = parse(log)
    return [explain_report(report, index) for index, report in enumerate(reports)]


def main_of(explained: list[Explanation]) -> Explanation | None:
    """The report that a log is about: the first, unless it only says that an allocation failed and a crash follows.

    Two processors that fault at once print their headlines first: then it is the first report with more than that.
    """
    if not explained:
        return None
    start = next((index for index, each in enumerate(explained) if each.report.kind not in MILD), 0)
    for each in explained[start:]:
        if each.report.kind not in FAULTS or each.report.line - explained[start].report.line > NEAR:
            break
        if each.report.pc is not None or each.report.frames:
            return each
    return explained[start]


def explain_report(report: Report, index: int = 0) -> Explanation:
    """*report*, number *index* in its log, explained."""
    case = Case(report, index)
    findings = apply(case)
    verdict = findings[0] if findings else UNKNOWN
    against = doubts(case)
    confidence = verdict.confidence
    for doubt in against:
        confidence *= doubt.factor
    notes = [note for note in (_fault(case), _instruction(case), _object(case), _value(case)) if note]
    notes.append(
        Note("verdict", f"{CAUSES[verdict.cause]} ({sureness(confidence)}): {verdict.verdict}", verdict.evidence)
    )
    others = [
        CAUSES[cause]
        for cause in dict.fromkeys([*verdict.alternatives, *(f.cause for f in findings[1:3])])
        if cause != verdict.cause
    ]
    if others:
        notes.append(Note("not excluded", ", ".join(others), ()))
    if verdict.blameless:
        notes.append(Note("not to blame", verdict.blameless, ()))
    notes += [Note("next", step, ()) for step in verdict.next[:3]]
    notes += [Note("against it", doubt.text, doubt.evidence) for doubt in against]
    return Explanation(report, verdict, round(confidence, 2), findings, against, notes, index > 0)


def sureness(confidence: float) -> str:
    """A confidence in words."""
    steps = ((0.85, "certain"), (0.6, "likely"), (0.4, "possible"), (0.01, "a guess"))
    return next((word for least, word in steps if confidence >= least), "unknown")


def _fault(case: Case) -> Note | None:
    report = case.report
    if not case.fault or case.address is None:
        headline = report.headline[:160].strip()
        return Note("report", headline or "a call trace without a headline", (report.line,)) if report.line else None
    address = case.address
    access = {"read": "read of", "write": "write to", "fetch": "instruction fetch from"}.get(report.access, "access to")
    where = region(address, report.arch, report.version) if address >= 4096 else "the NULL page"
    text = f"{access} {address:#x} ({where or 'region unknown'})"
    if case.shadow and case.real_address is not None:
        text += f", a KASAN check of {case.real_address:#x}"
    if report.pc:
        text += f", in {report.pc}"
    return Note("fault", text, tuple(sorted({report.line, *([report.pc.line] if report.pc else [])})))


def _instruction(case: Case) -> Note | None:
    trap = case.trap
    if trap is None or case.code is None:
        return None
    text = trap.text
    if trap.memory and case.base:
        name, value = case.base
        text += f"; {name} = {value:#x}, {case.meaning(value).text}"
    cache, load = cache_of(case), load_of(case)
    if cache:
        at = "" if cache.offset is None else f" with s->offset = {cache.offset}"
        text += f": SLUB's load of the next free object, object[s->offset]{at}"
    elif load:
        text += f": SLUB's load of the next free object, {load.expression}"
        text += "; what it loads is decoded with s->random (hardened)" if load.hardened else ""
    elif case.in_allocator and trap.index:
        text += ": SLUB's load of the next free object, object + s->offset"
    return Note("instruction", text, (case.code.line,))


def _object(case: Case) -> Note | None:
    report = case.report
    parts, lines = [], set()
    cache = cache_of(case)
    if cache:
        parts.append(f"cache {cache.name} ({cache.why})")
        if cache.offset == 0:
            parts.append(
                "the free pointer is word 0: no poison, RCU or constructor, so slub_debug was off for this cache"
            )
        lines |= {case.code.line if case.code else 0, report.reg_line}
    argument = gfp_argument(case)
    if argument:
        where, mask, names = argument
        sleeps = gfp.may_sleep(mask, report.version)
        parts.append(
            f"gfp {names} ({where} = "
            f"{mask:#x}{', not a size' if mask < 0x1000 else ''}){'' if sleeps else ', which may not sleep'}"
        )
        lines.add(report.reg_line)
    saved = cpu_interrupts(case) if case.in_allocator else None
    off = report.fact("irqs-off")
    if saved:
        parts.append(f"interrupts were off before the call (saved CPSR {saved[0]} = {saved[1]:#x} has I set)")
    elif off and off.values["state"] == "off":
        parts.append("interrupts off")
    for name, keys in (
        ("cache", ("cache", "size")),
        ("cache2", ("cache", "size")),
        ("kfence-object", ("cache", "size")),
        ("slub", ("cache",)),
    ):
        fact = report.fact(name)
        if fact and not cache and fact.values.get("cache"):
            parts.append("object of " + ", size ".join(fact.values[key] for key in keys if fact.values.get(key)))
            lines.add(fact.line)
            break
    for name, word in (("slub-alloc", "allocated in"), ("slub-free", "freed in")):
        fact = report.fact(name)
        if fact:
            parts.append(f"{word} {fact.values['where']}")
            lines.add(fact.line)
    for frames, word in ((report.alloc_frames, "allocated by"), (report.free_frames, "freed by")):
        first = next(
            (
                f
                for f in frames
                if not f.name.lstrip("_").startswith(
                    ("kasan", "save_stack", "kmalloc", "kmem_cache", "kfree", "set_track", "slab")
                )
            ),
            None,
        )
        if first and report.kind in ("kasan", "kfence"):
            parts.append(f"{word} {first}")
            lines.add(first.line)
    mode = report.fact("mode")
    if mode and not argument:
        names = mode.values.get("names") or (
            case.gfp(int(mode.values["mode"], 16)) if gfp.known(report.version) else ""
        )
        if names:
            parts.append(f"gfp {names}")
            lines.add(mode.line)
    return Note("object", "; ".join(parts), tuple(sorted(lines - {0}))) if parts else None


def _value(case: Case) -> Note | None:
    if not case.fault or case.real_address is None:
        return None
    value = case.base[1] if case.base and case.base[1] != 0 else case.real_address
    what = case.meaning(value)
    if what.kind in ("small", "zero-size") and case.base is None and not case.in_allocator:
        return None
    if what.kind in ("null", "region") or (value < 4096 and case.base is not None and case.base[1] == 0):
        return None
    text = f"{value:#x} is {what.text}"
    if what.kind in ("small", "zero-size") and case.in_allocator:
        text += f" ({_small(value)}): what it meant the log cannot prove"
    return Note("bad value", text, case.fault_lines[:2])


def _small(value: int) -> str:
    from kmem.oops.values import errno_name

    guesses = [
        f"{chr(value)!r}" if value < 127 and (value >= 32 or value in (9, 10, 13)) else "",
        "a length",
        errno_name(value) if 0 < value < 133 else "",
    ]
    return "? ".join(guess for guess in guesses if guess) + "?"
