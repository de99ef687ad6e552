"""High-resolution timers (kernel/time/hrtimer.c), 6.1: one list, sorted by time, linked through the timers' nodes.

Functions run in hard interrupt context, of timers that were started with HRTIMER_MODE_SOFT in a softirq, on the CPU
that started the timer.
"""

from __future__ import annotations

from kmem.kapi.errno import EINTR
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.sched import TASK_RUNNING, block, set_task_state
from kmem.kapi.softirq import HRTIMER, IRQ_TIMER, cpu_word, raise_softirq
from kmem.kapi.timekeeping import NSEC_PER_SEC
from kmem.kapi.timer_list import delete_sync, running_on
from kmem.machine.clock import BOOT_REAL_TIME
from kmem.sched import layout as at
from kmem.sched import lists
from kmem.sched.core import FOREVER, TIME

MODE_REL, MODE_SOFT = 1, 4
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI = 0, 1, 7, 11
_LINK, _EXPIRES, _SOFT_EXPIRES, FUNCTION, _BASE, _STATE, _IS_REL, _IS_SOFT = 8, 24, 32, 40, 48, 56, 57, 58
_CPU = 60
"""The CPU of a timer, in the padding at the end of ``struct hrtimer``."""
ENQUEUED = 1
BASE_SIZE, BASE_CLOCKID, BASE_GET_TIME = 64, 12, 48

SORTED = simplified("one sorted list for all CPUs and clocks; the slack is not used")

data("hrtimer_resolution", 4, b"\1", align=4, doc="Nanoseconds that a timer is exact to, kernel/time/hrtimer.c.")
data("kmem_hrtimer_bases", 2 * BASE_SIZE, doc="Two hrtimer_clock_base: monotonic and real time.", private=True)


def _base(k: Host, clock: int) -> int:
    """The ``struct hrtimer_clock_base`` of a clock, whose get_time() inlines call."""
    real = clock in (CLOCK_REALTIME, CLOCK_TAI)
    base = k.address_of("kmem_hrtimer_bases") + BASE_SIZE * real
    k.mem.set_u32(base + BASE_CLOCKID, CLOCK_REALTIME if real else CLOCK_MONOTONIC)
    k.mem.set_u64(base + BASE_GET_TIME, k.address_of("kmem_ktime_get_real" if real else "ktime_get"))
    return base


@export(faithful, private=True)
def kmem_ktime_get_real(k: Host) -> int:
    """``ktime_t kmem_ktime_get_real(void)``

    kernel/time/timekeeping.c, 6.1: ``ktime_get_real()``, an inline.
    """
    return k.clock.ns + BOOT_REAL_TIME * NSEC_PER_SEC


def _offset(k: Host, timer: int) -> int:
    """What the clock of *timer* is ahead of the time since boot."""
    base = k.mem.u64(timer + _BASE)
    return BOOT_REAL_TIME * NSEC_PER_SEC if base and not k.mem.u32(base + BASE_CLOCKID) else 0


@export(SORTED)
def hrtimer_init(k: Host, timer: int, clock_id: int, mode: int) -> None:
    """``void hrtimer_init(struct hrtimer *timer, clockid_t clock_id, enum hrtimer_mode mode)``

    kernel/time/hrtimer.c, 6.1.
    """
    k.mem.fill(timer, 0, k.layout["hrtimer"].size)
    k.mem.set_u64(timer, timer)
    k.mem.set_u64(timer + _BASE, _base(k, clock_id))
    k.mem.set_u8(timer + _IS_SOFT, int(mode & MODE_SOFT != 0))


def _cpu(k: Host, timer: int) -> int:
    """The CPU that a queued timer fires on."""
    return k.mem.u32(timer + _CPU) % k.nr_cpus


def _when(k: Host, timer: int) -> int:
    """When *timer* fires, in nanoseconds since boot."""
    return max(0, k.mem.s64(timer + _EXPIRES) - _offset(k, timer))


def _enqueue(k: Host, timer: int) -> None:
    when, head = _when(k, timer), k.sched.block + at.HRTIMERS
    k.mem.set_u64(timer, timer + 1)
    k.mem.set_u8(timer + _STATE, ENQUEUED)
    for other in timers(k):
        if _when(k, other) > when:
            lists.insert_before(k.mem, timer + _LINK, other + _LINK)
            break
    else:
        lists.insert_before(k.mem, timer + _LINK, head)
    k.sched.changed()


def _dequeue(k: Host, timer: int) -> None:
    lists.remove(k.mem, timer + _LINK)
    k.mem.set_u64(timer, timer)
    k.mem.set_u8(timer + _STATE, 0)


@export(SORTED)
def hrtimer_start_range_ns(k: Host, timer: int, tim: int, delta_ns: int, mode: int) -> None:
    """``void hrtimer_start_range_ns(struct hrtimer *timer, ktime_t tim, u64 delta_ns, const enum hrtimer_mode mode)``

    kernel/time/hrtimer.c, 6.1. The timer fires at *tim*.
    """
    k.sched.start()
    if k.mem.u8(timer + _STATE) & ENQUEUED:
        _dequeue(k, timer)
    expires = tim + (k.clock.ns + _offset(k, timer) if mode & MODE_REL else 0)
    k.mem.set_u64(timer + _SOFT_EXPIRES, expires & (1 << 64) - 1)
    k.mem.set_u64(timer + _EXPIRES, expires & (1 << 64) - 1)
    k.mem.set_u32(timer + _CPU, k.cpu)
    _enqueue(k, timer)


def timers(k: Host) -> list[int]:
    """The timers that are queued, by time; as far as the list goes, if a timer in it was overwritten."""
    found: dict[int, None] = {}
    head = k.sched.block + at.HRTIMERS
    link = k.mem.u64(head)
    while link != head and link - _LINK not in found:
        found[link - _LINK] = None
        link = k.mem.u64(link)
    return list(found)


def next_event(k: Host) -> int:
    """When the next timer fires whose CPU has not been told yet; `FOREVER` without one."""
    for timer in timers(k):
        if not k.mem.u32(cpu_word(k, at.IRQ_PENDING, _cpu(k, timer))) & IRQ_TIMER:
            return _when(k, timer)
    return FOREVER


def expire(k: Host, now: int) -> None:
    """Interrupt the CPUs whose timers are due."""
    for timer in timers(k):
        if _when(k, timer) > now:
            break
        cpu = _cpu(k, timer)
        if not k.mem.u32(cpu_word(k, at.IRQ_PENDING, cpu)) & IRQ_TIMER:
            k.sched.raise_irq(cpu, IRQ_TIMER)


def run(k: Host, *, soft: bool) -> Guest:
    """``__hrtimer_run_queues()``: call the functions of the timers of this CPU that are due."""
    slot = cpu_word(k, at.RUNNING_HRTIMER)
    seen: set[int] = set()
    while True:
        now, due = k.clock.ns, 0
        for timer in timers(k):
            if _when(k, timer) > now:
                break
            if _cpu(k, timer) == k.cpu and timer not in seen:
                if bool(k.mem.u8(timer + _IS_SOFT)) == soft:
                    due = timer
                    break
                if not soft:
                    raise_softirq(k, HRTIMER)
        if not due:
            return 0
        _dequeue(k, due)
        k.mem.set_u64(slot, due)
        function = k.mem.u64(due + FUNCTION)
        k.tasks.due("a high-resolution timer", due, k.layout["hrtimer"].size, function)
        again = yield Call(function, (due,))
        if again & 0xFFFFFFFF and not k.mem.u8(due + _STATE) & ENQUEUED:
            seen.add(due)
            _enqueue(k, due)
        k.mem.set_u64(slot, 0)


@export(SORTED)
def hrtimer_try_to_cancel(k: Host, timer: int) -> int:
    """``int hrtimer_try_to_cancel(struct hrtimer *timer)``

    kernel/time/hrtimer.c, 6.1. 1 if it was active, -1 while its function runs.
    """
    if running_on(k, timer, at.RUNNING_HRTIMER) >= 0:
        return -1
    if not k.mem.u8(timer + _STATE) & ENQUEUED:
        return 0
    _dequeue(k, timer)
    return 1


@export(SORTED)
def hrtimer_cancel(k: Host, timer: int) -> Guest:
    """``int hrtimer_cancel(struct hrtimer *timer)``

    kernel/time/hrtimer.c, 6.1. Waits until its function does not run.
    """
    yield from delete_sync(k, timer, at.RUNNING_HRTIMER, FUNCTION)
    return hrtimer_try_to_cancel(k, timer)


@export(SORTED)
def hrtimer_active(k: Host, timer: int) -> bool:
    """``bool hrtimer_active(const struct hrtimer *timer)``

    kernel/time/hrtimer.c, 6.1. Whether it is queued or its function runs.
    """
    return bool(k.mem.u8(timer + _STATE) & ENQUEUED) or running_on(k, timer, at.RUNNING_HRTIMER) >= 0


@export(SORTED)
def __hrtimer_get_remaining(k: Host, timer: int, adjust: int) -> int:
    """``ktime_t __hrtimer_get_remaining(const struct hrtimer *timer, bool adjust)``

    kernel/time/hrtimer.c, 6.1.
    """
    return k.mem.s64(timer + _EXPIRES) - _offset(k, timer) - k.clock.ns


@export(faithful)
def hrtimer_forward(k: Host, timer: int, now: int, interval: int) -> int:
    """``u64 hrtimer_forward(struct hrtimer *timer, ktime_t now, ktime_t interval)``

    kernel/time/hrtimer.c, 6.1. Moves the time of expiry behind *now* by whole intervals; how many.
    """
    expires = k.mem.s64(timer + _EXPIRES)
    if now < expires or k.mem.u8(timer + _STATE) & ENQUEUED:
        return 0
    interval = max(interval, 1)
    overruns = (now - expires) // interval + 1
    k.mem.set_u64(timer + _EXPIRES, expires + overruns * interval & (1 << 64) - 1)
    k.mem.set_u64(timer + _SOFT_EXPIRES, expires + overruns * interval & (1 << 64) - 1)
    return overruns


def _sleep(k: Host, expires: int, mode: int) -> Guest:
    if not expires:
        yield from block(k, TIME)
        return -EINTR
    when = k.mem.s64(expires) + (k.clock.ns if mode & MODE_REL else 0)
    late = 1
    if when > k.clock.ns:
        late = yield from block(k, TIME, 0, when)
    set_task_state(k, TASK_RUNNING)
    return 0 if late else -EINTR


@export(SORTED)
def schedule_hrtimeout_range(k: Host, expires: int, delta: int, mode: int) -> Guest:
    """``int schedule_hrtimeout_range(ktime_t *expires, u64 delta, const enum hrtimer_mode mode)``

    kernel/time/hrtimer.c, 6.1. 0 when the time is up, -EINTR if the task was woken before.
    """
    return (yield from _sleep(k, expires, mode))


@export(SORTED)
def schedule_hrtimeout(k: Host, expires: int, mode: int) -> Guest:
    """``int schedule_hrtimeout(ktime_t *expires, const enum hrtimer_mode mode)``

    kernel/time/hrtimer.c, 6.1.
    """
    return (yield from _sleep(k, expires, mode))
