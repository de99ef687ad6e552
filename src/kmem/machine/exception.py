"""CPU exceptions, read out of the emulator exactly: vector, error code, address and registers.

Unicorn tells a hook the vector and nothing else. The error code is in the saved state of the CPU, at an offset that no
interface names. CR2 is a register. The address behind a general protection fault is in no register: the instruction is
decoded, as the kernel does it. Nobody delivers the exception, so the engine goes on believing that it is in flight and
would call the next one a double fault; it is told that there is none.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kmem.errors import InternalError
from kmem.machine import regs as x86
from kmem.machine.fault import BP, DB, GP, PF, AccessFault, Fault, Regs
from kmem.machine.operand import end_of_complete_instructions, faulting_operand
from kmem.machine.paging import AddressSpace
from kmem.machine.uc import Context, EngineMissing

if TYPE_CHECKING:
    from kmem.machine.ram import Ram
    from kmem.machine.regs import RegisterFile
    from kmem.machine.uc import Engine

OF, SS = 4, 12
TRAPS = frozenset({DB, BP, OF})
"""Exceptions whose saved rip is behind the instruction."""

_MAX_INSN = 15
_MAGIC = bytes.fromhex("6b6d656d20647230")


def _find_state(engine: Engine) -> tuple[int, int]:
    """Offsets in a saved context of the error code, and of the exception in flight.

    Both have a fixed distance to the debug registers (CPUX86State of Unicorn 2.1), which are found by their contents.
    """
    probe = Context(engine)
    probe.save()
    engine.lib.uc_context_reg_write(probe.handle, x86.DR0, _MAGIC)
    raw = probe.raw().raw
    dr = raw.find(_MAGIC)
    error_code, in_flight = dr - 16, dr + 96
    known = error_code > 0 and raw.count(_MAGIC) == 1 and len(raw) >= in_flight + 4
    if not known or struct.unpack_from("<i", raw, in_flight) != (-1,):
        raise InternalError(
            "this build of Unicorn keeps its exception state elsewhere", remedy=EngineMissing.remedy_text
        )
    return error_code, in_flight


class Exceptions:
    """Reads the exception that ended a run of *engine*."""

    def __init__(self, engine: Engine, file: RegisterFile, ram: Ram) -> None:
        self._engine = engine
        self._file = file
        self._ram = ram
        self._scratch = Context(engine)
        self.error_code_at, self.in_flight_at = _find_state(engine)

    def take(self) -> tuple[int, bool]:
        """Error code of the exception, and whether an ``int`` instruction made it; it is then no longer in flight."""
        self._scratch.save()
        raw = self._scratch.raw()
        error_code, software = struct.unpack_from("<Ii", raw, self.error_code_at)
        struct.pack_into("<i", raw, self.in_flight_at, -1)
        self._scratch.restore()
        return error_code, bool(software)

    def regs(self, vector: int) -> Regs:
        """The registers as the CPU would push them: with the resume flag, except behind a trap."""
        regs = self._file.read()
        if vector not in TRAPS:
            regs.eflags |= x86.EFLAGS_RF
        return regs

    def fault(self, vector: int, error_code: int, cr3: int) -> Fault:
        """The exception as a value. A wild access by way of the stack becomes a stack segment fault, as on hardware."""
        regs = self.regs(vector)
        if vector == PF:
            return Fault(PF, error_code, self._engine.reg(x86.CR2), regs)
        if vector == GP and not error_code:
            fs_base, gs_base = self._engine.reg(x86.FS_BASE), self._engine.reg(x86.GS_BASE)
            operand = faulting_operand(self._code_at(regs.rip, cr3), regs, fs_base, gs_base)
            if operand is not None:
                return Fault(SS if operand.stack else GP, 0, operand.address, regs)
        return Fault(vector, error_code, 0, regs)

    def _code_at(self, rip: int, cr3: int) -> bytes:
        """The bytes of one instruction, as far as they are mapped."""
        space, code = AddressSpace(self._ram, cr3), b""
        try:
            code = space.read(rip, min(_MAX_INSN, 0x1000 - rip % 0x1000))
            code += space.read(rip + len(code), _MAX_INSN - len(code))
        except AccessFault:
            pass
        return code

    def unfetched(self, fault: Fault, cr3: int) -> int:
        """The instruction whose fetch failed with *fault*: the engine names the first one of its block of code."""
        rip = fault.regs.rip
        if not rip < fault.address <= rip + 0x1000:
            return rip
        try:
            block = AddressSpace(self._ram, cr3).read(rip, fault.address - rip)
        except AccessFault:  # the tables in RAM are no longer those that the CPU has cached
            return rip
        return end_of_complete_instructions(block, rip)
