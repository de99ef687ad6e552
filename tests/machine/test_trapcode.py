"""The guest code of traps, disassembled: it is what its listing says."""

from __future__ import annotations

import capstone
import pytest

from kmem.machine import trapcode
from kmem.machine.asm import REGISTERS, Code

BASE = 0xFFFF_FFFF_8100_0000
MAILBOX = 0x100


def disassemble(code: bytes, address: int = BASE) -> list[str]:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    lines = [f"{insn.mnemonic} {insn.op_str}".strip() for insn in decoder.disasm(code, address)]
    assert sum(insn.size for insn in decoder.disasm(code, address)) == len(code)
    return [line.replace("qword ptr ", "").replace("dword ptr ", "") for line in lines]


def gs(word: int) -> str:
    return f"gs:[{MAILBOX + 8 * word:#x}]"


def at(label: str) -> str:
    return f"{BASE + trapcode.label(label):#x}"


def listing() -> list[str]:
    args = trapcode.ARGUMENTS
    return [
        f"mov {gs(20)}, rax",
        "mov eax, r11d",
        *(f"mov {gs(n)}, {register}" for n, register in enumerate(args)),
        f"mov {gs(6)}, rsp",
        "mov rcx, [rsp]",
        f"mov {gs(7)}, rcx",
        "out 0xeb, eax",  # trap
        f"mov ecx, {gs(8)}",
        "test ecx, ecx",
        f"jne {at('act')}",
        f"mov rax, {gs(9)}",
        "ret",
        "xor eax, eax",  # act
        f"mov {gs(8)}, rax",
        "dec ecx",
        f"je {at('call')}",
        "dec ecx",
        f"je {at('switch')}",
        "hlt",  # halt
        f"jmp {at('halt')}",
        f"push {gs(11)}",  # call
        *(f"mov {register}, {gs(14 + n)}" for n, register in enumerate(args)),
        f"mov r11, {gs(10)}",
        "call r11",
        f"mov {gs(9)}, rax",  # called
        "pop rcx",  # resume
        f"mov {gs(11)}, rcx",
        "mov eax, 0",
        f"jmp {at('trap')}",
        f"push {gs(11)}",  # switch
        *(f"push {register}" for register in ("rbx", "rbp", "r12", "r13", "r14", "r15")),
        f"lea rcx, [rip + {trapcode.label('switched') - _after_lea():#x}]",
        "push rcx",
        f"mov rax, {gs(13)}",
        "test rax, rax",
        "je SKIP",
        "mov [rax], rsp",
        f"mov rax, {gs(12)}",
        "test rax, rax",
        f"je {at('halt')}",
        "mov rsp, rax",
        "ret",  # go
        *(f"pop {register}" for register in ("r15", "r14", "r13", "r12", "rbp", "rbx")),  # switched
        f"jmp {at('resume')}",
        "pop r11",  # thread
        "pop rdi",
        "call r11",
        f"mov {gs(9)}, rax",
        f"mov {gs(6)}, rsp",
        "mov eax, 1",
        f"jmp {at('trap')}",
        *(f"mov {gs(n)}, {register}" for n, register in enumerate(args)),  # exact
        f"mov {gs(21)}, r10",
        f"mov {gs(22)}, r11",
        f"mov {gs(20)}, rax",
        "pop rax",
        f"mov {gs(6)}, rsp",
        "mov rcx, [rsp]",
        f"mov {gs(7)}, rcx",
        "out 0xeb, eax",
        f"mov ecx, {gs(8)}",
        "test ecx, ecx",
        f"jne {at('act')}",
        *(f"mov {register}, {gs(n)}" for n, register in enumerate(args)),
        f"mov r10, {gs(21)}",
        f"mov r11, {gs(22)}",
        f"mov rax, {gs(9)}",
        "ret",
        "hlt",  # finish
    ]


def _after_lea() -> int:
    code = trapcode.build(BASE, MAILBOX)
    return code.index(bytes.fromhex("488d0d")) + 7


def test_common_code_is_what_its_listing_says() -> None:
    code = trapcode.build(BASE, MAILBOX)
    got = disassemble(code)
    skip = got.index("mov [rax], rsp") - 1
    assert got[skip] == f"je {BASE + code.index(bytes.fromhex('488920')) + 3:#x}"
    got[skip] = "je SKIP"
    assert got == listing()


def test_common_code_runs_anywhere() -> None:
    assert trapcode.build(BASE, MAILBOX) == trapcode.build(0x1000, MAILBOX)
    assert trapcode.build(BASE, MAILBOX) != trapcode.build(BASE, MAILBOX + 8)


def test_finish_is_a_halt() -> None:
    assert trapcode.build(BASE, 0)[trapcode.label("finish")] == 0xF4


@pytest.mark.parametrize("idx", [2, 255, 0x12345])
@pytest.mark.parametrize("distance", [-0x7000_0000, -16, 0x1000])
def test_stubs_load_their_index_and_jump(idx: int, distance: int) -> None:
    stub = BASE + distance
    code = trapcode.code_for_stub(idx, stub, BASE)
    assert len(code) == trapcode.STUB_SIZE
    assert disassemble(code[:11], stub) == [f"mov r11d, {idx:#x}" if idx > 9 else f"mov r11d, {idx}", f"jmp {BASE:#x}"]
    assert set(code[11:]) == {0xCC}
    exact = trapcode.code_for_stub(idx, stub, BASE, exact=True)
    push = f"push {idx:#x}" if idx > 9 else f"push {idx}"
    assert disassemble(exact[:10], stub) == [push, f"jmp {at('exact')}"]


def test_assembler_encodes_every_register() -> None:
    for register in REGISTERS:
        code = Code()
        code.store(register, 0x1234)
        code.load(-8, register)
        code.push(register)
        code.pop(register)
        assert disassemble(code.assembled()) == [
            f"mov gs:[0x1234], {register}",
            f"mov {register}, gs:[0xfffffffffffffff8]",
            f"push {register}",
            f"pop {register}",
        ]


def test_a_mailbox_has_room_for_all_words() -> None:
    words = [value for name, value in vars(trapcode).items() if name in ("CALL_ARG0", "RAX", "R10", "R11", "SAVE_AT")]
    assert max(words) + 1 <= trapcode.MAILBOX_WORDS
    assert trapcode.CALL_ARG0 + 6 <= trapcode.RAX
