"""``kmem boot --proc NAME ...``: boot the simulated kernel and print files of its /proc."""

from __future__ import annotations

import argparse

from kmem.commands import options


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem boot``."""
    result = options.new_parser("boot", "Boot the simulated kernel and print files of its /proc.")
    options.add_machine(result)
    result.add_argument(
        "--proc",
        nargs="+",
        action="extend",
        choices=options.PROC,
        metavar="NAME",
        help=f"print /proc/NAME: {', '.join(options.PROC)} (default: meminfo)",
    )
    return result


def main(words: list[str]) -> int:
    """Boot and print."""
    args = parser().parse_args(words)
    names = args.proc or ["meminfo"]

    import kmem

    kernel = kmem.boot(release=args.release, config=args.config, ram=args.ram, cpus=args.cpus, seed=args.seed)
    for name in names:
        if len(names) > 1:
            print(f"==> /proc/{name} <==")
        print(kernel.proc(name), end="")
    return 0
