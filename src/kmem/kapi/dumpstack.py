"""Call traces, ``dump_stack()`` and the frame of every oops: from "CPU: 0 PID: …" to "---[ end trace …".

Models arch/x86/kernel/dumpstack.c, lib/dump_stack.c, ``print_modules`` of kernel/module/main.c, and of kernel/panic.c
and kernel/exit.c what is printed when a task dies; release 6.1. Every function returns lines (`kmem.kapi.regs.Line`).

Not modelled: "Kdump: loaded", ``print_stop_info``, the tracing and lock-debugging lines of kernels that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kmem.kapi.regs import (
    KERN_DEFAULT,
    KERN_EMERG,
    KERN_INFO,
    KERN_WARNING,
    TAINT_DIE,
    Frame,
    Line,
    MachineState,
    PtRegs,
    Symbols,
    print_tainted,
    show_regs,
    sprint_backtrace,
)

SIGKILL, SIGSEGV = 9, 11

PREEMPT_MASK, SOFTIRQ_MASK, HARDIRQ_MASK, NMI_MASK = 0xFF, 0xFF00, 0xF0000, 0xF00000
"""Fields of ``preempt_count()`` (include/linux/preempt.h)."""

END_TRACE: Line = (KERN_WARNING, f"---[ end trace {0:016x} ]---")
CUT_HERE: Line = (KERN_DEFAULT, "------------[ cut here ]------------")


@dataclass(frozen=True, slots=True)
class Stack:
    """The part of a call trace that lies on one stack: TASK, IRQ, SOFTIRQ, #DF and so on.

    Registers stand where the stack holds a ``pt_regs``: below a system call or an interrupt.
    """

    entries: Sequence[Frame | PtRegs]
    name: str = "TASK"


Trace = Sequence[Stack]
"""The stacks from the innermost outwards."""

Unwind = Callable[[PtRegs | None], Iterable[tuple[int, bool]]]
"""Return addresses from the given registers (None: the place that calls) outwards, and whether each is reliable."""


@dataclass(slots=True)
class CrashState:
    """What the kernel remembers from one report to the next (``die_counter``, ``exec_summary_regs``, ``debug_locks``).

    *once* holds the addresses of WARN_ON_ONCE that have fired where the bug table itself is out of reach.
    """

    die_counter: int = 0
    summary: PtRegs | None = None
    debug_locks: bool = True
    once: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A fatal report: its lines, the signal that kills the task, and the reason for a panic ("" when there is none)."""

    lines: tuple[Line, ...]
    signal: int = SIGSEGV
    panic: str = ""
    taint: int = TAINT_DIE


def task_trace(
    frames: Iterable[tuple[int, bool]],
    *,
    inner: Iterable[Frame] = (),
    outer: Iterable[Frame] = (),
    user: PtRegs | None = None,
) -> Trace:
    """The trace of a task: what an unwinder found, between kernel functions that the model acts for.

    *inner* are the frames of the kernel function that was called (innermost first), *outer* those below the module (the
    system call that loaded it), *user* the registers of the program that made the system call.
    """
    entries: list[Frame | PtRegs] = [*inner, *(Frame(address, reliable) for address, reliable in frames), *outer]
    if user is not None:
        entries.append(user)
    return [Stack(entries)]


def print_info(state: MachineState) -> Iterator[Line]:
    """``void dump_stack_print_info(const char *log_lvl)``, lib/dump_stack.c: CPU, task, taint, kernel and machine."""
    build = state.build
    yield (
        KERN_DEFAULT,
        f"CPU: {state.cpu} PID: {state.pid} Comm: {state.comm[:20]} {print_tainted(state.taint)} {build.oops_version}",
    )
    if build.hardware:
        yield KERN_DEFAULT, f"Hardware name: {build.hardware}"
    if state.workqueue:
        yield KERN_DEFAULT, f"Workqueue: {state.workqueue}"


def print_modules(state: MachineState) -> Line:
    """``void print_modules(void)``, kernel/module/main.c. The last loaded module comes first in *state.modules*."""
    names = "".join(f" {module}" for module in state.modules)
    last = f" [last unloaded: {state.last_unloaded}]" if state.last_unloaded else ""
    return KERN_DEFAULT, f"Modules linked in:{names}{last}"


def show_trace(state: MachineState, trace: Trace) -> Iterator[Line]:
    """``show_trace_log_lvl()``, arch/x86/kernel/dumpstack.c."""
    yield KERN_DEFAULT, "Call Trace:"
    for stack in trace:
        yield KERN_DEFAULT, f" <{stack.name}>"
        for entry in stack.entries:
            if isinstance(entry, PtRegs):
                yield from show_regs(state, entry, short=True)
            else:
                yield KERN_DEFAULT, _frame(state.symbols, entry)
        yield KERN_DEFAULT, f" </{stack.name}>"


def _frame(symbols: Symbols, frame: Frame) -> str:
    doubt = "" if frame.reliable else "? "
    return f" {doubt}{frame.text or sprint_backtrace(symbols, frame.address)}"


def dump_stack(state: MachineState, trace: Trace) -> Iterator[Line]:
    """``void dump_stack(void)``, lib/dump_stack.c."""
    yield from print_info(state)
    yield from show_trace(state, trace)


def show_regs_and_trace(state: MachineState, regs: PtRegs, trace: Trace) -> Iterator[Line]:
    """``void show_regs(struct pt_regs *regs)``, arch/x86/kernel/dumpstack.c, for registers of kernel mode."""
    yield from print_info(state)
    yield from show_regs(state, regs)
    yield from show_trace(state, trace)


def add_taint_lines(crash: CrashState) -> Iterator[Line]:
    """What ``add_taint(flag, LOCKDEP_NOW_UNRELIABLE)`` prints: one line, the first time."""
    if crash.debug_locks:
        crash.debug_locks = False
        yield KERN_WARNING, "Disabling lock debugging due to kernel taint"


def die(
    state: MachineState,
    crash: CrashState,
    regs: PtRegs,
    trace: Trace,
    what: str,
    error_code: int = 0,
    *,
    before: Iterable[Line] = (),
    after: Iterable[Line] = (),
    signal: int = SIGSEGV,
) -> Outcome:
    """``void die(const char *str, struct pt_regs *regs, long err)`` and what follows when the task is killed.

    arch/x86/kernel/dumpstack.c, kernel/exit.c (``make_task_dead``). *before* is printed first, *after* (the CR2 line of
    a page fault) ahead of the end marker. The registers of the first oops are shown again at the end of every oops.
    """
    crash.debug_locks = False
    if not crash.die_counter:
        crash.summary = regs
    crash.die_counter += 1
    lines = list(before)
    header = f"{what}: {error_code & 0xFFFF:04x} [#{crash.die_counter}] {state.build.oops_options}"
    lines.append((KERN_DEFAULT, header.rstrip()))
    lines += show_regs_and_trace(state, regs, trace)
    lines.append(print_modules(state))
    lines += after
    lines.append(END_TRACE)
    lines += show_regs(state, crash.summary or regs)
    if state.preempt_count & (SOFTIRQ_MASK | HARDIRQ_MASK | NMI_MASK):
        return Outcome((*lines, *panic("Fatal exception in interrupt")), signal, "Fatal exception in interrupt")
    if state.pid == 0:
        message = "Attempted to kill the idle task!"
        return Outcome((*lines, *panic(message)), signal, message)
    lines += _exit_notes(state)
    if state.pid == 1:
        message = f"Attempted to kill init! exitcode={signal:#010x}"
        return Outcome((*lines, *panic(message)), signal, message)
    return Outcome(tuple(lines), signal)


def _exit_notes(state: MachineState) -> Iterator[Line]:
    """``make_task_dead()``: in which state the task left the CPU."""
    if state.irqs_disabled:
        yield KERN_INFO, f"note: {state.comm}[{state.pid}] exited with irqs disabled"
    if state.preempt_count:
        yield KERN_INFO, f"note: {state.comm}[{state.pid}] exited with preempt_count {state.preempt_count}"


def panic(message: str, stack: Iterable[Line] = (), *, halts: bool = False) -> Iterator[Line]:
    """``void panic(const char *fmt, ...)``, kernel/panic.c, on a machine without KASLR.

    *stack* is a `dump_stack`, which the kernel leaves out when an oops came before; *halts* prints the last line of a
    machine that does not reboot.
    """
    yield KERN_EMERG, f"Kernel panic - not syncing: {message}"
    yield from stack
    yield KERN_EMERG, "Kernel Offset: disabled"
    if halts:
        yield KERN_EMERG, f"---[ end Kernel panic - not syncing: {message} ]---"
