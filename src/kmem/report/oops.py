"""What ``kmem oops`` prints: text, JSON, and the list of different titles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from kmem.errors import UsageError
from kmem.oops.explain import MILD, Explanation, main_of
from kmem.oops.parse import MAX_REPORTS
from kmem.oops.report import Frame
from kmem.oops.rules import CAUSES, RULES

WIDTH = 118
LABEL = 13

Places = Mapping[str, str]
"""``name+0x1c [module]`` to ``file:line``."""
Logs = Sequence[tuple[str, list[Explanation]]]


def frame_key(frame: Frame) -> str:
    """What a frame is looked up by in `Places`."""
    return f"{frame.name}+{frame.offset or 0:#x} [{frame.module}]"


def oops_text(logs: Logs, places: Places, *, every: bool = False) -> str:
    """Each log's first report in full, and the titles of the rest (all in full with *every*)."""
    parts = []
    for name, found in logs:
        if not found:
            parts.append(f"{name}: no report of a kernel is in this log")
            continue
        main = main_of(found)
        text = [f"{name}:"] if len(logs) > 1 else []
        for each in found:
            if every or each is main:
                text += _full(each, places)
        if len(found) >= MAX_REPORTS:
            text.append(f"the log has more than {MAX_REPORTS} reports: only so many were read")
        others = [each for each in found if each is not main]
        if others and not every:
            text.append(f"{len(others)} more report{'s' if len(others) > 1 else ''} in this log (--all explains each):")
            text += [f"  line {each.report.line}: {each.report.title} ({_order(each, main)})" for each in others[:10]]
        parts.append("\n".join(text))
    return "\n\n".join(parts)


def _order(each: Explanation, main: Explanation | None) -> str:
    if main is not None and each.report.line < main.report.line:
        return "came before; a failed allocation alone does no harm" if each.report.kind in MILD else "came before"
    return "came later: it may be a consequence"


def _full(each: Explanation, places: Places) -> list[str]:
    lines = [each.report.title]
    for note in each.notes:
        cited = (
            f" [line{'s' if len(note.evidence) > 1 else ''} {', '.join(map(str, note.evidence))}]"
            if note.evidence
            else ""
        )
        wrapped = wrap(note.text + cited, WIDTH - LABEL - 2, break_long_words=False, break_on_hyphens=False)
        lines += [f"  {note.label if index == 0 else '':{LABEL}}{line}" for index, line in enumerate(wrapped)]
    frames = [frame for frame in each.report.trace() if frame_key(frame) in places]
    lines += [
        f"  {'source' if index == 0 else '':{LABEL}}{frame}: {places[frame_key(frame)]}"
        for index, frame in enumerate(frames)
    ]
    if each.verdict.rule:
        lines.append(f"  {'why':{LABEL}}kmem oops --explain {each.verdict.rule}")
    return lines


def oops_json(logs: Logs, places: Places) -> str:
    """One object: ``logs``, each with ``file``, ``main`` (index of the report it is about) and ``reports``."""
    rows = []
    for name, found in logs:
        main = main_of(found)
        rows.append(
            {
                "file": name,
                "main": next((i for i, each in enumerate(found) if each is main), None),
                "reports": [_object(each, places) for each in found],
            }
        )
    return json.dumps({"logs": rows}, indent=2, ensure_ascii=False)


def _object(each: Explanation, places: Places) -> dict[str, Any]:
    report = each.report
    return {
        "title": report.title,
        "kind": report.kind,
        "line": report.line,
        "function": report.function or None,
        "cause": each.verdict.cause,
        "causes": each.causes,
        "confidence": each.confidence,
        "rule": each.verdict.rule or None,
        "verdict": each.verdict.verdict,
        "evidence": list(each.verdict.evidence),
        "next": list(each.verdict.next),
        "not_to_blame": each.verdict.blameless or None,
        "contradictions": [doubt.text for doubt in each.doubts],
        "arch": report.arch or None,
        "release": report.release or None,
        "process": report.comm or None,
        "pid": report.pid,
        "cpu": report.cpu,
        "taint": report.taint or None,
        "address": None if report.address is None else f"{report.address:#x}",
        "access": report.access or None,
        "secondary": each.secondary,
        "registers": {name: f"{value:#x}" for name, value in report.regs.items()},
        "trace": [
            {
                "function": frame.name,
                "offset": frame.offset,
                "module": frame.module or None,
                "reliable": frame.reliable,
                "line": frame.line,
                "where": places.get(frame_key(frame)) or frame.where or None,
            }
            for frame in report.trace()
        ],
        "notes": [{"label": note.label, "text": note.text, "lines": list(note.evidence)} for note in each.notes],
    }


def dedup_text(logs: Logs) -> str:
    """One line for each title, the most frequent first, then in the order of the logs."""
    groups: dict[str, list[tuple[str, Explanation]]] = {}
    for name, found in logs:
        main = main_of(found)
        if main is not None:
            groups.setdefault(main.report.title, []).append((name, main))
    lines = []
    for title, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        files = ", ".join(name for name, _ in members[:4]) + (", …" if len(members) > 4 else "")
        lines.append(f"{len(members):5}  {title}  [{CAUSES[members[0][1].verdict.cause]}]  {files}")
    empty = [name for name, found in logs if not found]
    if empty:
        lines.append(f"{len(empty):5}  no report in the log  {', '.join(empty[:4])}")
    return "\n".join(lines)


def rule_text(number: str) -> str:
    """The background of rule *number*, or of every rule for ``all``. Raises UsageError for another word."""
    chosen = [rule for rule in RULES if number in ("all", str(rule.number))]
    if not chosen:
        known = ", ".join(map(str, sorted({rule.number for rule in RULES})))
        raise UsageError(f"there is no rule {number}", remedy=f"the rules are {known}; --explain all prints each")
    lines = []
    for rule in sorted(chosen, key=lambda rule: rule.number):
        lines += [f"rule {rule.number}: {rule.name}", *(f"  {line}" for line in wrap(rule.background, WIDTH - 2))]
    return "\n".join(lines)
