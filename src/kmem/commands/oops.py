"""``kmem oops``: what a kernel's crash log says, who is the victim, what to try next."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kmem.commands import options
from kmem.errors import InputError

if TYPE_CHECKING:
    from kmem.oops.explain import Explanation

MAX_INPUT = 256 << 20
"""Bytes of a log that are read at most."""


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem oops``."""
    result = options.new_parser(
        "oops",
        "Explain the crashes, BUGs and warnings in kernel logs from their text alone. "
        "Exit status: 0 when no report is in the logs, 1 when one was explained, 2 when a file cannot be read.",
    )
    result.add_argument("files", nargs="*", metavar="FILE", help="a log, in any state; - for standard input")
    result.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    result.add_argument(
        "--dedup", action="store_true", help="one line for each different title, with its count and files"
    )
    result.add_argument(
        "--all", action="store_true", help="explain every report of a log, not the first and the titles of the rest"
    )
    result.add_argument(
        "--module", action="append", default=[], metavar="F", help="a .ko with DWARF: its frames get file:line"
    )
    result.add_argument("--reproduce", metavar="DIR", help="write a module that makes the same class of crash to DIR")
    result.add_argument(
        "--explain", metavar="RULE", help="print the background of a rule by its number, or of all rules"
    )
    return result


def main(words: list[str]) -> int:
    """Explain the logs that *words* name."""
    args = parser().parse_args(words)
    from kmem.report import oops as report

    if args.explain is not None:
        print(report.rule_text(args.explain))
        return 0
    if not args.files:
        parser().error("give a log FILE, or - for standard input")
    from kmem.oops.explain import explain, main_of

    explained = [(name, explain(read(name))) for name in args.files]
    if args.reproduce:
        return reproduce([main_of(found) for _, found in explained], Path(args.reproduce))
    places = {}
    if args.module:
        from kmem.oops.source import places_in

        places = places_in([Path(name) for name in args.module], [each for _, found in explained for each in found])
    if args.json:
        print(report.oops_json(explained, places))
    elif args.dedup:
        print(report.dedup_text(explained))
    else:
        print(report.oops_text(explained, places, every=args.all))
    return 1 if any(found for _, found in explained) else 0


def reproduce(found: list[Explanation | None], folder: Path) -> int:
    """Write the module for the first crash in *found* to *folder*, and say how to run it."""
    from kmem.oops.reproduce import write

    first = next((each for each in found if each is not None), None)
    if first is None:
        raise InputError("no report of a kernel is in this log", remedy="there is nothing to reproduce")
    path = write(first, folder)
    config = " --config debug" if first.verdict.cause in ("out_of_bounds", "sleep_in_atomic") else ""
    print(f"wrote {path}: {first.verdict.cause.replace('_', ' ')}, as in {first.report.title}")
    print(f"next: kmem run {folder}{config}")
    return 1


def read(name: str) -> str:
    """The text of the log *name*. Raises InputError when it cannot be read."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_INPUT)
        else:
            with open(name, "rb") as file:
                data = file.read(MAX_INPUT)
    except OSError as error:
        raise InputError(
            f"cannot read {name}: {error.strerror}", remedy="give the path of a log, or - and paste it"
        ) from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8", "replace")
