"""Kernel reports in a log: warnings, oopses, and what slub_debug says. Addresses are made relative or masked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WARNING = re.compile(r"WARNING: CPU: \d+ PID: \d+ at (\S+:\d+) (\S+?)\+0x")
CUT = "------------[ cut here ]------------"
END = "---[ end trace"
COMPLAINT = re.compile(r"\S+: (vmalloc error: .*|page allocation failure: .*)")
LOCAL = re.compile(r",cpuset=.*$")
SUFFIX = re.compile(r"\.(?:constprop|isra|part|cold)\b.*$")
FRAME = re.compile(r"(?P<unsure>\? )?(?P<name>[\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?P<module> \[\w+\])?$")
NULL_PAGE = 4096
IN_MODULE = "[module]"
PLACE_OF_MODULE = re.compile(r"(?<!\S)/\S+\.c:\d+")
"""A place in the module's source; the kernel's own are relative to its tree."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning: where in the kernel's source, in which function, and what it says besides."""

    place: str
    function: str
    said: tuple[str, ...] = ()


def function_name(name: str) -> str:
    """A function's name without what the compiler adds to it."""
    return SUFFIX.sub("", name)


def warnings_before(lines: Sequence[str], prefix: str) -> Iterator[tuple[str, list[Warned]]]:
    """Yield each line of the module, without *prefix*, with the warnings since the one before."""
    warned: list[Warned] = []
    message: list[str] | None = None
    inside = False
    for line in lines:
        if message is None and line.startswith(prefix):
            yield line.removeprefix(prefix), warned
            warned, inside = [], False
            continue
        match = WARNING.match(line)
        complaint = COMPLAINT.match(line)
        if line == CUT:
            message, inside = [], True
        elif match:
            warned.append(
                Warned(PLACE_OF_MODULE.sub(IN_MODULE, match[1]), function_name(match[2]), tuple(message or ()))
            )
            message = None
        elif message is not None:
            message.append(line)
        elif complaint and not inside:
            warned.append(Warned("", "warn_alloc", (LOCAL.sub("", complaint[1]),)))
        elif line == "Mem-Info:" and warned:
            last = warned[-1]
            warned[-1] = Warned(last.place, last.function, (*last.said, "Mem-Info"))


def call_trace(lines: Sequence[str], start: int = 0) -> str:
    """The functions of the first call trace after *start*, innermost first, up to the module or the module loader.

    Frames that the kernel itself doubts (``? name``) are left out, the module's functions are one ``[module]``.
    """
    names: list[str] = []
    inside = False
    for line in lines[start:]:
        text = line.strip()
        if text == "Call Trace:":
            inside = True
        elif inside and text == "</TASK>":
            break
        elif inside and (frame := FRAME.match(text)) and not frame["unsure"]:
            if frame["module"]:
                return " ".join([*names, IN_MODULE])
            if frame["name"] == "do_one_initcall":
                break
            names.append(function_name(frame["name"]))
    return " ".join(names)


@dataclass(frozen=True, slots=True)
class Oops:
    """The head of a fatal report."""

    says: str
    access: str
    error_code: str
    rip: str
    trace: str


FATAL = (
    "BUG: kernel NULL pointer dereference",
    "BUG: unable to handle page fault",
    "general protection fault",
    "kernel BUG at",
    "BUG: TASK stack guard page was hit",
    "kernel tried to execute NX-protected page",
)
LONG_ADDRESS = re.compile(r"\b(?:0x)?[0-9a-f]{16}\b")


def mask(text: str) -> str:
    """Replace addresses; small ones, which say which member of NULL was meant, stay."""

    def one(match: re.Match[str]) -> str:
        return match[0] if int(match[0], 16) < NULL_PAGE else "ADDRESS"

    return LONG_ADDRESS.sub(one, text)


def find_oops(lines: Sequence[str]) -> tuple[int, Oops] | None:
    """Return the first fatal report and where it begins."""
    start = next((i for i, line in enumerate(lines) if line.startswith(FATAL)), None)
    if start is None:
        return None
    says = PLACE_OF_MODULE.sub(IN_MODULE, mask(lines[start]))
    says = re.sub(r" \[#\d+\].*", "", says)
    access = error_code = rip = ""
    for line in lines[start:]:
        if line.startswith("#PF: error_code"):
            error_code = line.removeprefix("#PF: ")
        elif line.startswith("#PF: "):
            access = line.removeprefix("#PF: ")
        elif line.startswith("RIP: 0010:") and not rip:
            rip = line.removeprefix("RIP: 0010:")
    frame = FRAME.match(rip)
    function = mask(rip)
    if frame:
        function = IN_MODULE if frame["module"] else function_name(frame["name"])
    trace = "" if function == IN_MODULE else call_trace(lines, start)
    return start, Oops(says, access, error_code, function, trace)
