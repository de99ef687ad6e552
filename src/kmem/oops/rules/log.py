"""Rules 30 and 33: what in the log itself speaks against a verdict. They lower confidence, they never are a verdict."""

from __future__ import annotations

from typing import NamedTuple

from kmem.oops.decode import effective, register
from kmem.oops.rules.base import Case


class Doubt(NamedTuple):
    """A contradiction or a gap of the log."""

    rule: int
    text: str
    evidence: tuple[int, ...]
    factor: float
    """What the confidence is multiplied with."""


def doubts(case: Case) -> list[Doubt]:
    """Everything in *case* that speaks against trusting it."""
    found = [spliced(case), not_first(case), disagreeing(case), lost_pc(case)]
    return [each for each in found if each is not None]


def not_first(case: Case) -> Doubt | None:
    """Rule 30: ``[#2]`` or taint D: an earlier crash left damage behind. A taint is never a verdict."""
    report = case.report
    if report.number is not None and report.number > 1:
        return Doubt(
            30,
            f"this is oops number {report.number}: ask for the first one, of which this may be a consequence",
            (report.line,),
            0.7,
        )
    if "D" in report.taint:
        return Doubt(30, "the kernel had crashed before (taint D): ask for the first oops", (report.line,), 0.7)
    if case.number:
        return Doubt(
            30, "another report came before this one in the log: it may be a consequence", (report.line,), 0.85
        )
    return None


def disagreeing(case: Case) -> Doubt | None:
    """Rule 33: the instruction and the registers give another address than the one that was reported."""
    trap, report = case.trap, case.report
    if trap is None or not trap.memory or report.address is None or report.access == "fetch" or not trap.base:
        return None
    if register(report, trap.base) is None or trap.mnemonic.startswith(("rep", "dc", "push", "call")):
        return None
    address = effective(report, trap)
    if address is None:
        return None
    # arm64 prints the address without its top byte, which its loads ignore.
    mask = (1 << 56) - 1 if report.arch == "arm64" else (1 << 64) - 1
    if abs((address & mask) - (report.address & mask)) < 64:
        return None
    return Doubt(
        33,
        f"the instruction {trap.text!r} and the registers give {address:#x}, the log says {report.address:#x}",
        case.fault_lines,
        0.6,
    )


def lost_pc(case: Case) -> Doubt | None:
    """The program counter's value is missing; on arm the stack frame that its function saved rebuilds it."""
    frame = saved_frame(case)
    report = case.report
    if report.arch != "arm" or frame is None or "pc" in report.regs or report.pc is None or report.pc.offset is None:
        return None
    # stmdb sp!, {…, fp, ip, lr, pc} is the second instruction, and reads pc as its own address plus 8.
    start = report.stack[frame] - 12
    return Doubt(
        33,
        f"the value of the program counter is missing in the log; the stack frame of {report.pc.name} gives it: about "
        f"{start + report.pc.offset:#010x}",
        (report.pc.line,),
        1.0,
    )


def saved_frame(case: Case) -> int | None:
    """Where the frame pointer's saved pc lies in the dumped stack, if it does (APCS)."""
    frame = case.report.regs.get("fp")
    return frame if frame is not None and frame in case.report.stack else None


def walk(case: Case) -> list[int]:
    """The return addresses of the APCS frames in the dumped stack, innermost first."""
    frame, stack = saved_frame(case), case.report.stack
    found: list[int] = []
    while frame is not None and frame in stack and len(found) < 64:
        back, following = stack.get(frame - 4), stack.get(frame - 12)
        if back is None:
            break
        found.append(back)
        frame = following if following is not None and following > frame else None
    return found


def spliced(case: Case) -> Doubt | None:
    """Rule 33: stack words and printed backtrace disagree, so that two crashes were pasted into one."""
    report = case.report
    returns = walk(case)
    if report.arch != "arm" or len(returns) < 2 or len(report.frames) < 2:
        return None
    module = [0x7F000000 <= address < 0x80000000 or 0xBF000000 <= address < 0xC0000000 for address in returns]
    inside = next((index for index, is_module in enumerate(module) if not is_module), len(module))
    callers = report.frames if report.frames[0].offset is not None else report.frames[1:]
    printed = next((index for index, frame in enumerate(callers) if not frame.module), len(callers))
    words = set(report.stack.values())
    values = {value for _, value in report.saved if value > 0xFFFF and value >> 16 != 0xFFFF}
    missing = [value for value in values if value not in words]
    signs = []
    if inside != printed:
        outer = callers[printed].name if printed < len(callers) else "the end"
        signs.append(
            f"the stack words hold {inside} module frames between {case.function} and {outer}, the printed "
            f"backtrace has {printed}"
        )
    if len(values) >= 4 and len(missing) * 2 > len(values):
        signs.append(
            f"{len(missing)} of the {len(values)} register values that the backtrace saved occur nowhere in the "
            f"stack words"
        )
    if not signs:
        return None
    lines = tuple(sorted({report.line, callers[0].line}))
    return Doubt(33, "two crashes are spliced into this log: " + "; ".join(signs), lines, 0.8)
