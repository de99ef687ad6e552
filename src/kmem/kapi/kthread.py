"""Kernel threads (kernel/kthread.c, kernel/exit.c), 6.1.

What the kernel has in ``struct kthread`` lies in the record at the top of the thread's stack (`kmem.sched.layout`).
"""

from __future__ import annotations

from kmem.kapi.errno import EINTR, ENOMEM
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.sched import SCHEDULED, TASK_INTERRUPTIBLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, block, set_task_state
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf
from kmem.sched import layout as at
from kmem.sched.core import EXITING, SCHEDULE

IS_PER_CPU, SHOULD_STOP, SHOULD_PARK = 1, 2, 4
TASK_COMM_LEN = 16
PER_CPU = simplified("a parked thread is not moved when its CPU goes")


def _flags(k: Host, task: int) -> int:
    return k.mem.u64(k.sched.record(task) + at.KTHREAD_FLAGS)


def _set(k: Host, task: int, flag: int, on: bool) -> None:
    slot = k.sched.record(task) + at.KTHREAD_FLAGS
    k.mem.set_u64(slot, k.mem.u64(slot) | flag if on else k.mem.u64(slot) & ~flag)


def name_of(k: Host, fmt: int, args: VaArgs) -> str:
    """The name that a format makes."""
    return vsnprintf(k, k.mem.cstr(fmt), args).decode(errors="replace")


def create(k: Host, fn: int, data: int, name: str) -> int:
    """A thread that waits to be woken for the first time; -ENOMEM without memory."""
    k.sched.start()
    k.tasks.reap()
    task = k.tasks.new_kthread(name, fn, data)
    if not task:
        return -ENOMEM
    o = k.sched.offsets
    k.mem.set_u32(task + o.state, TASK_UNINTERRUPTIBLE)
    return task


@export(SCHEDULED)
def kthread_create_on_node(k: Host, threadfn: int, data: int, node: int, namefmt: int, args: VaArgs) -> int:
    """``struct task_struct *kthread_create_on_node(int (*threadfn)(void *data), void *data, int node, const char
    namefmt[], ...)``

    kernel/kthread.c, 6.1. The thread sleeps until it is woken for the first time. A pointer of -ENOMEM without memory.
    """
    k.context.might_sleep("kthread_create_on_node", "kernel/sched/completion.c", 101)
    return create(k, threadfn, data, name_of(k, namefmt, args))


@export(SCHEDULED)
def kthread_create_on_cpu(k: Host, threadfn: int, data: int, cpu: int, namefmt: int) -> int:
    """``struct task_struct *kthread_create_on_cpu(int (*threadfn)(void *data), void *data, unsigned int cpu, const char
    *namefmt)``

    kernel/kthread.c, 6.1. *namefmt* has one %u for the CPU.
    """
    name = k.mem.cstr(namefmt).decode(errors="replace").replace("%u", str(cpu)).replace("%d", str(cpu))
    task = create(k, threadfn, data, name)
    if task > 0:
        bind(k, task, cpu)
        _set(k, task, IS_PER_CPU, True)
    return task


def bind(k: Host, task: int, cpu: int) -> None:
    """Let *task* run on *cpu* only."""
    o = k.sched.offsets
    k.mem.set_u64(task + o.cpus_mask, 1 << cpu)
    k.mem.set_u32(task + o.nr_cpus_allowed, 1)
    k.mem.set_u32(task + o.flags, k.mem.u32(task + o.flags) | at.PF_NO_SETAFFINITY)
    k.mem.set_u32(task + o.cpu, cpu)


@export(SCHEDULED)
def kthread_bind(k: Host, p: int, cpu: int) -> None:
    """``void kthread_bind(struct task_struct *p, unsigned int cpu)``

    kernel/kthread.c, 6.1. For a thread that has not run yet.
    """
    bind(k, p, cpu)


@export(faithful)
def kthread_should_stop(k: Host) -> bool:
    """``bool kthread_should_stop(void)``

    kernel/kthread.c, 6.1.
    """
    return bool(_flags(k, k.current) & SHOULD_STOP)


@export(faithful)
def kthread_should_park(k: Host) -> bool:
    """``bool kthread_should_park(void)``

    kernel/kthread.c, 6.1.
    """
    return bool(_flags(k, k.current) & SHOULD_PARK)


@export(faithful)
def kthread_freezable_should_stop(k: Host, was_frozen: int) -> bool:
    """``bool kthread_freezable_should_stop(bool *was_frozen)``

    kernel/kthread.c, 6.1. Nothing is ever frozen.
    """
    if was_frozen:
        k.mem.set_u8(was_frozen, 0)
    return bool(_flags(k, k.current) & SHOULD_STOP)


@export(faithful)
def kthread_data(k: Host, task: int) -> int:
    """``void *kthread_data(struct task_struct *task)``

    kernel/kthread.c, 6.1. What the thread's function was given.
    """
    return k.mem.u64(k.sched.record(task) + at.KTHREAD_DATA)


@export(faithful)
def kthread_func(k: Host, task: int) -> int:
    """``void *kthread_func(struct task_struct *task)``

    kernel/kthread.c, 6.1.
    """
    return k.mem.u64(k.sched.record(task) + at.KTHREAD_FN)


def _dead(k: Host, task: int) -> bool:
    return k.sched.state(task) == at.TASK_DEAD


@export(SCHEDULED)
def kthread_stop(k: Host, task: int) -> Guest:
    """``int kthread_stop(struct task_struct *k)``

    kernel/kthread.c, 6.1. Asks the thread to end, wakes it and waits; what its function returned, -EINTR if it never
    ran. The task is given back.
    """
    k.context.might_sleep("kthread_stop", "kernel/sched/completion.c", 101)
    if not k.sched.exists(task):
        if task in k.sched.zombies() and k.mem.u32(task + k.sched.offsets.usage) > 1:
            return k.mem.u64(k.sched.record(task) + at.KTHREAD_RESULT)
        k.finding("api-misuse", "kthread_stop() of a thread that has ended, without a reference to it", address=task)
        return -EINTR
    _set(k, task, SHOULD_STOP, True)
    if k.tasks.never_ran(task) and not _dead(k, task):
        if k.sched.state(task) != TASK_RUNNING:
            k.sched.wake(task, at.TASK_NORMAL)
        k.tasks.start_with(task, k.address_of("kmem_kthread_stopped"))
    unpark(k, task)
    k.sched.wake(task, at.TASK_NORMAL)
    return (yield from _result(k, task))


def _result(k: Host, task: int) -> Guest:
    """Wait for the end of a thread that is to stop; what its function returned."""
    while not _dead(k, task):
        set_task_state(k, TASK_UNINTERRUPTIBLE)
        yield from block(k, EXITING, task)
    result = k.mem.u64(k.sched.record(task) + at.KTHREAD_RESULT)
    if k.mem.u32(task + k.sched.offsets.usage) > 1:
        k.sched.bury_later(task)
        return result
    k.sched.delist(task)
    k.tasks.free_kthread(task)
    return result


def call_on_cpu(k: Host, cpu: int, function: int, argument: int, name: str) -> Guest:
    """What *function* returns in a thread of its own on *cpu*; -ENOMEM without memory."""
    if cpu == k.cpu:
        return (yield Call(function, (argument,)))
    task = create(k, function, argument, name)
    if task < 0:
        return task
    bind(k, task, cpu)
    _set(k, task, SHOULD_STOP, True)
    k.sched.wake(task, at.TASK_NORMAL)
    return (yield from _result(k, task))


@export(faithful, private=True)
def kmem_kthread_stopped(k: Host) -> int:
    """``int kmem_kthread_stopped(void)``

    kernel/kthread.c, 6.1. What a thread runs that was stopped before it was woken for the first time.
    """
    return -EINTR


def do_exit(k: Host, result: int) -> Guest:
    """The running thread is over: who waits for it is woken."""
    task = k.current
    k.mem.set_u64(k.sched.record(task) + at.KTHREAD_RESULT, result)
    count = k.context.preempt_count
    if count:
        k.finding("api-misuse", f"thread {k.tasks.comm(task)} ended with preempt_count {count:#x}")
        k.context.add(-count)
    k.sched.set_state(task, at.TASK_DEAD)
    k.sched.wake_waiters(EXITING, task)
    if not _flags(k, task) & SHOULD_STOP:
        k.sched.bury_later(task)
    yield from k.sched.exit(task)
    return 0


@export(SCHEDULED)
def kthread_complete_and_exit(k: Host, comp: int, code: int) -> Guest:
    """``void kthread_complete_and_exit(struct completion *comp, long code)``

    kernel/kthread.c, 6.1.
    """
    from kmem.kapi.wait import complete

    if comp:
        complete(k, comp)
    yield from do_exit(k, code & ((1 << 64) - 1))
    return 0


# Parking


@export(PER_CPU)
def kthread_parkme(k: Host) -> Guest:
    """``void kthread_parkme(void)``

    kernel/kthread.c, 6.1. Waits until kthread_unpark().
    """
    task = k.current
    while _flags(k, task) & SHOULD_PARK:
        set_task_state(k, at.TASK_PARKED)
        k.sched.wake_waiters(EXITING, task)
        yield from block(k, SCHEDULE, task)
    set_task_state(k, TASK_RUNNING)
    return 0


def unpark(k: Host, task: int) -> None:
    """``kthread_unpark()``."""
    _set(k, task, SHOULD_PARK, False)
    k.sched.wake(task, at.TASK_PARKED)


@export(PER_CPU)
def kthread_unpark(k: Host, task: int) -> None:
    """``void kthread_unpark(struct task_struct *k)``

    kernel/kthread.c, 6.1.
    """
    unpark(k, task)


@export(PER_CPU)
def kthread_park(k: Host, task: int) -> Guest:
    """``int kthread_park(struct task_struct *k)``

    kernel/kthread.c, 6.1. Waits until the thread calls kthread_parkme(). -ENOSYS if it has ended.
    """
    if _dead(k, task):
        return -38
    _set(k, task, SHOULD_PARK, True)
    if task != k.current:
        k.sched.wake(task, at.TASK_NORMAL)
        while k.sched.state(task) != at.TASK_PARKED and not _dead(k, task):
            set_task_state(k, TASK_INTERRUPTIBLE)
            yield from block(k, EXITING, task)
    return 0
