"""Wait queues and completions (kernel/sched/wait.c, swait.c, completion.c), 6.1.

The queues are the kernel's lists in guest memory, and waking calls the entries' functions.
"""

from __future__ import annotations

from collections.abc import Callable

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.lists import add, add_tail, del_init, entries, init_list_head, is_empty
from kmem.kapi.sched import (
    TASK_INTERRUPTIBLE,
    TASK_KILLABLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    block,
    set_task_state,
)
from kmem.kapi.timer import deadline_of, ticks_left
from kmem.sched.core import COMPLETION, FOREVER, SCHEDULE
from kmem.sched.layout import SWAITER

WakeFunction = Callable[[Host, int, int, int, int], int]
WQ_FLAG_EXCLUSIVE, WQ_FLAG_WOKEN, WQ_FLAG_BOOKMARK = 1, 2, 4
UINT_MAX = (1 << 32) - 1
_FUNC, _ENTRY, _HEAD = 16, 24, 8
"""wait_queue_entry.func and .entry; wait_queue_head.head, swait_queue_head.task_list."""


@export(faithful)
def __init_waitqueue_head(k: Host, wq_head: int, name: int, key: int) -> None:
    """``void __init_waitqueue_head(struct wait_queue_head *wq_head, const char *name, struct lock_class_key *key)``

    kernel/sched/wait.c, 6.1.
    """
    k.mem.set_u32(wq_head, 0)
    init_list_head(k, wq_head + _HEAD)


@export(faithful)
def __init_swait_queue_head(k: Host, q: int, name: int, key: int) -> None:
    """``void __init_swait_queue_head(struct swait_queue_head *q, const char *name, struct lock_class_key *key)``

    kernel/sched/swait.c, 6.1.
    """
    k.mem.set_u32(q, 0)
    init_list_head(k, q + _HEAD)


def _own_functions(k: Host) -> dict[int, WakeFunction]:
    """The kernel's own wake functions that somebody uses, by address: they need no call of guest code."""
    own = (default_wake_function, autoremove_wake_function, woken_wake_function)
    return {k.address_of(f.__name__): f for f in own if k.symbols.placed(f.__name__)}


@export(faithful)
def __wake_up(k: Host, wq_head: int, mode: int, nr_exclusive: int, key: int) -> Guest:
    """``void __wake_up(struct wait_queue_head *wq_head, unsigned int mode, int nr_exclusive, void *key)``

    kernel/sched/wait.c, 6.1. Calls the entries' functions until *nr_exclusive* exclusive waiters are awake.
    """
    for link in entries(k, wq_head + _HEAD):
        entry = link - _ENTRY
        flags = k.mem.u32(entry)
        if flags & WQ_FLAG_BOOKMARK:
            continue
        func = k.mem.u64(entry + _FUNC)
        own = _own_functions(k).get(func)
        result = own(k, entry, mode, 0, key) if own else s32((yield Call(func, (entry, mode, 0, key))))
        if result < 0:
            break
        if result and flags & WQ_FLAG_EXCLUSIVE:
            nr_exclusive -= 1
            if not nr_exclusive:
                break
    return 0


@export(faithful)
def default_wake_function(k: Host, curr: int, mode: int, wake_flags: int, key: int) -> int:
    """``int default_wake_function(wait_queue_entry_t *curr, unsigned mode, int wake_flags, void *key)``

    kernel/sched/core.c, 6.1. Wakes the task that the entry names.
    """
    return k.sched.wake(k.mem.u64(curr + 8), mode)


@export(faithful)
def autoremove_wake_function(k: Host, wq_entry: int, mode: int, sync: int, key: int) -> int:
    """``int autoremove_wake_function(struct wait_queue_entry *wq_entry, unsigned mode, int sync, void *key)``

    kernel/sched/wait.c, 6.1. As default_wake_function(), and takes the entry out of the queue.
    """
    woken = default_wake_function(k, wq_entry, mode, sync, key)
    if woken:
        del_init(k, wq_entry + _ENTRY)
    return woken


@export(faithful)
def init_wait_entry(k: Host, wq_entry: int, flags: int) -> None:
    """``void init_wait_entry(struct wait_queue_entry *wq_entry, int flags)``

    kernel/sched/wait.c, 6.1.
    """
    k.mem.set_u32(wq_entry, flags & UINT_MAX)
    k.mem.set_u64(wq_entry + 8, k.current)
    k.mem.set_u64(wq_entry + _FUNC, k.address_of("autoremove_wake_function"))
    init_list_head(k, wq_entry + _ENTRY)


def _enqueue(k: Host, wq_head: int, wq_entry: int) -> None:
    exclusive = k.mem.u32(wq_entry) & WQ_FLAG_EXCLUSIVE
    (add_tail if exclusive else add)(k, wq_entry + _ENTRY, wq_head + _HEAD)


def _set_exclusive(k: Host, wq_entry: int, exclusive: bool) -> None:
    flags = k.mem.u32(wq_entry) & ~WQ_FLAG_EXCLUSIVE
    k.mem.set_u32(wq_entry, flags | (WQ_FLAG_EXCLUSIVE if exclusive else 0))


@export(faithful)
def add_wait_queue(k: Host, wq_head: int, wq_entry: int) -> None:
    """``void add_wait_queue(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry)``

    kernel/sched/wait.c, 6.1.
    """
    _set_exclusive(k, wq_entry, False)
    _enqueue(k, wq_head, wq_entry)


@export(faithful)
def add_wait_queue_exclusive(k: Host, wq_head: int, wq_entry: int) -> None:
    """``void add_wait_queue_exclusive(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry)``

    kernel/sched/wait.c, 6.1.
    """
    _set_exclusive(k, wq_entry, True)
    _enqueue(k, wq_head, wq_entry)


@export(faithful)
def remove_wait_queue(k: Host, wq_head: int, wq_entry: int) -> None:
    """``void remove_wait_queue(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry)``

    kernel/sched/wait.c, 6.1.
    """
    entry = wq_entry + _ENTRY
    following, before = k.mem.u64(entry), k.mem.u64(entry + 8)
    k.mem.set_u64(following + 8, before)
    k.mem.set_u64(before, following)


@export(faithful)
def prepare_to_wait(k: Host, wq_head: int, wq_entry: int, state: int) -> None:
    """``void prepare_to_wait(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry, int state)``

    kernel/sched/wait.c, 6.1.
    """
    _set_exclusive(k, wq_entry, False)
    if is_empty(k, wq_entry + _ENTRY):
        _enqueue(k, wq_head, wq_entry)
    set_task_state(k, state)


@export(faithful)
def prepare_to_wait_exclusive(k: Host, wq_head: int, wq_entry: int, state: int) -> bool:
    """``bool prepare_to_wait_exclusive(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry, int state)``

    kernel/sched/wait.c, 6.1. Whether the queue was empty.
    """
    _set_exclusive(k, wq_entry, True)
    was_empty = False
    if is_empty(k, wq_entry + _ENTRY):
        was_empty = is_empty(k, wq_head + _HEAD)
        _enqueue(k, wq_head, wq_entry)
    set_task_state(k, state)
    return was_empty


@export(faithful)
def prepare_to_wait_event(k: Host, wq_head: int, wq_entry: int, state: int) -> int:
    """``long prepare_to_wait_event(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry, int state)``

    kernel/sched/wait.c, 6.1. No signals arrive: always 0.
    """
    if is_empty(k, wq_entry + _ENTRY):
        _enqueue(k, wq_head, wq_entry)
    set_task_state(k, state)
    return 0


@export(faithful)
def finish_wait(k: Host, wq_head: int, wq_entry: int) -> None:
    """``void finish_wait(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry)``

    kernel/sched/wait.c, 6.1.
    """
    set_task_state(k, TASK_RUNNING)
    if not is_empty(k, wq_entry + _ENTRY):
        del_init(k, wq_entry + _ENTRY)


@export(faithful)
def __wake_up_sync_key(k: Host, wq_head: int, mode: int, key: int) -> Guest:
    """``void __wake_up_sync_key(struct wait_queue_head *wq_head, unsigned int mode, void *key)``

    kernel/sched/wait.c, 6.1.
    """
    return (yield from __wake_up(k, wq_head, mode, 1, key))


@export(faithful)
def __wake_up_sync(k: Host, wq_head: int, mode: int) -> Guest:
    """``void __wake_up_sync(struct wait_queue_head *wq_head, unsigned int mode)``

    kernel/sched/wait.c, 6.1.
    """
    return (yield from __wake_up(k, wq_head, mode, 1, 0))


@export(faithful)
def __wake_up_locked(k: Host, wq_head: int, mode: int, nr: int) -> Guest:
    """``void __wake_up_locked(struct wait_queue_head *wq_head, unsigned int mode, int nr)``

    kernel/sched/wait.c, 6.1. The caller holds the queue's lock.
    """
    return (yield from __wake_up(k, wq_head, mode, nr, 0))


@export(faithful)
def woken_wake_function(k: Host, wq_entry: int, mode: int, sync: int, key: int) -> int:
    """``int woken_wake_function(struct wait_queue_entry *wq_entry, unsigned mode, int sync, void *key)``

    kernel/sched/wait.c, 6.1. As default_wake_function(), and says so in the entry, for wait_woken().
    """
    k.mem.set_u32(wq_entry, k.mem.u32(wq_entry) | WQ_FLAG_WOKEN)
    return default_wake_function(k, wq_entry, mode, sync, key)


@export(faithful)
def wait_woken(k: Host, wq_entry: int, mode: int, timeout: int) -> Guest:
    """``long wait_woken(struct wait_queue_entry *wq_entry, unsigned mode, long timeout)``

    kernel/sched/wait.c, 6.1. Sleeps unless the entry was woken already; the ticks that are left.
    """
    deadline = deadline_of(k, timeout)
    set_task_state(k, mode)
    if not k.mem.u32(wq_entry) & WQ_FLAG_WOKEN and not _should_stop(k):
        yield from block(k, SCHEDULE, wq_entry, deadline)
    set_task_state(k, TASK_RUNNING)
    k.mem.set_u32(wq_entry, k.mem.u32(wq_entry) & ~WQ_FLAG_WOKEN)
    return ticks_left(k, timeout, deadline)


def _should_stop(k: Host) -> bool:
    from kmem.kapi.kthread import kthread_should_stop
    from kmem.sched.layout import PF_KTHREAD

    flags = k.mem.u32(k.current + k.layout["task_struct"].offset("flags"))
    return bool(flags & PF_KTHREAD) and kthread_should_stop(k)


@export(faithful)
def do_wait_intr(k: Host, wq: int, wait: int) -> Guest:
    """``int do_wait_intr(wait_queue_head_t *wq, wait_queue_entry_t *wait)``

    kernel/sched/wait.c, 6.1. Sleeps with the queue's lock released. No signals arrive: always 0.
    """
    if is_empty(k, wait + _ENTRY):
        add_tail(k, wait + _ENTRY, wq + _HEAD)
    set_task_state(k, TASK_INTERRUPTIBLE)
    k.mem.set_u8(wq, 0)
    k.context.preempt_enable()
    yield from block(k, SCHEDULE, wq)
    while k.mem.u32(wq):
        yield from k.sched.spin(wq)
    k.context.preempt_disable()
    k.mem.set_u32(wq, 1)
    return 0


# Completions: the waiters' struct swait_queue is {task, list}.

_SWAIT_TASK, _SWAIT_LIST, _DONE_WAIT = 0, 8, 16


def _queue_of(x: int) -> int:
    """Head of the list of waiters of the completion at *x*."""
    return x + _DONE_WAIT


def _wake_waiters(k: Host, x: int, limit: int) -> None:
    for link in entries(k, _queue_of(x)):
        if not limit:
            break
        limit -= 1
        task = k.mem.u64(link - _SWAIT_LIST + _SWAIT_TASK)
        del_init(k, link)
        k.sched.wake(task, TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE)


def _try_completion(k: Host, x: int) -> bool:
    done = k.mem.u32(x)
    if done and done != UINT_MAX:
        k.mem.set_u32(x, done - 1)
    return done != 0


@export(faithful)
def complete(k: Host, x: int) -> None:
    """``void complete(struct completion *x)``

    kernel/sched/completion.c, 6.1. Wakes the first waiter.
    """
    done = k.mem.u32(x)
    if done != UINT_MAX:
        k.mem.set_u32(x, done + 1)
    _wake_waiters(k, x, 1)


@export(faithful)
def complete_all(k: Host, x: int) -> None:
    """``void complete_all(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    k.mem.set_u32(x, UINT_MAX)
    _wake_waiters(k, x, -1)


@export(faithful)
def try_wait_for_completion(k: Host, x: int) -> bool:
    """``bool try_wait_for_completion(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    return _try_completion(k, x)


@export(faithful)
def completion_done(k: Host, x: int) -> bool:
    """``bool completion_done(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    return k.mem.u32(x) != 0


def _wait(k: Host, x: int, name: str, state: int, timeout: int | None = None) -> int | Guest:
    k.context.might_sleep(name, "kernel/sched/completion.c", 101)
    if _try_completion(k, x):
        return 0 if timeout is None else timeout or 1
    return _wait_slow(k, x, state, timeout)


def _wait_slow(k: Host, x: int, state: int, timeout: int | None) -> Guest:
    deadline = FOREVER if timeout is None else deadline_of(k, timeout)
    k.sched.start()
    waiter = k.sched.record(k.current) + SWAITER
    while True:
        if k.mem.u64(waiter + _SWAIT_LIST) in (0, waiter + _SWAIT_LIST):
            k.mem.set_u64(waiter + _SWAIT_TASK, k.current)
            add_tail(k, waiter + _SWAIT_LIST, _queue_of(x))
        set_task_state(k, state)
        late = yield from block(k, COMPLETION, x, deadline)
        if _try_completion(k, x):
            break
        if late:
            del_init(k, waiter + _SWAIT_LIST)
            return 0
    if k.mem.u64(waiter + _SWAIT_LIST) != waiter + _SWAIT_LIST:
        del_init(k, waiter + _SWAIT_LIST)
    set_task_state(k, TASK_RUNNING)
    return 0 if timeout is None else max(1, ticks_left(k, timeout, deadline))


@export(faithful)
def wait_for_completion(k: Host, x: int) -> int | Guest:
    """``void wait_for_completion(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    return _wait(k, x, "wait_for_completion", TASK_UNINTERRUPTIBLE)


@export(faithful)
def wait_for_completion_io(k: Host, x: int) -> int | Guest:
    """``void wait_for_completion_io(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    return _wait(k, x, "wait_for_completion_io", TASK_UNINTERRUPTIBLE)


@export(faithful)
def wait_for_completion_interruptible(k: Host, x: int) -> int | Guest:
    """``int wait_for_completion_interruptible(struct completion *x)``

    kernel/sched/completion.c, 6.1. No signals arrive: 0.
    """
    return _wait(k, x, "wait_for_completion_interruptible", TASK_INTERRUPTIBLE)


@export(faithful)
def wait_for_completion_killable(k: Host, x: int) -> int | Guest:
    """``int wait_for_completion_killable(struct completion *x)``

    kernel/sched/completion.c, 6.1. No signals arrive: 0.
    """
    return _wait(k, x, "wait_for_completion_killable", TASK_KILLABLE)


@export(faithful)
def wait_for_completion_timeout(k: Host, x: int, timeout: int) -> int | Guest:
    """``unsigned long wait_for_completion_timeout(struct completion *x, unsigned long timeout)``

    kernel/sched/completion.c, 6.1. The ticks that are left, 0 after *timeout* ticks in vain.
    """
    return _wait(k, x, "wait_for_completion_timeout", TASK_UNINTERRUPTIBLE, timeout)


@export(faithful)
def wait_for_completion_io_timeout(k: Host, x: int, timeout: int) -> int | Guest:
    """``unsigned long wait_for_completion_io_timeout(struct completion *x, unsigned long timeout)``

    kernel/sched/completion.c, 6.1.
    """
    return _wait(k, x, "wait_for_completion_io_timeout", TASK_UNINTERRUPTIBLE, timeout)


@export(faithful)
def wait_for_completion_interruptible_timeout(k: Host, x: int, timeout: int) -> int | Guest:
    """``long wait_for_completion_interruptible_timeout(struct completion *x, unsigned long timeout)``

    kernel/sched/completion.c, 6.1.
    """
    return _wait(k, x, "wait_for_completion_interruptible_timeout", TASK_INTERRUPTIBLE, timeout)


@export(faithful)
def wait_for_completion_killable_timeout(k: Host, x: int, timeout: int) -> int | Guest:
    """``long wait_for_completion_killable_timeout(struct completion *x, unsigned long timeout)``

    kernel/sched/completion.c, 6.1.
    """
    return _wait(k, x, "wait_for_completion_killable_timeout", TASK_KILLABLE, timeout)
