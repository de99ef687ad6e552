"""What a rule sees (`Case`), what it returns (`Finding`), and the list of all rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from kmem.oops import gfp
from kmem.oops.blame import bare
from kmem.oops.decode import Decoded, Step, decode, effective, register
from kmem.oops.patterns import FAULTS
from kmem.oops.report import Report
from kmem.oops.values import Meaning, meaning

CERTAIN, LIKELY, POSSIBLE, WEAK = 0.9, 0.7, 0.5, 0.3
"""Confidences: the report says it itself; one reading fits best; one of several; a guess."""

KASAN = "boot a kernel with CONFIG_KASAN=y and repeat: it names the access, the allocation and the free"
REPEAT = "boot with slub_debug=FZPU and repeat: the report then names who allocated and who freed the object"

_SHADOW = 0xDFFFFC0000000000
"""KASAN's shadow of address 0 on x86-64."""

ALLOCATORS = re.compile(
    r"^(?:__|___)?(?:kmalloc|kzalloc|kmem_cache_alloc|slab_alloc|krealloc|kmem_cache_zalloc)\w*$|^get_freepointer\w*$"
)
FREERS = re.compile(r"^(?:__|___)?(?:kfree|kzfree|kmem_cache_free|slab_free|kvfree|do_slab_free|cache_free)\w*$")


class Finding(NamedTuple):
    """What one rule makes of a report."""

    rule: int
    cause: str
    """One of `CAUSES`."""
    confidence: float
    verdict: str
    evidence: tuple[int, ...]
    """Lines of the log."""
    alternatives: tuple[str, ...] = ()
    """Causes that the same evidence allows."""
    blameless: str = ""
    """Who looks guilty and is not."""
    next: tuple[str, ...] = ()
    """Experiments, the best first."""


CAUSES = {
    "use_after_free": "use after free",
    "double_free": "double free",
    "out_of_bounds": "out-of-bounds access",
    "null_pointer": "NULL pointer dereference",
    "err_pointer": "unchecked error pointer",
    "zero_size": "use of a zero-size allocation",
    "wild_pointer": "wild pointer",
    "freelist_corruption": "corrupted slab free list",
    "list_corruption": "corrupted linked list",
    "text_overwrite": "pointer overwritten with text",
    "bit_flip": "flipped bit (suspect RAM)",
    "bad_free": "free of a wrong pointer",
    "leak": "memory leak",
    "bad_page": "page state corrupted",
    "alloc_failure": "memory allocation failure",
    "vmalloc_exhausted": "vmalloc area exhausted",
    "oversize_request": "impossible allocation size",
    "sleep_in_atomic": "sleeping in atomic context",
    "reclaim_deadlock": "deadlock through memory reclaim",
    "stack_overflow": "kernel stack overflow",
    "usercopy": "bad copy to or from user space",
    "uninitialised": "use of uninitialised memory",
    "user_pointer": "user pointer used in the kernel",
    "bad_call": "jump to a wrong address",
    "read_only_write": "write to read-only memory",
    "refcount": "reference count misuse",
    "debug_object": "live object freed or reused",
    "memory_corruption": "memory overwritten",
    "deadlock": "lock misuse",
    "hang": "hang",
    "out_of_memory": "out of memory",
    "bug": "assertion failed (BUG)",
    "warning": "warning",
    "type_confusion": "object of the wrong type",
    "undefined": "undefined behaviour",
    "data_race": "data race",
    "unknown": "unknown",
}
"""Every cause class, with its name for people."""


@dataclass
class Case:
    """A report with what its registers and code bytes mean."""

    report: Report
    number: int = 0
    """Its place in the log, from 0."""

    @cached_property
    def code(self) -> Decoded | None:
        """The decoded ``Code:`` line."""
        return decode(self.report)

    @cached_property
    def trap(self) -> Step | None:
        """The trapping instruction, if its address agrees with the fault's (or the log does not say the address)."""
        step = self.code.trap if self.code else None
        if step is None or self.report.kind not in FAULTS:
            return None
        return step

    @cached_property
    def address(self) -> int | None:
        """The address of the faulting access: as printed, or as the registers give it."""
        if self.report.address is not None:
            return self.report.address
        if self.trap is not None and self.trap.memory:
            return effective(self.report, self.trap)
        return None

    @cached_property
    def real_address(self) -> int | None:
        """`address`, or what an inline KASAN check of it was checking (shadow address undone)."""
        said = self.report.value("kasan-range", "low")
        if said:
            return int(said, 16)
        address = self.address
        if address is None:
            return self._checked()
        if self.shadow:
            return ((address - _SHADOW) << 3) & 0xFFFFFFFFFFFFFFFF
        return address

    @property
    def shadow(self) -> bool:
        """Whether the access was of KASAN's shadow, so that the checked address is eight times the offset."""
        address = self.address
        if self.report.fact("kasan-range"):
            return True
        if address is None or self.report.bits == 32:
            return self._checked() is not None
        return self.report.arch == "x86-64" and _SHADOW <= address < 0xE000000000000000

    def _checked(self) -> int | None:
        """The address that an inline KASAN check had in a register, with its eighth and the shadow's base in others."""
        values = self.report.regs
        if self.report.kind != "gpf" or _SHADOW not in values.values():
            return None
        eighths = set(values.values())
        return next(
            (value for name, value in values.items() if value > 7 and value >> 3 in eighths and name[0] == "r"), None
        )

    @cached_property
    def base(self) -> tuple[str, int] | None:
        """Register and value that the address was computed from."""
        report = self.report
        if self.trap is not None and self.trap.base:
            value = register(report, self.trap.base)
            if value is not None and not self.shadow:
                return self.trap.base, value
        address = self.real_address
        if address is None:
            return None
        near = [
            (name, value)
            for name, value in report.regs.items()
            if 0 <= address - value < 4096 and name not in ("cr2", "pc", "rip", "psr", "eflags") and value != address
        ]
        telling = [
            pair for pair in near if self.meaning(pair[1]).kind in ("poison", "list-poison", "err", "magic", "text")
        ]
        return telling[0] if telling else None

    @cached_property
    def function(self) -> str:
        """The function of the program counter, without compiler suffixes."""
        return bare(self.report.pc.name) if self.report.pc else ""

    @property
    def fault(self) -> bool:
        """Whether a bad memory access is what was reported."""
        return self.report.kind in FAULTS

    @property
    def in_allocator(self) -> bool:
        """Whether the fault was in a slab allocation function."""
        return bool(ALLOCATORS.match(self.function))

    @property
    def in_free(self) -> bool:
        """Whether the fault was in a slab free function."""
        return bool(FREERS.match(self.function))

    def meaning(self, value: int) -> Meaning:
        """What *value* is on this machine."""
        return meaning(value, self.report.bits, self.report.arch, self.report.version)

    def gfp(self, mask: int) -> str:
        """*mask* in this release's names."""
        return gfp.names(mask, self.report.version)

    def lines(self, *names: str) -> tuple[int, ...]:
        """The lines of the headline and of the facts *names*, in order."""
        found = {self.report.line}
        for name in names:
            fact = self.report.fact(name)
            if fact:
                found.add(fact.line)
        return tuple(sorted(found))

    @property
    def fault_lines(self) -> tuple[int, ...]:
        """The lines of the headline, the program counter, the registers and the code."""
        report = self.report
        lines = {
            report.line,
            report.pc.line if report.pc else 0,
            report.reg_line,
            report.code.line if report.code else 0,
        }
        return tuple(sorted(lines - {0}))

    @property
    def caller(self) -> str:
        """The function that is blamed, for sentences."""
        return self.report.function or "an unknown function"


class Rule(NamedTuple):
    """A rule with its number and the background that ``--explain`` prints."""

    number: int
    name: str
    background: str
    apply: Callable[[Case], Finding | None]


RULES: list[Rule] = []


def rule(number: int, name: str) -> Callable[[Callable[[Case], Finding | None]], Callable[[Case], Finding | None]]:
    """Adds a function to `RULES`; its docstring is the background."""

    def add(function: Callable[[Case], Finding | None]) -> Callable[[Case], Finding | None]:
        RULES.append(Rule(number, name, " ".join((function.__doc__ or "").split()), function))
        return function

    return add
