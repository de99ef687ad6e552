"""Sums of a trace, as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kmem.report.replay import headline
from kmem.report.table import Ink, table
from kmem.trace.schema import site_name
from kmem.trace.stat import Stat, Who


@dataclass(frozen=True)
class Shown:
    """Which tables, what they are sorted by, and how many rows of each."""

    callers: bool = True
    pointers: bool = False
    rows: int = 15
    sort: str = "frag"


def stat_text(found: Stat, shown: Shown, ink: Ink) -> str:
    """The report for a person."""
    lines = headline(found.info)
    lines[0] += f", {(found.end - found.begin) / 1e9:.3f} s"
    for title, part in (
        ("call sites", _rows(found.by_caller(shown.rows, shown.sort), "site", _namer(found)) if shown.callers else []),
        ("pointers", _rows(found.by_pointer(shown.rows, shown.sort), "pointer", hex) if shown.pointers else []),
        ("objects", _objects(found)),
        ("pages", _pages(found)),
    ):
        if part:
            lines += ["", ink("bold", title), *(f"  {line}" for line in part)]
    return "\n".join(lines)


def _namer(found: Stat) -> Callable[[int], str]:
    return lambda key: site_name(found.info, key)


def _rows(rows: Sequence[Who], what: str, name: Callable[[int], str]) -> list[str]:
    """The table of perf: how much in all and each time."""
    return table(
        (what, "allocated", "each", "requested", "each", "hits", "ping-pong", "wasted"),
        [
            (
                *(name(row.key), row.allocated, row.allocated // row.hits, row.requested, row.requested // row.hits),
                *(row.hits, row.pingpong, f"{row.wasted:.3f}%"),
            )
            for row in rows
        ],
    )


def _objects(found: Stat) -> list[str]:
    wasted = found.allocated - found.requested
    share = wasted / found.allocated if found.allocated else 0
    other = "not known" if found.other_node is None else f"{found.other_node:,}"
    return [
        f"requested {found.requested:,} bytes in {found.allocs:,} allocations, allocated {found.allocated:,}",
        f"wasted inside of objects: {wasted:,} bytes ({share:.6%})",
        f"freed {found.freed:,} bytes, left {found.allocated - found.freed:,}",
        f"{found.frees:,} frees, {found.unknown_frees:,} of them of what was not seen being allocated",
        f"allocations from another node: {other}",
    ]


def _pages(found: Stat) -> list[str]:
    pages = found.pages
    if not pages.allocs and not pages.frees:
        return []
    rows = (
        ("allocated", pages.allocs, pages.alloc_bytes // 1024),
        ("freed", pages.frees, pages.free_bytes // 1024),
        ("of these not seen being allocated", pages.unknown, pages.unknown_bytes // 1024),
        ("failed", pages.failed, pages.failed_bytes // 1024),
    )
    orders = ", ".join(f"{order}: {count:,}" for order, count in enumerate(pages.orders) if count)
    return [*table(("", "blocks", "KiB"), rows), f"allocated by order: {orders or 'none'}"]


def stat_json(found: Stat, shown: Shown) -> str:
    """The report for a program, with all rows."""
    info = found.info
    value: dict[str, Any] = {
        **{name: getattr(info, name) for name in ("source", "events", "lost", "unparsed", "skipped", "torn")},
        **{name: getattr(found, name) for name in ("begin", "end", "requested", "allocated", "freed")},
        **{name: getattr(found, name) for name in ("allocs", "frees", "unknown_frees", "other_node")},
        "pages": asdict(found.pages) | {"orders": found.pages.orders[:11]},
    }
    if shown.callers:
        value["callers"] = [asdict(row) | {"name": site_name(info, row.key)} for row in found.by_caller(0, shown.sort)]
    if shown.pointers:
        value["pointers"] = [asdict(row) for row in found.by_pointer(0, shown.sort)]
    return json.dumps(value, sort_keys=True)
