"""Interrupts at work: softirqs, tasklets (kernel/softirq.c), irq_work (kernel/irq_work.c), 6.1.

An interrupt is pending on a CPU until the machine finds the CPU between two instructions with interrupts enabled; then
the handlers run on the stack of the task that was interrupted, and after them the softirqs. What is raised outside
interrupts runs a little later, as by an interrupt: there are no ksoftirqd threads.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.sched import layout as at
from kmem.sched.core import SPIN

HI, TIMER, TASKLET, HRTIMER, RCU = 0, 1, 6, 8, 9
MAX_RESTART = 10
IRQ_TIMER, IRQ_DEVICE, IRQ_WORK, IRQ_CALL = 1, 2, 4, 8
"""Bits of interrupts that are pending on a CPU."""
SCHED_BIT, RUN_BIT = 1, 2
"""``TASKLET_STATE_SCHED`` and ``TASKLET_STATE_RUN`` of tasklet_struct.state."""
_STATE, _COUNT, _CALLBACK, _FUNC, _DATA, _SIZE = 8, 16, 20, 24, 32, 40
WORK_PENDING, WORK_BUSY = 1, 2
_WORK_FLAGS, _WORK_FUNC = 8, 16

SOON = simplified("runs within 2,048 instructions, as by an interrupt; there is no ksoftirqd")


def cpu_word(k: Host, offset: int, cpu: int = -1) -> int:
    """Address of a field of the scheduler's block for *cpu* (this one)."""
    return k.sched.block + at.CPUS + (k.cpu if cpu < 0 else cpu) * at.CPU_SIZE + offset


def raise_softirq(k: Host, number: int, cpu: int = -1) -> None:
    """``raise_softirq()``: *number* is pending on *cpu* (this one)."""
    where = k.cpu if cpu < 0 else cpu
    slot = cpu_word(k, at.SOFTIRQ_PENDING, where)
    k.mem.set_u32(slot, k.mem.u32(slot) | 1 << number)
    if where != k.cpu or not k.context.in_interrupt():
        k.sched.raise_irq(where, IRQ_TIMER)


def pending(k: Host) -> int:
    """``local_softirq_pending()``."""
    return k.mem.u32(cpu_word(k, at.SOFTIRQ_PENDING)) if k.sched.on else 0


def do_softirq(k: Host) -> Guest:
    """``__do_softirq()``, unless an interrupt or a softirq is being served. What is raised meanwhile runs, too."""
    if k.context.in_interrupt() or not pending(k):
        return 0
    slot = cpu_word(k, at.SOFTIRQ_PENDING)
    k.context.add(at.SOFTIRQ_OFFSET)
    masked = k.context.irqs_disabled()
    k.context.local_irq_enable()
    for _ in range(MAX_RESTART):
        bits = k.mem.u32(slot)
        if not bits:
            break
        k.mem.set_u32(slot, 0)
        for number in range(10):
            if bits >> number & 1:
                yield from _action(k, number)
    if k.mem.u32(slot):
        k.sched.raise_irq(k.cpu, IRQ_TIMER)
    if masked:
        k.context.local_irq_disable()
    k.context.add(-at.SOFTIRQ_OFFSET)
    return 0


def _action(k: Host, number: int) -> Guest:
    from kmem.kapi import hrtimer, rcu, timer_list

    before = k.context.preempt_count
    if number in (HI, TASKLET):
        yield from _tasklets(k, at.TASKLETS_HI if number == HI else at.TASKLETS, number)
    elif number == TIMER:
        yield from timer_list.run_timers(k)
    elif number == HRTIMER:
        yield from hrtimer.run(k, soft=True)
    elif number == RCU:
        yield from rcu.invoke(k)
    count = k.context.preempt_count
    if count != before:
        k.finding("api-misuse", f"a softirq left preempt_count at {count:#x}, which was {before:#x}")
        k.context.add(before - count)
    return 0


def irq_handlers(k: Host, bits: int) -> Guest:
    """Run the handlers of the interrupts *bits* that were pending."""
    from kmem.kapi import hrtimer, irq, smp

    if bits & IRQ_CALL:
        yield from smp.serve(k)
    if bits & IRQ_WORK:
        yield from _irq_works(k)
    if bits & IRQ_DEVICE:
        yield from irq.serve(k)
    if bits & IRQ_TIMER:
        yield from hrtimer.run(k, soft=False)
    return 0


# Tasklets


def _schedule_tasklet(k: Host, t: int, head: int, number: int) -> None:
    k.sched.start()
    link = cpu_word(k, head)
    while following := k.mem.u64(link):
        link = following
    k.mem.set_u64(t, 0)
    k.mem.set_u64(link, t)
    raise_softirq(k, number)


@export(SOON)
def __tasklet_schedule(k: Host, t: int) -> None:
    """``void __tasklet_schedule(struct tasklet_struct *t)``

    kernel/softirq.c, 6.1. The caller has set TASKLET_STATE_SCHED.
    """
    _schedule_tasklet(k, t, at.TASKLETS, TASKLET)


@export(SOON)
def __tasklet_hi_schedule(k: Host, t: int) -> None:
    """``void __tasklet_hi_schedule(struct tasklet_struct *t)``

    kernel/softirq.c, 6.1.
    """
    _schedule_tasklet(k, t, at.TASKLETS_HI, HI)


def _chains(k: Host) -> list[tuple[str, int, int]]:
    """The lists of what is scheduled: what they are of, where they begin, and where their entries have a function."""
    chains = []
    for cpu in range(k.nr_cpus):
        for head in (at.TASKLETS, at.TASKLETS_HI):
            chains.append(("a tasklet", cpu_word(k, head, cpu), _FUNC))
        chains.append(("an irq_work", cpu_word(k, at.IRQ_WORKS, cpu), _WORK_FUNC))
    return chains


def scheduled(k: Host) -> list[tuple[str, int, int]]:
    """Tasklets and irq_works that wait: what, where, function."""
    found = []
    for what, link, function in _chains(k):
        while link := k.mem.u64(link):
            found.append((what, link, k.mem.u64(link + function)))
    return found


def forget(k: Host, entry: int) -> None:
    """Take a tasklet or an irq_work out of its list."""
    for _, link, _ in _chains(k):
        while (following := k.mem.u64(link)) and following != entry:
            link = following
        if following:
            k.mem.set_u64(link, k.mem.u64(following))


def _tasklets(k: Host, head: int, number: int) -> Guest:
    """``tasklet_action_common()``."""
    slot = cpu_word(k, head)
    t = k.mem.u64(slot)
    k.mem.set_u64(slot, 0)
    while t:
        following, state = k.mem.u64(t), k.mem.u64(t + _STATE)
        if state & RUN_BIT or k.mem.u32(t + _COUNT):
            _schedule_tasklet(k, t, head, number)
        else:
            k.mem.set_u64(t + _STATE, (state | RUN_BIT) & ~SCHED_BIT)
            argument = t if k.mem.u8(t + _CALLBACK) else k.mem.u64(t + _DATA)
            k.tasks.due("a tasklet", t, _SIZE, k.mem.u64(t + _FUNC))
            yield Call(k.mem.u64(t + _FUNC), (argument,))
            k.mem.set_u64(t + _STATE, k.mem.u64(t + _STATE) & ~RUN_BIT)
        t = following
    return 0


@export(faithful)
def tasklet_setup(k: Host, t: int, callback: int) -> None:
    """``void tasklet_setup(struct tasklet_struct *t, void (*callback)(struct tasklet_struct *))``

    kernel/softirq.c, 6.1.
    """
    k.mem.fill(t, 0, _SIZE)
    k.mem.set_u8(t + _CALLBACK, 1)
    k.mem.set_u64(t + _FUNC, callback)


@export(faithful)
def tasklet_init(k: Host, t: int, func: int, data: int) -> None:
    """``void tasklet_init(struct tasklet_struct *t, void (*func)(unsigned long), unsigned long data)``

    kernel/softirq.c, 6.1.
    """
    k.mem.fill(t, 0, _SIZE)
    k.mem.set_u64(t + _FUNC, func)
    k.mem.set_u64(t + _DATA, data)


@export(faithful)
def tasklet_kill(k: Host, t: int) -> Guest:
    """``void tasklet_kill(struct tasklet_struct *t)``

    kernel/softirq.c, 6.1. Waits until the tasklet is neither scheduled nor running.
    """
    k.context.might_sleep("tasklet_kill", "kernel/softirq.c", 887)
    while k.sched.on and k.mem.u64(t + _STATE) & (SCHED_BIT | RUN_BIT):
        yield from k.sched.wait_for_change(SPIN, t + _STATE)
    k.mem.set_u64(t + _STATE, 0)
    return 0


@export(faithful)
def tasklet_unlock_wait(k: Host, t: int) -> Guest:
    """``void tasklet_unlock_wait(struct tasklet_struct *t)``

    kernel/softirq.c, 6.1. Waits until the tasklet does not run.
    """
    while k.sched.on and k.mem.u64(t + _STATE) & RUN_BIT:
        yield from k.sched.wait_for_change(SPIN, t + _STATE)
    return 0


@export(faithful)
def tasklet_unlock_spin_wait(k: Host, t: int) -> Guest:
    """``void tasklet_unlock_spin_wait(struct tasklet_struct *t)``

    kernel/softirq.c, 6.1.
    """
    return (yield from tasklet_unlock_wait(k, t))


@export(faithful)
def tasklet_unlock(k: Host, t: int) -> None:
    """``void tasklet_unlock(struct tasklet_struct *t)``

    kernel/softirq.c, 6.1.
    """
    k.mem.set_u64(t + _STATE, k.mem.u64(t + _STATE) & ~RUN_BIT)


# irq_work: {llist node, flags, …, func}


@export(SOON)
def irq_work_queue(k: Host, work: int) -> int:
    """``bool irq_work_queue(struct irq_work *work)``

    kernel/irq_work.c, 6.1. False if it is queued already.
    """
    flags = k.mem.u32(work + _WORK_FLAGS)
    if flags & WORK_PENDING:
        return 0
    k.sched.start()
    k.mem.set_u32(work + _WORK_FLAGS, flags | WORK_PENDING | WORK_BUSY)
    slot = cpu_word(k, at.IRQ_WORKS)
    k.mem.set_u64(work, k.mem.u64(slot))
    k.mem.set_u64(slot, work)
    k.sched.raise_irq(k.cpu, IRQ_WORK)
    return 1


def _irq_works(k: Host) -> Guest:
    slot = cpu_word(k, at.IRQ_WORKS)
    works = []
    work = k.mem.u64(slot)
    while work:
        works.append(work)
        work = k.mem.u64(work)
    k.mem.set_u64(slot, 0)
    for work in reversed(works):
        k.mem.set_u32(work + _WORK_FLAGS, k.mem.u32(work + _WORK_FLAGS) & ~WORK_PENDING)
        yield Call(k.mem.u64(work + _WORK_FUNC), (work,))
        flags = k.mem.u32(work + _WORK_FLAGS)
        if not flags & WORK_PENDING:
            k.mem.set_u32(work + _WORK_FLAGS, flags & ~WORK_BUSY)
    return 0


@export(faithful)
def irq_work_sync(k: Host, work: int) -> Guest:
    """``void irq_work_sync(struct irq_work *work)``

    kernel/irq_work.c, 6.1. Waits until the work has run.
    """
    while k.mem.u32(work + _WORK_FLAGS) & WORK_BUSY:
        yield from k.sched.wait_for_change(SPIN, work + _WORK_FLAGS)
    return 0
