"""``kmem run FILE [name=value ...]``: load a kernel module, call its init and exit, say what it did with memory."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmem.commands import options
from kmem.errors import InputError, KmemError, UsageError

if TYPE_CHECKING:
    from kmem.runner import RunOptions

SLOWEST_START, SLOWEST_CPU = 600.0, 5e6
"""What the child process is given before it counts as hung: the seconds that starting takes on the slowest machine, the
compiling of the core included, and its instructions per second. The budget ends a module's endless loop long before."""

STATUS = {"clean": 0, "findings": 1, "unsupported": 3, "error": 4}


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem run``."""
    result = options.new_parser("run", "Load a kernel module, call its init and exit, say what it did with memory.")
    result.add_argument("file", metavar="FILE", help="a .ko, a .c, or a directory with a Kbuild or Makefile")
    result.add_argument("parameters", nargs="*", metavar="name=value", help="module parameters, as for insmod")
    options.add_machine(result)
    options.add_page_cache(result)
    group = result.add_argument_group("the run")
    group.add_argument(
        "--budget",
        type=options.count,
        default=10**8,
        metavar="N",
        help="instructions init or exit may take (default: 1e8)",
    )
    group.add_argument(
        "--check",
        choices=("none", "fast", "full"),
        default="fast",
        help="fast: check every access to memory; full: verify all of the simulated memory, too (default: fast)",
    )
    group.add_argument(
        "--schedules",
        type=options.count,
        default=1,
        metavar="N",
        help="run with N seeds from --seed on, each another interleaving; stop at the first that misbehaves",
    )
    failing = result.add_mutually_exclusive_group()
    failing.add_argument("--fail-nth", type=options.count, default=0, metavar="N", help="let the Nth allocation fail")
    failing.add_argument(
        "--fail-each", action="store_true", help="let every allocation fail in turn, rolling back in between"
    )
    result.add_argument("--fail-all", action="store_true", help="with --fail-nth: all after it fail, too")
    for option, what in (
        ("--failslab", "kmalloc and caches"),
        ("--fail-page-alloc", "pages and vmalloc"),
        ("--fail-usercopy", "copies to and from user memory"),
    ):
        result.add_argument(
            option,
            nargs="?",
            const="probability=100",
            default="",
            metavar="NAME=VALUE,…",
            help=f"let {what} fail by chance: probability=, interval=, times=, space=, cache=, min=, max=, min-order=",
        )
    group.add_argument(
        "--proc",
        action="append",
        default=[],
        choices=options.PROC,
        metavar="NAME",
        help="also print /proc/NAME at the end",
    )
    options.add_proc_directory(group, " at the end")
    group.add_argument("--core", metavar="FILE", help="write a core of the machine at the end: kmem drgn FILE opens it")
    group.add_argument(
        "--quarantine",
        action="store_true",
        help="keep freed objects back, to see who still uses them; later ones then lie elsewhere",
    )
    group.add_argument(
        "--kmemleak",
        action="store_true",
        help="after init, look for memory that nothing points to any more (with --check full anyway)",
    )
    group.add_argument(
        "--allow-leak",
        action="append",
        default=[],
        type=allowance,
        metavar="SITE=REASON",
        help="what is allocated at SITE (a function, a file or file:line) may stay behind",
    )
    group = result.add_argument_group("what is printed and written")
    group.add_argument("--html", metavar="FILE", help="write a page to look at: memory in time and space, findings")
    group.add_argument("--trace", metavar="FILE", help="write every event into FILE: kmem replay FILE reads it")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    group.add_argument("--sarif", metavar="FILE", help="write the findings as SARIF, for editors and code scanning")
    group.add_argument("--junit", metavar="FILE", help="write the run as JUnit XML, for CI systems")
    group.add_argument("--ktap", metavar="FILE", help="write the run as KTAP, the kernel's format of test results")
    group.add_argument(
        "--annotations",
        action="store_true",
        default=os.environ.get("GITHUB_ACTIONS") == "true",
        help="also print the findings as annotations of GitHub Actions; there they are on by default",
    )
    return result


def main(words: list[str]) -> int:
    """Run the module in a process of its own and report."""
    args = parser().parse_intermixed_args(words)
    try:
        run = execute(args)
    except KmemError as error:
        if isinstance(error, InputError) and args.file not in error.message:
            error.message = f"{args.file}: {error.message}"
        if args.json:
            from kmem.report.json import run_json

            module = {"name": Path(args.file).stem, "file": args.file, "note": ""}
            asked = {name: getattr(args, name) for name in ("seed", "release", "config")}
            print(run_json({"module": module, **asked}, error))
        raise
    if args.json:
        from kmem.report.json import run_json

        print(run_json(run))
    else:
        from kmem.report.table import ink_for
        from kmem.report.text import run_text

        print(run_text(run, ink_for(sys.stdout)))
    write_reports(args, run)
    return STATUS[run["verdict"]]


def write_reports(args: argparse.Namespace, run: dict[str, Any]) -> None:
    """Write what ``--html``, ``--sarif``, ``--junit`` and ``--ktap`` ask for; print the annotations."""
    if args.proc_dir:
        print(options.proc_written(args.proc_dir), file=sys.stderr)
    if args.html:
        from kmem.report.page import run_page

        write(args.html, run_page(run))
        print(f"kmem: {args.html} is a page of this run: open it in a browser", file=sys.stderr)
    if args.sarif:
        from importlib.metadata import version

        from kmem.report.sarif import sarif

        write(args.sarif, sarif(run, version("kmem")))
    if args.junit:
        from kmem.report.junit import junit

        write(args.junit, junit(run))
    if args.ktap:
        from kmem.report.ktap import ktap

        write(args.ktap, ktap(run))
    if args.annotations:
        from kmem.report.github import github

        shown = github(run)
        if shown:
            print(shown, file=sys.stderr if args.json else sys.stdout)


def write(file: str, text: str) -> None:
    """Write one report. InputError says why it cannot be written."""
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", remedy="Give a file that can be written.") from None


def allowance(text: str) -> tuple[str, str]:
    """Return the site and the reason of ``--allow-leak SITE=REASON``."""
    site, _, reason = text.partition("=")
    if not site or not reason.strip():
        raise argparse.ArgumentTypeError(f"{text!r} has no reason; it looks like my_init='freed by the firmware'")
    return site, reason.strip()


def faults(args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """Return what is to fail now and then: kind and attributes. UsageError for attributes that are none."""
    kinds = ("failslab", "fail_page_alloc", "fail_usercopy")
    wanted = tuple((kind, getattr(args, kind)) for kind in kinds if getattr(args, kind))
    if wanted:
        from kmem.kapi.failslab import Attributes

        for _, text in wanted:
            Attributes.parse(text)
        if args.fail_each or args.fail_nth:
            raise UsageError("allocations fail in turn or by chance, not both", remedy="Give one of the two.")
    return wanted


def execute(args: argparse.Namespace) -> dict[str, Any]:
    """Build the module if it is source, run it in a process of its own, and return what came of it as plain data."""
    from kmem.commands.isolate import Limits, isolated
    from kmem.runner import RunOptions

    wanted = RunOptions(
        path=str(module_file(Path(args.file), args.release, instrumented=args.check == "full")),
        parameters=options.module_parameters(args.parameters),
        release=args.release,
        config=args.config,
        ram=args.ram,
        cpus=args.cpus,
        numa=args.numa,
        seed=args.seed,
        schedules=args.schedules,
        page_cache=args.page_cache,
        budget=args.budget,
        cmdline=args.cmdline,
        check=args.check,
        fail_nth=args.fail_nth,
        fail_all=args.fail_all,
        fail_each=args.fail_each,
        allow_leak=tuple(args.allow_leak),
        faults=faults(args),
        kmemleak=args.kmemleak,
        quarantine=args.quarantine,
        proc=tuple(args.proc),
        proc_dir=options.proc_directory(args.proc_dir),
        core=str(Path(args.core).absolute()) if args.core else "",
        trace=str(Path(args.trace).absolute()) if args.trace else "",
    )
    options.say_notes(args.cmdline, args.config)
    if args.schedules > 1 and args.fail_each:
        raise UsageError("--schedules does not go with --fail-each", remedy="Use --fail-nth, or one of the two.")
    patience = SLOWEST_START + 2 * args.schedules * args.budget / SLOWEST_CPU
    limits = Limits(
        address_space=(8 << 30) + 4 * args.ram,
        file_size=(2 << 30) + args.ram,
        processor_time=int(patience),
        wall_time=patience,
    )
    result: dict[str, Any] = isolated(partial(_work, wanted, bool(args.html)), limits)
    args.seed = result.get("seed", args.seed)
    return {**result, "path": words_of(args), "trace": args.trace}


def words_of(args: argparse.Namespace) -> str:
    """Return the file, the parameters and what was asked of the machine, as they are typed after ``kmem run``."""
    import shlex

    from kmem.report.table import size

    words = [args.file, *args.parameters]
    defaults = parser()
    for name in ("release", "ram", "cpus", "numa", "cmdline", "seed"):
        value = getattr(args, name)
        if value != defaults.get_default(name):
            words += [f"--{name}", size(value) if name == "ram" else str(value)]
    return shlex.join(words)


def module_file(path: Path, release: str, *, instrumented: bool = False) -> Path:
    """Return the ``.ko`` that *path* is, or that kbuild makes of it."""
    if not path.exists():
        raise InputError(f"{path}: no such file or directory", remedy="Give a .ko, a .c, or a directory with a Kbuild.")
    if path.suffix != ".c" and not path.is_dir():
        return path

    from kmem.modules.kbuild import INSTRUMENT, build

    flags = INSTRUMENT if instrumented else ()
    modules = build(
        path, release=release, flags=flags, progress=lambda text: print(f"kmem: {text}", file=sys.stderr)
    ).modules
    if len(modules) > 1:
        listed = "\n".join(f"kmem run {module}" for module in modules)
        raise UsageError(f"{path} makes {len(modules)} modules", remedy=f"They are built; run one:\n{listed}")
    return modules[0]


def _work(wanted: RunOptions, watched: bool) -> dict[str, Any]:
    """In the child process: everything that is heavy or dangerous."""
    from kmem.runner import run_module

    if not watched:
        return asdict(run_module(wanted))
    from kmem.report.watch import Watch

    return asdict(run_module(wanted, Watch()))
