"""What a replay found, as text, JSON and folded stacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kmem.report.table import Ink, plural, table
from kmem.trace.result import CacheResult, Result, WhoResult, accuracy, misfits, suspects, unusable
from kmem.trace.schema import Info, site_name

ROWS = 15
SAMPLES = 8
LIVES = (
    *((11, "1 us"), (14, "8 us"), (17, "65 us"), (20, "0.5 ms"), (24, "8 ms"), (27, "67 ms"), (30, "0.5 s")),
    (64, "longer"),
)
"""Powers of two of nanoseconds, and what they are called."""


@dataclass(frozen=True)
class Shown:
    """What of a replay is shown: caches and call sites whose names have these words in them, so many rows."""

    cache: str = ""
    site: str = ""
    rows: int = ROWS


def kib(count: int) -> str:
    """Bytes for a person."""
    return f"{count / 1024:,.0f} KiB" if abs(count) >= 10240 else f"{count:,} B"


def span(ns: float) -> str:
    """A time for a person."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns" if ns else ""


def headline(info: Info) -> list[str]:
    """How many events there are, and what is missing: that first."""
    lines = [f"{info.source}: {info.events:,} events on {plural(info.cpus, 'CPU')}"]
    missing = [
        f"{count:,} {what}"
        for count, what in (
            (info.lost, "events lost by the ring buffer"),
            (info.unparsed, "lines or pages that could not be read"),
            (info.torn, "bytes torn off at the end"),
        )
        if count
    ]
    lines.append(f"MISSING: {', '.join(missing)}" if missing else "nothing lost, nothing unread")
    if info.skipped:
        lines.append(f"{info.skipped:,} events of other kinds skipped")
    return lines


def replay_text(result: Result, shown: Shown, ink: Ink) -> str:
    """The report for a person."""
    info = result.info
    lines = [*headline(info)]
    seconds = (result.end - result.begin) / 1e9
    lines.append(
        f"replayed on {result.release} with {plural(result.cpus, 'CPU')} and {result.ram >> 20:,} MiB: {seconds:.3f} s"
    )
    for title, part in (
        ("the model against the kernel", _accuracy(result)),
        ("caches", _caches(result, shown)),
        ("call sites", _who(result.sites, info, shown, site=True)),
        ("tasks", [] if shown.site or shown.cache else _who(result.tasks, info, shown, site=False)),
        ("free memory", _fragmentation(result)),
        ("lifetimes", _lifetimes(result)),
        ("may leak: live at the end and growing all the time", _suspects(result, shown)),
        ("cheaper in a cache of their own", _misfits(result, shown)),
        ("what is not known", _unknown(result)),
    ):
        if part:
            lines += ["", ink("bold", title), *(f"  {line}" for line in part)]
    return "\n".join(lines)


def _pages(free: Sequence[int]) -> int:
    """Pages of free blocks by order."""
    return sum(count << order for order, count in enumerate(free))


def _changes(blocks: Sequence[int]) -> str:
    """Changes by order."""
    return " ".join(f"{count:+}" for count in blocks)


def _accuracy(result: Result) -> list[str]:
    found = accuracy(result)
    if found is None:
        return ["the recording does not have the kernel's own slabinfo at the end: nothing to compare with"]
    lines = [
        f"slabs gained and lost: {found.change:,}; the model is off by {found.error:,} ({found.share:.1%})",
        f"{found.close} of {found.caches} caches within 2 slabs or 10 %",
    ]
    if found.worst:
        lines.append("furthest off: " + ", ".join(f"{name} by {error}" for name, error in found.worst))
    if found.untold:
        lines.append(f"{found.untold:,} slabs came or went without an event of their pages: nothing tells of them")
    if found.told:
        lines.append(
            f"by events of their pages: {found.told:,}; the model is off by {found.told_error:,} "
            f"({found.told_error / found.told:.1%})"
        )
    for zone, real in result.real_free_after.items():
        if zone in result.free_after and zone in result.real_free_before:
            before, after = (
                sum(n << o for o, n in enumerate(x[zone])) for x in (result.free_before, result.free_after)
            )
            was, now = (sum(n << o for o, n in enumerate(x)) for x in (result.real_free_before[zone], real))
            lines.append(f"free pages of zone {zone}: the kernel {now - was:+,}, the model {after - before:+,}")
            theirs, ours = (
                [b - a for a, b in zip(*x, strict=False)]
                for x in (
                    (result.real_free_before[zone], real),
                    (result.free_before[zone], result.free_after[zone]),
                )
            )
            off = sum(abs(a - b) << o for o, (a, b) in enumerate(zip(theirs, ours, strict=False)))
            lines.append(
                f"  blocks by order: the kernel {_changes(theirs)}, the model {_changes(ours)}: off by {off:,} pages"
            )
    return lines


def _caches(result: Result, shown: Shown) -> list[str]:
    kept = [c for c in result.caches if shown.cache in c.name and (c.slabs or c.allocs)]
    kept.sort(key=lambda c: (-c.pages, c.name))
    head = (
        *("cache", "size", "pages", "slabs", "before", "kernel", "live", "allocs", "frees", "inferred", "cross-CPU"),
        "requested of allocated",
    )
    rows = [
        (
            c.name,
            c.size,
            c.pages,
            c.slabs,
            c.slabs_before,
            c.real_after if c.real_after >= 0 else None,
            c.live,
            c.allocs,
            c.frees,
            c.inferred,
            c.cross_cpu,
            f"{c.asked / (c.allocs * c.size):.0%}" if c.allocs else None,
        )
        for c in kept[: shown.rows]
    ]
    total = sum(c.pages for c in kept)
    live = sum(c.live * c.size for c in kept)
    return [
        *table(head, rows),
        f"{plural(len(kept), 'cache')}: {kib(total * 4096)} in slabs, {kib(live)} of it in live objects",
    ]


def _who(rows: Sequence[WhoResult], info: Info, shown: Shown, *, site: bool) -> list[str]:
    name = _site_namer(info) if site else lambda key: _task(info, key)
    kept = [
        row
        for number, row in enumerate(rows)
        if row.allocs and number and shown.cache in row.cache and (not site or shown.site in name(row.key))
    ]
    kept.sort(key=lambda row: (-row.bytes, -row.total, row.key))
    head = ("site" if site else "task", "cache", "live", "live bytes", "peak", "allocs", "frees", "cross-CPU", "asked")
    return table(
        (*head, "mean life"),
        [
            (
                name(row.key),
                row.cache if site else None,
                row.live,
                kib(row.bytes),
                kib(row.peak),
                row.allocs,
                row.frees,
                row.cross_cpu,
                f"{row.asked / row.total:.0%}" if row.total else None,
                span(row.lifetime),
            )
            for row in kept[: shown.rows]
        ],
    )


def _site_namer(info: Info) -> Callable[[int], str]:
    return lambda key: site_name(info, key)


def _task(info: Info, pid: int) -> str:
    return f"{info.tasks[pid]}-{pid}" if pid in info.tasks else f"pid {pid}"


def _fragmentation(result: Result) -> list[str]:
    samples = result.samples
    if not samples:
        return []
    step = max(len(samples) // SAMPLES, 1)
    rows = [
        (
            f"{(s.time - result.begin) / 1e9:.3f}",
            s.slab_pages,
            sum(n << o for o, n in enumerate(s.free)),
            *(f"{unusable(s.free, order):.4f}" for order in (1, 3, 9)),
            " ".join(map(str, s.free)),
        )
        for s in samples[::step]
    ]
    head = ("second", "slab pages", "free pages", "unusable for order 1", "3", "9", "free blocks by order")
    return table(head, rows)


def _lifetimes(result: Result) -> list[str]:
    total = sum(result.lifetimes)
    if not total:
        return []
    rows, seen = [], 0
    for decade, (low, high) in enumerate(
        ((0, 11), (11, 14), (14, 17), (17, 20), (20, 24), (24, 27), (27, 30), (30, 64))
    ):
        count = sum(result.lifetimes[low:high])
        seen += count
        name = ("1 us", "8 us", "65 us", "0.5 ms", "8 ms", "67 ms", "0.5 s", "ever")[decade]
        rows.append((f"up to {name}" if high < 64 else name, count, f"{seen / total:.1%}"))
    return table(("life", "objects", "so far"), rows)


def _suspects(result: Result, shown: Shown) -> list[str]:
    rows = [
        (site_name(result.info, s.key), s.cache, s.live, *(kib(n) for n in (*s.quarters, s.bytes)))
        for s in suspects(result)
        if shown.cache in s.cache and shown.site in site_name(result.info, s.key)
    ]
    return table(("site", "cache", "live", "1/4", "2/4", "3/4", "end"), rows[: shown.rows]) if rows else []


def _misfits(result: Result, shown: Shown) -> list[str]:
    rows = [
        (site_name(result.info, s.key), s.cache, f"{s.asked / s.allocs:.0f}", s.allocs, kib(saved))
        for s, saved in misfits(result)
        if shown.cache in s.cache and shown.site in site_name(result.info, s.key)
    ]
    return table(("site", "cache", "mean bytes", "allocs", "wasted at the peak"), rows[: shown.rows]) if rows else []


def _unknown(result: Result) -> list[str]:
    counts = result.counts
    lines = [
        f"{counts[name]:,} {what}"
        for name, what in (
            ("inferred_by_reuse", "frees without an event, known because the address was handed out again"),
            ("inferred_by_page", "frees without an event, known because the slab's pages were freed"),
            (
                "inferred_by_silence",
                "frees taken to be: of call sites that free without events, older than their others got",
            ),
            ("unknown_frees", "frees of objects whose allocation is not in the trace"),
            ("unknown_caches", "allocations of a cache that no event names"),
            ("unknown_pages", "pages freed that were allocated before the trace"),
            ("repeated_pages", "pages allocated again without a free in between"),
            ("page_failures", "page allocations that the model could not serve"),
        )
        if counts.get(name)
    ]
    if result.sheaves:
        lines.append(f"the kernel keeps sheaves of objects, which the model does not have: {', '.join(result.sheaves)}")
    if result.info.hashed:
        lines.append("pointers are hashed: slabs cannot be told from addresses")
    lines.append("objects freed without an event and not handed out again count as live")
    lines.append("pages that were in use before the trace are not in the model: compare changes of free memory only")
    return lines


def replay_json(result: Result, shown: Shown) -> str:
    """The report for a program."""
    info = result.info
    found = accuracy(result)
    value: dict[str, Any] = {
        "source": info.source,
        "events": info.events,
        "lost": info.lost,
        "unparsed": info.unparsed,
        "skipped": info.skipped,
        "torn": info.torn,
        "release": result.release,
        "cpus": result.cpus,
        "ram": result.ram,
        "begin": result.begin,
        "end": result.end,
        "accuracy": {**asdict(found), "share": found.share} if found else None,
        "counts": result.counts,
        "caches": [asdict(c) | {"pages": c.pages} for c in _chosen(result.caches, shown)],
        "sites": [
            asdict(s) | {"name": site_name(info, s.key)}
            for s in result.sites[1:]
            if shown.cache in s.cache and shown.site in site_name(info, s.key)
        ],
        "tasks": [asdict(t) | {"name": _task(info, t.key)} for t in result.tasks[1:]],
        "samples": [asdict(s) | {"unusable": [unusable(s.free, o) for o in range(11)]} for s in result.samples],
        "lifetimes_log2_ns": result.lifetimes,
        "suspects": [site_name(info, s.key) for s in suspects(result)],
        "misfits": [{"site": site_name(info, s.key), "wasted": saved} for s, saved in misfits(result)],
        "free": {"before": result.free_before, "after": result.free_after},
        "kernel_free": {"before": result.real_free_before, "after": result.real_free_after},
    }
    return json.dumps(value, indent=1)


def _chosen(caches: Sequence[CacheResult], shown: Shown) -> list[CacheResult]:
    return [c for c in caches if shown.cache in c.name]


def folded(result: Result, shown: Shown) -> str:
    """Live bytes as folded stacks (``cache;site bytes``), for flame graphs."""
    info = result.info
    return "\n".join(
        f"{s.cache or 'unknown'};{site_name(info, s.key)} {s.bytes}"
        for s in sorted(result.sites[1:], key=lambda s: (s.cache, s.key))
        if s.bytes > 0 and shown.cache in s.cache and shown.site in site_name(info, s.key)
    )
