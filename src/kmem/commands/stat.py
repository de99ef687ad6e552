"""``kmem stat FILE``: what ``perf kmem stat`` tells, of any trace."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kmem.commands import options

SORTS = ("frag", "hit", "bytes", "pingpong")
"""Words of perf."""


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem stat``."""
    result = options.new_parser(
        "stat",
        "Add up a trace by call site, as perf kmem stat does: no model, nothing inferred, at the speed of reading.",
    )
    result.add_argument("file", metavar="FILE", help="a trace: .kmem, text, Parquet, or a directory of raw pages")
    result.add_argument("--caller", action="store_true", help="call sites (the default, unless --alloc is given)")
    result.add_argument("--alloc", action="store_true", help="pointers, each with all that was allocated there")
    options.add_span(result, "count")
    result.add_argument("--rows", type=options.count, default=15, metavar="N", help="rows of each table (default: 15)")
    result.add_argument("--sort", choices=SORTS, default="frag", help="the most of this first (default: frag, waste)")
    result.add_argument("--json", action="store_true", help="print one JSON object instead of text, with all rows")
    return result


def main(words: list[str]) -> int:
    """Read and report."""
    args = parser().parse_args(words)
    options.check_span(args)
    from kmem.report import stat as report
    from kmem.report.table import ink_for
    from kmem.trace.open import open_trace
    from kmem.trace.stat import stat

    found = stat(open_trace(Path(args.file)), args.begin, args.end)
    shown = report.Shown(args.caller or not args.alloc, args.alloc, args.rows, args.sort)
    print(report.stat_json(found, shown) if args.json else report.stat_text(found, shown, ink_for(sys.stdout)))
    if not args.json:
        print(f"\nnext: kmem replay {args.file}")
    return 0
