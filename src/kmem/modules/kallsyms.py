"""Names of addresses: the kernel's own symbols and those of modules (kernel/kallsyms.c, kernel/module/kallsyms.c, 6.1).

Lookups answer as the kernel's do, oddities included: a module symbol ends where the next one begins, the last one at
the end of its region's text, so data symbols get a size that wraps below zero.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

MASK64 = (1 << 64) - 1


class Symbol(NamedTuple):
    """A named range: *size* as kallsyms computes it (unsigned 64 bit); *module* is None for the kernel's own."""

    name: str
    addr: int
    size: int
    module: str | None


class TextRegion(NamedTuple):
    """Where a module's core or init lies: *size* bytes from *base*, of which the first *text_size* are code."""

    base: int
    size: int
    text_size: int


@dataclass(slots=True)
class _Module:
    """*values* are sorted and distinct; *names* has the first symbol of the symbol table for each."""

    regions: tuple[TextRegion, ...]
    values: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)

    def load(self, symbols: Iterable[tuple[str, int]]) -> None:
        first: dict[int, str] = {}
        self.by_name = {}
        for name, value in symbols:
            self.by_name.setdefault(name, value)
            if value and name and not name.startswith(".L"):
                first.setdefault(value, name)
        self.values = sorted(first)
        self.names = [first[value] for value in self.values]


class Kallsyms:
    """The symbol table of a running kernel."""

    def __init__(self) -> None:
        self._kernel: dict[str, tuple[int, int]] = {}
        self._starts: list[int] | None = []
        self._order: list[tuple[int, int, str]] = []
        self._modules: dict[str, _Module] = {}

    def add(self, name: str, addr: int, size: int, module: str | None = None) -> None:
        """Make *name* known for *size* bytes from *addr*.

        For a *module* that `add_module` has made known the size is ignored: kallsyms derives it from the symbols around
        it.
        """
        if module is None:
            self._kernel.setdefault(name, (addr, size))
            self._order.append((addr, size, name))
            self._starts = None
            return
        known = self._modules.get(module, _Module(()))
        regions = known.regions
        if not any(region.base <= addr < region.base + region.size for region in regions):
            regions += (TextRegion(addr, size, size),)
        self.add_module(module, regions, [*zip(known.names, known.values, strict=True), (name, addr)])

    def add_module(self, name: str, regions: Iterable[TextRegion], symbols: Iterable[tuple[str, int]]) -> None:
        """Make a module's (name, value) pairs known, in the order of its symbol table, instead of those before."""
        module = _Module(tuple(region for region in regions if region.size))
        module.load(symbols)
        self._modules[name] = module

    def mark(self) -> tuple[dict[str, tuple[int, int]], list[tuple[int, int, str]], dict[str, _Module]]:
        """The table as it is now, for `rewind` when the kernel goes back to a snapshot."""
        return dict(self._kernel), list(self._order), dict(self._modules)

    def rewind(self, mark: tuple[dict[str, tuple[int, int]], list[tuple[int, int, str]], dict[str, _Module]]) -> None:
        """Return to what was known when `mark` was called."""
        kernel, order, modules = mark
        self._kernel, self._order, self._modules = dict(kernel), list(order), dict(modules)
        self._starts = None

    def remove_module(self, name: str) -> None:
        """Forget a module's symbols."""
        self._modules.pop(name, None)

    def module_at(self, addr: int) -> str | None:
        """Name of the module whose memory has *addr* in it (``__module_address``)."""
        for name, module in self._modules.items():
            if any(region.base <= addr < region.base + region.size for region in module.regions):
                return name
        return None

    def lookup(self, addr: int) -> Symbol | None:
        """The symbol that *addr* lies in (``kallsyms_lookup``), or None."""
        return self._lookup_kernel(addr) or self._lookup_module(addr)

    def address(self, name: str) -> int | None:
        """Address of *name*, which may be written ``module:name`` (``kallsyms_lookup_name``)."""
        if name in self._kernel:
            return self._kernel[name][0]
        owner, colon, local = name.partition(":")
        if colon:
            module = self._modules.get(owner)
            return module.by_name.get(local) if module else None
        for module in self._modules.values():
            if name in module.by_name:
                return module.by_name[name]
        return None

    def sprint(self, addr: int) -> str:
        """``%pS``: ``name+0x1c/0x40 [mod]``, or ``0xffff…`` when no symbol is known."""
        return self._sprint(addr, 0)

    def sprint_backtrace(self, addr: int) -> str:
        """``%pB``: as ``%pS`` for the instruction before *addr*, which is a return address and may begin another
        function.
        """
        return self._sprint(addr, 1)

    def sprint_name(self, addr: int) -> str:
        """``%ps``: ``name [mod]`` without offset and size."""
        symbol = self.lookup(addr)
        return f"{addr:#x}" if symbol is None else symbol.name + _owner(symbol)

    def _sprint(self, addr: int, back: int) -> str:
        symbol = self.lookup(addr - back)
        if symbol is None:
            return f"{addr:#x}"
        return f"{symbol.name}+{addr - symbol.addr:#x}/{symbol.size:#x}{_owner(symbol)}"

    def _lookup_kernel(self, addr: int) -> Symbol | None:
        if self._starts is None:
            self._order.sort(key=lambda entry: entry[0])
            self._starts = [entry[0] for entry in self._order]
        at = bisect_right(self._starts, addr)
        if not at:
            return None
        # Of several names for one address the kernel prints the first that it was told.
        at = bisect_left(self._starts, self._starts[at - 1])
        start, size, name = self._order[at]
        return Symbol(name, start, size, None) if addr < start + size else None

    def _lookup_module(self, addr: int) -> Symbol | None:
        """``find_kallsyms_symbol``."""
        for owner, module in self._modules.items():
            for region in module.regions:
                if region.base <= addr < region.base + region.size:
                    at = bisect_right(module.values, addr)
                    if not at:
                        return None
                    start, end = module.values[at - 1], region.base + region.text_size
                    if at < len(module.values):
                        end = min(end, module.values[at])
                    return Symbol(module.names[at - 1], start, (end - start) & MASK64, owner)
        return None


def _owner(symbol: Symbol) -> str:
    return f" [{symbol.module}]" if symbol.module else ""
