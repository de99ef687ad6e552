"""Wait queues and completions (kernel/sched/wait.c, swait.c, completion.c), 6.1.

The queues are the kernel's lists in guest memory, and waking calls the entries' functions. One task runs: to wait for
what only somebody else could do is a hang.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.lists import add, add_tail, del_init, entries, init_list_head, is_empty
from kmem.kapi.sched import (
    ONE_TASK,
    TASK_INTERRUPTIBLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    set_task_state,
    sleep_until,
    stuck,
    wake_up_process,
)
from kmem.kapi.timekeeping import TICK_NSEC

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
        result = s32((yield Call(k.mem.u64(entry + _FUNC), (entry, mode, 0, key))))
        if result < 0:
            break
        if result and flags & WQ_FLAG_EXCLUSIVE:
            nr_exclusive -= 1
            if not nr_exclusive:
                break
    return 0


@export(ONE_TASK)
def default_wake_function(k: Host, curr: int, mode: int, wake_flags: int, key: int) -> int:
    """``int default_wake_function(wait_queue_entry_t *curr, unsigned mode, int wake_flags, void *key)``

    kernel/sched/core.c, 6.1. Wakes the task that the entry names.
    """
    return wake_up_process(k, k.mem.u64(curr + 8))


@export(ONE_TASK)
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


def _try_completion(k: Host, x: int) -> bool:
    done = k.mem.u32(x)
    if done and done != UINT_MAX:
        k.mem.set_u32(x, done - 1)
    return done != 0


@export(ONE_TASK)
def complete(k: Host, x: int) -> None:
    """``void complete(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    done = k.mem.u32(x)
    if done != UINT_MAX:
        k.mem.set_u32(x, done + 1)


@export(ONE_TASK)
def complete_all(k: Host, x: int) -> None:
    """``void complete_all(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    k.mem.set_u32(x, UINT_MAX)


@export(ONE_TASK)
def try_wait_for_completion(k: Host, x: int) -> bool:
    """``bool try_wait_for_completion(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    return _try_completion(k, x)


@export(ONE_TASK)
def completion_done(k: Host, x: int) -> bool:
    """``bool completion_done(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    return k.mem.u32(x) != 0


def _wait(k: Host, x: int, name: str, state: int) -> None:
    k.context.might_sleep(name, "kernel/sched/completion.c", 101)
    if not _try_completion(k, x):
        set_task_state(k, state)
        k.context.schedule_debug()
        stuck(k, "hang", f"{name}(): nobody is left who could complete it", address=x)


@export(ONE_TASK)
def wait_for_completion(k: Host, x: int) -> None:
    """``void wait_for_completion(struct completion *x)``

    kernel/sched/completion.c, 6.1.
    """
    _wait(k, x, "wait_for_completion", TASK_UNINTERRUPTIBLE)


@export(ONE_TASK)
def wait_for_completion_interruptible(k: Host, x: int) -> int:
    """``int wait_for_completion_interruptible(struct completion *x)``

    kernel/sched/completion.c, 6.1. No signals arrive: 0.
    """
    _wait(k, x, "wait_for_completion_interruptible", TASK_INTERRUPTIBLE)
    return 0


def _wait_timeout(k: Host, x: int, name: str, timeout: int) -> int:
    k.context.might_sleep(name, "kernel/sched/completion.c", 101)
    if _try_completion(k, x):
        return timeout or 1
    sleep_until(k, (k.clock.ns // TICK_NSEC + timeout) * TICK_NSEC)
    return 0


@export(ONE_TASK)
def wait_for_completion_timeout(k: Host, x: int, timeout: int) -> int:
    """``unsigned long wait_for_completion_timeout(struct completion *x, unsigned long timeout)``

    kernel/sched/completion.c, 6.1. The ticks that are left, 0 after *timeout* ticks in vain.
    """
    return _wait_timeout(k, x, "wait_for_completion_timeout", timeout)


@export(ONE_TASK)
def wait_for_completion_interruptible_timeout(k: Host, x: int, timeout: int) -> int:
    """``long wait_for_completion_interruptible_timeout(struct completion *x, unsigned long timeout)``

    kernel/sched/completion.c, 6.1.
    """
    return _wait_timeout(k, x, "wait_for_completion_interruptible_timeout", timeout)
