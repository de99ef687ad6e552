"""The emulated CPU: runs guest code on the page tables in simulated RAM, and says how the run ended.

A `Cpu` is one Unicorn machine in 64-bit mode at the kernel's privilege level, with paging, WP and NX on. It
translates addresses by walking the tables in RAM, through a TLB: after a change to a present entry call
`Cpu.flush_tlb`. What Python stores where translated code may lie must be announced (`Cpu.code_written`; after a
rollback of RAM `Cpu.flush_code`).

    cpu = Cpu(ram, cr3=0x1000, gs_base=percpu.gs_base(0), return_to=traps.finish)
    match cpu.run(init_module, stack=top_of_stack):
        case Returned(value): ...
        case Faulted(fault): ...

Exact at every exception: vector, error code, CR2, rip and all registers. A budget is counted in instructions
(`kmem.machine.meter`) and stops at the same one every time; there is no wall-clock limit, because nothing runs
without being counted.

`run` may be called from a trap handler. That nests the emulator on the host's stack, so it is limited to
`MAX_DEPTH`; handlers that call guest code should be generators (`kmem.machine.trap`), which nest nowhere.

Not modelled: interrupts (nothing delivers them), user mode, AVX, RDRAND and RDSEED (cpuid denies them, they are
undefined opcodes). Privileged instructions other than ``hlt``, ``in``, ``out``, ``rdtsc``, ``syscall`` and
``sysenter`` simply work on the virtual CPU; a run that leaves a register of `regs.CONTROL` changed is stopped when it
ends, and the CPU is put back. The hypervisor bit of cpuid is set. Room for translated code is 32 MiB; a run nested in a
handler that makes the engine run out of it crashes the process (60,000 blocks of code fit).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kmem.errors import InternalError
from kmem.machine import regs as x86
from kmem.machine import uc
from kmem.machine.bus import ASIDE, PHYS_BITS, OpenBus
from kmem.machine.exception import TRAPS, Exceptions
from kmem.machine.fault import DF, PF, PF_INSTR, UD, AccessFault, Fault, Regs
from kmem.machine.meter import Meter
from kmem.machine.outcome import EndRun, Faulted, Outcome, OutOfBudget, Returned, Stopped
from kmem.machine.paging import NX, PRESENT, PSE, AddressSpace
from kmem.machine.uc import Context, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kmem.machine.bus import Bus
    from kmem.machine.clock import Clock
    from kmem.machine.ram import Ram

__all__ = ["Cpu", "EndRun", "Faulted", "OutOfBudget", "Outcome", "Returned", "Stopped"]

DEFAULT_BUDGET = 100_000_000
"""Instructions of one run; about a second."""
MAX_DEPTH = 16
"""Runs within runs. The emulator itself crashes the process at 64."""

CR0_VALUE = 0x8005_0033
"""PG, AM, WP, NE, ET, MP, PE."""
CR4_VALUE = 0x6B0
"""PSE, PAE, PGE, OSFXSR, OSXMMEXCPT."""
MSR_EFER, EFER_VALUE = 0xC000_0080, 0xD01
"""NXE, LMA, LME, SCE."""

_ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")


class Cpu:
    """One emulated CPU on *ram*.

    *cr3* is the physical address of the top page table, below 4 GiB; *gs_base* the base of the per-cpu area;
    *return_to* the address of a ``hlt`` instruction that functions return to (`Traps` has one). *clock*, if given,
    follows the instructions executed and feeds ``rdtsc``. *bus* answers for physical addresses above RAM and for
    I/O ports.
    """

    def __init__(
        self,
        ram: Ram,
        *,
        cr3: int,
        gs_base: int = 0,
        return_to: int = 0,
        clock: Clock | None = None,
        bus: Bus | None = None,
    ) -> None:
        if ram.size > 1 << PHYS_BITS:
            raise ValueError(f"the emulated CPU has {PHYS_BITS} address lines: not enough for {ram.size} bytes")
        self.ram = ram
        self.bus: Bus = bus or OpenBus()
        self.clock = clock
        self.return_to = return_to
        self.engine = engine = Engine(uc.ARCH_X86, uc.MODE_64, model=uc.CPU_X86_WESTMERE)
        engine.map_ram(0, ram.size, ram.base)
        if ram.size < ASIDE:
            engine.map_mmio(ram.size, ASIDE - ram.size, self._mmio_read, self._mmio_write)
        self.meter = Meter(engine)
        if clock is not None:
            clock.attach(lambda: self.meter.instructions)
        self._add_hooks()
        self._file = x86.RegisterFile(engine)
        engine.set_reg(x86.CR4, CR4_VALUE)
        engine.set_msr(MSR_EFER, EFER_VALUE)
        engine.set_reg(x86.CR3, cr3)
        engine.set_reg(x86.CR0, CR0_VALUE)
        engine.set_reg(x86.GS_BASE, gs_base)
        self.exceptions = Exceptions(engine, self._file, ram)
        self._baseline = Context(engine)
        self._control: tuple[int, ...] = ()
        self._accept()
        self._outer: list[Context] = []
        self.suspend: Callable[[], Callable[[], None]] | None = None
        """Called before a nested run; what it returns is called after it. For `Traps`, to keep the mailbox."""
        self._depth = 0
        self._stale = False
        self._vector: int | None = None
        self._stopped_by = ""
        self._pending: BaseException | Outcome | None = None

    # Running

    def run(
        self,
        entry: int,
        args: Sequence[int] = (),
        *,
        stack: int,
        return_to: int | None = None,
        budget: int = DEFAULT_BUDGET,
    ) -> Outcome:
        """Call the guest function at *entry* with integers, the seventh and more on the stack that ends below *stack*.

        All other registers start as 0, interrupts enabled. Raises what a trap handler raised, and ValueError where
        there is no stack.
        """
        back = self.return_to if return_to is None else return_to
        more = [value & 0xFFFF_FFFF_FFFF_FFFF for value in args[len(_ARGUMENTS) :]]
        top = (stack - 8 * len(more) & ~15) - 8
        try:
            for at, value in enumerate((back, *more)):
                AddressSpace(self.ram, self.cr3).set_u64(top + 8 * at, value)
        except AccessFault:
            raise ValueError(f"no memory is mapped at {top:#x}, the top of the stack") from None
        regs = Regs(rip=entry, rsp=top, eflags=x86.EFLAGS_IF | x86.EFLAGS_FIXED)
        for name, value in zip(_ARGUMENTS, args, strict=False):
            setattr(regs, name, value & 0xFFFF_FFFF_FFFF_FFFF)
        return self.resume(regs, return_to=back, budget=budget)

    def resume(self, regs: Regs, *, return_to: int | None = None, budget: int = DEFAULT_BUDGET) -> Outcome:
        """Run on from *regs*: after `OutOfBudget`, behind the ``ud2`` of a WARN, or on the stack of another task.

        Straight-line code is executed in one piece: give a time slice 2,048 instructions at least, or it may do
        nothing.
        """
        if self._depth >= MAX_DEPTH:
            raise InternalError(
                f"guest code is run from trap handlers {MAX_DEPTH} levels deep",
                remedy="write the handler as a generator and yield Call(fn, args) instead of calling Cpu.run",
            )
        if self._stale and not self._depth:
            self.flush_code()
        back = self.return_to if return_to is None else return_to
        leave = self._enter(back) if self._depth else None
        self._depth += 1
        self._file.write(regs)
        counted = self.meter.begin(budget)
        changed, after = "", regs
        try:
            outcome = self._outcome(self.engine.start(regs.rip), back)
        finally:
            self.meter.end(counted)
            self._depth -= 1
            control = self._file.control()
            if control != self._control:
                after = self._file.read()
                changed = self._put_back(control)
            if leave is not None:
                leave()
        return Stopped(changed, after) if changed and isinstance(outcome, Returned | OutOfBudget) else outcome

    def _enter(self, return_to: int) -> Callable[[], None]:
        """Put the run that this one interrupts aside; the result takes it up again."""
        while len(self._outer) < self._depth:
            self._outer.append(Context(self.engine))
        outer = self._outer[self._depth - 1]
        outer.save()
        restore = self.suspend() if self.suspend else None

        def leave() -> None:
            # A stop request outlives the run that it was meant for, until the next run starts: this one, of one hlt.
            self.engine.start(return_to)
            self._vector = None
            outer.restore()
            if restore is not None:
                restore()

        return leave

    def _outcome(self, code: int, return_to: int) -> Outcome:
        pending, self._pending = self._pending, None
        vector, self._vector = self._vector, None
        reason, self._stopped_by = self._stopped_by, ""
        error_code, software = self.exceptions.take() if vector is not None else (0, False)
        if vector == DF and not software:
            # Nothing can raise a double fault here: the engine took an exception to be in flight. Now it knows better.
            return self._outcome(self.engine.start(self.engine.reg(x86.RIP)), return_to)
        if isinstance(pending, BaseException):
            raise pending
        if pending is not None:
            return pending
        if vector is not None:
            if software and vector not in TRAPS:
                return Stopped(f"int {vector:#x}", self._file.read())
            fault = self.exceptions.fault(vector, error_code, self.cr3)
            return self._fetch(fault, return_to) if vector == PF and error_code & PF_INSTR else Faulted(fault)
        if reason:
            return Stopped(reason, self._file.read())
        if code == uc.ERR_INSN_INVALID:
            return Faulted(Fault(UD, regs=self.exceptions.regs(UD)))
        rip, rax = self._file.end()
        if rip == return_to + 1 and not code:
            return Returned(rax)
        if self.meter.exhausted:
            return OutOfBudget(self._file.read())
        return Stopped("instruction fetch from device memory" if code else "hlt", self._file.read())

    def _fetch(self, fault: Fault, return_to: int) -> Outcome:
        """A failed fetch: what comes before it in the same block of code was not executed yet."""
        at = self.exceptions.unfetched(fault, self.cr3)
        if at == fault.regs.rip:
            return Faulted(fault)
        code = self.engine.start(fault.regs.rip, until=at)
        if code or self._pending is not None or self._vector is not None or self.engine.reg(x86.RIP) != at:
            return self._outcome(code, return_to)
        return Faulted(replace(fault, regs=self.exceptions.regs(PF)))

    def _put_back(self, now: tuple[int, ...]) -> str:
        """Undo that the code changed control registers to *now*; what it changed, in words."""
        gs_base = self.gs_base
        self._baseline.restore()
        self.engine.set_reg(x86.GS_BASE, gs_base)
        self.flush_tlb()
        both = zip(x86.CONTROL, self._control, now, strict=True)
        what = [f"{name} from {old:#x} to {new:#x}" for name, old, new in both if old != new]
        return f"the code changed {', '.join(what)}"

    # Events

    def _add_hooks(self) -> None:
        engine, lib, handle = self.engine, self.engine.lib, self.engine.handle

        def intr(_engine: int, vector: int) -> None:
            self._vector = vector
            lib.uc_emu_stop(handle)

        def stopping(reason: str) -> Callable[[int], int]:
            def hook(_engine: int) -> int:
                self._stopped_by = reason
                lib.uc_emu_stop(handle)
                return 1

            return hook

        def rdtsc(_engine: int) -> int:
            tsc = self.guard(lambda: self.clock.tsc if self.clock else 0, 0)
            engine.set_reg(x86.RAX, tsc & 0xFFFF_FFFF)
            engine.set_reg(x86.RDX, tsc >> 32)
            return 1

        def port_in(_engine: int, port: int, size: int) -> int:
            return int(self.guard(lambda: self.bus.port_in(port, size), 0)) & 0xFFFF_FFFF

        engine.hook(uc.HOOK_INTR, uc.INTR_HOOK(intr))
        for insn, reason in ((uc.INS_SYSCALL, "syscall"), (uc.INS_SYSENTER, "sysenter")):
            engine.hook(uc.HOOK_INSN, uc.INSN_HOOK(stopping(reason)), insn=insn)
        engine.hook(uc.HOOK_INSN, uc.INSN_HOOK(rdtsc), insn=uc.INS_RDTSC)
        engine.hook(uc.HOOK_INSN, uc.IN_HOOK(port_in), insn=uc.INS_IN)

    def _mmio_read(self, _engine: int, offset: int, size: int) -> int:
        return int(self.guard(lambda: self.bus.read(self.ram.size + offset, size), 0)) & 0xFFFF_FFFF_FFFF_FFFF

    def _mmio_write(self, _engine: int, offset: int, size: int, value: int) -> None:
        self.guard(lambda: self.bus.write(self.ram.size + offset, size, value), None)

    def map_aside(self, size: int, host: int) -> None:
        """Give the CPU *size* bytes at the host address *host* as physical memory from ASIDE on, once."""
        self.engine.map_ram(ASIDE, size, host)

    def watch_stores(self, listener: Callable[[int, int], None], ignored: set[int]) -> None:
        """From now on tell *listener* the physical address and size of each store of guest code, unless its page
        frame is among those that are *ignored* at that time.
        """

        def store(_engine: int, _kind: int, at: int, size: int, _value: int) -> None:
            if at >> 12 not in ignored:
                self.guard(lambda: listener(at, size), None)

        self.engine.hook(uc.HOOK_MEM_WRITE, uc.MEM_HOOK(store))
        self.flush_code()

    def guard(self, action: Callable[[], Any], instead: Any) -> Any:
        """Call *action* from a hook.

        What it raises ends the run and comes out of `run`; the hook goes on with *instead*.
        """
        try:
            return action()
        except BaseException as error:
            self.pend(error)
            self.engine.stop()
            return instead

    def pend(self, end: BaseException | Outcome) -> None:
        """From a hook: make *end* what the run raises or returns. The first one counts."""
        if self._pending is None:
            self._pending = end.outcome if isinstance(end, EndRun) else end

    # State

    @property
    def depth(self) -> int:
        """Runs that are going on: 0 outside `run`, 1 in a trap handler, more in runs from trap handlers."""
        return self._depth

    def registers(self) -> Regs:
        """The registers as they are, also from a hook."""
        return self._file.read()

    def _accept(self) -> None:
        """Take the control registers as they are for what code must leave them at."""
        self._control = self._file.control()
        self._baseline.save()

    @property
    def cr3(self) -> int:
        """Physical address of the top page table."""
        return self._control[1]

    @property
    def gs_base(self) -> int:
        """Base of the per-cpu area that is in use."""
        return self._control[3]

    def set_cr3(self, cr3: int) -> None:
        """Use the page tables at physical *cr3*, below 4 GiB."""
        self.engine.set_reg(x86.CR3, cr3)
        self._accept()

    def set_gs_base(self, gs_base: int) -> None:
        """Use the per-cpu area at *gs_base*. Allowed at any time: from a hook, for the code that follows."""
        self.engine.set_reg(x86.GS_BASE, gs_base)
        at = list(x86.CONTROL).index("gs base")
        self._control = (*self._control[:at], gs_base, *self._control[at + 1 :])

    def save(self, into: Context | None = None) -> Context:
        """Copy all registers, control and vector registers included; for one of several virtual CPUs."""
        context = into or Context(self.engine)
        context.save()
        return context

    def restore(self, context: Context) -> None:
        """Take the registers of a virtual CPU that was saved. Not while guest code runs."""
        if self._depth:
            raise InternalError("a CPU was switched while guest code runs", remedy="switch between runs")
        context.restore()
        self._accept()
        self.flush_tlb()

    def flush_tlb(self) -> None:
        """Forget cached translations, after a change to present page table entries. Allowed at any time."""
        self.engine.flush_tlb()

    def _executable(self, address: int) -> bool:
        entries = AddressSpace(self.ram, self.cr3).walk(address)
        leaf = entries[-1][1] if entries else 0
        whole = leaf & PRESENT and (len(entries) == 4 or leaf & PSE)
        return bool(whole) and not any(entry & NX for _, entry in entries)

    def code_written(self, address: int, size: int) -> None:
        """Say that the code at virtual *address* is new: Python changed it, or its pages became executable.

        Allowed at any time; about 2 us for a page. Addresses that are not executable are passed over.
        """
        self.flush_tlb()
        end = address + size
        while address < end:
            count = min(end - address, 0x1000 - address % 0x1000)
            if self._executable(address):
                self.engine.forget_code(address, count)
            address += count

    def code_changed(self) -> None:
        """As `flush_code`, before guest code runs the next time."""
        self._stale = True

    def flush_code(self) -> None:
        """Forget all translated code and translations: RAM was rolled back. Not while guest code runs."""
        if self._depth:
            raise InternalError("translated code was flushed while it runs", remedy="use Cpu.code_written")
        self._stale = False
        self.engine.flush_code()
        self.engine.flush_tlb()

    def close(self) -> None:
        """Give the emulator's memory back; before the RAM's."""
        self._outer.clear()
        self.engine.close()
