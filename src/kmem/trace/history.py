"""What a trace tells of addresses (`kmem x`): one reading, in which the events of the addresses are picked out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kmem.abi.address import DIRECT_MAP_SIZE, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE
from kmem.abi.flags import format_flags
from kmem.kapi.history import UNNAMED, History, Step, UnknownAddress, address_of, region
from kmem.mm.events import IOUNMAP, KFREE, KMALLOC, KMEM_CACHE_FREE, MM_PAGE_ALLOC, MM_PAGE_FREE, VMALLOC
from kmem.sanitizers.kmemleak import NOTHING
from kmem.trace.before import page_offset
from kmem.trace.schema import KINDS, Array, Columns, Info, Recording, gfp_names, site_name
from kmem.trace.state import caches_of

LARGEST_OBJECT = 1 << 16
"""Frees of what the trace did not see being allocated are looked at so far below an address."""
FAR = 1 << 30
"""An object that is further away is no neighbour."""
_CODE = re.compile(r"(\S+?)\+0x([0-9a-f]+)(?:/0x([0-9a-f]+))?")


@dataclass(frozen=True)
class Moment:
    """Up to when: a number of an event, or nanoseconds; 0 for neither."""

    event: int = 0
    time: int = 0


WHOLE = Moment()


@dataclass
class Near:
    """The nearest objects below and above an address that the trace mentions."""

    below: Step | None = None
    above: Step | None = None


@dataclass
class _Wanted:
    """One address, and what was found of it."""

    address: int
    steps: list[Step] = field(default_factory=list)
    starts: set[int] = field(default_factory=set)
    near: Near = field(default_factory=Near)


class Reader:
    """Looks for addresses in one trace."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.info: Info = recording.info
        self._gfp = gfp_names(self.info)
        self._offset: int | None = None if self.info.clock != "simulated" else PAGE_OFFSET
        states, aliases = caches_of(self.info.before)
        self._sizes = {name: state.size for name, state in states.items()}
        self._sizes |= {alias: self._sizes[name] for alias, name in aliases.items() if name in self._sizes}
        self._last = 0

    def find(self, addresses: Sequence[int], moment: Moment = WHOLE) -> list[History | UnknownAddress]:
        """The history of each address, or the error that says that there is none."""
        wanted = [_Wanted(address) for address in addresses]
        count = 0
        for batch in self._recording.batches():
            if self._offset is None:
                self._offset = page_offset(batch)
            n = batch.n
            if moment.event:
                n = min(n, moment.event - count)
            elif moment.time:
                n = int(np.searchsorted(batch["time"], np.uint64(moment.time), "right"))
            if n > 0:
                for one in wanted:
                    self._pick(batch, n, count, one)
                self._last = int(batch["time"][n - 1])
                count += n
            if n < batch.n:
                break
        return [self._history(one, count) for one in wanted]

    def _pick(self, batch: Columns, n: int, before: int, one: _Wanted) -> None:
        """The events of a batch that are about an address."""
        kind, ptr = batch["kind"][:n], batch["ptr"][:n]
        address = np.uint64(one.address)
        size = np.maximum(np.where(batch["allocated"][:n] > 0, batch["allocated"][:n], batch["requested"][:n]), 1)
        none = np.isin(ptr, np.array(NOTHING, np.uint64))
        allocates = (kind <= IOUNMAP) & (kind & 1 == KMALLOC) & (kind != MM_PAGE_ALLOC) & ~none
        below = ptr <= address
        covering = allocates & below & (address - ptr < size)
        one.starts |= set(ptr[covering].tolist())
        frees = (kind <= IOUNMAP) & (kind & 1 == KFREE) & (kind != MM_PAGE_FREE) & ~none
        theirs = frees & np.isin(ptr, np.array(sorted(one.starts | {one.address}), np.uint64))
        unseen = frees & (kind <= KMEM_CACHE_FREE) & below & (address - ptr < np.uint64(LARGEST_OBJECT))
        picked = covering | theirs | unseen | self._pages(batch, n, one.address)
        for i in np.flatnonzero(picked).tolist():
            step = self._step(batch, i, before + i + 1)
            if covering[i] or theirs[i] or step.covers(one.address):
                one.steps.append(step)
        if not one.starts:
            self._neighbours(batch, before, one, allocates & (kind < VMALLOC), size)

    def _pages(self, batch: Columns, n: int, address: int) -> Array:
        """Page events of the frame behind an address of the direct map."""
        kind = batch["kind"][:n]
        pages: Array = (kind == MM_PAGE_ALLOC) | (kind == MM_PAGE_FREE)
        if self._offset is None or not 0 <= address - self._offset < DIRECT_MAP_SIZE:
            return pages & False
        pfn = np.uint64((address - self._offset) >> PAGE_SHIFT)
        head, order = batch["ptr"][:n], batch["order"][:n].astype(np.uint64)
        found: Array = pages & (head <= pfn) & (pfn - head < np.uint64(1) << order)
        return found

    def _neighbours(self, batch: Columns, before: int, one: _Wanted, objects: Array, size: Array) -> None:
        """Keep the nearest objects at both sides."""
        ptr, address = batch["ptr"][: len(objects)], np.uint64(one.address)
        lower = np.flatnonzero(objects & (ptr < address))
        if lower.size:
            i = int(lower[np.argmax(ptr[lower] + size[lower])])
            step = self._step(batch, i, before + i + 1)
            if one.near.below is None or step.start + step.size > one.near.below.start + one.near.below.size:
                one.near.below = step
        upper = np.flatnonzero(objects & (ptr > address))
        if upper.size:
            i = int(upper[np.argmin(ptr[upper])])
            step = self._step(batch, i, before + i + 1)
            if one.near.above is None or step.start < one.near.above.start:
                one.near.above = step

    def _step(self, batch: Columns, i: int, number: int) -> Step:
        """One event, in words."""

        def value(column: str) -> int:
            return int(batch[column][i])

        info, kind = self.info, KINDS[value("kind")]
        pages, order, cache = kind.startswith("mm_page"), value("order"), value("cache")
        name = info.strings[cache] if 0 < cache < len(info.strings) else ""
        size = PAGE_SIZE << order if pages else value("allocated") or value("requested")
        if not size and name:
            size = self._sizes.get(name, 0)
        known = "" if kind.endswith("free") else UNNAMED if kind == "kmem_cache_alloc" else kind.split("_")[0]
        task, site = value("task"), value("call_site")
        return Step(
            number,
            value("time"),
            kind,
            value("cpu"),
            f"{info.tasks[task]} ({task})" if task in info.tasks else f"task {task}",
            site_name(info, site) if site else "",
            (self._offset or 0) + (value("ptr") << PAGE_SHIFT) if pages else value("ptr"),
            size,
            value("requested"),
            format_flags(value("gfp"), self._gfp) if value("gfp") else "",
            name or (f"pages of order {order}" if pages else known),
        )

    def _history(self, one: _Wanted, events: int) -> History | UnknownAddress:
        until = f"after {events:,} events, {self._last / 1e9:.9f} s"
        found = History.of(
            one.address, one.steps, source=self.info.source, until=until, region=self._region(one.address)
        )
        if found.lives:
            return found
        around = []
        for step, where in ((one.near.below, "before it"), (one.near.above, "after it")):
            if step:
                away = one.address - step.start - step.size if where == "before it" else step.start - one.address
                if away > FAR:
                    continue
                place = f"{step.what} at {step.start:#x}, {step.size} bytes, {away} bytes {where}"
                around.append(f"{place}: event {step.number}, {step.site or 'the kernel'}")
        return UnknownAddress(
            f"{one.address:#x}: no event of {self.info.source} allocates or frees what is there ({found.region})",
            remedy="The nearest objects are:\n" + "\n".join(f"  {line}" for line in around)
            if around
            else f"The trace has no objects within {FAR >> 30} GiB of it.",
        )

    def _region(self, address: int) -> str:
        """Where an address lies; of a kernel with KASLR only its direct map is known."""
        owner = code_at(self.info.symbols, address)
        if owner:
            return f"code: {owner}"
        if self._offset not in (None, PAGE_OFFSET):
            assert self._offset is not None
            inside = 0 <= address - self._offset < DIRECT_MAP_SIZE
            return (
                f"direct map, page frame {(address - self._offset) >> PAGE_SHIFT:#x}"
                if inside
                else "not the direct map"
            )
        return region(address)


def code_at(symbols: Mapping[int, str], address: int) -> str:
    """The function that *address* lies in, of those that call sites name; nothing if it is none's."""
    for site, name in symbols.items():
        found = _CODE.match(name)
        if found and found[3]:
            start = site - int(found[2], 16)
            if start <= address < start + int(found[3], 16):
                return f"{found[1]}+{address - start:#x}"
    return ""


def resolve(text: str, info: Info, symbols: Mapping[str, int]) -> int:
    """The address that is meant (`kmem.kapi.history.address_of`): *symbols*, or functions that call sites name."""

    def known(name: str) -> int | None:
        if name in symbols:
            return symbols[name]
        for site, call in info.symbols.items():
            found = _CODE.match(call)
            if found and found[1] == name:
                return site - int(found[2], 16)
        return None

    return address_of(text, known)
