"""Sleeping for a time, and rounding of jiffies (kernel/time/timer.c, kernel/time/hrtimer.c), 6.1."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.sched import (
    ONE_TASK,
    TASK_INTERRUPTIBLE,
    TASK_KILLABLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    schedule,
    set_task_state,
    sleep_until,
    task_state,
)
from kmem.kapi.timekeeping import HZ, INITIAL_JIFFIES, TICK_NSEC, jiffies, msecs_to_jiffies

MAX_SCHEDULE_TIMEOUT = (1 << 63) - 1
_MASK64 = (1 << 64) - 1


@export(ONE_TASK)
def schedule_timeout(k: Host, timeout: int) -> int:
    """``signed long schedule_timeout(signed long timeout)``

    kernel/time/timer.c, 6.1. Sleeps *timeout* ticks in the state that the task has set; a task that is still running
    goes on at once. Returns the ticks that are left.
    """
    if timeout == MAX_SCHEDULE_TIMEOUT:
        schedule(k)
        return timeout
    if timeout < 0:
        k.log.printk(f"\x013schedule_timeout: wrong timeout value {timeout & _MASK64:x}\n")
        k.dump_stack()
        set_task_state(k, TASK_RUNNING)
        return 0
    expire = jiffies(k) + timeout
    if task_state(k) == TASK_RUNNING:
        k.context.schedule_debug()
    else:
        sleep_until(k, (expire - INITIAL_JIFFIES) * TICK_NSEC)
    return max(0, expire - jiffies(k))


def _timeout_in(k: Host, state: int, timeout: int) -> int:
    set_task_state(k, state)
    return schedule_timeout(k, timeout)


@export(ONE_TASK)
def schedule_timeout_interruptible(k: Host, timeout: int) -> int:
    """``signed long schedule_timeout_interruptible(signed long timeout)``

    kernel/time/timer.c, 6.1.
    """
    return _timeout_in(k, TASK_INTERRUPTIBLE, timeout)


@export(ONE_TASK)
def schedule_timeout_uninterruptible(k: Host, timeout: int) -> int:
    """``signed long schedule_timeout_uninterruptible(signed long timeout)``

    kernel/time/timer.c, 6.1.
    """
    return _timeout_in(k, TASK_UNINTERRUPTIBLE, timeout)


@export(ONE_TASK)
def schedule_timeout_killable(k: Host, timeout: int) -> int:
    """``signed long schedule_timeout_killable(signed long timeout)``

    kernel/time/timer.c, 6.1.
    """
    return _timeout_in(k, TASK_KILLABLE, timeout)


@export(ONE_TASK)
def msleep(k: Host, msecs: int) -> None:
    """``void msleep(unsigned int msecs)``

    kernel/time/timer.c, 6.1. Sleeps to the tick after *msecs* have passed.
    """
    _timeout_in(k, TASK_UNINTERRUPTIBLE, msecs_to_jiffies(msecs) + 1)


@export(ONE_TASK)
def msleep_interruptible(k: Host, msecs: int) -> int:
    """``unsigned long msleep_interruptible(unsigned int msecs)``

    kernel/time/timer.c, 6.1. No signals arrive: always 0.
    """
    _timeout_in(k, TASK_INTERRUPTIBLE, msecs_to_jiffies(msecs) + 1)
    return 0


@export(ONE_TASK)
def usleep_range_state(k: Host, min: int, max: int, state: int) -> None:
    """``void usleep_range_state(unsigned long min, unsigned long max, unsigned int state)``

    kernel/time/timer.c, 6.1. Sleeps *min* microseconds exactly.
    """
    set_task_state(k, state)
    sleep_until(k, k.clock.ns + min * 1000)


def _round(j: int, cpu: int, up: bool, now: int) -> int:
    """*j* moved to a whole second, each CPU three ticks apart; *j* itself if that would be in the past."""
    skewed = j + cpu * 3
    rest = skewed % HZ
    rounded = skewed - rest + (0 if rest < HZ // 4 and not up else HZ) - cpu * 3
    return rounded if rounded > now else j


@export(faithful)
def round_jiffies(k: Host, j: int) -> int:
    """``unsigned long round_jiffies(unsigned long j)``

    kernel/time/timer.c, 6.1.
    """
    return _round(j, k.smp_processor_id(), False, jiffies(k))


@export(faithful)
def round_jiffies_relative(k: Host, j: int) -> int:
    """``unsigned long round_jiffies_relative(unsigned long j)``

    kernel/time/timer.c, 6.1.
    """
    now = jiffies(k)
    return _round(j + now, k.smp_processor_id(), False, now) - now


@export(faithful)
def round_jiffies_up(k: Host, j: int) -> int:
    """``unsigned long round_jiffies_up(unsigned long j)``

    kernel/time/timer.c, 6.1.
    """
    return _round(j, k.smp_processor_id(), True, jiffies(k))


@export(faithful)
def round_jiffies_up_relative(k: Host, j: int) -> int:
    """``unsigned long round_jiffies_up_relative(unsigned long j)``

    kernel/time/timer.c, 6.1.
    """
    now = jiffies(k)
    return _round(j + now, k.smp_processor_id(), True, now) - now
