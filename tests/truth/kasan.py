"""What a real KASAN reported: ``python -m tests.truth.kasan FOLDER`` reads it from the logs of the boots ``B.*``.

The kernel is 6.1.192, built with KASAN and lock checking. A report is reduced to what another kernel must say too: the
kind of error, the access, where it lies in which object, and the shadow of the byte in question.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "golden" / "kasan.json"
BOOTS = {"B.bug.oob32": "mode=oob size=32", "B.bug.uaf32": "mode=uaf size=32"}
"""Which load of tests/kmod/bug each boot made."""
_LINES = {
    "error": re.compile(r"BUG: KASAN: (\S+) in "),
    "access": re.compile(r"((?:Read|Write) of size \d+) at addr "),
    "cache": re.compile(r" which belongs to the cache (\S+ of size \d+)"),
    "located": re.compile(r"The buggy address is located (.*)"),
    "region": re.compile(r" (\d+-byte region)"),
}
_MARKED = re.compile(r">[0-9a-f]{16}:((?: [0-9a-f]{2}){16})")


def facts(lines: Sequence[str]) -> dict[str, str]:
    """The facts of the first report in *lines*, without times."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines):
        for name, pattern in _LINES.items():
            if name not in found and (match := pattern.match(line)):
                found[name] = match[1]
        if match := _MARKED.match(line):
            column = lines[number + 1].index("^")
            found["shadow"] = line[column : column + 2]
            return found
    return found


def convert(folder: Path) -> dict[str, dict[str, str]]:
    """The facts of every boot, by load."""
    reports = {}
    for boot, load in BOOTS.items():
        log = (folder / boot / "serial.log").read_text(errors="replace")
        reports[load] = facts([re.sub(r"^\[ *\d+\.\d+\] ?", "", line.rstrip("\r")) for line in log.split("\n")])
    return reports


def main() -> None:
    """Write the golden file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="one folder a boot, each with a serial.log")
    FILE.write_text(json.dumps(convert(parser.parse_args().folder), indent=1) + "\n")


if __name__ == "__main__":
    main()
