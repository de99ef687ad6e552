"""The guest code of traps: how a call of an exported kernel function leaves the emulated CPU, and how it comes back.

Every exported function has a *stub* of 16 bytes that loads its index into r11 (which C calls may clobber) and jumps
to the *common* code. That stores rax and the arguments in the *mailbox*, a block of per-cpu memory behind gs, and
executes ``out`` to the trap port, where Python takes over (`kmem.machine.trap`). When Python returns, mailbox word
ACTION says what to do:

    0 RETURN   return RESULT in rax to the caller
    1 CALL     push TOKEN, call FN with up to six arguments on the caller's stack, put its rax into RESULT,
               trap as RESUME
    2 SWITCH   push TOKEN and the callee-saved registers, store rsp where SAVE_AT says (unless 0), go on with
               stack NEXT_RSP; without one, halt. A stack that was left so goes on by trapping as RESUME.

An *exact* stub is for functions that are not called by the C convention (their callers keep values in registers
that C may clobber): it saves r10 and r11 too, and loads all but rax again from the mailbox before it returns; rax
is RESULT as ever.

State of a trap that outlives it is nowhere but on the guest's stack (TOKEN), so traps nest and tasks switch freely. The
mailbox holds it only while the common code runs, which the instruction budget therefore does not interrupt.
"""

from __future__ import annotations

from functools import lru_cache

from kmem.machine.asm import Code

TRAP_PORT = 0xEB
"""I/O port of the trap; a 32-bit ``out`` to it is a trap, and no device of a PC is there."""

ARG0, RSP, CALLER, ACTION, RESULT, FN, TOKEN, NEXT_RSP, SAVE_AT, CALL_ARG0 = 0, 6, 7, 8, 9, 10, 11, 12, 13, 14
RAX, R10, R11 = 20, 21, 22
"""Mailbox words (64 bits each):

the six arguments, rsp at the stub (it points at the return address), the return address; …
"""
MAILBOX_WORDS = 24
MAILBOX_SIZE = MAILBOX_WORDS * 8

RETURN, CALL, SWITCH = range(3)
"""Values of ACTION."""

RESUME, EXIT = 0, 1
"""Trap indexes that the common code itself uses: a call or switch came back; the function of a thread returned."""
FIRST_INDEX = 2

STUB_SIZE = 16
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
CALLEE_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
_EXACT = (*zip(ARGUMENTS, range(ARG0, 6), strict=True), ("r10", R10), ("r11", R11))


@lru_cache(maxsize=8)
def _common(mailbox: int) -> Code:
    code = Code()
    code.store("rax", mailbox + 8 * RAX)
    code.raw("4489d8")  # mov %r11d,%eax
    for register, word in zip(ARGUMENTS, range(ARG0, 6), strict=True):
        code.store(register, mailbox + 8 * word)
    code.store("rsp", mailbox + 8 * RSP)
    code.raw("488b0c24")  # mov (%rsp),%rcx
    code.store("rcx", mailbox + 8 * CALLER)
    code.label("trap")
    code.raw(f"e7{TRAP_PORT:02x}")  # out %eax,$TRAP_PORT
    code.load32(mailbox + 8 * ACTION, "rcx")
    code.raw("85c9")  # test %ecx,%ecx
    code.jump("0f85", "act")  # jne
    code.load(mailbox + 8 * RESULT, "rax")
    code.raw("c3")  # ret

    code.label("act")
    code.raw("31c0")  # xor %eax,%eax
    code.store("rax", mailbox + 8 * ACTION)
    code.raw("ffc9")  # dec %ecx
    code.jump("0f84", "call")  # je
    code.raw("ffc9")
    code.jump("0f84", "switch")
    code.label("halt")
    code.raw("f4")  # hlt
    code.jump("e9", "halt")  # jmp

    code.label("call")
    code.push_field(mailbox + 8 * TOKEN)
    for number, register in enumerate(ARGUMENTS):
        code.load(mailbox + 8 * (CALL_ARG0 + number), register)
    code.load(mailbox + 8 * FN, "r11")
    code.raw("41ffd3")  # call *%r11
    code.label("called")
    code.store("rax", mailbox + 8 * RESULT)
    code.label("resume")
    code.pop("rcx")
    code.store("rcx", mailbox + 8 * TOKEN)
    code.set_eax(RESUME)
    code.jump("e9", "trap")

    code.label("switch")
    code.push_field(mailbox + 8 * TOKEN)
    code.push(*CALLEE_SAVED)
    code.jump("488d0d", "switched")  # lea switched(%rip),%rcx
    code.push("rcx")
    code.load(mailbox + 8 * SAVE_AT, "rax")
    code.raw("4885c0")  # test %rax,%rax
    code.raw("7403")  # je over the store
    code.raw("488920")  # mov %rsp,(%rax)
    code.load(mailbox + 8 * NEXT_RSP, "rax")
    code.raw("4885c0")
    code.jump("0f84", "halt")
    code.raw("4889c4")  # mov %rax,%rsp
    code.label("go")
    code.raw("c3")  # ret: to switched, or to thread
    code.label("switched")
    code.pop(*reversed(CALLEE_SAVED))
    code.jump("e9", "resume")

    code.label("thread")
    code.pop("r11", "rdi")
    code.raw("41ffd3")  # call *%r11
    code.store("rax", mailbox + 8 * RESULT)
    code.store("rsp", mailbox + 8 * RSP)
    code.set_eax(EXIT)
    code.jump("e9", "trap")

    code.label("exact")
    for register, word in _EXACT:
        code.store(register, mailbox + 8 * word)
    code.store("rax", mailbox + 8 * RAX)
    code.pop("rax")
    code.store("rsp", mailbox + 8 * RSP)
    code.raw("488b0c24")
    code.store("rcx", mailbox + 8 * CALLER)
    code.raw(f"e7{TRAP_PORT:02x}")
    code.load32(mailbox + 8 * ACTION, "rcx")
    code.raw("85c9")
    code.jump("0f85", "act")
    for register, word in _EXACT:
        code.load(mailbox + 8 * word, register)
    code.load(mailbox + 8 * RESULT, "rax")
    code.raw("c3")

    code.label("finish")
    code.raw("f4")  # hlt
    return code


def build(common_addr: int, mailbox_gs_offset: int) -> bytes:
    """The common code for *common_addr*, with the mailbox at that offset from the base of gs.

    It runs at any address.
    """
    return _common(mailbox_gs_offset).assembled()


def label(name: str) -> int:
    """Offset of a place in the common code: ``trap``, ``called``, ``go``, ``thread``, ``exact``, ``finish``."""
    return _common(0).offset(name)


def code_for_stub(idx: int, stub_addr: int, common_addr: int, *, exact: bool = False) -> bytes:
    """The 16 bytes of the stub at *stub_addr* that traps with index *idx*."""
    if exact:
        code = b"\x68" + idx.to_bytes(4, "little")  # push $idx
        target = common_addr + label("exact")
    else:
        code = b"\x41\xbb" + idx.to_bytes(4, "little")  # mov $idx,%r11d
        target = common_addr
    distance = target - (stub_addr + len(code) + 5)
    return (code + b"\xe9" + distance.to_bytes(4, "little", signed=True)).ljust(STUB_SIZE, b"\xcc")


def thread_stack(common_addr: int, fn: int, arg: int) -> bytes:
    """What must lie at the stack pointer of a thread that was never run, so that a switch to it calls fn(arg).

    The address behind it must be a multiple of 16.
    """
    return b"".join(word.to_bytes(8, "little") for word in (common_addr + label("thread"), fn, arg))
