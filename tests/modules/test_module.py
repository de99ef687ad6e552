"""What a loaded module knows about its addresses."""

from __future__ import annotations

import struct

from kmem.modules.lines import SourceLine
from kmem.modules.loader import load_module
from kmem.modules.tables import BUGFLAG_DONE, BUGFLAG_ONCE, BUGFLAG_WARNING, ExceptionEntry
from tests.modules.elfmaker import ALLOC, EXEC, LOCAL, R_64, R_PC32, SECTION, WRITE, tiny
from tests.modules.fake_kernel import FakeKernel
from tests.modules.test_lines import COPY, END, SET_ADDRESS, unit, v4_files


def test_bug_entries_give_file_line_and_flags_of_this_moment() -> None:
    maker = tiny()
    names = maker.section(".rodata", b"drivers/drv.c\0", ALLOC)
    entries = b"".join(struct.pack("<iiHH", 0, 0, line, flags) for line, flags in ((88, 0x903), (70000 & 0xFFFF, 0)))
    table = maker.section("__bug_table", entries, ALLOC | WRITE, align=4)
    name = maker.symbol("", names)
    for number, at in enumerate((2, 9)):
        maker.rela(table, 12 * number, R_PC32, maker.symbol("", 1, at))
        maker.rela(table, 12 * number + 4, R_PC32, name)
    kernel = FakeKernel()
    module = load_module(maker.build(), kernel)
    warning, bug = module.bug_at(module.core.base + 2), module.bug_at(module.core.base + 9)
    assert warning is not None
    assert bug is not None
    assert (warning.file, warning.line, warning.warning, warning.flags) == ("drivers/drv.c", 88, True, 0x903)
    assert warning.flags & BUGFLAG_ONCE
    assert (bug.line, bug.warning, bug.flags) == (4464, False, 0)
    assert module.bug_at(module.core.base + 3) is None
    kernel.mem.write(warning.entry + 10, struct.pack("<H", 0x903 | BUGFLAG_DONE))
    again = module.bug_at(module.core.base + 2)
    assert again is not None
    assert again.flags == 0x903 | BUGFLAG_DONE
    assert again.flags & BUGFLAG_WARNING


def test_exception_table_is_searched_and_forgets_init() -> None:
    maker = tiny()
    rows = [(2, 1, 0x10), (1, 1, 0x20), (1, 9, 0x30)]
    table = maker.section("__ex_table", b"".join(struct.pack("<iii", 0, 0, data) for *_, data in rows), ALLOC, align=4)
    for number, (section, at, _) in enumerate(rows):
        maker.rela(table, 12 * number, R_PC32, maker.symbol("", section, at))
        maker.rela(table, 12 * number + 4, R_PC32, maker.symbol("", section, at + 3))
    module = load_module(maker.build(), FakeKernel())
    core, init = module.core.base, module.init.base
    assert module.search_extable(core + 9) == ExceptionEntry(core + 9, core + 12, 0x30)
    assert module.search_extable(init + 1) == ExceptionEntry(init + 1, init + 4, 0x10)
    assert module.search_extable(core + 2) is None
    assert module.search_extable(core) is None
    module.init_done()
    assert module.search_extable(init + 1) is None
    assert module.search_extable(core + 1) is not None


def with_lines() -> bytes:
    """drv.c:1 for all of .text, drv.c:7 for the init text."""
    maker = tiny()
    program = SET_ADDRESS + bytes((COPY, 2, 32)) + END + SET_ADDRESS + bytes((3, 6, COPY, 2, 16)) + END
    data = unit(4, v4_files(), program)
    line = maker.section(".debug_line", data, 0)
    first = data.index(SET_ADDRESS)
    for at, section in ((first, 1), (data.index(SET_ADDRESS, first + 1), 2)):
        maker.rela(line, at + 3, R_64, maker.symbol("", section, 0, 0, LOCAL, SECTION))
    return maker.build()


def test_address_leads_to_file_line_and_function() -> None:
    module = load_module(with_lines(), FakeKernel())
    assert module.source(module.core.base + 3) == SourceLine("drv.c", 1, "work")
    assert module.source(module.core.base + 20) == SourceLine("drv.c", 1, "tiny_exit")
    assert module.source(module.core.base + 14) == SourceLine("drv.c", 1, "")
    assert module.source(module.init.base) == SourceLine("drv.c", 7, "tiny_init")
    assert module.source(module.core.base + 4096) is None
    assert module.source(0) is None


def test_lines_of_init_code_outlive_it() -> None:
    module = load_module(with_lines(), FakeKernel())
    at = module.init.base
    module.init_done()
    assert not module.contains(at)
    assert module.source(at) == SourceLine("drv.c", 7, "tiny_init")


def test_module_without_debugging_information_has_no_lines() -> None:
    module = load_module(tiny().build(), FakeKernel())
    assert module.source(module.core.base) is None
    assert module.source_frames(module.core.base) == []


def test_frames_fall_back_to_the_line_without_debug_info() -> None:
    module = load_module(with_lines(), FakeKernel())
    assert module.source_frames(module.core.base + 3) == [SourceLine("drv.c", 1)]


def test_module_can_go_back_to_before_it_was_freed() -> None:
    kernel = FakeKernel()
    module = load_module(tiny().build(), kernel)
    mark = module.mark()
    core, init = module.core.base, module.init.base
    module.init_done()
    live = module.mark()
    module.free()
    assert not module.contains(core)
    module.rewind(live)
    assert module.contains(core)
    assert not module.contains(init)
    assert module.flags() == "(OE)"
    module.rewind(mark)
    assert module.is_text(init)
    assert module.flags() == "(OE+)"


def test_orc_data_of_a_module_without_any_are_empty() -> None:
    maker = tiny()
    maker.section(".text.more", b"\xc3", ALLOC | EXEC)
    assert len(load_module(maker.build(), FakeKernel()).orc) == 0
