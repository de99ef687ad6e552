"""A loaded module: where it lies, what it offers, what its addresses mean, and how it goes away again."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from kmem.machine.fault import AccessFault
from kmem.modules.elf import SHF_EXECINSTR, STT_FUNC, Elf
from kmem.modules.env import LoadEnv
from kmem.modules.fixups import Patched
from kmem.modules.kallsyms import TextRegion
from kmem.modules.layout import Region
from kmem.modules.modinfo import ModInfo
from kmem.modules.orc import OrcTable
from kmem.modules.params import KernelParam, Setting
from kmem.modules.tables import BUG_ENTRY_SIZE, EXTABLE_ENTRY_SIZE, BugEntry, ExceptionEntry, Export
from kmem.modules.taint import module_taint_letters
from kmem.modules.this_module import (
    MODULE_STATE_COMING,
    MODULE_STATE_GOING,
    MODULE_STATE_LIVE,
    MODULE_STATE_UNFORMED,
    init_members,
)

if TYPE_CHECKING:
    from kmem.modules.dwarf import Inlines
    from kmem.modules.lines import Lines, SourceLine


class ModuleSymbol(NamedTuple):
    """A symbol of the module itself: *bind* and *type* are STB_* and STT_*, *section* is empty for absolute ones."""

    name: str
    address: int
    size: int
    bind: int
    type: int
    section: str


@dataclass(slots=True)
class Memory:
    """One of the module's two allocations; *base* is 0 when it is gone."""

    base: int
    region: Region

    @property
    def size(self) -> int:
        """Bytes, page-aligned."""
        return self.region.size

    @property
    def text_size(self) -> int:
        """Bytes of code at its start, page-aligned."""
        return self.region.text_size

    def contains(self, addr: int) -> bool:
        """Whether *addr* lies in it."""
        return bool(self.base) and self.base <= addr < self.base + self.region.size

    def text_contains(self, addr: int) -> bool:
        """Whether *addr* lies in its code."""
        return bool(self.base) and self.base <= addr < self.base + self.region.text_size


@dataclass
class Module:
    """What load_module returns. Addresses are final; the code is in place and protected; nothing of it has run yet."""

    name: str
    address: int
    """Address of its ``struct module``."""
    core: Memory
    init: Memory
    init_function: int
    exit_function: int
    """Addresses of the functions given to module_init and module_exit, 0 if there is none (no exit: it cannot be
    unloaded).
    """
    elf: Elf
    info: ModInfo
    versions: dict[str, int] | None
    taints: int
    note: str
    """What a reader of the result must know about the module: it was built for another update of the kernel. Mostly
    empty.
    """
    sections: dict[str, int]
    symbols: list[ModuleSymbol]
    exports: list[Export]
    imports: dict[str, int]
    """Address of each symbol that the module takes from the kernel or another module."""
    params: list[KernelParam]
    settings: list[Setting]
    """Arguments to apply before init runs: ``ops->set(value, param)`` for each."""
    patched: Patched
    orc: OrcTable
    constructors: list[int]
    """Functions of ``.ctors`` or ``.init_array``, to be called before init when the kernel has CONFIG_CONSTRUCTORS."""
    percpu: int
    percpu_size: int
    values: list[tuple[str, int]]
    core_values: list[tuple[str, int]]
    """Names for kallsyms, in the order of the symbol table: during init, and after it."""
    section_addresses: dict[int, int]
    env: LoadEnv = field(repr=False)
    state: int = MODULE_STATE_COMING

    def contains(self, addr: int) -> bool:
        """``within_module``: whether *addr* lies in core or init."""
        return self.core.contains(addr) or self.init.contains(addr)

    def is_text(self, addr: int) -> bool:
        """``within_module`` and code."""
        return self.core.text_contains(addr) or self.init.text_contains(addr)

    def symbol(self, name: str) -> int | None:
        """Address of the module's own symbol *name*."""
        return next((symbol.address for symbol in self.symbols if symbol.name == name), None)

    def flags(self) -> str:
        """What the list of modules in an oops shows behind the name: ``(OE+)`` (``module_flags``)."""
        mark = {MODULE_STATE_COMING: "+", MODULE_STATE_GOING: "-"}.get(self.state, "")
        letters = module_taint_letters(self.taints)
        return f"({letters}{mark})" if letters or mark else ""

    def set_state(self, state: int) -> None:
        """Set ``mod->state``, here and in the module's memory."""
        self.state = state
        self._write("state", state)

    def init_done(self) -> None:
        """What do_init_module does when init returned 0: live, its own reference dropped, init freed, late data
        read-only.
        """
        self.set_state(MODULE_STATE_LIVE)
        self._write("refcnt", self.refcount - 1)
        self._write("kallsyms", self.address + self.env.layout["module"].offset("core_kallsyms"))
        base, region = self.core.base, self.core.region
        if region.ro_after_init_size > region.ro_size:
            self.env.set_memory(base + region.ro_size, region.ro_after_init_size - region.ro_size, False, False)
        self.free_init()

    def free_init(self) -> None:
        """Drop the init allocation and the names in it."""
        if not self.init.base:
            return
        base, self.init.base = self.init.base, 0
        self.init.region = Region()
        for at, part in init_members(self.env.layout):
            self.env.mem.write(self.address + at + part.offset, bytes(part.size))
        self.__dict__.pop("_exceptions", None)
        self.env.kallsyms.add_module(self.name, [_text_region(self.core)], self.core_values)
        self.env.module_memfree(base)

    def free(self) -> None:
        """``free_module``: give all memory and all names back. The caller has run exit and called off whoever might
        come back.
        """
        self.set_state(MODULE_STATE_UNFORMED)
        self.env.kallsyms.remove_module(self.name)
        if self.init.base:
            self.env.module_memfree(self.init.base)
            self.init.base = 0
        if self.percpu:
            self.env.percpu_modfree(self.percpu)
        self.env.module_memfree(self.core.base)
        self.core.base = 0

    def mark(self) -> tuple[int, int, Region, int]:
        """What of this object changes while the module lives; for `rewind` when the kernel goes back to a snapshot."""
        return self.core.base, self.init.base, self.init.region, self.state

    def rewind(self, mark: tuple[int, int, Region, int]) -> None:
        """Return to the state that `mark` gave. Memory and kallsyms are the caller's business."""
        self.core.base, self.init.base, self.init.region, self.state = mark
        self.__dict__.pop("_exceptions", None)

    @property
    def refcount(self) -> int:
        """``mod->refcnt`` as it stands in memory: 1 for a live module that nobody uses, 2 while init runs."""
        member = self.env.layout["module"]["refcnt"]
        raw = self.env.mem.read(self.address + member.offset, member.size)
        return int.from_bytes(raw, "little", signed=True)

    def bug_at(self, addr: int) -> BugEntry | None:
        """The BUG or WARN whose ``ud2`` is at *addr* (``module_bug_at``). Flags and line are read from memory now."""
        entry = self._bugs.get(addr)
        if entry is None:
            return None
        mem = self.env.mem
        name = entry + 4 + _signed(mem.read(entry + 4, 4))
        return BugEntry(entry, addr, self._text(name), mem.u16(entry + 8), mem.u16(entry + 10))

    def search_extable(self, addr: int) -> ExceptionEntry | None:
        """The exception table entry for the instruction at *addr*, or None (``search_extable``)."""
        table = self._exceptions
        at = bisect_right(table, addr, key=lambda entry: entry.insn) - 1
        return table[at] if at >= 0 and table[at].insn == addr else None

    def source(self, addr: int) -> SourceLine | None:
        """File, line and function of the code at *addr*; None without debugging information.

        Answers for init code that is gone as well. Of inlined code this is the place of the inlined function, with
        the name of the function around it.
        """
        at = self._code_at(addr)
        found = self.lines.find(*at) if at else None
        return found._replace(function=self.function(addr) or "") if found else None

    def source_frames(self, addr: int) -> list[SourceLine]:
        """As `source`, with the chain of inlined functions, innermost first; slow the first time."""
        at = self._code_at(addr)
        return self._inlines.frames(*at) if at else []

    def _code_at(self, addr: int) -> tuple[int, int] | None:
        """Number of the code section that *addr* lies in, and the offset in it."""
        for index, base in self.section_addresses.items():
            section = self.elf.sections[index]
            if section.flags & SHF_EXECINSTR and base <= addr < base + section.size:
                return index, addr - base
        return None

    def has_code(self, addr: int) -> bool:
        """Whether the code at *addr* is the module's, or was: that of init is gone after it, and all after exit."""
        return self._code_at(addr) is not None

    def function(self, addr: int) -> str | None:
        """Name of the function that *addr* lies in by the symbol table's sizes (not inlined ones)."""
        for symbol in self.symbols:
            if symbol.type == STT_FUNC and symbol.address <= addr < symbol.address + max(symbol.size, 1):
                return symbol.name
        return None

    @cached_property
    def lines(self) -> Lines:
        """The module's line numbers, read from its DWARF when first asked."""
        from kmem.modules.lines import Lines

        return Lines(self.elf)

    @cached_property
    def _inlines(self) -> Inlines:
        from kmem.modules.dwarf import Inlines

        return Inlines(self.elf, self.lines)

    @cached_property
    def _bugs(self) -> dict[int, int]:
        base, size = self._table("__bug_table")
        raw = self.env.mem.read(base, size) if size else b""
        found: dict[int, int] = {}
        for at in range(0, size - BUG_ENTRY_SIZE + 1, BUG_ENTRY_SIZE):
            found.setdefault(base + at + _signed(raw[at : at + 4]), base + at)
        return found

    @cached_property
    def _exceptions(self) -> list[ExceptionEntry]:
        base, size = self._table("__ex_table")
        raw = self.env.mem.read(base, size) if size else b""
        entries = []
        for at in range(0, size - EXTABLE_ENTRY_SIZE + 1, EXTABLE_ENTRY_SIZE):
            insn = base + at + _signed(raw[at : at + 4])
            fixup = base + at + 4 + _signed(raw[at + 4 : at + 8])
            # Entries of freed init code are dropped (trim_init_extable).
            if self.contains(insn):
                entries.append(ExceptionEntry(insn, fixup, _signed(raw[at + 8 : at + 12])))
        return entries

    def _table(self, name: str) -> tuple[int, int]:
        section = self.elf.find(name)
        return (self.sections[name], section.size) if section and name in self.sections else (0, 0)

    def _text(self, addr: int) -> str:
        """A file name in the module's read-only data."""
        text = bytearray()
        try:
            while len(text) < 256 and (byte := self.env.mem.read(addr + len(text), 1)) != b"\0":
                text += byte
        except AccessFault:
            pass
        return text.decode("ascii", "backslashreplace")

    def _write(self, member: str, value: int) -> None:
        found = self.env.layout["module"].members.get(member)
        if found is not None:
            self.env.mem.write(
                self.address + found.offset, (value & (1 << 8 * found.size) - 1).to_bytes(found.size, "little")
            )


def _text_region(memory: Memory) -> TextRegion:
    return TextRegion(memory.base, memory.region.size, memory.region.text_size)


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)
