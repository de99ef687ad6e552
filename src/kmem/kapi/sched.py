"""The scheduler as one task sees it (kernel/sched/core.c), 6.1.

There is one task. To sleep until a time means that time passes; to sleep until somebody wakes the task means that it
never goes on, which is a finding.
"""

from __future__ import annotations

from typing import NoReturn

from kmem.kapi.export import export, simplified
from kmem.kapi.host import Host, Stuck

TASK_RUNNING, TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, TASK_WAKEKILL = 0, 1, 2, 0x100
TASK_KILLABLE = TASK_WAKEKILL | TASK_UNINTERRUPTIBLE

ONE_TASK = simplified("one task runs: nothing else happens while it sleeps")


def task_state(k: Host) -> int:
    """``current->__state``."""
    return k.mem.u32(k.current + k.layout["task_struct"].offset("__state"))


def set_task_state(k: Host, state: int) -> None:
    """``__set_current_state()``."""
    k.mem.set_u32(k.current + k.layout["task_struct"].offset("__state"), state)


def stuck(k: Host, kind: str, message: str, **facts: object) -> NoReturn:
    """Records a finding of *kind* (deadlock, hang) and ends the run of the task."""
    k.finding(kind, message, **facts)
    raise Stuck(message)


def sleep_until(k: Host, ns: int) -> None:
    """The task sleeps until *ns* after boot and is running again."""
    k.context.schedule_debug()
    k.mm.run_work()
    if ns > k.clock.ns:
        k.clock.advance(ns - k.clock.ns)
    set_task_state(k, TASK_RUNNING)


@export(ONE_TASK)
def schedule(k: Host) -> None:
    """``void schedule(void)``

    kernel/sched/core.c, 6.1. A runnable task goes on at once. A sleeping one has nobody to wake it: a hang.
    """
    k.context.schedule_debug()
    k.mm.run_work()
    state = task_state(k)
    if state != TASK_RUNNING:
        stuck(k, "hang", f"schedule() in task state {state:#x}, and nothing is left that could wake the task")


@export(ONE_TASK)
def wake_up_process(k: Host, p: int) -> int:
    """``int wake_up_process(struct task_struct *p)``

    kernel/sched/core.c, 6.1. 1 if the task was sleeping.
    """
    at = p + k.layout["task_struct"].offset("__state")
    sleeping = k.mem.u32(at) & (TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE)
    if sleeping:
        k.mem.set_u32(at, TASK_RUNNING)
    return int(bool(sleeping))


@export(ONE_TASK, name="yield")
def yield_(k: Host) -> None:
    """``void yield(void)``

    kernel/sched/core.c, 6.1.
    """
    k.context.schedule_debug()
    k.mm.run_work()
    set_task_state(k, TASK_RUNNING)


@export(ONE_TASK)
def io_schedule(k: Host) -> None:
    """``void io_schedule(void)``

    kernel/sched/core.c, 6.1.
    """
    schedule(k)
