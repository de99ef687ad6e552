"""The ORC unwinder on stacks that are written word by word."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.machine.fault import AccessFault, Regs
from kmem.modules.orc import (
    CALL_FRAME,
    REG_BP,
    REG_BP_INDIRECT,
    REG_PREV_SP,
    REG_R10,
    REG_SP,
    REG_SP_INDIRECT,
    REG_UNDEFINED,
    Cursor,
    OrcEntry,
    OrcTable,
    Unwinder,
    decode,
    sort_orc,
    unwind,
)
from tests.modules.elfmaker import ALLOC, EXEC, R_PC32, Maker
from tests.modules.linking import CORE, staged

STACK, STACK_END = 0xFFFFC90000004000, 0xFFFFC90000008000
CODE, KERNEL = 0xFFFFFFFFC0201000, 0xFFFFFFFF81000000


class Stack:
    """A kernel stack; words not written are zero."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words

    def u64(self, addr: int) -> int:
        if not STACK <= addr < STACK_END:
            raise AccessFault(addr, 8, "read")
        return self.words.get(addr, 0)


def entry(sp_reg: int, sp_offset: int, bp_reg: int = REG_UNDEFINED, bp_offset: int = 0) -> OrcEntry:
    return OrcEntry(sp_offset, bp_offset, sp_reg, bp_reg, 0, False)


def raw(sp_offset: int, bp_offset: int, sp_reg: int, bp_reg: int, end: bool = False) -> bytes:
    return struct.pack("<hhH", sp_offset, bp_offset, sp_reg | bp_reg << 4 | end << 10)


def test_entry_is_decoded_bit_by_bit() -> None:
    assert decode(raw(16, -16, REG_BP, REG_PREV_SP)) == OrcEntry(16, -16, REG_BP, REG_PREV_SP, 0, False)
    assert decode(struct.pack("<hhH", -8, 0, 5 | 1 << 8 | 1 << 10)) == OrcEntry(-8, 0, REG_SP, 0, 1, True)


def test_table_gives_the_entry_at_or_before_an_address() -> None:
    rows = [raw(8 * number, 0, REG_SP, 0) for number in range(1, 4)]
    table = OrcTable([CODE, CODE + 5, CODE + 9], b"".join(rows))
    offsets = [(found.sp_offset if (found := table.find(CODE + at)) else None) for at in (0, 4, 5, 8, 9, 4000)]
    assert offsets == [8, 8, 16, 16, 24, 24]
    assert OrcTable([], b"").find(CODE) is None


@pytest.mark.parametrize(
    ("orc", "expected"),
    [
        (entry(REG_SP, 0x20), STACK + 0x120),
        (entry(REG_BP, 0x10), STACK + 0x210),
        (entry(REG_SP_INDIRECT, 8), STACK + 0x308),
        (entry(REG_BP_INDIRECT, -8), STACK + 0x400),
        (entry(REG_R10, 0), STACK + 0x500),
    ],
    ids=["sp", "bp", "sp-indirect", "bp-indirect", "r10"],
)
def test_callers_stack_is_found_from_each_register(orc: OrcEntry, expected: int) -> None:
    stack = Stack({STACK + 0x100: STACK + 0x300, STACK + 0x1F8: STACK + 0x400, expected - 8: KERNEL + 7})
    regs = Regs(rip=CODE, rsp=STACK + 0x100, rbp=STACK + 0x200, r10=STACK + 0x500)
    caller = Unwinder(stack, lambda ip: orc).step(Cursor(regs.rip, regs.rsp, regs.rbp, regs, signal=True))
    assert caller == Cursor(KERNEL + 7, expected, STACK + 0x200)


def test_saved_rbp_is_restored() -> None:
    stack = Stack({STACK + 0x110: 0x1234, STACK + 0x118: KERNEL})
    caller = Unwinder(stack, lambda ip: entry(REG_SP, 0x20, REG_PREV_SP, -16)).step(
        Cursor(CODE, STACK + 0x100, 7, signal=True)
    )
    assert caller is not None
    assert caller.bp == 0x1234


def test_return_address_is_looked_up_one_byte_before() -> None:
    """A call at the very end of a function returns to the start of the next one."""
    asked: list[int] = []

    def find(ip: int) -> OrcEntry:
        asked.append(ip)
        return CALL_FRAME

    stack = Stack({STACK + 0x100: CODE + 0x40, STACK + 0x108: KERNEL})
    unwinder = Unwinder(stack, find)
    frame = unwinder.step(Cursor(CODE + 0x10, STACK + 0x100, 0, signal=True))
    assert frame is not None
    unwinder.step(frame)
    assert asked == [CODE + 0x10, CODE + 0x3F]


def test_jump_to_null_leads_to_its_caller() -> None:
    stack = Stack({STACK + 0x100: CODE + 0x40})
    caller = Unwinder(stack, lambda ip: None).step(Cursor(0, STACK + 0x100, 0, signal=True))
    assert caller == Cursor(CODE + 0x40, STACK + 0x108, 0)


def test_code_without_data_is_taken_to_have_a_frame_pointer() -> None:
    stack = Stack({STACK + 0x200: STACK + 0x300, STACK + 0x208: CODE + 4})
    caller = Unwinder(stack, lambda ip: None).step(Cursor(CODE, STACK + 0x100, STACK + 0x200, signal=True))
    assert caller == Cursor(CODE + 4, STACK + 0x210, STACK + 0x300)


@pytest.mark.parametrize(
    "orc",
    [
        entry(REG_UNDEFINED, 0),
        entry(15, 0),
        entry(REG_R10, 0),
        entry(REG_SP, -16),
        entry(REG_SP, 0x7000),
        OrcEntry(8, 0, REG_SP, 0, 1, False),
    ],
    ids=["end", "unknown register", "register not saved", "downwards", "off the stack", "registers on the stack"],
)
def test_data_that_lead_nowhere_end_the_walk(orc: OrcEntry) -> None:
    assert Unwinder(Stack({}), lambda ip: orc).step(Cursor(CODE, STACK + 0x100, 0)) is None


def test_kernel_function_without_code_is_asked_about() -> None:
    def stub(at: Cursor) -> Cursor | None:
        return Cursor(CODE + 0x20, at.sp + 0x18, at.bp) if at.ip == KERNEL else None

    unwinder = Unwinder(Stack({STACK + 0x118: KERNEL + 0x99}), lambda ip: CALL_FRAME, stub)
    first = unwinder.step(Cursor(KERNEL, STACK + 0x100, 5, signal=True))
    assert first == Cursor(CODE + 0x20, STACK + 0x118, 5)
    assert first is not None
    assert unwinder.step(first) == Cursor(KERNEL + 0x99, STACK + 0x120, 5)


def is_text(addr: int) -> bool:
    return CODE <= addr < CODE + 0x1000 or KERNEL <= addr < KERNEL + 0x1000


def test_trace_lists_frames_and_marks_leftovers() -> None:
    """inner() called by outer() called by the kernel; between them a stale return address and plain data."""
    words = {
        0x100: 5, 0x108: CODE + 0x500, 0x110: CODE + 0x40,  # inner's frame: data, leftover, return into outer
        0x118: CODE + 0x600, 0x120: KERNEL + 0x59,  # outer's frame: leftover, return into the kernel
        0x128: KERNEL + 0x77,
    }  # fmt: skip
    table = {CODE + 0x10: entry(REG_SP, 0x18), CODE + 0x3F: entry(REG_SP, 0x10), KERNEL + 0x58: entry(REG_UNDEFINED, 0)}
    lines = unwind(
        Regs(rip=CODE + 0x10, rsp=STACK + 0x100),
        Stack({STACK + at: word for at, word in words.items()}),
        find=table.get,
        is_text=is_text,
        stack_end=STACK_END,
    )
    assert lines == [
        (CODE + 0x500, False),
        (CODE + 0x40, True),
        (CODE + 0x600, False),
        (KERNEL + 0x59, True),
        (KERNEL + 0x77, False),
    ]


def test_stack_that_is_not_mapped_gives_no_lines() -> None:
    regs = Regs(rip=CODE, rsp=STACK_END + 0x1000)
    assert unwind(regs, Stack({}), find=lambda ip: CALL_FRAME, is_text=is_text, stack_end=STACK_END + 0x2000) == []


def test_hostile_stack_gives_a_bounded_trace() -> None:
    words = dict.fromkeys(range(STACK, STACK_END, 8), CODE + 8)
    regs = Regs(rip=CODE, rsp=STACK)
    lines = unwind(regs, Stack(words), find=lambda ip: CALL_FRAME, is_text=is_text, stack_end=STACK_END)
    assert len(lines) == 512


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=12))
def test_tables_are_sorted_together_with_terminators_first(rows: list[tuple[int, bool]]) -> None:
    """Each entry is (offset, whether it only ends a section); real entries carry their number."""
    seen: set[int] = set()
    rows = [(at, weak) for at, weak in rows if weak or not (at in seen or seen.add(at))]  # type: ignore[func-returns-value]
    maker = Maker()
    text = maker.section(".text", bytes(64), ALLOC | EXEC)
    ips = maker.section(".orc_unwind_ip", bytes(4 * len(rows)), ALLOC)
    maker.section(
        ".orc_unwind",
        b"".join(
            raw(0, 0, 0, 0) if weak else raw(8 + 8 * number, 0, REG_SP, 0) for number, (_, weak) in enumerate(rows)
        ),
        ALLOC,
    )
    for number, (at, _) in enumerate(rows):
        maker.rela(ips, 4 * number, R_PC32, maker.symbol("", text, at))
    staging, _ = staged(maker)
    table = sort_orc(staging)
    for offset in range(64):
        before = [(at, number) for number, (at, weak) in enumerate(rows) if at <= offset]
        if before:
            highest = max(at for at, _ in before)
            real = [number for at, number in before if at == highest and not rows[number][1]]
            found = table.find(CORE + offset)
            assert found is not None
            assert found.sp_offset == (8 + 8 * real[0] if real else 0)
    address, count = staging.table(".orc_unwind_ip", 4)
    stored = [address + 4 * number + staging.s32(address + 4 * number, "test") - CORE for number in range(count)]
    assert stored == sorted(at for at, _ in rows)


def test_tables_of_different_length_are_ignored() -> None:
    maker = Maker()
    maker.section(".text", bytes(64), ALLOC | EXEC)
    maker.section(".orc_unwind_ip", bytes(8), ALLOC)
    maker.section(".orc_unwind", bytes(6), ALLOC)
    assert len(sort_orc(staged(maker)[0])) == 0
