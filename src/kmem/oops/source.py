"""Frames of modules whose ``.ko`` is at hand, as file and line (from its DWARF line table)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kmem.errors import InputError

if TYPE_CHECKING:
    from kmem.oops.explain import Explanation


def places_in(modules: list[Path], explained: list[Explanation]) -> dict[str, str]:
    """``name+0x1c [module]`` to ``file:line`` for every frame of *explained* that lies in one of *modules*.

    A frame below the innermost holds a return address, so its call is looked up one byte earlier. Raises InputError for
    a file that cannot be read and ModuleFormatError for one that is no module.
    """
    from kmem.modules.dwarf import Inlines
    from kmem.modules.elf import Elf
    from kmem.modules.lines import Lines

    found: dict[str, str] = {}
    for path in modules:
        try:
            elf = Elf(path.read_bytes())
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror}", remedy="--module takes the path of a .ko"
            ) from error
        inlines = Inlines(elf, Lines(elf))
        module = path.name.removesuffix(".ko").replace("-", "_")
        symbols = {symbol.name: (symbol.shndx, symbol.value) for symbol in elf.symbols if symbol.shndx}
        for each in explained:
            for frame in each.report.trace():
                if frame.module != module or frame.offset is None or frame.name not in symbols:
                    continue
                section, start = symbols[frame.name]
                back = 0 if frame is each.report.pc else 1
                chain = inlines.frames(section, start + frame.offset - back)
                if chain:
                    where = ", inlined in ".join(f"{place.file}:{place.line}" for place in chain)
                    found[f"{frame.name}+{frame.offset:#x} [{module}]"] = where
    return found
