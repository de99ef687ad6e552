"""The scheduler: several CPUs multiplexed on the one emulated CPU, tasks on the CPUs, time that passes when all sleep.

Terminology. A *CPU* has a current task and a queue of tasks that are ready to run on it. The *machine* executes one CPU
at a time and *hops* to another one after a random number of instructions, wherever that falls: so code on different
CPUs interleaves as it does in reality, between any two instructions of different blocks. On one CPU tasks change only
where the kernel's own would under CONFIG_PREEMPT_VOLUNTARY, Debian's choice: where one sleeps or gives way
(cond_resched). All choices come from one random number, in RAM, which the seed starts.

A task that the machine does not execute is a stack pointer (``task->thread.sp``), behind which lies an address to
return to: of the trap code, for a task that gave up the CPU in a kernel function; of `Host.interrupt_return`, above a
``struct pt_regs``, for one that was stopped between two instructions. An interrupt is delivered by pushing the address
of its handler there.

Functions that are generators must be driven by the handler of a trap (``yield from``). All state is in RAM
(`kmem.sched.layout`), so a rollback of RAM is a rollback of the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from kmem.machine.fault import Regs
from kmem.machine.trap import Call, Switch
from kmem.sched import layout as at
from kmem.sched import lists

if TYPE_CHECKING:
    from kmem.abi.layout import Layout
    from kmem.machine.clock import Clock

Gen = Generator[Any, Any, int]
UNLIMITED = 1 << 58
SLICE = 6000
"""Mean instructions until the machine hops to another CPU."""
SHORTEST = 64
WHILE_MASKED = 2048
"""Instructions until it is tried again to deliver an interrupt to a CPU that has them disabled."""
WHILE_SPINNING = 20000
"""Instructions until it is looked again whether the lock that a CPU spins on was released, by code of the module."""
EFLAGS_IF = 1 << 9
MASK64 = (1 << 64) - 1
FOREVER = MASK64

KINDS = (
    *("nothing", "a mutex", "a semaphore for reading", "a semaphore for writing", "a counting semaphore"),
    *("a completion", "schedule()", "a spinlock", "a work", "an RCU grace period", "the end of a thread", "time"),
    *("an interrupt handler", "a running timer"),
)
(NOTHING, MUTEX, READ, WRITE, SEMAPHORE, COMPLETION, SCHEDULE, SPIN, WORK, GRACE, EXITING, TIME, IRQ, TIMER) = range(14)
LOCK_KINDS = (MUTEX, READ, WRITE, SEMAPHORE, SPIN)


class Host(Protocol):
    """What is needed of the kernel."""

    mem: Any
    layout: Layout
    clock: Clock
    nr_cpus: int
    task_list: int
    """Head of the list of all tasks."""

    @property
    def interrupt_return(self) -> int:
        """Address at which an interrupted task goes on."""

    @property
    def cpu(self) -> int: ...
    @property
    def context(self) -> Any: ...
    @property
    def executor(self) -> Any: ...
    @property
    def caller(self) -> int: ...
    def address_of(self, name: str) -> int: ...
    def use_cpu(self, cpu: int, task: int) -> None: ...
    def current_slot(self, cpu: int) -> int: ...
    def count_slot(self, cpu: int) -> int: ...
    def started(self) -> None: ...
    def new_kernel_thread(self, name: str, fn: int, data: int) -> int: ...
    def free_kthread(self, task: int) -> None: ...
    def nothing_runs(self, waiting: list[int]) -> None: ...
    def until_tick(self) -> int:
        """Nanoseconds until code that looks at ``jiffies`` must see another value."""

    def tick(self) -> None:
        """The time has come."""


class Scheduler:
    """The scheduler of one kernel. It costs nothing before `start`, which the first second task calls."""

    def __init__(self, k: Host, seed: int) -> None:
        self._k, self._mem, self._seed = k, k.mem, seed
        self.on = False
        """Whether there is anything but the one task."""
        self.block = 0
        self.main = 0
        """The task whose system call runs: the one that Python called."""
        self.until = FOREVER
        """Time at which a run without a system call of its own ends."""
        self.idling = False
        """Whether the run is such a one (`Kernel.run_for`)."""
        self.sources: list[Callable[[], int]] = []
        """Each returns the time of its next event, `FOREVER` without one."""
        self.expire_sources: list[Callable[[int], object]] = []
        """Each does what is due at a time: wakes tasks, marks softirqs and interrupts as pending."""
        self.resuming = False
        """The kernel function that is starting slept when the machine was saved: its first sleep is over."""
        self._stalled = 0
        self.died = False
        """A thread other than the main one was killed by a report."""

    @cached_property
    def offsets(self) -> at.Offsets:
        """Where the fields of a ``task_struct`` are."""
        return at.Offsets(self._k.layout)

    # starting

    def start(self) -> None:
        """Make the idle tasks; the running task becomes the one on CPU 0."""
        if not self.on:
            with self._k.context.as_at_boot():
                self._start()

    def _start(self) -> None:
        k, mem, o = self._k, self._mem, self.offsets
        self.block = k.address_of("kmem_sched")
        self.on = True
        mem.set_u64(self.block + at.SEED, (self._seed * 0x9E3779B97F4A7C15 + 0x5DEECE66D) & MASK64)
        mem.set_u32(self.block + at.STARTED, 1)
        lists.init(mem, self.block + at.SLEEPERS)
        lists.init(mem, self.block + at.HRTIMERS)
        lists.init(mem, self.block + at.ZOMBIES)
        current = mem.u64(k.current_slot(0))
        self.adopt(current)
        for cpu in range(k.nr_cpus):
            lists.init(mem, self._cpu_at(cpu) + at.QUEUE)
            idle = k.new_kernel_thread(f"swapper/{cpu}", k.address_of("kmem_idle"), cpu)
            lists.remove(mem, idle + o.tasks)
            mem.set_u32(idle + o.flags, mem.u32(idle + o.flags) | at.PF_IDLE | at.PF_NO_SETAFFINITY)
            mem.set_u32(idle + o.pid, 0)
            mem.set_u32(idle + o.state, at.TASK_RUNNING)
            mem.set_u32(idle + o.cpu, cpu)
            mem.set_u64(self._cpu_at(cpu) + at.IDLE, idle)
            if cpu:
                mem.set_u64(k.current_slot(cpu), idle)
        k.started()
        self._wake_machine()

    def adopt(self, task: int) -> None:
        """*task* was made by the mm: it runs on CPU 0, where Python's calls run."""
        mem, o = self._mem, self.offsets
        mem.set_u32(task + o.cpu, 0)
        mem.set_u32(task + o.on_cpu, 1)
        mem.set_u32(task + o.on_rq, 1)

    def rewound(self) -> None:
        """RAM was rolled back."""
        self.on = bool(self.block and self._mem.u32(self.block + at.STARTED))
        if not self.on:
            self.block = 0
        self.idling = self.died = self.resuming = False
        self.until = FOREVER

    def delist(self, task: int) -> None:
        """*task* is none of the machine's any more."""
        lists.remove(self._mem, task + self.offsets.tasks)

    def zombies(self) -> Iterator[int]:
        """Threads that have ended and that nobody stopped."""
        for link in lists.entries(self._mem, self.block + at.ZOMBIES):
            yield link - self.offsets.tasks

    def bury_later(self, task: int) -> None:
        """A thread has ended; it is freed when its stack is not in use any more and nobody refers to it."""
        lists.remove(self._mem, task + self.offsets.tasks)
        lists.insert_before(self._mem, task + self.offsets.tasks, self.block + at.ZOMBIES)

    def exists(self, task: int) -> bool:
        """Whether *task* is one of the machine's."""
        return task in self.tasks()

    def resume(self, on: bool) -> None:
        """The kernel function that is called now slept when the machine was saved; it was woken since."""
        self.resuming = on

    # looking

    def _cpu_at(self, cpu: int) -> int:
        return self.block + at.CPUS + cpu * at.CPU_SIZE

    def record(self, task: int) -> int:
        """Address of the record of *task*."""
        return int(self._mem.u64(task + self.offsets.stack)) + at.RECORD

    @property
    def current(self) -> int:
        """The running task."""
        return int(self._mem.u64(self._k.current_slot(self.cpu)))

    @property
    def cpu(self) -> int:
        """The CPU that the machine executes."""
        return self._k.cpu

    def cpu_of(self, task: int) -> int:
        """``task_cpu()``."""
        return int(self._mem.u32(task + self.offsets.cpu))

    def curr(self, cpu: int) -> int:
        """The task that is current on *cpu*."""
        return int(self._mem.u64(self._k.current_slot(cpu)))

    def idle(self, cpu: int) -> int:
        """The idle task of *cpu*."""
        return int(self._mem.u64(self._cpu_at(cpu) + at.IDLE))

    def state(self, task: int) -> int:
        """``task->__state``."""
        return int(self._mem.u32(task + self.offsets.state))

    def set_state(self, task: int, state: int) -> None:
        """``WRITE_ONCE(task->__state, state)``."""
        self._mem.set_u32(task + self.offsets.state, state)

    def tasks(self) -> Iterator[int]:
        """All tasks that have a stack, but the idle ones."""
        if self.on:
            o = self.offsets
            for link in lists.entries(self._mem, self._k.task_list):
                if self._mem.u64(link - o.tasks + o.stack):
                    yield link - o.tasks

    def kind(self, task: int) -> int:
        """What *task* waits for, as one of the numbers of `KINDS`."""
        return int(self._mem.u32(self.record(task) + at.KIND))

    def wake_waiters(self, kind: int, obj: int) -> None:
        """Wake the tasks that wait for *obj* in that way."""
        for task in self.tasks():
            if self.kind(task) == kind and self._mem.u64(self.record(task) + at.OBJECT) == obj:
                self.wake(task, at.TASK_NORMAL)

    # chance

    def chance(self, n: int) -> int:
        """A number below *n* (xorshift64*)."""
        mem, slot = self._mem, self.block + at.SEED
        x = mem.u64(slot) or 1
        x ^= x >> 12
        x ^= x << 25 & MASK64
        x ^= x >> 27
        mem.set_u64(slot, x)
        return int(((x * 0x2545F4914F6CDD1D & MASK64) >> 32) * n >> 32)

    # slices

    def slice(self) -> int:
        """Instructions until somebody must decide: a hop, an event, an interrupt."""
        if not self.on:
            return self._k.until_tick()
        if self._k.executor.cpu.depth > 1:
            return UNLIMITED
        here, longest = self.cpu, max(self._k.until_tick(), SHORTEST)
        for cpu in range(self._k.nr_cpus):
            if cpu != here and self._runnable(cpu):
                r = self.chance(16)
                longest = SHORTEST + self.chance(SLICE >> 4 if r < 6 else SLICE << 1)
                break
        if self._mem.u32(self._cpu_at(here) + at.IRQ_PENDING):
            longest = min(longest, WHILE_MASKED)
        if self._mem.u32(self.block + at.SPINNERS):
            longest = min(longest, WHILE_SPINNING)
        event = self.next_event()
        if event != FOREVER:
            longest = min(longest, max(event - self._k.clock.ns, SHORTEST))
        return longest << self._stalled

    def _wake_machine(self) -> None:
        """Something has changed: end the slice that runs no later than a new one would."""
        cpu = self._k.executor.cpu
        if cpu.depth == 1:
            cpu.meter.shorten(self.slice())

    def changed(self) -> None:
        """There is a new event, which may be the next one."""
        self._wake_machine()

    def next_event(self) -> int:
        """When the next sleep or timer ends; `FOREVER` if none will."""
        mem = self._mem
        first = mem.u64(self.block + at.SLEEPERS)
        event = FOREVER
        if first != self.block + at.SLEEPERS:
            event = mem.u64(first - at.SLEEPER + at.DEADLINE)
        for source in self.sources:
            event = min(event, source())
        return int(event)

    def expire(self) -> None:
        """Do what is due."""
        mem, now = self._mem, self._k.clock.ns
        head = self.block + at.SLEEPERS
        while (first := mem.u64(head)) != head and mem.u64(first - at.SLEEPER + at.DEADLINE) <= now:
            lists.remove(mem, first)
            task = int(mem.u64(first - at.SLEEPER + at.TASK))
            self.wake(task, at.TASK_NORMAL)
        for source in self.expire_sources:
            source(now)

    # hopping

    def _runnable(self, cpu: int) -> bool:
        """Whether the machine can go on with *cpu*."""
        mem = self._mem
        task = self.curr(cpu)
        here = self._cpu_at(cpu)
        if self._sleeps(cpu, task):
            return mem.u64(here + at.QUEUE) != here + at.QUEUE or bool(mem.u32(here + at.IRQ_PENDING))
        record = self.record(task)
        if mem.u32(record + at.KIND) != SPIN:
            return True
        changed: bool = mem.u32(mem.u64(record + at.OBJECT)) != mem.u32(record + at.SEEN)
        return changed or (bool(mem.u32(here + at.IRQ_PENDING)) and self._interruptible(cpu, task))

    def _sleeps(self, cpu: int, task: int) -> bool:
        """Whether *cpu*, whose current task is *task*, idles; handlers of an interrupt may run."""
        return task == self.idle(cpu) and not self._mem.u32(self._k.count_slot(cpu)) & at.IN_INTERRUPT

    def _interruptible(self, cpu: int, task: int) -> bool:
        """Whether an interrupt can be delivered to *cpu*, whose context was saved."""
        mem = self._mem
        if mem.u32(self._k.count_slot(cpu)) & at.IN_INTERRUPT:
            return False
        sp = mem.u64(task + self.offsets.sp)
        if sp and mem.u64(sp) == self._k.interrupt_return:
            return bool(mem.u64(sp + 8 + 8 * at.PT_REGS.index("eflags")) & EFLAGS_IF)
        return not mem.u32(self.record(task) + at.IRQS)

    def _next_context(self) -> int:
        """The context that was executed is saved. Choose a CPU and make it the machine's: its task's stack pointer,
        0 for a task that is just leaving and goes on instead, -1 if nothing will run (before the run ends).
        """
        k = self._k
        while True:
            self.expire()
            ready = [cpu for cpu in range(k.nr_cpus) if self._runnable(cpu)]
            if ready:
                return self._enter(ready[0] if len(ready) == 1 else ready[self.chance(len(ready))])
            event = self.next_event()
            if event == FOREVER or event > self.until:
                return -1
            if event > k.clock.ns:
                k.clock.advance(event - k.clock.ns)

    def _enter(self, cpu: int) -> int:
        """The machine executes *cpu* from now on; as `_next_context`."""
        mem, k = self._mem, self._k
        here = self._cpu_at(cpu)
        task = self.curr(cpu)
        pending = mem.u32(here + at.IRQ_PENDING)
        if self._sleeps(cpu, task) and not pending:
            task = self._pop(cpu)
            self._set_current(cpu, task)
        k.use_cpu(cpu, task)
        sp: int = mem.u64(task + self.offsets.sp)
        if pending and sp and self._interruptible(cpu, task):
            sp -= 8
            mem.set_u64(sp, k.address_of("kmem_interrupt"))
        return sp

    def _pop(self, cpu: int) -> int:
        """Take the first task from the queue of *cpu*; its idle task if there is none."""
        mem, head = self._mem, self._cpu_at(cpu) + at.QUEUE
        first = mem.u64(head)
        if first == head:
            return self.idle(cpu)
        lists.remove(mem, first)
        return int(first - self.offsets.queued)

    def _set_current(self, cpu: int, task: int) -> None:
        """``context_switch()``: the preemption counts of the two tasks change places."""
        mem, k, o = self._mem, self._k, self.offsets
        before = self.curr(cpu)
        if before == task:
            return
        slot = k.count_slot(cpu)
        count = mem.u32(slot)
        mem.set_u32(self.record(before) + at.COUNT, count & ~at.PREEMPT_INVERTED)
        mem.set_u32(before + o.on_cpu, 0)
        mem.set_u64(k.current_slot(cpu), task)
        mem.set_u32(task + o.on_cpu, 1)
        mem.set_u32(task + o.cpu, cpu)
        mem.set_u32(slot, mem.u32(self.record(task) + at.COUNT) | at.PREEMPT_INVERTED)

    # what tasks do

    def schedule(self) -> Gen:
        """``__schedule()``: sleep, if the state says so, else let the others of this CPU run."""
        if self.resuming:
            self.resuming = False
            return 0
        mem, o = self._mem, self.offsets
        cpu, task = self.cpu, self.current
        if self._k.executor.cpu.depth > 1 or (task == self.idle(cpu) and self._k.context.in_interrupt()):
            return self._wait_alone(task)
        if task != self.idle(cpu):
            if self.state(task) == at.TASK_RUNNING:
                lists.insert_before(mem, task + o.queued, self._cpu_at(cpu) + at.QUEUE)
            else:
                mem.set_u32(task + o.on_rq, 0)
        self._set_current(cpu, self._pop(cpu))
        yield from self._leave(task)
        return 0

    def _wait_alone(self, task: int) -> int:
        """*task* sleeps where nothing else can run meanwhile: in guest code that a Python function has called, or in an
        interrupt of an idle CPU.
        """
        if self.state(task) != at.TASK_RUNNING:
            record = self.record(task)
            deadline = self._mem.u64(record + at.DEADLINE)
            if not lists.linked(self._mem, record + at.SLEEPER):
                self._k.nothing_runs([task])
            lists.remove(self._mem, record + at.SLEEPER)
            self._k.clock.advance(max(0, deadline - self._k.clock.ns))
            self.set_state(task, at.TASK_RUNNING)
        return 0

    def _leave(self, task: int) -> Gen:
        """Let the machine go on somewhere else, until it is the turn of *task* again."""
        mem, context, record = self._mem, self._k.context, self.record(task)
        masked = context.irqs_disabled()
        mem.set_u32(record + at.IRQS, int(masked))
        mem.set_u64(task + self.offsets.sp, 0)
        sp = self._next_context()
        if sp < 0:
            self._nothing()
            sp = 0
            yield Switch(0, task + self.offsets.sp)
        elif sp:
            context.local_irq_enable()
            yield Switch(sp, task + self.offsets.sp)
        elif not masked and mem.u32(self._cpu_at(self.cpu) + at.IRQ_PENDING):
            yield Call(self._k.address_of("kmem_interrupt"))
        if masked:
            context.local_irq_disable()
        else:
            context.local_irq_enable()
        return 0

    def sleep(self, kind: int, obj: int = 0, deadline: int = FOREVER) -> Gen:
        """Sleep in the state that the task has set, until somebody wakes it or *deadline* (nanoseconds since boot).

        1 if the time was up.
        """
        mem, task = self._mem, self.current
        record = self.record(task)
        if not self.resuming:
            mem.set_u32(record + at.KIND, kind)
            mem.set_u64(record + at.OBJECT, obj)
            mem.set_u64(record + at.CALLER, self._k.caller)
            mem.set_u64(record + at.DEADLINE, deadline)
            if deadline != FOREVER:
                mem.set_u64(record + at.TASK, task)
                self._add_sleeper(record)
        yield from self.schedule()
        mem.set_u32(record + at.KIND, NOTHING)
        if lists.linked(mem, record + at.SLEEPER):
            lists.remove(mem, record + at.SLEEPER)
            return 0
        return int(deadline != FOREVER)

    def _add_sleeper(self, record: int) -> None:
        mem, deadline = self._mem, self._mem.u64(record + at.DEADLINE)
        head = self.block + at.SLEEPERS
        for link in lists.entries(mem, head):
            if mem.u64(link - at.SLEEPER + at.DEADLINE) > deadline:
                lists.insert_before(mem, record + at.SLEEPER, link)
                return
        lists.insert_before(mem, record + at.SLEEPER, head)

    def spin(self, lock: int) -> Gen:
        """The word at *lock* must change before this CPU can go on."""
        mem, task = self._mem, self.current
        record = self.record(task)
        if self.resuming:
            self.resuming = False
            return 0
        mem.set_u64(record + at.OBJECT, lock)
        mem.set_u32(record + at.SEEN, mem.u32(lock))
        mem.set_u64(record + at.CALLER, self._k.caller)
        mem.set_u32(record + at.KIND, SPIN)
        spinners = self.block + at.SPINNERS
        mem.set_u32(spinners, mem.u32(spinners) + 1)
        yield from self._leave(task)
        mem.set_u32(spinners, mem.u32(spinners) - 1)
        mem.set_u32(record + at.KIND, NOTHING)
        return 0

    def let_spinners_look(self) -> None:
        """A lock was released: a CPU that spins may go on soon."""
        if self._mem.u32(self.block + at.SPINNERS):
            self._wake_machine()

    def wait_for_change(self, kind: int, word: int) -> Gen:
        """As `spin`, in process context too: what is waited for is of *kind*."""
        yield from self.spin(word)
        return 0

    def hop(self) -> Gen:
        """Let the other CPUs execute something."""
        yield from self._leave(self.current)
        return 0

    def wake(self, task: int, states: int) -> int:
        """``try_to_wake_up()``: 1 if *task* was in one of *states*."""
        mem, o = self._mem, self.offsets
        if not self.state(task) & states:
            return 0
        mem.set_u32(task + o.state, at.TASK_RUNNING)
        if not self.on or mem.u32(task + o.on_rq):
            return 1
        cpu = self._select_cpu(task)
        mem.set_u32(task + o.cpu, cpu)
        mem.set_u32(task + o.on_rq, 1)
        lists.insert_before(mem, task + o.queued, self._cpu_at(cpu) + at.QUEUE)
        self._wake_machine()
        return 1

    def allowed(self, task: int) -> list[int]:
        """The CPUs that *task* may run on."""
        mask = self._mem.u64(task + self.offsets.cpus_mask)
        return [cpu for cpu in range(self._k.nr_cpus) if mask >> cpu & 1] or [0]

    def _select_cpu(self, task: int) -> int:
        """``select_task_rq()``: its last CPU if that is idle, an idle one, any."""
        if task == self.main:
            return 0
        allowed = self.allowed(task)
        last = self.cpu_of(task)
        idle = [cpu for cpu in allowed if self.curr(cpu) == self.idle(cpu) and not self.queued(cpu)]
        if last in idle and self.chance(4):
            return last
        return idle[self.chance(len(idle))] if idle else allowed[self.chance(len(allowed))]

    def queued(self, cpu: int) -> int:
        """How many tasks wait for *cpu*."""
        return sum(1 for _ in lists.entries(self._mem, self._cpu_at(cpu) + at.QUEUE))

    def exit(self, task: int) -> Gen:
        """The running task is gone and never runs again."""
        cpu, mem = self.cpu, self._mem
        self.set_state(task, at.TASK_DEAD)
        mem.set_u32(task + self.offsets.on_rq, 0)
        self._set_current(cpu, self._pop(cpu))
        sp = self._next_context()
        if sp < 0:
            self._nothing()
            sp = 0
        self._k.context.local_irq_enable()
        yield Switch(sp, 0)
        return 0

    def kill(self, task: int) -> None:
        """*task*, which does not run, will never run again."""
        mem, o = self._mem, self.offsets
        for link in (task + o.queued, self.record(task) + at.SLEEPER):
            if lists.linked(mem, link):
                lists.remove(mem, link)
        for cpu in range(self._k.nr_cpus):
            if self.curr(cpu) == task:
                mem.set_u32(self._k.count_slot(cpu), at.PREEMPT_INVERTED)
                self._set_current(cpu, self._pop(cpu))
        if mem.u32(self.record(task) + at.KIND) == SPIN:
            mem.set_u32(self.block + at.SPINNERS, mem.u32(self.block + at.SPINNERS) - 1)
        self.set_state(task, at.TASK_DEAD)
        mem.set_u32(task + o.on_rq, 0)
        self.bury_later(task)

    # what the machine does

    def raise_irq(self, cpu: int, bits: int) -> None:
        """Let an interrupt of *cpu* be pending: 1 timer, 2 devices."""
        slot = self._cpu_at(cpu) + at.IRQ_PENDING
        self._mem.set_u32(slot, self._mem.u32(slot) | bits)
        self._wake_machine()

    def take_irqs(self) -> int:
        """The interrupts that are pending on this CPU, which are taken with that."""
        slot = self._cpu_at(self.cpu) + at.IRQ_PENDING
        bits = self._mem.u32(slot)
        self._mem.set_u32(slot, 0)
        return int(bits)

    def interrupted(self, regs: Regs) -> Regs:
        """The slice is over, between two instructions: where the machine goes on."""
        self._k.tick()
        if not self.on:
            return regs
        task = self.current
        self.expire()
        here = self.cpu
        others = any(self._runnable(cpu) for cpu in range(self._k.nr_cpus) if cpu != here)
        pending = self._mem.u32(self._cpu_at(here) + at.IRQ_PENDING) and regs.eflags & EFLAGS_IF
        if not others and not pending:
            return regs
        self._save(task, regs)
        sp = self._next_context()
        after = self.load(sp)
        same = after.rip == regs.rip and after.rsp == regs.rsp
        self._stalled = min(self._stalled + 1, 10) if same else 0
        return after

    def _save(self, task: int, regs: Regs) -> None:
        """Store the registers of *task* on its stack."""
        mem = self._mem
        frame = regs.rsp - at.PT_REGS_SIZE & ~15
        sp = frame - 8
        for word, name in enumerate(at.PT_REGS):
            mem.set_u64(frame + 8 * word, getattr(regs, name) if name else 0)
        mem.set_u64(sp, self._k.interrupt_return)
        mem.set_u64(task + self.offsets.sp, sp)

    def load(self, sp: int) -> Regs:
        """Registers that go on with the stack pointer *sp* of a task."""
        if self._mem.u64(sp) == self._k.interrupt_return:
            return self.frame(sp + 8)
        regs: Regs = self._k.executor.traps.go(sp)
        regs.eflags |= EFLAGS_IF
        return regs

    def frame(self, frame: int) -> Regs:
        """The registers that a ``struct pt_regs`` holds."""
        raw = self._mem.read(frame, at.PT_REGS_SIZE)
        words = {
            name: int.from_bytes(raw[8 * word : 8 * word + 8], "little") for word, name in enumerate(at.PT_REGS) if name
        }
        return Regs(**words)

    def bury(self) -> Regs | None:
        """The running task, which is not the main one, was killed: where the machine goes on, None for nowhere."""
        cpu, task, mem = self.cpu, self.current, self._mem
        self.died = True
        mem.set_u32(self._k.count_slot(cpu), at.PREEMPT_INVERTED)
        self.set_state(task, at.TASK_DEAD)
        mem.set_u32(task + self.offsets.on_rq, 0)
        self._set_current(cpu, self._pop(cpu))
        sp = self._next_context()
        if sp < 0:
            self._nothing()
            return None
        return self.load(sp)

    def _nothing(self) -> None:
        """Nothing will ever run: the end of a run without a system call, or a deadlock."""
        if not self.idling:
            self._k.nothing_runs([task for task in self.tasks() if self.kind(task) != NOTHING])

    # runs

    def begin(self, task: int) -> None:
        """A system call of *task* begins on CPU 0."""
        self.main = task
        self._stalled = 0
        if not self.on:
            return
        mem, o = self._mem, self.offsets
        current = self.curr(0)
        if current != task:
            if current != self.idle(0) and mem.u32(current + o.on_rq):
                lists.insert_before(mem, current + o.queued, self._cpu_at(0) + at.QUEUE)
            if lists.linked(mem, task + o.queued):
                lists.remove(mem, task + o.queued)
            self._set_current(0, task)
        record = self.record(task)
        if lists.linked(mem, record + at.SLEEPER):
            lists.remove(mem, record + at.SLEEPER)
        for waiter in (at.WAITER, at.SWAITER_LIST):
            if lists.linked(mem, record + waiter):
                lists.remove(mem, record + waiter)
        mem.set_u32(record + at.KIND, NOTHING)
        self.set_state(task, at.TASK_RUNNING)
        mem.set_u32(task + o.on_rq, 1)
        self._k.use_cpu(0, task)

    def idle_run(self) -> int:
        """Python lets time pass: the main task leaves CPU 0; the stack pointer to go on with, 0 if nothing runs."""
        mem, o, task = self._mem, self.offsets, self.main
        mem.set_u32(task + o.on_rq, 0)
        self._set_current(0, self._pop(0))
        return max(self._next_context(), 0)
