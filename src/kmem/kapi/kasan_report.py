"""The report of a forbidden access in KASAN's words (mm/kasan/report.c, report_generic.c; 6.1).

The frames of KASAN's own functions, which a kernel without it does not have, are left out of the stacks, and so is the
dump of the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from kmem.kapi.dumpstack import dump_stack
from kmem.kapi.regs import Frame, PtRegs
from kmem.mm.mm_types import kmem_cache
from kmem.sanitizers.kasan import Access, Object, Variable, Verdict

if TYPE_CHECKING:
    from kmem.machine.fault import Regs
    from kmem.sanitizers.instrumented import Instrumented
    from kmem.sanitizers.shadow import Shadow

RULE = "=" * 66
ROWS, ROW = 2, 16
"""Rows of shadow before and behind the one of the access; bytes in each (``META_ROWS_AROUND_ADDR``)."""


class Host(Protocol):
    """What is needed of `kmem.kapi.checks.Checks`."""

    k: Any
    kasan: Any


def report(
    c: Host, access: Access, verdict: Verdict, regs: Regs | None, shadow: Instrumented | None = None
) -> Iterator[str]:
    """The lines of ``print_report()``; *regs* None: a function that the module called made the access; *shadow*: that
    of instrumented code.
    """
    k = c.k
    where = regs.rip if regs is not None else k.caller
    symbol = k.kallsyms.sprint_backtrace(where) if regs is None else k.kallsyms.sprint(where)
    yield RULE
    yield f"BUG: KASAN: {verdict.bug} in {symbol}"
    way = "Write" if access.write else "Read"
    yield f"{way} of size {access.size} at addr {access.address:016x} by task {k.comm()}/{k.pid}"
    yield ""
    inner = [Frame(regs.rip)] if regs is not None else []
    for _, text in dump_stack(k.site.machine_state(), k.site.trace(PtRegs(regs) if regs else None, inner)):
        yield from text.split("\n")
    yield ""
    thing = verdict.object
    if thing is not None:
        yield from _stack(c, "Allocated", thing.pid, thing.sample)
        if thing.freed_sample is not None:
            yield from _stack(c, "Freed", thing.freed_pid, thing.freed_sample)
        yield from _described(c, thing, verdict, access)
    if verdict.variable is not None:
        yield from _variable(k, verdict.variable, access)
    yield "Memory state around the buggy address:"
    if shadow is not None:
        yield from memory_state(shadow, access.bad, access.bad)
    else:
        yield from memory_state(c.kasan.shadow, access.bad, access.phys + access.bad - access.address)
    yield RULE


def _stack(c: Host, what: str, pid: int, sample: Any) -> Iterator[str]:
    if sample is None:
        return
    yield f"{what} by task {pid}:"
    yield from (f" {c.k.kallsyms.sprint_backtrace(address)}" for address in c.k.site.sampled(sample))
    yield ""


def _described(c: Host, thing: Object, verdict: Verdict, access: Access) -> Iterator[str]:
    """``describe_object()``: objects of slabs only."""
    if not thing.cache:
        return
    view = c.k.mm.view
    s = view.ptr(kmem_cache, thing.cache)
    end = thing.address + int(s.object_size)
    yield f"The buggy address belongs to the object at {thing.address:016x}"
    yield f" which belongs to the cache {view.cache_name(s)} of size {int(s.object_size)}"
    place = Verdict(verdict.bug, _whole(thing, int(s.object_size))).distance(access.bad)
    yield f"The buggy address is located {place}"
    yield f" {int(s.object_size)}-byte region [{thing.address:016x}, {end:016x})"
    yield ""


def _variable(k: Any, thing: Variable, access: Access) -> Iterator[str]:
    """``print_address_description()`` of a variable, and ``print_address_stack_frame()``."""
    if not thing.frame:
        yield "The buggy address belongs to the variable:"
        yield f" {thing.name}+0x0/{thing.size:#x} [{k.module_at(thing.address).name}]"
        yield ""
        return
    yield f"The buggy address belongs to stack of task {k.comm()}/{k.pid}"
    yield f" and is located at offset {access.bad - thing.frame} in frame:"
    yield f" {k.kallsyms.sprint(thing.function)}"
    yield ""
    begin = thing.address - thing.frame
    yield "This frame has 1 object:"
    yield f" [{begin}, {begin + thing.size}) '{thing.name}'"
    yield ""


def _whole(thing: Object, size: int) -> Object:
    return Object(thing.address, size, size, thing.kind, thing.cache, thing.order, thing.site, thing.pid, None)


def memory_state(shadow: Shadow | Instrumented, address: int, phys: int) -> Iterator[str]:
    """``print_memory_metadata()``: the shadow of five rows of memory, the byte in question marked below."""
    covered = ROW * 8
    row = address // covered * covered
    for number in range(-ROWS, ROWS + 1):
        start = row + number * covered
        at = phys - address + start
        if not 0 <= at <= shadow.size - covered:
            continue
        states = " ".join(f"{state:02x}" for state in shadow.row(at, ROW))
        yield f"{'>' if number == 0 else ' '}{start:016x}: {states}"
        if number == 0:
            yield " " * (19 + (address - row) // 8 * 3) + "^"
