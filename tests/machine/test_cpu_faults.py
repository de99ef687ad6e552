"""Faults are exact: random instructions at random places with random registers, against what the architecture says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest

from kmem.machine.cpu import Faulted, Returned
from kmem.machine.fault import GP, PF, PF_INSTR, PF_PROT, PF_WRITE, Fault, Regs
from kmem.machine.regs import BY_NAME
from tests.machine.cpu_guest import CODE, DIRECT, HEAP, IMAGE, PAGES, STACK_TOP, Guest

MASK = (1 << 64) - 1
SS = 12
NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
"""Registers by the number in their encoding."""

FILLER = [bytes.fromhex(code) for code in ("90", "6690", "0f1f4000", "0f1f840000000000", "f8", "f9", "fc", "4885c0")]
"""Instructions that change no register: nops, clc, stc, cld, test %rax,%rax."""


@dataclass(frozen=True)
class Form:
    """An instruction with a memory operand: *opcode* takes a modrm byte whose register is *register* (None: any)."""

    opcode: str
    size: int
    write: bool
    register: int | None = None
    prefix: str = ""
    immediate: str = ""
    wide: bool = False


FORMS = {
    "mov (m),r64": Form("8b", 8, write=False, wide=True),
    "mov (m),r32": Form("8b", 4, write=False),
    "mov (m),r16": Form("8b", 2, write=False, prefix="66"),
    "mov (m),r8": Form("8a", 1, write=False),
    "movzbl (m),r32": Form("0fb6", 1, write=False),
    "movslq (m),r64": Form("63", 4, write=False, wide=True),
    "mov r64,(m)": Form("89", 8, write=True, wide=True),
    "mov r32,(m)": Form("89", 4, write=True),
    "mov r8,(m)": Form("88", 1, write=True),
    "movq $imm,(m)": Form("c7", 8, write=True, register=0, immediate="11223344", wide=True),
    "cmp r64,(m)": Form("39", 8, write=False, wide=True),
    "testb $imm,(m)": Form("f6", 1, write=False, register=0, immediate="01"),
    "imul (m),r64": Form("0faf", 8, write=False, wide=True),
    "movups (m),xmm": Form("0f10", 16, write=False),
    "movups xmm,(m)": Form("0f11", 16, write=True),
    "sete (m)": Form("0f94", 1, write=True, register=0),
    "call *(m)": Form("ff", 8, write=False, register=2),
    "jmp *(m)": Form("ff", 8, write=False, register=4),
}


def encode(form: Form, register: int, base: int, index: int | None, scale: int, disp: int) -> bytes:
    """*form* with the operand disp32(base,index,scale)."""
    register = register if form.register is None else form.register
    rex = 0x40 | form.wide << 3 | register >> 3 << 2 | (index or 0) >> 3 << 1 | base >> 3
    sib = scale << 6 | (4 if index is None else index & 7) << 3 | base & 7
    return (
        bytes.fromhex(form.prefix)
        + bytes((rex,))
        + bytes.fromhex(form.opcode)
        + bytes((0x84 | (register & 7) << 3, sib))
        + (disp & 0xFFFF_FFFF).to_bytes(4, "little")
        + bytes.fromhex(form.immediate)
    )


def expected(address: int, write: bool) -> tuple[int, int] | None:
    """Vector and error code of an access to *address*; None if it is allowed."""
    if address >> 47 not in (0, 0x1FFFF):
        return GP, 0
    page = (address - PAGES) >> 12
    if page in (0, 4):
        return None
    if page in (1, 3):
        return (PF, PF_PROT | PF_WRITE) if write else None
    return PF, PF_WRITE if write else 0


def an_address(random: Random) -> int:
    """Somewhere that faults for writes at least."""
    page = random.choice((1, 2, 3, 5, 6, 100))
    places = {
        "null": random.randrange(0x1000),
        "user": random.randrange(0x1000, 1 << 47),
        "poison": random.choice((0x6B6B_6B6B_6B6B_6B6B, 0xDEAD_0000_0000_0100, 0xDEAD_4EAD_0000_0000)),
        "hole": random.randrange(1 << 47, (1 << 64) - (1 << 47)),
        "pages": PAGES + page * 0x1000 + random.randrange(0x1000 - 16),
        "vmemmap": 0xFFFF_EA00_0000_0000 + random.randrange(1 << 30),
        "top": MASK - random.randrange(16, 0x1000),
    }
    return places[random.choice(tuple(places))]


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    machine = Guest()
    yield machine
    machine.close()


@pytest.mark.parametrize("seed", range(20))
def test_random_faulting_accesses(guest: Guest, seed: int) -> None:
    """25 for each seed, 500 in all: vector, error code, address, rip and all sixteen registers."""
    random = Random(seed)
    done = 0
    while done < 25:
        name = random.choice(tuple(FORMS))
        form = FORMS[name]
        address = an_address(random)
        want = expected(address, form.write)
        if want is None:
            continue
        regs = Regs(**{register: random.getrandbits(64) for register in NAMES})
        base = random.randrange(16)
        index = random.choice([None, *(n for n in range(16) if n not in (4, base))])
        scale, disp = random.randrange(4), random.randrange(-(1 << 31), 1 << 31)
        other = getattr(regs, NAMES[index]) << scale if index is not None else 0
        setattr(regs, NAMES[base], address - other - disp & MASK)
        before = b"".join(random.choices(FILLER, k=random.randrange(12)))
        instruction = encode(form, random.randrange(16), base, index, scale, disp)
        at = CODE + random.randrange(0x1000)
        regs.rip = guest.code(before + instruction + b"\xf4", at)
        outcome = guest.cpu.resume(regs)
        assert isinstance(outcome, Faulted), (name, outcome)
        fault = outcome.fault
        vector, error_code = want
        if vector == GP and base in (4, 5):
            vector = SS
        what = f"{name}: {instruction.hex()} for {address:#x}"
        assert (fault.vector, fault.error_code, fault.address) == (vector, error_code, address), what
        assert fault.regs.rip == IMAGE + at + len(before), what
        changed = [n for n in NAMES if getattr(fault.regs, n) != getattr(regs, n)]
        assert not changed, (what, changed)
        done += 1


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("write", [False, True])
def test_an_access_across_a_page_end_faults_at_the_second_page(guest: Guest, size: int, write: bool) -> None:
    code = {2: "66{}07", 4: "{}07", 8: "48{}07"}[size].format("89" if write else "8b") + "c3"
    for inside in range(1, size):
        outcome = guest.run(code, (PAGES + 0x2000 - inside,) if not write else (PAGES + 0x5000 - inside,))
        assert isinstance(outcome, Faulted)
        second = PAGES + (0x5000 if write else 0x2000)
        assert (outcome.fault.address, outcome.fault.error_code) == (second, PF_WRITE if write else 0)


def test_a_store_across_a_page_end_stores_nothing_when_it_faults(guest: Guest) -> None:
    guest.write(0x40_4FF0, bytes(16))
    outcome = guest.run("48c707ffffffff c3", (PAGES + 0x4FFC,))  # movq $-1,(%rdi)
    assert isinstance(outcome, Faulted)
    assert bytes(guest.ram.mem[0x40_4FF0:0x40_5000]) == bytes(16)


def test_an_instruction_across_a_page_end_faults_where_its_second_half_is_missing(guest: Guest) -> None:
    guest.set_page(12, CODE | 1)
    guest.set_page(13, 0)
    guest.write(CODE + 0xFFC, bytes.fromhex("90 48b811"))  # nop; movabs $…,%rax
    outcome = guest.call(PAGES + 0xCFFC)
    assert isinstance(outcome, Faulted)
    fault = outcome.fault
    assert (fault.vector, fault.error_code) == (PF, PF_INSTR)
    assert (fault.address, fault.regs.rip) == (PAGES + 0xD000, PAGES + 0xCFFD)


def test_code_that_runs_off_its_page_has_executed_what_is_on_it(guest: Guest) -> None:
    guest.set_page(12, CODE | 1)
    guest.set_page(13, 0)
    # inc %eax; movq $7,(%rdi); inc %eax; inc %eax: the page ends here
    code = bytes.fromhex("ffc0 48c70707000000 ffc0 ffc0")
    guest.code(code, CODE + 0x1000 - len(code))
    guest.write(HEAP, bytes(8))
    outcome = guest.call(PAGES + 0xD000 - len(code), (DIRECT + HEAP,))
    assert isinstance(outcome, Faulted)
    fault = outcome.fault
    assert (fault.error_code, fault.address, fault.regs.rip) == (PF_INSTR, PAGES + 0xD000, PAGES + 0xD000)
    assert (fault.regs.rax, guest.u64(HEAP)) == (3, 7)
    outcome = guest.call(PAGES + 0xD000 - len(code), (PAGES + 0x1000,))
    assert isinstance(outcome, Faulted), "what is on the page may fault before"
    fault = outcome.fault
    assert (fault.error_code, fault.address) == (PF_WRITE | PF_PROT, PAGES + 0x1000)
    assert (fault.regs.rax, fault.regs.rip) == (1, PAGES + 0xD000 - len(code) + 2)


def test_string_instructions_stop_where_they_fault_and_can_go_on(guest: Guest) -> None:
    guest.write(HEAP, bytes(range(256)) * 32)
    guest.set_page(5, 0)
    # mov %rdx,%rcx; rep movsb; mov %rdi,%rax; ret
    outcome = guest.run("4889d1 f3a4 4889f8 c3", (PAGES + 0x4F00, DIRECT + HEAP, 0x200))
    assert isinstance(outcome, Faulted)
    fault = outcome.fault
    assert (fault.error_code, fault.address) == (PF_WRITE, PAGES + 0x5000)
    regs = fault.regs
    assert (regs.rcx, regs.rdi, regs.rsi) == (0x100, PAGES + 0x5000, DIRECT + HEAP + 0x100)
    assert regs.rip == IMAGE + CODE + 3
    guest.set_page(5, 0x40_5003)
    assert guest.cpu.resume(regs) == Returned(PAGES + 0x5100)
    assert bytes(guest.ram.mem[0x40_4F00:0x40_5100]) == bytes(range(256)) * 2
    guest.set_page(5, 0)
    guest.cpu.flush_tlb()


@pytest.mark.parametrize(
    ("code", "error_code", "below"),
    [("50", PF_WRITE, 8), ("e800000000", PF_WRITE, 8), ("58", 0, 0), ("c3", 0, 0), ("c9", 0, 0)],
    ids=["push", "call", "pop", "ret", "leave"],
)
def test_the_stack_runs_out(guest: Guest, code: str, error_code: int, below: int) -> None:
    top = PAGES + 0x4000 if error_code else PAGES + 0x5000
    regs = Regs(rip=guest.code(code), rsp=top, rbp=top)
    outcome = guest.cpu.resume(regs)
    assert isinstance(outcome, Faulted)
    fault = outcome.fault
    want = PF_WRITE | PF_PROT if error_code else 0
    assert (fault.vector, fault.error_code, fault.address, fault.regs.rsp) == (PF, want, top - below, top)


@pytest.mark.parametrize(
    ("code", "below"),
    [("50", 8), ("e800000000", 8), ("c8100000", 8), ("58", 0), ("c3", 0), ("c9", 0), ("8b0424", 0), ("8b4500", 0)],
    ids=["push", "call", "enter", "pop", "ret", "leave", "mov (rsp)", "mov (rbp)"],
)
def test_a_wild_stack_pointer_is_a_stack_segment_fault(guest: Guest, code: str, below: int) -> None:
    wild = 0x6B6B_6B6B_6B6B_6B6B
    outcome = guest.cpu.resume(Regs(rip=guest.code(code), rsp=wild, rbp=wild))
    assert isinstance(outcome, Faulted)
    assert (outcome.fault.vector, outcome.fault.address) == (SS, wild - below)


@pytest.mark.parametrize(
    ("code", "regs", "address"),
    [
        ("f3a4", {"rdi": DIRECT + HEAP, "rsi": 0x5A5A_5A5A_5A5A_5A5A, "rcx": 1}, 0x5A5A_5A5A_5A5A_5A5A),
        ("f3ab", {"rdi": 0x5A5A_5A5A_5A5A_5A5A, "rcx": 1}, 0x5A5A_5A5A_5A5A_5A5A),
        ("f3a6", {"rdi": DIRECT + HEAP, "rsi": 1 << 63, "rcx": 1}, 1 << 63),
        ("65488b00", {"rax": 1 << 63}, (1 << 63) + DIRECT + 0x20_0000 & MASK),
        ("f0480fb10b", {"rbx": 0xBBBB_0000_0000_0000}, 0xBBBB_0000_0000_0000),
        ("67488b00", {"rax": 0xBBBB_0000_0000_0010}, None),
        ("ff30", {"rax": 0xBBBB_0000_0000_0010}, 0xBBBB_0000_0000_0010),
        ("a0bbbb0000000000bb", {}, 0xBB00_0000_0000_BBBB),
    ],
    ids=["movs", "stos", "cmps", "gs", "cmpxchg", "addr32", "push mem", "moffs"],
)
def test_addresses_of_unusual_operands(guest: Guest, code: str, regs: dict[str, int], address: int | None) -> None:
    outcome = guest.cpu.resume(Regs(**regs, rip=guest.code(code), rsp=DIRECT + STACK_TOP - 8))
    assert isinstance(outcome, Faulted)
    fault: Fault = outcome.fault
    if address is None:
        assert (fault.vector, fault.address) == (PF, 0x10)
    else:
        assert (fault.vector, fault.address) == (GP, address)


def test_register_names_cover_the_encoding() -> None:
    assert sorted(BY_NAME[name] for name in NAMES) == list(range(16))
