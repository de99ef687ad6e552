"""Exception table, exports and parameters of a linked module."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.errors import ModuleFormatError
from kmem.modules.tables import Export, exports, parameters, sort_extable
from tests.modules.elfmaker import ALLOC, EXEC, R_32, R_64, R_PC32, Maker
from tests.modules.linking import CORE, staged


def extable(maker: Maker, rows: list[tuple[int, int, int]]) -> None:
    """Entries (instruction, fixup, data) as offsets into section 1."""
    table = maker.section(
        "__ex_table", b"".join(struct.pack("<iii", 0, 0, data) for _, _, data in rows), ALLOC, align=4
    )
    for number, (at, fixup, _) in enumerate(rows):
        maker.rela(table, 12 * number, R_PC32, maker.symbol("", 1, at))
        maker.rela(table, 12 * number + 4, R_PC32, maker.symbol("", 1, fixup))


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(-9, 9)), max_size=12, unique_by=lambda r: r[0]
    )
)
def test_exception_table_is_sorted_and_keeps_its_meaning(rows: list[tuple[int, int, int]]) -> None:
    maker = Maker()
    maker.section(".text", bytes(256), ALLOC | EXEC)
    extable(maker, rows)
    staging, _ = staged(maker)
    sort_extable(staging)
    address, count = staging.table("__ex_table", 12)
    found = []
    for number in range(count):
        entry = address + 12 * number
        insn, fixup, data = (staging.s32(entry + at, "test") for at in (0, 4, 8))
        found.append((insn + entry - CORE, fixup + entry + 4 - CORE, data))
    assert found == sorted(rows)


def test_exports_name_address_licence_and_namespace() -> None:
    maker = Maker()
    text = maker.section(".text", bytes(64), ALLOC | EXEC)
    strings = maker.section("__ksymtab_strings", b"free\0gpl\0NS\0\0", ALLOC)
    for table, at, name, space in (("__ksymtab", 16, 0, 12), ("__ksymtab_gpl", 32, 5, 9)):
        section = maker.section(table, bytes(12), ALLOC)
        maker.rela(section, 0, R_PC32, maker.symbol("", text, at))
        maker.rela(section, 4, R_PC32, maker.symbol("", strings, name))
        maker.rela(section, 8, R_PC32, maker.symbol("", strings, space))
    staging, _ = staged(maker)
    assert exports(staging) == [Export("free", CORE + 16, False, ""), Export("gpl", CORE + 32, True, "NS")]


def test_parameters_are_read_from_their_records() -> None:
    maker = Maker()
    names = maker.section(".rodata", b"count\0", ALLOC)
    record = struct.pack("<QQQHbBxxxxQ", 0, 0x1111, 0x2222, 0o644, -1, 1, 0x3333)
    table = maker.section("__param", record, ALLOC, align=8)
    maker.rela(table, 0, R_64, maker.symbol("", names))
    staging, _ = staged(maker)
    (param,) = parameters(staging)
    assert param.address == staging.address("__param")
    assert param[1:] == ("count", 0x1111, 0x2222, 0o644, -1, 1, 0x3333)


def test_parameter_whose_name_lies_elsewhere_is_refused() -> None:
    maker = Maker()
    maker.section("__param", struct.pack("<Q", 0x1234) + bytes(32), ALLOC, align=8)
    with pytest.raises(ModuleFormatError, match="__param points to 0x1234, outside of the module"):
        parameters(staged(maker)[0])


def test_relocation_in_a_table_is_still_checked() -> None:
    maker = Maker()
    table = maker.section("__ex_table", bytes(12), ALLOC)
    maker.rela(table, 0, R_32, 0, 1 << 40)
    with pytest.raises(ModuleFormatError, match="overflow"):
        staged(maker)
