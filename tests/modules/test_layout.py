"""Where sections go. The expected offsets are worked out by hand from the rules of the kernel's layout_sections."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.errors import ModuleFormatError
from kmem.modules import layout
from kmem.modules.elf import Elf
from kmem.modules.layout import PAGE, place
from tests.modules.elfmaker import ALLOC, EXEC, GLOBAL, NOBITS, WRITE, Maker, tiny


def placed(maker: Maker) -> tuple[layout.Placement, dict[str, tuple[bool, int]]]:
    elf = Elf(maker.build())
    placement = place(elf)
    return placement, {elf.sections[index].name: where for index, where in placement.sections.items()}


def test_text_data_and_symbols_take_a_page_each() -> None:
    """Text, struct module behind .data (aligned to 64), then symbols on a page of their own; no read-only data."""
    placement, where = placed(tiny())
    assert where == {
        ".text": (False, 0),
        ".init.text": (True, 0),
        ".data": (False, PAGE),
        ".gnu.linkonce.this_module": (False, PAGE + 64),
    }
    core, init = placement.core, placement.init
    assert (core.text_size, core.ro_size, core.ro_after_init_size, core.size) == (PAGE, PAGE, PAGE, 3 * PAGE)
    assert (init.text_size, init.ro_size, init.ro_after_init_size, init.size) == (PAGE, PAGE, PAGE, 2 * PAGE)


def test_each_kind_has_its_own_pages() -> None:
    maker = tiny()
    maker.section(".rodata", bytes(5000), ALLOC, align=32)
    maker.section(".data..ro_after_init", bytes(8), ALLOC | WRITE, align=8)
    maker.section("__jump_table", bytes(16), ALLOC | WRITE, align=8)
    maker.section(".bss", b"", ALLOC | WRITE, type=NOBITS, size=9000, align=32)
    maker.section(".text.unlikely", b"\xc3" * 3, ALLOC | EXEC)
    maker.section(".init.data", bytes(8), ALLOC | WRITE, align=8)
    maker.section(".init.rodata", bytes(8), ALLOC, align=8)
    placement, where = placed(maker)
    core = placement.core
    assert where[".text.unlikely"] == (False, 32)
    assert where[".rodata"] == (False, PAGE)
    assert core.ro_size == 3 * PAGE
    assert where[".data..ro_after_init"] == (False, 3 * PAGE)
    assert where["__jump_table"] == (False, 3 * PAGE + 8)
    assert core.ro_after_init_size == 4 * PAGE
    assert where[".data"] == (False, 4 * PAGE)
    assert where[".bss"] == (False, 4 * PAGE + 64 + 896)
    assert where[".init.rodata"] == (True, PAGE)
    assert where[".init.data"] == (True, 2 * PAGE)
    assert placement.init.ro_after_init_size == placement.init.ro_size == 2 * PAGE


def test_modinfo_versions_and_percpu_data_are_not_loaded() -> None:
    maker = tiny()
    maker.section("__versions", bytes(64), ALLOC)
    maker.section(".data..percpu", bytes(64), ALLOC | WRITE, align=64)
    _, where = placed(maker)
    assert not {".modinfo", "__versions", ".data..percpu"} & where.keys()


def test_core_keeps_the_symbols_of_core_and_percpu_sections() -> None:
    maker = tiny()
    percpu = maker.section(".data..percpu", bytes(8), ALLOC | WRITE)
    debug = maker.section(".debug_info", bytes(8), 0)
    maker.symbol("mine", percpu)
    maker.symbol("dies", debug)
    maker.symbol("absolute", 0xFFF1, 7)
    placement, _ = placed(maker)
    names = [Elf(maker.build()).symbols[number].name for number in placement.core_symbols]
    assert names == ["", "work", "tiny_exit", "counter", "__this_module", "mine"]


def test_symbol_tables_lie_behind_the_sections() -> None:
    placement, _ = placed(tiny())
    at = placement.symtab
    assert at.symtab == PAGE
    assert at.core_symtab == 2 * PAGE
    assert at.core_strtab == at.core_symtab + 24 * len(placement.core_symbols)
    assert at.core_typetab == at.core_strtab + len("\0work\0tiny_exit\0counter\0__this_module\0")
    assert at.typetab == at.mod_kallsyms + 32


def test_symbols_that_would_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_LOADED", PAGE)
    maker = tiny()
    for number in range(200):
        maker.symbol("s" * 60 + str(number), 1, bind=GLOBAL)
    with pytest.raises(ModuleFormatError, match="with its symbols"):
        place(Elf(maker.build()))


sections = st.lists(
    st.tuples(
        st.sampled_from(
            [".text", ".rodata", ".data", ".bss", ".init.text", ".init.data", ".exit.text", ".data..ro_after_init"]
        ),
        st.sampled_from([ALLOC, ALLOC | EXEC, ALLOC | WRITE]),
        st.integers(0, 9000),
        st.sampled_from([0, 1, 2, 8, 64, 4096]),
    ),
    max_size=12,
)


@given(sections)
def test_sections_never_overlap_and_stay_in_their_part(rows: list[tuple[str, int, int, int]]) -> None:
    maker = tiny()
    for number, (name, flags, size, align) in enumerate(rows):
        maker.section(f"{name}.{number}" if name != ".data..ro_after_init" else name, bytes(size), flags, align=align)
    elf = Elf(maker.build())
    placement = place(elf)
    taken: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    for index, (in_init, offset) in placement.sections.items():
        section = elf.sections[index]
        region = placement.init if in_init else placement.core
        assert in_init == section.name.startswith(".init")
        assert offset % max(section.align, 1) == 0
        if section.flags & EXEC:
            assert offset + section.size <= region.text_size
        elif not section.flags & WRITE:
            assert region.text_size <= offset
            assert offset + section.size <= region.ro_size
        elif section.name == ".data..ro_after_init" and not in_init:
            assert region.ro_size <= offset
            assert offset + section.size <= region.ro_after_init_size
        else:
            assert region.ro_after_init_size <= offset
        if section.size:
            taken[in_init].append((offset, offset + section.size))
    for spans in taken.values():
        spans.sort()
        assert all(first[1] <= second[0] for first, second in pairwise(spans))
    for region in (placement.core, placement.init):
        assert all(
            size % PAGE == 0 for size in (region.text_size, region.ro_size, region.ro_after_init_size, region.size)
        )
