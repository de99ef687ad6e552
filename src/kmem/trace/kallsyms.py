"""Names for the call sites of a recording, from /proc/kallsyms."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

_ADDRESS = re.compile("[0-9a-f]{1,16}")


def names_of(sites: Iterable[int], kallsyms: str) -> dict[int, str]:
    """``fn+0x55`` for each address that lies behind a symbol."""
    found: list[tuple[int, str]] = []
    for line in kallsyms.splitlines():
        words = line.split()
        if len(words) >= 3 and words[1] in "tTwW" and _ADDRESS.fullmatch(words[0]):
            found.append((int(words[0], 16), words[2]))
    found.sort()
    starts = [address for address, _ in found]
    if not starts or not starts[-1]:
        return {}
    named = {}
    for site in sites:
        at = bisect_right(starts, site) - 1
        if at >= 0 and site - starts[at] < 1 << 20:
            named[site] = f"{found[at][1]}+{site - starts[at]:#x}"
    return named
