"""Work queues (kernel/workqueue.c), 6.1.

``work_struct`` and ``delayed_work`` are the kernel's; queues and pools are private structures in RAM. Each CPU has a
pool and there is one for queues that are not bound to a CPU; kworker threads take works from their pool in order. A
pool makes another worker when work is queued and none is idle: on one CPU tasks change only where they sleep, so that
the second one runs when the first sleeps, as the kernel's concurrency management has it.
"""

from __future__ import annotations

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.lists import add_tail, del_init, entries, init_list_head
from kmem.kapi.sched import TASK_RUNNING, TASK_UNINTERRUPTIBLE, block, set_task_state
from kmem.kapi.timekeeping import jiffies
from kmem.kapi.timer import TASK_IDLE
from kmem.kapi.timer_list import EXPIRES, delete_sync, enqueue, is_pending, timer_delete
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf
from kmem.sched import layout as at
from kmem.sched.core import NOTHING, WORK

PENDING, INACTIVE, PWQ = 1, 2, 4
NO_POOL = 0x7FFFFFFF << 5
_ENTRY, _FUNC, _TIMER, _WQ, _CPU = 8, 24, 32, 72, 80
"""Fields of work_struct and delayed_work."""
WORK_CPU_UNBOUND = 8192
WQ_UNBOUND, WQ_ORDERED = 2, 1 << 17
DEFAULT_ACTIVE, MAX_ACTIVE = 256, 512
QUEUE_SIZE = 256
NAME, FLAGS, LIMIT, ACTIVE, DRAINING, WAITING, NEXT = 0, 32, 36, 40, 44, 48, 64
"""Fields of a queue: what it is called, how many works may be active and are, those that wait, the next queue."""
POOL_SIZE, POOLS = 64, 4096
WORKLIST, WORKERS = 0, 16
SYSTEM = (
    *("events", "events_highpri", "events_long", "events_unbound", "events_freezable", "events_power_efficient"),
    *("events_freezable_power_efficient", "events_bh", "events_bh_highpri"),
)
_VARIABLES = (
    *("system_wq", "system_highpri_wq", "system_long_wq", "system_unbound_wq", "system_freezable_wq"),
    *("system_power_efficient_wq", "system_freezable_power_efficient_wq", "system_bh_wq", "system_bh_highpri_wq"),
)
QUEUES = simplified("no priorities, no rescuers, no CPU affinity of queues that are not bound")


def _blank(name: str) -> bytes:
    flags = WQ_UNBOUND if "unbound" in name else 0
    head = name.encode().ljust(32, b"\0") + flags.to_bytes(4, "little") + DEFAULT_ACTIVE.to_bytes(4, "little")
    return head.ljust(QUEUE_SIZE, b"\0")


data(
    "kmem_workqueues",
    POOLS + 65 * POOL_SIZE,
    b"".join(map(_blank, SYSTEM)),
    align=QUEUE_SIZE,
    doc="The system's work queues, the list of all others, the pools. The model's own.",
    private=True,
)
_LIST = len(SYSTEM) * QUEUE_SIZE
for _number, _name in enumerate(_VARIABLES):
    data(
        _name,
        8,
        lambda k, number=_number: (k.address_of("kmem_workqueues") + number * QUEUE_SIZE).to_bytes(8, "little"),  # type: ignore[misc]
        doc="kernel/workqueue.c, 6.1: a work queue of the system.",
    )


def _pool(k: Host, number: int) -> int:
    pool = k.address_of("kmem_workqueues") + POOLS + number * POOL_SIZE
    if not k.mem.u64(pool + WORKLIST):
        init_list_head(k, pool + WORKLIST)
    return pool


def _waiting(k: Host, wq: int) -> int:
    if not k.mem.u64(wq + WAITING):
        init_list_head(k, wq + WAITING)
    return wq + WAITING


def _workers(k: Host) -> list[int]:
    """The records of all workers."""
    flags = k.sched.offsets.flags
    return [k.sched.record(t) for t in k.sched.tasks() if k.mem.u32(t + flags) & at.PF_WQ_WORKER]


def executor_of(k: Host, work: int) -> int:
    """The record of the worker that executes *work*, 0 if none does."""
    for record in _workers(k):
        if k.mem.u64(record + at.WORKER_WORK) == work and k.mem.u64(record + at.WORKER_FUNC) == k.mem.u64(work + _FUNC):
            return record
    return 0


def init_work(k: Host, work: int, function: int) -> None:
    """``INIT_WORK()``."""
    k.mem.set_u64(work, NO_POOL)
    init_list_head(k, work + _ENTRY)
    k.mem.set_u64(work + _FUNC, function)


def is_queued(k: Host, work: int) -> bool:
    """Whether *work* is in a list of works."""
    return bool(k.mem.u64(work) & PWQ)


def _wake_worker(k: Host, number: int) -> None:
    """Wake an idle worker of a pool, or make one."""
    pool = _pool(k, number)
    for record in _workers(k):
        task = k.mem.u64(record + at.TASK)
        if k.mem.u64(record + at.WORKER_POOL) == number and k.sched.state(task) == TASK_IDLE:
            k.sched.wake(task, TASK_IDLE)
            return
    from kmem.kapi.kthread import bind

    count = k.mem.u32(pool + WORKERS)
    unbound = number == k.nr_cpus
    name = f"kworker/u{2 * number}:{count}" if unbound else f"kworker/{number}:{count}"
    task = k.tasks.new_kernel_thread(name, k.address_of("kmem_worker"), number)
    if task:
        k.sched.set_state(task, TASK_UNINTERRUPTIBLE)
        k.mem.set_u32(pool + WORKERS, count + 1)
        flags = task + k.sched.offsets.flags
        k.mem.set_u32(flags, k.mem.u32(flags) | at.PF_WQ_WORKER)
        record = k.sched.record(task)
        k.mem.set_u64(record + at.WORKER_POOL, number)
        init_list_head(k, record + at.WORKER_NEXT)
        if not unbound:
            bind(k, task, number)
        k.sched.wake(task, TASK_UNINTERRUPTIBLE)


def queue(k: Host, cpu: int, wq: int, work: int) -> None:
    """``__queue_work()``: PENDING is set already."""
    k.sched.start()
    if k.mem.u32(wq + DRAINING) and not any(
        k.mem.u64(r + at.WORKER_QUEUE) == wq and k.mem.u64(r + at.TASK) == k.current for r in _workers(k)
    ):
        k.warn("kernel/workqueue.c", 1441, "__queue_work", once=True)
        k.mem.set_u64(work, NO_POOL)
        return
    number = k.nr_cpus if k.mem.u32(wq + FLAGS) & WQ_UNBOUND else cpu if 0 <= cpu < k.nr_cpus else k.cpu
    if k.mem.u32(wq + ACTIVE) >= k.mem.u32(wq + LIMIT):
        k.mem.set_u64(work, wq | PENDING | PWQ | INACTIVE)
        add_tail(k, work + _ENTRY, _waiting(k, wq))
        return
    _activate(k, wq, work, number)


def _activate(k: Host, wq: int, work: int, number: int) -> None:
    k.mem.set_u64(work, wq | PENDING | PWQ)
    k.mem.set_u32(wq + ACTIVE, k.mem.u32(wq + ACTIVE) + 1)
    busy = executor_of(k, work)
    if busy:  # a work never runs twice at the same time
        add_tail(k, work + _ENTRY, busy + at.WORKER_NEXT)
        return
    add_tail(k, work + _ENTRY, _pool(k, number) + WORKLIST)
    _wake_worker(k, number)


def _queue_of(k: Host, work: int) -> int:
    return k.mem.u64(work) & ~0xFF


def _is_barrier(k: Host, work: int) -> bool:
    return k.mem.u64(work + _FUNC) == k.address_of("kmem_wq_barrier")


@export(QUEUES, private=True)
def kmem_wq_barrier(k: Host) -> None:
    """``void kmem_wq_barrier(void)``

    kernel/workqueue.c, 6.1: ``wq_barrier_func()``. Marks the work that is queued behind one that is waited for.
    """


def _next(k: Host, record: int, number: int) -> int:
    """Take the next work; 0 if there is none. Barriers that are reached wake who waits."""
    for head in (record + at.WORKER_NEXT, _pool(k, number) + WORKLIST):
        for entry in entries(k, head):
            work = entry - _ENTRY
            if _is_barrier(k, work):
                del_init(k, entry)
                k.mem.set_u64(work + _FUNC, 0)
                k.sched.wake(k.mem.u64(work - at.BARRIER + at.TASK), at.TASK_NORMAL)
                continue
            busy = executor_of(k, work)
            following = k.mem.u64(entry)
            del_init(k, entry)
            target = busy or record
            while following != head and _is_barrier(k, following - _ENTRY):
                after = k.mem.u64(following)
                del_init(k, following)
                add_tail(k, following, target + at.WORKER_NEXT)
                following = after
            if not busy:
                return work
            add_tail(k, entry, busy + at.WORKER_NEXT)
            return _next(k, record, number)
    return 0


def _finish(k: Host, record: int) -> None:
    """The work that the worker of *record* executed has returned: another one of its queue may become active."""
    wq = k.mem.u64(record + at.WORKER_QUEUE)
    func = k.mem.u64(record + at.WORKER_FUNC)
    for slot in (at.WORKER_WORK, at.WORKER_FUNC, at.WORKER_QUEUE):
        k.mem.set_u64(record + slot, 0)
    count = k.context.preempt_count
    if count:
        name = k.kallsyms.sprint(func)
        k.log.printk(
            f"\x013BUG: workqueue leaked lock or atomic: {k.tasks.comm(k.current)}/0x{count:08x}/"
            f"{k.mem.u32(k.current + k.sched.offsets.pid)}\n     last function: {name}\n"
        )
        k.finding("api-misuse", f"work function {name} returned with preempt_count {count:#x}")
        k.context.add(-count)
    k.mem.set_u32(wq + ACTIVE, k.mem.u32(wq + ACTIVE) - 1)
    for entry in entries(k, _waiting(k, wq)):
        del_init(k, entry)
        number = k.nr_cpus if k.mem.u32(wq + FLAGS) & WQ_UNBOUND else k.cpu
        _activate(k, wq, entry - _ENTRY, number)
        break


@export(QUEUES, private=True)
def kmem_worker(k: Host, number: int) -> Guest:
    """``int kmem_worker(unsigned long number)``

    kernel/workqueue.c, 6.1: ``worker_thread()`` of a pool. It may be started anew when a work has returned.
    """
    record = k.sched.record(k.current)
    while True:
        if k.mem.u64(record + at.WORKER_WORK):
            _finish(k, record)
        work = _next(k, record, number)
        if not work:
            set_task_state(k, TASK_IDLE)
            yield from k.sched.sleep(NOTHING)
            continue
        func = k.mem.u64(work + _FUNC)
        k.tasks.due("a work", work, _TIMER, func)
        k.mem.set_u64(record + at.WORKER_QUEUE, _queue_of(k, work))
        k.mem.set_u64(record + at.WORKER_FUNC, func)
        k.mem.set_u64(record + at.WORKER_WORK, work)
        k.mem.set_u64(work, NO_POOL)
        yield Call(func, (work,))


@export(QUEUES)
def queue_work_on(k: Host, cpu: int, wq: int, work: int) -> int:
    """``bool queue_work_on(int cpu, struct workqueue_struct *wq, struct work_struct *work)``

    kernel/workqueue.c, 6.1. What queue_work() and schedule_work() become. False if it is pending already.
    """
    if k.mem.u64(work) & PENDING:
        return 0
    k.mem.set_u64(work, k.mem.u64(work) | PENDING)
    queue(k, cpu, wq, work)
    return 1


def _delay(k: Host, cpu: int, wq: int, dwork: int, delay: int) -> None:
    if not delay:
        queue(k, cpu, wq, dwork)
        return
    k.mem.set_u64(dwork + _WQ, wq)
    k.mem.set_u32(dwork + _CPU, cpu & 0xFFFFFFFF)
    k.mem.set_u64(dwork + _TIMER + EXPIRES, jiffies(k) + delay & (1 << 64) - 1)
    enqueue(k, dwork + _TIMER, cpu if 0 <= cpu < k.nr_cpus else k.cpu)


@export(QUEUES)
def queue_delayed_work_on(k: Host, cpu: int, wq: int, dwork: int, delay: int) -> int:
    """``bool queue_delayed_work_on(int cpu, struct workqueue_struct *wq, struct delayed_work *dwork, unsigned long
    delay)``

    kernel/workqueue.c, 6.1. False if it is pending already.
    """
    if k.mem.u64(dwork) & PENDING:
        return 0
    k.mem.set_u64(dwork, k.mem.u64(dwork) | PENDING)
    _delay(k, cpu, wq, dwork, delay)
    return 1


@export(QUEUES)
def mod_delayed_work_on(k: Host, cpu: int, wq: int, dwork: int, delay: int) -> int:
    """``bool mod_delayed_work_on(int cpu, struct workqueue_struct *wq, struct delayed_work *dwork, unsigned long
    delay)``

    kernel/workqueue.c, 6.1. Whether it was pending.
    """
    was = _grab(k, dwork, True)
    k.mem.set_u64(dwork, NO_POOL | PENDING)
    _delay(k, cpu, wq, dwork, delay)
    return int(was)


@export(QUEUES)
def delayed_work_timer_fn(k: Host, t: int) -> None:
    """``void delayed_work_timer_fn(struct timer_list *t)``

    kernel/workqueue.c, 6.1. The function of a delayed work's timer: queues the work.
    """
    dwork = t - _TIMER
    queue(k, k.mem.s32(dwork + _CPU), k.mem.u64(dwork + _WQ), dwork)


def _grab(k: Host, work: int, delayed: bool) -> bool:
    """``try_to_grab_pending()``: take a pending work off its timer or its list; whether it was pending."""
    if delayed and timer_delete(k, work + _TIMER):
        return True
    if not is_queued(k, work):
        return False
    if not k.mem.u64(work) & INACTIVE:
        wq = _queue_of(k, work)
        k.mem.set_u32(wq + ACTIVE, k.mem.u32(wq + ACTIVE) - 1)
    del_init(k, work + _ENTRY)
    k.mem.set_u64(work, NO_POOL | PENDING)
    return True


def _flush(k: Host, work: int) -> Guest:
    """``__flush_work()``: wait for the instance that is queued or runs; whether there was one."""
    k.sched.start()
    record = k.sched.record(k.current)
    barrier = record + at.BARRIER
    if not k.sched.resuming:
        busy = executor_of(k, work)
        if not is_queued(k, work) and not busy:
            return 0
        if busy and k.mem.u64(busy + at.TASK) == k.current:
            k.tasks.waits_for_itself("a work function waits for its own work", work, k.mem.u64(work + _FUNC))
        k.mem.set_u64(barrier, PENDING)
        k.mem.set_u64(barrier + _FUNC, k.address_of("kmem_wq_barrier"))
        k.mem.set_u64(record + at.TASK, k.current)
        if is_queued(k, work):
            add_tail(k, barrier + _ENTRY, k.mem.u64(work + _ENTRY))  # behind the work: before the one that follows it
        else:
            add_tail(k, barrier + _ENTRY, busy + at.WORKER_NEXT)
    while k.mem.u64(barrier + _FUNC):
        set_task_state(k, TASK_UNINTERRUPTIBLE)
        yield from block(k, WORK, work)
    set_task_state(k, TASK_RUNNING)
    return 1


def _may_sleep(k: Host, function: str, line: int) -> None:
    k.context.might_sleep(function, "kernel/workqueue.c", line)


@export(QUEUES)
def flush_work(k: Host, work: int) -> Guest:
    """``bool flush_work(struct work_struct *work)``

    kernel/workqueue.c, 6.1. Waits until the work that was queued last has been executed; false if it was idle.
    """
    _may_sleep(k, "__flush_work", 3040)
    return (yield from _flush(k, work))


def _cancel_sync(k: Host, work: int, delayed: bool) -> Guest:
    if delayed and k.sched.on:
        yield from delete_sync(k, work + _TIMER)
    was = _grab(k, work, delayed)
    if executor_of(k, work):
        k.mem.set_u64(work, NO_POOL | PENDING)  # so it cannot queue itself again
        record = k.sched.record(k.current)
        busy = executor_of(k, work)
        k.mem.set_u64(record + at.BARRIER + _FUNC, k.address_of("kmem_wq_barrier"))
        k.mem.set_u64(record + at.TASK, k.current)
        if k.mem.u64(busy + at.TASK) == k.current:
            k.tasks.waits_for_itself("a work function waits for its own work", work, k.mem.u64(work + _FUNC))
        add_tail(k, record + at.BARRIER + _ENTRY, busy + at.WORKER_NEXT)
        while k.mem.u64(record + at.BARRIER + _FUNC):
            set_task_state(k, TASK_UNINTERRUPTIBLE)
            yield from block(k, WORK, work)
        set_task_state(k, TASK_RUNNING)
    k.mem.set_u64(work, NO_POOL)
    return int(was)


@export(QUEUES)
def cancel_work_sync(k: Host, work: int) -> Guest:
    """``bool cancel_work_sync(struct work_struct *work)``

    kernel/workqueue.c, 6.1. The work is neither pending nor running afterwards; whether it was pending.
    """
    _may_sleep(k, "__flush_work", 3040)
    return (yield from _cancel_sync(k, work, False))


@export(QUEUES)
def cancel_delayed_work_sync(k: Host, dwork: int) -> Guest:
    """``bool cancel_delayed_work_sync(struct delayed_work *dwork)``

    kernel/workqueue.c, 6.1.
    """
    _may_sleep(k, "__flush_work", 3040)
    return (yield from _cancel_sync(k, dwork, True))


@export(QUEUES)
def cancel_work(k: Host, work: int) -> int:
    """``bool cancel_work(struct work_struct *work)``

    kernel/workqueue.c, 6.1. Does not wait for one that runs.
    """
    was = _grab(k, work, False)
    if was:
        k.mem.set_u64(work, NO_POOL)
    return int(was)


@export(QUEUES)
def cancel_delayed_work(k: Host, dwork: int) -> int:
    """``bool cancel_delayed_work(struct delayed_work *dwork)``

    kernel/workqueue.c, 6.1.
    """
    was = _grab(k, dwork, True)
    if was:
        k.mem.set_u64(dwork, NO_POOL)
    return int(was)


@export(QUEUES)
def flush_delayed_work(k: Host, dwork: int) -> Guest:
    """``bool flush_delayed_work(struct delayed_work *dwork)``

    kernel/workqueue.c, 6.1. Queues it at once if it is delayed, and waits.
    """
    if is_pending(k, dwork + _TIMER):
        timer_delete(k, dwork + _TIMER)
        queue(k, k.mem.s32(dwork + _CPU), k.mem.u64(dwork + _WQ), dwork)
    return (yield from _flush(k, dwork))


def works_of(k: Host, wq: int) -> list[int]:
    """The works of a queue that are pending or executed now."""
    found = [entry - _ENTRY for entry in entries(k, _waiting(k, wq))]
    heads = [_pool(k, number) + WORKLIST for number in range(k.nr_cpus + 1)]
    heads += [record + at.WORKER_NEXT for record in _workers(k)]
    for head in heads:
        for entry in entries(k, head):
            if not _is_barrier(k, entry - _ENTRY) and _queue_of(k, entry - _ENTRY) == wq:
                found.append(entry - _ENTRY)
    for record in _workers(k):
        if k.mem.u64(record + at.WORKER_WORK) and k.mem.u64(record + at.WORKER_QUEUE) == wq:
            found.append(k.mem.u64(record + at.WORKER_WORK))
    return found


def forget(k: Host, work: int) -> None:
    """The code of a pending or running work goes away: it is not executed, and its worker ends."""
    busy = executor_of(k, work)
    if is_queued(k, work):
        _grab(k, work, False)
    if busy:
        k.sched.kill(k.mem.u64(busy + at.TASK))


@export(QUEUES)
def __flush_workqueue(k: Host, wq: int) -> Guest:
    """``void __flush_workqueue(struct workqueue_struct *wq)``

    kernel/workqueue.c, 6.1. Waits for all works that are pending now.
    """
    _may_sleep(k, "__flush_workqueue", 2832)
    for work in works_of(k, wq) if k.sched.on else ():
        yield from _flush(k, work)
    return 0


@export(QUEUES)
def drain_workqueue(k: Host, wq: int) -> Guest:
    """``void drain_workqueue(struct workqueue_struct *wq)``

    kernel/workqueue.c, 6.1. Waits until the queue is empty, those included that its works queue.
    """
    k.mem.set_u32(wq + DRAINING, k.mem.u32(wq + DRAINING) + 1)
    while k.sched.on and (works := works_of(k, wq)):
        for work in works:
            yield from _flush(k, work)
    k.mem.set_u32(wq + DRAINING, k.mem.u32(wq + DRAINING) - 1)
    return 0


@export(QUEUES)
def alloc_workqueue(k: Host, fmt: int, flags: int, max_active: int, args: VaArgs) -> int:
    """``struct workqueue_struct *alloc_workqueue(const char *fmt, unsigned int flags, int max_active, ...)``

    kernel/workqueue.c, 6.1. NULL without memory.
    """
    head = k.address_of("kmem_workqueues") + _LIST
    wq = k.mm.kmalloc(QUEUE_SIZE, GFP_KERNEL, -1, k.caller)
    if not wq:
        return 0
    k.mem.fill(wq, 0, QUEUE_SIZE)
    name = vsnprintf(k, k.mem.cstr(fmt), args)[:23]
    k.mem.write(wq + NAME, name + b"\0")
    k.mem.set_u32(wq + FLAGS, flags)
    k.mem.set_u32(wq + LIMIT, min(max_active or DEFAULT_ACTIVE, MAX_ACTIVE))
    k.mem.set_u64(wq + NEXT, k.mem.u64(head))
    k.mem.set_u64(head, wq)
    return wq


def queues(k: Host) -> list[int]:
    """The queues that modules have made."""
    found = []
    wq = k.mem.u64(k.address_of("kmem_workqueues") + _LIST)
    while wq:
        found.append(wq)
        wq = k.mem.u64(wq + NEXT)
    return found


@export(QUEUES)
def destroy_workqueue(k: Host, wq: int) -> Guest:
    """``void destroy_workqueue(struct workqueue_struct *wq)``

    kernel/workqueue.c, 6.1. Drains it first.
    """
    yield from drain_workqueue(k, wq)
    link = k.address_of("kmem_workqueues") + _LIST
    while (following := k.mem.u64(link)) and following != wq:
        link = following + NEXT
    if following:
        k.mem.set_u64(link, k.mem.u64(wq + NEXT))
        k.mm.kfree(wq)
    return 0


@export(faithful)
def work_busy(k: Host, work: int) -> int:
    """``unsigned int work_busy(struct work_struct *work)``

    kernel/workqueue.c, 6.1. 1 if it is pending, 2 if it runs, 3 both.
    """
    return int(k.mem.u64(work) & PENDING) | (2 if k.sched.on and executor_of(k, work) else 0)


@export(faithful)
def current_work(k: Host) -> int:
    """``struct work_struct *current_work(void)``

    kernel/workqueue.c, 6.1. The work that the running kworker executes.
    """
    if not k.sched.on or not k.mem.u32(k.current + k.sched.offsets.flags) & at.PF_WQ_WORKER:
        return 0
    return k.mem.u64(k.sched.record(k.current) + at.WORKER_WORK)
