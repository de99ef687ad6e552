"""``kmem COMMAND ...``: finds the subcommand, runs it, and turns every failure into a message and an exit status.

Exit status: 0 clean, 1 findings, 2 usage or input, 3 unsupported kernel function, 4 internal error; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from kmem.errors import InternalError, KmemError

COMMANDS = {
    "run": "load a kernel module, call its init and exit, say what it did with memory",
    "compare": "show what kmalloc, vmalloc and the others really do, side by side",
    "quiz": "ask about kernel memory; the answers are what the simulated kernel does",
    "boot": "boot the simulated kernel and print files of its /proc",
    "shell": "open a Python prompt on the booted kernel, with its tables",
    "oops": "explain a kernel log: what broke, who is the victim, what to do next",
    "survey": "try every module in a directory and say how far each gets",
    "replay": "replay a trace of kmem events in the model and say where memory is",
    "stat": "add up a trace of kmem events by call site, as perf kmem stat does",
    "report": "draw a trace on a page for a browser: memory in time and space",
    "export": "write a trace in the format of another program: Perfetto",
    "x": "say who allocated, freed and reused what is at an address",
    "top": "show where memory is, live: of this machine, a trace or a run",
    "sweep": "replay traces under every combination of settings and compare",
    "record": "record the memory events of the running kernel",
    "drgn": "open a core of the simulated machine in drgn",
    "headers": "list or fetch the kernel headers that modules are built against",
    "doctor": "say what is installed, what is missing, and how to get it",
}
"""Every subcommand, with the line that ``kmem --help`` prints."""

INTERRUPTED = 130
BROKEN_PIPE = 141


def overview() -> str:
    """Return the text of ``kmem --help``."""
    lines = [f"  {name:9} {line}" for name, line in COMMANDS.items()]
    return "\n".join(
        [
            "usage: kmem COMMAND ...",
            "",
            "Linux kernel memory on your desk: real modules, a simulated kernel, no root, no virtual machine.",
            "",
            "commands:",
            *lines,
            "",
            "kmem COMMAND --help lists the options of a command.",
            "Exit status: 0 clean, 1 findings, 2 usage or input error, 3 unsupported kernel API, 4 internal error.",
        ]
    )


def dispatch(words: Sequence[str]) -> int:
    """Run the subcommand that ``words[0]`` names and return its exit status."""
    name = words[0] if words else ""
    if name in ("-h", "--help", "help"):
        print(overview())
        return 0
    if name in ("-V", "--version"):
        from importlib.metadata import version

        print(f"kmem {version('kmem')}")
        return 0
    if name not in COMMANDS:
        print(overview() if not name else unknown(name), file=sys.stderr)
        return 2
    status: int = import_module(f"kmem.commands.{name}").main(list(words[1:]))
    return status


def unknown(name: str) -> str:
    """Return the message for a word that is no subcommand."""
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean: kmem {close[0]}" if close else f"the commands are: {', '.join(COMMANDS)}"
    return f"kmem: there is no command {name!r}\n  {hint}"


def explain(error: KmemError) -> str:
    """Return what a person is told about *error*: what happened, then what to do about it."""
    remedy = "\n".join(f"  {line}" for line in error.remedy.splitlines())
    return f"kmem: {error.message} [{error.slug}]\n{remedy}"


def main(words: Sequence[str] | None = None) -> int:
    """Entry point of the ``kmem`` script."""
    debug = os.environ.get("KMEM_DEBUG") == "1"
    try:
        status = dispatch(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone. Point stdout elsewhere, so that the interpreter's last flush is silent too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        if not isinstance(error, KmemError):
            error = InternalError(
                f"internal error: {type(error).__name__}: {error}",
                remedy="This is a fault of kmem, not of your input. Please report it, with what the same command\n"
                "prints when KMEM_DEBUG=1 is set in the environment.",
            )
        print(explain(error), file=sys.stderr)
        return error.status
    return status
