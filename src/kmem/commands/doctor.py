"""``kmem doctor``: what is installed, what is missing, and one line each on how to get it.

Needs nothing but Python's standard library, so that it also works where the installation did not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kmem.commands import options
from kmem.errors import KmemError

PACKAGES = ("unicorn", "numba", "numpy", "llvmlite", "pyelftools", "capstone")
TOOLS = {"gcc": "gcc", "make": "make", "ld": "binutils", "objcopy": "binutils"}
"""Programs that kbuild calls, and the Debian package of each."""

STYLE = {"ok": "green", "missing": "red", "absent": "yellow"}
NEEDED_MEMORY = 1 << 30
NEEDED_DISK = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. *state* is ``ok``, ``missing`` or, for what kmem can do without, ``absent``."""

    name: str
    state: str
    found: str
    remedy: str = ""


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem doctor``."""
    result = options.new_parser("doctor", "Say what is installed, what is missing, and how to get it.")
    result.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return result


def main(words: list[str]) -> int:
    """Look at everything; the exit status is 1 when something that kmem needs is missing."""
    args = parser().parse_args(words)
    checks = list(look())
    healthy = all(check.state != "missing" for check in checks)
    if args.json:
        import json

        print(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
        return 0 if healthy else 1

    from kmem.report.table import ink_for

    ink = ink_for(sys.stdout)
    for check in checks:
        print(f"{check.name:11} {ink(STYLE[check.state], f'{check.state:8}')} {check.found}".rstrip())
        if check.remedy:
            print(f"{'':20} {check.remedy}")
    print("\nEverything that kmem needs is there." if healthy else "\nSomething that kmem needs is missing.")
    return 0 if healthy else 1


def look() -> Iterator[Check]:
    """Yield every check, what the others rest on first."""
    yield _python()
    yield from _packages()
    yield _core()
    yield from (_tool(program, package) for program, package in TOOLS.items())
    yield _libelf()
    yield _headers()
    yield _memory()
    yield _disk()
    qemu = shutil.which("qemu-system-x86_64")
    remedy = "" if qemu else "only to ask a real kernel yourself: apt-get install qemu-system-x86"
    yield Check("qemu", "ok" if qemu else "absent", qemu or "", remedy)


def _python() -> Check:
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if not hasattr(os, "memfd_create"):
        return Check("python", "missing", found, "kmem needs Linux (memfd_create)")
    return Check("python", "ok", found)


def _packages() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    for name in PACKAGES:
        try:
            yield Check(name, "ok", version(name))
        except PackageNotFoundError:
            yield Check(name, "missing", "", "./dev setup")


def _core() -> Check:
    from kmem.lib.build import object_path

    path = object_path(options.RELEASE)
    if path.exists():
        return Check("core", "ok", f"compiled for {options.RELEASE}: {path}")
    return Check("core", "absent", "not compiled yet", "./dev setup   (or the first run does it, once, in 20 s)")


def _tool(program: str, package: str) -> Check:
    path = shutil.which(program)
    return Check(program, "ok" if path else "missing", path or "", "" if path else f"apt-get install {package}")


def _libelf() -> Check:
    import ctypes

    try:
        ctypes.CDLL("libelf.so.1")
    except OSError:
        return Check("libelf", "missing", "", "apt-get install libelf1   (kbuild's objtool needs it)")
    return Check("libelf", "ok", "libelf.so.1")


def _headers() -> Check:
    from kmem.modules.headers import find

    try:
        headers = find(options.RELEASE)
    except KmemError as error:
        return Check("headers", "missing", error.message, error.remedy)
    if headers is None:
        return Check("headers", "missing", "", f"kmem headers {options.RELEASE}")
    return Check("headers", "ok", f"{headers.version} at {headers.path} ({headers.source})")


def _memory() -> Check:
    available = 0
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) << 10
    state = "ok" if available >= NEEDED_MEMORY else "missing"
    return Check("memory", state, f"{available >> 20} MiB available", "" if state == "ok" else "kmem wants 1 GiB")


def _disk() -> Check:
    from kmem.lib.build import cache_dir

    place = cache_dir()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    state = "ok" if free >= NEEDED_DISK and os.access(place, os.W_OK) else "missing"
    remedy = (
        ""
        if state == "ok"
        else "kmem keeps compiled code and headers there: 1 GiB, writable; KMEM_CACHE names another place"
    )
    return Check("disk", state, f"{free >> 20} MiB free at {Path(place)}", remedy)
