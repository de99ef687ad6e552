"""The scheduler's exports (kernel/sched/core.c), 6.1: `kmem.sched` does the work.

Tasks of different CPUs interleave anywhere; tasks of one CPU change where they sleep or give way, as under
CONFIG_PREEMPT_VOLUNTARY, which Debian boots with. As long as there is only the one task that Python called, nothing of
the scheduler is set up, and to sleep for a time means that time passes.
"""

from __future__ import annotations

from typing import NoReturn

from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Guest, Host, Stuck
from kmem.machine.outcome import EndRun, Resumed
from kmem.machine.trapcode import RSP
from kmem.sched.core import FOREVER, SCHEDULE, TIME
from kmem.sched.layout import BLOCK_SIZE, HARDIRQ_OFFSET, TASK_NORMAL

TASK_RUNNING, TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, TASK_WAKEKILL = 0, 1, 2, 0x100
TASK_KILLABLE = TASK_WAKEKILL | TASK_UNINTERRUPTIBLE

SCHEDULED = simplified("no priorities: each CPU runs its tasks in turn, and chance chooses the CPU")

data("kmem_sched", BLOCK_SIZE, doc="The scheduler's own state (kmem.sched.layout). The model's own.", private=True)


def task_state(k: Host) -> int:
    """``current->__state``."""
    return k.mem.u32(k.current + k.layout["task_struct"].offset("__state"))


def set_task_state(k: Host, state: int) -> None:
    """``__set_current_state()``."""
    k.mem.set_u32(k.current + k.layout["task_struct"].offset("__state"), state)


def stuck(k: Host, kind: str, message: str, **facts: object) -> NoReturn:
    """Records a finding of *kind* (deadlock, hang) and ends the run."""
    k.finding(kind, message, **facts)
    raise Stuck(message)


def block(k: Host, kind: int, obj: int = 0, deadline: int = FOREVER) -> Guest:
    """Sleep in the state that the task has set, until it is woken or until *deadline* (nanoseconds since boot).

    1 if the time was up. *kind* and *obj* say what for, for reports.
    """
    k.context.schedule_debug()
    k.mm.run_work()
    if not k.sched.on:
        _alone(k, deadline)
        return 1
    return (yield from k.sched.sleep(kind, obj, deadline))


def _alone(k: Host, deadline: int) -> None:
    """The only task sleeps."""
    if task_state(k) != TASK_RUNNING:
        if deadline == FOREVER:
            k.tasks.nothing_runs([])
        k.clock.advance(max(0, deadline - k.clock.ns))
    set_task_state(k, TASK_RUNNING)


def sleep_until(k: Host, ns: int) -> int | Guest:
    """The task sleeps until *ns* after boot, or until it is woken; nothing else is there to wait for."""
    if k.sched.on:
        return block(k, TIME, 0, ns)
    k.context.schedule_debug()
    k.mm.run_work()
    _alone(k, ns)
    return 0


@export(SCHEDULED)
def schedule(k: Host) -> int | Guest:
    """``void schedule(void)``

    kernel/sched/core.c, 6.1. A runnable task goes on after the others of its CPU. A deadlock if nothing can wake it.
    """
    if k.sched.on:
        return block(k, SCHEDULE)
    k.context.schedule_debug()
    k.mm.run_work()
    _alone(k, FOREVER)
    return 0


@export(SCHEDULED)
def wake_up_process(k: Host, p: int) -> int:
    """``int wake_up_process(struct task_struct *p)``

    kernel/sched/core.c, 6.1. 1 if the task was sleeping.
    """
    return k.sched.wake(p, TASK_NORMAL)


@export(SCHEDULED, name="yield")
def yield_(k: Host) -> int | Guest:
    """``void yield(void)``

    kernel/sched/core.c, 6.1.
    """
    set_task_state(k, TASK_RUNNING)
    return schedule(k)


@export(SCHEDULED)
def io_schedule(k: Host) -> int | Guest:
    """``void io_schedule(void)``

    kernel/sched/core.c, 6.1.
    """
    return schedule(k)


@export(SCHEDULED)
def io_schedule_timeout(k: Host, timeout: int) -> int | Guest:
    """``long io_schedule_timeout(long timeout)``

    kernel/sched/core.c, 6.1.
    """
    from kmem.kapi.timer import schedule_timeout

    return schedule_timeout(k, timeout)


@export(faithful, private=True)
def kmem_idle(k: Host, cpu: int) -> Guest:
    """``void kmem_idle(unsigned long cpu)``

    kernel/sched/idle.c, 6.1. The idle task of a CPU: ``do_idle()``.
    """
    while True:
        yield from k.sched.schedule()


@export(faithful, private=True)
def kmem_interrupt(k: Host) -> Guest:
    """``void kmem_interrupt(void)``

    arch/x86/kernel/irq.c, 6.1. An interrupt arrives between two instructions: the handlers of what is pending run, then
    the softirqs.
    """
    from kmem.kapi.softirq import do_softirq, irq_handlers

    bits = k.sched.take_irqs()
    k.context.add(HARDIRQ_OFFSET)
    k.context.local_irq_disable()
    yield from irq_handlers(k, bits)
    k.context.add(-HARDIRQ_OFFSET)
    yield from do_softirq(k)
    k.context.local_irq_enable()
    return 0


@export(faithful, private=True)
def kmem_interrupt_return(k: Host) -> None:
    """``void kmem_interrupt_return(void)``

    arch/x86/entry/entry_64.S, 6.1. Return from an interrupt to the registers on the stack.
    """
    raise EndRun(Resumed(k.sched.frame(k.executor.traps.words[RSP])))
