"""``kmem compare``: what kmalloc, vmalloc and the others really do, side by side."""

from __future__ import annotations

import argparse
import sys

from kmem.commands import options


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem compare``."""
    result = options.new_parser(
        "compare", "Call each allocation function on a booted simulated kernel and show side by side what it did."
    )
    result.add_argument(
        "--size",
        action="append",
        type=options.size,
        metavar="SIZE",
        help="bytes to ask for; may be repeated (default: 1K and 64K)",
    )
    result.add_argument(
        "--context",
        choices=options.CONTEXTS,
        default="process",
        help="where the calls are made from (default: process)",
    )
    options.add_machine(result)
    result.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return result


def main(words: list[str]) -> int:
    """Make the experiments and print their rows."""
    args = parser().parse_args(words)
    machine = {name: getattr(args, name) for name in ("release", "config", "ram", "cpus", "numa", "seed", "cmdline")}
    options.say_notes(args.cmdline, args.config)

    from dataclasses import asdict

    from kmem.compare import compare

    rows = [asdict(row) for row in compare(args.size or [1 << 10, 64 << 10], args.context, **machine)]
    if args.json:
        from kmem.report.json import rows_json

        print(rows_json(rows, context=args.context, **machine))
        return 0

    from kmem.report.comparison import comparison_text
    from kmem.report.table import ink_for
    from kmem.report.text import machine_line

    described = machine_line(args.release, args.config, args.ram, args.cpus, args.numa)
    print(comparison_text(rows, args.context, described, ink_for(sys.stdout)))
    return 0
