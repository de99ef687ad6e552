"""Work queues (kernel/workqueue.c), 6.1, without workers of their own: what was queued is run when it is flushed, and
otherwise when the module's function that is being called (init, exit) has returned.

Pending work is a list in memory through ``work_struct.entry``. Work with a delay waits for being flushed or cancelled.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import lists
from kmem.kapi.export import data, export, family, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.varargs import VaArgs

PENDING = 1
ENTRY, FUNC = 8, 24
"""In ``struct work_struct``; ``data`` comes first."""
WQ_SIZE = 512
_LATER = simplified("no worker: queued work runs when it is flushed, or when the module's function has returned")
_NO_TIMER = simplified("the delay never ends: the work runs when it is flushed")

data("pending_work", 16, doc="The list of queued work. The model's own.", private=True)
data("delayed_work", 16, doc="The list of work that waits for its delay. The model's own.", private=True)


def _queue_object(k: Host) -> bytes:
    made = k.mm.kmalloc(WQ_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.address_of("alloc_workqueue"))
    return made.to_bytes(8, "little")


for _name in (
    "system_wq", "system_highpri_wq", "system_long_wq", "system_unbound_wq", "system_freezable_wq",
    "system_power_efficient_wq", "system_freezable_power_efficient_wq", "system_bh_wq", "system_bh_highpri_wq",
):  # fmt: skip
    data(_name, 8, _queue_object, doc="A work queue of the kernel's, kernel/workqueue.c.", fidelity=_LATER)


def _head(k: Host, name: str = "pending_work") -> int:
    head = k.address_of(name)
    if not k.mem.u64(head):
        lists.init_list_head(k, head)
    return head


def _pending(k: Host, work: int) -> bool:
    return bool(k.mem.u64(work) & PENDING)


def _queue(k: Host, work: int, where: str = "pending_work") -> int:
    if _pending(k, work):
        return 0
    k.mem.set_u64(work, k.mem.u64(work) | PENDING)
    lists.add_tail(k, work + ENTRY, _head(k, where))
    return 1


def _cancel(k: Host, work: int) -> int:
    """Take *work* out; whether it was pending."""
    if not _pending(k, work):
        return 0
    lists.del_init(k, work + ENTRY)
    k.mem.set_u64(work, k.mem.u64(work) & ~PENDING)
    return 1


def run_pending(k: Host) -> Guest:
    """Run everything that is queued, and what that queues, up to a bound."""
    head = _head(k)
    for _ in range(10_000):
        if lists.is_empty(k, head):
            break
        yield from _run(k, k.mem.u64(head) - ENTRY)
    return 0


def _run(k: Host, work: int) -> Guest:
    _cancel(k, work)
    yield Call(k.mem.u64(work + FUNC), (work,))
    return 0


@export(_LATER)
def alloc_workqueue(k: Host, fmt: int, flags: int, max_active: int, args: VaArgs) -> int:
    """``struct workqueue_struct *alloc_workqueue(const char *fmt, unsigned int flags, int max_active, ...)``

    kernel/workqueue.c, 6.1. NULL without memory.
    """
    return k.mm.kmalloc(WQ_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.caller)


@export(_LATER)
def destroy_workqueue(k: Host, wq: int) -> Guest:
    """``void destroy_workqueue(struct workqueue_struct *wq)``

    kernel/workqueue.c, 6.1.
    """
    yield from run_pending(k)
    k.mm.kfree(wq)
    return 0


@export(_LATER)
def queue_work_on(k: Host, cpu: int, wq: int, work: int) -> bool:
    """``bool queue_work_on(int cpu, struct workqueue_struct *wq, struct work_struct *work)``

    kernel/workqueue.c, 6.1. False if it is queued already.
    """
    return bool(_queue(k, work))


@export(_LATER)
def queue_work_node(k: Host, node: int, wq: int, work: int) -> bool:
    """``bool queue_work_node(int node, struct workqueue_struct *wq, struct work_struct *work)``

    kernel/workqueue.c, 6.1. False if it is queued already.
    """
    return bool(_queue(k, work))


@export(_NO_TIMER)
def queue_delayed_work_on(k: Host, cpu: int, wq: int, dwork: int, delay: int) -> bool:
    """``bool queue_delayed_work_on(int cpu, struct workqueue_struct *wq, struct delayed_work *dwork,
    unsigned long delay)``

    kernel/workqueue.c, 6.1. False if it is queued already.
    """
    return bool(_queue(k, dwork, "delayed_work" if delay else "pending_work"))


@export(_NO_TIMER)
def mod_delayed_work_on(k: Host, cpu: int, wq: int, dwork: int, delay: int) -> bool:
    """``bool mod_delayed_work_on(int cpu, struct workqueue_struct *wq, struct delayed_work *dwork,
    unsigned long delay)``

    kernel/workqueue.c, 6.1. True if it was pending.
    """
    was = _cancel(k, dwork)
    _queue(k, dwork, "delayed_work" if delay else "pending_work")
    return bool(was)


@export(_NO_TIMER)
def delayed_work_timer_fn(k: Host, timer: int) -> None:
    """``void delayed_work_timer_fn(struct timer_list *t)``

    kernel/workqueue.c, 6.1.
    """


def _declare() -> None:
    def flush(k: Host, work: int) -> Guest:
        if not _pending(k, work):
            return 0
        yield from _run(k, work)
        return 1

    def flush_all(k: Host, wq: int) -> Guest:
        return (yield from run_pending(k))

    where = "kernel/workqueue.c, 6.1."
    for name in ("cancel_work", "cancel_work_sync"):
        family(_LATER, f"bool {name}(struct work_struct *work)", where, lambda k, work: _cancel(k, work))
    for name in ("cancel_delayed_work", "cancel_delayed_work_sync"):
        family(_LATER, f"bool {name}(struct delayed_work *dwork)", where, lambda k, work: _cancel(k, work))
    family(_LATER, "bool flush_work(struct work_struct *work)", where, flush)
    family(_LATER, "bool flush_delayed_work(struct delayed_work *dwork)", where, lambda k, work: flush(k, work))
    for name in ("__flush_workqueue", "drain_workqueue"):
        family(_LATER, f"void {name}(struct workqueue_struct *wq)", where, lambda k, wq: flush_all(k, wq))


_declare()
