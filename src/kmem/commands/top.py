"""``kmem top [FILE]``: where memory is, live: of this machine's /proc/slabinfo, of a trace, of a module's run."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kmem.commands import options
from kmem.errors import InputError, UsageError

if TYPE_CHECKING:
    from kmem.report.top_sources import Source

MODULES = (".ko", ".c", ".xz", ".gz", ".zst")


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem top``."""
    result = options.new_parser("top", "Show where memory is, live: of this machine, of a trace, or of a module's run.")
    result.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a trace, which is replayed; or a module, which is run first, as by kmem run (default: this machine)",
    )
    result.add_argument("parameters", nargs="*", metavar="name=value", help="parameters of the module")
    result.add_argument("--proc", metavar="DIR", default="/proc", help="another machine's /proc (default: /proc)")
    result.add_argument(
        "--view", choices=("caches", "sites", "free"), default="caches", help="what is shown first (default: caches)"
    )
    result.add_argument(
        "--sort", metavar="LETTER", default="b", help="column to sort by, by the letter in its heading (default: b)"
    )
    result.add_argument("--reverse", action="store_true", help="sort the other way round")
    result.add_argument("--filter", metavar="TEXT", default="", help="only names with TEXT in them")
    result.add_argument(
        "--delay", type=options.positive, default=0.0, metavar="S", help="look every S seconds (default: 1)"
    )
    group = result.add_argument_group("a trace or a run")
    group.add_argument(
        "--at", type=float, metavar="S", help="begin at second S of it, paused; with --once: show that moment"
    )
    group.add_argument(
        "--speed", type=options.positive, default=0.0, metavar="X", help="seconds of it in a second (default: fits)"
    )
    group.add_argument(
        "--release", choices=options.releases(), default="", help="kernel to model (default: the nearest)"
    )
    group = result.add_argument_group("without a screen")
    group.add_argument(
        "--once", action="store_true", help="print one table and leave; so it is when the output is no terminal"
    )
    group.add_argument("--rows", type=options.count, default=40, metavar="N", help="rows of that table (default: 40)")
    return result


def main(words: list[str]) -> int:
    """Find the source, show it."""
    args = parser().parse_intermixed_args(words)
    from kmem.report.top import KEYS, Shown, top_text

    letters = [key.letter for key in KEYS[args.view]]
    if letters and args.sort not in letters:
        listed = ", ".join(f"{key.letter} ({key.column})" for key in KEYS[args.view])
        raise UsageError(f"--sort {args.sort}: {args.view} have no such column", remedy=f"The columns are {listed}.")
    if args.at is not None and args.at < 0:
        raise UsageError("--at lies before the beginning", remedy="Give seconds since the beginning of the trace.")
    once = args.once or not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if not once:
        screen()
    source = find(args)
    shown = Shown(args.view, {args.view: args.sort}, not args.reverse, args.filter)
    try:
        from kmem.report.top_sources import Player

        if isinstance(source, Player):
            shown.base = source.moment()
            if once or args.at is not None:
                source.seek(source.duration if args.at is None else args.at)
        elif args.at is not None or args.speed:
            raise UsageError("--at and --speed are for a trace or a run", remedy="Give a trace or a module, too.")
        if once:
            from kmem.report.table import ink_for

            print(top_text(source.moment(), shown, args.rows, ink_for(sys.stdout)))
        else:
            from kmem.report.top_app import show

            delay = args.delay or (0.25 if isinstance(source, Player) else 1.0)
            show(source, shown, delay, args.speed, args.at is not None)
    finally:
        source.close()
    return 0


def screen() -> None:
    """UsageError if what draws the screen is missing."""
    from importlib.util import find_spec

    if find_spec("textual") is None:
        raise UsageError("the screen of kmem top needs textual", remedy="pip install 'kmem[top]', or kmem top --once")


def find(args: argparse.Namespace) -> Source:
    """The source that was asked for."""
    from kmem.report.top_sources import Player, Proc

    if args.file is None:
        return Proc(Path(args.proc))
    if args.proc != "/proc":
        raise UsageError("a FILE and --proc are two things to look at", remedy="Give one of them.")
    from kmem.trace.open import open_trace
    from kmem.trace.result import Options

    path = Path(args.file)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory", remedy="Give a trace or a module.")
    if not is_module(path):
        if args.parameters:
            raise UsageError(f"{args.parameters[0]}: a trace has no parameters", remedy="Modules have.")
        return Player(open_trace(path), Options(release=args.release), str(path))
    directory = tempfile.mkdtemp(prefix="kmem-top-")
    clear = partial(shutil.rmtree, directory, ignore_errors=True)
    try:
        trace = Path(directory) / "run.kmem"
        said = run(args, trace)
        return Player(open_trace(trace), Options(release=args.release), f"a run of {path} ({said})", clear)
    except BaseException:
        clear()
        raise


def is_module(path: Path) -> bool:
    """Whether *path* is something that kmem run takes."""
    if path.is_dir():
        return any((path / name).exists() for name in ("Kbuild", "Makefile", "kbuild"))
    return path.suffix in MODULES and not path.name.endswith((".parquet", ".txt.gz"))


def run(args: argparse.Namespace, trace: Path) -> str:
    """Run the module and write its trace; what came of it."""
    from kmem.commands import run as command

    words = [args.file, *args.parameters, "--trace", str(trace)]
    if args.release:
        words += ["--release", args.release]
    asked = command.parser().parse_intermixed_args(words)
    result = command.execute(asked)
    if not trace.exists():
        raise InputError(f"{args.file}: the run left no trace", remedy=f"See what it says: kmem run {args.file}")
    return str(result["verdict"])
