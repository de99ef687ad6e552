"""Where the kernel stands when something goes wrong: registers, call trace, the module code to look at, and the
reports.

The values that `kmem.kapi.crash` prints come from here. Everything is found when it is asked for; a run without a
report pays nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kmem.abi.address import (
    KERNEL_TEXT,
    MODULES_END,
    MODULES_VADDR,
    PAGE_OFFSET,
    TASK_SIZE_MAX,
    VMALLOC_END,
    VMALLOC_START,
)
from kmem.kapi.dumpstack import CrashState
from kmem.machine.fault import PF, AccessFault, Fault, Regs
from kmem.mm.boot import TEXT_SIZE
from kmem.mm.mm_types import kmem_cache

if TYPE_CHECKING:
    from kmem.kapi.dumpstack import Trace
    from kmem.kapi.fault import Context
    from kmem.kapi.regs import Frame, MachineState, PtRegs
    from kmem.modules.orc import Cursor
    from kmem.sanitizers.report import SlabObject

Line = tuple[int, str]
PAGE = 4096


@dataclass(frozen=True, slots=True)
class CallSite:
    """A place in module code: the return address of a call. Keeps the module, so that it can be shown after
    unloading.
    """

    address: int
    module: Any
    function: str
    offset: int
    back: int = 1

    def source(self) -> tuple[str, int]:
        """File and line, innermost code of the module's own (not of a kernel header that was inlined); empty if
        unknown.
        """
        if self.module is None:
            return "", 0
        at = self.address - self.back
        found = self.module.source(at)
        if found is None:
            return "", 0
        if "/include/linux/" in found.file:
            for frame in self.module.source_frames(at):
                if "/include/linux/" not in frame.file:
                    return short_path(frame.file), frame.line
        return short_path(found.file), found.line

    def facts(self) -> dict[str, Any]:
        """As a finding takes them."""
        file, line = self.source()
        return {"function": self.function, "offset": self.offset, "file": file, "line": line}

    def __str__(self) -> str:
        file, line = self.source()
        return f"{file}:{line}" if file else f"{self.function}+{self.offset:#x}"


def short_path(file: str) -> str:
    """A source path as a person writes it: relative to the working directory where that is shorter."""
    shorter = os.path.relpath(file)
    return file if shorter.startswith("..") else shorter


class CrashSite:
    """The crash side of one kernel; implements `kmem.kapi.crash.CrashHost` together with it."""

    def __init__(self, k: Any) -> None:
        self.k = k
        self.crash = CrashState()
        self.kmem_cache = kmem_cache
        self.log, self.release, self.regions = k.log, k.release, k.release.addresses
        self.entry = ""
        """The inner end of the running system call's frames (`kmem.kapi.kernel_text`); empty for a module's init or
        exit."""
        self._regs: Regs | None = None
        self._cr2 = 0
        self._sites: dict[tuple[int, int], CallSite] = {}

    @contextmanager
    def inside(self, entry: str) -> Iterator[None]:
        """Code of a module runs below the system call whose frames end at *entry*."""
        before, self.entry = self.entry, entry
        try:
            yield
        finally:
            self.entry = before

    # values (CrashHost)

    def regs(self) -> Regs:
        """Registers at the fault that is being reported, or at the call that is being served."""
        if self._regs is not None:
            return self._regs
        return self.k.executor.traps.registers() if self.k.executor.cpu.depth else Regs()

    def add_taint(self, flag: int) -> None:
        """``add_taint()``."""
        self.k.add_taint(flag)

    def explain_fault(self, address: int) -> tuple[str, str, SlabObject] | None:
        """What the checks know of an address where nothing is mapped."""
        return self.k.checks.explain_fault(address) if self.k.checks else None

    def finding(self, kind: str, message: str, **facts: object) -> None:
        """Record a finding."""
        self.k.finding(kind, message, **facts)

    def machine_state(self) -> MachineState:
        """The values of this moment."""
        from kmem.kapi.regs import Build, LoadedModule, MachineState
        from kmem.machine.cpu import CR0_VALUE, CR4_VALUE

        k, r = self.k, self.k.release
        states = ("live", "coming", "going", "coming")
        modules = [LoadedModule(m.name, m.taints, states[m.state]) for m in k.modules.values()]
        cpu = k.executor.cpu
        return MachineState(
            read=self._read_code,
            symbols=k.kallsyms,
            build=Build(r.oops_version, r.oops_options, r.hardware),
            cpu=k.cpu,
            pid=k.pid,
            comm=k.comm(),
            taint=k.tainted,
            modules=modules,
            gs_base=cpu.gs_base,
            cr0=CR0_VALUE,
            cr2=self._cr2,
            cr3=k.user.cr3(mm) if (mm := k.user.mm_of(k.current)) else cpu.cr3,
            cr4=CR4_VALUE,
            irqs_disabled=k.context.irqs_disabled(),
            preempt_count=k.context.preempt_count,
        )

    def _read_code(self, addr: int, n: int) -> bytes:
        """Memory for the Code: line; the model's kernel functions have no machine code to show."""
        if KERNEL_TEXT <= addr + 42 < KERNEL_TEXT + TEXT_SIZE:
            raise AccessFault(addr, n, "read")
        return bytes(self.k.mem.read(addr, n))

    def tainted_text(self) -> str:
        """``print_tainted()``."""
        from kmem.kapi.regs import print_tainted

        return print_tainted(self.k.tainted)

    def function_at(self, addr: int) -> str:
        """The name of the function that *addr* lies in."""
        symbol = self.k.kallsyms.lookup(addr)
        return symbol.name if symbol else ""

    def fault_context(self) -> Context:
        """Page tables and stack of the running task."""
        from kmem.kapi.fault import Context

        stack = self.k.executor.stack
        return Context(self._walk, (stack, stack + (16 << 10)))

    def _walk(self, addr: int) -> list[tuple[str, int | None]]:
        mm = self.k.user.mm_of(self.k.current) if addr < TASK_SIZE_MAX else 0
        entries: list[tuple[str, int | None]] = [*(self.k.user.walk(mm, addr) if mm else self.k.mem.walk(addr))]
        entries.insert(1, ("P4D", entries[0][1]))
        return entries

    # call traces

    def sampled(self, sample: Any) -> list[int]:
        """Reliable return addresses of a stack that was kept: its registers, and words of memory by address."""
        return [address for address, reliable in self._unwound(sample.regs, sample) if reliable]

    def _unwound(self, regs: Regs, memory: Any = None) -> list[tuple[int, bool]]:
        from kmem.modules.orc import Cursor, unwind

        k = self.k
        mem = memory or k.mem

        def find(addr: int) -> Any:
            module = k.module_at(addr)
            return module.orc.find(addr) if module else None

        def is_text(addr: int) -> bool:
            module = k.module_at(addr)
            return module is not None and module.is_text(addr)

        def stub(at: Cursor) -> Cursor | None:
            if k.module_at(at.ip) is not None:
                return None
            try:
                return Cursor(mem.u64(at.sp), at.sp + 8, at.bp)
            except AccessFault:
                return None

        end = k.executor.stack + (16 << 10)
        if k.executor.stack - 4096 <= regs.rsp < k.executor.stack:
            regs = replace(regs, rsp=k.executor.stack)
        if not k.executor.stack <= regs.rsp < end:
            return []
        return unwind(regs, mem, find=find, is_text=is_text, stack_end=end, stub=stub)

    def trace(self, regs: PtRegs | None, inner: Sequence[Frame] = ()) -> Trace:
        """The call trace from *regs* (None: from the call that is being served), under the frames *inner*."""
        from kmem.kapi.dumpstack import task_trace
        from kmem.kapi.kernel_text import MODULE_EXIT, MODULE_INIT, kernel_text

        frames = self._unwound(regs.regs if regs else self.regs())
        going = any(module.state == 2 for module in self.k.modules.values())
        text, sched = kernel_text(self.k.release.name), self.k.sched
        ours = not sched.on or (self.k.current == sched.main and not self.k.context.in_interrupt())
        outer = text.syscall(self.entry or (MODULE_EXIT if going else MODULE_INIT)) if ours else []
        return task_trace(frames, inner=inner, outer=outer)

    def stack_addresses(self) -> list[int]:
        """Reliable return addresses from the call that is being served outwards."""
        if not (self.k._executor and self.k.executor.cpu.depth):
            return []
        return [address for address, reliable in self._unwound(self.regs()) if reliable]

    def export(self, ended: bool = False) -> str:
        """Name of the exported function that is being served; with *ended*, of the one in which the run has just
        ended.
        """
        if not (self.k._executor and (ended or self.k.executor.cpu.depth)):
            return ""
        symbol = self.k.kallsyms.lookup(self.k.executor.traps.stub)
        return symbol.name if symbol else ""

    def stack_lines(self, through: str = "") -> Iterable[Line]:
        """``dump_stack()`` in the kernel function *through* on behalf of the module."""
        from kmem.kapi.dumpstack import dump_stack
        from kmem.kapi.kernel_text import kernel_text

        if not (self.k._executor and self.k.executor.cpu.depth):
            return []
        text = kernel_text(self.k.release.name)
        inner = text.frames(self.export(), through, "show_stack") if through else []
        return list(dump_stack(self.machine_state(), self.trace(None, inner)))

    # the code to look at

    def call_site(self, addr: int, back: int = 1) -> CallSite:
        """The place of a return address (*back* 0: of an instruction)."""
        found = self._sites.get((addr, back))
        if found is None:
            module, symbol = self.k.module_at(addr), self.k.kallsyms.lookup(addr - back)
            name = symbol.name if symbol else f"{addr:#x}"
            found = CallSite(addr, module, name, addr - symbol.addr if symbol else 0, back)
            self._sites[addr, back] = found
        return found

    def forget_sites(self) -> None:
        """A module came or went: addresses mean something else now."""
        self._sites.clear()

    def place(self, addr: int) -> str:
        """``drv.c:41``, or the symbol where no source line is known; for a return address."""
        return str(self.call_site(addr))

    def blame(self, regs: Any) -> Any:
        """The module code that *regs*, or the call that is being served, came from."""
        from kmem.kapi.crash import Blame

        k = self.k
        candidates: list[tuple[int, int]] = []
        at = regs.regs if regs is not None else self._regs
        if at is not None:
            candidates.append((at.rip, 0))
        served = [(k.caller, 1)] if k._executor and k.executor.cpu.depth else []
        if at is not None or served:
            unwound = [(address, 1) for address, reliable in self._unwound(at or self.regs()) if reliable]
            # Registers of now may be of guest code that was called since the last call that was served.
            candidates += unwound + served if regs is not None else served + unwound
        for addr, back in candidates:
            if k.module_at(addr) is not None:
                return Blame(**self.call_site(addr, back).facts())
        return Blame()

    def region(self, address: int) -> str:
        """What part of the kernel's address space *address* lies in, in a word or two."""
        if PAGE_OFFSET <= address < PAGE_OFFSET + self.k.mm.ram.size:
            return "direct map"
        if VMALLOC_START <= address <= VMALLOC_END:
            return "vmalloc"
        if MODULES_VADDR <= address < MODULES_END:
            return "modules"
        if PAGE <= address < TASK_SIZE_MAX and self.k.user.is_mapped(address):
            return "user"
        return "per-cpu" if address < 1 << 32 else "kernel"

    # reports

    def fault(self, fault: Fault, in_mm: bool) -> None:
        """Print the oops of *fault*; *in_mm*: the allocator followed a bad free pointer for the function that is being
        served.
        """
        from kmem.kapi import crash
        from kmem.kapi.kernel_text import kernel_text

        site, inner = None, []
        if in_mm:
            text, name = kernel_text(self.k.release.name), self.export(ended=True)
            # Where the fast path is a function of its own, or for want of better, the first place that reads a list.
            site = text.site("slub-freelist", name) if text.has("slub-freelist", name) else text.site("slub-freelist")
            inner = text.frames(name, site.function) if name != site.function else []
        self._regs = fault.regs
        if fault.vector == PF:
            self._cr2 = fault.address
        try:
            crash.report_fault(self, fault, site, inner, self.export(ended=True) if in_mm else "")
        finally:
            self._regs = None

    def ud2(self, fault: Fault) -> bool:
        """Print a BUG or WARN in module code; True if execution goes on behind it."""
        from kmem.kapi import bug, crash

        self._regs = fault.regs
        try:
            module = self.k.module_at(fault.regs.rip)
            entry = module.bug_at(fault.regs.rip) if module else None
            known = bug.BugEntry(entry.file, entry.line, entry.flags) if entry else None
            report = crash.report_ud2(self, fault, known)
            if report.done and entry:
                flags_at = entry.entry + 10
                self.k.mm.ram.mem[self.k.mm.phys_of(flags_at)] |= bug.BUGFLAG_DONE
            return report.kind == "warn"
        finally:
            self._regs = None

    def warning(self, file: str, line: int, function: str, message: str) -> None:
        """A WARN of the kernel itself."""
        from kmem.kapi import crash

        crash.report_warning(self, file, line, function, message, export=self.export())

    def kernel_bug(self, file: str, line: int, function: str) -> None:
        """A BUG of the kernel itself."""
        from kmem.kapi import crash

        crash.report_kernel_bug(self, file, line, function, export=self.export())

    def dump_stack(self) -> None:
        """``dump_stack()`` called by the module."""
        from kmem.kapi import crash

        crash.report_dump_stack(self)

    def hang(self, regs: Regs, budget: int) -> None:
        """The instruction budget is used up."""
        self._regs = regs
        try:
            self.finding("hang", f"still running after {budget} instructions (--budget)")
        finally:
            self._regs = None

    def sleeping(self, function: str, file: str, line: int) -> None:
        """``might_sleep()`` where sleeping is forbidden. Kernels with CONFIG_DEBUG_ATOMIC_SLEEP print it; it is a
        finding anyway. One report a second.
        """
        text: list[str] = []
        variables, now = self.k.mm.view.kdata, self.k.now()
        due = not variables.might_sleep_reported or now >= variables.might_sleep_reported + 1_000_000_000
        if self.k.config.get("CONFIG_DEBUG_ATOMIC_SLEEP") and due:
            variables.might_sleep_reported = now
            from kmem.kapi import bug

            context = self.k.context
            for level, shown in bug.sleeping_function(
                self.machine_state(),
                self.trace(None),
                file,
                line,
                preempt_count=context.preempt_count,
                rcu_depth=context.rcu_depth(),
            ):
                self.k.printk(level, shown)
                text.append(shown)
        what = f"{self.export()}() may sleep" if self.k.caller else "a call that may sleep"
        self._slept(what, text)

    def _slept(self, what: str, text: Sequence[str] = ()) -> None:
        from kmem.kapi.forbidden import why

        advice = why(self.k, self.export() if self.k.caller else "")
        self.finding("sleep-in-atomic", f"{what} where sleeping is forbidden", text=tuple(text), advice=advice)

    def scheduling(self) -> None:
        """The scheduler was entered with preemption disabled."""
        from kmem.kapi import bug

        count = self.k.context.preempt_count + 1  # schedule() itself has disabled preemption
        lines = bug.scheduling_while_atomic(self.machine_state(), self.trace(None), preempt_count=count)
        text = [line for level, line in lines if self.k.printk(level, line) is None]
        self._slept(f"{self.export()}() slept" if self.k.caller else "the task slept", text)

    def waiting(self) -> None:
        """The scheduler was entered by an RCU reader, or with interrupts disabled; Debian's kernel says nothing."""
        self._slept(f"{self.export()}() slept" if self.k.caller else "the task slept")
