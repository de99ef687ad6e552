"""From code to file and line: the line number programs of ``.debug_line`` (DWARF 2 to 5), read when first asked for."""

from __future__ import annotations

import posixpath
from bisect import bisect_right
from typing import NamedTuple

from kmem.modules.debugdata import OFFSET_MASK, SECTION_SHIFT, debug_section
from kmem.modules.elf import Elf

_FORM_SIZES = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}
_FORM_STRING, _FORM_STRP, _FORM_LINE_STRP, _FORM_UDATA, _FORM_BLOCK = 0x08, 0x0E, 0x1F, 0x0F, 0x09
_LNCT_PATH, _LNCT_DIRECTORY = 1, 2
_SET_ADDRESS, _END_SEQUENCE = 2, 1
_MAX_ROWS = 1 << 22


class SourceLine(NamedTuple):
    """A place in the source. *function* may be one that the compiler inlined; empty when it is not known."""

    file: str
    line: int
    function: str = ""


class _Damaged(Exception):
    """The data of one unit make no sense; the units before it stay usable."""


class Lines:
    """The line table of a module."""

    def __init__(self, elf: Elf) -> None:
        self._files: list[str] = [""]
        rows: list[tuple[int, int, int]] = []
        data = debug_section(elf, ".debug_line")
        if data:
            strings = (debug_section(elf, ".debug_line_str"), debug_section(elf, ".debug_str"))
            self._read(data, strings, rows)
        # An end of a sequence gives way to the start of another one at the same address.
        rows.sort(key=lambda row: (row[0], row[2] != 0))
        self._addresses = [row[0] for row in rows]
        self._rows = rows

    def __bool__(self) -> bool:
        """Whether there are any line numbers."""
        return bool(self._rows)

    def find(self, section: int, offset: int) -> SourceLine | None:
        """File and line of the instruction at *offset* in section number *section*; None if the table does not cover
        it.
        """
        address = section << SECTION_SHIFT | offset
        at = bisect_right(self._addresses, address) - 1
        if at < 0:
            return None
        start, file, line = self._rows[at]
        if not line or (start & ~OFFSET_MASK) != (address & ~OFFSET_MASK):
            return None
        return SourceLine(self._files[file], line)

    def _read(self, data: bytes, strings: tuple[bytes, bytes], rows: list[tuple[int, int, int]]) -> None:
        at = 0
        while at + 4 <= len(data):
            size, wide = int.from_bytes(data[at : at + 4], "little"), 4
            at += 4
            if size == 0xFFFFFFFF:
                size, wide = int.from_bytes(data[at : at + 8], "little"), 8
                at += 8
            try:
                _Unit(data[at : at + size], wide, strings, self._files, rows).run()
            except (_Damaged, IndexError):
                return
            at += size


class _Unit:
    """One line number program: its header, then its instructions."""

    def __init__(
        self, data: bytes, wide: int, strings: tuple[bytes, bytes], files: list[str], rows: list[tuple[int, int, int]]
    ) -> None:
        self._data = data
        self._at = 0
        self._wide = wide
        self._strings = strings
        self._all_files = files
        self._rows = rows
        self._numbers: dict[int, int] = {}

    def _int(self, size: int) -> int:
        end = self._at + size
        if end > len(self._data):
            raise _Damaged
        value = int.from_bytes(self._data[self._at : end], "little")
        self._at = end
        return value

    def _uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise _Damaged

    def _sleb(self) -> int:
        start = self._at
        value = self._uleb()
        bits = 7 * (self._at - start)
        return value - (1 << bits) if value >> bits - 1 & 1 else value

    def _cstr(self) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise _Damaged
        text = self._data[self._at : end].decode("utf-8", "backslashreplace")
        self._at = end + 1
        return text

    def _form(self, form: int) -> int | str:
        if form in _FORM_SIZES:
            return self._int(_FORM_SIZES[form])
        if form == _FORM_UDATA:
            return self._uleb()
        if form == _FORM_STRING:
            return self._cstr()
        if form in (_FORM_LINE_STRP, _FORM_STRP):
            offset = self._int(self._wide)
            table = self._strings[form == _FORM_STRP]
            end = table.find(b"\0", offset)
            return table[offset:end].decode("utf-8", "backslashreplace") if 0 <= offset < end else ""
        if form == _FORM_BLOCK:
            self._int(self._uleb())
            return 0
        raise _Damaged

    def run(self) -> None:
        """Read the header, then execute the program."""
        version = self._int(2)
        if not 2 <= version <= 5:
            return
        if version == 5:
            address_size, segment_size = self._int(1), self._int(1)
            if address_size != 8 or segment_size:
                return
        header = self._int(self._wide)
        program = self._at + header
        shortest = self._int(1)
        if version >= 4:
            self._int(1)
        self._int(1)
        line_base = self._int(1)
        line_base -= 256 if line_base > 127 else 0
        line_range = self._int(1)
        opcode_base = self._int(1)
        if not line_range or not opcode_base:
            raise _Damaged
        operands = [self._int(1) for _ in range(opcode_base - 1)]
        files = self._files_v5() if version == 5 else self._files_v2()
        self._at = program
        self._execute(shortest, line_base, line_range, opcode_base, operands, files)

    def _entries_v5(self) -> list[dict[int, int | str]]:
        formats = [(self._uleb(), self._uleb()) for _ in range(self._int(1))]
        count = self._uleb()
        if count > len(self._data):
            raise _Damaged
        return [{content: self._form(form) for content, form in formats} for _ in range(count)]

    def _files_v5(self) -> list[str]:
        directories = [str(entry.get(_LNCT_PATH, "")) for entry in self._entries_v5()]
        base = directories[0] if directories else ""
        directories = [posixpath.join(base, directory) for directory in directories]
        files = []
        for entry in self._entries_v5():
            number = entry.get(_LNCT_DIRECTORY, 0)
            directory = directories[number] if isinstance(number, int) and number < len(directories) else ""
            files.append(posixpath.normpath(posixpath.join(directory, str(entry.get(_LNCT_PATH, "")))))
        return files

    def _files_v2(self) -> list[str]:
        directories, files = [""], [""]
        while self._data[self._at]:
            directories.append(self._cstr())
        self._at += 1
        while self._data[self._at]:
            name = self._cstr()
            number = self._uleb()
            self._uleb(), self._uleb()
            directory = directories[number] if number < len(directories) else ""
            files.append(posixpath.normpath(posixpath.join(directory, name)))
        return files

    def _row(self, address: int, file: int, line: int, files: list[str]) -> None:
        if len(self._rows) >= _MAX_ROWS:
            raise _Damaged
        number = self._numbers.get(file)
        if number is None:
            number = self._numbers[file] = len(self._all_files)
            self._all_files.append(files[file] if file < len(files) else "")
        self._rows.append((address, number, max(line, 0)))

    def _execute(
        self, shortest: int, line_base: int, line_range: int, opcode_base: int, operands: list[int], files: list[str]
    ) -> None:
        end = len(self._data)
        address, file, line = 0, 1, 1
        while self._at < end:
            opcode = self._data[self._at]
            self._at += 1
            if opcode >= opcode_base:
                address += (opcode - opcode_base) // line_range * shortest
                line += line_base + (opcode - opcode_base) % line_range
                self._row(address, file, line, files)
            elif opcode == 0:
                size = self._uleb()
                following = self._at + size
                extended = self._int(1) if size else 0
                if extended == _END_SEQUENCE:
                    # Line 0 says: nothing from here on.
                    self._row(address, file, 0, files)
                    address, file, line = 0, 1, 1
                elif extended == _SET_ADDRESS:
                    address = self._int(8)
                self._at = following
            elif opcode == 1:
                self._row(address, file, line, files)
            elif opcode == 2:
                address += self._uleb() * shortest
            elif opcode == 3:
                line += self._sleb()
            elif opcode == 4:
                file = self._uleb()
            elif opcode == 8:
                address += (255 - opcode_base) // line_range * shortest
            elif opcode == 9:
                address += self._int(2)
            else:
                for _ in range(operands[opcode - 1]):
                    self._uleb()
