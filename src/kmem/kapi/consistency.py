"""``--check full``: is the simulated memory consistent while a module runs, and whose fault is it if it is not?

The invariants of `kmem.mm.validate` are checked before calls into the memory management: before the first, second,
fourth … 512th and then every 1,024th, after init, and at the end. A violation is a fault of kmem, unless the module
had a hand in it: it stored into a slab object that is not its own, into a ``struct page``, a page table or a kernel
variable, it freed what it did not have, or something was found wrong with it before. Then the violation is what its
doing led to, and is reported as a finding.

Not seen: stores of exported functions on the module's behalf (``memset`` beyond an object), which leave marks that
mostly are findings of their own.
"""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP
from kmem.errors import InvariantViolated
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import KDATA_ADDRESS, kdata
from kmem.mm.stream import Event
from kmem.mm.validate import check
from kmem.mm.validate_events import EventWatch
from kmem.mm.validate_memory import Violation
from kmem.mm.validate_paging import table_frames
from kmem.mm.validate_trials import check_trials

if TYPE_CHECKING:
    from kmem.machine.cpu import Cpu

EVERY, LAST_EVENTS = 1024, 64
KDATA_PHYS = range(KDATA_ADDRESS - START_KERNEL_MAP, KDATA_ADDRESS - START_KERNEL_MAP + kdata.size)
REPORT = "Please report it with this file, the module and the command."


@dataclass(frozen=True)
class Misdeed:
    """What the module did to the kernel's memory: in words, where, and from where."""

    kind: str
    what: str
    address: int
    site: int


class Consistency:
    """Checks the kernel *k*, a `kmem.kernel.Kernel`, as it runs; *name* is the module's."""

    def __init__(self, k: Any, name: str) -> None:
        self.k, self.name = k, name
        self.calls = self.checks = 0
        self.misdeeds: list[Misdeed] = []
        self.violations: list[Violation] = []
        self.watch = EventWatch(k.mm.view)
        self.last: deque[Event] = deque(maxlen=LAST_EVENTS)
        self._harmless: set[int] = set()
        """Page frames that the module may write all of, until the next call."""
        self._mem, self._page_flags = k.mm.ram.mem, k.mm.view.page_flags
        self._tables = table_frames(k.mm.view)
        self._kdata_pages = range(KDATA_PHYS.start >> 12, (KDATA_PHYS.stop >> 12) + 1)
        self._map = range(k.mm.ram.mem_map_phys, k.mm.ram.mem_map_phys + k.mm.ram.mem_map_size)
        k.events.listen(self._event)
        self._cpu: Cpu = k.executor.cpu  # which takes memory when it is first asked for
        moment = k.mm.moment

        def before_call() -> Any:
            self.tick()
            return moment()

        k.mm.moment = before_call
        self._cpu.watch_stores(self._store, self._harmless)

    # what the module does

    def _event(self, event: Event) -> None:
        self.last.append(event)
        self.watch(event)
        if self.watch.strangers:
            address = self.watch.strangers.pop()
            self._note("invalid-free", f"freed {address:#x}, which it did not have", address, event.call_site)

    def _store(self, at: int, size: int) -> None:
        """The module stores *size* bytes at physical *at*."""
        pfn = at >> 12
        entry = self._map.start + pfn * 64
        if entry >= self._map.stop:
            return
        mem = self._mem
        link = int.from_bytes(mem[entry + 8 : entry + 16], "little")
        if link & 1:
            entry = self._map.start + (link - 1 - 0xFFFFEA0000000000)
        flags, kind = (int.from_bytes(mem[entry + o : entry + o + n], "little") for o, n in ((0, 8), (48, 4)))
        if self._page_flags.is_slab(flags, kind):
            self._store_in_slab(PAGE_OFFSET + at, size)
        elif at in self._map:
            page = (at - self._map.start) // 64
            self._note("wild-pointer", f"stored {size} bytes in the struct page of pfn {page}", at)
        elif at in KDATA_PHYS:
            self._note("wild-pointer", f"stored {size} bytes in the kernel's variables at {at:#x}", at)
        elif pfn in self._tables:
            self._note("page-table-write", f"stored {size} bytes in the page table at physical {at:#x}", at)
        elif pfn not in self._kdata_pages:
            self._harmless.add(pfn)

    def _store_in_slab(self, address: int, size: int) -> None:
        view = self.k.mm.view
        head = view.page_of(address)
        s = view.slab(head).slab_cache
        base = PAGE_OFFSET + (view.pfn(head._addr) << 12) + s.red_left_pad
        obj = base + (address - base) // s.size * s.size
        if obj in self.watch.objects and address + size <= obj + s.object_size:
            return
        freed = obj in self.watch.freed and obj not in self.watch.objects
        self._note(
            "use-after-free" if freed else "out-of-bounds",
            f"stored {size} bytes at {address:#x}, in the {view.cache_name(s)} object at {obj:#x}, "
            f"{'which it has freed' if freed else 'beyond what it has'}",
            address,
        )

    def _note(self, kind: str, what: str, address: int, site: int = 0) -> None:
        if len(self.misdeeds) < 16:
            self.misdeeds.append(Misdeed(kind, what, address, site or self._cpu.registers().rip))

    # checking

    def tick(self) -> None:
        """A call into the memory management begins; not while one is being served."""
        self._harmless.clear()
        if self.k.mm.core.inside:
            return
        self.calls += 1
        if self.calls & (self.calls - 1) == 0 if self.calls < EVERY else self.calls % EVERY == 0:
            self.check(f"before call {self.calls}")

    def check(self, when: str, *, trials: bool = False) -> None:
        """Check now, with *trials* what calls would come to, too. A violation ends the run with `InvariantViolated`, or
        is the module's doing: then it is a finding, and nothing is checked any more.
        """
        if self.violations:
            return
        self.k.drain()
        self.checks += 1
        self.violations = [*check(self.k.mm), *self.watch.violations, *self.watch.live_in_ram()]
        self.violations += self.watch.tracks_in_ram()
        if trials and not self.violations:
            self.violations = check_trials(self.k.mm)
        self._tables = table_frames(self.k.mm.view)
        if not self.violations:
            return
        if self.misdeeds or len(self.k.findings):
            self._blame()
            return
        first, more = self.violations[0], len(self.violations) - 1
        others = f" (and {more} more)" if more else ""
        raise InvariantViolated(
            f"the simulated memory is inconsistent {when}: {first.slug}: {first.message}{others}",
            remedy=f"This is a fault of kmem, not of the module. The state is in {self.dump(when)}\n{REPORT}",
        )

    def _blame(self) -> None:
        """The module overwrote what the kernel keeps in memory: say so, unless worse is known of it."""
        if len(self.k.findings):
            return
        first, violation = self.misdeeds[0], self.violations[0]
        site = self.k.site.call_site(first.site, 0)
        self.k.finding(
            first.kind,
            f"it {first.what}; the kernel's memory is inconsistent: {violation.message}",
            address=u64(first.address),
            **site.facts(),
        )

    def dump(self, when: str) -> Path:
        """Write the state to a file of its own and return its path."""
        k = self.k
        config = k.boot_config
        head = [
            f"{self.name}: {when}; {self.calls} calls, {k.events.count} events",
            f"release {config.release}, config {config.config}, ram {config.ram}, cpus {config.cpus}, "
            f"seed {config.seed}, cmdline {config.cmdline!r}",
            *(f"{violation.slug}: {violation.message}" for violation in self.violations),
        ]
        sections = {"what is wrong": "\n".join(head)}
        for name in ("slabinfo", "buddyinfo", "vmallocinfo"):
            try:
                sections[f"/proc/{name}"] = k.proc(name)
            except Exception as error:  # the state is broken: what can be read of it is wanted all the same
                sections[f"/proc/{name}"] = f"cannot be read: {type(error).__name__}: {error}"
        sections["last events"] = "\n".join(_line(event) for event in self.last)
        sections["dmesg"] = k.dmesg()
        text = "\n".join(f"== {title}\n{body.rstrip()}\n" for title, body in sections.items())
        path = Path(f"kmem-violation-{self.name}-{config.seed}.txt").absolute()
        try:
            path.write_text(text)
        except OSError:
            path = Path(tempfile.mkdtemp(prefix="kmem-")) / path.name
            path.write_text(text)
        return path


def _line(event: Event) -> str:
    return (
        f"{event.time} {event.kind} ptr={event.ptr:#x} requested={event.requested} allocated={event.allocated} "
        f"gfp={event.gfp:#x} order={event.order} cpu={event.cpu} call_site={event.call_site:#x}"
    )
