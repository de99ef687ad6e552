"""``kmem drgn CORE [-e CODE | SCRIPT [ARG ...]]``: open a core of the simulated machine in drgn."""

from __future__ import annotations

import argparse
import runpy
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmem.commands import options
from kmem.errors import InputError, UsageError

if TYPE_CHECKING:
    from drgn import Program


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem drgn``."""
    result = options.new_parser("drgn", "Open a core of the simulated machine in drgn, with prog ready.")
    result.add_argument("core", metavar="CORE", help="a core that kmem wrote")
    result.add_argument("-e", dest="code", metavar="CODE", help="run CODE and stop, instead of the prompt")
    result.add_argument("script", nargs="?", metavar="SCRIPT", help="run this file and stop, instead of the prompt")
    result.add_argument("args", nargs="*", metavar="ARG", help="sys.argv[1:] of SCRIPT; after -- if one begins with -")
    return result


def main(words: list[str]) -> int:
    """Open the core and run what was asked for."""
    from kmem.modules.debugger import open_core

    args = parser().parse_intermixed_args(words)
    if args.code is not None and args.script is not None:
        raise UsageError("-e CODE and SCRIPT exclude each other", remedy="Put the code at the end of the script.")
    if args.script is not None and not Path(args.script).is_file():
        raise InputError(f"{args.script}: no such file", remedy="Give a Python file, or -e CODE.")
    prog = open_core(args.core)
    if args.code is None and args.script is None:
        from drgn.cli import run_interactive

        run_interactive(prog)
        return 0
    return _run(prog, args.code, args.script, args.args)


def _run(prog: Program, code: str | None, script: str | None, words: list[str]) -> int:
    """Run code or a script with the names that drgn's own prompt has; 1 if it raises, as with drgn itself."""
    import drgn
    from drgn.cli import default_globals

    names: dict[str, Any] = default_globals(prog)
    drgn.set_default_prog(prog)
    before = sys.argv
    try:
        if code is not None:
            sys.argv = ["-e"]
            exec(compile(code, "<-e>", "exec"), names)
        else:
            assert script is not None
            sys.argv = [script, *words]
            runpy.run_path(script, init_globals=names, run_name="__main__")
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.argv = before
        drgn.set_default_prog(None)
    return 0
