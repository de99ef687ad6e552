"""Sleeping for a time, and rounding of jiffies (kernel/time/timer.c, kernel/time/hrtimer.c), 6.1."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Guest, Host
from kmem.kapi.sched import (
    SCHEDULED,
    TASK_INTERRUPTIBLE,
    TASK_KILLABLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    block,
    schedule,
    set_task_state,
    sleep_until,
    task_state,
)
from kmem.kapi.timekeeping import HZ, INITIAL_JIFFIES, TICK_NSEC, jiffies, msecs_to_jiffies
from kmem.sched.core import FOREVER, SCHEDULE, TIME

MAX_SCHEDULE_TIMEOUT = (1 << 63) - 1
TASK_IDLE = 0x402
LVL_START, LVL_DEPTH = 63, 9
"""Ticks from which on a timer goes to the second level of the wheel, and the number of levels, for HZ=250."""
WHEEL_TIMEOUT_CUTOFF = LVL_START << 3 * (LVL_DEPTH - 1)
WHEEL_TIMEOUT_MAX = WHEEL_TIMEOUT_CUTOFF - (1 << 3 * (LVL_DEPTH - 1))
_MASK64 = (1 << 64) - 1


def deadline_of(k: Host, timeout: int) -> int:
    """When a sleep of *timeout* ticks ends, in nanoseconds since boot.

    As the timer wheel has it, which rounds up so that no timer fires early, the more the longer it runs.
    """
    if timeout >= MAX_SCHEDULE_TIMEOUT:
        return FOREVER
    clk = jiffies(k)
    return (bucket_expiry(clk + timeout, clk) - INITIAL_JIFFIES) * TICK_NSEC


def bucket_expiry(expires: int, clk: int) -> int:
    """``calc_wheel_index()``: the tick at which a timer for tick *expires* fires that is armed at *clk*."""
    delta = expires - clk
    if delta < 0:
        return clk
    level = 0
    while level < LVL_DEPTH - 1 and delta >= LVL_START << 3 * level:
        level += 1
    if delta >= WHEEL_TIMEOUT_CUTOFF:
        expires = clk + WHEEL_TIMEOUT_MAX
    return ((expires >> 3 * level) + 1) << 3 * level


def ticks_left(k: Host, timeout: int, deadline: int) -> int:
    """What is left of a *timeout* that would have ended at *deadline*."""
    if timeout >= MAX_SCHEDULE_TIMEOUT:
        return timeout
    left = deadline // TICK_NSEC - 1 - k.clock.ns // TICK_NSEC
    return max(0, min(timeout, left))


@export(SCHEDULED)
def schedule_timeout(k: Host, timeout: int) -> int | Guest:
    """``signed long schedule_timeout(signed long timeout)``

    kernel/time/timer.c, 6.1. Sleeps *timeout* ticks in the state that the task has set; a task that is still running
    goes on at once. Returns the ticks that are left.
    """
    if timeout == MAX_SCHEDULE_TIMEOUT:
        return _forever(k)
    if timeout < 0:
        k.log.printk(f"\x013schedule_timeout: wrong timeout value {timeout & _MASK64:x}\n")
        k.dump_stack()
        set_task_state(k, TASK_RUNNING)
        return 0
    if task_state(k) == TASK_RUNNING and not k.sched.on:
        k.context.schedule_debug()
        return timeout
    deadline = deadline_of(k, timeout)
    if k.sched.on:
        return _sleep(k, timeout, deadline)
    sleep_until(k, deadline)
    return ticks_left(k, timeout, deadline)


def _forever(k: Host) -> Guest:
    if k.sched.on:
        yield from block(k, SCHEDULE)
    else:
        schedule(k)
    return MAX_SCHEDULE_TIMEOUT


def _sleep(k: Host, timeout: int, deadline: int) -> Guest:
    yield from block(k, TIME, 0, deadline)
    return ticks_left(k, timeout, deadline)


def _timeout_in(k: Host, state: int, timeout: int) -> int | Guest:
    set_task_state(k, state)
    return schedule_timeout(k, timeout)


@export(SCHEDULED)
def schedule_timeout_interruptible(k: Host, timeout: int) -> int | Guest:
    """``signed long schedule_timeout_interruptible(signed long timeout)``

    kernel/time/timer.c, 6.1.
    """
    return _timeout_in(k, TASK_INTERRUPTIBLE, timeout)


@export(SCHEDULED)
def schedule_timeout_uninterruptible(k: Host, timeout: int) -> int | Guest:
    """``signed long schedule_timeout_uninterruptible(signed long timeout)``

    kernel/time/timer.c, 6.1.
    """
    return _timeout_in(k, TASK_UNINTERRUPTIBLE, timeout)


@export(SCHEDULED)
def schedule_timeout_killable(k: Host, timeout: int) -> int | Guest:
    """``signed long schedule_timeout_killable(signed long timeout)``

    kernel/time/timer.c, 6.1.
    """
    return _timeout_in(k, TASK_KILLABLE, timeout)


@export(SCHEDULED)
def schedule_timeout_idle(k: Host, timeout: int) -> int | Guest:
    """``signed long schedule_timeout_idle(signed long timeout)``

    kernel/time/timer.c, 6.1.
    """
    return _timeout_in(k, TASK_IDLE, timeout)


def _msleep(k: Host, state: int, timeout: int) -> Guest:
    """Sleep all of *timeout*, however often the task is woken."""
    deadline = deadline_of(k, timeout)
    while True:
        set_task_state(k, state)
        if (yield from block(k, TIME, 0, deadline)) or k.clock.ns >= deadline:
            return 0


@export(SCHEDULED)
def msleep(k: Host, msecs: int) -> int | Guest:
    """``void msleep(unsigned int msecs)``

    kernel/time/timer.c, 6.1. Sleeps to the tick after *msecs* have passed.
    """
    if k.sched.on:
        return _msleep(k, TASK_UNINTERRUPTIBLE, msecs_to_jiffies(msecs) + 1)
    _timeout_in(k, TASK_UNINTERRUPTIBLE, msecs_to_jiffies(msecs) + 1)
    return 0


@export(SCHEDULED)
def msleep_interruptible(k: Host, msecs: int) -> int | Guest:
    """``unsigned long msleep_interruptible(unsigned int msecs)``

    kernel/time/timer.c, 6.1. No signals arrive: always 0.
    """
    if k.sched.on:
        return _msleep(k, TASK_INTERRUPTIBLE, msecs_to_jiffies(msecs) + 1)
    _timeout_in(k, TASK_INTERRUPTIBLE, msecs_to_jiffies(msecs) + 1)
    return 0


@export(SCHEDULED)
def usleep_range_state(k: Host, min: int, max: int, state: int) -> int | Guest:
    """``void usleep_range_state(unsigned long min, unsigned long max, unsigned int state)``

    kernel/time/timer.c, 6.1. Sleeps *min* microseconds exactly.
    """
    set_task_state(k, state)
    return sleep_until(k, k.clock.ns + min * 1000)


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
