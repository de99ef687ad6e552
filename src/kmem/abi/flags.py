"""How the kernel prints a word of flags, and its inverse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from kmem.abi.data import read
from kmem.errors import UsageError


@cache
def _tables(release: str) -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(read(release, "flags.json"))
    return tables


def flag_names(table: str, release: str) -> Mapping[str, int]:
    """Names and masks of "gfp", "page" or "vma" flags in `release`, in the order in which the kernel tries them.

    Raises UsageError for a release that is not modelled.
    """
    names: Mapping[str, int] = _tables(release)[table]
    return names


def vmstat_names(release: str) -> tuple[str, ...]:
    """``const char * const vmstat_text[]``, mm/vmstat.c: the lines of /proc/vmstat in their order."""
    return tuple(_tables(release)["vmstat"])


def format_flags(flags: int, names: Mapping[str, int]) -> str:
    """``static char *format_flags(char *, char *, unsigned long, const struct trace_print_flags *)``, lib/vsprintf.c.

    Names are tried in the order of `names`; one that matches takes its bits away. Bits without a name come last, in
    hexadecimal. No bits give the empty string.
    """
    words = []
    for name, mask in names.items():
        if not flags:
            break
        if flags & mask == mask:
            words.append(name)
            flags &= ~mask
    if flags:
        words.append(f"{flags:#x}")
    return "|".join(words)


def parse_flags(text: str, names: Mapping[str, int]) -> int:
    """The flags that `text` spells: names and numbers joined by ``|``. Raises UsageError for an unknown name."""
    flags = 0
    for word in text.split("|"):
        word = word.strip()
        if word in names:
            flags |= names[word]
            continue
        try:
            flags |= int(word, 0)
        except ValueError:
            raise UsageError(f"unknown flag {word!r}", remedy=f"known are: {', '.join(names)}") from None
    return flags
