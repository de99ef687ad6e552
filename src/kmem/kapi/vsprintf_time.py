"""``%pt``: dates and times (lib/vsprintf.c, 6.1)."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from kmem.kapi.printf_spec import ZEROPAD, Spec, error_string, number

if TYPE_CHECKING:
    from kmem.kapi.host import Host

_CYCLE = 400
_CYCLE_SECONDS = 146097 * 86400
"""The calendar repeats after 400 years."""

_MASK64 = (1 << 64) - 1


def _time64_to_tm(seconds: int) -> tuple[int, int, int, int, int, int]:
    """tm_sec, tm_min, tm_hour, tm_mday, tm_mon and tm_year of *seconds* since 1970, any 64-bit number
    (kernel/time/timeconv.c)."""
    cycles, rest = divmod(seconds, _CYCLE_SECONDS)
    t = datetime(1970, 1, 1) + timedelta(seconds=rest)
    return t.second, t.minute, t.hour, t.day, t.month - 1, t.year + cycles * _CYCLE - 1900


def _padded(value: int, width: int) -> bytes:
    return number(value & _MASK64, Spec(width=width, flags=ZEROPAD))


def _rtc(fields: tuple[int, ...], suffix: bytes) -> bytes:
    """A ``struct rtc_time``; d or t: date or time alone; r: raw fields; s: a blank instead of the T."""
    sec, minute, hour, mday, mon, year = fields
    options = suffix[2:]
    with_date, with_time = options[:1] != b"t", options[:1] != b"d"
    if not (with_date and with_time):
        options = options[1:]
    flags = options[: len(options) - len(options.lstrip(b"rs"))]
    raw = b"r" in flags
    parts: list[bytes] = []
    if with_date:
        year, mon = (year, mon) if raw else (year + 1900, mon + 1)
        parts.append(b"-".join((_padded(year, 4), _padded(mon, 2), _padded(mday, 2))))
    if with_time:
        parts.append(b":".join((_padded(hour, 2), _padded(minute, 2), _padded(sec, 2))))
    return (b" " if b"s" in flags else b"T").join(parts)


def time_and_date(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%ptR`` of a ``struct rtc_time``, ``%ptT`` of a ``time64_t``."""
    if suffix[1:2] == b"R":
        return _rtc(struct.unpack("<6i", k.mem.read(ptr, 24)), suffix)
    if suffix[1:2] == b"T":
        return _rtc(_time64_to_tm(k.mem.s64(ptr)), suffix)
    return error_string(b"(%pt?)", spec)
