"""Read-copy-update (kernel/rcu/tree.c, kernel/rcu/update.c), 6.1.

Callbacks wait in lists in guest memory, in the order in which they were queued. As long as there is one task, a grace
period ends whenever it is outside read-side sections and somebody looks: `drain` is called by the host at quiescent
points, and by whatever waits for a grace period. With several tasks grace periods take ticks, as the kernel's do.
"""

from __future__ import annotations

from kmem.kapi.export import data, export, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.sched import TASK_RUNNING, TASK_UNINTERRUPTIBLE, block, set_task_state, stuck
from kmem.kapi.softirq import RCU, cpu_word, raise_softirq
from kmem.kapi.timekeeping import TICK_NSEC
from kmem.sched import layout as at
from kmem.sched.core import FOREVER, GRACE

KFREE_OFFSET_LIMIT = 4096
"""A smaller "function" is the offset of the rcu_head in an object to be freed."""

_GRACE = simplified("a grace period ends at the tick that finds all readers gone; no expedited ones, no offloading")

RCU_FREE_SLAB = 0xFFFFFFFF81000FF8
"""The callback of slabs whose pages wait (``rcu_free_slab()``, mm/slub.c): an address where no function begins, since
the mm does the work.
"""

# struct { struct rcu_head *first, *last; } next, wait, done; u64 gp_seq, active, tick;
data("rcu_cblist", 80, doc="Callbacks: queued, waiting for the grace period, due. The model's own.", private=True)
_NEXT, _WAIT, _DONE, _SEQ, _ACTIVE, _TICK = 0, 16, 32, 48, 56, 64
data("rcu_scheduler_active", 4, (2).to_bytes(4, "little"), align=4, doc="RCU is fully up, kernel/rcu/tree.c.")


def _nesting(k: Host) -> int:
    return k.current + k.layout["task_struct"].offset("rcu_read_lock_nesting")


@export(simplified("the scheduler is not told of readers that were preempted"))
def __rcu_read_lock(k: Host) -> None:
    """``void __rcu_read_lock(void)``

    kernel/rcu/tree_plugin.h, 6.1. Counts nesting in the task.
    """
    k.mem.set_u32(_nesting(k), k.mem.u32(_nesting(k)) + 1 & 0xFFFFFFFF)


@export(simplified("the scheduler is not told of readers that were preempted"))
def __rcu_read_unlock(k: Host) -> None:
    """``void __rcu_read_unlock(void)``

    kernel/rcu/tree_plugin.h, 6.1.
    """
    depth = k.mem.s32(_nesting(k)) - 1
    if depth < 0:
        k.finding("api-misuse", "rcu_read_unlock() without rcu_read_lock()")
    k.mem.set_u32(_nesting(k), depth & 0xFFFFFFFF)
    if not depth and k.sched.on:
        k.mem.set_u64(k.sched.record(k.current) + at.READER, 0)


def in_reader(k: Host) -> bool:
    """Whether the task is in a read-side section."""
    return k.mem.s32(_nesting(k)) > 0


@export(_GRACE)
def call_rcu(k: Host, head: int, func: int) -> None:
    """``void call_rcu(struct rcu_head *head, rcu_callback_t func)``

    kernel/rcu/tree.c, 6.1. *func* is called with *head* after a grace period.
    """
    k.mem.set_u64(head, 0)
    k.mem.set_u64(head + 8, func)
    _append(k, _NEXT, head, head)
    tick = k.address_of("rcu_cblist") + _TICK
    if k.sched.on and not k.mem.u64(tick):
        k.mem.set_u64(tick, (k.clock.ns // TICK_NSEC + 1) * TICK_NSEC)
        k.sched.changed()


def _append(k: Host, which: int, first: int, last: int) -> None:
    """Put a chain of callbacks behind a list."""
    at_list = k.address_of("rcu_cblist") + which
    end = k.mem.u64(at_list + 8)
    k.mem.set_u64(end if end else at_list, first)
    k.mem.set_u64(at_list + 8, last)


def _move(k: Host, source: int, target: int) -> None:
    at_list = k.address_of("rcu_cblist") + source
    first, last = k.mem.u64(at_list), k.mem.u64(at_list + 8)
    if first:
        k.mem.set_u64(at_list, 0)
        k.mem.set_u64(at_list + 8, 0)
        _append(k, target, first, last)


# Grace periods, where there are several tasks: a tick starts one and marks the tasks that are in a read-side section
# and the CPUs that cannot be preempted; a later tick at which none of them is still there ends it.


def next_event(k: Host) -> int:
    """When something is to be done for a grace period."""
    return k.mem.u64(k.address_of("rcu_cblist") + _TICK) or FOREVER


def expire(k: Host, now: int) -> None:
    """``rcu_sched_clock_irq()``, and the work of the grace-period thread."""
    base = k.address_of("rcu_cblist")
    tick = k.mem.u64(base + _TICK)
    if not tick:
        if k.mem.u64(base + _NEXT):  # queued before there was a scheduler
            k.mem.set_u64(base + _TICK, (now // TICK_NSEC + 1) * TICK_NSEC)
        return
    if now < tick:
        return
    if k.mem.u64(base + _ACTIVE) and _over(k, k.mem.u64(base + _SEQ)):
        k.mem.set_u64(base + _ACTIVE, 0)
        k.mem.set_u64(base + _SEQ, k.mem.u64(base + _SEQ) + 1)
        _move(k, _WAIT, _DONE)
        raise_softirq(k, RCU)
    if not k.mem.u64(base + _ACTIVE) and k.mem.u64(base + _NEXT):
        _move(k, _NEXT, _WAIT)
        k.mem.set_u64(base + _ACTIVE, 1)
        _mark(k, k.mem.u64(base + _SEQ))
    more = k.mem.u64(base + _ACTIVE) or k.mem.u64(base + _NEXT)
    k.mem.set_u64(base + _TICK, (now // TICK_NSEC + 1) * TICK_NSEC if more else 0)


def _reads(k: Host, task: int) -> bool:
    return k.mem.s32(task + k.sched.offsets.nesting) > 0


def _mark(k: Host, seq: int) -> None:
    for task in k.sched.tasks():
        if _reads(k, task):
            k.mem.set_u64(k.sched.record(task) + at.READER, seq + 1)
    for cpu in range(k.nr_cpus):
        busy = k.mem.u32(k.tasks.count_slot(cpu)) & ~at.PREEMPT_INVERTED
        k.mem.set_u32(cpu_word(k, at.NEEDS_QS, cpu), int(busy != 0))


def _over(k: Host, seq: int) -> bool:
    for cpu in range(k.nr_cpus):
        slot = cpu_word(k, at.NEEDS_QS, cpu)
        if k.mem.u32(slot):
            if k.mem.u32(k.tasks.count_slot(cpu)) & ~at.PREEMPT_INVERTED:
                return False
            k.mem.set_u32(slot, 0)
    return not any(_reads(k, t) and k.mem.u64(k.sched.record(t) + at.READER) == seq + 1 for t in k.sched.tasks())


def invoke(k: Host) -> Guest:
    """``rcu_do_batch()`` in the RCU softirq: call what is due, in order."""
    base = k.address_of("rcu_cblist")
    while head := k.mem.u64(base + _DONE):
        following = k.mem.u64(head)
        k.mem.set_u64(base + _DONE, following)
        if not following:
            k.mem.set_u64(base + _DONE + 8, 0)
        yield from _call(k, head)
    k.mm.rcu_destroy_caches()
    return 0


def _call(k: Host, head: int) -> Guest:
    """Do what one callback asks for."""
    func = k.mem.u64(head + 8)
    if func < KFREE_OFFSET_LIMIT:
        k.mm.kvfree(head - func, k.address_of("kvfree_call_rcu") + 1)
    elif func == RCU_FREE_SLAB:
        k.mm.rcu_free_slab(head - _slab_rcu_head(k))
    elif k.sched.on and func == k.address_of("kmem_wakeme_after_rcu"):
        k.mem.set_u64(head + 8, 0)
        k.sched.wake(k.mem.u64(head - at.RCU_HEAD + at.TASK), at.TASK_NORMAL)
    else:
        if k.sched.on:
            k.tasks.due("an RCU callback", head, 16, func)
        yield Call(func, (head,))
    return 0


@export(_GRACE, private=True)
def kmem_wakeme_after_rcu(k: Host) -> None:
    """``void kmem_wakeme_after_rcu(void)``

    kernel/rcu/update.c, 6.1: ``wakeme_after_rcu()``. Marks the callback of a task that waits.
    """


def callbacks(k: Host) -> list[tuple[int, int]]:
    """Every callback that has not been called: its head and its function."""
    found, base = [], k.address_of("rcu_cblist")
    for which in (_DONE, _WAIT, _NEXT):
        head = k.mem.u64(base + which)
        while head:
            found.append((head, k.mem.u64(head + 8)))
            head = k.mem.u64(head)
    return found


@export(_GRACE)
def kvfree_call_rcu(k: Host, head: int, func: int) -> Guest:
    """``void kvfree_call_rcu(struct rcu_head *head, rcu_callback_t func)``

    kernel/rcu/tree.c, 6.1. What kfree_rcu() becomes: *func* is the offset of *head* in the object. Without a head
    *func* is the object, and the caller waits for the grace period.
    """
    if head:
        call_rcu(k, head, func)
        return 0
    k.context.might_sleep("kvfree_call_rcu", "kernel/rcu/tree.c", 3391)
    yield from _wait(k, "kvfree_call_rcu")
    k.mm.kvfree(func)
    return 0


def _slab_rcu_head(k: Host) -> int:
    """Where ``rcu_head`` is in ``struct slab``: where the links of a list are while it has objects in use."""
    return k.layout["slab"].offset("slab_list")


def free_slab_after_grace(k: Host, slab: int) -> None:
    """``call_rcu(&slab->rcu_head, rcu_free_slab)``."""
    call_rcu(k, slab + _slab_rcu_head(k), RCU_FREE_SLAB)


def pending(k: Host) -> bool:
    """Whether callbacks wait."""
    return bool(callbacks(k))


def drain(k: Host) -> Guest:
    """Runs the callbacks that are queued now and those that they queue; returns how many. Then the caches are forgotten
    that were destroyed and waited. Call it outside read-side sections."""
    for which in (_WAIT, _NEXT):
        _move(k, which, _DONE)
    cblist = k.address_of("rcu_cblist")
    count = 0
    while head := k.mem.u64(cblist + _DONE):
        following = k.mem.u64(head)
        k.mem.set_u64(cblist + _DONE, following)
        if not following:
            k.mem.set_u64(cblist + _DONE + 8, 0)
            _move(k, _NEXT, _DONE)
        count += 1
        if k.mem.u64(head + 8) < KFREE_OFFSET_LIMIT:  # kfree_rcu_work() runs in a task
            yield from _call(k, head)
        else:
            k.context.local_bh_disable()
            yield from _call(k, head)
            k.context.local_bh_enable()
        _move(k, _NEXT, _DONE)
    k.mm.rcu_destroy_caches()
    return count


def _wait(k: Host, function: str) -> Guest:
    if in_reader(k):
        stuck(k, "deadlock", f"{function}() in an RCU read-side critical section waits for itself")
    if not k.sched.on:
        return (yield from drain(k))
    head = k.sched.record(k.current) + at.RCU_HEAD
    if not k.sched.resuming:
        k.mem.set_u64(head - at.RCU_HEAD + at.TASK, k.current)
        call_rcu(k, head, k.address_of("kmem_wakeme_after_rcu"))
    while k.mem.u64(head + 8):
        set_task_state(k, TASK_UNINTERRUPTIBLE)
        yield from block(k, GRACE)
    set_task_state(k, TASK_RUNNING)
    return 0


@export(_GRACE)
def synchronize_rcu(k: Host) -> Guest:
    """``void synchronize_rcu(void)``

    kernel/rcu/tree.c, 6.1. Waits for a grace period; callbacks run meanwhile. In a read-side section it would wait
    for ever.
    """
    k.context.might_sleep("synchronize_rcu", "kernel/rcu/tree.c", 3527)
    yield from _wait(k, "synchronize_rcu")
    return 0


@export(_GRACE)
def synchronize_rcu_expedited(k: Host) -> Guest:
    """``void synchronize_rcu_expedited(void)``

    kernel/rcu/tree_exp.h, 6.1.
    """
    yield from _wait(k, "synchronize_rcu_expedited")
    return 0


@export(_GRACE)
def rcu_barrier(k: Host) -> Guest:
    """``void rcu_barrier(void)``

    kernel/rcu/tree.c, 6.1. Waits until all callbacks queued so far have run.
    """
    yield from _wait(k, "rcu_barrier")
    return 0


@export(simplified("one task runs, so RCU always watches"))
def rcu_is_watching(k: Host) -> bool:
    """``bool rcu_is_watching(void)``

    kernel/rcu/tree.c, 6.1.
    """
    return True
