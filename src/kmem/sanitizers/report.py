"""Findings: what a run has shown to be wrong, one value each, whoever found it.

A finding has a kind from a closed list, a message of one line, the kernel's own report text, and a site (the module's
function and line) by which repetitions are recognised. `classify` names the kind of a CPU fault from the address alone;
whoever knows more (a freed object, a slab's free list) makes a better finding and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kmem.abi.address import TASK_SIZE_MAX
from kmem.machine.fault import DF, GP, PF, PF_INSTR, PF_PROT, PF_WRITE, Fault

if TYPE_CHECKING:
    from kmem.lib.columns import Table

PAGE_SIZE = 4096
POISON_FREE_WORD = 0x6B6B6B6B6B6B6B6B
"""What slub_debug leaves in a freed object; used as a pointer it is not canonical."""
POISON_REACH = 1 << 16
"""How far from a poison value an address may be and still come from it: a member offset was added."""
LIST_POISON1 = 0xDEAD000000000100
"""What ``list_del()`` leaves in ``next`` of an entry; LIST_POISON2, in ``prev``, is 0x22 above."""


class Kind(StrEnum):
    """Every kind of finding: the first word of its line and the ``kind`` of its JSON."""

    NULL_DEREFERENCE = "null-dereference"
    WILD_POINTER = "wild-pointer"
    OUT_OF_BOUNDS = "out-of-bounds"
    USE_AFTER_FREE = "use-after-free"
    DOUBLE_FREE = "double-free"
    INVALID_FREE = "invalid-free"
    MISMATCHED_FREE = "mismatched-free"
    FREELIST_CORRUPTION = "freelist-corruption"
    UNINITIALISED_LEAK = "uninitialised-leak"
    LEAK = "leak"
    SLEEP_IN_ATOMIC = "sleep-in-atomic"
    BAD_GFP = "bad-gfp"
    TOO_LARGE = "too-large"
    READ_ONLY_WRITE = "read-only-write"
    EXEC_FAULT = "exec-fault"
    STACK_OVERFLOW = "stack-overflow"
    PAGE_TABLE_WRITE = "page-table-write"
    API_MISUSE = "api-misuse"
    BUG = "bug"
    WARNING = "warning"
    HANG = "hang"
    DEADLOCK = "deadlock"


@dataclass(frozen=True, slots=True)
class SlabObject:
    """The object that a finding is about; *allocated_at* and *freed_at* are "drv.c:41" or "drv_init+0x2c"."""

    cache: str
    size: int
    allocated_at: str = ""
    freed_at: str = ""

    def __str__(self) -> str:
        parts = [f"allocated {self.allocated_at}" if self.allocated_at else ""]
        parts.append(f"freed {self.freed_at}" if self.freed_at else "")
        history = ", ".join(part for part in parts if part)
        return f"{self.cache} object {history}".rstrip()


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. Empty strings and None mean "not known".

    *message* says what happened, without the site: "read of 8 bytes". *function*, *offset*, *file* and *line* are the
    module code to look at. *access* is read, write or exec, *size* its bytes. *event* is the number of the event in the
    run's event stream. *text* is the kernel's own report, *reproduce* the options that make it happen again.
    """

    kind: Kind
    message: str
    function: str = ""
    offset: int = 0
    file: str = ""
    line: int = 0
    address: int | None = None
    access: str = ""
    size: int | None = None
    object: SlabObject | None = None
    event: int | None = None
    text: tuple[str, ...] = ()
    reproduce: str = ""
    advice: str = ""
    """Why it is wrong, and what to do instead."""

    @property
    def site(self) -> tuple[str, int]:
        """What two reports of one defect have in common besides their kind."""
        return (self.function, self.offset) if self.function else (self.file, self.line) if self.file else ("", 0)

    @property
    def summary(self) -> str:
        """Message, site and object in one line."""
        text = self.message
        if self.function:
            text += f" at {self.function}+{self.offset:#x}"
        if self.file:
            place = f"{self.file}:{self.line}"
            text += f" ({place})" if self.function else f" at {place}"
        return "; ".join(str(part) for part in (text, self.object, self.advice) if part)

    def __str__(self) -> str:
        """``use-after-free: read of 8 bytes at drv_remove+0x2c (drv.c:88); kmalloc-64 object allocated drv.c:41``."""
        return f"{self.kind}: {self.summary}"

    def to_json(self) -> dict[str, Any]:
        """The object of ``kmem run --json``: fixed names; what is not known is null; addresses are strings."""
        thing = self.object
        return {
            "kind": str(self.kind),
            "message": self.summary,
            "function": self.function or None,
            "offset": self.offset if self.function else None,
            "file": self.file or None,
            "line": self.line if self.file else None,
            "address": None if self.address is None else f"{self.address:#018x}",
            "access": self.access or None,
            "size": self.size,
            "object": None
            if thing is None
            else {
                "cache": thing.cache,
                "size": thing.size,
                "allocated_at": thing.allocated_at or None,
                "freed_at": thing.freed_at or None,
            },
            "event": self.event,
        }


class Findings:
    """The findings of a run in the order they were made, each site once."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Kind, tuple[str, int]], int] = {}
        self._findings: list[Finding] = []

    def add(self, finding: Finding) -> bool:
        """Keep *finding* unless one of its kind and site is there; says whether it was new.

        Without a site nothing is known that two findings could share, so both are kept.
        """
        key = (finding.kind, finding.site)
        self._counts[key] = self._counts.get(key, 0) + 1
        if finding.site != ("", 0) and self._counts[key] > 1:
            return False
        self._findings.append(finding)
        return True

    def count(self, finding: Finding) -> int:
        """How often the defect of *finding* was reported."""
        return self._counts.get((finding.kind, finding.site), 0)

    @property
    def total(self) -> int:
        """How often something was reported, repetitions included."""
        return sum(self._counts.values())

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __len__(self) -> int:
        return len(self._findings)

    def table(self) -> Table[FindingRow]:
        """The findings as a table."""
        from kmem.lib.columns import Table

        rows = [FindingRow(str(one.kind), one.summary, self.count(one)) for one in self]
        return Table("findings", FindingRow, rows)

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def __rich__(self) -> Any:
        return self.table().__rich__()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


class FindingRow(NamedTuple):
    """A row of the table of findings."""

    kind: str
    what: str
    times: int


class Regions(Protocol):
    """The release's address map (`kmem.abi.release.AddressMap`); ends are exclusive."""

    @property
    def page_offset(self) -> int: ...
    @property
    def page_offset_end(self) -> int: ...
    @property
    def vmalloc_start(self) -> int: ...
    @property
    def vmalloc_end(self) -> int: ...
    @property
    def vmemmap_start(self) -> int: ...
    @property
    def vmemmap_end(self) -> int: ...
    @property
    def start_kernel_map(self) -> int: ...
    @property
    def modules_vaddr(self) -> int: ...
    @property
    def modules_end(self) -> int: ...
    @property
    def task_size_max(self) -> int: ...


def region(address: int, regions: Regions) -> str:
    """What part of the kernel's address space *address* lies in, in words."""
    if address < PAGE_SIZE:
        return f"NULL + {address:#x}" if address else "NULL"
    if address < regions.task_size_max:
        return "user space"
    for name, start, end in (
        ("the direct map", regions.page_offset, regions.page_offset_end),
        ("vmalloc space", regions.vmalloc_start, regions.vmalloc_end),
        ("the array of struct page", regions.vmemmap_start, regions.vmemmap_end),
        ("the kernel image", regions.start_kernel_map, regions.modules_vaddr),
        ("module space", regions.modules_vaddr, regions.modules_end),
    ):
        if start <= address < end:
            return name
    if address >= (1 << 64) - PAGE_SIZE:
        return "the last page, where error pointers point"
    return "kernel space that is not in use" if address >> 47 == (1 << 17) - 1 else "not a canonical address"


def classify(
    fault: Fault,
    *,
    in_allocator: bool = False,
    stack: tuple[int, int] | None = None,
    is_page_table: Callable[[int], bool] | None = None,
) -> Kind:
    """The kind of a fault, from vector, error code and address.

    *in_allocator*: the fault happened while the allocator followed a free pointer. *stack* (begin, end) is the running
    task's. *is_page_table* tells whether an address holds page tables.
    """
    address, code = fault.address, fault.error_code
    guarded = stack is not None and stack[0] - PAGE_SIZE <= address < stack[0]
    if fault.vector in (PF, DF) and guarded:
        return Kind.STACK_OVERFLOW
    if fault.vector not in (PF, GP, 12):
        return Kind.BUG
    if in_allocator:
        return Kind.FREELIST_CORRUPTION
    if fault.vector == PF:
        if address < PAGE_SIZE:
            return Kind.NULL_DEREFERENCE
        if code & PF_INSTR:
            return Kind.EXEC_FAULT
        if code & PF_PROT and code & PF_WRITE and address >= TASK_SIZE_MAX:
            tables = is_page_table is not None and is_page_table(address)
            return Kind.PAGE_TABLE_WRITE if tables else Kind.READ_ONLY_WRITE
    stale = abs(address - POISON_FREE_WORD) < POISON_REACH or _deleted(address)
    return Kind.USE_AFTER_FREE if stale else Kind.WILD_POINTER


def _deleted(address: int) -> bool:
    """Whether *address* was computed from an entry after ``list_del()``, from whose list it was used all the same."""
    return abs(address - LIST_POISON1) < POISON_REACH


def origin(address: int, regions: Regions) -> str:
    """Where a bad address points, or what it was computed from, in words."""
    if abs(address - POISON_FREE_WORD) < POISON_REACH:
        return "computed from the poison of a freed object"
    if _deleted(address):
        return "computed from a list entry after list_del()"
    return region(address, regions)


def access_of(fault: Fault) -> str:
    """read, write or exec; empty when the exception does not tell."""
    if fault.vector != PF:
        return ""
    return "exec" if fault.error_code & PF_INSTR else "write" if fault.error_code & PF_WRITE else "read"


def describe(fault: Fault, kind: Kind, regions: Regions, size: int | None = None) -> str:
    """The message of a finding for *fault*: "write of 4 bytes to 0x10 (NULL + 0x10)"."""
    if fault.vector not in (PF, GP, DF, 12):
        return _EXCEPTIONS.get(fault.vector, f"CPU exception {fault.vector}")
    if kind is Kind.STACK_OVERFLOW:
        return "kernel stack overflow"
    access = access_of(fault)
    if access == "exec":
        return f"jump to {fault.address:#x} ({origin(fault.address, regions)})"
    if not access and not fault.address:
        return "general protection fault"
    what = f"{access or 'access'} of {size} bytes" if size else access or "access"
    preposition = "to" if access in ("write", "") else "from"
    followed = "the allocator followed a bad free pointer: " if kind is Kind.FREELIST_CORRUPTION else ""
    return f"{followed}{what} {preposition} {fault.address:#x} ({origin(fault.address, regions)})"


_EXCEPTIONS = {0: "division by zero or overflow of a division", 3: "breakpoint instruction", 6: "invalid instruction"}
