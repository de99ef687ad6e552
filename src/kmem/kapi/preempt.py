"""Switching softirqs and preemption off and on (kernel/softirq.c, kernel/sched/core.c), 6.1."""

from __future__ import annotations

from kmem.kapi.export import export, simplified
from kmem.kapi.host import Host

SOFTIRQ_DISABLE_OFFSET = 0x200

_NO_SOFTIRQS = simplified("no softirqs are pending when they are enabled again")


@export(_NO_SOFTIRQS)
def __local_bh_enable_ip(k: Host, ip: int, cnt: int) -> None:
    """``void __local_bh_enable_ip(unsigned long ip, unsigned int cnt)``

    kernel/softirq.c, 6.1.
    """
    k.context.local_bh_enable()
    for _ in range(cnt - SOFTIRQ_DISABLE_OFFSET):
        k.context.preempt_enable()


@export(_NO_SOFTIRQS)
def _local_bh_enable(k: Host) -> None:
    """``void _local_bh_enable(void)``

    kernel/softirq.c, 6.1.
    """
    k.context.local_bh_enable()
