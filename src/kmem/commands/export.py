"""``kmem export FILE --perfetto``: a trace in the format of another program."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from kmem.commands import options
from kmem.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem export``."""
    result = options.new_parser("export", "Write a trace in the format of another program.")
    result.add_argument("file", metavar="FILE", help="a trace: .kmem, text, Parquet, or a directory of raw pages")
    form = result.add_mutually_exclusive_group(required=True)
    form.add_argument("--perfetto", action="store_true", help="Perfetto's protobuf, for https://ui.perfetto.dev")
    result.add_argument("-o", "--output", metavar="OUT", default="", help="the file (default: FILE.pftrace)")
    options.add_span(result, "write")
    result.add_argument(
        "--slices",
        type=options.count,
        default=500_000,
        metavar="N",
        help="if there are more than N allocations, every second, third … is a slice; all count (default: 500000)",
    )
    result.add_argument(
        "--points", type=options.count, default=2000, metavar="N", help="tell counters so often (default: 2000)"
    )
    result.add_argument(
        "--replay", action="store_true", help="also replay it in the model: free blocks and slabs over time"
    )
    return result


def main(words: list[str]) -> int:
    """Read and write."""
    args = parser().parse_args(words)
    options.check_span(args)
    from kmem.report import perfetto
    from kmem.trace.open import open_trace

    source = Path(args.file)
    output = Path(args.output or f"{source.resolve().name}.pftrace")
    recording = open_trace(source)
    part = output.with_name(f"{output.name}.part")
    try:
        with open(part, "wb") as file:
            wanted = perfetto.Wanted(args.begin, args.end, args.slices, args.points, args.replay)
            written = perfetto.export(recording, wanted, file)
        os.replace(part, output)
    except OSError as error:
        raise InputError(f"{output}: {error.strerror}", remedy="Give a file that can be written.") from None
    finally:
        part.unlink(missing_ok=True)
    print("\n".join(perfetto.told(recording.info, written)))
    print(f"{output} is a Perfetto trace: open it at https://ui.perfetto.dev, which reads it in the browser")
    print(f"\nnext: kmem report {args.file}   (a page that needs no network)", file=sys.stderr)
    return 0
