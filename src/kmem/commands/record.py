"""``kmem record [-o FILE] [-- COMMAND]``: record the memory events of the running kernel."""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path

from kmem.commands import options


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem record``."""
    result = options.new_parser(
        "record", "Record the memory events of the running kernel, as root, in a tracefs instance of its own."
    )
    result.add_argument("-o", "--output", default="trace.kmem", metavar="FILE", help="where to (default: trace.kmem)")
    result.add_argument(
        "--for",
        dest="length",
        type=options.seconds,
        default=0,
        metavar="S",
        help="stop after S seconds (default: at Ctrl-C)",
    )
    result.add_argument("command", nargs="*", metavar="COMMAND", help="record while this runs; put -- before it")
    return result


def main(words: list[str]) -> int:
    """Record, then say what there is."""
    args = parser().parse_args(words)
    from kmem.trace.record import record

    begun, interrupted = time.monotonic_ns(), []
    before = signal.signal(signal.SIGINT, lambda number, frame: interrupted.append(number))
    try:
        info, count, status = record(
            Path(args.output),
            args.command,
            lambda: bool(interrupted) or 0 < args.length < time.monotonic_ns() - begun,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    lost = f"LOST {info.lost:,} EVENTS" if info.lost else "nothing lost"
    print(f"{args.output}: {count:,} events of {info.cpus} CPUs, {lost}")
    if status:
        print(f"the command ended with status {status}")
    print(f"next: kmem replay {args.output}")
    return 0
