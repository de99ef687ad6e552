"""Exported functions that are guest code: too hot, or called with a convention of their own, to be served in Python.

Each is given as machine code with its disassembly beside it; a test disassembles the one and compares it with the
other. They are position-independent and use no stack beyond a word.
"""

from __future__ import annotations

from kmem.abi.address import TASK_SIZE_MAX
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

# A length that no memory has (a negative one) faults before anything is overwritten: a kernel would overwrite most of
# its memory first.
# void *memcpy(void *dst, const void *src, size_t n): by words of eight bytes, then the rest.
_declare(
    "memcpy __memcpy",
    "4889d1 4889f8 48c1e92f 7512 4889d1 48c1e903 f348a5 89d1 83e107 f3a4 c3 480fbae93f 480fbaf13e 8a01",
    """
    mov rcx, rdx
    mov rax, rdi
    shr rcx, 0x2f
    jne 0x1e
    mov rcx, rdx
    shr rcx, 3
    rep movsq qword ptr [rdi], qword ptr [rsi]
    mov ecx, edx
    and ecx, 7
    rep movsb byte ptr [rdi], byte ptr [rsi]
    ret
    bts rcx, 0x3f
    btr rcx, 0x3e
    mov al, byte ptr [rcx]
    """,
)

# void *memmove(void *dst, const void *src, size_t n): backwards, byte by byte, if dst lies inside [src, src + n).
_declare(
    "memmove __memmove",
    """4889f8 4889d1 48c1e92f 752f 4889f9 4829f1 4839d1 7212 4889d1 48c1e903 f348a5 89d1 83e107 f3a4 c3
    488d7416ff 488d7c17ff 4889d1 fd f3a4 fc c3 480fbae93f 480fbaf13e 8a01""",
    """
    mov rax, rdi
    mov rcx, rdx
    shr rcx, 0x2f
    jne 0x3b
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jb 0x29
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
    bts rcx, 0x3f
    btr rcx, 0x3e
    mov al, byte ptr [rcx]
    """,
)

# void *memset(void *s, int c, size_t n)
_declare(
    "memset __memset",
    """4889d1 4989f9 48c1e92f 7527 400fb6c6 48b90101010101010101 480fafc1 4889d1 48c1e903 f348ab 89d1 83e107 f3aa
    4c89c8 c3 480fbae93f 480fbaf13e 8a01""",
    """
    mov rcx, rdx
    mov r9, rdi
    shr rcx, 0x2f
    jne 0x33
    movzx eax, sil
    movabs rcx, 0x101010101010101
    imul rax, rcx
    mov rcx, rdx
    shr rcx, 3
    rep stosq qword ptr [rdi], rax
    mov ecx, edx
    and ecx, 7
    rep stosb byte ptr [rdi], al
    mov rax, r9
    ret
    bts rcx, 0x3f
    btr rcx, 0x3e
    mov al, byte ptr [rcx]
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

# get_user(): address in rax; error in rax and value in rdx. put_user(): address in rcx, value in rax; error in ecx. An
# address too high for a user's fails at once; a fault between stac and clac goes on at the last but one part.
_LOADS = {1: ("0fb610", "movzx edx, byte ptr [rax]"), 2: ("0fb710", "movzx edx, word ptr [rax]")}
_LOADS |= {4: ("8b10", "mov edx, dword ptr [rax]"), 8: ("488b10", "mov rdx, qword ptr [rax]")}
_STORES = {1: ("8801", "mov byte ptr [rcx], al"), 2: ("668901", "mov word ptr [rcx], ax")}
_STORES |= {4: ("8901", "mov dword ptr [rcx], eax"), 8: ("488901", "mov qword ptr [rcx], rax")}
_STAC, _CLAC = "0f01cb", "0f01ca"


def _user_access(
    name: str, check: list[str], listing: list[str], access: tuple[str, str], fail: tuple[str, str]
) -> None:
    """One of the functions: *check* is the code before the access, its jump to the failure without the distance."""
    what, shown = access
    before = "".join(check)
    behind = f"31{'c0' if 'get' in name else 'c9'} {_CLAC} c3"
    fixup = len(bytes.fromhex(f"{before}00" if check else "")) + len(bytes.fromhex(f"{_STAC}{what}{behind}"))
    start = len(bytes.fromhex(f"{before}00" if check else "")) + 3
    jump = ""
    if check:
        masks = "4819d2 4821d0" if "get" in name else ""
        fixup += len(bytes.fromhex(masks))
        start += len(bytes.fromhex(masks))
        distance = fixup + 3 - len(bytes.fromhex(f"{before}00"))
        jump = f"{before}{distance:02x} {masks}"
        listing = [*listing, f"jae {hex(fixup + 3)}"]
        listing += ["sbb rdx, rdx", "and rax, rdx"] if masks else []
    clear = "xor eax, eax" if "get" in name else "xor ecx, ecx"
    listing = [*listing, "stac", shown, clear, "clac", "ret", "clac", *fail[1].split("\n")]
    raw = bytes.fromhex(f"{jump}{_STAC}{what}{behind}{_CLAC}{fail[0]}")
    code(name, raw, "\n".join(listing), fixups=((start, fixup),))


for _size in (1, 2, 4, 8):
    _limit = TASK_SIZE_MAX - (_size - 1)
    _bytes = _limit.to_bytes(8, "little").hex()
    _no_get = ("31d2 48c7c0f2ffffff c3", "xor edx, edx\nmov rax, 0xfffffffffffffff2\nret")
    _no_put = ("b9f2ffffff c3", "mov ecx, 0xfffffff2\nret")
    _user_access(
        f"__get_user_{_size}",
        ["48ba", _bytes, "4839d0", "73"],
        [f"movabs rdx, {_limit:#x}", "cmp rax, rdx"],
        _LOADS[_size],
        _no_get,
    )
    _user_access(f"__get_user_nocheck_{_size}", [], [], _LOADS[_size], _no_get)
    _user_access(
        f"__put_user_{_size}",
        ["48bb", _bytes, "4839d9", "73"],
        [f"movabs rbx, {_limit:#x}", "cmp rcx, rbx"],
        _STORES[_size],
        _no_put,
    )
    _user_access(f"__put_user_nocheck_{_size}", [], [], _STORES[_size], _no_put)

# clear_user() calls these inside stac and clac, with the address in rdi and the count in rcx, where the rest is left.
for _name in ("clear_user_original", "clear_user_rep_good", "clear_user_erms", "rep_stos_alternative"):
    code(_name, bytes.fromhex("f3aa c3"), "rep stosb byte ptr [rdi], al\nret", fixups=((0, 2),))

# So does the inlined copy of later releases with this one: from rsi to rdi.
code(
    "rep_movs_alternative", bytes.fromhex("f3a4 c3"), "rep movsb byte ptr [rdi], byte ptr [rsi]\nret", fixups=((0, 2),)
)
