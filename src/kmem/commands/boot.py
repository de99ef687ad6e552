"""``kmem boot --proc NAME ...``: boot the simulated kernel and print or write files of its /proc."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from kmem.commands import options


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem boot``."""
    result = options.new_parser("boot", "Boot the simulated kernel and print files of its /proc.")
    options.add_machine(result)
    options.add_page_cache(result)
    result.add_argument(
        "--proc",
        nargs="+",
        action="extend",
        choices=options.PROC,
        metavar="NAME",
        help=f"print /proc/NAME: {', '.join(options.PROC)} (default: meminfo)",
    )
    tree = result.add_mutually_exclusive_group()
    options.add_proc_directory(tree)
    options.add_mount(tree, ", until Ctrl-C")
    return result


def main(words: list[str]) -> int:
    """Boot and print."""
    args = parser().parse_args(words)
    where = options.proc_directory(args.proc_dir)
    names = args.proc or ([] if where or args.mount else ["meminfo"])
    options.say_notes(args.cmdline, args.config)

    import kmem

    machine = {name: getattr(args, name) for name in ("release", "config", "ram", "cpus", "numa", "seed", "cmdline")}
    kernel = kmem.boot(**machine)
    kernel.fill_page_cache(args.page_cache)
    for name in names:
        if len(names) > 1:
            print(f"==> /proc/{name} <==")
        print(kernel.proc(name), end="")
    if where:
        kernel.write_proc(where)
        print(options.proc_written(args.proc_dir), file=sys.stderr)
    if args.mount:
        options.stay(partial(kernel.mount, args.mount))
    return 0
