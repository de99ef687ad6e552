"""What slub_debug reports about a broken object, with addresses relative to the object."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.truth.reports import IN_MODULE, call_trace

HEAD = re.compile(r"BUG (\S+) \(.*?\): (.*)")
OBJECT = re.compile(r"Object 0x([0-9a-f]+) @offset=")
RANGE = re.compile(r"0x([0-9a-f]{16})-0x([0-9a-f]{16})")
ONE = re.compile(r"0x([0-9a-f]{16})")
BAD_BYTES = re.compile(r"0x[0-9a-f]{16}-0x[0-9a-f]{16} @offset=\d+\. (.*)")
DUMP = re.compile(r"(Redzone|Object|Padding|Bytes b4)\s+([0-9a-f]{16}): ((?:[0-9a-f]{2} )+)")
TRACK = re.compile(r"(Allocated|Freed) in \S+?\+0x\S+( \[\w+\])?")
SLAB = re.compile(r"Slab 0x[0-9a-f]+ objects=(\d+) ")


def find_report(lines: Sequence[str], prefix: str) -> tuple[int, dict[str, str | int]] | None:
    """Return where the first report begins and its facts; *prefix* begins the module's own lines."""
    start = next((i for i, line in enumerate(lines) if HEAD.match(line)), None)
    if start is None:
        return None
    report = lines[start : _end(lines, start, prefix)]
    base = next((int(m[1], 16) for line in report if (m := OBJECT.match(line))), 0)
    facts: dict[str, str | int] = {}
    fixes = 0
    for line in report:
        if match := HEAD.match(line):
            facts["report"] = f"{match[1]}: {match[2]}"
        elif match := BAD_BYTES.match(line):
            facts["bad bytes"] = f"{relative(line.split()[0], base)} {match[1]}"
        elif (match := TRACK.match(line)) and match[2]:
            facts[match[1].lower()] = IN_MODULE
        elif match := SLAB.match(line):
            facts["objects in slab"] = int(match[1])
        elif match := DUMP.match(line):
            facts[f"dump {match[1]} {int(match[2], 16) - base:+d}"] = _bytes(match[3])
        elif line.startswith("FIX "):
            fixes += 1
            facts[f"fix {fixes}"] = relative(line.removeprefix("FIX "), base)
    facts["report call trace"] = call_trace(report)
    return start, facts


def _end(lines: Sequence[str], start: int, prefix: str) -> int:
    """A report ends where the next begins, or where the module goes on."""
    after = range(start + 1, len(lines))
    return next((i for i in after if HEAD.match(lines[i]) or lines[i].startswith(prefix)), len(lines))


def relative(text: str, base: int) -> str:
    """Replace addresses near *base* by their distance."""
    text = RANGE.sub(lambda m: f"{int(m[1], 16) - base:+d}..{int(m[2], 16) - base:+d}", text)
    return ONE.sub(lambda m: f"{int(m[1], 16) - base:+d}", text)


def _bytes(text: str) -> str:
    """Bytes of a dump; one byte repeated is said shorter."""
    values = text.split()
    return f"{values[0]} * {len(values)}" if len(set(values)) == 1 else " ".join(values)
