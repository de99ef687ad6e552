"""Interrupts at work: what a pending interrupt runs, softirqs, tasklets (kernel/softirq.c), 6.1."""

from __future__ import annotations

from kmem.kapi.host import Guest, Host


def irq_handlers(k: Host, bits: int) -> Guest:
    """Run the handlers of the interrupts *bits* that were pending."""
    return 0
    yield


def do_softirq(k: Host) -> Guest:
    """Run what softirqs are pending."""
    return 0
    yield
