"""Time: jiffies, and the clocks of kernel/time, 6.1. All of it follows `Host.clock`; nothing is read from the real
world.

A guest reads ``jiffies`` from memory, so the host calls `update_jiffies` before it enters guest code after time has
passed.
"""

from __future__ import annotations

from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Host
from kmem.machine.clock import BOOT_REAL_TIME

HZ = 250
NSEC_PER_SEC = 1_000_000_000
TICK_NSEC = NSEC_PER_SEC // HZ
INITIAL_JIFFIES = (1 << 32) - 300 * HZ
"""jiffies at boot: the low half wraps after five minutes."""

MAX_JIFFY_OFFSET = ((1 << 63) - 1) // 2 - 1

_WALL = simplified("the wall clock starts at a fixed date")
_MASK64 = (1 << 64) - 1


def jiffies(k: Host) -> int:
    """The tick counter now."""
    return INITIAL_JIFFIES + k.clock.ns // TICK_NSEC


def update_jiffies(k: Host) -> None:
    """Writes the tick counter into guest memory, where the data symbols are placed."""
    now = jiffies(k)
    for name in ("jiffies", "jiffies_64"):
        address = k.kallsyms.address(name)
        if address is not None:
            k.mem.set_u64(address, now)


def _initial(k: Host) -> bytes:
    return jiffies(k).to_bytes(8, "little")


data("jiffies", 8, _initial, doc="Tick counter, kernel/time/timer.c.")
data("jiffies_64", 8, _initial, doc="Tick counter, kernel/time/timer.c. The kernel has it at the address of jiffies.")


@export(faithful)
def ktime_get(k: Host) -> int:
    """``ktime_t ktime_get(void)``

    kernel/time/timekeeping.c, 6.1. CLOCK_MONOTONIC in nanoseconds.
    """
    return k.clock.ns


@export(faithful)
def ktime_get_raw(k: Host) -> int:
    """``ktime_t ktime_get_raw(void)``

    kernel/time/timekeeping.c, 6.1. CLOCK_MONOTONIC_RAW: never slewed here, so the same as CLOCK_MONOTONIC.
    """
    return k.clock.ns


@export(faithful)
def ktime_get_mono_fast_ns(k: Host) -> int:
    """``u64 ktime_get_mono_fast_ns(void)``

    kernel/time/timekeeping.c, 6.1.
    """
    return k.clock.ns


@export(faithful)
def ktime_get_raw_fast_ns(k: Host) -> int:
    """``u64 ktime_get_raw_fast_ns(void)``

    kernel/time/timekeeping.c, 6.1.
    """
    return k.clock.ns


@export(faithful)
def ktime_get_boot_fast_ns(k: Host) -> int:
    """``u64 ktime_get_boot_fast_ns(void)``

    kernel/time/timekeeping.c, 6.1. The machine is never suspended.
    """
    return k.clock.ns


TK_OFFS_REAL, TK_OFFS_BOOT, TK_OFFS_TAI = range(3)


def _offset(offs: int) -> int:
    """What a clock is ahead of CLOCK_MONOTONIC, in nanoseconds (``enum tk_offsets``)."""
    return 0 if offs == TK_OFFS_BOOT else BOOT_REAL_TIME * NSEC_PER_SEC


@export(_WALL)
def ktime_get_with_offset(k: Host, offs: int) -> int:
    """``ktime_t ktime_get_with_offset(enum tk_offsets offs)``

    kernel/time/timekeeping.c, 6.1. TAI is UTC here.
    """
    return k.clock.ns + _offset(offs)


@export(_WALL)
def ktime_get_coarse_with_offset(k: Host, offs: int) -> int:
    """``ktime_t ktime_get_coarse_with_offset(enum tk_offsets offs)``

    kernel/time/timekeeping.c, 6.1. As of the last tick.
    """
    return k.clock.ns // TICK_NSEC * TICK_NSEC + _offset(offs)


@export(_WALL)
def ktime_get_real_fast_ns(k: Host) -> int:
    """``u64 ktime_get_real_fast_ns(void)``

    kernel/time/timekeeping.c, 6.1.
    """
    return k.clock.ns + _offset(TK_OFFS_REAL)


@export(faithful)
def ktime_get_seconds(k: Host) -> int:
    """``time64_t ktime_get_seconds(void)``

    kernel/time/timekeeping.c, 6.1. Seconds since boot.
    """
    return k.clock.ns // NSEC_PER_SEC


@export(_WALL)
def ktime_get_real_seconds(k: Host) -> int:
    """``time64_t ktime_get_real_seconds(void)``

    kernel/time/timekeeping.c, 6.1.
    """
    return BOOT_REAL_TIME + k.clock.ns // NSEC_PER_SEC


def _store_timespec(k: Host, ts: int, ns: int) -> None:
    """``struct timespec64``: tv_sec, tv_nsec."""
    seconds, rest = divmod(ns, NSEC_PER_SEC)
    k.mem.set_u64(ts, seconds & _MASK64)
    k.mem.set_u64(ts + 8, rest)


@export(faithful)
def ktime_get_ts64(k: Host, ts: int) -> None:
    """``void ktime_get_ts64(struct timespec64 *ts)``

    kernel/time/timekeeping.c, 6.1. CLOCK_MONOTONIC.
    """
    _store_timespec(k, ts, k.clock.ns)


@export(faithful)
def ktime_get_raw_ts64(k: Host, ts: int) -> None:
    """``void ktime_get_raw_ts64(struct timespec64 *ts)``

    kernel/time/timekeeping.c, 6.1.
    """
    _store_timespec(k, ts, k.clock.ns)


@export(_WALL)
def ktime_get_real_ts64(k: Host, ts: int) -> None:
    """``void ktime_get_real_ts64(struct timespec64 *ts)``

    kernel/time/timekeeping.c, 6.1.
    """
    _store_timespec(k, ts, k.clock.ns + _offset(TK_OFFS_REAL))


@export(_WALL)
def ktime_get_coarse_real_ts64(k: Host, ts: int) -> None:
    """``void ktime_get_coarse_real_ts64(struct timespec64 *ts)``

    kernel/time/timekeeping.c, 6.1.
    """
    _store_timespec(k, ts, ktime_get_coarse_with_offset(k, TK_OFFS_REAL))


@export(faithful)
def ktime_get_coarse_ts64(k: Host, ts: int) -> None:
    """``void ktime_get_coarse_ts64(struct timespec64 *ts)``

    kernel/time/timekeeping.c, 6.1. CLOCK_MONOTONIC as of the last tick.
    """
    _store_timespec(k, ts, k.clock.ns // TICK_NSEC * TICK_NSEC)


def msecs_to_jiffies(msecs: int) -> int:
    """Ticks that take at least *msecs* milliseconds; a negative (signed 32-bit) time is for ever."""
    if msecs >> 31:
        return MAX_JIFFY_OFFSET
    return -(-msecs * HZ // 1000)


@export(faithful)
def __msecs_to_jiffies(k: Host, m: int) -> int:
    """``unsigned long __msecs_to_jiffies(const unsigned int m)``

    kernel/time/time.c, 6.1.
    """
    return msecs_to_jiffies(m)


@export(faithful)
def __usecs_to_jiffies(k: Host, u: int) -> int:
    """``unsigned long __usecs_to_jiffies(const unsigned int u)``

    kernel/time/time.c, 6.1.
    """
    return -(-u * HZ // 1_000_000)


@export(faithful)
def jiffies_to_msecs(k: Host, j: int) -> int:
    """``unsigned int jiffies_to_msecs(const unsigned long j)``

    kernel/time/time.c, 6.1.
    """
    return j * (1000 // HZ)


@export(faithful)
def jiffies_to_usecs(k: Host, j: int) -> int:
    """``unsigned int jiffies_to_usecs(const unsigned long j)``

    kernel/time/time.c, 6.1.
    """
    return j * (1_000_000 // HZ)


@export(faithful)
def jiffies64_to_nsecs(k: Host, j: int) -> int:
    """``u64 jiffies64_to_nsecs(u64 j)``

    kernel/time/time.c, 6.1.
    """
    return j * TICK_NSEC


@export(faithful)
def jiffies64_to_msecs(k: Host, j: int) -> int:
    """``u64 jiffies64_to_msecs(const u64 j)``

    kernel/time/time.c, 6.1.
    """
    return j * (1000 // HZ)


@export(faithful)
def nsecs_to_jiffies64(k: Host, n: int) -> int:
    """``u64 nsecs_to_jiffies64(u64 n)``

    kernel/time/time.c, 6.1. Rounds down.
    """
    return n // TICK_NSEC


@export(faithful)
def nsecs_to_jiffies(k: Host, n: int) -> int:
    """``unsigned long nsecs_to_jiffies(u64 n)``

    kernel/time/time.c, 6.1. Rounds down.
    """
    return n // TICK_NSEC


@export(faithful)
def jiffies_to_timespec64(k: Host, j: int, value: int) -> None:
    """``void jiffies_to_timespec64(const unsigned long jiffies, struct timespec64 *value)``

    kernel/time/time.c, 6.1.
    """
    _store_timespec(k, value, j * TICK_NSEC)


@export(faithful)
def set_normalized_timespec64(k: Host, ts: int, sec: int, nsec: int) -> None:
    """``void set_normalized_timespec64(struct timespec64 *ts, time64_t sec, s64 nsec)``

    kernel/time/time.c, 6.1.
    """
    _store_timespec(k, ts, sec * NSEC_PER_SEC + nsec)


@export(faithful)
def mktime64(k: Host, year: int, mon: int, day: int, hour: int, minute: int, sec: int) -> int:
    """``time64_t mktime64(const unsigned int year, const unsigned int mon, const unsigned int day, const unsigned int
    hour, const unsigned int min, const unsigned int sec)``

    kernel/time/time.c, 6.1. Seconds since 1970 of a date of the Gregorian calendar.
    """
    # Count years from March, so that a leap day is the last of its year.
    year, month = (year - 1, mon + 9) if mon <= 2 else (year, mon - 3)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    return ((days * 24 + hour) * 60 + minute) * 60 + sec
