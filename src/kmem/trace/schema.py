"""The one schema: an event is the record of :class:`kmem.mm.stream.Event`, kept in columns.

``ptr`` is the address, for page events the page frame number. ``cache`` is an index into the trace's strings. A
``call_site`` below 2**32 is one too (text formats name the function, not its address); any other is an address.
``context`` is the preempt depth, with a bit each for softirq, hardirq and NMI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kmem.abi.flags import flag_names
from kmem.mm import events

RECORDED = ("mm_page_free_batched", "mm_page_pcpu_drain", "mm_page_alloc_extfrag", "mm_page_alloc_zone_locked")
"""Events that kernels trace and the machine does not emit. Of ``extfrag``, *requested* is the fallback order."""

KINDS = (*events.KINDS, *RECORDED)
"""Names by kind."""

NUMBER = {name: number for number, name in enumerate(KINDS)}
OLD_NAMES = {"kmalloc_node": "kmalloc", "kmem_cache_alloc_node": "kmem_cache_alloc"}
"""Events of kernels before 6.1, and what they are called now."""

SOFTIRQ, HARDIRQ, NMI = 0x100, 0x1000, 0x2000
"""Bits of ``context``."""


class Column(NamedTuple):
    """One column: its name, its type, and what an event has that does not tell."""

    name: str
    dtype: str
    default: int


COLUMNS = (
    Column("time", "<u8", 0),
    Column("call_site", "<u8", 0),
    Column("ptr", "<u8", 0),
    Column("requested", "<u8", 0),
    Column("allocated", "<u8", 0),
    Column("gfp", "<u4", 0),
    Column("task", "<u4", 0),
    Column("cache", "<u4", 0),
    Column("cpu", "<u2", 0),
    Column("context", "<u2", 0),
    Column("node", "<i2", -1),
    Column("kind", "u1", 0),
    Column("order", "u1", 0),
)
"""In the order in which compiled code knows them."""

Array = npt.NDArray[Any]


class Columns:
    """Room for *capacity* events, used again and again; *n* of them are there."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.n = 0
        self.arrays: dict[str, Array] = {c.name: np.full(capacity, c.default, c.dtype) for c in COLUMNS}
        self.addresses: Array = np.array([a.ctypes.data for a in self.arrays.values()], np.int64)

    def __getitem__(self, name: str) -> Array:
        """The *n* values of the column *name*."""
        return self.arrays[name][: self.n]

    def cut(self, wanted: Array) -> Columns:
        """The events that the mask *wanted* keeps, in room of their own."""
        kept = Columns(int(np.count_nonzero(wanted)) or 1)
        kept.n = int(np.count_nonzero(wanted))
        for name, array in self.arrays.items():
            kept.arrays[name][: kept.n] = array[: self.n][wanted]
        return kept


@dataclass
class Info:
    """What is known of a trace besides its events. Counts grow while it is read."""

    source: str = ""
    release: str = ""
    cpus: int = 0
    clock: str = ""
    events: int = 0
    lost: int = 0
    unparsed: int = 0
    skipped: int = 0
    """Events of kinds that have nothing to do with memory."""
    torn: int = 0
    """Bytes at the end that could not be read."""
    hashed: bool = False
    """Pointers are hashed: frees cannot be told from their place."""
    strings: list[str] = field(default_factory=lambda: [""])
    symbols: dict[int, str] = field(default_factory=dict)
    tasks: dict[int, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    """Files of the kernel when the recording began: slabinfo, buddyinfo, zoneinfo, ``slab`` as JSON of its sysfs."""
    after: dict[str, str] = field(default_factory=dict)


class Recording(Protocol):
    """A trace that can be read any number of times."""

    info: Info

    def batches(self) -> Iterator[Columns]:
        """The events in order of time, some at a time; each batch is overwritten by the next."""
        ...


def site_name(info: Info, site: int) -> str:
    """How a person calls a call site."""
    if site < 1 << 32:
        return info.strings[site] if 0 < site < len(info.strings) else "?"
    return info.symbols.get(site) or f"{site:#x}"


def gfp_names(info: Info) -> Mapping[str, int]:
    """Names of gfp flags: those of the modelled release that is nearest to the recorded kernel."""
    older = info.release in ("", "6.1") or info.release.startswith(("6.1.", "6.1-"))
    return flag_names("gfp", "6.1" if older and "sheaf_capacity" not in info.before.get("slab", "") else "6.12")
