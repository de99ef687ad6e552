"""Interrupt lines (kernel/irq/manage.c), 6.1: a table of lines, with the kernel's ``struct irqaction`` in their lists.

`Tasks.raise_irq` raises a line from Python; the handlers run in hard interrupt context on a CPU that chance chooses,
thread functions in a thread of their own.
"""

from __future__ import annotations

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.errno import EBUSY, EINVAL, ENOMEM
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.sched import SCHEDULED, TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, block, set_task_state
from kmem.kapi.softirq import IRQ_DEVICE
from kmem.sched import layout as at
from kmem.sched.core import IRQ, NOTHING, SPIN

NR_IRQS, LINE_SIZE = 256, 32
ACTION, DEPTH, PENDING, IN_PROGRESS, FORWARD = 0, 8, 12, 16, 20
"""A line: its first irqaction, how often it is disabled, whether it is raised, handlers that run."""
IRQF_SHARED, IRQF_ONESHOT, IRQF_NO_AUTOEN = 0x80, 0x2000, 0x80000
IRQ_NONE, IRQ_HANDLED, IRQ_WAKE_THREAD = 0, 1, 2
THREAD_RUN, THREAD_STOP, THREAD_ACTIVE = 1, 2, 4
"""Bits of irqaction.thread_flags."""

LINES = simplified("256 lines without chips: a line has no trigger, and no CPU affinity")

data("kmem_irqs", NR_IRQS * LINE_SIZE, doc="The interrupt lines. The model's own.", private=True)


def line(k: Host, irq: int) -> int:
    """Address of a line."""
    return k.address_of("kmem_irqs") + irq * LINE_SIZE


def taken(k: Host) -> list[int]:
    """The lines that have a handler."""
    words = memoryview(k.mem.read(line(k, 0), NR_IRQS * LINE_SIZE)).cast("Q")[ACTION // 8 :: LINE_SIZE // 8]
    return [irq for irq, first in enumerate(words) if first]


def actions(k: Host, irq: int) -> list[int]:
    """The handlers' structs of a line, in order."""
    found, following = [], k.layout["irqaction"].offset("next")
    action = k.mem.u64(line(k, irq) + ACTION)
    while action:
        found.append(action)
        action = k.mem.u64(action + following)
    return found


def _field(k: Host, name: str) -> int:
    return k.layout["irqaction"].offset(name)


@export(LINES)
def request_threaded_irq(
    k: Host, irq: int, handler: int, thread_fn: int, irqflags: int, devname: int, dev_id: int
) -> int:
    """``int request_threaded_irq(unsigned int irq, irq_handler_t handler, irq_handler_t thread_fn, unsigned long
    irqflags, const char *devname, void *dev_id)``

    kernel/irq/manage.c, 6.1. What request_irq() becomes. -EINVAL for no such line or no handler, -EBUSY for a line
    that is taken and not shared.
    """
    if irq >= NR_IRQS or (irqflags & IRQF_SHARED and not dev_id) or not (handler or thread_fn):
        return -EINVAL
    if not handler and not irqflags & IRQF_ONESHOT:
        k.log.printk(f"\x013genirq: Threaded irq requested with handler=NULL and !ONESHOT for irq {irq}\n")
        return -EINVAL
    there = actions(k, irq)
    if there and not (irqflags & k.mem.u32(there[0] + _field(k, "flags")) & IRQF_SHARED):
        name = k.mem.cstr(devname).decode(errors="replace") if devname else ""
        other = k.mem.cstr(k.mem.u64(there[0] + _field(k, "name"))).decode(errors="replace")
        old = k.mem.u32(there[0] + _field(k, "flags"))
        k.log.printk(f"\x013genirq: Flags mismatch irq {irq}. {irqflags:08x} ({name}) vs. {old:08x} ({other})\n")
        return -EBUSY
    action = k.mm.kmalloc(k.layout["irqaction"].size, GFP_KERNEL, -1, k.address_of("kmem_irqs"))
    if not action:
        return -ENOMEM
    k.mem.fill(action, 0, k.layout["irqaction"].size)
    for name, value in (("handler", handler), ("thread_fn", thread_fn), ("dev_id", dev_id), ("name", devname)):
        k.mem.set_u64(action + _field(k, name), value)
    k.mem.set_u32(action + _field(k, "irq"), irq)
    k.mem.set_u32(action + _field(k, "flags"), irqflags & 0xFFFFFFFF)
    k.mem.set_u64(action + _field(k, "thread_mask"), k.caller)
    if thread_fn:
        from kmem.kapi.kthread import create

        shown = k.mem.cstr(devname).decode(errors="replace") if devname else ""
        k.executor.traps.repeatable.add(k.address_of("kmem_irq_thread"))
        task = create(k, k.address_of("kmem_irq_thread"), action, f"irq/{irq}-{shown}")
        if task < 0:
            k.mm.kfree(action)
            return task
        k.mem.set_u64(action + _field(k, "thread"), task)
        k.sched.wake(task, at.TASK_NORMAL)
    if there:
        k.mem.set_u64(there[-1] + _field(k, "next"), action)
    else:
        k.mem.set_u64(line(k, irq) + ACTION, action)
        k.mem.set_u32(line(k, irq) + DEPTH, int(irqflags & IRQF_NO_AUTOEN != 0))
    return 0


@export(LINES)
def request_any_context_irq(k: Host, irq: int, handler: int, flags: int, name: int, dev_id: int) -> int:
    """``int request_any_context_irq(unsigned int irq, irq_handler_t handler, unsigned long flags, const char *name,
    void *dev_id)``

    kernel/irq/manage.c, 6.1. IRQC_IS_HARDIRQ (0) for a handler that runs in hard interrupt context, as all do.
    """
    return request_threaded_irq(k, irq, handler, 0, flags, name, dev_id)


@export(LINES)
def free_irq(k: Host, irq: int, dev_id: int) -> Guest:
    """``const void *free_irq(unsigned int irq, void *dev_id)``

    kernel/irq/manage.c, 6.1. Waits until the handler does not run. The name, NULL and a warning if there is none.
    """
    found = [a for a in (actions(k, irq) if irq < NR_IRQS else []) if k.mem.u64(a + _field(k, "dev_id")) == dev_id]
    if not found:
        k.warn("kernel/irq/manage.c", 1898, "free_irq", f"Trying to free already-free IRQ {irq}\n")
        return 0
    action, following = found[0], k.mem.u64(found[0] + _field(k, "next"))
    link = line(k, irq) + ACTION
    while k.mem.u64(link) != action:
        link = k.mem.u64(link) + _field(k, "next")
    k.mem.set_u64(link, following)
    yield from synchronize_irq(k, irq)
    task = k.mem.u64(action + _field(k, "thread"))
    if task:
        from kmem.kapi.kthread import kthread_stop

        flags = action + _field(k, "thread_flags")
        k.mem.set_u64(flags, k.mem.u64(flags) | THREAD_STOP)
        yield from kthread_stop(k, task)
    name = k.mem.u64(action + _field(k, "name"))
    k.mm.kfree(action)
    return name


@export(faithful)
def synchronize_irq(k: Host, irq: int) -> Guest:
    """``void synchronize_irq(unsigned int irq)``

    kernel/irq/manage.c, 6.1. Waits until no handler of the line runs.
    """
    while k.sched.on and k.mem.u32(line(k, irq) + IN_PROGRESS):
        yield from k.sched.wait_for_change(SPIN, line(k, irq) + IN_PROGRESS)
    for action in actions(k, irq):
        while k.mem.u64(action + _field(k, "thread_flags")) & (THREAD_RUN | THREAD_ACTIVE):
            set_task_state(k, TASK_UNINTERRUPTIBLE)
            yield from block(k, IRQ, action, k.clock.ns + 1_000_000)
    return 0


@export(LINES)
def disable_irq_nosync(k: Host, irq: int) -> None:
    """``void disable_irq_nosync(unsigned int irq)``

    kernel/irq/manage.c, 6.1.
    """
    slot = line(k, irq) + DEPTH
    k.mem.set_u32(slot, k.mem.u32(slot) + 1)


@export(LINES)
def disable_irq(k: Host, irq: int) -> Guest:
    """``void disable_irq(unsigned int irq)``

    kernel/irq/manage.c, 6.1. Waits until the handlers do not run.
    """
    disable_irq_nosync(k, irq)
    return (yield from synchronize_irq(k, irq))


@export(LINES)
def enable_irq(k: Host, irq: int) -> None:
    """``void enable_irq(unsigned int irq)``

    kernel/irq/manage.c, 6.1. What was raised meanwhile is handled. A warning if the line is not disabled.
    """
    depth = k.mem.u32(line(k, irq) + DEPTH)
    if not depth:
        k.warn("kernel/irq/manage.c", 774, "__enable_irq", f"Unbalanced enable for IRQ {irq}\n")
        return
    k.mem.set_u32(line(k, irq) + DEPTH, depth - 1)
    if depth == 1 and k.mem.u32(line(k, irq) + PENDING):
        raise_line(k, irq)


def raise_line(k: Host, irq: int) -> None:
    """The device asserts its line."""
    k.sched.start()
    k.mem.set_u32(line(k, irq) + PENDING, 1)
    if not k.mem.u32(line(k, irq) + DEPTH):
        k.sched.raise_irq(k.sched.chance(k.nr_cpus), IRQ_DEVICE)


def serve(k: Host) -> Guest:
    """``handle_irq_event()`` of every line that is raised."""
    for irq in range(NR_IRQS):
        at_line = line(k, irq)
        if not k.mem.u32(at_line + PENDING) or k.mem.u32(at_line + DEPTH) or k.mem.u32(at_line + IN_PROGRESS):
            continue
        k.mem.set_u32(at_line + PENDING, 0)
        k.mem.set_u32(at_line + IN_PROGRESS, 1)
        for action in actions(k, irq):
            handler = k.mem.u64(action + _field(k, "handler"))
            result = IRQ_WAKE_THREAD
            if handler:
                result = (yield Call(handler, (irq, k.mem.u64(action + _field(k, "dev_id"))))) & 0xFFFFFFFF
                if not k.context.irqs_disabled():
                    k.warn("kernel/irq/handle.c", 158, "__handle_irq_event_percpu", once=True)
                    k.context.local_irq_disable()
            if result & IRQ_WAKE_THREAD and (task := k.mem.u64(action + _field(k, "thread"))):
                flags = action + _field(k, "thread_flags")
                k.mem.set_u64(flags, k.mem.u64(flags) | THREAD_RUN)
                k.sched.wake(task, at.TASK_NORMAL)
        k.mem.set_u32(at_line + IN_PROGRESS, 0)
    return 0


@export(SCHEDULED, private=True)
def kmem_irq_thread(k: Host, action: int) -> Guest:
    """``int kmem_irq_thread(void *action)``

    kernel/irq/manage.c, 6.1: ``irq_thread()``, of a handler that has a thread function.
    """
    flags = action + _field(k, "thread_flags")
    while True:
        k.mem.set_u64(flags, k.mem.u64(flags) & ~THREAD_ACTIVE)
        state = 0
        while not (state := k.mem.u64(flags)) & (THREAD_RUN | THREAD_STOP):
            set_task_state(k, TASK_INTERRUPTIBLE)
            yield from k.sched.sleep(NOTHING)
        if not state & THREAD_RUN:
            return 0
        k.mem.set_u64(flags, state & ~THREAD_RUN | THREAD_ACTIVE)
        irq = k.mem.u32(action + _field(k, "irq"))
        yield Call(k.mem.u64(action + _field(k, "thread_fn")), (irq, k.mem.u64(action + _field(k, "dev_id"))))
