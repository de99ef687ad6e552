"""The one place that chooses how model code runs, and the only one that says ``njit``.

Model code (the allocators) is written once. It runs in one of two ways:

* **compiled** (the normal one): :mod:`kmem.lib.build` imports the model with ``KMEM_CORE=compile`` set, in a process
of its own,
  and keeps the machine code; a run loads that and never imports Numba or the model's source;
* **interpreted**, with ``NUMBA_DISABLE_JIT=1``: the same source as plain Python, 1,000 times slower, for debugging and
as the
  proof that both reach the same RAM.

Model code takes everything that touches memory from here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

COMPILING = os.environ.get("KMEM_CORE") == "compile"
INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")

if TYPE_CHECKING or not COMPILING:
    from kmem.lib.raw import (
        address,
        bswap64,
        container_of,
        copy,
        ctz,
        fill,
        fls64,
        load8,
        load16,
        load32,
        load64,
        lshr,
        mul64,
        offsetof,
        ptr,
        root,
        shl,
        sizeof,
        store8,
        store16,
        store32,
        store64,
        ult,
        unwind,
        upcall,
    )
else:
    from kmem.lib.ptrtype import (
        address,
        bswap64,
        container_of,
        copy,
        ctz,
        fill,
        fls64,
        load8,
        load16,
        load32,
        load64,
        lshr,
        mul64,
        offsetof,
        ptr,
        root,
        shl,
        sizeof,
        store8,
        store16,
        store32,
        store64,
        ult,
        unwind,
        upcall,
    )

__all__ = [
    "COMPILING",
    "ENTRIES",
    "INTERPRETED",
    "address",
    "always_inline",
    "bswap64",
    "container_of",
    "copy",
    "ctz",
    "entry",
    "fill",
    "fls64",
    "jit",
    "load8",
    "load16",
    "load32",
    "load64",
    "lshr",
    "mul64",
    "noinline",
    "offsetof",
    "ptr",
    "root",
    "shl",
    "sizeof",
    "store8",
    "store16",
    "store32",
    "store64",
    "ult",
    "unwind",
    "upcall",
]

ENTRIES: dict[str, tuple[Callable[..., Any], int]] = {}
"""Functions that Python may call, with the number of integers that they take after the RAM."""

NOINLINE: set[tuple[str, str]] = set()
"""Functions, by module and name, that are never inlined."""

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """Mark a function of the model: compiled with the others, or left as it is."""
    return _compiled(function, False)


def always_inline(function: _F) -> _F:
    """``__always_inline``: a function of the model that is short, or called from one hot place."""
    return _compiled(function, True)


def noinline(function: _F) -> _F:
    """``noinline``: a function of the model that is off the fast path and shall not lengthen it."""
    NOINLINE.add((function.__module__, function.__name__))
    return _compiled(function, False)


def _compiled(function: _F, inline: bool) -> _F:
    if not COMPILING:
        return function
    import numba

    options = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": inline}
    compiled: _F = numba.njit(**options)(function)
    return compiled


def entry(function: _F) -> _F:
    """Mark a function ``f(ram, *integers) -> integer`` that Python calls. Stands below the kernel function that it
    wraps.
    """
    ENTRIES[function.__name__] = (function, function.__code__.co_argcount - 1)
    return noinline(function)
