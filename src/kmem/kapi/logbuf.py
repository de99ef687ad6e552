"""The kernel log: records, their text as dmesg prints it, and what printk does to a message (kernel/printk/printk.c,
6.1).

A message may carry its level as two bytes at the front (KERN_SOH and a digit), or ``c`` for a continuation. A message
that ends in a newline is complete; one that does not stays open, and only a continuation may be added to it: any
other message closes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmem.kapi.host import Clock

EMERG, ALERT, CRIT, ERR, WARNING, NOTICE, INFO, DEBUG = range(8)
LEVEL_NAMES = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
"""Names of the levels, as ``dmesg -x`` prints them."""

DEFAULT_LEVEL = WARNING
"""Level of a message that names none (CONFIG_MESSAGE_LOGLEVEL_DEFAULT)."""

KERN_SOH = b"\x01"
LINE_MAX = 1024 - 32 - 1
"""Longest message, level included (LOG_LINE_MAX without its NUL); the rest is lost."""


@dataclass(frozen=True, slots=True)
class Record:
    """One message: time since boot in nanoseconds, level, text (may have several lines), whether it can still be
    continued."""

    ns: int
    level: int
    text: str
    open: bool = False

    def lines(self) -> list[str]:
        """The text as dmesg prints it, each line with its time stamp."""
        seconds, ns = divmod(self.ns, 1_000_000_000)
        stamp = f"[{seconds:5}.{ns // 1000:06}] "
        return [stamp + line for line in self.text.split("\n")]


def parse_prefix(message: bytes) -> tuple[int | None, bool, bytes]:
    """Level (None when not given), whether it is a continuation, and the text behind the prefixes of *message*."""
    level: int | None = None
    continuation = False
    while len(message) >= 2 and message[:1] == KERN_SOH:
        mark = message[1:2]
        if mark in (b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"):
            level = int(mark) if level is None else level
        elif mark == b"c":
            continuation = True
        else:
            break
        message = message[2:]
    return level, continuation, message


class LogBuf:
    """The log of one boot."""

    def __init__(self, clock: Clock) -> None:
        self.records: list[Record] = []
        self._clock = clock

    def printk(self, message: bytes | str, level: int | None = None, *, whole: bool = False) -> int:
        """Stores *message* as ``vprintk_store()`` does; *level* takes precedence over one in the text.

        With *whole* it is complete even without a newline.

        Returns the number of characters stored, which is what ``printk()`` returns.
        """
        raw = message.encode() if isinstance(message, str) else message
        own_level, continuation, _ = parse_prefix(raw[:7])
        if level is None:
            level = DEFAULT_LEVEL if own_level is None else own_level
        raw = raw[:LINE_MAX]
        newline = raw.endswith(b"\n")
        complete = newline or whole
        _, _, body = parse_prefix(raw[:-1] if newline else raw)
        text = body.decode("utf-8", "backslashreplace")
        last = self.records[-1] if self.records else None
        if continuation and last is not None and last.open and len(last.text) + len(body) <= LINE_MAX:
            self.records[-1] = replace(last, text=last.text + text, open=not complete)
            return len(body)
        self._close()
        self.records.append(Record(self._clock.ns, level, text, not complete))
        return len(body)

    def _close(self) -> None:
        if self.records and self.records[-1].open:
            self.records[-1] = replace(self.records[-1], open=False)

    def text(self, since: int = 0, max_level: int = DEBUG) -> str:
        """The log as dmesg prints it, from record *since*, up to *max_level*. A message still open is shown as it
        is."""
        return "".join(
            line + "\n" for record in self.records[since:] if record.level <= max_level for line in record.lines()
        )

    def mark(self) -> tuple[int, Record | None]:
        """The present end of the log, for `rewind`."""
        return len(self.records), self.records[-1] if self.records else None

    def rewind(self, mark: tuple[int, Record | None]) -> None:
        """Forgets what was logged after `mark`, as a rollback of RAM does with everything else."""
        length, last = mark
        del self.records[length:]
        if last is not None:
            self.records[-1] = last
