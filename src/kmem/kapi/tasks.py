"""The kernel as the scheduler sees it, and what Python asks of the scheduler: threads made and ended, time that passes,
a machine that is saved while threads sleep.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from kmem.errors import UsageError
from kmem.kapi.host import Stuck
from kmem.lib.cstruct import u64
from kmem.machine.fault import AccessFault
from kmem.mm.mm_types import KDATA_ADDRESS, kdata
from kmem.sched import core, deadlock
from kmem.sched import layout as at
from kmem.sched.core import Scheduler

if TYPE_CHECKING:
    from kmem.kapi.site import CallSite
    from kmem.kernel import Kernel
    from kmem.modules.module import Module


SETTLE = 20_000_000
"""Nanoseconds between a module's init and its exit, for its threads, timers and works."""


class Tasks:
    """The tasks of one kernel (`kmem.sched.core.Host`)."""

    def __init__(self, k: Any) -> None:
        self.k: Kernel = k
        self.mem = k.mem
        self.layout, self.clock, self.nr_cpus = k.layout, k.clock, k.nr_cpus
        bases = [u64(k.mm.view.per_cpu_offset(cpu)) for cpu in range(k.nr_cpus)]
        self._current = [base + k.percpu("current_task") for base in bases]
        self._count = [base + k.percpu("__preempt_count") for base in bases]
        self.task_list = KDATA_ADDRESS + kdata.field("tasks").offset
        self.sched = Scheduler(self, k.boot_config.seed)
        self.held: dict[int, tuple[int, int, str]] = {}
        """Locks that are held: task, return address of the call and kind by address. For reports only."""
        self._places: dict[int, Any] = {}
        """Of those that were taken in a module's init, whose code is gone: where."""

    @property
    def cpu(self) -> int:
        """The CPU that the machine executes."""
        return self.k.cpu

    @property
    def context(self) -> Any:
        """Counts and flags of that CPU."""
        return self.k.context

    @property
    def executor(self) -> Any:
        """The machine."""
        return self.k.executor

    @property
    def caller(self) -> int:
        """Return address of the call that is being served."""
        return self.k.caller

    @property
    def interrupt_return(self) -> int:
        """Where an interrupted task goes on."""
        return self.k.address_of("kmem_interrupt_return")

    def address_of(self, name: str) -> int:
        """Address of an export."""
        return self.k.address_of(name)

    def use_cpu(self, cpu: int, task: int) -> None:
        """The machine executes *cpu*, whose current task is *task*."""
        self.k.use_cpu(cpu, task)

    def current_slot(self, cpu: int) -> int:
        """Address of ``current_task`` of *cpu*."""
        return int(self._current[cpu])

    def count_slot(self, cpu: int) -> int:
        """Address of ``__preempt_count`` of *cpu*."""
        return int(self._count[cpu])

    def started(self) -> None:
        """There is more than one task: time brings events."""
        from kmem.kapi import hrtimer, rcu, timer_list
        from kmem.kapi.timekeeping import update_jiffies

        k: Any = self.k
        if not self.sched.sources:
            lists = {timer_list: at.TIMERS, hrtimer: at.HRTIMERS, rcu: 0}
            self.sched.sources = [partial(self._safely, partial(m.next_event, k), lists[m]) for m in lists]
            self.sched.expire_sources = [partial(self._safely, partial(m.expire, k), lists[m]) for m in lists]
            self.sched.expire_sources.append(lambda now: update_jiffies(k) if k.symbols.placed("jiffies") else None)

    def _safely(self, look: Callable[..., int | None], head: int, *words: int) -> int:
        """Call *look*, which follows the list that begins at *head*; one that leads nowhere is given up."""
        try:
            return look(*words) or 0
        except AccessFault as fault:
            if not head:
                raise
            what = "the list of timers was overwritten: a timer was freed, or initialised again, while it was armed"
            self.k.finding("wild-pointer", what, address=fault.address)
            slot = self.sched.block + head
            self.mem.set_u64(slot, slot if head == at.HRTIMERS else 0)
            self.mem.set_u64(slot + 8, slot if head == at.HRTIMERS else 0)
            return core.FOREVER

    # threads

    def new_kernel_thread(self, name: str, fn: int, data: int) -> int:
        """A thread that the kernel has had since it booted, or makes when it has memory: no injected fault meets it."""
        with self.k.spared():
            return self.new_kthread(name, fn, data)

    def new_kthread(self, name: str, fn: int, data: int) -> int:
        """``copy_process()`` of kthreadd: a task that will call fn(data); 0 without memory."""
        k, mem, o = self.k, self.mem, self.sched.offsets
        task = k.user.new_task(name)
        if not task:
            return 0
        with k.context.as_at_boot():  # in kthreadd, whatever the context that asks
            k.called_by("thread-stack")
            stack = k.mm.core.k_vmalloc(at.THREAD_SIZE, at.THREAD_SIZE, 0xCC0, 0, -1)
        if not stack:
            k.user.exit(task)
            return 0
        record = stack + at.RECORD
        mem.fill(record, 0, at.RECORD_SIZE)
        mem.set_u64(task + o.stack, stack)
        mem.set_u32(task + o.flags, at.PF_KTHREAD)
        mem.set_u32(task + o.state, at.TASK_NEW | at.TASK_UNINTERRUPTIBLE)
        mem.set_u64(task + o.cpus_mask, (1 << self.nr_cpus) - 1)
        mem.set_u64(task + o.cpus_ptr, task + o.cpus_mask)
        mem.set_u32(task + o.nr_cpus_allowed, self.nr_cpus)
        mem.set_u64(record + at.TASK, task)
        mem.set_u64(record + at.KTHREAD_FN, fn)
        mem.set_u64(record + at.KTHREAD_DATA, data)
        mem.set_u64(task + o.worker_private, record + at.KTHREAD)
        sp = record - 24
        mem.write(sp, k.executor.traps.thread_stack(fn, data))
        mem.set_u64(task + o.sp, sp)
        return task

    def never_ran(self, task: int) -> bool:
        """Whether the thread has not executed anything."""
        return bool(self.mem.u64(task + self.sched.offsets.sp) == self.sched.record(task) - 24)

    def start_with(self, task: int, fn: int) -> None:
        """Let a thread that has not run yet call *fn* instead of its function."""
        sp = self.sched.record(task) - 24
        self.mem.write(sp, self.k.executor.traps.thread_stack(fn, 0))

    def free_kthread(self, task: int) -> None:
        """``put_task_struct()`` of a thread that is dead: its stack and its task are given back."""
        stack = self.mem.u64(task + self.sched.offsets.stack)
        self.k.mm.core.k_vfree(stack)
        self.k.user.exit(task)

    def reap(self) -> None:
        """Free the threads that have ended and that nobody refers to."""
        mem, sched = self.mem, self.sched
        for task in list(sched.zombies()):
            if mem.u32(task + sched.offsets.usage) <= 1 and task != sched.current:
                sched.delist(task)
                self.free_kthread(task)

    def due(self, what: str, address: int, size: int, function: int) -> None:
        """Something that a module left for later is due."""
        if self.k.checks:
            self.k.checks.due(address, size, what, function)

    def thread_returned(self, result: int) -> Generator[Any, Any, int]:
        """The function of the running thread has returned."""
        from kmem.kapi.kthread import do_exit

        yield from do_exit(self.k, result)
        return 0

    def comm(self, task: int) -> str:
        """Name of a task."""
        return str(self.mem.cstr(task + self.sched.offsets.comm, 16).decode(errors="replace"))

    # reports

    def until_tick(self) -> int:
        """Nanoseconds to the next tick, for code that reads ``jiffies``; very many where no code can."""
        from kmem.kapi.timekeeping import TICK_NSEC

        return TICK_NSEC - self.k.clock.ns % TICK_NSEC if self.k.symbols.placed("jiffies") else core.UNLIMITED

    def tick(self) -> None:
        """Write the tick counter for such code."""
        from kmem.kapi.timekeeping import update_jiffies

        if self.k.symbols.placed("jiffies"):
            update_jiffies(self.k)

    def nothing_runs(self, waiting: list[int]) -> None:
        """Every task waits for another one."""
        if not self.sched.died:
            deadlock.report(self.k, self.sched, self.held, waiting)
        raise Stuck("deadlock")

    def waits_for_itself(self, message: str, address: int, function: int) -> NoReturn:
        """*function* waits for its own end: record a finding and end the run."""
        site = self.k.site.call_site(self.k.caller)
        if site.module is None:  # a tail call
            site = self.k.site.call_site(function, 0)
        self.k.finding("deadlock", message, address=address, **site.facts())
        raise Stuck(message)

    def acquired(self, lock: int, kind: str) -> None:
        """The running task has taken *lock*."""
        self.held[lock] = self.k.current, self.k.caller, kind

    def released(self, lock: int) -> None:
        """Nobody holds *lock* any more."""
        self.held.pop(lock, None)

    def init_goes(self) -> None:
        """The init code of a module is freed: remember the names of the places in it."""
        if self.k.checks:
            self.k.checks.remember()
        self._places = {lock: self.k.site.call_site(site) for lock, (_, site, _) in self.held.items()}

    def module_goes(self, module: Module) -> None:
        """The code of *module* is freed: what would still run it, or waits for it, is told of and ended."""
        for lock, (task, site, kind) in list(self.held.items()):
            place = self._places.get(lock) or self.k.site.call_site(site)
            if place.module is module:
                self._left(place, f"{self.comm(task)} still holds a {kind}", lock)
                del self.held[lock]
        self._lines_go(module)
        if not self.sched.on:
            return
        self._events_go(module)
        for task in list(self.sched.tasks()):
            fn = self.mem.u64(self.sched.record(task) + at.KTHREAD_FN)
            if task != self.k.current and module.contains(fn):
                self._left(self.k.site.call_site(fn, 0), f"thread {self.comm(task)} still runs", task)
                self.sched.kill(task)

    def _events_go(self, module: Module) -> None:
        """Timers, works, tasklets and RCU callbacks of *module* that are left."""
        from kmem.kapi import hrtimer, rcu, softirq, timer_list

        k: Any = self.k
        for timer in timer_list.timers(k):
            fn, work = self.mem.u64(timer + timer_list.FUNCTION), 0
            if k.symbols.placed("delayed_work_timer_fn") and fn == k.address_of("delayed_work_timer_fn"):
                work, fn = timer - 32, self.mem.u64(timer - 8)
            if module.contains(fn) or module.contains(timer):
                self._left(k.site.call_site(fn, 0), "a delayed work is pending" if work else "a timer is armed", timer)
                timer_list.detach(k, timer)
        for timer in hrtimer.timers(k):
            fn = self.mem.u64(timer + hrtimer.FUNCTION)
            if module.contains(fn) or module.contains(timer):
                self._left(k.site.call_site(fn, 0), "a high-resolution timer is armed", timer)
                hrtimer.hrtimer_try_to_cancel(k, timer)
        for what, address, fn in softirq.scheduled(k):
            if module.contains(fn) or module.contains(address):
                self._left(k.site.call_site(fn, 0), f"{what} is scheduled", address)
                softirq.forget(k, address)
        if k.symbols.placed("kmem_workqueues"):
            try:
                self._works_go(module)
            except AccessFault as fault:
                k.finding("wild-pointer", "the list of works was overwritten", address=fault.address)
        if k.symbols.placed("rcu_cblist"):
            for head, fn in rcu.callbacks(k):
                if module.contains(fn):
                    what = "an RCU callback was not called yet (rcu_barrier() waits for that)"
                    self._left(k.site.call_site(fn, 0), what, head)
            for _ in range(100):
                if not rcu.pending(k):
                    break
                self.run_for(8_000_000)

    def _works_go(self, module: Module) -> None:
        """Works of *module* that are pending or run."""
        from kmem.kapi import workqueue

        k: Any = self.k
        system = [k.address_of("kmem_workqueues") + n * workqueue.QUEUE_SIZE for n in range(len(workqueue.SYSTEM))]
        for wq in workqueue.queues(k) + system:
            for work in workqueue.works_of(k, wq):
                fn = self.mem.u64(work + 24)
                if module.contains(fn):
                    busy = workqueue.executor_of(k, work)
                    self._left(k.site.call_site(fn, 0), "a work still runs" if busy else "a work is pending", work)
                    workqueue.forget(k, work)

    def _lines_go(self, module: Module) -> None:
        """Interrupt lines that *module* has not given back."""
        from kmem.kapi import irq

        k: Any = self.k
        if not k.symbols.placed("kmem_irqs"):
            return
        for number in irq.taken(k):
            for action in irq.actions(k, number):
                fn = self.mem.u64(action) or self.mem.u64(action + k.layout["irqaction"].offset("thread_fn"))
                if module.contains(fn):
                    place = k.site.call_site(fn, 0).facts()
                    k.finding("leak", f"interrupt line {number} never freed", address=action, **place)
                    self.mem.set_u64(irq.line(k, number), 0)

    def _left(self, place: CallSite, what: str, address: int) -> None:
        self.k.finding("api-misuse", f"{what} when the module's code goes away", address=address, **place.facts())

    # time

    def raise_irq(self, number: int) -> None:
        """A device asserts its line; its handlers have run when this returns."""
        from kmem.kapi import irq

        k: Any = self.k
        irq.raise_line(k, number)
        self.run_for(1_000_000)

    def settle(self) -> None:
        """A moment between two system calls, for what was started to begin."""
        if self.sched.on:
            self.run_for(SETTLE)

    def run_for(self, ns: int) -> None:
        """Let simulated time pass."""
        k, sched = self.k, self.sched
        end = k.clock.ns + ns
        if sched.on:
            sched.until, sched.idling = end, True
            try:
                k.executor.idle(k.budget)
            finally:
                sched.until, sched.idling = core.FOREVER, False
        if k.clock.ns < end:
            k.clock.advance(end - k.clock.ns)
        k.drain()

    # snapshots

    def check_saved(self) -> None:
        """Complain if a sleeping thread is inside a kernel function that cannot be taken up again."""
        if self.k._executor is None:
            return
        for rsp, name in self.k._executor.traps.unsaveable():
            owner = next((t for t in self.sched.tasks() if self._owns(t, rsp)), 0)
            raise UsageError(
                f"the machine cannot be saved while {self.comm(owner) if owner else 'a task'} waits for code that "
                f"{name or 'a kernel function'}() calls",
                remedy="let time pass first: Kernel.run_for(ns)",
            )

    def _owns(self, task: int, rsp: int) -> bool:
        stack = self.mem.u64(task + self.sched.offsets.stack)
        return bool(stack <= rsp < stack + at.THREAD_SIZE)

    def mark(self) -> tuple[Any, ...]:
        """What :meth:`rewind` wants."""
        frames = self.k._executor.traps.mark_frames() if self.k._executor else ()
        return dict(self.held), frames

    def rewind(self, mark: tuple[Any, ...]) -> None:
        """RAM was rolled back to what it was at *mark*."""
        held, frames = mark
        self.held = dict(held)
        self.sched.rewound()
        if self.k._executor:
            self.k._executor.traps.rewind_frames(frames)
            self.k.use_cpu(0, self.mem.u64(self._current[0]))
