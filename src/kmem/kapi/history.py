"""The history of an address: every allocation that it lay in, every free, in order, and what it is now.

A *step* is an event in which names are words. Steps come from a machine that keeps them (`kmem.kapi.recorder`) or from
a trace (`kmem.trace.history`); `History.of` picks those of one address and puts them together to lives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

from kmem.abi.address import (
    DIRECT_MAP_SIZE,
    KERNEL_TEXT,
    MODULES_END,
    MODULES_VADDR,
    PAGE_OFFSET,
    PAGE_SIZE,
    TASK_SIZE_MAX,
    VMALLOC_END,
    VMALLOC_START,
    VMEMMAP_START,
)
from kmem.errors import InputError, UsageError
from kmem.sanitizers.kmemleak import FREES, NOTHING, SPACE

PAGES = SPACE["mm_page_alloc"]
CACHES = SPACE["kmem_cache_create"]
OUTSIDE = "no module's code"
"""The call site of what Python, or the machine itself, called for."""
UNNAMED = "object of a cache without a name"
"""What is allocated on kernels whose events do not name the cache; the free's event does."""


class UnknownAddress(InputError):
    """No event touches an address that was asked for."""

    slug = "unknown-address"


class Step(NamedTuple):
    """One event. *start* is an address, of pages too; *size* what is given out, of a free 0 where it is not known;
    *number* counts the events from 1.
    """

    number: int
    time: int
    kind: str
    cpu: int
    task: str
    site: str
    start: int
    size: int
    requested: int
    gfp: str
    what: str

    @property
    def frees(self) -> bool:
        """Whether something is freed."""
        return self.kind in FREES

    def covers(self, address: int) -> bool:
        """Whether *address* lies in what the event is about."""
        return self.start <= address < self.start + max(self.size, 1)

    def facts(self) -> dict[str, Any]:
        """As JSON shows it."""
        return self._asdict() | {"start": f"{self.start:#018x}"}


@dataclass
class Life:
    """From an allocation to its free. *begun* is None where the beginning was not recorded, *ended* while it lives."""

    begun: Step | None
    ended: Step | None = None
    how: str = ""
    """``freed``, ``freed again``, or ``handed out again``: without a free in between."""


@dataclass(repr=False)
class History:
    """What happened to *address*, and where it lies."""

    address: int
    source: str
    until: str
    region: str
    lives: list[Life] = field(default_factory=list)
    memory: bytes | None = None
    """What was at the address."""
    shown: int = 40
    """So many of the last events are told as text."""
    _now: dict[int, Life] = field(default_factory=dict)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    @classmethod
    def of(cls, address: int, steps: Iterable[Step], **more: Any) -> History:
        """Put the *steps*, in order of time, together."""
        found = cls(address, **more)
        for step in steps:
            space = SPACE.get(step.kind)
            if space is not None and space != CACHES and step.start not in NOTHING:
                (found._freed if step.frees else found._allocated)(space, step)
        return found

    def _allocated(self, space: int, step: Step) -> None:
        if not step.covers(self.address):
            return
        before = self._now.pop(space, None)
        if before:
            before.ended, before.how = step, "handed out again"
        life = self._now[space] = Life(step)
        self._seen.add((space, step.start))
        self.lives.append(life)

    def _freed(self, space: int, step: Step) -> None:
        life = self._now.get(space)
        begun = life.begun if life else None
        whose = step.covers(self.address) if space == PAGES else begun is not None and begun.start == step.start
        if life and whose:
            if begun and begun.what == UNNAMED and step.what:
                life.begun = begun._replace(what=step.what)
            life.ended, life.how = step, "freed"
            del self._now[space]
        elif (space, step.start) in self._seen and space != PAGES:
            self.lives.append(Life(None, step, "freed again"))
        elif step.start == self.address or (step.size and step.covers(self.address)):
            self._seen.add((space, step.start))
            self.lives.append(Life(None, step, "freed"))

    @property
    def live(self) -> Step | None:
        """The allocation that the address lies in now, the innermost; None if it is free."""
        now = [life.begun for life in self._now.values() if life.begun]
        return min(now, key=lambda step: step.size) if now else None

    def state(self) -> str:
        """What the address is now, in a line."""
        live = self.live
        objects = [life for life in self.lives if not _is_pages(life)]
        last = objects[-1].ended if objects else None
        if live and not (SPACE[live.kind] == PAGES and last):
            return f"in use: {_told(live, self.address)}, since event {live.number}"
        if last is None:
            last = self.lives[-1].ended if self.lives else None
        if last is None:
            return "not known"
        how = f"free since event {last.number}, {last.time / 1e9:.9f} s: {last.kind}() by {last.site or 'the kernel'}"
        return how + ("; its page is still allocated" if live else "")

    def rows(self) -> list[tuple[Step, str]]:
        """Every event in order, with what it did."""
        found: dict[int, tuple[Step, str]] = {}
        for life in self.lives:
            if life.begun:
                found[life.begun.number] = life.begun, _told(life.begun, self.address)
        before: Life | None = None
        for life in self.lives:
            if before and life.begun and not _is_pages(life) and _reuses(before, life):
                step, text = found[life.begun.number]
                found[step.number] = step, f"reused: {text}"
            before = before if _is_pages(life) else life
            if life.ended and life.ended.frees:
                what = f" {life.ended.what}" if life.begun is None and life.ended.what else ""
                early = " (allocated earlier than that)" if life.begun is None and life.how == "freed" else ""
                found[life.ended.number] = life.ended, f"{life.how}{what}{early}"
        return [found[number] for number in sorted(found)]

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        live = self.live
        return {
            "address": f"{self.address:#018x}",
            "region": self.region,
            "state": self.state(),
            "live": live is not None,
            "object": {"start": f"{live.start:#018x}", "size": live.size, "offset": self.address - live.start,
                       "what": live.what} if live else None,
            "history": [step.facts() | {"did": text} for step, text in self.rows()],
            "bytes": self.memory.hex() if self.memory is not None else None,
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def __str__(self) -> str:
        every = self.rows()
        rows = every[-self.shown :]
        lines = [f"{self.address:#018x}: {self.region}", f"  {self.state()} ({self.until})"]
        if len(rows) < len(every):
            lines.append(f"  the last {len(rows)} of {len(every):,} events that are about it:")
        width = max(len(str(step.number)) for step, _ in rows)
        for step, text in rows:
            lines.append(f"  {step.number:>{width}}  {step.time / 1e9:.9f} s  {text}")
            gfp = f", {step.gfp}" if step.gfp and not step.frees else ""
            place = step.site or "the kernel"
            lines.append(f"  {'':{width}}  {step.kind}() by {place}, {step.task}, CPU {step.cpu}{gfp}")
        if self.memory is not None:
            lines += ["  bytes now:", *(f"    {line}" for line in dump(self.address, self.memory))]
        return "\n".join(lines)

    __repr__ = __str__


def _is_pages(life: Life) -> bool:
    step = life.begun or life.ended
    return step is not None and SPACE[step.kind] == PAGES


def _reuses(before: Life, life: Life) -> bool:
    return before.ended is not None and life.begun is not None and before.ended.number <= life.begun.number


def _told(step: Step, address: int) -> str:
    """What an allocation gave, and where in it the address lies."""
    if SPACE[step.kind] == PAGES:
        return f"{step.what}, frames {frame(step.start):#x} to {frame(step.start + step.size - 1):#x}"
    asked = f"{step.requested} of {step.size}" if step.requested and step.requested != step.size else f"{step.size}"
    inside = address - step.start
    place = f", {inside} {'byte' if inside == 1 else 'bytes'} in" if inside else ""
    beyond = ", beyond what was asked for" if step.requested and inside >= step.requested else ""
    return f"{step.what}: {asked} bytes at {step.start:#x}{place}{beyond}"


def address_of(text: str, symbol: Callable[[str], int | None]) -> int:
    """The address that *text* means: ``0xffff888003a41480``, ``pfn:0x3a41`` (the page frame in the direct map), or
    ``name+0x10`` of a name that *symbol* knows. UsageError if it is none of these.
    """
    number = re.fullmatch(r"(pfn:)?(0[xX][0-9a-fA-F]{1,16}|[0-9a-fA-F]{12,16}|\d{1,20})", text)
    if number:
        digits = number[2]
        value = int(digits, 10) if digits.isdecimal() and len(digits) < 12 else int(digits, 16)
        return PAGE_OFFSET + value * PAGE_SIZE if number[1] else value
    named = re.fullmatch(r"([A-Za-z_][\w.:]*)(?:\+(0[xX][0-9a-fA-F]+|\d+))?(?:/\w+)?", text)
    if named is None:
        raise UsageError(f"{text!r} is no address", remedy="An address is 0xffff…, pfn:0x…, or symbol+0x10.")
    base = symbol(named[1])
    if base is None:
        raise UsageError(
            f"{text!r}: no symbol {named[1]!r} is known here",
            remedy="Functions that allocate are known, and what modules that are loaded export; or give the address.",
        )
    return base + int(named[2] or "0", 0)


def frame(address: int) -> int:
    """The page frame of an address of the direct map."""
    return (address - PAGE_OFFSET) // PAGE_SIZE


def region(address: int) -> str:
    """Which part of the address space *address* lies in, without KASLR."""
    if PAGE_OFFSET <= address < PAGE_OFFSET + DIRECT_MAP_SIZE:
        return f"direct map, page frame {frame(address):#x}"
    for begin, end, name in (
        (VMALLOC_START, VMALLOC_END + 1, "vmalloc space"),
        (VMEMMAP_START, VMEMMAP_START + (1 << 40), "the array of struct page"),
        (KERNEL_TEXT, MODULES_VADDR, "the kernel's image"),
        (MODULES_VADDR, MODULES_END, "memory of modules"),
        (0, PAGE_SIZE, "the NULL page"),
        (PAGE_SIZE, TASK_SIZE_MAX, "memory of programs, or an offset of per-cpu memory"),
    ):
        if begin <= address < end:
            return name
    return "no part of the kernel's address space"


def dump(address: int, memory: bytes) -> list[str]:
    """Lines of 16 bytes, in hexadecimal and as text."""
    lines = []
    for at in range(0, len(memory), 16):
        part = memory[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{address + at:016x}  {part.hex(' ', 1):47}  {text}")
    return lines
