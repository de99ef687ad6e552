"""From a fault to the log and the findings: the reports of `fault`, `bug` and `dumpstack`, printed by a running kernel.

Each function takes the values from the kernel (`CrashHost`), prints the report into its log and records one finding,
whose site is the module's code even when the kernel died in a function that the module called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kmem.kapi import bug, fault
from kmem.kapi.dumpstack import CrashState, Outcome, Trace, dump_stack
from kmem.kapi.kernel_text import Site, kernel_text
from kmem.kapi.regs import KERN_DEFAULT, TAINT_WARN, Frame, Line, MachineState, PtRegs
from kmem.lib.cstruct import s64
from kmem.machine.fault import Fault, Regs
from kmem.mm import places
from kmem.sanitizers.report import Kind, Regions, SlabObject, access_of, classify, describe, region

if TYPE_CHECKING:
    from kmem.abi.release import Release
    from kmem.kapi.logbuf import LogBuf


@dataclass(frozen=True, slots=True)
class Blame:
    """The module code that a report is about: a function and offset, and its source line where debug info has one."""

    function: str = ""
    offset: int = 0
    file: str = ""
    line: int = 0


class CrashHost(Protocol):
    """What `kmem.kernel.Kernel` offers to these functions, besides being a `kmem.kapi.host.Host`."""

    log: LogBuf
    release: Release
    regions: Regions
    crash: CrashState

    def machine_state(self) -> MachineState:
        """The values of this moment."""

    def trace(self, regs: PtRegs | None, inner: Sequence[Frame]) -> Trace:
        """The call trace from *regs* (None: from the call that is being served), under the frames *inner*."""

    def fault_context(self) -> fault.Context:
        """The page tables and the stack of the running task."""

    def blame(self, regs: PtRegs | None) -> Blame:
        """The module code that *regs*, or the call that is being served, came from."""

    def regs(self) -> Regs:
        """The registers at the call that is being served."""

    def add_taint(self, flag: int) -> None: ...

    def function_at(self, addr: int) -> str:
        """The name of the function that *addr* lies in."""

    def explain_fault(self, address: int) -> tuple[str, str, SlabObject] | None:
        """Kind, words and object, if an allocation of the module's explains a fault at *address*."""

    def finding(self, kind: str, message: str, **facts: object) -> None: ...


COPIES = frozenset(("memcpy", "memmove", "memset"))
FREES = frozenset(("kfree", "kvfree", "kfree_sensitive", "kfree_const", "krealloc"))
PAGE_STRUCT = 64


def _looked_up(regions: Regions, address: int) -> int:
    """Where ``virt_to_page()`` looks for the ``struct page`` of an address, whether there is one or not."""
    base = regions.start_kernel_map if address >= regions.start_kernel_map else regions.page_offset
    frame = (address - base & (1 << 64) - 1) >> 12
    return regions.vmemmap_start + PAGE_STRUCT * frame & (1 << 64) - 1


def print_lines(k: CrashHost, lines: Iterable[Line]) -> None:
    """Put *lines* into the kernel log, one record each."""
    for level, text in lines:
        k.log.printk(text + "\n", level)


def report_fault(
    k: CrashHost, what: Fault, site: Site | None = None, inner: Sequence[Frame] = (), export: str = ""
) -> Outcome:
    """Print the oops of *what*. *site* is the kernel function that faulted for the module, *inner* its frames, *export*
    what the module had called.
    """
    regs = bug.at_site(what.regs, site) if site else PtRegs(what.regs)
    context = k.fault_context()
    outcome = fault.fault_oops(k.machine_state(), k.crash, what, regs, k.trace(regs, inner), context)
    in_allocator = site is not None and site.slug == "slub-freelist"
    kind = classify(what, in_allocator=in_allocator, stack=context.stack)
    message = describe(what, kind, k.regions)
    freed = what.regs.rdi
    if export in FREES and _looked_up(k.regions, freed) <= what.address < _looked_up(k.regions, freed) + PAGE_STRUCT:
        kind, message = Kind.INVALID_FREE, f"{export} of {freed:#x}: {region(freed, k.regions)} holds no allocation"
    facts: dict[str, object] = {"address": what.address, "access": access_of(what)}
    known = k.explain_fault(what.address) if kind is Kind.WILD_POINTER else None
    if known is not None:
        kind, facts["object"] = Kind(known[0]), known[2]
        message = f"{access_of(what)}{known[1]}"
    name = k.function_at(what.regs.rip)
    if kind is Kind.WILD_POINTER and name.lstrip("_") in COPIES and what.regs.rdx >> 47:
        kind, message = Kind.OUT_OF_BOUNDS, f"{name.lstrip('_')} of {s64(what.regs.rdx)} bytes"
    _publish(k, outcome.lines, outcome.taint, kind, message, regs, **facts)
    return outcome


def report_ud2(k: CrashHost, what: Fault, entry: bug.BugEntry | None) -> bug.BugReport:
    """Print what a ud2 in a module means; *entry* is the module's bug table entry for its address."""
    regs = PtRegs(what.regs)
    report = bug.report_bug(k.machine_state(), k.crash, regs, k.trace(regs, ()), entry)
    if report.lines:
        kind = Kind.WARNING if report.kind == "warn" else Kind.BUG
        message = f"{'WARN' if kind is Kind.WARNING else 'BUG'}()" if entry else "an invalid instruction"
        _publish(k, report.lines, report.taint, kind, message, regs)
    return report


def report_warning(
    k: CrashHost, file: str, line: int, function: str, message: str = "", export: str = "", level: int = KERN_DEFAULT
) -> None:
    """Print a WARN of the kernel itself. *export* is the exported function that the module called, if known."""
    regs, inner = _place(k, file, line, function, export)
    lines = bug.warning(k.machine_state(), regs, k.trace(regs, inner), file, line, message, level=level)
    text = message.rstrip("\n") or f"WARN in {function} ({file}:{line})"
    _publish(k, lines, TAINT_WARN, Kind.WARNING, text, None)


def report_kernel_bug(k: CrashHost, file: str, line: int, function: str, export: str = "") -> Outcome:
    """Print a BUG of the kernel itself, on which the task dies."""
    refusal = k.log.records[-1].text if k.log.records else ""  # what hardened usercopy says before its BUG
    regs, inner = _place(k, file, line, function, export)
    outcome = bug.kernel_bug(k.machine_state(), k.crash, regs, k.trace(regs, inner), file, line)
    kind, message = Kind.BUG, f"kernel BUG at {file}:{line} in {function}"
    double_free = places.place(places.SLUB_DOUBLE_FREE, k.release.name)
    if (file, line) == (double_free.file, double_free.line):
        kind = Kind.DOUBLE_FREE
    elif function == "usercopy_abort":
        kind, message = Kind.OUT_OF_BOUNDS, refusal
    _publish(k, outcome.lines, outcome.taint, kind, message, None)
    return outcome


def report_dump_stack(k: CrashHost, inner: Sequence[Frame] = ()) -> None:
    """``dump_stack()`` on behalf of the module: printed, and no finding."""
    print_lines(k, dump_stack(k.machine_state(), k.trace(None, inner)))


def _place(k: CrashHost, file: str, line: int, function: str, export: str) -> tuple[PtRegs, list[Frame]]:
    """Registers that stand at a WARN or BUG of the kernel, and the frames from there to the module's call."""
    text = kernel_text(k.release.name)
    site = text.at_line(file, line, function)
    if site is None:
        return PtRegs(k.regs(), ip_text=function), []
    return bug.at_site(k.regs(), site), text.frames(export, site.function) if export else []


def _publish(
    k: CrashHost,
    lines: Sequence[Line],
    taint: int | None,
    kind: Kind,
    message: str,
    regs: PtRegs | None,
    **facts: object,
) -> None:
    """Log, taint, finding: in this order, because a report shows the taint from before it."""
    print_lines(k, lines)
    if taint is not None:
        k.add_taint(taint)
    at = k.blame(regs)
    text = tuple(line for _, record in lines for line in record.split("\n"))
    k.finding(kind, message, function=at.function, offset=at.offset, file=at.file, line=at.line, text=text, **facts)
