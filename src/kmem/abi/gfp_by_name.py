"""GFP masks that mean the same on every release: ``kmem.GFP_ATOMIC`` and its like.

A mask of `kmem.abi.gfp` is a number of release 6.1, where GFP_ATOMIC is 0xa20; in 6.12 it is 0x820. A `Gfp` remembers
the names that it was made of, and `Kernel` gives each call the bits that its own release has for them. A plain integer
is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from kmem.abi.flags import flag_names

BASE = "6.1"
"""The release whose bits a mask has as a number."""


class Gfp(int):
    """The union of named masks and of plain bits."""

    names: frozenset[str]
    plain: int

    def __new__(cls, names: frozenset[str], plain: int = 0) -> Gfp:
        self = super().__new__(cls, _bits(names, BASE) | plain)
        self.names, self.plain = names, plain
        return self

    def __or__(self, other: int) -> Gfp:
        if isinstance(other, Gfp):
            return Gfp(self.names | other.names, self.plain | other.plain)
        return Gfp(self.names, self.plain | other)

    __ror__ = __or__

    def bits(self, release: str) -> int:
        """The mask as a number of *release*. A flag that it does not have asks for nothing."""
        return _bits(self.names, release) | self.plain

    def __repr__(self) -> str:
        return "|".join([*sorted(self.names), *([f"{self.plain:#x}"] if self.plain else [])])

    def __reduce__(self) -> Any:
        return Gfp, (self.names, self.plain)


def _bits(names: frozenset[str], release: str) -> int:
    known = flag_names("gfp", release)
    found = 0
    for name in names:
        found |= known.get(name, 0)
    return found


@cache
def differs(release: str) -> bool:
    """Whether some name has other bits in *release* than in the release that numbers are of."""
    return dict(flag_names("gfp", release)) != dict(flag_names("gfp", BASE))


def resolve(arg: Any, release: str) -> Any:
    """An argument of a call: a `Gfp` as a number of *release*, anything else as it is."""
    return arg.bits(release) if isinstance(arg, Gfp) else arg


def by_name(function: Callable[..., Any], release: str) -> Callable[..., Any]:
    """*function* with each `Gfp` among its arguments as a number of *release*."""

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        return function(
            *(resolve(arg, release) for arg in args), **{name: resolve(arg, release) for name, arg in named.items()}
        )

    return call


GFP_ATOMIC, GFP_KERNEL, GFP_NOWAIT, GFP_NOIO, GFP_NOFS, GFP_USER, GFP_DMA, GFP_DMA32 = (
    Gfp(frozenset((name,)))
    for name in (
        "GFP_ATOMIC",
        "GFP_KERNEL",
        "GFP_NOWAIT",
        "GFP_NOIO",
        "GFP_NOFS",
        "GFP_USER",
        "GFP_DMA",
        "GFP_DMA32",
    )
)
