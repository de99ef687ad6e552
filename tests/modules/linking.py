"""Shortcuts of the tests: a hand-made module, laid out at fixed addresses and relocated, before anything was
patched."""

from __future__ import annotations

from kmem.modules.elf import SHT_RELA, Elf
from kmem.modules.layout import place
from kmem.modules.relocation import apply_relocations
from kmem.modules.staging import Staging
from kmem.modules.symtab import final_values
from tests.modules.elfmaker import Maker

CORE, INIT = 0xFFFFFFFFC0201000, 0xFFFFFFFFC0301000


def staged(maker: Maker, exports: dict[str, int] | None = None) -> tuple[Staging, dict[str, int]]:
    """The module with its relocations applied, and the addresses of its imports; *exports* are those that the kernel
    has."""
    elf = Elf(maker.build())
    staging = Staging(elf, place(elf), CORE, INIT)
    known = exports or {}
    values, imports = final_values(elf, staging, 0x20000, known.get, "tiny", ())
    for section in elf.sections:
        if section.type == SHT_RELA and section.info in staging.addresses:
            buffer, at = staging.buffer(elf.sections[section.info])
            apply_relocations(elf, section, buffer, at, staging.addresses[section.info], values)
    return staging, imports
