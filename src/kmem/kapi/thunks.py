"""Exported functions that are guest code: too hot, or called with a convention of their own, to be served in Python.

Each is given as machine code with its disassembly beside it; a test disassembles the one and compares it with the
other. They are position-independent and use no stack beyond a word.
"""

from __future__ import annotations

from kmem.kapi.export import Fidelity, code, faithful, simplified

_REGISTERS = (
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
)
_SWITCHED = simplified("one task runs and is not preempted: there is nothing to switch to")
_NO_USER = simplified("there is no user memory: always -EFAULT")


def _declare(names: str, machine_code: str, listing: str, fidelity: Fidelity = faithful) -> None:
    for name in names.split():
        code(
            name,
            bytes.fromhex(machine_code),
            "\n".join(line.strip() for line in listing.strip().splitlines()),
            fidelity,
        )


# ftrace is off: the call that opens every function returns at once. Returns and indirect branches go through thunks.
_declare("__fentry__", "c3", "ret")
_declare("__x86_return_thunk", "c3 cc", "ret\nint3")
for _number, _register in enumerate(_REGISTERS):
    _jump = f"ff{0xE0 + _number:02x}" if _number < 8 else f"41ff{0xE0 + _number - 8:02x}"
    _declare(f"__x86_indirect_thunk_{_register}", _jump, f"jmp {_register}")

# Static calls of the preemption model (CONFIG_PREEMPT_DYNAMIC, voluntary): cond_resched() and might_resched() return 0.
_declare("__SCT__preempt_schedule __SCT__preempt_schedule_notrace", "c3", "ret", _SWITCHED)
_declare("__SCT__cond_resched __SCT__might_resched", "31c0c3", "xor eax, eax\nret", _SWITCHED)
_declare("__static_call_return0", "31c0c3", "xor eax, eax\nret")

# void *memcpy(void *dst, const void *src, size_t n): by words of eight bytes, then the rest.
_declare(
    "memcpy __memcpy",
    "4889d1 4889f8 48c1e903 f348a5 89d1 83e107 f3a4 c3",
    """
    mov rcx, rdx
    mov rax, rdi
    shr rcx, 3
    rep movsq qword ptr [rdi], qword ptr [rsi]
    mov ecx, edx
    and ecx, 7
    rep movsb byte ptr [rdi], byte ptr [rsi]
    ret
    """,
)

# void *memmove(void *dst, const void *src, size_t n): backwards, byte by byte, if dst lies inside [src, src + n).
_declare(
    "memmove __memmove",
    """4889f8 4889f9 4829f1 4839d1 7212 4889d1 48c1e903 f348a5 89d1 83e107 f3a4 c3
    488d7416ff 488d7c17ff 4889d1 fd f3a4 fc c3""",
    """
    mov rax, rdi
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jb 0x20
    mov rcx, rdx
    shr rcx, 3
    rep movsq qword ptr [rdi], qword ptr [rsi]
    mov ecx, edx
    and ecx, 7
    rep movsb byte ptr [rdi], byte ptr [rsi]
    ret
    lea rsi, [rsi + rdx - 1]
    lea rdi, [rdi + rdx - 1]
    mov rcx, rdx
    std
    rep movsb byte ptr [rdi], byte ptr [rsi]
    cld
    ret
    """,
)

# void *memset(void *s, int c, size_t n)
_declare(
    "memset __memset",
    "57 400fb6c6 48b90101010101010101 480fafc1 4889d1 48c1e903 f348ab 89d1 83e107 f3aa 58 c3",
    """
    push rdi
    movzx eax, sil
    movabs rcx, 0x101010101010101
    imul rax, rcx
    mov rcx, rdx
    shr rcx, 3
    rep stosq qword ptr [rdi], rax
    mov ecx, edx
    and ecx, 7
    rep stosb byte ptr [rdi], al
    pop rax
    ret
    """,
)

# void copy_page(void *to, void *from); void clear_page(void *page), the latter called with rax and rcx as its only
# clobbers.
_declare("copy_page", "b900020000 f348a5 c3", "mov ecx, 0x200\nrep movsq qword ptr [rdi], qword ptr [rsi]\nret")
_declare(
    "clear_page_orig clear_page_rep clear_page_erms",
    "b900020000 31c0 f348ab c3",
    "mov ecx, 0x200\nxor eax, eax\nrep stosq qword ptr [rdi], rax\nret",
)

# Population counts: called from inline assembly that keeps every register but rax alive.
_declare("__sw_hweight32", "f30fb8c7 c3", "popcnt eax, edi\nret")
_declare("__sw_hweight64", "f3480fb8c7 c3", "popcnt rax, rdi\nret")

# get_user(): address in rax; error in rax and value in rdx. put_user(): address in rcx, value in rax; error in ecx.
_declare(
    " ".join(f"__get_user_{check}{size}" for check in ("", "nocheck_") for size in (1, 2, 4, 8)),
    "48c7c0f2ffffff 31d2 c3",
    "mov rax, 0xfffffffffffffff2\nxor edx, edx\nret",
    _NO_USER,
)
_declare(
    " ".join(f"__put_user_{check}{size}" for check in ("", "nocheck_") for size in (1, 2, 4, 8)),
    "b9f2ffffff c3",
    "mov ecx, 0xfffffff2\nret",
    _NO_USER,
)
