"""Final values of a module's symbols, and the symbol tables that stay in its memory (``simplify_symbols``,
``add_kallsyms``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from kmem.abi.legacy import advice
from kmem.errors import ModuleFormatError, UnknownSymbol
from kmem.modules.elf import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_ABS,
    SHN_COMMON,
    SHN_LIVEPATCH,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHT_NOBITS,
    STB_WEAK,
    STT_OBJECT,
    SYMBOL,
    Elf,
    Symbol,
)
from kmem.modules.layout import PERCPU
from kmem.modules.staging import Staging

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_ENOENT = 2
_REMEDY = "build it for the modelled release; is the function exported, and is its module loaded?"


class UnknownSymbols(UnknownSymbol):
    """A module wants symbols that neither the kernel nor a loaded module exports; *names* has all of them."""

    def __init__(self, module: str, names: list[str], depends: tuple[str, ...]) -> None:
        self.names = tuple(names)
        self.lines = tuple(f"{module}: Unknown symbol {name} (err -{_ENOENT})" for name in names)
        needs = f"load the modules that it depends on first: {', '.join(depends)}" if depends else ""
        super().__init__("\n".join(self.lines), remedy=self.remedy_for(names) or needs or _REMEDY)

    def remedy_for(self, names: list[str]) -> str:
        """What is known about these names, "" for nothing."""
        return ""


class LegacySymbols(UnknownSymbols):
    """A module wants functions that the kernel had once."""

    slug = "legacy-symbol"
    status = 3

    def remedy_for(self, names: list[str]) -> str:
        """What to call instead."""
        return "; ".join(advice(names))


def final_values(
    elf: Elf, staging: Staging, percpu: int, resolve: Callable[[str], int | None], module: str, depends: tuple[str, ...]
) -> tuple[list[int], dict[str, int]]:
    """The value of each symbol by number, and the address of each import by name (``simplify_symbols``).

    *percpu* is the offset of the module's per-cpu data. Raises UnknownSymbols with every name that *resolve* does not
    know.
    """
    percpu_section = elf.find(PERCPU)
    percpu_index = percpu_section.index if percpu_section else -1
    addresses = staging.addresses
    values, imports, unknown = [0], {}, []
    for symbol in elf.symbols[1:]:
        name, _, shndx, value, _ = symbol
        if shndx == SHN_UNDEF:
            found = resolve(name)
            if found is not None:
                imports[name] = value = found
            elif symbol.bind != STB_WEAK and name != "_GLOBAL_OFFSET_TABLE_":
                unknown.append(name)
        elif shndx < SHN_LORESERVE:
            value += percpu if shndx == percpu_index else addresses.get(shndx, 0)
        elif shndx == SHN_COMMON and not name.startswith("__gnu_lto"):
            raise ModuleFormatError(
                f"{module}: please compile with -fno-common (symbol {name})", remedy="build the module with kbuild"
            )
        values.append(value)
    if unknown:
        raise (LegacySymbols if advice(unknown) else UnknownSymbols)(module, unknown, depends)
    return values, imports


def type_letter(elf: Elf, symbol: Symbol) -> str:
    """What ``nm`` and /proc/kallsyms call the symbol (``elf_type``)."""
    if symbol.bind == STB_WEAK:
        return "v" if symbol.type == STT_OBJECT else "w"
    if symbol.shndx == SHN_UNDEF:
        return "U"
    if symbol.shndx in (SHN_ABS, SHN_LIVEPATCH, SHN_COMMON):
        return "a" if symbol.shndx == SHN_ABS else "?"
    section = elf.sections[symbol.shndx]
    if section.name == PERCPU:
        return "a"
    if section.flags & SHF_EXECINSTR:
        return "t"
    if section.type == SHT_NOBITS:
        return "b"
    if section.flags & SHF_ALLOC:
        return "d" if section.flags & SHF_WRITE else "r"
    return "n" if section.name.startswith(".debug") else "?"


def write_tables(elf: Elf, staging: Staging, values: list[int]) -> None:
    """Put the whole symbol table behind init and the part to keep behind core (``add_kallsyms``)."""
    at = staging.placement.symtab
    init, core = staging.init, staging.core
    table = bytearray(elf.content(elf.symtab))
    for number, value in enumerate(values):
        _U64.pack_into(table, number * SYMBOL.size + 8, value & 0xFFFFFFFFFFFFFFFF)
    init[at.symtab : at.symtab + len(table)] = table
    strings = elf.content(elf.strtab)
    init[at.strtab : at.strtab + len(strings)] = strings
    letters: dict[tuple[int, int], str] = {}
    types = bytearray()
    for symbol in elf.symbols:
        key = (symbol.info, symbol.shndx)
        letter = letters.get(key)
        if letter is None:
            letter = letters[key] = type_letter(elf, symbol)
        types += letter.encode()
    init[at.typetab : at.typetab + len(types)] = types

    names = bytearray()
    for kept, number in enumerate(staging.placement.core_symbols):
        where = at.core_symtab + kept * SYMBOL.size
        core[where : where + SYMBOL.size] = table[number * SYMBOL.size : (number + 1) * SYMBOL.size]
        _U32.pack_into(core, where, len(names))
        core[at.core_typetab + kept] = types[number]
        names += elf.symbols[number].name.encode() + b"\0"
    core[at.core_strtab : at.core_strtab + len(names)] = names


def named_values(elf: Elf, values: list[int]) -> list[tuple[str, int]]:
    """(name, value) of each defined symbol in file order, as kallsyms sees the table during init."""
    return [
        (symbol.name, value) for symbol, value in zip(elf.symbols, values, strict=True) if symbol.shndx != SHN_UNDEF
    ]
