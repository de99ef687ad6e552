"""What ``kmem compare`` prints for a person: three small tables for each size, since no terminal can show one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from kmem.report.table import Ink, size, table

TABLES: Mapping[str, Sequence[tuple[str, str]]] = {
    "what you get": (
        ("address", "address"),
        ("region", "region"),
        ("asked", "asked"),
        ("given", "given"),
        ("from", "source"),
        ("pages", "pages"),
        ("contiguous runs", "runs"),
        ("content", "content"),
    ),
    "the rules": (
        ("may sleep", "may_sleep"),
        ("allowed here", "allowed"),
        ("largest", "largest"),
        ("free with", "free"),
    ),
    "the work it took": (
        ("path", "path"),
        ("pages from buddy", "buddy_pages"),
        ("when written to", "touched_pages"),
        ("of them tables", "table_pages"),
        ("page faults", "faults"),
        ("bytes zeroed", "bytes_zeroed"),
        ("page table entries", "pte_writes"),
        ("TLB flushes", "tlb_flushes"),
    ),
}
"""Each table's title, and its columns as heading and name of the value in a row."""


def comparison_text(rows: Sequence[Mapping[str, Any]], context: str, machine: str, ink: Ink) -> str:
    """Return the tables for all sizes, then the command that tells more."""
    parts = [f"{machine}, called in {context} context"]
    for asked, of_size in groupby(rows, key=lambda row: int(row["asked"])):
        group = list(of_size)
        short = size(asked)
        parts.append(ink("bold", f"{asked} bytes" if short == str(asked) else f"{short} ({asked} bytes)"))
        for title, columns in TABLES.items():
            lines = table(
                (title, *(heading for heading, _ in columns)),
                [(row["call"], *(_cell(row, name) for _, name in columns)) for row in group],
            )
            parts.append("\n".join([ink("bold", lines[0]), *lines[1:]]))
    parts.append(
        "next: kmem compare --config plain --context spinlock   (nothing zeroed unasked; calls that may not sleep)"
    )
    return "\n\n".join(parts)


def _cell(row: Mapping[str, Any], name: str) -> object:
    """Return one value as it is shown."""
    value = row[name]
    if name == "largest":
        return None if value is None else size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value
