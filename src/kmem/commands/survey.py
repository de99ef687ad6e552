"""``kmem survey DIR``: try every kernel module below a directory and say how far each gets."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from kmem.commands import options
from kmem.errors import InputError

BUDGET = 100_000_000


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem survey``."""
    result = options.new_parser(
        "survey",
        "Load every kernel module below a directory (.ko, .ko.xz, .ko.zst, .ko.gz), each in a process of its own, "
        "with the modules that it depends on: does it load, is every function known that it links to, what does its "
        "init return, does its exit run, is anything wrong? `kmem headers --modules` fetches a kernel's modules.",
    )
    result.add_argument("directory", metavar="DIR", help="a directory with kernel modules below it")
    group = result.add_argument_group("what is tried, and how long")
    group.add_argument("--only", metavar="PATTERN", action="append", help="modules whose path matches, as '*/net/*'")
    group.add_argument("--listed", metavar="FILE", help="modules that FILE names, one a line before the first tab")
    group.add_argument("--jobs", type=options.count, metavar="N", help="at the same time (default: one a processor)")
    group.add_argument("--time", type=options.count, default=60, metavar="S", help="seconds for a module (default: 60)")
    group.add_argument("--budget", type=options.count, default=BUDGET, metavar="N", help="instructions (default: 1e8)")
    group.add_argument("--journal", metavar="FILE", help="keep each row in FILE; what is there is not tried again")
    group = result.add_argument_group("what is shown")
    group.add_argument("--expect", metavar="FILE", help="compare with what insmod answered: module, tab, errno")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    group.add_argument("--all", action="store_true", help="list every module, also those that are well")
    options.add_machine(result)
    return result


def main(words: list[str]) -> int:
    """Try the modules and report.

    4 if kmem failed for one of them, 3 if one called what kmem does not have, else 0: this looks at kmem, not at them.
    """
    args = parser().parse_args(words)

    from kmem.modules.tree import survey_files

    root = Path(args.directory)
    files = [path for path in survey_files(root) if _wanted(path.relative_to(root), args)]
    if not files:
        raise InputError(f"{root}: no module is left to try", remedy="check the patterns of --only and --listed")
    journal = _read_journal(args.journal)
    rows = dict(journal)
    todo = [path for path in files if str(path.relative_to(root)) not in journal]
    if todo:
        for row in _survey(todo, root, args):
            rows[row["module"]] = row
    found = [rows[str(path.relative_to(root))] for path in files]
    expected = _expected(args.expect) if args.expect else {}

    from kmem.report.survey import survey_json, survey_text
    from kmem.report.table import ink_for
    from kmem.survey import agreement

    compared = agreement(found, expected) if expected else None
    if args.json:
        print(survey_json(found, compared, release=args.release, config=args.config, seed=args.seed))
    else:
        print(survey_text(found, compared, ink_for(sys.stdout), everything=args.all))
    statuses = {row["status"] for row in found}
    return 4 if "internal" in statuses else 3 if "unsupported" in statuses else 0


def _wanted(path: Path, args: argparse.Namespace) -> bool:
    if args.listed and str(path) not in _names(args.listed):
        return False
    return not args.only or any(fnmatch(str(path), pattern) for pattern in args.only)


_lists: dict[str, frozenset[str]] = {}


def _names(file: str) -> frozenset[str]:
    if file not in _lists:
        _lists[file] = frozenset(line.partition("\t")[0] for line in _lines(file))
    return _lists[file]


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", remedy="give a text file, one module a line") from error


def _expected(file: str) -> dict[str, int]:
    table = {}
    for line in _lines(file):
        module, _, rest = line.partition("\t")
        number = rest.partition("\t")[0]
        if number.lstrip("-").isdigit():
            table[module] = abs(int(number))
    if not table:
        raise InputError(f"{file}: no line with a module, a tab and an errno", remedy="give what insmod answered, so")
    return table


def _read_journal(file: str | None) -> dict[str, dict[str, Any]]:
    """Rows of an earlier run; a line that was cut off is left out."""
    rows = {}
    if file and os.path.exists(file):
        for line in _lines(file):
            try:
                row = json.loads(line)
                rows[str(row["module"])] = row
            except (ValueError, KeyError, TypeError):
                continue
    return rows


def _survey(files: list[Path], root: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Boot once, try each of *files*; rows as they come."""
    from kmem.commands.forkserver import run_all
    from kmem.commands.isolate import Limits
    from kmem.modules.tree import ModuleTree, root_of
    from kmem.survey import Bench, SurveyOptions, failed_row

    options.say_notes(args.cmdline, args.config)
    wanted = SurveyOptions(args.release, args.config, args.ram, args.cpus, args.seed, args.budget)
    tree = ModuleTree(root_of(root))
    bench = Bench(wanted, tree, root)
    limits = Limits(
        address_space=(8 << 30) + 4 * args.ram,
        file_size=(2 << 30) + args.ram,
        processor_time=args.time,
        wall_time=4.0 * args.time,
    )
    jobs = args.jobs or len(os.sched_getaffinity(0))
    with _progress(len(files)) as step, open(args.journal or os.devnull, "a") as journal:
        for number, row, trouble in run_all(len(files), lambda n: bench.row(files[n]), jobs, limits):
            done = row if not trouble else failed_row(str(files[number].relative_to(root)), trouble)
            journal.write(json.dumps(done) + "\n")
            journal.flush()
            step(done)
            yield done


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda row: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda row: progress.update(task, advance=1, description=row["module"].rpartition("/")[2])
