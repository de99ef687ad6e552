"""The ORC unwinder: from the registers to the chain of return addresses (arch/x86/kernel/unwind_orc.c, dumpstack.c,
6.1).

A module carries two parallel tables: ``.orc_unwind_ip``, sorted self-relative addresses of code, and ``.orc_unwind``,
how to find the caller's stack pointer and rbp from there on.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kmem.abi.layout import Layout
from kmem.machine.fault import AccessFault, Regs
from kmem.modules.staging import Staging

REG_UNDEFINED, REG_PREV_SP, REG_DX, REG_DI, REG_BP, REG_SP, REG_R10, REG_R13, REG_BP_INDIRECT, REG_SP_INDIRECT = range(
    10
)
TYPE_CALL, TYPE_REGS, TYPE_REGS_PARTIAL = range(3)

_TYPED_END, _TYPED_CALL = 1, 2
ORC_ENTRY_SIZE = 6
_ENTRY = struct.Struct("<hhH")
_FROM_REGS = {REG_DX: "rdx", REG_DI: "rdi", REG_R10: "r10", REG_R13: "r13"}

MAX_FRAMES = 512


class Memory(Protocol):
    """What the unwinder needs of an address space."""

    def u64(self, addr: int) -> int:
        """The number at *addr*; AccessFault when it is not mapped."""
        ...


class OrcEntry(NamedTuple):
    """One ``struct orc_entry``, decoded: *sp_reg* + *sp_offset* is the stack pointer before the call."""

    sp_offset: int
    bp_offset: int
    sp_reg: int
    bp_reg: int
    type: int
    end: bool


CALL_FRAME = OrcEntry(8, 0, REG_SP, REG_UNDEFINED, TYPE_CALL, False)
"""At the first instruction of a function: the return address is on top of the stack. Also what fits a jump to NULL."""

_FRAME_POINTER = OrcEntry(16, -16, REG_BP, REG_PREV_SP, TYPE_CALL, False)
"""The kernel's guess for code without ORC data."""


def decode(raw: bytes, typed: bool = False) -> OrcEntry:
    """Decode six bytes of ``.orc_unwind``.

    *typed*: the end of the stack is a type of its own, and no data is another ("x86/unwind/orc: Add ELF section with
    ORC version identifier" came with it); else it is a bit, and no data is what has no stack register.
    """
    sp_offset, bp_offset, bits = _ENTRY.unpack(raw)
    sp_reg, bp_reg = bits & 15, bits >> 4 & 15
    if not typed:
        return OrcEntry(sp_offset, bp_offset, sp_reg, bp_reg, bits >> 8 & 3, bool(bits >> 10 & 1))
    kind = bits >> 8 & 7
    if kind < _TYPED_CALL:
        return OrcEntry(sp_offset, bp_offset, REG_UNDEFINED, bp_reg, TYPE_CALL, kind == _TYPED_END)
    return OrcEntry(sp_offset, bp_offset, sp_reg, bp_reg, kind - _TYPED_CALL, False)


def is_typed(layout: Layout) -> bool:
    """Whether the release's ORC entries are `decode`'s *typed* ones."""
    return "end" not in layout["orc_entry"].members


class OrcTable:
    """A module's ORC data: *ips* sorted addresses, *raw* the entries in the same order."""

    def __init__(self, ips: list[int], raw: bytes, typed: bool = False) -> None:
        self._ips = ips
        self._raw = raw
        self._typed = typed

    def __len__(self) -> int:
        return len(self._ips)

    def find(self, ip: int) -> OrcEntry | None:
        """The entry for the code at *ip* (``__orc_find``): the last one at or before it; the first if there is none
        before.
        """
        if not self._ips:
            return None
        at = max(bisect_right(self._ips, ip) - 1, 0)
        return decode(self._raw[at * ORC_ENTRY_SIZE : (at + 1) * ORC_ENTRY_SIZE], self._typed)


def sort_orc(staging: Staging, typed: bool = False) -> OrcTable:
    """Sort both tables by address, as ``unwind_module_init`` does, and return them; entries that only end a section
    come first.
    """
    table, count = staging.table(".orc_unwind_ip", 4)
    entries, entry_count = staging.table(".orc_unwind", ORC_ENTRY_SIZE)
    if not count or count != entry_count:
        return OrcTable([], b"")
    buffer, at = staging.locate(table, count * 4, ".orc_unwind_ip")
    unwind, unwind_at = staging.locate(entries, count * ORC_ENTRY_SIZE, ".orc_unwind")
    raw = bytes(unwind[unwind_at : unwind_at + count * ORC_ENTRY_SIZE])
    offsets = struct.unpack_from(f"<{count}i", buffer, at)
    ips = [table + 4 * number + offset for number, offset in enumerate(offsets)]
    if any(ips[number] >= ips[number + 1] for number in range(count - 1)):
        rows = [raw[number * ORC_ENTRY_SIZE : (number + 1) * ORC_ENTRY_SIZE] for number in range(count)]
        decoded = [decode(row, typed) for row in rows]
        weak = [entry.sp_reg == REG_UNDEFINED and not entry.end for entry in decoded]
        order = sorted(range(count), key=lambda number: (ips[number], not weak[number]))
        ips = [ips[number] for number in order]
        raw = b"".join(rows[number] for number in order)
        relative = [(ip - table - 4 * number + 0x80000000 & 0xFFFFFFFF) - 0x80000000 for number, ip in enumerate(ips)]
        struct.pack_into(f"<{count}i", buffer, at, *relative)
        unwind[unwind_at : unwind_at + len(raw)] = raw
    return OrcTable(ips, raw, typed)


@dataclass(slots=True)
class Cursor:
    """Where the unwinder is. *regs* are known only in the frame that the registers belong to; *signal*: ip has not run
    yet.
    """

    ip: int
    sp: int
    bp: int
    regs: Regs | None = None
    signal: bool = False


class Unwinder:
    """Steps from frame to frame.

    *find* gives the ORC entry of an address, or None. *stub* is asked first: for an address in a kernel function that
    has no machine code of its own it returns the caller's cursor; None means that it does not know the address.
    """

    def __init__(
        self,
        mem: Memory,
        find: Callable[[int], OrcEntry | None],
        stub: Callable[[Cursor], Cursor | None] | None = None,
    ) -> None:
        self._mem = mem
        self._find = find
        self._stub = stub

    def step(self, at: Cursor) -> Cursor | None:
        """The caller's frame, or None at the end of the stack and where the data do not lead on
        (``unwind_next_frame``).
        """
        if self._stub is not None:
            known = self._stub(at)
            if known is not None:
                return known if known.sp > at.sp else None
        try:
            found = self._step(at)
        except AccessFault:
            return None
        return found if found is not None and found.sp > at.sp else None

    def _step(self, at: Cursor) -> Cursor | None:
        # A return address may be the start of the next function; the call itself is before it.
        ip = at.ip if at.signal else at.ip - 1
        orc = CALL_FRAME if ip == 0 else self._find(ip) or _FRAME_POINTER
        sp = self._caller_sp(orc, at)
        if sp is None or orc.type != TYPE_CALL:
            return None
        bp = at.bp
        if orc.bp_reg == REG_PREV_SP:
            bp = self._mem.u64(sp + orc.bp_offset)
        elif orc.bp_reg == REG_BP:
            bp = self._mem.u64(at.bp + orc.bp_offset)
        return Cursor(self._mem.u64(sp - 8), sp, bp)

    def _caller_sp(self, orc: OrcEntry, at: Cursor) -> int | None:
        if orc.sp_reg == REG_SP:
            return at.sp + orc.sp_offset
        if orc.sp_reg == REG_BP:
            return at.bp + orc.sp_offset
        if orc.sp_reg == REG_SP_INDIRECT:
            return self._mem.u64(at.sp) + orc.sp_offset
        if orc.sp_reg == REG_BP_INDIRECT:
            return self._mem.u64(at.bp + orc.sp_offset)
        if orc.sp_reg in _FROM_REGS and at.regs is not None:
            value: int = getattr(at.regs, _FROM_REGS[orc.sp_reg])
            return value
        return None


def unwind(
    regs: Regs,
    mem: Memory,
    *,
    find: Callable[[int], OrcEntry | None],
    is_text: Callable[[int], bool],
    stack_end: int,
    stub: Callable[[Cursor], Cursor | None] | None = None,
) -> list[tuple[int, bool]]:
    """The lines of a call trace, innermost first: (address, reliable).

    As ``show_trace_log_lvl`` prints them: every word between regs.rsp and *stack_end* that *is_text* takes for an
    address of code is listed, and is reliable when it is the return address that the unwinder expects there. The others
    are the ``? `` lines: left over from earlier calls. regs.rip itself is not listed. If the unwinder gives up, the
    rest is unreliable.
    """
    unwinder = Unwinder(mem, find, stub)
    frame = unwinder.step(Cursor(regs.rip, regs.rsp, regs.rbp, regs, signal=True))
    lines: list[tuple[int, bool]] = []
    for slot in range(regs.rsp + 7 & -8, stack_end - 7, 8):
        try:
            address = mem.u64(slot)
        except AccessFault:
            break
        if not is_text(address):
            continue
        reliable = frame is not None and slot == frame.sp - 8
        lines.append((address, reliable))
        if reliable and frame is not None:
            frame = unwinder.step(frame)
        if len(lines) >= MAX_FRAMES:
            break
    return lines
