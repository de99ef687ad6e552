"""``kmem sweep FILE… --set NAME=VALUE,VALUE``: replay traces under every configuration, and compare."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kmem.commands import options
from kmem.commands.replay import add_setting
from kmem.errors import UsageError

if TYPE_CHECKING:
    from kmem.trace.sweep import Outcome


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem sweep``."""
    result = options.new_parser("sweep", "Replay traces under every combination of settings; the cheapest first.")
    result.add_argument("files", nargs="+", metavar="FILE", help="traces, as for kmem replay, or addresses for fsspec")
    add_setting(result, "values to try, as slub_max_order=0,1,2,3; may be repeated")
    result.add_argument("--release", choices=options.releases(), default="", help="kernel to model")
    result.add_argument("--jobs", type=options.count, default=0, metavar="N", help="processes (default: one a CPU)")
    result.add_argument(
        "-o", "--output", metavar="FILE.parquet", help="keep outcomes there; what it has already is not done again"
    )
    result.add_argument("--dask", metavar="tcp://HOST:PORT", help="replay on the Dask cluster of this scheduler")
    result.add_argument("--plot", metavar="FILE", help="also draw the outcomes: FILE.svg, .pdf or .png")
    result.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return result


def main(words: list[str]) -> int:
    """Try all, print the table."""
    args = parser().parse_args(words)
    if not args.set:
        raise UsageError("there is nothing to vary", remedy="Add --set slub_max_order=0,1,2,3.")
    drawing = None
    if args.plot:
        from kmem.report import plot

        drawing = plot.ready(args.plot)
    from kmem.trace import outcomes
    from kmem.trace import sweep as s
    from kmem.trace.open import open_trace

    kept = Path(args.output) if args.output else None
    done = outcomes.load(kept) if kept else []
    if not args.dask:
        for file in args.files:
            if "://" not in file:
                open_trace(Path(file))
    work = [(file, chosen, args.release) for file in args.files for chosen in s.combinations(args.set)]
    run = partial(s.run_on_cluster, scheduler=args.dask) if args.dask else partial(s.run_here, jobs=args.jobs)

    def finished(found: list[Outcome]) -> None:
        progress(len(found), len(work))
        if kept:
            outcomes.save([*found, *(o for o in done if o.work not in {f.work for f in found})], kept)

    found = s.sweep(work, done, run, finished)
    if drawing:
        plot.sweep_plot(found, drawing)
    if args.json:
        print(json.dumps({"outcomes": [outcome.json() for outcome in found]}, indent=1))
        return 0
    print("\n".join(_table(found)))
    print(f"\nnext: kmem replay {found[0].file} --set " + " --set ".join(f"{n}={v}" for n, v in found[0].settings))
    return 0


def _table(found: list[Outcome]) -> list[str]:
    from kmem.report.table import table

    head = ("trace", "settings", "slab pages", "at most", "waste", "made", "freed", "unusable for order 3", "failures")
    rows = [
        (
            Path(o.file).name,
            " ".join(f"{name}={value}" for name, value in o.settings),
            o.pages,
            o.peak_pages,
            f"{o.waste:.2%}",
            o.slabs_made,
            o.slabs_freed,
            f"{o.unusable:.4f}",
            o.failures,
        )
        for o in found
    ]
    return table(head, rows)


def progress(done: int, total: int) -> None:
    """A bar on a terminal."""
    if sys.stderr.isatty():
        width = 40 * done // total if total else 40
        end = "\n" if done == total else ""
        print(f"\r[{'#' * width}{'.' * (40 - width)}] {done}/{total} replays", end=end, file=sys.stderr, flush=True)
