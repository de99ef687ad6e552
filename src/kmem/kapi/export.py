"""The registry of exported kernel symbols: functions served in Python, functions of guest code, and data.

A handler is a Python function whose first parameter is the `Host` and whose other parameters are those of the C
function:

    @export(faithful)
    def kfree(k: Host, objp: int) -> None:
        \"\"\"``void kfree(const void *objp)``

        mm/slab_common.c, 6.1. What it does; what differs.
        \"\"\"

The first line of its docstring is the C prototype, which is the only description of the calling convention:
`kmem.kapi.bind` parses it when a module first imports the symbol. Every export says how true it is to the kernel's
own (`Fidelity`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from kmem.kapi import index

if TYPE_CHECKING:
    from kmem.kapi.host import Host

Level = Literal["faithful", "simplified", "stub"]
Handler = Callable[..., Any]
F = TypeVar("F", bound=Handler)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How an export compares with the kernel's: *how* says what is simplified."""

    level: Level
    how: str = ""


faithful = Fidelity("faithful")
"""Behaves as the kernel's for every caller that the model can run."""

stub = Fidelity("stub")
"""Does nothing and returns success."""


def simplified(how: str) -> Fidelity:
    """Behaves as the kernel's except for *how*, a phrase for docs/fidelity.md."""
    return Fidelity("simplified", how)


@dataclass(frozen=True, slots=True)
class Export:
    """A function that the executor serves by calling *handler*; *doc* is the docstring below the prototype."""

    name: str
    fidelity: Fidelity
    handler: Handler
    prototype: str
    doc: str
    private: bool = False
    """A function that the kernel does not export: reachable through pointers only."""


@dataclass(frozen=True, slots=True)
class Code:
    """A function of guest code: *code* is position-independent x86-64, *listing* its disassembly, one instruction a
    line. *fixups* are its exception table: offsets of an instruction that may fault, and of where it goes on then."""

    name: str
    code: bytes
    listing: str
    fidelity: Fidelity = faithful
    private: bool = False
    fixups: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Data:
    """A variable of *size* bytes. *init* gives its first bytes (the rest is zero) or computes them when it is placed.

    *private* data is no kernel symbol: the model keeps state there that must live in guest RAM. It is placed at boot.
    """

    name: str
    size: int
    init: bytes | Callable[[Host], bytes]
    align: int
    fidelity: Fidelity
    doc: str
    private: bool = False


Entry = Export | Code | Data

_registry: dict[str, Entry] = {}
_homes: dict[str, str] = {}
_PROTOTYPE = re.compile(r"``(.+?)``", re.S)


def _declare(entry: Entry) -> None:
    if entry.name in _registry:
        raise ValueError(f"{entry.name} is declared twice")
    _registry[entry.name] = entry
    _homes[entry.name] = _declaring_file().rpartition(".")[2]


def _declaring_file() -> str:
    """Name of the module whose own statements declare now, through however many factories of other files."""
    frame = sys._getframe(1)
    while frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    name: str = frame.f_globals["__name__"]
    return name


def export(fidelity: Fidelity, *, name: str | None = None, alias: str = "", private: bool = False) -> Callable[[F], F]:
    """Declares the decorated function as the handler of the kernel function *name* (default: its own name).

    *alias* is what another release calls it, where that is more than the ending ``_noprof`` (see `lookup`).
    """

    def declare(handler: F) -> F:
        symbol = name or handler.__name__
        head, _, body = (handler.__doc__ or "").partition("\n\n")
        prototype = _PROTOTYPE.match(head)
        if prototype is None:
            raise ValueError(f"{symbol}: the docstring does not begin with a C prototype in double backquotes")
        entry = Export(symbol, fidelity, handler, " ".join(prototype[1].split()), body.strip(), private)
        _declare(entry)
        if alias:
            renamed = re.sub(rf"\b{symbol}\(", f"{alias}(", entry.prototype, count=1)
            _declare(replace(entry, name=alias, prototype=renamed))
        return handler

    return declare


def family(fidelity: Fidelity, prototype: str, text: str, handler: Handler) -> None:
    """Declares one of several handlers that a factory makes: *prototype* names it, *text* stands for the rest of its
    docstring."""
    name = prototype[: prototype.index("(")].split()[-1].lstrip("*")
    handler.__name__ = name
    handler.__doc__ = f"``{prototype}``\n\n{text}"
    export(fidelity)(handler)


def code(
    name: str,
    machine_code: bytes,
    listing: str,
    fidelity: Fidelity = faithful,
    fixups: tuple[tuple[int, int], ...] = (),
    private: bool = False,
) -> None:
    """Declares the kernel function *name* as guest code."""
    _declare(Code(name, machine_code, listing, fidelity, private, fixups))


def data(
    name: str,
    size: int,
    init: bytes | Callable[[Host], bytes] = b"",
    *,
    align: int = 8,
    fidelity: Fidelity = faithful,
    doc: str = "",
    private: bool = False,
) -> None:
    """Declares the kernel variable *name*."""
    _declare(Data(name, size, init, align, fidelity, doc, private))


def lookup(name: str) -> Entry | None:
    """What is declared as *name*, None when nothing is. Imports the file that declares it.

    An entry that is `private` is reachable through pointers only: a module cannot import it. Since "mm/slab:
    enable slab allocation tagging for kmalloc and friends" functions that allocate link as ``NAME_noprof``, with NAME's
    arguments: those are found by NAME unless they are declared for themselves.
    """
    module = index.module_of(name)
    if module is None:
        return lookup(name.removesuffix("_noprof")) if name.endswith("_noprof") else None
    import_module(f"kmem.kapi.{module}")
    return _registry[name]


def declared() -> dict[str, list[Entry]]:
    """What has been declared so far: file, then entries, both in alphabetical order."""
    files: dict[str, list[Entry]] = {}
    for name in sorted(_registry):
        files.setdefault(_homes[name], []).append(_registry[name])
    return dict(sorted(files.items()))


def load_all() -> None:
    """Imports every file that declares exports."""
    for module in index.NAMES:
        import_module(f"kmem.kapi.{module}")


def all_exports() -> Mapping[str, Entry]:
    """Every declaration, by name."""
    load_all()
    return _registry


def exports() -> dict[str, Export]:
    """Every export that is served in Python, by name."""
    return {name: entry for name, entry in all_exports().items() if isinstance(entry, Export) and not entry.private}


def private_data() -> list[Data]:
    """The model's own variables, which the host places at boot so that a later rollback keeps them."""
    entries = (lookup(name) for name in index.PRIVATE_DATA.split())
    return [entry for entry in entries if isinstance(entry, Data)]
