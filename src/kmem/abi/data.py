"""The files below ``releases/``: one set of facts per modelled release."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from kmem.errors import UsageError

RELEASES = Path(__file__).with_name("releases")


def releases() -> tuple[str, ...]:
    """The names of the modelled releases ("6.1"), sorted."""
    return tuple(sorted(path.stem for path in RELEASES.glob("*.toml")))


@cache
def read(release: str, suffix: str) -> str:
    """The text of ``releases/<release>.<suffix>``. Raises UsageError for a release that is not modelled."""
    try:
        return (RELEASES / f"{release}.{suffix}").read_text(encoding="ascii")
    except FileNotFoundError:
        remedy = f"choose one of: {', '.join(releases())}"
        raise UsageError(f"release {release!r} is not modelled", remedy=remedy) from None
