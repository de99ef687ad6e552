"""Plain text: tables that fit their content, and colour for terminals that have it."""

from __future__ import annotations

import os
from typing import TextIO

from kmem.lib.columns import table

__all__ = ["Ink", "ink_for", "plural", "size", "table"]

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Ink:
    """Colours words when *enabled*; otherwise hands them back as they are."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, style: str, text: str) -> str:
        """Return *text* in *style*, one of ``CODES``."""
        return f"\x1b[{CODES[style]}m{text}\x1b[0m" if self.enabled else text


def ink_for(stream: TextIO) -> Ink:
    """Return the ink for *stream*: colour on a terminal, unless NO_COLOR is set or the terminal is dumb."""
    return Ink(stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb")


def size(count: int) -> str:
    """Return *count* bytes with the unit that leaves no fraction: ``64K``, ``512M``, ``1000``."""
    for unit, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift}{unit}"
    return str(count)


def plural(count: int, word: str) -> str:
    """Return ``1 page``, ``2 pages``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
