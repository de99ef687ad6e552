"""``kmem replay FILE``: a trace's events drive the model, which says where the memory is."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kmem.abi.release import PAGEBLOCK_ORDER
from kmem.commands import options
from kmem.errors import UsageError
from kmem.trace import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmem.report.trace_page import Watched
    from kmem.trace.result import Options, Result
    from kmem.trace.schema import Recording


def setting(text: str) -> tuple[str, list[int | str]]:
    """``NAME=VALUE,VALUE``."""
    name, equals, values = text.partition("=")
    if not equals or name not in settings.NAMES:
        raise argparse.ArgumentTypeError(f"{text!r}: --set takes NAME=VALUE of {', '.join(settings.NAMES)}")
    try:
        return name, [settings.value(name, value) for value in values.split(",")]
    except UsageError as error:
        raise argparse.ArgumentTypeError(f"{error} {error.remedy}") from None


def add_setting(parser: argparse._ActionsContainer, help: str) -> None:
    """Add ``--set``."""
    parser.add_argument("--set", action="append", type=setting, default=[], metavar="NAME=VALUE", help=help)


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem replay``."""
    result = options.new_parser(
        "replay", "Replay a kernel's or a simulated run's trace in the model; say where memory is."
    )
    result.add_argument("file", metavar="FILE", help="a trace: .kmem, text, Parquet, or a directory of raw pages")
    result.add_argument(
        "--release", choices=options.releases(), default="", help="kernel to model (default: the nearest)"
    )
    add_setting(result, "a boot option of the model, as slub_max_order=0 or cpus=4 (default: as recorded)")
    options.add_span(result, "count")
    result.add_argument("--cache", default="", metavar="TEXT", help="show only caches with TEXT in their names")
    result.add_argument("--site", default="", metavar="TEXT", help="show only call sites with TEXT in their names")
    result.add_argument("--rows", type=options.count, default=15, metavar="N", help="rows of each table (default: 15)")
    result.add_argument("--save", metavar="FILE.kmem", help="also write the trace as a .kmem or .parquet file")
    result.add_argument("--plot", metavar="FILE", help="also draw memory over time: FILE.svg, .pdf or .png")
    tree = result.add_mutually_exclusive_group()
    options.add_proc_directory(tree, " at the end, as the model has them,")
    options.add_mount(tree, " and play the trace, as it went, until Ctrl-C")
    result.add_argument(
        "--speed",
        type=options.positive,
        default=0.0,
        metavar="X",
        help="with --mount: seconds of the trace in a second (default: 1)",
    )
    form = result.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    form.add_argument("--folded", action="store_true", help="print live bytes as folded stacks")
    return result


def main(words: list[str]) -> int:
    """Replay and report."""
    args = parser().parse_args(words)
    options.check_span(args)
    from kmem.report import replay as report
    from kmem.report.table import ink_for
    from kmem.trace.open import open_trace
    from kmem.trace.replay import Replay
    from kmem.trace.result import Options

    blocks = dict(args.set).get("pageblock_order")
    if blocks and os.environ.get(PAGEBLOCK_ORDER) != str(blocks[0]):  # compiled code has it: a process of its own
        env = {**os.environ, PAGEBLOCK_ORDER: str(blocks[0])}
        return subprocess.run([sys.executable, "-m", "kmem", "replay", *words], env=env, check=False).returncode
    recording = open_trace(Path(args.file))
    if args.save:
        save(recording, Path(args.save))
    chosen: dict[str, int | str] = {}
    for name, values in args.set:
        if len(values) != 1:
            raise UsageError(f"--set {name} has several values", remedy="kmem sweep tries several.")
        chosen[name] = values[0]
    where = options.proc_directory(args.proc_dir)
    wanted = Options.of(chosen, args.release, args.begin, args.end)
    if args.mount:
        return play(recording, wanted, args.mount, args.speed or 1.0)
    if args.speed:
        raise UsageError("--speed is for --mount", remedy="Without it a replay is as fast as it can be.")
    if args.plot:
        watched_type, draw = drawing(args.plot)
        watched = watched_type(recording, wanted)
        replayed: Replay = watched
        result = watched.run()
        draw(watched, result)
    else:
        replayed = Replay(recording, wanted)
        result = replayed.run()
    if where:
        replayed.write_proc(where)
        print(options.proc_written(args.proc_dir), file=sys.stderr)
    shown = report.Shown(args.cache, args.site, args.rows)
    if args.json:
        print(report.replay_json(result, shown))
    elif args.folded:
        print(report.folded(result, shown))
    else:
        print(report.replay_text(result, shown, ink_for(sys.stdout)))
        print(f"\nnext: kmem sweep {args.file} --set slub_max_order=0,1,2,3")
    return 0


def play(recording: Recording, wanted: Options, where: str, speed: float) -> int:
    """Replay at the trace's own pace, or *speed* times that, while the model's /proc can be read."""
    from time import monotonic

    from kmem.mm.proc_mount import Mount
    from kmem.report.top_sources import Player

    player = Player(recording, wanted, where)
    try:
        begun = monotonic()
        options.stay(
            partial(Mount, player.tree, where, player.at_rest), lambda: player.seek((monotonic() - begun) * speed)
        )
    finally:
        player.close()
    return 0


def drawing(where: str) -> tuple[type[Watched], Callable[[Watched, Result], None]]:
    """What replays for a plot, and what then draws it."""
    from kmem.report import plot
    from kmem.report.trace_page import Watched, series

    file = plot.ready(where)
    return Watched, lambda watched, result: plot.replay_plot(result, series(watched, result)["cache"], file)


def save(recording: object, path: Path) -> None:
    """Write *recording* in the format that the name of *path* asks for."""
    from kmem.trace import store

    if path.suffix == ".parquet":
        from kmem.trace.parquet import save_parquet

        save_parquet(recording, path)  # type: ignore[arg-type]
    else:
        store.save(recording, path)  # type: ignore[arg-type]
