"""Calls of functions on other CPUs (kernel/smp.c), 6.1: an interrupt of that CPU calls them."""

from __future__ import annotations

from kmem.kapi.errno import ENXIO
from kmem.kapi.export import export, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.softirq import IRQ_CALL, cpu_word
from kmem.sched import layout as at
from kmem.sched.core import IRQ

WAITS = simplified("the caller always waits, asked to or not")


def serve(k: Host) -> Guest:
    """Call what other CPUs want this one to call: a list of the records of the tasks that wait."""
    slot = cpu_word(k, at.CALLS)
    record = k.mem.u64(slot)
    k.mem.set_u64(slot, 0)
    if record:
        yield Call(k.mem.u64(record + at.CALL_FUNC), (k.mem.u64(record + at.CALL_INFO),))
        k.mem.set_u32(record + at.CALL_CPUS, k.mem.u32(record + at.CALL_CPUS) - 1)
    return 0


def call_on(k: Host, cpus: list[int], func: int, info: int) -> Guest:
    """``smp_call_function_many_cond()``: call func(info) on *cpus*, this one last, with interrupts disabled."""
    k.sched.start()
    k.context.preempt_disable()
    here = k.cpu
    record = k.sched.record(k.current)
    others = [cpu for cpu in cpus if cpu != here]
    if others:
        k.mem.set_u64(record + at.CALL_FUNC, func)
        k.mem.set_u64(record + at.CALL_INFO, info)
        k.mem.set_u32(record + at.CALL_CPUS, len(others))
        for cpu in others:
            slot = cpu_word(k, at.CALLS, cpu)
            while k.mem.u64(slot):
                yield from k.sched.wait_for_change(IRQ, slot)
            k.mem.set_u64(slot, record)
            k.sched.raise_irq(cpu, IRQ_CALL)
    if here in cpus:
        flags = k.context.local_irq_save()
        yield Call(func, (info,))
        k.context.local_irq_restore(flags)
    while others and k.mem.u32(record + at.CALL_CPUS):
        yield from k.sched.wait_for_change(IRQ, record + at.CALL_CPUS)
    k.context.preempt_enable()
    return 0


@export(WAITS)
def smp_call_function_single(k: Host, cpu: int, func: int, info: int, wait: int) -> Guest:
    """``int smp_call_function_single(int cpu, smp_call_func_t func, void *info, int wait)``

    kernel/smp.c, 6.1. -ENXIO for a CPU that is not there.
    """
    if not 0 <= cpu < k.nr_cpus:
        return -ENXIO
    return (yield from call_on(k, [cpu], func, info))


@export(WAITS)
def smp_call_function(k: Host, func: int, info: int, wait: int) -> Guest:
    """``void smp_call_function(smp_call_func_t func, void *info, int wait)``

    kernel/smp.c, 6.1. On all other CPUs.
    """
    return (yield from call_on(k, [cpu for cpu in range(k.nr_cpus) if cpu != k.cpu], func, info))


def _cpus(k: Host, mask: int) -> list[int]:
    bits = k.mem.u64(mask)
    return [cpu for cpu in range(k.nr_cpus) if bits >> cpu & 1]


@export(WAITS)
def smp_call_function_many(k: Host, mask: int, func: int, info: int, wait: int) -> Guest:
    """``void smp_call_function_many(const struct cpumask *mask, smp_call_func_t func, void *info, bool wait)``

    kernel/smp.c, 6.1. On the other CPUs of *mask*.
    """
    return (yield from call_on(k, [cpu for cpu in _cpus(k, mask) if cpu != k.cpu], func, info))


@export(WAITS)
def on_each_cpu_cond_mask(k: Host, cond_func: int, func: int, info: int, wait: int, mask: int) -> Guest:
    """``void on_each_cpu_cond_mask(smp_cond_func_t cond_func, smp_call_func_t func, void *info, bool wait, const struct
    cpumask *mask)``

    kernel/smp.c, 6.1. On the CPUs of *mask* for which cond_func(cpu, info) is true. What on_each_cpu() becomes.
    """
    cpus = []
    for cpu in _cpus(k, mask):
        if not cond_func or (yield Call(cond_func, (cpu, info))) & 0xFF:
            cpus.append(cpu)
    return (yield from call_on(k, cpus, func, info))
