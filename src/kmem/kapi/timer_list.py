"""Timers (kernel/time/timer.c), 6.1.

A pending timer is in one list, sorted by the tick at which the kernel's wheel would let it fire; its flags hold the
CPU and the level of the wheel. Functions run in the timer softirq of that CPU.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.softirq import TIMER, cpu_word, raise_softirq
from kmem.kapi.timekeeping import INITIAL_JIFFIES, TICK_NSEC, jiffies
from kmem.kapi.timer import LVL_DEPTH, LVL_START, bucket_expiry
from kmem.sched import layout as at
from kmem.sched.core import FOREVER
from kmem.sched.core import TIMER as WAIT_TIMER

CPU_MASK, MIGRATING, ARRAY_SHIFT, ARRAY_MASK = 0x3FFFF, 0x40000, 22, 0xFFC00000
LIST_POISON2 = 0xDEAD000000000122
EXPIRES, FUNCTION, FLAGS, SIZE = 16, 24, 32, 40
NOT_PENDING, MODIFY_PENDING, MODIFY_REDUCE = 0, 1, 2

WHEEL = simplified("one sorted list, which fires when the wheel would")


@export(faithful)
def init_timer_key(k: Host, timer: int, func: int, flags: int, name: int, key: int) -> None:
    """``void init_timer_key(struct timer_list *timer, void (*func)(struct timer_list *), unsigned int flags, const char
    *name, struct lock_class_key *key)``

    kernel/time/timer.c, 6.1.
    """
    k.mem.set_u64(timer + 8, 0)
    k.mem.set_u64(timer + FUNCTION, func)
    k.mem.set_u32(timer + FLAGS, flags | k.smp_processor_id())


def is_pending(k: Host, timer: int) -> bool:
    """``timer_pending()``."""
    return k.mem.u64(timer + 8) != 0


def _fires(k: Host, timer: int) -> int:
    """The tick at which a pending timer fires."""
    level = (k.mem.u32(timer + FLAGS) >> ARRAY_SHIFT) // 64
    return ((k.mem.u64(timer + EXPIRES) >> 3 * level) + 1) << 3 * level


def _cpu(k: Host, timer: int) -> int:
    """The CPU that a pending timer fires on."""
    return (k.mem.u32(timer + FLAGS) & CPU_MASK) % k.nr_cpus


def _level(delta: int) -> int:
    level = 0
    while level < LVL_DEPTH - 1 and delta >= LVL_START << 3 * level:
        level += 1
    return level


def enqueue(k: Host, timer: int, cpu: int) -> None:
    """``internal_add_timer()``: *timer* has its time."""
    k.sched.start()
    clk, expires = jiffies(k), k.mem.u64(timer + EXPIRES)
    level = _level(max(0, expires - clk))
    index = level * 64 + (bucket_expiry(expires, clk) >> 3 * level & 63)
    flags = k.mem.u32(timer + FLAGS) & ~(CPU_MASK | ARRAY_MASK)
    k.mem.set_u32(timer + FLAGS, flags | cpu | index << ARRAY_SHIFT)
    fires = _fires(k, timer)
    link = k.sched.block + at.TIMERS
    while (following := k.mem.u64(link)) and _fires(k, following) <= fires:
        link = following
    k.mem.set_u64(timer, following)
    k.mem.set_u64(timer + 8, link)
    k.mem.set_u64(link, timer)
    if following:
        k.mem.set_u64(following + 8, timer)
    k.sched.changed()


def detach(k: Host, timer: int) -> None:
    """``detach_timer()``."""
    following, link = k.mem.u64(timer), k.mem.u64(timer + 8)
    k.mem.set_u64(link, following)
    if following:
        k.mem.set_u64(following + 8, link)
    k.mem.set_u64(timer, LIST_POISON2)
    k.mem.set_u64(timer + 8, 0)


def timers(k: Host) -> list[int]:
    """The pending timers, by time; as far as the list goes, if a timer in it was overwritten."""
    found: dict[int, None] = {}
    timer = k.mem.u64(k.sched.block + at.TIMERS)
    while timer and timer not in found:
        found[timer] = None
        timer = k.mem.u64(timer)
    return list(found)


def next_event(k: Host) -> int:
    """When the next timer fires that does not yet; `FOREVER` without one."""
    for timer in timers(k):
        cpu = _cpu(k, timer)
        if not k.mem.u32(cpu_word(k, at.SOFTIRQ_PENDING, cpu)) >> TIMER & 1:
            return max(0, _fires(k, timer) - INITIAL_JIFFIES) * TICK_NSEC
    return FOREVER


def expire(k: Host, now: int) -> None:
    """Raise the timer softirq where a timer is due."""
    tick = now // TICK_NSEC + INITIAL_JIFFIES
    for timer in timers(k):
        if _fires(k, timer) > tick:
            break
        cpu = _cpu(k, timer)
        if not k.mem.u32(cpu_word(k, at.SOFTIRQ_PENDING, cpu)) >> TIMER & 1:
            raise_softirq(k, TIMER, cpu)


def run_timers(k: Host) -> Guest:
    """``run_timer_softirq()``: call the functions of the timers of this CPU that are due."""
    slot = cpu_word(k, at.RUNNING_TIMER)
    while True:
        tick, cpu = jiffies(k), k.cpu
        due = [t for t in timers(k) if _fires(k, t) <= tick and _cpu(k, t) == cpu]
        if not due:
            return 0
        timer = due[0]
        detach(k, timer)
        k.mem.set_u64(slot, timer)
        function, before = k.mem.u64(timer + FUNCTION), k.context.preempt_count
        k.tasks.due("a timer", timer, SIZE, function)
        yield Call(function, (timer,))
        count = k.context.preempt_count
        if count != before:
            name = k.kallsyms.sprint(function).partition("+")[0]
            text = f"timer: {name} preempt leak: {before:08x} -> {count:08x}\n"
            k.warn("kernel/time/timer.c", 1482, "call_timer_fn", text)
            k.context.add(before - count)
        k.mem.set_u64(slot, 0)


def modify(k: Host, timer: int, expires: int, options: int, cpu: int = -1) -> int:
    """``__mod_timer()``: 1 if the timer was pending."""
    pending = is_pending(k, timer)
    if not k.mem.u64(timer + FUNCTION) or (options & MODIFY_PENDING and not pending):
        return 0
    if pending:
        old = k.mem.u64(timer + EXPIRES)
        if old == expires or (options & MODIFY_REDUCE and old <= expires):
            return 1
        detach(k, timer)
    k.mem.set_u64(timer + EXPIRES, expires)
    enqueue(k, timer, k.smp_processor_id() if cpu < 0 else cpu)
    return int(pending)


@export(WHEEL)
def mod_timer(k: Host, timer: int, expires: int) -> int:
    """``int mod_timer(struct timer_list *timer, unsigned long expires)``

    kernel/time/timer.c, 6.1. 1 if the timer was pending.
    """
    return modify(k, timer, expires, NOT_PENDING)


@export(WHEEL)
def mod_timer_pending(k: Host, timer: int, expires: int) -> int:
    """``int mod_timer_pending(struct timer_list *timer, unsigned long expires)``

    kernel/time/timer.c, 6.1. Nothing, and 0, if it is not pending.
    """
    return modify(k, timer, expires, MODIFY_PENDING)


@export(WHEEL)
def timer_reduce(k: Host, timer: int, expires: int) -> int:
    """``int timer_reduce(struct timer_list *timer, unsigned long expires)``

    kernel/time/timer.c, 6.1. Makes it fire earlier, never later.
    """
    return modify(k, timer, expires, MODIFY_REDUCE)


def _add(k: Host, timer: int, cpu: int, line: int, function: str) -> None:
    if is_pending(k, timer):
        if function == "add_timer":
            k.bug("kernel/time/timer.c", line, function)
        k.warn("kernel/time/timer.c", line, function, once=True)
        return
    modify(k, timer, k.mem.u64(timer + EXPIRES), NOT_PENDING, cpu)


@export(WHEEL)
def add_timer(k: Host, timer: int) -> None:
    """``void add_timer(struct timer_list *timer)``

    kernel/time/timer.c, 6.1. A BUG if it is pending.
    """
    _add(k, timer, -1, 1250, "add_timer")


@export(WHEEL)
def add_timer_on(k: Host, timer: int, cpu: int) -> None:
    """``void add_timer_on(struct timer_list *timer, int cpu)``

    kernel/time/timer.c, 6.1.
    """
    _add(k, timer, cpu, 1270, "add_timer_on")


@export(WHEEL)
def timer_delete(k: Host, timer: int) -> int:
    """``int timer_delete(struct timer_list *timer)``

    kernel/time/timer.c, 6.1. What del_timer() becomes: 1 if the timer was pending. Its function may still run.
    """
    if not is_pending(k, timer):
        return 0
    detach(k, timer)
    return 1


@export(WHEEL)
def timer_shutdown(k: Host, timer: int) -> int:
    """``int timer_shutdown(struct timer_list *timer)``

    kernel/time/timer.c, 6.1. As timer_delete(); it cannot be armed again.
    """
    was = timer_delete(k, timer)
    k.mem.set_u64(timer + FUNCTION, 0)
    return was


def running_on(k: Host, timer: int, slot: int = at.RUNNING_TIMER) -> int:
    """The CPU that runs the function of *timer*, -1 if none does."""
    if k.sched.on:
        for cpu in range(k.nr_cpus):
            if k.mem.u64(cpu_word(k, slot, cpu)) == timer:
                return cpu
    return -1


@export(WHEEL)
def try_to_del_timer_sync(k: Host, timer: int) -> int:
    """``int try_to_del_timer_sync(struct timer_list *timer)``

    kernel/time/timer.c, 6.1. As timer_delete(), -1 while the function runs.
    """
    return -1 if running_on(k, timer) >= 0 else timer_delete(k, timer)


def delete_sync(k: Host, timer: int, slot: int = at.RUNNING_TIMER, function: int = FUNCTION) -> Guest:
    """Wait until the timer's function does not run; a deadlock if it is its own function that waits."""
    while (cpu := running_on(k, timer, slot)) >= 0:
        if cpu == k.cpu and k.context.in_interrupt():
            k.tasks.waits_for_itself("a timer's function waits for its own end", timer, k.mem.u64(timer + function))
        yield from k.sched.wait_for_change(WAIT_TIMER, cpu_word(k, slot, cpu))
    return 0


@export(WHEEL)
def timer_delete_sync(k: Host, timer: int) -> Guest:
    """``int timer_delete_sync(struct timer_list *timer)``

    kernel/time/timer.c, 6.1. What del_timer_sync() becomes: waits until the function does not run, too.
    """
    yield from delete_sync(k, timer)
    return timer_delete(k, timer)


@export(WHEEL)
def timer_shutdown_sync(k: Host, timer: int) -> Guest:
    """``int timer_shutdown_sync(struct timer_list *timer)``

    kernel/time/timer.c, 6.1.
    """
    yield from delete_sync(k, timer)
    return timer_shutdown(k, timer)
