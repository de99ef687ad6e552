"""``kmem shell [MODULE]``: a booted kernel at a Python prompt, with its tables."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from kmem.commands import options
from kmem.errors import KmemError

if TYPE_CHECKING:
    from kmem.kapi.insmod import LoadedModule
    from kmem.kernel import Kernel

BANNER = """\
{kernel}
k is the kernel{module}. Try:
  p = k.kmalloc(64); k.write(p, b"hello"); k.kfree(p); k.x(p)
  k.slabs   k.free_blocks   k.areas   k.live   k.findings   k.module_list   k.facts()
  k.proc("slabinfo")   k.dmesg()   m = k.insmod("driver.ko"); m.rmmod()
  k.slabs.where("kmalloc").by("slabs")        Tab completes; Ctrl-D leaves"""
HISTORY_LINES = 5000


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem shell``."""
    result = options.new_parser("shell", "Boot the simulated kernel and open a Python prompt on it.")
    result.add_argument("file", nargs="?", metavar="MODULE", help="a .ko, a .c or a directory to load first, as m")
    result.add_argument("parameters", nargs="*", metavar="name=value", help="its parameters, as for insmod")
    result.add_argument("-c", dest="code", metavar="CODE", help="run CODE instead of reading a prompt")
    result.add_argument("--plain", action="store_true", help="Python's own prompt, even if IPython is installed")
    options.add_machine(result)
    options.add_page_cache(result)
    result.add_argument(
        "--check", choices=("none", "fast", "full"), default="fast", help="how modules are watched (default: fast)"
    )
    return result


def main(words: list[str]) -> int:
    """Boot, load, and hand over."""
    args = parser().parse_intermixed_args(words)
    options.say_notes(args.cmdline, args.config)
    interactive = args.code is None and sys.stdin.isatty()
    import kmem

    machine = {name: getattr(args, name) for name in ("release", "config", "ram", "cpus", "numa", "seed", "cmdline")}
    with kmem.boot(**machine, check=args.check, history=True) as k:
        k.fill_page_cache(args.page_cache)
        names: dict[str, Any] = {"__name__": "__console__", "__doc__": None, "kmem": kmem, "k": k}
        names |= {name: getattr(kmem, name) for name in kmem.__all__ if name.startswith("GFP_")}
        if args.file:
            from kmem.commands.run import module_file

            path = module_file(Path(args.file), args.release, instrumented=args.check == "full")
            loaded = load(k, path, options.module_parameters(args.parameters), asked=interactive)
            if loaded is None and not interactive:
                return 1
            names |= {"m": loaded} if loaded else {}
        if args.code is not None:
            return run(k, args.code, "<-c>", names)
        if not interactive:
            return run(k, sys.stdin.read(), "<stdin>", names)
        prompt(k, names, plain=args.plain)
        return 0


def load(k: Kernel, path: Path, parameters: dict[str, str | None], *, asked: bool) -> LoadedModule | None:
    """Load a module. What keeps it from working is said; at a prompt (*asked*) the kernel is there all the same."""
    from kmem.commands.main import explain
    from kmem.kapi.executor import TaskDied

    try:
        return k.insmod(path, **parameters)
    except TaskDied:
        print(f"{k.dmesg()}kmem: the task that loaded {path.name} died", file=sys.stderr)
    except KmemError as error:
        if not asked:
            raise
        print(explain(error), file=sys.stderr)
    return None


def run(k: Kernel, source: str, file: str, names: dict[str, Any]) -> int:
    """Run *source* as a script. 1 if the kernel found something wrong, 2 if the script fails."""
    try:
        exec(compile(source, file, "exec"), names)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else _said(str(end.code))
    except KmemError:
        raise
    except Exception as error:
        frames = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, frames)
        return 2
    k.drain()
    return 1 if len(k.findings) else 0


def _said(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


def prompt(k: Kernel, names: dict[str, Any], *, plain: bool) -> None:
    """Read a prompt until its end: IPython's where it is installed, else Python's."""
    module = f", m the module {names['m'].name}" if "m" in names else ""
    banner = BANNER.format(kernel=k, module=module)
    if not plain:
        try:
            import IPython
        except ImportError:
            pass
        else:
            print(banner)
            IPython.start_ipython(argv=["--no-banner", "--no-confirm-exit"], user_ns=names)
            return
    import code

    class Console(code.InteractiveConsole):
        def showtraceback(self) -> None:
            error = sys.exc_info()[1]
            if isinstance(error, KmemError):
                from kmem.commands.main import explain

                print(explain(error), file=sys.stderr)
            else:
                super().showtraceback()

        def runcode(self, code: CodeType) -> None:
            super().runcode(code)
            k.drain()

    _complete(names)
    sys.displayhook = show
    Console(names).interact(banner, exitmsg="")


def show(value: object) -> None:
    """What the prompt does with the value of an expression: tables as tables, texts of several lines as texts."""
    if value is None:
        return
    import builtins

    vars(builtins)["_"] = value
    if isinstance(value, str) and "\n" in value:
        print(value, end="" if value.endswith("\n") else "\n")
    elif hasattr(value, "__rich__"):
        from rich.console import Console

        Console(highlight=False).print(value)
    elif type(value) is int and value > 0xFFFF_FFFF:
        print(f"{value:#x}")
    else:
        print(repr(value))


def history_file() -> Path:
    """Where the lines that were typed are kept: below XDG_STATE_HOME."""
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return home / "kmem" / "shell_history"


def _complete(names: dict[str, Any]) -> None:
    """Tab completion, and the lines of the last sessions."""
    try:
        import readline
    except ImportError:
        return
    import atexit
    import rlcompleter

    readline.set_completer(rlcompleter.Completer(names).complete)
    editline = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if editline else "tab: complete")
    file = history_file()

    def keep() -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            readline.set_history_length(HISTORY_LINES)
            readline.write_history_file(file)
        except OSError as error:
            print(f"kmem: {file}: {error.strerror}: the lines of this session are not kept", file=sys.stderr)

    try:
        readline.read_history_file(file)
    except OSError:
        readline.clear_history()
    atexit.register(keep)
