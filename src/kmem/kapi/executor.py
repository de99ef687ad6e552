"""Running guest code for the kernel: calls in, traps out, and what happens when an instruction faults.

A call ends in one of three ways: it returns; the task dies (:class:`TaskDied`), after the kernel's own report is in
the log; or the run cannot go on because kmem lacks something (:class:`kmem.errors.UnsupportedSymbol`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from kmem.abi.address import KERNEL_TEXT, PAGE_OFFSET, START_KERNEL_MAP, TASK_SIZE_MAX
from kmem.errors import UnsupportedSymbol
from kmem.kapi.bind import Bound
from kmem.kapi.extable import fixup_exception
from kmem.kapi.host import Call, Stuck
from kmem.lib.cstruct import CoreFault, u64
from kmem.machine import regs as x86
from kmem.machine.cpu import Cpu, Faulted, Outcome, OutOfBudget, Returned, Stopped
from kmem.machine.fault import GP, PF, PF_PROT, UD, AccessFault, Fault, Regs
from kmem.machine.outcome import Resumed
from kmem.machine.trap import Traps
from kmem.machine.trapcode import CALLER, MAILBOX_SIZE, RESULT
from kmem.mm.api_vmap import PAGE_KERNEL
from kmem.mm.boot import TEXT_SIZE
from kmem.mm.vm_flags import VM_MAP
from kmem.sched.layout import RECORD, THREAD_SIZE

if TYPE_CHECKING:
    from kmem.kapi.checks import Checks
    from kmem.kapi.failslab import Faults
    from kmem.kapi.site import CallSite, CrashSite
    from kmem.kapi.symbols import Symbols
    from kmem.kapi.tasks import Tasks
    from kmem.machine.bus import Bus
    from kmem.machine.clock import Clock
    from kmem.machine.paging import AddressSpace
    from kmem.mm.api import Mm
    from kmem.mm.user import UserMemory
    from kmem.modules.module import Module
    from kmem.sched.core import Scheduler

IRQ_STACK = 0x2000
"""``irq_stack_backing_store``, in the static per-cpu data."""
COMMON_TEXT = KERNEL_TEXT + TEXT_SIZE - (2 << 20)
"""Where the common code of all traps lies: inside the text mapping, behind the real kernel's text."""
MASK = (1 << 64) - 1
STAC, CLAC, EFLAGS_AC = b"\x0f\x01\xcb", b"\x0f\x01\xca", 1 << 18
CALL_COST = 150
"""Instructions that a call of an exported function is charged with, in time and in the budget."""


class TaskDied(Exception):
    """The running task was killed by a report that is in the log."""


class RunOver(TaskDied):
    """No task goes on: a deadlock, a panic, or the instructions that the whole run may take are used up."""


def _thread_returned(k: Host, words: Any) -> Any:
    return k.tasks.thread_returned(words[RESULT])


class Host(Protocol):
    """What is needed of the kernel."""

    mm: Mm
    bus: Bus
    clock: Clock
    unsupported: dict[str, int]
    unsupported_at: dict[str, CallSite]
    site: CrashSite
    checks: Checks | None
    faults: Faults | None
    sched: Scheduler
    tasks: Tasks

    symbols: Symbols
    user: UserMemory
    mem: AddressSpace

    @property
    def current(self) -> int: ...
    def module_at(self, addr: int) -> Module | None: ...
    def drain(self) -> None: ...
    def called_by(self, slug: str) -> None: ...
    def back_to_user(self) -> None: ...
    def finding(self, kind: str, message: str, **facts: object) -> None: ...
    def report_fault(self, fault: Fault, in_mm: bool) -> None: ...
    def report_ud2(self, fault: Fault) -> bool: ...
    def report_hang(self, regs: Regs, budget: int) -> None: ...


class Executor:
    """The CPU of one kernel with its traps and the stack of the task that runs."""

    def __init__(self, k: Host, gs_base: int, budget: int) -> None:
        self._k, self.budget = k, budget
        self._in_mm = False  # the fault that is coming is the allocator's
        self._end = 0  # count of instructions at which the run is out of its budget
        core = k.mm.core
        mailbox = core.k_alloc_percpu(MAILBOX_SIZE, 64, 0xCC0)
        self._cr3 = k.mm.boot.cr3
        self._mailbox = mailbox - PAGE_OFFSET
        self.cpu = Cpu(k.mm.ram, cr3=k.mm.boot.cr3, gs_base=gs_base, clock=k.clock, bus=k.bus)
        self.traps = Traps(
            self.cpu,
            common_addr=COMMON_TEXT,
            mailbox_gs_offset=mailbox,
            mailbox_phys=gs_base + mailbox - PAGE_OFFSET,
        )
        at = COMMON_TEXT - START_KERNEL_MAP
        k.mm.ram.mem[at : at + len(self.traps.code)] = self.traps.code
        k.called_by("irq-stack")
        for cpu in range(k.mm.config.cpus):  # interrupt stacks come first
            self._map_irq_stack(u64(k.mm.view.per_cpu_offset(cpu)) + IRQ_STACK)
        k.called_by("thread-stack")
        self.stack = self.main_stack = core.k_vmalloc(THREAD_SIZE, THREAD_SIZE, 0xCC0, 0, -1)
        while True:  # no hole below the stack: its guard page must be nobody else's
            filler = core.k_vmalloc(4096, 4096, 0xCC0, 0, -1)
            if filler > self.stack:
                core.k_vfree(filler)
                break
        self.stack_top = self.stack + RECORD
        self.traps.on_thread_return(partial(_thread_returned, k))
        self.traps.resuming = k.sched.resume

    def _map_irq_stack(self, backing: int) -> None:
        """``map_irq_stack()``."""
        mm = self._k.mm
        pages = [mm.virt_to_page(backing + at) for at in range(0, THREAD_SIZE, 4096)]
        array = mm.core.k_scratch(8 * len(pages))
        raw = b"".join(page.to_bytes(8, "little") for page in pages)
        mm.ram.mem[array - PAGE_OFFSET : array - PAGE_OFFSET + len(raw)] = raw
        mm.core.k_vmap(array, len(pages), VM_MAP, PAGE_KERNEL)
        mm.core.k_scratch_free(array)

    def stub(self, name: str, bound: Bound | None, address: int) -> bytes:
        """Let *bound* serve the exported function *name* at *address*; the code to put there."""
        k, private = self._k, self._k.mm.core.private
        if bound is None:

            def missing(_words: Any) -> int:
                k.unsupported[name] = k.unsupported.get(name, 0) + 1
                k.unsupported_at.setdefault(name, k.site.call_site(self.caller))
                raise UnsupportedSymbol(
                    f"the module called {name}(), which kmem does not have yet",
                    remedy=f"add {name} to src/kmem/kapi (docs/adding-an-export.md shows it in ten lines), "
                    "or run code that does not need it",
                )

            return self.traps.add(missing, address)
        serve_bound = bound if k.checks is None else k.checks.checked(name, bound)
        if k.faults is not None:
            serve_bound = k.faults.wrap(name, serve_bound)
        charge = self.cpu.meter.charge

        def serve(words: Any) -> Any:
            charge(CALL_COST)
            try:
                result = serve_bound(k, words)  # type: ignore[arg-type]  # the kernel is the kapi's Host too
            except CoreFault as wild:
                self._in_mm = True
                raise AccessFault(wild.address, wild.size, "write" if wild.write else "read") from None
            if private.events:
                k.drain()
            return result

        return self.traps.add(serve, address)

    @property
    def caller(self) -> int:
        """Return address of the call that is being served."""
        return int(self.traps.words[CALLER])

    @property
    def flags(self) -> int:
        """EFLAGS."""
        return self.cpu.engine.reg(x86.EFLAGS)

    def set_flags(self, value: int) -> None:
        """Set EFLAGS."""
        self.cpu.engine.set_reg(x86.EFLAGS, value)

    def use_cpu(self, gs_base: int, stack: int) -> None:
        """Execute the CPU whose per-cpu area is at *gs_base*, and its task, whose stack is at *stack*."""
        self.stack = stack
        if self.cpu.gs_base != gs_base:
            self.cpu.set_gs_base(gs_base)
            self.traps.use_mailbox(gs_base + self._mailbox)

    def run(self, fn: int, *args: int) -> int:
        """Call the guest function at *fn*; what it leaves in rax."""
        try:
            return self._run(fn, args)
        except TaskDied:
            if not self.cpu.depth:
                stack = self.main_stack
                self.traps.unwind(stack, stack + THREAD_SIZE)  # what waited on its stack waits no longer
                if self._k.checks and self._k.checks.instrument:
                    self._k.checks.instrument.shadow.unpoison(stack, THREAD_SIZE)
            raise
        finally:
            if not self.cpu.depth:
                self._k.back_to_user()

    def _run(self, fn: int, args: tuple[int, ...]) -> int:
        nested = self.cpu.depth > 0
        before = self.cpu.cr3
        try:
            self._use(self._cr3)
            if nested:
                left = self._end - self.cpu.meter.instructions
                stack, meter = self.cpu.registers().rsp - 256, self.cpu.meter
                meter.allow(left)
                value = self._go(partial(self.cpu.run, fn, args, stack=stack, budget=left), True)
                meter.shorten(self._k.sched.slice())
            else:
                value = self._run_main(fn, args)
        finally:
            self._use(before)
        assert value is not None
        return value

    def _run_main(self, fn: int, args: tuple[int, ...]) -> int | None:
        sched = self._k.sched
        sched.begin(self._k.current)
        self._end = self.cpu.meter.instructions + self.budget
        start = partial(self.cpu.run, fn, args, stack=self.stack_top, budget=min(self.budget, sched.slice()))
        try:
            return self._go(start, False)
        finally:
            sched.begin(sched.main)  # what died or waits for ever is off the CPU

    def idle(self, budget: int) -> None:
        """Run the other tasks until nothing is left to do before the scheduler's time is up."""
        sched = self._k.sched
        self._end = self.cpu.meter.instructions + budget
        sched.begin(self._k.current)
        try:
            sp = sched.idle_run()
            if sp:
                self._go(partial(self.cpu.resume, sched.load(sp), budget=sched.slice()), False)
        finally:
            sched.begin(sched.main)

    def _go(self, start: Callable[[], Outcome], nested: bool) -> int | None:
        """From one outcome to the next, until the function has returned; None where a run without one is over."""
        sched = self._k.sched
        while True:
            try:
                outcome = self._guard(start)
                if isinstance(outcome, Returned):
                    return outcome.value
                regs = self._after(outcome, nested)
            except RunOver:
                raise
            except TaskDied:
                if nested or not sched.on or sched.current == sched.main:
                    raise
                self.traps.unwind(self.stack, self.stack + THREAD_SIZE)
                regs = sched.bury()
            if regs is None:
                return None
            left = self._end - self.cpu.meter.instructions
            start = partial(self.cpu.resume, regs, budget=max(1, left if nested else min(left, sched.slice())))

    def _after(self, outcome: Outcome, nested: bool) -> Regs | None:
        """Where to go on after *outcome*, None for nowhere."""
        if isinstance(outcome, Resumed):
            return outcome.regs
        if isinstance(outcome, Faulted):
            return self._fault(outcome.fault)
        if isinstance(outcome, OutOfBudget):
            if not nested and self.cpu.meter.instructions < self._end:
                return self._k.sched.interrupted(outcome.regs)
            self._k.report_hang(outcome.regs, self.budget)
            raise RunOver
        if isinstance(outcome, Stopped) and outcome.reason == "idle":
            return None
        assert isinstance(outcome, Stopped)
        self._stopped(outcome)

    def drive(self, generator: Generator[Call, int, int] | int) -> int:
        """Run a handler of the kapi on the kernel's own behalf."""
        if isinstance(generator, int):
            return generator
        value = 0
        try:
            call = next(generator)
            while True:
                value = self.run(call.fn, *call.args)
                call = generator.send(value)
        except StopIteration as end:
            return int(end.value or 0)

    def _guard(self, run: Callable[[], Outcome]) -> Outcome:
        """Turn what a handler raised into the task's death."""
        try:
            return run()
        except Stuck:
            raise RunOver from None

    def _fault(self, fault: Fault) -> Regs:
        """An instruction faulted: where to go on, if the kernel would."""
        regs = fault.regs
        if fault.vector == UD and self._smap(regs):
            return regs
        smap = False
        if fault.vector == PF and fault.address < TASK_SIZE_MAX:
            if regs.eflags & EFLAGS_AC:
                if self._served(fault):
                    return regs
            else:
                smap = True
                fault = self._forbidden(fault)
        if fault.vector in (PF, GP) and not smap and self._fixed_up(fault):
            return regs
        if fault.vector == UD:
            if self._k.report_ud2(fault):
                regs.rip += 2
                return regs
        else:
            in_mm, self._in_mm = self._in_mm, False
            self._k.drain()
            self._k.report_fault(fault, in_mm)
        raise TaskDied

    # SMAP: guest code runs on the kernel's own page tables, where user memory is not; between stac and clac it runs on
    # those of the task.

    def _smap(self, regs: Regs) -> bool:
        """Carry out stac or clac, which the emulator does not know."""
        try:
            code = self._k.mem.read(regs.rip, 3)
        except AccessFault:
            return False
        if code not in (STAC, CLAC):
            return False
        regs.rip += 3
        regs.eflags = regs.eflags | EFLAGS_AC if code == STAC else regs.eflags & ~EFLAGS_AC
        mm = self._k.user.mm_of(self._k.current)
        self._use(self._k.user.cr3(mm) if code == STAC and mm else self._cr3)
        return True

    def _use(self, cr3: int) -> None:
        if self.cpu.cr3 != cr3:
            self.cpu.set_cr3(cr3)
            self.cpu.flush_tlb()

    def _served(self, fault: Fault) -> bool:
        """``do_user_addr_fault()`` for an access between stac and clac: whether it will work now."""
        user = self._k.user
        served = user.kernel_access(user.mm_of(self._k.current), fault.address, fault.error_code >> 1 & 1) >= 0
        if served:
            self.cpu.flush_tlb()
        return served

    def _forbidden(self, fault: Fault) -> Fault:
        """An access without stac: what the CPU would say with the task's page tables."""
        user, mm = self._k.user, self._k.user.mm_of(self._k.current)
        if mm and user.translate(mm, fault.address) >= 0:
            return replace(fault, error_code=fault.error_code | PF_PROT)
        return fault

    def _fixed_up(self, fault: Fault) -> bool:
        """``fixup_exception()``: go on where the exception table says; ``Fault.regs`` is changed."""
        regs = fault.regs
        fixup = self._k.symbols.fixups.get(regs.rip)
        if fixup is not None:
            regs.rip = fixup
            return True
        module = self._k.module_at(regs.rip)
        entry = module.search_extable(regs.rip) if module is not None else None
        return entry is not None and fixup_exception(entry, fault)

    def _stopped(self, outcome: Stopped) -> NoReturn:
        self._k.finding("api-misuse", f"the CPU stopped: {outcome.reason}")
        raise TaskDied

    def code_changed(self) -> None:
        """Module code was written, moved or freed by Python."""
        if self.cpu.depth:
            self.cpu.flush_tlb()
        else:
            self.cpu.code_changed()
