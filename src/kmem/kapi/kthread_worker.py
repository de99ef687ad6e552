"""Threads that execute works in order (kernel/kthread.c), 6.1: ``kthread_worker`` and ``kthread_work``.

Both are the kernel's structs, in the module's memory or its own; everything that a worker knows lies in them.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.errno import ENOMEM, err_ptr
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.kthread import bind, create, kthread_should_stop, kthread_stop, name_of
from kmem.kapi.lists import add_tail, del_init, entries, init_list_head, is_empty
from kmem.kapi.sched import SCHEDULED, TASK_INTERRUPTIBLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, block, set_task_state
from kmem.kapi.timekeeping import jiffies
from kmem.kapi.timer_list import EXPIRES, delete_sync, enqueue, timer_delete
from kmem.kapi.varargs import VaArgs
from kmem.sched import layout as at
from kmem.sched.core import NOTHING, WORK

FLAGS, WORK_LIST, DELAYED_LIST, TASK, CURRENT, SIZE = 0, 8, 24, 40, 48, 56
"""``struct kthread_worker`` of a kernel without lock debugging."""
NODE, FUNC, WORKER, CANCELING, TIMER = 0, 16, 24, 32, 40
"""``struct kthread_work`` and, with its timer behind it, ``struct kthread_delayed_work``."""
WAITING = simplified("waits for the work itself, not for a marker behind it")


@export(faithful)
def __kthread_init_worker(k: Host, worker: int, name: int, key: int) -> None:
    """``void __kthread_init_worker(struct kthread_worker *worker, const char *name, struct lock_class_key *key)``

    kernel/kthread.c, 6.1.
    """
    k.mem.fill(worker, 0, SIZE)
    init_list_head(k, worker + WORK_LIST)
    init_list_head(k, worker + DELAYED_LIST)


def _queued(k: Host, work: int) -> bool:
    return not is_empty(k, work + NODE)


def _executed(k: Host, work: int) -> bool:
    worker = k.mem.u64(work + WORKER)
    return bool(worker) and k.mem.u64(worker + CURRENT) == work


@export(SCHEDULED)
def kthread_worker_fn(k: Host, worker_ptr: int) -> Guest:
    """``int kthread_worker_fn(void *worker_ptr)``

    kernel/kthread.c, 6.1. What a worker's thread executes: the works of its list in order, until it is to stop.
    """
    worker = worker_ptr
    k.mem.set_u64(worker + TASK, k.current)
    while True:
        done = k.mem.u64(worker + CURRENT)
        if done:
            k.mem.set_u64(worker + CURRENT, 0)
            k.sched.wake_waiters(WORK, done)
        if kthread_should_stop(k):
            set_task_state(k, TASK_RUNNING)
            k.mem.set_u64(worker + TASK, 0)
            return 0
        entry = next(iter(entries(k, worker + WORK_LIST)), 0)
        if not entry:
            set_task_state(k, TASK_INTERRUPTIBLE)
            yield from block(k, NOTHING)
            continue
        del_init(k, entry)
        work = entry - NODE
        k.mem.set_u64(worker + CURRENT, work)
        yield Call(k.mem.u64(work + FUNC), (work,))


def _create(k: Host, cpu: int, flags: int, name: str) -> int:
    worker = k.mm.kmalloc(SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not worker:
        return err_ptr(-ENOMEM)
    __kthread_init_worker(k, worker, 0, 0)
    task = create(k, k.address_of("kthread_worker_fn"), worker, name)
    if task < 0:
        k.mm.kfree(worker)
        return err_ptr(task)
    if cpu >= 0:
        bind(k, task, cpu)
    k.mem.set_u32(worker + FLAGS, flags)
    k.mem.set_u64(worker + TASK, task)
    k.sched.wake(task, TASK_UNINTERRUPTIBLE)
    return worker


@export(SCHEDULED)
def kthread_create_worker(k: Host, flags: int, namefmt: int, args: VaArgs) -> int:
    """``struct kthread_worker *kthread_create_worker(unsigned int flags, const char namefmt[], ...)``

    kernel/kthread.c, 6.1. A worker whose thread runs already; an error pointer of -ENOMEM.
    """
    k.context.might_sleep("kthread_create_worker", "kernel/sched/completion.c", 101)
    return _create(k, -1, flags, name_of(k, namefmt, args))


@export(SCHEDULED)
def kthread_create_worker_on_cpu(k: Host, cpu: int, flags: int, namefmt: int, args: VaArgs) -> int:
    """``struct kthread_worker *kthread_create_worker_on_cpu(int cpu, unsigned int flags, const char namefmt[], ...)``

    kernel/kthread.c, 6.1.
    """
    k.context.might_sleep("kthread_create_worker_on_cpu", "kernel/sched/completion.c", 101)
    return _create(k, cpu, flags, name_of(k, namefmt, args))


def _insert(k: Host, worker: int, work: int) -> None:
    """``kthread_insert_work()``: behind the others; the thread is woken if it waits."""
    add_tail(k, work + NODE, worker + WORK_LIST)
    k.mem.set_u64(work + WORKER, worker)
    task = k.mem.u64(worker + TASK)
    if task and not k.mem.u64(worker + CURRENT):
        k.sched.wake(task, at.TASK_NORMAL)


def _blocked(k: Host, work: int) -> bool:
    """``queuing_blocked()``: it is queued, or somebody is cancelling it."""
    return _queued(k, work) or k.mem.s32(work + CANCELING) != 0


@export(SCHEDULED)
def kthread_queue_work(k: Host, worker: int, work: int) -> bool:
    """``bool kthread_queue_work(struct kthread_worker *worker, struct kthread_work *work)``

    kernel/kthread.c, 6.1. False if it is queued already, or being cancelled.
    """
    if _blocked(k, work):
        return False
    _insert(k, worker, work)
    return True


@export(SCHEDULED)
def kthread_delayed_work_timer_fn(k: Host, t: int) -> None:
    """``void kthread_delayed_work_timer_fn(struct timer_list *t)``

    kernel/kthread.c, 6.1. The function of a delayed work's timer: queues the work.
    """
    work = t - TIMER
    worker = k.mem.u64(work + WORKER)
    if worker:
        del_init(k, work + NODE)
        if not k.mem.s32(work + CANCELING):
            _insert(k, worker, work)


def _delay(k: Host, worker: int, work: int, delay: int) -> None:
    if not delay:
        _insert(k, worker, work)
        return
    add_tail(k, work + NODE, worker + DELAYED_LIST)
    k.mem.set_u64(work + WORKER, worker)
    k.mem.set_u64(work + TIMER + EXPIRES, jiffies(k) + delay & (1 << 64) - 1)
    enqueue(k, work + TIMER, k.cpu)


@export(SCHEDULED)
def kthread_queue_delayed_work(k: Host, worker: int, dwork: int, delay: int) -> bool:
    """``bool kthread_queue_delayed_work(struct kthread_worker *worker, struct kthread_delayed_work *dwork, unsigned
    long delay)``

    kernel/kthread.c, 6.1. After *delay* ticks. False if it is queued already, or being cancelled.
    """
    if _blocked(k, dwork):
        return False
    _delay(k, worker, dwork, delay)
    return True


def _grab(k: Host, work: int) -> bool:
    """Take it off its list; whether it was on one."""
    was = _queued(k, work)
    if was:
        del_init(k, work + NODE)
    return was


@export(SCHEDULED)
def kthread_mod_delayed_work(k: Host, worker: int, dwork: int, delay: int) -> bool:
    """``bool kthread_mod_delayed_work(struct kthread_worker *worker, struct kthread_delayed_work *dwork, unsigned long
    delay)``

    kernel/kthread.c, 6.1. Whether it was pending.
    """
    was = False
    if k.mem.u64(dwork + WORKER):
        timer_delete(k, dwork + TIMER)
        if k.mem.s32(dwork + CANCELING):
            return _grab(k, dwork)
        was = _grab(k, dwork)
    _delay(k, worker, dwork, delay)
    return was


def _wait(k: Host, work: int) -> Guest:
    """Wait for the instance that was queued last, or that is executed."""
    turns = _queued(k, work) + _executed(k, work)
    while turns and (_queued(k, work) or _executed(k, work)):
        set_task_state(k, TASK_UNINTERRUPTIBLE)
        yield from block(k, WORK, work)
        turns -= 1
    set_task_state(k, TASK_RUNNING)
    return 0


@export(WAITING)
def kthread_flush_work(k: Host, work: int) -> Guest:
    """``void kthread_flush_work(struct kthread_work *work)``

    kernel/kthread.c, 6.1. Waits until it was executed, if it is queued.
    """
    k.context.might_sleep("kthread_flush_work", "kernel/sched/completion.c", 101)
    return (yield from _wait(k, work))


def _cancel(k: Host, work: int, delayed: bool) -> Guest:
    worker = k.mem.u64(work + WORKER)
    if not worker:
        return 0
    if delayed:
        k.mem.set_u32(work + CANCELING, k.mem.u32(work + CANCELING) + 1)
        timer_delete(k, work + TIMER)
        yield from delete_sync(k, work + TIMER)
        k.mem.set_u32(work + CANCELING, k.mem.u32(work + CANCELING) - 1)
    was = _grab(k, work)
    if _executed(k, work):
        k.mem.set_u32(work + CANCELING, k.mem.u32(work + CANCELING) + 1)
        yield from _wait(k, work)
        k.mem.set_u32(work + CANCELING, k.mem.u32(work + CANCELING) - 1)
    return int(was)


@export(WAITING)
def kthread_cancel_work_sync(k: Host, work: int) -> Guest:
    """``bool kthread_cancel_work_sync(struct kthread_work *work)``

    kernel/kthread.c, 6.1. It is neither queued nor executed afterwards; whether it was queued.
    """
    k.context.might_sleep("kthread_cancel_work_sync", "kernel/sched/completion.c", 101)
    return (yield from _cancel(k, work, False))


@export(WAITING)
def kthread_cancel_delayed_work_sync(k: Host, dwork: int) -> Guest:
    """``bool kthread_cancel_delayed_work_sync(struct kthread_delayed_work *dwork)``

    kernel/kthread.c, 6.1.
    """
    k.context.might_sleep("kthread_cancel_delayed_work_sync", "kernel/sched/completion.c", 101)
    return (yield from _cancel(k, dwork, True))


def _drain(k: Host, worker: int) -> Guest:
    while last := next(reversed(list(entries(k, worker + WORK_LIST))), 0) or k.mem.u64(worker + CURRENT):
        yield from _wait(k, last)
    return 0


@export(WAITING)
def kthread_flush_worker(k: Host, worker: int) -> Guest:
    """``void kthread_flush_worker(struct kthread_worker *worker)``

    kernel/kthread.c, 6.1. Waits for all works that are queued.
    """
    k.context.might_sleep("kthread_flush_worker", "kernel/sched/completion.c", 101)
    return (yield from _drain(k, worker))


@export(WAITING)
def kthread_destroy_worker(k: Host, worker: int) -> Guest:
    """``void kthread_destroy_worker(struct kthread_worker *worker)``

    kernel/kthread.c, 6.1. Waits for its works, ends its thread and frees it.
    """
    task = k.mem.u64(worker + TASK)
    if not task:
        k.warn("kernel/kthread.c", 1401, "kthread_destroy_worker")
        return 0
    yield from _drain(k, worker)
    yield from kthread_stop(k, task)
    if not is_empty(k, worker + WORK_LIST):
        k.warn("kernel/kthread.c", 1406, "kthread_destroy_worker")
    k.mm.kfree(worker)
    return 0
