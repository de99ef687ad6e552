"""Options that several subcommands share, and the forms of their values."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kmem.errors import UsageError

if TYPE_CHECKING:
    from kmem.mm.proc_mount import Mount

BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
RELEASE = "6.1"
CONFIGS = ("plain", "debian", "debug")
PROC = tuple(
    "slabinfo buddyinfo vmallocinfo meminfo zoneinfo pagetypeinfo vmstat iomem modules "
    "stat uptime loadavg version cmdline cpuinfo swaps".split()
)
CONTEXTS = ("process", "softirq", "hardirq", "spinlock")


def size(text: str) -> int:
    """Return the bytes that *text* means: ``4096``, ``0x1000``, ``64K``, ``2GiB``, ``1T`` (powers of 1024)."""
    parts = re.fullmatch(r"(\d+)(?:([KMGT])(?:IB)?)?|(0X[0-9A-F]+)", text.upper())
    if parts is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; sizes look like 4096, 64K, 512M or 1G")
    return int(parts[3], 16) if parts[3] else int(parts[1]) * BINARY[parts[2] or ""]


def count(text: str) -> int:
    """Return the whole number, 1 or more, that *text* means: ``250``, ``1e8``, ``100M`` (powers of 1000)."""
    parts = re.fullmatch(r"(\d+)(?:e(\d{1,2}))?([kMG]?)", text)
    value = int(parts[1]) * 10 ** int(parts[2] or 0) * DECIMAL[parts[3]] if parts else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0; 250, 1e8 and 100M are")
    return value


def releases() -> list[str]:
    """Return the names of the modelled kernel releases, the oldest first."""
    data = Path(__file__).parent.parent / "abi" / "releases"
    return sorted((path.stem for path in data.glob("*.toml")), key=lambda name: [int(part) for part in name.split(".")])


def new_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of one subcommand. Options are never abbreviated, so that adding one breaks no script."""
    return argparse.ArgumentParser(prog=f"kmem {name}", description=description, allow_abbrev=False)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add what says which kernel is simulated on which machine."""
    group = parser.add_argument_group("the simulated machine")
    group.add_argument("--release", choices=releases(), default=RELEASE, help=f"kernel to model (default: {RELEASE})")
    group.add_argument(
        "--config",
        choices=CONFIGS,
        default="debian",
        help="plain: no hardening; debian: as Debian ships it; debug: with slub_debug=FZPU (default: debian)",
    )
    group.add_argument("--ram", type=size, default=size("512M"), metavar="SIZE", help="memory (default: 512M)")
    group.add_argument("--cpus", type=count, default=2, metavar="N", help="processors (default: 2)")
    add_command_line(group)
    group.add_argument(
        "--numa", type=count, default=1, metavar="N", help="nodes that share memory and processors (default: 1)"
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="what the kernel's random numbers start from (default: 0)"
    )


def seconds(text: str) -> int:
    """Nanoseconds that *text*, in seconds, means."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return int(value * 1e9)


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def add_span(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--from`` and ``--to``: *what* is done with the events between them."""
    for word, name, rest in (("--from", "begin", "from second S on"), ("--to", "end", "up to second S")):
        parser.add_argument(word, dest=name, type=seconds, default=0, metavar="S", help=f"{what} {rest}")


def check_span(args: argparse.Namespace) -> None:
    """Refuse an end that lies before the beginning."""
    if args.end and args.end <= args.begin:
        raise UsageError("--to lies before --from", remedy="Give seconds since the beginning of the trace.")


def add_command_line(parser: argparse._ActionsContainer) -> None:
    """Add the kernel command line of the boot."""
    parser.add_argument(
        "--cmdline",
        default="",
        metavar="WORDS",
        help='kernel command line, as in "slub_debug=FZPU,kmalloc-64 slab_nomerge init_on_alloc=0"',
    )


def say_notes(cmdline: str, config: str) -> None:
    """Say on standard error what a command line asked for in vain."""
    if cmdline:
        from kmem.mm.config import configuration

        for note in configuration(config, cmdline=cmdline).notes:
            print(f"kmem: note: {note}", file=sys.stderr)


def proc_directory(where: str | None) -> str:
    """Return the directory that a tree of /proc goes to, made and fit for it; nothing if none was asked for."""
    if where is None:
        return ""
    from kmem.mm.proc_files import prepare

    return str(prepare(where))


def add_proc_directory(parser: argparse._ActionsContainer, when: str = "") -> None:
    """Add ``--proc-dir``."""
    parser.add_argument(
        "--proc-dir",
        metavar="DIR",
        help=f"write /proc and the memory's part of /sys{when} into DIR, which is new, empty or kmem's, for real tools",
    )


def add_mount(parser: argparse._ActionsContainer, what: str) -> None:
    """Add ``--mount``."""
    parser.add_argument("--mount", metavar="DIR", help=f"mount /proc and the memory's part of /sys at DIR{what}")


def stay(mounting: Callable[[], Mount], tick: Callable[[], object] = lambda: None) -> None:
    """Mount, and stay until Ctrl-C, SIGTERM or an umount ends it; call *tick* again and again."""
    import signal
    import time

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with mounting() as mount:
            at = mount.path
            print(
                f"kmem: {at} is the machine's /proc, and {at}/sys its /sys, until Ctrl-C", file=sys.stderr, flush=True
            )
            while mount.alive:
                tick()
                time.sleep(0.1)
    except KeyboardInterrupt:
        return


def proc_written(where: str) -> str:
    """Say what to do with a tree of /proc."""
    return (
        f"kmem: {where} has the machine's /proc, and its /sys in {where}/sys\n"
        f"  try:  unshare -rm sh -c 'mount --bind {where} /proc && slabtop -o'"
    )


def add_page_cache(parser: argparse.ArgumentParser) -> None:
    """Add how much of memory files have filled before anything happens."""
    parser.add_argument(
        "--page-cache",
        type=size,
        default=0,
        metavar="SIZE",
        help="fill so much memory with pages of files, which give way when memory is short (default: 0)",
    )


def module_parameters(words: list[str]) -> dict[str, str | None]:
    """Return the ``name=value`` words as insmod takes them; the value is None where there is no ``=``."""
    parameters: dict[str, str | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError(f"{word!r} is no module parameter", remedy="Parameters look like count=3 or name=text.")
        parameters[name] = value if equals else None
    return parameters
