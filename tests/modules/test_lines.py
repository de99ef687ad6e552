"""Line number programs, written by hand: versions 4 and 5, several sections, and what is broken."""

from __future__ import annotations

import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st

from kmem.modules.elf import Elf
from kmem.modules.lines import Lines, SourceLine
from tests.modules.elfmaker import ALLOC, EXEC, LOCAL, R_32, R_64, SECTION, Maker

COPY, ADVANCE_PC, ADVANCE_LINE, SET_FILE, CONST_ADD_PC, FIXED_PC = 1, 2, 3, 4, 8, 9
OPERANDS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
SET_ADDRESS = b"\0\x09\x02" + bytes(8)
END = b"\0\1\1"


def unit(version: int, files: bytes, program: bytes) -> bytes:
    """A unit with line_base -5, line_range 14, opcode_base 13."""
    body = struct.pack("<BBBbBB", 1, 1, 1, -5, 14, 13) + OPERANDS + files
    head = struct.pack("<H", version) + (b"\x08\0" if version == 5 else b"")
    rest = head + struct.pack("<I", len(body)) + body + program
    return struct.pack("<I", len(rest)) + rest


def v4_files() -> bytes:
    return b"/src/include\0\0" + b"drv.c\0\0\0\0" + b"list.h\0\1\0\0" + b"\0"


def v5_files() -> bytes:
    """Directories and files by offset into .debug_line_str; the offsets come from relocations."""
    return b"\1\1\x1f\2" + bytes(8) + b"\2\1\x1f\2\x0b\2" + bytes(4) + b"\0" + bytes(4) + b"\1"


def special(pc: int, line: int) -> bytes:
    return bytes((13 + 14 * pc + line + 5,))


def module(data: bytes, sections: list[tuple[int, int]], flags: int = 0, strings: bytes = b"") -> Elf:
    """*sections*: (offset of a DW_LNE_set_address in the data, number of the code section that it names)."""
    maker = Maker()
    maker.section(".text", bytes(64), ALLOC | EXEC)
    maker.section(".init.text", bytes(64), ALLOC | EXEC)
    line = maker.section(".debug_line", data, flags)
    numbers = {number: maker.symbol("", number, 0, 0, LOCAL, SECTION) for number in (1, 2)}
    for at, number in sections:
        maker.rela(line, at + 3, R_64, numbers[number])
    if strings:
        table = maker.symbol("", maker.section(".debug_line_str", strings, 0), 0, 0, LOCAL, SECTION)
        for offset, where in zip((0, 5, 17, 23), (0, 1, 2, 3), strict=True):
            field = data.index(b"\1\1\x1f\2") + (4, 8, 18, 23)[where]
            maker.rela(line, field, R_32, table, offset)
    return Elf(maker.build())


def two_sections(version: int = 4) -> Lines:
    """.text: line 10 from 0, line 12 from 4, list.h:3 from 8, ends at 12. .init.text: line 100 from 0, ends at 16."""
    program = (
        SET_ADDRESS + bytes((ADVANCE_LINE, 9)) + bytes((COPY,)) + special(4, 2)
        + bytes((SET_FILE, 2, ADVANCE_LINE)) + b"\x77" + special(4, 0) + bytes((ADVANCE_PC, 4)) + END
        + SET_ADDRESS + bytes((ADVANCE_LINE,)) + b"\xe3\0" + bytes((COPY, FIXED_PC, 16, 0)) + END
    )  # fmt: skip
    data = unit(version, v4_files(), program)
    first = data.index(SET_ADDRESS)
    return Lines(module(data, [(first, 1), (data.index(SET_ADDRESS, first + 1), 2)]))


def test_each_instruction_has_the_line_of_the_row_before_it() -> None:
    lines = two_sections()
    assert [lines.find(1, at) for at in (0, 3)] == [SourceLine("drv.c", 10)] * 2
    assert [lines.find(1, at) for at in (4, 7)] == [SourceLine("drv.c", 12)] * 2
    assert [lines.find(1, at) for at in (8, 11)] == [SourceLine("/src/include/list.h", 3)] * 2


def test_sections_are_told_apart() -> None:
    lines = two_sections()
    assert lines.find(2, 0) == SourceLine("drv.c", 100)
    assert lines.find(2, 15) == SourceLine("drv.c", 100)


def test_code_behind_a_sequence_has_no_line() -> None:
    lines = two_sections()
    assert lines.find(1, 12) is None
    assert lines.find(2, 16) is None
    assert lines.find(3, 0) is None
    without = Lines(Elf(Maker().build()))
    assert not without
    assert without.find(1, 0) is None


def test_sequence_that_begins_where_another_ends_wins() -> None:
    program = SET_ADDRESS + bytes((COPY, ADVANCE_PC, 8)) + END
    later = SET_ADDRESS + bytes((ADVANCE_PC, 8, ADVANCE_LINE, 4, COPY, ADVANCE_PC, 8)) + END
    for programs in ((program, later), (later, program)):
        data = b"".join(unit(4, v4_files(), part) for part in programs)
        first = data.index(SET_ADDRESS)
        lines = Lines(module(data, [(first, 1), (data.index(SET_ADDRESS, first + 1), 1)]))
        assert lines.find(1, 7) == SourceLine("drv.c", 1)
        assert lines.find(1, 8) == SourceLine("drv.c", 5)


def test_version_5_names_files_by_offset() -> None:
    data = unit(
        5,
        v5_files(),
        SET_ADDRESS + bytes((SET_FILE, 0, COPY, SET_FILE, 1)) + special(1, 1) + bytes((ADVANCE_PC, 9)) + END,
    )
    lines = Lines(module(data, [(data.index(SET_ADDRESS), 1)], strings=b"/drv\0/inc/kernel\0drv.c\0list.h\0"))
    assert lines.find(1, 0) == SourceLine("/drv/drv.c", 1)
    assert lines.find(1, 1) == SourceLine("/inc/kernel/list.h", 2)


def test_constant_step_is_that_of_the_last_special_opcode() -> None:
    data = unit(4, v4_files(), SET_ADDRESS + bytes((COPY, CONST_ADD_PC, ADVANCE_LINE, 1, COPY, ADVANCE_PC, 4)) + END)
    lines = Lines(module(data, [(data.index(SET_ADDRESS), 1)]))
    assert lines.find(1, 16) == SourceLine("drv.c", 1)
    assert lines.find(1, 17) == SourceLine("drv.c", 2)


def test_compressed_section_is_read() -> None:
    """The relocations are for the contents, not for what lies in the file."""
    data = unit(4, v4_files(), SET_ADDRESS + bytes((COPY, ADVANCE_PC, 4)) + END)
    packed = struct.pack("<IIQQ", 1, 0, len(data), 1) + zlib.compress(data)
    assert Lines(module(packed, [(data.index(SET_ADDRESS), 2)], flags=0x800)).find(2, 3) == SourceLine("drv.c", 1)
    huge = struct.pack("<IIQQ", 1, 0, 1 << 50, 1) + zlib.compress(data)
    assert not Lines(module(huge, [(0, 1)], flags=0x800))
    assert not Lines(module(packed[:40], [(0, 1)], flags=0x800))


def test_units_before_a_damaged_one_stay_usable() -> None:
    good = unit(4, v4_files(), SET_ADDRESS + bytes((COPY, ADVANCE_PC, 4)) + END)
    for bad in (b"\xff\xff\xff", b"\x10\0\0\0\4\0", unit(4, b"\xff" * 40, b""), struct.pack("<IH", 2, 9)):
        assert Lines(module(good + bad, [(good.index(SET_ADDRESS), 1)])).find(1, 0) == SourceLine("drv.c", 1)


@given(st.binary(max_size=60), st.sampled_from([2, 3, 4, 5]))
def test_any_program_ends(program: bytes, version: int) -> None:
    files = v5_files() if version == 5 else v4_files()
    lines = Lines(module(unit(version, files, program), []))
    lines.find(1, 0)


@given(st.binary(max_size=80))
def test_any_data_end(data: bytes) -> None:
    Lines(module(data, [])).find(1, 0)
