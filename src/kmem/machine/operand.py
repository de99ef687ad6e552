"""What instructions at a fault wanted: a general protection fault does not tell the address, so they are decoded.

Models ``get_kernel_gp_address`` (arch/x86/kernel/traps.c). Capstone is imported on the first fault, not before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kmem.machine.fault import Regs
from kmem.machine.regs import BY_NAME, values

if TYPE_CHECKING:
    from collections.abc import Iterator

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_STACK_DOWN = frozenset({"push", "pushfq", "call", "enter"})
_STACK_UP = frozenset({"pop", "popfq", "ret", "leave"})


@dataclass(frozen=True, slots=True)
class Operand:
    """A memory operand:

    its *address*, whether the CPU reaches it through the stack segment (stack segment fault, not #GP), and the pointer
    that the address was computed from.
    """

    address: int
    stack: bool
    base: int = 0


def canonical(address: int) -> bool:
    """Whether bits 63 to 47 of *address* are alike."""
    return address >> 47 in (0, (1 << 17) - 1)


def faulting_operand(code: bytes, regs: Regs, fs_base: int = 0, gs_base: int = 0) -> Operand | None:
    """The first memory operand of the instruction *code* at regs.rip that is not canonical; None if there is none.

    A jump, call or return to an address that is not canonical is not found: the emulated CPU faults at its target,
    as AMD's do.
    """
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    instruction = next(decoder.disasm(code, regs.rip, 1), None)
    if instruction is None:
        return None
    operands = _operands(instruction, values(regs), fs_base, gs_base)
    return next((operand for operand in operands if not canonical(operand.address)), None)


def operands(code: bytes, regs: Regs, gs_base: int = 0) -> list[Operand]:
    """The memory operands of the instruction *code* at regs.rip."""
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    instruction = next(decoder.disasm(code, regs.rip, 1), None)
    return [] if instruction is None else list(_operands(instruction, values(regs), 0, gs_base))


def end_of_complete_instructions(code: bytes, address: int) -> int:
    """Where the last instruction of *code*, which begins at *address*, begins if its end is missing;

    else where it ends.
    """
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for at, size, _mnemonic, _operands in decoder.disasm_lite(code, address):
        address = at + size
    return address


def _operands(instruction: Any, regs: tuple[int, ...], fs_base: int, gs_base: int) -> Iterator[Operand]:
    from capstone import x86_const as x86

    def value(register: int) -> int:
        name = instruction.reg_name(register) if register else ""
        if not name:
            return 0
        if name == "rip":
            return int(instruction.address + instruction.size)
        wide = BY_NAME.get(name)
        if wide is not None:
            return regs[wide]
        narrow = BY_NAME.get(name.replace("e", "r", 1) if name.startswith("e") else name.rstrip("d"))
        return regs[narrow] & 0xFFFF_FFFF if narrow is not None else 0

    mnemonic = instruction.mnemonic.split()[-1]
    rsp = regs[BY_NAME["rsp"]]
    if mnemonic in _STACK_UP:
        yield Operand(regs[BY_NAME["rbp"]] if mnemonic == "leave" else rsp, stack=True)
    for operand in instruction.operands:
        if operand.type != x86.X86_OP_MEM or mnemonic in ("lea", "nop"):
            continue
        mem = operand.mem
        segment = {x86.X86_REG_FS: fs_base, x86.X86_REG_GS: gs_base}.get(mem.segment, 0)
        address = value(mem.base) + value(mem.index) * mem.scale + mem.disp + segment & _MASK
        stack = mem.base in (x86.X86_REG_RSP, x86.X86_REG_RBP) and mem.segment in (0, x86.X86_REG_SS)
        yield Operand(address, stack, value(mem.base))
    if mnemonic in _STACK_DOWN:
        yield Operand(rsp - 8 & _MASK, stack=True)
