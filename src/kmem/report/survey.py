"""What ``kmem survey`` prints: how many modules got how far, what stopped the others, and the rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kmem.report.table import Ink, plural, table

STATUSES = {
    "ok": "init returned 0, exit ran, nothing was found",
    "error": "init returned an error",
    "findings": "something was found",
    "unsupported": "called a function that kmem does not have",
    "refused": "does not load",
    "internal": "kmem failed",
}
_STYLES = {"findings": "yellow", "unsupported": "yellow", "internal": "red"}
SHOWN = 40
"""Symbols that the text lists; the JSON has all."""

Row = Mapping[str, Any]


def survey_json(rows: Sequence[Row], compared: Mapping[str, Any] | None, **facts: object) -> str:
    """The object of ``kmem survey --json``."""
    document = {
        **facts,
        "counts": counts(rows),
        "stopped_by": [{"symbol": symbol, "modules": number} for symbol, number in stoppers(rows)],
        "unknown": [{"symbol": symbol, "modules": number} for symbol, number in unknown(rows)],
        "modules": list(rows),
    }
    if compared is not None:
        document["agreement"] = dict(compared)
    return json.dumps(document, indent=2, ensure_ascii=False)


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many modules there are, and of each status."""
    found = Counter(row["status"] for row in rows)
    return {"modules": len(rows), "load": sum(row["loads"] for row in rows)} | {name: found[name] for name in STATUSES}


def stoppers(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """The functions that stopped a module, with how many; most first."""
    return _ranked(Counter(row["stopped_by"] for row in rows if row["stopped_by"]))


def unknown(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """The functions that modules link to and kmem does not have, with how many; most first."""
    return _ranked(Counter(symbol for row in rows for symbol in row["unknown"]))


def _ranked(found: Counter[str]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def survey_text(rows: Sequence[Row], compared: Mapping[str, Any] | None, ink: Ink, *, everything: bool = False) -> str:
    """The report for a person; the rows that are well only if *everything* is asked for."""
    number = counts(rows)
    lines = [ink("bold", f"{plural(number['modules'], 'module')}, {number['load']} load")]
    lines += [
        f"  {ink(_STYLES.get(name, 'dim'), f'{number[name]:5} {name:11}')}  {text}"
        for name, text in STATUSES.items()
        if number[name]
    ]
    shown = [row for row in rows if everything or row["status"] not in ("ok", "error")]
    if shown:
        head = ("module", "status", "init", "exit", "stopped by, or found")
        lines += ["", *table(head, [_cells(row) for row in shown])]
    for title, ranked in (
        ("functions that stopped modules", stoppers(rows)),
        ("functions that modules link to and kmem does not have", unknown(rows)),
    ):
        if ranked:
            lines += ["", ink("bold", f"{title}: {len(ranked)}")]
            lines += [f"  {count:5}  {symbol}" for symbol, count in ranked[:SHOWN]]
            if len(ranked) > SHOWN:
                lines.append(f"         ... and {len(ranked) - SHOWN} more (--json has all)")
    if compared is not None:
        lines += ["", *_agreement(compared, ink)]
    lines += ["", "next: kmem run MODULE.ko says more about one; docs/adding-an-export.md adds a function"]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[object, ...]:
    from kmem.kapi.errno import errname

    init = row["init"]
    text = "" if init is None else str(init) if init >= 0 else errname(init) or str(init)
    if row["stopped_by"]:
        why = f"{row['stopped_by']} at {row['stopped_in']}"
    else:
        more = len(row["findings"]) - 1
        why = (row["findings"] or row["message"].splitlines() or [""])[0] + (f" (+{more})" if more > 0 else "")
    return row["module"], row["status"], text, row["exit"], why


def _agreement(compared: Mapping[str, Any], ink: Ink) -> list[str]:
    total, agree = compared["compared"], compared["agree"]
    if not total:
        return ["none of these modules is in the file of --expect"]
    lines = [ink("bold", f"as the real kernel: {agree} of {total} ({100 * agree / total:.1f} %)")]
    if compared["errors"]:
        share = 100 * compared["errors_agree"] / compared["errors"]
        lines.append(f"  of its own errors: {compared['errors_agree']} of {compared['errors']} ({share:.0f} %)")
    head = ("module", "real", "kmem", "cause")
    return lines + table(head, [(d["module"], str(d["real"]), str(d["kmem"]), d["cause"]) for d in compared["differ"]])
