"""A log as clean lines: prefixes of syslog and serial consoles removed, HTML undone, joined text split again."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_LINE = 4096
"""Characters of one line that are looked at; longer lines are split at known words, the rest in pieces."""

JOINED = 300
"""A line that is longer than this may be many lines that a forum joined into one."""

_PREFIX = re.compile(
    r"""\s*(?:
      (?:\d+[:-](?=[A-Z]))?
        (?:[^\W\d]{2,5}\.?\ +\d+\ \d\d:\d\d:\d\d(?:\.\d{1,9})?
        | \d\d:\d\d:\d\d(?:\.\d{1,9})?(?=\ +[\[<])
        | \d{4}[-/]\d\d[-/]\d\d[T\ ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)
        (?:\ \S+\ kernel:)?\ ?
    | (?:\S+\ )?kernel:\ (?=\S|\ )
    | <\d{1,2}>
    | \[[A-Z][a-z]{2}\ [A-Z][a-z]{2}\ +\d+\ \d\d:\d\d:\d\d\ \d{4}\]\ ?
    | \[\d\d:\d\d:\d\d\]\ ?
    | `(?=\[\ *\d)
    | \[[^\]\s]+@[^\]]{1,60}\][\#\$]\ (?=\[)
    | \d+\.\d{6}\]\ ?
    | \[\ *\+\d+\.\d{6}\]\ ?
    | (?:\|\ +){1,4}(?=[\d\[])
    | \d,\d+,\d+,-;
    | \[\ *\d+\.\d+(?:,\d+)?\](?:\[\ *[TC]\d+\])?(?:\ @\d+)?(?:\ ?[A-Za-z0-9_-]+\ kernel:)?\ ?
    | \S{1,40}\ login:\ (?=\S)
    | \*\*\ \d+\ printk\ messages\ dropped\ \*\*\ ?
    | (?:>\ )+
    | \#\ (?=\[\ *\d+\.\d+\])
    )""",
    re.VERBOSE,
)
_STAMP = re.compile(r"\[ {0,8}(\d{1,9}\.\d{6})\]")
_CALLER = re.compile(r"\[\s*([TC]\d+)\]")
_STAMP_INSIDE = re.compile(r"(?<=\S)\s*(?=\[\s*\d{1,7}\.\d{6}\](?:\[\s*[TC]\d+\])?\s)")
_LEVEL_INSIDE = re.compile(r"<\d>(?=BUG|WARNING|Unable|general|Oops|Kernel|kernel)")
_TAGS = re.compile(r"</?(?:br|p|pre|code|div|span|tt)\b[^>]{0,80}>", re.IGNORECASE)
_MARKS = re.compile(
    r"(?<!from)\s+(?=(?:BUG: |WARNING: |Unable to handle |Unhandled fault|general protection fault|Internal "
    r"error: |Oops: |"
    r"kernel BUG at |Kernel panic|pgd = |PGD \d|\*pde |Modules linked in: |CPU: \d+ |CPU: +\d+ +Tainted|Hardware "
    r"name: |"
    r"Workqueue: |PC is at |LR is at |IP: |EIP|RIP: |pc : |sp : |psr: |r\d{1,2} ?: ?[0-9a-f]{8} |Flags: |Control: |"
    r"Process \S+ \(pid|Stack: |Backtrace: |Call Trace: |Call trace: |Code: |---\[ end |------------\[ cut |EFLAGS: |"
    r"RSP: |R[ABCD]X: |RBP: |R\d\d: |E[ABCD]X: |FS: |CS: |CR2: |DR\d: |=====|\[[0-9a-f]{8}\] \*pgd|"
    r"[0-9a-f]{4}: (?:[0-9a-f]{8} ){2}|[0-9a-f]{4}: {3,}[0-9a-f]{8}|"
    r"(?:\[ ?(?:<[0-9a-f]*>)? ?\] )+(?:\(|\? )?[A-Za-z_:][\w.:]*\+0x|\? [A-Za-z_][\w.]*\+0x|"
    r"(?:Read|Write) of size |Allocated by |Freed by |The buggy address |Memory state |INFO: |Object |Redzone |"
    r"page:|flags: 0x))"
)


class Line(NamedTuple):
    """One cleaned line of a log."""

    number: int
    """The line of the file, from 1; lines that were joined share it."""
    text: str
    caller: str
    """The printing context that the kernel put behind the timestamp (``T123``, ``C0``), or empty."""


def lines(log: str) -> list[Line]:
    """The cleaned lines of *log*. Never raises."""
    result: list[Line] = []
    escaped = "&lt;" in log or "&gt;" in log or "&#" in log or "&amp;" in log
    for number, raw in enumerate(log.split("\n"), 1):
        raw = raw.replace("\0", " ").replace("\ufffd", " ").rstrip().removesuffix("\\x0a")
        if escaped and "&" in raw:
            raw = html.unescape(raw)
        if ("<" in raw and "/" in raw) or "<br" in raw:
            raw = _TAGS.sub(" ", raw)
        for part in _parts(raw):
            text, caller = _strip(part)
            result.append(Line(number, text, caller))
    return result[::-1] if _runs_backwards(log) else result


def _runs_backwards(log: str) -> bool:
    """Whether the newest line stands first, as some viewers of logs list them."""
    stamps = [float(found[1]) for found in _STAMP.finditer(log[:200_000])]
    falls = sum(after < before for before, after in itertools.pairwise(stamps))
    return len(stamps) > 4 and falls * 10 >= (len(stamps) - 1) * 9


def _parts(raw: str) -> Iterator[str]:
    """The lines that *raw* was joined from: itself, unless it carries several."""
    pieces = raw.split("#012") if "#012" in raw else [raw]
    if raw.count("[") > 1:
        pieces = [piece for part in pieces for piece in _STAMP_INSIDE.split(part)]
    if "<" in raw:
        pieces = [piece for part in pieces for piece in _LEVEL_INSIDE.split(part)]
    for piece in pieces:
        if len(piece) <= JOINED or not _is_joined(piece):
            yield piece[:MAX_LINE]
            continue
        for part in _MARKS.split(piece):
            for start in range(0, len(part), MAX_LINE):
                yield part[start : start + MAX_LINE]


def _is_joined(text: str) -> bool:
    if text.startswith(("Modules linked in", "Code:")) and "Call Trace" not in text and "Backtrace" not in text:
        return len(_MARKS.findall(text[:20000])) > 3
    return len(_MARKS.findall(text[:20000])) > 1


def _strip(text: str) -> tuple[str, str]:
    caller = ""
    position = 0
    for _ in range(6):
        found = _PREFIX.match(text, position)
        if found is None or found.end() == position:
            break
        context = _CALLER.search(found[0])
        caller = context[1] if context else caller
        position = found.end()
    return text[position:], caller
