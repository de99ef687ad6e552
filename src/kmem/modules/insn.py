"""The few x86 instructions that the kernel writes into a module's text when it loads it."""

from __future__ import annotations

CALL, JMP32, JMP8, RET, INT3 = 0xE8, 0xE9, 0xEB, 0xC3, 0xCC

NOPS = tuple(
    bytes.fromhex(code)
    for code in (
        "", "90", "6690", "0f1f00", "0f1f4000", "0f1f440000", "660f1f440000", "0f1f8000000000", "0f1f840000000000",
    )
)  # fmt: skip
"""The no-operation of each length that the kernel uses on x86-64 (``x86_nops``)."""

RETURN = bytes((RET, INT3, INT3, INT3, INT3))
"""What a jump to the return thunk becomes where no mitigation is needed."""

XOR_RAX = bytes.fromhex("2e2e2e31c0")
"""A static call of a function that returns 0."""

TRAMPOLINE_MARK = bytes.fromhex("0fb9cc")
"""Follows the branch of a static call trampoline, and nothing else."""


def nops(size: int) -> bytes:
    """*size* bytes that do nothing, in as few instructions as possible (``add_nops``)."""
    longest = len(NOPS) - 1
    return NOPS[longest] * (size // longest) + NOPS[size % longest]


def branch(opcode: int, at: int, to: int) -> bytes:
    """A near CALL or JMP at address *at* to address *to* (``text_gen_insn``)."""
    return bytes((opcode,)) + (to - at - 5 & 0xFFFFFFFF).to_bytes(4, "little")


def is_jcc32(code: bytes) -> bool:
    """Whether *code* begins with a conditional jump with a 32-bit displacement."""
    return len(code) > 1 and code[0] == 0x0F and code[1] & 0xF0 == 0x80


def branch_target(at: int, code: bytes) -> tuple[int, int, int] | None:
    """Opcode, length and target of the CALL, JMP or Jcc with a 32-bit displacement in *code* at *at*; None if it is
    none.

    One CS prefix is understood (compilers pad with it). For Jcc the opcode is its second byte.
    """
    prefix = 1 if code[:1] == b"\x2e" else 0
    body = code[prefix:]
    skip = 2 if is_jcc32(body) else 1 if body[:1] and body[0] in (CALL, JMP32) else 0
    if not skip or len(body) < skip + 4:
        return None
    length = prefix + skip + 4
    return body[skip - 1], length, at + length + int.from_bytes(body[skip : skip + 4], "little", signed=True)


def indirect(opcode: int, register: int) -> bytes:
    """CALL or JMP through a general register 0-15 (``emit_indirect``)."""
    rex = b"\x41" if register >= 8 else b""
    return rex + bytes((0xFF, (0xD0 if opcode == CALL else 0xE0) + (register & 7)))
