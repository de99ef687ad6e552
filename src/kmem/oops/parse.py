"""From the text of a log to its `Report`s. Never raises: what cannot be read is left out."""

from __future__ import annotations

from kmem.oops import details
from kmem.oops.patterns import END, FAULTS, HEADERS, START, Header
from kmem.oops.report import Report
from kmem.oops.text import Line, lines
from kmem.oops.title import title

MAX_REPORT = 1500
"""Lines after its headline that a report can have."""

MAX_REPORTS = 1000
"""Reports of one log that are read; a log with more repeats itself."""

NEAR = 60
"""Lines between a headline and a second one that names the same event."""

_AFTER = {
    ("refcount-note", "warning"): "refcount",
    ("odebug-note", "warning"): "odebug",
}
_NOTES = {
    "refcount-note": "refcount",
    "odebug-note": "odebug",
    "slab-note": "warning",
    "gpf-note": "gpf",
    "nx-note": "paging",
    "invalid-op": "bug",
}


def parse(log: str) -> list[Report]:
    """Every report in *log*, in the order of their headlines."""
    reports: list[Report] = []
    current: dict[str, Report] = {}
    ended: set[int] = set()
    cleaned = lines(log)
    for index, line in enumerate(cleaned):
        header = headline(line.text) or headline(_wrapped(cleaned, index))
        last = current.get(line.caller)
        if last is None and header is None and line.caller == "" and reports and len(current) == 1:
            last = reports[-1]
        if header is not None:
            if last is not None and _joins(header, last, line, id(last) in ended):
                _take(header, last)
            elif len(reports) == MAX_REPORTS:
                break
            else:
                last = Report(
                    _NOTES.get(header.kind, header.kind) if header.kind == "invalid-op" else header.kind,
                    line.number,
                    line.text.strip(),
                )
                reports.append(last)
                current[line.caller] = last
        if last is not None and header is None and len(reports) > 1 and not line.caller:
            last = _interleaved(line, last, reports, current)
        if last is None or (id(last) in ended and header is None) or len(last.lines) > MAX_REPORT:
            continue
        last.lines.append(line)
        if END.search(line.text) and len(last.lines) > 2:
            ended.add(id(last))
    if not reports and any("+0x" in line.text for line in cleaned):
        loose = Report("trace", cleaned[0].number, "", list(cleaned[:MAX_REPORT]))
        details.fill(loose)
        reports = [loose] if len(loose.frames) > 2 else []
    for report in reports:
        report.kind = _NOTES.get(report.kind, report.kind)
        if report.kind != "trace":
            details.fill(report)
        if report.kind in ("bug", "warning") and report.value("bug-at", "file").endswith("lib/list_debug.c"):
            report.kind = "list"
        report.function, report.title = title(report)
    return _merge_notes(reports)


def headline(text: str) -> Header | None:
    """The header that *text* is, if it is one."""
    if not START.search(text):
        return None
    for header in HEADERS:
        if header.pattern.search(text):
            return header
    return None


def _wrapped(cleaned: list[Line], index: int) -> str:
    """*index*'s line with the next one joined on, where a headline may have been wrapped; empty elsewhere."""
    text = cleaned[index].text
    words = text.rstrip()
    if index + 1 >= len(cleaned) or not words.endswith(
        ("invalid", "kernel", "handle", "pointer", "page", "BUG:", "paging")
    ):
        return ""
    if headline(cleaned[index + 1].text):
        return ""
    return f"{words} {cleaned[index + 1].text.lstrip()}"


def _interleaved(line: Line, last: Report, reports: list[Report], current: dict[str, Report]) -> Report:
    """The report that *line* belongs to when two processors printed at once: the earlier one gets the first of each
    kind of line that it still lacks.
    """
    earlier = reports[-2]
    if last is not reports[-1] or earlier.kind not in FAULTS or line.number - earlier.line > NEAR:
        return last
    key = line.text.partition(":")[0]
    if key not in _ONCE or len(earlier.lines) > 40 or ("RSP" in _keys(earlier) and key in ("CPU", "RIP", "Code")):
        return last
    return last if key in _keys(earlier) else earlier


_ONCE = frozenset(
    {
        "CPU",
        "RIP",
        "Code",
        "RSP",
        "RAX",
        "RDX",
        "RBP",
        "R10",
        "R13",
        "FS",
        "CS",
        "CR2",
        "DR0",
        "DR3",
        "Hardware name",
        "Modules linked in",
    }
)


def _keys(report: Report) -> set[str]:
    return {line.text.partition(":")[0] for line in report.lines}


def _joins(header: Header, last: Report, line: Line, ended: bool) -> bool:
    if header.kind == "panic":
        return len(last.lines) < MAX_REPORT
    if "*" in header.joins:
        return True
    if ended or line.number - last.line > NEAR:
        return False
    if header.kind == "kmsan" and last.kind == "kmsan":
        return all("KMSAN: " in old.text for old in last.lines)
    if header.kind == "kmemleak":
        return last.kind == "kmemleak" and not any("unreferenced" in old.text for old in last.lines)
    if header.kind == "oops" and last.kind in FAULTS:
        return not any("Oops: " in old.text or "Internal error: " in old.text for old in last.lines)
    if header.kind == last.kind == "vmap-failure":
        return True
    return last.kind in header.joins


def _take(header: Header, last: Report) -> None:
    renamed = _AFTER.get((last.kind, header.kind))
    if renamed:
        last.kind = renamed
    elif header.takes and (last.kind in ("gpf-note", "nx-note", "oops") or header.kind == "list"):
        last.kind = header.kind


def _merge_notes(reports: list[Report]) -> list[Report]:
    """Without the reports that consist of a note alone and say nothing that the next one does not."""
    return [
        report
        for index, report in enumerate(reports)
        if not (len(report.lines) == 1 and report.kind in ("gpf", "oops") and index + 1 < len(reports))
    ]
