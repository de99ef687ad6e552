"""Read-copy-update (kernel/rcu/tree.c, kernel/rcu/update.c), 6.1.

Callbacks wait in a list in guest memory, in the order in which they were queued. A grace period ends whenever the one
task is outside read-side sections and somebody looks: `drain` is called by the host at quiescent points, and by
whatever waits for a grace period.
"""

from __future__ import annotations

from kmem.kapi.export import data, export, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.sched import stuck

KFREE_OFFSET_LIMIT = 4096
"""A smaller "function" is the offset of the rcu_head in an object to be freed."""

_GRACE = simplified("a grace period ends when the one task has left its read-side sections")

RCU_FREE_SLAB = 0xFFFFFFFF81000FF8
"""The callback of slabs whose pages wait (``rcu_free_slab()``, mm/slub.c): an address where no function begins, since
the mm does the work.
"""

# struct { struct rcu_head *first; struct rcu_head *last; }
data("rcu_cblist", 16, doc="Queued callbacks: first and last. The model's own.", private=True)
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


def in_reader(k: Host) -> bool:
    """Whether the task is in a read-side section."""
    return k.mem.s32(_nesting(k)) > 0


@export(_GRACE)
def call_rcu(k: Host, head: int, func: int) -> None:
    """``void call_rcu(struct rcu_head *head, rcu_callback_t func)``

    kernel/rcu/tree.c, 6.1. *func* is called with *head* after a grace period.
    """
    cblist = k.address_of("rcu_cblist")
    k.mem.set_u64(head, 0)
    k.mem.set_u64(head + 8, func)
    last = k.mem.u64(cblist + 8)
    k.mem.set_u64(last if last else cblist, head)
    k.mem.set_u64(cblist + 8, head)


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
    return k.mem.u64(k.address_of("rcu_cblist")) != 0


def drain(k: Host) -> Guest:
    """Runs the callbacks that are queued now and those that they queue; returns how many. Then the caches are forgotten
    that were destroyed and waited. Call it outside read-side sections."""
    cblist = k.address_of("rcu_cblist")
    count = 0
    while head := k.mem.u64(cblist):
        following, func = k.mem.u64(head), k.mem.u64(head + 8)
        k.mem.set_u64(cblist, following)
        if not following:
            k.mem.set_u64(cblist + 8, 0)
        count += 1
        if func < KFREE_OFFSET_LIMIT:
            k.mm.kvfree(head - func)
            continue
        if func == RCU_FREE_SLAB:
            k.mm.rcu_free_slab(head - _slab_rcu_head(k))
            continue
        k.context.local_bh_disable()
        yield Call(func, (head,))
        k.context.local_bh_enable()
    k.mm.rcu_destroy_caches()
    return count


def _wait(k: Host, function: str) -> Guest:
    if in_reader(k):
        stuck(k, "deadlock", f"{function}() in an RCU read-side critical section waits for itself")
    return (yield from drain(k))


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
