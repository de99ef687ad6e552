"""As much of an x86-64 assembler as the trap code needs."""

from __future__ import annotations

REGISTERS = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""General registers in the order of their encoding."""


class Code:
    """Machine code that grows; jumps may name labels that come later."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._labels: dict[str, int] = {}
        self._references: list[tuple[int, str]] = []

    def label(self, name: str) -> None:
        """The next instruction is *name*."""
        self._labels[name] = len(self._bytes)

    def offset(self, name: str) -> int:
        """Where the label *name* is."""
        return self._labels[name]

    def raw(self, hexadecimal: str) -> None:
        """Instructions given as bytes."""
        self._bytes += bytes.fromhex(hexadecimal)

    def _gs(self, opcode: int, field: int, register: int, wide: int = 1) -> None:
        prefix = 0x40 | wide << 3 | register >> 3 << 2
        self._bytes += bytes((0x65, *((prefix,) if prefix != 0x40 else ()), opcode, 0x04 | (register & 7) << 3, 0x25))
        self._bytes += field.to_bytes(4, "little", signed=True)

    def store(self, register: str, field: int) -> None:
        """``mov %register,%gs:field``"""
        self._gs(0x89, field, REGISTERS.index(register))

    def load(self, field: int, register: str) -> None:
        """``mov %gs:field,%register``"""
        self._gs(0x8B, field, REGISTERS.index(register))

    def load32(self, field: int, register: str) -> None:
        """``mov %gs:field,%e…``, the lower half"""
        self._gs(0x8B, field, REGISTERS.index(register), wide=0)

    def push_field(self, field: int) -> None:
        """``push %gs:field``"""
        self._gs(0xFF, field, 6, wide=0)

    def push(self, *registers: str) -> None:
        """``push`` each register, in order"""
        for register in registers:
            number = REGISTERS.index(register)
            self._bytes += bytes(((0x41,) if number > 7 else ()) + (0x50 | number & 7,))

    def pop(self, *registers: str) -> None:
        """``pop`` each register, in order"""
        for register in registers:
            number = REGISTERS.index(register)
            self._bytes += bytes(((0x41,) if number > 7 else ()) + (0x58 | number & 7,))

    def set_eax(self, value: int) -> None:
        """``mov $value,%eax``"""
        self._bytes += b"\xb8" + value.to_bytes(4, "little")

    def jump(self, opcode: str, label: str) -> None:
        """An instruction that ends in a 32-bit displacement to *label*."""
        self._bytes += bytes.fromhex(opcode)
        self._references.append((len(self._bytes), label))
        self._bytes += bytes(4)

    def assembled(self) -> bytes:
        """The finished code."""
        code = bytearray(self._bytes)
        for at, label in self._references:
            code[at : at + 4] = (self._labels[label] - at - 4).to_bytes(4, "little", signed=True)
        return bytes(code)
