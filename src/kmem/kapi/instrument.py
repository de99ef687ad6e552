"""Code that the compiler has instrumented: its shadow is put before the CPU, and what it may not touch is reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kmem.kapi.asan import REPORT, SHADOWED
from kmem.kapi.kasan_report import report
from kmem.lib.cstruct import u64
from kmem.machine.bus import ASIDE
from kmem.mm.mm_types import page
from kmem.mm.stream import Event
from kmem.sanitizers.instrumented import (
    ALLOCA_LEFT,
    ALLOCA_RIGHT,
    FRAME_MAGIC,
    GLOBAL_REDZONE,
    STACK_LEFT,
    STACK_MID,
    STACK_PARTIAL,
    STACK_RIGHT,
    USE_AFTER_SCOPE,
    Instrumented,
)
from kmem.sanitizers.kasan import Access, Bug, Variable, Verdict

if TYPE_CHECKING:
    from kmem.machine.cpu import Cpu
    from kmem.modules.module import Module

_BUGS = {
    **dict.fromkeys((STACK_LEFT, STACK_MID, STACK_RIGHT, STACK_PARTIAL), Bug.STACK_OUT_OF_BOUNDS),
    **dict.fromkeys((ALLOCA_LEFT, ALLOCA_RIGHT), Bug.ALLOCA_OUT_OF_BOUNDS),
    GLOBAL_REDZONE: Bug.GLOBAL_OUT_OF_BOUNDS,
    USE_AFTER_SCOPE: Bug.USE_AFTER_SCOPE,
}
_LRU = 8


class Instrument:
    """The instrumented code of one kernel; *checks* is its `kmem.kapi.checks.Checks`."""

    def __init__(self, checks: Any) -> None:
        self._checks, self._k = checks, checks.k
        self.shadow = Instrumented(ASIDE)
        self._k.events.listen(self._event)

    def attach(self, cpu: Cpu) -> None:
        """Put the shadow before the CPU."""
        cpu.map_aside(self.shadow.ram.size, self.shadow.ram.base)

    def enter(self) -> None:
        """An instrumented module is about to be loaded: every address space gets the shadow."""
        memory = self._k.mm.ram.mem
        for top in (self._k.mm.boot.cr3, *self._spaces()):
            for number, entry in self.shadow.tops.items():
                memory[top + 8 * number : top + 8 * number + 8] = entry.to_bytes(8, "little")
        self.shadow.reporter(self._k.symbols.address(REPORT))
        self._k.flush_tlb()

    def _spaces(self) -> Iterator[int]:
        """The top tables of ``pgd_list``."""
        view, head = self._k.mm.view, u64(self._k.mm.view.kdata.pgd_list._addr)
        at = self._k.mem.u64(head)
        while at not in (0, head):
            yield view.pfn(view.ptr(page, at - _LRU)._addr) << 12
            at = self._k.mem.u64(at)

    def resolve(self, name: str) -> int | None:
        """What an instrumented module is given for *name*, if that differs."""
        found: int | None = self._k.symbols.address(f"__asan_{name}") if name in SHADOWED else None
        return found

    def loaded(self, module: Module) -> None:
        """A module lies where another one was."""
        for memory in (module.core, module.init):
            if memory.base:
                self.shadow.unpoison(memory.base, memory.size)

    def _event(self, event: Event) -> None:
        if event.kind == "vmalloc" and event.ptr:
            self.shadow.unpoison(event.ptr, -(-event.requested // 4096) * 4096)

    def set_shadow(self, at: int, size: int, byte: int) -> None:
        """Write *size* bytes of the shadow itself."""
        self._k.mem.fill(at, byte, size)

    def check(self, address: int, size: int, write: bool) -> bool:
        """``kasan_check_range()``: whether *size* bytes may be touched, by either shadow; a finding if not."""
        return bool(self._checks.kernel_access(address, size, write))

    def access(self, address: int, size: int, write: bool) -> bool:
        """An access of *size* bytes is due; a finding, and False, if this shadow forbids it."""
        bad = self.shadow.first_bad(address, size)
        caller = self._k.caller
        if bad < 0:
            return True
        if self._checks.known(caller, write):
            return False
        bug = _BUGS.get(self.shadow.code(bad), Bug.OUT_OF_BOUNDS)
        thing = self._global(bad) if bug is Bug.GLOBAL_OUT_OF_BOUNDS else self._local(bad)
        phys = self._k.mm.phys_of(address)
        access = Access(address, phys, size, write, bad, address)
        self._checks.found(access, Verdict(bug, None, thing), None, report(
            self._checks, access, Verdict(bug, None, thing), None, self.shadow))  # fmt: skip
        return False

    def _global(self, address: int) -> Variable | None:
        """The last variable of a module that begins before *address*, or the first behind it."""
        module = self._k.module_at(address)
        if module is None:
            return None
        symbols = [symbol for symbol in module.symbols if symbol.size and symbol.type == 1]
        before = max((s for s in symbols if s.address <= address), key=lambda s: s.address, default=None)
        return Variable(before.name, before.address, before.size) if before else None

    def _local(self, address: int) -> Variable | None:
        """The variable of the frame around *address* that is nearest, as the compiler describes them: "1 32 20 7
        local:12" is how many, then offset, size, length of the name and name of each.
        """
        frame, mem = self.shadow.frame_of(address), self._k.mem
        if not frame or mem.u64(frame) != FRAME_MAGIC:
            return None
        words = mem.cstr(mem.u64(frame + 8), 4096).decode("ascii", "replace").split(" ")
        found = [
            Variable(name.split(":")[0], frame + int(offset), int(size), mem.u64(frame + 16), frame)
            for offset, size, _, name in zip(*(iter(words[1:]),) * 4, strict=False)
        ]
        return min(found, key=lambda v: max(v.address - address, address - v.address - v.size + 1), default=None)
