"""Every error that kmem raises at a user, in one tree.

An error has a *slug* (stable, short, used to look the error up in the documentation), a message that says what
happened, a *remedy* that says what to do about it, and the exit status that a command ends with.
"""

from __future__ import annotations

from typing import ClassVar


class KmemError(Exception):
    """Base of all errors that are meant for the user."""

    slug: ClassVar[str] = "internal"
    status: ClassVar[int] = 4

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(KmemError):
    """The command line or an argument makes no sense."""

    slug = "usage"
    status = 2


class InputError(KmemError):
    """A file that was given cannot be used."""

    slug = "bad-input"
    status = 2


class ModuleFormatError(InputError):
    """A file is not a kernel module that this kernel can load."""

    slug = "module-format"


class BuildError(InputError):
    """kbuild refused the source."""

    slug = "build"


class HeadersMissing(InputError):
    """There are no kernel headers to build against."""

    slug = "headers-missing"


class UnknownSymbol(InputError):
    """A module wants a symbol that no kernel of this release exports."""

    slug = "unknown-symbol"


class UnsupportedSymbol(KmemError):
    """A module called an exported kernel function that kmem does not have yet."""

    slug = "unsupported-symbol"
    status = 3


class InvariantViolated(KmemError):
    """The simulated memory is not consistent, and the module has nothing to do with it."""

    slug = "invariant"
    status = 4


class InternalError(KmemError):
    """kmem itself is wrong."""

    slug = "internal"
    status = 4
