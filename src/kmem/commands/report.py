"""``kmem report FILE -o PAGE.html``: a trace as a page to look at."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kmem.commands import options
from kmem.commands.run import write


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem report``."""
    result = options.new_parser("report", "Draw a trace: memory over time and in space, on one page for a browser.")
    result.add_argument("file", metavar="FILE", help="a trace: .kmem, text, Parquet, or a directory of raw pages")
    result.add_argument("-o", "--output", metavar="PAGE.html", default="", help="the page (default: FILE.html)")
    result.add_argument(
        "--release", choices=options.releases(), default="", help="kernel to model (default: the nearest)"
    )
    return result


def main(words: list[str]) -> int:
    """Replay and draw."""
    args = parser().parse_args(words)
    from kmem.report.trace_page import trace_page
    from kmem.trace.open import open_trace
    from kmem.trace.replay import Options

    file = Path(args.file)
    output = args.output or f"{file.name}.html"
    write(output, trace_page(open_trace(file), Options(release=args.release), file.resolve().name))
    print(f"{output} is a page of {args.file}: open it in a browser")
    print(f"\nnext: kmem replay {args.file}   (the same as tables)", file=sys.stderr)
    return 0
