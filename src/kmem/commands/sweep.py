"""``kmem sweep FILE… --set NAME=VALUE,VALUE``: replay traces under every configuration, and compare."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from kmem.commands import options
from kmem.commands.replay import add_setting
from kmem.errors import UsageError


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem sweep``."""
    result = options.new_parser("sweep", "Replay traces under every combination of settings; the cheapest first.")
    result.add_argument("files", nargs="+", metavar="FILE", help="traces, as for kmem replay")
    add_setting(result, "values to try, as slub_max_order=0,1,2,3; may be repeated")
    result.add_argument("--release", choices=options.releases(), default="", help="kernel to model")
    result.add_argument("--jobs", type=options.count, default=0, metavar="N", help="processes (default: one a CPU)")
    result.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return result


def main(words: list[str]) -> int:
    """Try all, print the table."""
    args = parser().parse_args(words)
    if not args.set:
        raise UsageError("there is nothing to vary", remedy="Add --set slub_max_order=0,1,2,3.")
    from kmem.trace.open import open_trace
    from kmem.trace.sweep import sweep

    for file in args.files:
        open_trace(Path(file))
    found = sweep(args.files, args.set, args.release, progress, args.jobs)
    if args.json:
        print(json.dumps({"outcomes": [outcome.json() for outcome in found]}, indent=1))
        return 0
    from kmem.report.table import table

    head = ("trace", "settings", "slab pages", "at most", "waste", "unusable for order 3", "failures")
    rows = [
        (
            Path(o.file).name,
            " ".join(f"{name}={value}" for name, value in o.settings),
            o.pages,
            o.peak_pages,
            f"{o.waste:.2%}",
            f"{o.unusable:.4f}",
            o.failures,
        )
        for o in found
    ]
    print("\n".join(table(head, rows)))
    print(f"\nnext: kmem replay {args.files[0]} --set " + " --set ".join(f"{n}={v}" for n, v in found[0].settings))
    return 0


def progress(done: int, total: int) -> None:
    """A bar on a terminal."""
    if sys.stderr.isatty():
        width = 40 * done // total if total else 40
        end = "\n" if done == total else ""
        print(f"\r[{'#' * width}{'.' * (40 - width)}] {done}/{total} replays", end=end, file=sys.stderr, flush=True)
