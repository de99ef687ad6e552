"""The one error that malformed traces raise."""

from __future__ import annotations

from kmem.errors import InputError


class TraceError(InputError):
    """A file is not a trace that can be read."""

    slug = "trace-format"
