"""Busy waiting (arch/x86/lib/delay.c), 6.1: simulated time passes, nothing runs."""

from __future__ import annotations

from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host
from kmem.kapi.timekeeping import HZ

TSC_KHZ = 2_000_000
LOOPS_PER_JIFFY = TSC_KHZ * 1000 // HZ

data(
    "loops_per_jiffy",
    8,
    LOOPS_PER_JIFFY.to_bytes(8, "little"),
    doc="Delay loops in a tick: those of a 2 GHz time stamp counter.",
)
data("cpu_khz", 4, TSC_KHZ.to_bytes(4, "little"), align=4, doc="CPU frequency: 2 GHz.")
data("tsc_khz", 4, TSC_KHZ.to_bytes(4, "little"), align=4, doc="Frequency of the time stamp counter: 2 GHz.")


def _wait_xloops(k: Host, xloops: int) -> None:
    """Waits *xloops* / 2**32 seconds."""
    k.clock.advance((xloops & ((1 << 64) - 1)) * 1_000_000_000 >> 32)


@export(faithful)
def __const_udelay(k: Host, xloops: int) -> None:
    """``void __const_udelay(unsigned long xloops)``

    arch/x86/lib/delay.c, 6.1. *xloops* is a fraction of a second in units of 2**-32.
    """
    _wait_xloops(k, xloops)


@export(faithful)
def __udelay(k: Host, usecs: int) -> None:
    """``void __udelay(unsigned long usecs)``

    arch/x86/lib/delay.c, 6.1.
    """
    _wait_xloops(k, usecs * 0x10C7)


@export(faithful)
def __ndelay(k: Host, nsecs: int) -> None:
    """``void __ndelay(unsigned long nsecs)``

    arch/x86/lib/delay.c, 6.1.
    """
    _wait_xloops(k, nsecs * 5)


@export(faithful)
def __delay(k: Host, loops: int) -> None:
    """``void __delay(unsigned long loops)``

    arch/x86/lib/delay.c, 6.1. Cycles of the time stamp counter.
    """
    k.clock.advance(loops * 1_000_000 // TSC_KHZ)
