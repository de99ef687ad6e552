"""Where the sections of a module go: ``layout_sections`` and ``layout_symtab`` of kernel/module/main.c and kallsyms.c
(6.1).

A module takes two allocations. *core* stays as long as the module does, *init* is freed when its init function has
returned::

    core  [ text | read-only data | read-only after init | writable data, .bss, symbols to keep ]
    init  [ text | read-only data | writable data, whole symbol table and its strings ]

Each part starts on a page, so that page permissions can differ. ``.init*`` sections go to init; per-cpu data,
``.modinfo`` and ``__versions`` go nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kmem.modules.elf import (
    MAX_LOADED,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_RO_AFTER_INIT,
    SHF_WRITE,
    SHN_UNDEF,
    SYMBOL,
    Elf,
    Section,
    Symbol,
    malformed,
)

PAGE = 4096
MOD_KALLSYMS_SIZE = 32
"""``sizeof(struct mod_kallsyms)``; one lies behind the symbol table in init."""

PERCPU = ".data..percpu"
_NOT_LOADED = (".modinfo", "__versions", PERCPU)
_RO_AFTER_INIT = (".data..ro_after_init", "__jump_table")
_MASKS = (
    (SHF_EXECINSTR | SHF_ALLOC, 0),
    (SHF_ALLOC, SHF_WRITE),
    (SHF_RO_AFTER_INIT | SHF_ALLOC, 0),
    (SHF_WRITE | SHF_ALLOC, 0),
    (SHF_ALLOC, 0),
)
"""Flags that a section must have and must not have to belong to text, read-only data, read-only after init, data, the
rest.
"""


@dataclass(slots=True)
class Region:
    """One allocation (``struct module_layout``): sizes in bytes, each counted from the start and page-aligned."""

    size: int = 0
    text_size: int = 0
    ro_size: int = 0
    ro_after_init_size: int = 0

    def add(self, size: int, align: int) -> int:
        """Place *size* bytes; return their offset (``module_get_offset``)."""
        offset = _align(self.size, align or 1)
        self.size = offset + size
        return offset

    def end_page(self) -> int:
        """Round the size up to a page (``strict_align``) and return it."""
        self.size = _align(self.size, PAGE)
        return self.size


@dataclass(slots=True)
class SymtabPlace:
    """Offsets of the symbol tables: the whole one in init, the one to keep in core."""

    symtab: int = 0
    strtab: int = 0
    mod_kallsyms: int = 0
    typetab: int = 0
    core_symtab: int = 0
    core_strtab: int = 0
    core_typetab: int = 0


@dataclass(slots=True)
class Placement:
    """The result: for each loaded section its region and offset; *core_symbols* are the numbers of the symbols that
    core keeps.
    """

    core: Region
    init: Region
    sections: dict[int, tuple[bool, int]]
    symtab: SymtabPlace = field(default_factory=SymtabPlace)
    core_symbols: list[int] = field(default_factory=list)

    def in_init(self, index: int) -> bool:
        """Whether section *index* is loaded, and into init."""
        return self.sections.get(index, (False, 0))[0]


def _align(value: int, to: int) -> int:
    return (value + to - 1) & -to


def _flags(section: Section) -> int:
    if section.name in _NOT_LOADED:
        return section.flags & ~SHF_ALLOC
    return section.flags | (SHF_RO_AFTER_INIT if section.name in _RO_AFTER_INIT else 0)


def place(elf: Elf) -> Placement:
    """Lay out the allocated sections of *elf*, then its symbols."""
    regions = (Region(), Region())
    placed: dict[int, tuple[bool, int]] = {}
    candidates: tuple[list[tuple[Section, int]], list[tuple[Section, int]]] = ([], [])
    for section in elf.sections:
        flags = _flags(section)
        if flags & SHF_ALLOC:
            candidates[section.name.startswith(".init")].append((section, flags))
    for is_init, region in enumerate(regions):
        remaining = candidates[is_init]
        for step, (wanted, unwanted) in enumerate(_MASKS):
            later = []
            for section, flags in remaining:
                if flags & wanted == wanted and not flags & unwanted:
                    placed[section.index] = (bool(is_init), region.add(section.size, section.align))
                else:
                    later.append((section, flags))
            remaining = later
            if step == 0:
                region.text_size = region.end_page()
            elif step == 1:
                region.ro_size = region.end_page()
            elif step == 2:
                # Only core is made read-only once more after init.
                region.ro_after_init_size = region.ro_size if is_init else region.end_page()
        region.end_page()
    placement = Placement(*regions, placed)
    _place_symbols(elf, placement)
    if max(region.size for region in regions) > 2 * MAX_LOADED:
        raise malformed(f"the module would take more than {2 * MAX_LOADED >> 20} MiB with its symbols")
    return placement


def is_core_symbol(elf: Elf, placement: Placement, symbol: Symbol) -> bool:
    """Whether *symbol* stays known after init (``is_core_symbol``, with CONFIG_KALLSYMS_ALL)."""
    if symbol.shndx == SHN_UNDEF or symbol.shndx >= len(elf.sections) or not symbol.name:
        return False
    place_ = placement.sections.get(symbol.shndx)
    return not place_[0] if place_ else elf.sections[symbol.shndx].name == PERCPU


def _place_symbols(elf: Elf, placement: Placement) -> None:
    symbols, core, init, at = elf.symbols, placement.core, placement.init, placement.symtab
    at.symtab = init.add(elf.symtab.size, elf.symtab.align)
    keep = [0] + [number for number in range(1, len(symbols)) if is_core_symbol(elf, placement, symbols[number])]
    placement.core_symbols = keep
    at.core_symtab = core.add(len(keep) * SYMBOL.size, elf.symtab.align)
    at.core_strtab = core.size
    core.size += sum(len(symbols[number].name) + 1 for number in keep)
    at.core_typetab = core.size
    core.size += len(keep)
    core.end_page()
    at.strtab = init.add(elf.strtab.size, elf.strtab.align)
    at.mod_kallsyms = init.add(MOD_KALLSYMS_SIZE, 8)
    at.typetab = init.size
    init.size += len(symbols)
    init.end_page()
