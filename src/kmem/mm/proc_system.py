"""/proc/version, cmdline, cpuinfo, uptime, loadavg, stat and swaps (fs/proc, arch/x86/kernel/cpu/proc.c; 6.1).

Of time and tasks the model has when it is, which tasks there are and which numbers they got.

Simplified: CPU time is not accounted for, every CPU counts as idle since boot; load averages, context switches,
interrupts and softirqs are 0; there is no swap; the wall clock starts at a fixed date; cpuinfo tells how many CPUs
there are and where, in one package, not what they can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kmem.abi.release import release
from kmem.machine.clock import BOOT_REAL_TIME, TSC_KHZ
from kmem.mm.mm_types import task_struct

if TYPE_CHECKING:
    from kmem.mm.api import Mm

USER_HZ = 100
NSEC_PER_SEC = 1_000_000_000
SOFTIRQS = 10


def tasks(mm: Mm) -> Iterator[Any]:
    """Every task, the oldest first (``for_each_process()``)."""
    head = mm.view.kdata.tasks
    if head.next:
        yield from mm.view.list(head, task_struct, "tasks")


def now(mm: Mm) -> int:
    """Nanoseconds since boot."""
    return mm.moment()[4]


def version(mm: Mm) -> str:
    """/proc/version."""
    return release(mm.config.release).linux_banner + "\n"


def cmdline(mm: Mm) -> str:
    """/proc/cmdline: what ``--cmdline`` gave."""
    return mm.config.cmdline + "\n"


def cpuinfo(mm: Mm) -> str:
    """/proc/cpuinfo, as far as it is about places."""
    count = mm.config.cpus
    return "".join(
        f"processor\t: {cpu}\ncpu MHz\t\t: {TSC_KHZ / 1000:.3f}\nphysical id\t: 0\nsiblings\t: {count}\n"
        f"core id\t\t: {cpu}\ncpu cores\t: {count}\n\n"
        for cpu in range(count)
    )


def uptime(mm: Mm) -> str:
    """/proc/uptime: seconds since boot, and seconds that all CPUs together were idle."""
    hundredths = now(mm) // (NSEC_PER_SEC // 100)
    idle = hundredths * mm.config.cpus
    return f"{hundredths // 100}.{hundredths % 100:02} {idle // 100}.{idle % 100:02}\n"


def loadavg(mm: Mm) -> str:
    """/proc/loadavg: no load; one task runs, of how many; the number that a task got last."""
    return f"0.00 0.00 0.00 1/{sum(1 for _ in tasks(mm))} {mm.view.kdata.last_pid}\n"


def stat(mm: Mm) -> str:
    """/proc/stat."""
    idle = now(mm) // (NSEC_PER_SEC // USER_HZ)
    cpus = "".join(f"cpu{cpu} 0 0 0 {idle} 0 0 0 0 0 0\n" for cpu in range(mm.config.cpus))
    return (
        f"cpu  0 0 0 {idle * mm.config.cpus} 0 0 0 0 0 0\n{cpus}intr 0\nctxt 0\nbtime {BOOT_REAL_TIME}\n"
        f"processes {mm.view.kdata.last_pid}\nprocs_running 1\nprocs_blocked 0\nsoftirq 0{' 0' * SOFTIRQS}\n"
    )


def swaps(mm: Mm) -> str:
    """/proc/swaps: the heading, and no swap."""
    return "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
