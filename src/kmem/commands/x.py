"""``kmem x ADDRESS TRACE``: what was at an address: who allocated it, who freed it, what reused it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmem.commands import options
from kmem.errors import UsageError

if TYPE_CHECKING:
    from kmem.kapi.history import History, UnknownAddress
    from kmem.trace.history import Moment

BYTES = 64


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem x``."""
    result = options.new_parser(
        "x", "Say what happened at an address: who allocated it, who freed it, what reused it, and what it is now."
    )
    result.add_argument(
        "addresses", nargs="+", metavar="ADDRESS", help="0xffff…, pfn:0x3a41 (a page frame), or function+0x10"
    )
    result.add_argument("file", metavar="TRACE", help="a trace: of kmem run --trace TRACE, or of a real kernel")
    result.add_argument("--at", default="", metavar="WHEN", help="as of this event (120) or this time (1.000370s)")
    result.add_argument("--rows", type=options.count, default=40, metavar="N", help="the last N events (default: 40)")
    result.add_argument("--core", metavar="FILE", help="also show the bytes, from a core of the same run (--core FILE)")
    result.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return result


def moment(text: str) -> Moment:
    """The number of an event, or a time in seconds: with a point or an ``s``."""
    from kmem.trace.history import Moment

    if re.fullmatch(r"\d+", text) and int(text):
        return Moment(event=int(text))
    seconds = re.fullmatch(r"(\d+)(?:\.(\d{1,9}))?s?", text)
    if seconds is None or not text.strip("0s."):
        raise UsageError(
            f"--at {text}: neither an event nor a time", remedy="An event is a number from 1 on, a time 1.000370s."
        )
    return Moment(time=int(seconds[1]) * 10**9 + int((seconds[2] or "").ljust(9, "0")))


def main(words: list[str]) -> int:
    """Read the trace once and tell."""
    args = parser().parse_args(words)
    from kmem.kapi.history import History
    from kmem.trace.history import Moment, Reader, resolve
    from kmem.trace.open import open_trace

    when = moment(args.at) if args.at else Moment()
    core = _Core(args.core) if args.core else None
    recording = open_trace(Path(args.file))
    addresses = [resolve(text, recording.info, core.symbols if core else {}) for text in args.addresses]
    found = Reader(recording).find(addresses, when)
    known = [one for one in found if isinstance(one, History)]
    unknown = [one for one in found if not isinstance(one, History)]
    for one in known:
        one.shown = args.rows
        one.memory = core.bytes_at(one.address) if core else None
    if args.json:
        print(_json(args.file, known, unknown))
    elif known:
        print("\n\n".join(map(str, known)))
    if unknown:
        raise unknown[0] if len(unknown) == 1 else _all(unknown)
    return 0


def _json(file: str, known: list[History], unknown: list[UnknownAddress]) -> str:
    import json

    missing = [{"slug": one.slug, "message": one.message, "remedy": one.remedy} for one in unknown]
    return json.dumps({"trace": file, "addresses": [one.to_json() for one in known], "unknown": missing}, indent=2)


def _all(unknown: list[UnknownAddress]) -> UnknownAddress:
    """One error of several."""
    first, *others = unknown
    more = "\n".join(f"{one.message}\n{one.remedy}" for one in others)
    return type(first)(first.message, remedy=f"{first.remedy}\n{more}")


class _Core:
    """The core of a run."""

    def __init__(self, path: str) -> None:
        import json

        from kmem.errors import InputError
        from kmem.machine.coreread import CoreMemory
        from kmem.modules.vmcoreinfo import NOTE

        self._memory = CoreMemory(path)
        notes = [note.desc for note in self._memory.notes if note.name == NOTE]
        if not notes:
            raise InputError(f"{path}: no core of kmem", remedy="Give a file that kmem run --core FILE wrote.")
        facts: dict[str, Any] = json.loads(notes[0])
        self.symbols = {str(name): int(address) for name, address, _ in facts["symbols"]}
        self._top = int(facts["variables"]["swapper_pg_dir"][0])

    def bytes_at(self, address: int) -> bytes | None:
        """The bytes that were there at the end."""
        from kmem.abi.address import PAGE_OFFSET

        return self._memory.read(address, BYTES, PAGE_OFFSET, self._top)
