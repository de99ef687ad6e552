"""Limiting of messages (lib/ratelimit.c), 6.1, by simulated time."""

from __future__ import annotations

from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host
from kmem.kapi.timekeeping import HZ, jiffies, msecs_to_jiffies

# struct ratelimit_state: raw_spinlock_t lock; int interval, burst, printed, missed; unsigned long begin, flags
_LOCK, _INTERVAL, _BURST, _PRINTED, _MISSED, _BEGIN, _FLAGS = 0, 4, 8, 12, 16, 24, 32
_MSG_ON_RELEASE = 1
_MASK64 = (1 << 64) - 1

data(
    "printk_ratelimit_state",
    40,
    bytes(4) + (5 * HZ).to_bytes(4, "little") + (10).to_bytes(4, "little"),
    doc="State of printk_ratelimit(): ten messages in five seconds. Not exported by the kernel.",
    private=True,
)


data(
    "nopage_rs",
    40,
    bytes(4) + (10 * HZ).to_bytes(4, "little") + (1).to_bytes(4, "little"),
    doc="State of warn_alloc(): one report in ten seconds. Not exported by the kernel.",
    private=True,
)
data(
    "slub_oom_rs",
    40,
    bytes(4) + (5 * HZ).to_bytes(4, "little") + (10).to_bytes(4, "little"),
    doc="State of slab_out_of_memory(): ten reports in five seconds. Not exported by the kernel.",
    private=True,
)
data(
    "oom_rs",
    40,
    bytes(4) + (5 * HZ).to_bytes(4, "little") + (10).to_bytes(4, "little"),
    doc="State of oom_kill_process(): ten reports in five seconds. Not exported by the kernel.",
    private=True,
)


def ratelimit(k: Host, rs: int, func: str) -> bool:
    """Whether a message may be printed now by the ``struct ratelimit_state`` at *rs* (``___ratelimit()``)."""
    interval, burst = k.mem.s32(rs + _INTERVAL), k.mem.s32(rs + _BURST)
    if not interval:
        return True
    if k.mem.u32(rs + _LOCK):
        return False
    now = jiffies(k)
    if not k.mem.u64(rs + _BEGIN):
        k.mem.set_u64(rs + _BEGIN, now)
    elapsed = (now - k.mem.u64(rs + _BEGIN) - interval) & _MASK64
    if 0 < elapsed < 1 << 63:
        missed = k.mem.s32(rs + _MISSED)
        if missed and not k.mem.u64(rs + _FLAGS) & _MSG_ON_RELEASE:
            k.log.printk(f"\x014{func}: {missed} callbacks suppressed\n")
            k.mem.set_u32(rs + _MISSED, 0)
        k.mem.set_u64(rs + _BEGIN, now)
        k.mem.set_u32(rs + _PRINTED, 0)
    printed = k.mem.s32(rs + _PRINTED)
    counter, allowed = (_PRINTED, True) if burst and burst > printed else (_MISSED, False)
    k.mem.set_u32(rs + counter, k.mem.u32(rs + counter) + 1 & 0xFFFFFFFF)
    return allowed


@export(faithful)
def ___ratelimit(k: Host, rs: int, func: int) -> int:
    """``int ___ratelimit(struct ratelimit_state *rs, const char *func)``

    lib/ratelimit.c, 6.1. 1 if the caller may print.
    """
    return ratelimit(k, rs, k.mem.cstr(func).decode("utf-8", "backslashreplace"))


@export(faithful)
def __printk_ratelimit(k: Host, func: int) -> int:
    """``int __printk_ratelimit(const char *func)``

    kernel/printk/printk.c, 6.1.
    """
    return ___ratelimit(k, k.address_of("printk_ratelimit_state"), func)


@export(faithful)
def printk_timed_ratelimit(k: Host, caller_jiffies: int, interval_msecs: int) -> bool:
    """``bool printk_timed_ratelimit(unsigned long *caller_jiffies, unsigned int interval_msecs)``

    kernel/printk/printk.c, 6.1.
    """
    last, now = k.mem.u64(caller_jiffies), jiffies(k)
    if last and (now - last) & _MASK64 <= msecs_to_jiffies(interval_msecs):
        return False
    k.mem.set_u64(caller_jiffies, now)
    return True
