"""What compiled code asks of Python: to print a report, to run guest code, to decide what only the whole kernel knows.

An upcall is synchronous, so a report is made before the state that it shows is repaired.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import noinline, unwind, upcall
from kmem.mm.codes import UP_BUG, UP_WARN


@noinline
def tell(k: Any, code: int, a: int, b: int, c: int, d: int) -> int:
    """Make the upcall *code* and return its answer."""
    return upcall(k, code, a, b, c, d)


@noinline
def warn(k: Any, where: int, a: int, b: int) -> None:
    """``WARN_ON_ONCE`` at the place *where* (:mod:`kmem.mm.places`)."""
    upcall(k, UP_WARN, where, a, b, 0)


@noinline
def bug(k: Any, where: int, a: int, b: int) -> None:
    """``BUG_ON`` at the place *where*: the kernel stops here."""
    upcall(k, UP_BUG, where, a, b, 0)
    unwind(k)
