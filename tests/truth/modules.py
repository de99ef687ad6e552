"""The modules of tests/kmod that ask, and how they are loaded to give the facts of a golden file."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from kmem.modules.kbuild import build
from tests.truth.facts import Golden

KMOD = Path(__file__).resolve().parent.parent / "kmod"
SOURCES = {
    "km1024": KMOD / "basic" / "km1024.c",
    "vm1024": KMOD / "basic" / "vm1024.c",
    "probe": KMOD / "probe",
    "burst": KMOD / "burst",
    "bug": KMOD / "bug",
    "usermem": KMOD / "usermem",
}
VERSION = "6.1.0-56-amd64"
"""The kernel that the golden facts come from."""


@functools.cache
def built(module: str) -> Path:
    """Return the module, built against the headers of the golden facts' kernel where they are there."""
    (path,) = build(SOURCES[module], version=VERSION).modules
    return path


def loads(golden: Golden) -> Iterable[str]:
    """The parameters of each load that *golden* has facts of; a module without parameters is loaded once."""
    if golden.module not in ("burst", "bug"):
        return [""]
    return dict.fromkeys(fact.step for fact in golden.facts)
