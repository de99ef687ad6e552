"""WARN and BUG: what ud2 in a module means, and what the kernel's own warnings print.

Models lib/bug.c, ``__warn`` and ``__warn_printk`` of kernel/panic.c, ``handle_bug`` of arch/x86/kernel/traps.c,
and the two reports of a task that sleeps where it must not (kernel/sched/core.c); release 6.1. Functions return lines
(`kmem.kapi.regs.Line`); what the machine does then is said by `BugReport`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from kmem.kapi.dumpstack import (
    CUT_HERE,
    END_TRACE,
    CrashState,
    Outcome,
    Trace,
    die,
    dump_stack,
    print_modules,
    show_regs_and_trace,
)
from kmem.kapi.fault import after_enable
from kmem.kapi.kernel_text import Site
from kmem.kapi.regs import KERN_CRIT, KERN_DEFAULT, KERN_ERR, KERN_WARNING, Line, MachineState, PtRegs
from kmem.machine.fault import Regs

LEN_UD2 = 2
"""Bytes of the instruction that WARN and BUG are made of; a WARN continues behind it."""

BUGFLAG_WARNING, BUGFLAG_ONCE, BUGFLAG_DONE, BUGFLAG_NO_CUT_HERE = 1, 2, 4, 8
"""Bits of ``struct bug_entry.flags``; the taint flag of a warning is in the upper byte."""


class BugEntry(NamedTuple):
    """One entry of a bug table, as Module.bug_at() gives it."""

    file: str
    line: int
    flags: int


@dataclass(frozen=True, slots=True)
class BugReport:
    """What a ud2 led to.

    *kind* is ``warn`` (go on behind the instruction), ``bug`` or ``invalid-opcode`` (the task dies as *outcome* says).
    *taint* is the flag to add. *done* asks to set BUGFLAG_DONE in the entry: a WARN_ON_ONCE has fired.
    """

    kind: Literal["warn", "bug", "invalid-opcode"]
    lines: tuple[Line, ...] = ()
    outcome: Outcome | None = None
    taint: int | None = None
    done: bool = False


def report_bug(state: MachineState, crash: CrashState, regs: PtRegs, trace: Trace, entry: BugEntry | None) -> BugReport:
    """``enum bug_trap_type report_bug(unsigned long bugaddr, struct pt_regs *regs)``, lib/bug.c, and what follows.

    *entry* is the bug table's entry for rip; without one the ud2 is just an invalid instruction.
    """
    state = after_enable(state, regs)
    if entry is None:
        outcome = die(state, crash, regs, trace, "invalid opcode")
        return BugReport("invalid-opcode", outcome.lines, outcome, outcome.taint)
    if entry.flags & BUGFLAG_WARNING:
        once = bool(entry.flags & BUGFLAG_ONCE)
        if once and entry.flags & BUGFLAG_DONE:
            return BugReport("warn")
        lines = [] if entry.flags & BUGFLAG_NO_CUT_HERE else [CUT_HERE]
        lines += warn(state, regs, trace, entry.file, entry.line)
        return BugReport("warn", tuple(lines), taint=entry.flags >> 8, done=once)
    outcome = kernel_bug(state, crash, regs, trace, entry.file, entry.line, cut=not entry.flags & BUGFLAG_NO_CUT_HERE)
    return BugReport("bug", outcome.lines, outcome, outcome.taint)


def warn(state: MachineState, regs: PtRegs, trace: Trace, file: str, line: int) -> Iterator[Line]:
    """``void __warn(const char *file, int line, void *caller, …)``, kernel/panic.c: from "WARNING:" to the end."""
    where = regs.ip_text or state.symbols.sprint(regs.regs.rip)
    yield KERN_WARNING, f"WARNING: CPU: {state.cpu} PID: {state.pid} at {file}:{line} {where}"
    yield print_modules(state)
    yield from show_regs_and_trace(state, regs, trace)
    yield END_TRACE


def warn_printk(message: str, level: int = KERN_DEFAULT) -> Iterator[Line]:
    """``void __warn_printk(const char *fmt, ...)``, kernel/panic.c: what WARN() prints ahead of its trap."""
    yield CUT_HERE
    yield level, message.removesuffix("\n")


def warning(
    state: MachineState,
    regs: PtRegs,
    trace: Trace,
    file: str,
    line: int,
    message: str = "",
    *,
    level: int = KERN_DEFAULT,
) -> list[Line]:
    """A whole warning of the kernel's own: WARN_ON, or WARN with *message*. It taints the kernel (flag W)."""
    head = list(warn_printk(message, level)) if message else [CUT_HERE]
    return [*head, *warn(state, regs, trace, file, line)]


def kernel_bug(
    state: MachineState, crash: CrashState, regs: PtRegs, trace: Trace, file: str, line: int, *, cut: bool = True
) -> Outcome:
    """A BUG: "kernel BUG at drv.c:88!" and the oops "invalid opcode"."""
    before = [CUT_HERE] if cut else []
    before.append((KERN_CRIT, f"kernel BUG at {file}:{line}!"))
    return die(after_enable(state, regs), crash, regs, trace, "invalid opcode", before=before)


def at_site(regs: Regs, site: Site) -> PtRegs:
    """The registers as if the CPU were at *site*: rip is its address, the other registers are those of the call."""
    return PtRegs(replace(regs, rip=site.address or regs.rip), ip_text=site.text)


def sleeping_function(
    state: MachineState, trace: Trace, file: str, line: int, *, preempt_count: int, rcu_depth: int = 0
) -> Iterator[Line]:
    """``void __might_resched(const char *file, int line, unsigned int offsets)``, with CONFIG_DEBUG_ATOMIC_SLEEP.

    *state.irqs_disabled* is that of the caller. Taints the kernel (flag W).
    """
    yield KERN_ERR, f"BUG: sleeping function called from invalid context at {file}:{line}"
    yield (
        KERN_ERR,
        f"in_atomic(): {int(preempt_count != 0)}, irqs_disabled(): {int(state.irqs_disabled)}, non_block: 0, "
        f"pid: {state.pid}, name: {state.comm}",
    )
    yield KERN_ERR, f"preempt_count: {preempt_count:x}, expected: 0"
    yield KERN_ERR, f"RCU nest depth: {rcu_depth}, expected: 0"
    yield from dump_stack(state, trace)


def scheduling_while_atomic(state: MachineState, trace: Trace, *, preempt_count: int) -> Iterator[Line]:
    """``static noinline void __schedule_bug(struct task_struct *prev)``. Taints the kernel (flag W).

    *preempt_count* includes the one that ``schedule()`` itself adds.
    """
    yield KERN_ERR, f"BUG: scheduling while atomic: {state.comm}/{state.pid}/{preempt_count:#010x}"
    yield print_modules(state)
    yield from dump_stack(state, trace)
