"""Inlined functions: the chain of source places behind one instruction, from ``.debug_info`` by pyelftools.

This costs tenths of a second and is for findings and crash reports; `kmem.modules.lines` alone answers file and line.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator
from typing import Any

from kmem.modules.debugdata import SECTION_SHIFT, debug_section
from kmem.modules.elf import SHF_COMPRESSED, Elf
from kmem.modules.lines import Lines, SourceLine

_SECTIONS = (
    ".debug_info", ".debug_abbrev", ".debug_str", ".debug_line", ".debug_line_str", ".debug_aranges", ".debug_ranges",
    ".debug_rnglists",
)  # fmt: skip


class Inlines:
    """The compilation units of one module."""

    def __init__(self, elf: Elf, lines: Lines) -> None:
        self._lines = lines
        self._dwarf: Any = None
        image = bytearray(elf.image)
        for name in _SECTIONS:
            section = elf.find_any(name)
            data = debug_section(elf, name) if section else b""
            if section is None or len(data) != section.size:
                continue
            image[section.offset : section.offset + section.size] = data
        section = elf.find_any(".debug_info")
        if section is not None and not section.flags & SHF_COMPRESSED:
            self._dwarf = _open(bytes(image))

    def frames(self, section: int, offset: int) -> list[SourceLine]:
        """The places of the instruction at *offset* in *section*, innermost inlined function first; empty without
        DWARF.
        """
        here = self._lines.find(section, offset)
        if here is None:
            return []
        if self._dwarf is None:
            return [here]
        try:
            return self._frames(section << SECTION_SHIFT | offset, here)
        except Exception:  # whatever pyelftools makes of damaged data, the line is still right
            return [here]

    def _frames(self, address: int, here: SourceLine) -> list[SourceLine]:
        for unit in self._dwarf.iter_CUs():
            top = unit.get_top_DIE()
            if not self._covers(top, address, default=True):
                continue
            for die in top.iter_children():
                if die.tag == "DW_TAG_subprogram" and self._covers(die, address):
                    return self._chain(unit, die, address, here)
        return [here]

    def _chain(self, unit: Any, die: Any, address: int, here: SourceLine) -> list[SourceLine]:
        frames: list[SourceLine] = []
        function = _name(die)
        for inlined in self._inlined(die, address):
            attributes = inlined.attributes
            line = attributes["DW_AT_call_line"].value if "DW_AT_call_line" in attributes else 0
            file = attributes["DW_AT_call_file"].value if "DW_AT_call_file" in attributes else 0
            frames.append(SourceLine(self._file(unit, file), line, function))
            function = _name(inlined)
        frames.append(here._replace(function=function))
        return frames[::-1]

    def _inlined(self, die: Any, address: int) -> Iterator[Any]:
        for child in die.iter_children():
            if child.tag in ("DW_TAG_inlined_subroutine", "DW_TAG_lexical_block") and self._covers(child, address):
                if child.tag == "DW_TAG_inlined_subroutine":
                    yield child
                yield from self._inlined(child, address)
                return

    def _covers(self, die: Any, address: int, default: bool = False) -> bool:
        attributes = die.attributes
        if "DW_AT_ranges" in attributes:
            return any(low <= address < high for low, high in self._ranges(die))
        if "DW_AT_low_pc" not in attributes or "DW_AT_high_pc" not in attributes:
            return default
        low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
        end = high.value if high.form == "DW_FORM_addr" else low + high.value
        return bool(low <= address < end)

    def _ranges(self, die: Any) -> Iterator[tuple[int, int]]:
        base = die.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
        start = base.value if base else 0
        for entry in self._dwarf.range_lists().get_range_list_at_offset(
            die.attributes["DW_AT_ranges"].value, cu=die.cu
        ):
            if hasattr(entry, "base_address"):
                start = entry.base_address
            elif getattr(entry, "is_absolute", False):
                yield entry.begin_offset, entry.end_offset
            else:
                yield start + entry.begin_offset, start + entry.end_offset

    def _file(self, unit: Any, number: int) -> str:
        header = self._dwarf.line_program_for_CU(unit).header
        old = header["version"] < 5
        entry = header["file_entry"][number - 1 if old else number]
        directories = [_text(directory) for directory in header["include_directory"]]
        index = entry["dir_index"]
        if old:
            directory = directories[index - 1] if index else ""
        else:
            directory = posixpath.join(directories[0], directories[index])
        return posixpath.normpath(posixpath.join(directory, _text(entry["name"])))


def _open(image: bytes) -> Any:
    """pyelftools' view of the debugging data; None when it cannot make sense of them."""
    from elftools.elf.elffile import ELFFile

    try:
        return ELFFile(io.BytesIO(image)).get_dwarf_info(relocate_dwarf_sections=False)
    except Exception:  # damaged data raise many things there; the line table still serves
        return None


def _name(die: Any) -> str:
    for _ in range(8):
        attributes = die.attributes
        if "DW_AT_name" in attributes:
            return _text(attributes["DW_AT_name"].value)
        link = next((name for name in ("DW_AT_abstract_origin", "DW_AT_specification") if name in attributes), None)
        if link is None:
            return ""
        die = die.get_DIE_from_attribute(link)
    return ""


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
