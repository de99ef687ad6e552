"""Names of addresses. The odd sizes are those that real 6.1 kernels print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.modules.kallsyms import Kallsyms, Symbol, TextRegion

CORE, INIT = 0xFFFFFFFFC0201000, 0xFFFFFFFFC0206000


def with_module() -> Kallsyms:
    """core: work (0x00), work_tail (0x40), data behind the text; init: bug_init and an alias of it."""
    names = Kallsyms()
    symbols = [
        ("", 0), ("drv.c", 0), ("work", CORE), (".LC0", CORE + 0x20), ("work_tail", CORE + 0x40), ("", CORE + 0x44),
        ("counter", CORE + 0x2008), ("bug_init", INIT), ("init_module", INIT),
    ]  # fmt: skip
    names.add_module("bug", [TextRegion(CORE, 0x4000, 0x1000), TextRegion(INIT, 0x3000, 0x1000)], symbols)
    return names


@pytest.mark.parametrize(
    ("addr", "text"),
    [
        (CORE, "work+0x0/0x40 [bug]"),
        (CORE + 0x1C, "work+0x1c/0x40 [bug]"),
        (CORE + 0x3F, "work+0x3f/0x40 [bug]"),
        (CORE + 0x44, "work_tail+0x4/0xfc0 [bug]"),
        (INIT + 0x113, "bug_init+0x113/0x1000 [bug]"),
        (INIT - 1, f"{INIT - 1:#x}"),
        (CORE + 0x4000, f"{CORE + 0x4000:#x}"),
        (0x10, "0x10"),
    ],
)
def test_code_is_printed_as_the_kernel_prints_it(addr: int, text: str) -> None:
    assert with_module().sprint(addr) == text


def test_data_symbol_has_a_size_below_zero() -> None:
    """Every symbol is taken to end with the text of its region at the latest, data too."""
    assert with_module().sprint(CORE + 0x200C) == f"counter+0x4/{(0x1000 - 0x2008) & (1 << 64) - 1:#x} [bug]"


def test_backtrace_names_the_instruction_before() -> None:
    names = with_module()
    assert names.sprint_backtrace(CORE + 0x40) == "work+0x40/0x40 [bug]"
    assert names.sprint(CORE + 0x40) == "work_tail+0x0/0xfc0 [bug]"
    assert names.sprint_backtrace(INIT) == f"{INIT:#x}"


def test_name_alone_has_no_offset() -> None:
    assert with_module().sprint_name(CORE + 0x1C) == "work [bug]"
    assert with_module().sprint_name(0x10) == "0x10"


def test_kernel_symbols_have_the_size_that_they_were_given() -> None:
    names = Kallsyms()
    names.add("kfree", 0xFFFFFFFF81000100, 0x40)
    names.add("kmalloc", 0xFFFFFFFF81000000, 0x80)
    names.add("alias_of_kfree", 0xFFFFFFFF81000100, 0x40)
    assert names.sprint(0xFFFFFFFF81000104) == "kfree+0x4/0x40"
    assert names.sprint(0xFFFFFFFF81000090) == "0xffffffff81000090"
    assert names.address("alias_of_kfree") == 0xFFFFFFFF81000100
    names.add("later", 0xFFFFFFFF81000090, 8)
    assert names.lookup(0xFFFFFFFF81000091) == Symbol("later", 0xFFFFFFFF81000090, 8, None)


def test_names_lead_to_addresses() -> None:
    names = with_module()
    assert names.address("work") == CORE
    assert names.address("bug:counter") == CORE + 0x2008
    assert names.address("bug:none") is None
    assert names.address("other:work") is None
    assert names.address("none") is None


def test_kernel_names_win_over_a_modules() -> None:
    names = with_module()
    names.add("work", 0xFFFFFFFF81000000, 16)
    assert names.address("work") == 0xFFFFFFFF81000000
    assert names.address("bug:work") == CORE


def test_removed_module_is_forgotten() -> None:
    names = with_module()
    assert names.module_at(CORE) == "bug"
    names.remove_module("bug")
    names.remove_module("bug")
    assert names.module_at(CORE) is None
    assert names.sprint(CORE) == f"{CORE:#x}"


def test_single_symbol_can_be_added_to_a_module() -> None:
    names = Kallsyms()
    names.add("first", CORE, 0x100, module="hand")
    names.add("second", CORE + 0x40, 0x10, module="hand")
    assert names.sprint(CORE + 4) == "first+0x4/0x40 [hand]"
    assert names.sprint(CORE + 0x44) == "second+0x4/0xc0 [hand]"


def test_table_can_go_back() -> None:
    names = with_module()
    names.add("kfree", 0xFFFFFFFF81000100, 0x40)
    mark = names.mark()
    names.remove_module("bug")
    names.add("later", 0xFFFFFFFF81000000, 0x40)
    names.add("extra", CORE, 0x10, module="other")
    for _ in range(2):
        names.rewind(mark)
        assert names.sprint(CORE + 4) == "work+0x4/0x40 [bug]"
        assert names.sprint(0xFFFFFFFF81000104) == "kfree+0x4/0x40"
        assert names.address("later") is None
        assert names.module_at(CORE) == "bug"
        names.add("again", 0xFFFFFFFF81000000, 0x40)
        names.add("more", CORE + 0x10, 0x10, module="bug")


def slow_lookup(symbols: list[tuple[str, int]], region: TextRegion, addr: int) -> tuple[str, int, int] | None:
    """find_kallsyms_symbol as the kernel writes it: one pass over the table in file order."""
    best, best_value, end = None, 0, region.base + region.text_size
    for name, value in symbols:
        if not name or name.startswith(".L"):
            continue
        if best_value < value <= addr:
            best, best_value = name, value
        if addr < value < end:
            end = value
    return None if best is None else (best, best_value, (end - best_value) & (1 << 64) - 1)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "", ".L1", "d"]), st.integers(0, 0x60)), max_size=12),
    st.integers(0, 0x5F),
)
def test_lookup_agrees_with_a_plain_scan(rows: list[tuple[str, int]], offset: int) -> None:
    symbols = [
        (f"{name}{number}" if name not in ("", ".L1") else name, CORE + at) for number, (name, at) in enumerate(rows)
    ]
    region = TextRegion(CORE, 0x60, 0x40)
    names = Kallsyms()
    names.add_module("m", [region], symbols)
    found = names.lookup(CORE + offset)
    assert (found[:3] if found else None) == slow_lookup(symbols, region, CORE + offset)
