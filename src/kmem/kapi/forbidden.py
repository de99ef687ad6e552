"""Why the running code may not sleep, who saw to that, and what it should do instead: the words of a finding."""

from __future__ import annotations

from typing import Any

from kmem.kapi.context import HARDIRQ_OFFSET, NMI_OFFSET, SOFTIRQ_DISABLE_OFFSET, SOFTIRQ_OFFSET

SOFTIRQ_BITS, HARDIRQ_BITS, NMI_BITS = 0xFF00, 0xF0000, 0xF00000
AFTER = "do it before, or after"
_INSTEAD = (
    (("vmalloc", "vzalloc", "vmap", "kvmalloc", "ioremap"), "allocate before, or take kmalloc(…, GFP_ATOMIC)"),
    (
        ("kmalloc", "kmem_cache_alloc", "alloc_pages", "get_free_page", "get_zeroed", "krealloc", "kmemdup", "kstr"),
        "GFP_ATOMIC instead of GFP_KERNEL, or allocate before",
    ),
    (("kmem_cache_create",), "make the cache in init"),
    (("vfree", "kvfree"), "free it after, or take vfree_atomic() or a work"),
    (("mutex_", "down", "rt_mutex"), "take the mutex before, or make it a spinlock"),
    (("msleep", "usleep", "ssleep", "fsleep"), "mdelay() or udelay() for a short time, or sleep after"),
    (("copy_from_user", "copy_to_user", "strncpy_from_user", "get_user", "put_user", "clear_user"),
     "copy to or from a buffer of the driver's before, or after"),
    (("synchronize_", "rcu_barrier"), "call_rcu() or kfree_rcu(), which do not wait"),
    (("wait_", "schedule", "flush_", "cancel_", "kthread_stop", "free_irq", "disable_irq", "del_timer_sync"),
     "wait after"),
)  # fmt: skip


def why(k: Any, name: str) -> str:
    """What forbids to sleep, and what to do about the call of the kernel function *name*."""
    causes = list(_causes(k))
    advice = instead(name)
    return ("; ".join(causes) or "preemption is off") + (f": {advice}" if advice else "")


def _causes(k: Any) -> list[str]:
    count, found, spins = k.context.preempt_count, [], 0
    for task, site, kind in k.tasks.held.values():
        if kind == "spinlock" and task == k.current:
            spins += 1
            found.append(f"{k.comm()} holds a spinlock, taken at {_place(k, site)}")
    if count & NMI_BITS >= NMI_OFFSET:
        found.append("this is a non-maskable interrupt")
    elif count & HARDIRQ_BITS >= HARDIRQ_OFFSET:
        found.append("this is an interrupt handler")
    elif count & SOFTIRQ_OFFSET:
        found.append("this is a softirq: a timer or a tasklet")
    elif count & SOFTIRQ_BITS >= SOFTIRQ_DISABLE_OFFSET and not spins:
        found.append("bottom halves are disabled")
    if k.context.rcu_depth():
        at = k.checks.reader if k.checks else 0
        found.append("this is an RCU reader" + (f", since {_place(k, at)}" if at else ""))
    if k.context.irqs_disabled() and not spins:
        found.append("interrupts are disabled")
    return found


def _place(k: Any, site: int) -> str:
    at = k.site.call_site(site)
    place = k.site.place(site)
    return f"{at.function}() ({place})" if at.function and at.function not in place else str(place)


def instead(name: str) -> str:
    """What to do instead of calling *name* where sleeping is forbidden."""
    bare = name.lstrip("_")
    for starts, advice in _INSTEAD:
        if any(bare.startswith(start) for start in starts):
            return advice
    return AFTER if name else ""
