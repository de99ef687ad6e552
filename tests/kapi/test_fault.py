"""What a fault prints, branch by branch; test_dumpstack.py compares whole reports with real ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmem.kapi.dumpstack import SIGKILL, SIGSEGV, CrashState, Outcome
from kmem.kapi.fault import Context, Walk, dump_pagetable, fault_of, fault_oops, non_canonical
from kmem.kapi.regs import Build, MachineState, PtRegs
from kmem.machine.fault import (
    BP,
    DE,
    DF,
    GP,
    PF,
    PF_INSTR,
    PF_PROT,
    PF_RSVD,
    PF_WRITE,
    UD,
    AccessFault,
    Fault,
    Regs,
)
from tests.golden.dump.rebuild import Names

IF = 0x200
STACK = (0xFFFFC90000338000, 0xFFFFC9000033C000)
NULL, OTHER = "kernel NULL pointer dereference,", "unable to handle page fault for"
GPF = "general protection fault"


def unreadable(addr: int, n: int) -> bytes:
    raise AccessFault(addr, n, "read")


def report(
    vector: int, code: int = 0, address: int = 0, walk: Walk = lambda _: [("PGD", 0)], **changes: object
) -> Outcome:
    rsp = changes.pop("rsp", STACK[1] - 0x100)
    eflags = changes.pop("eflags", 0x246)
    state = MachineState(unreadable, Names(), Build("6.1", "PREEMPT SMP NOPTI"), pid=97, comm="insmod")
    state = replace(state, **changes)  # type: ignore[arg-type]
    regs = Regs(rsp=rsp, eflags=eflags, rip=0xFFFFFFFFC0206010)  # type: ignore[arg-type]
    fault = Fault(vector, code, address, regs)
    return fault_oops(state, CrashState(), fault, PtRegs(regs), [], Context(walk, STACK))


def texts(outcome: Outcome) -> list[str]:
    return [text for _, text in outcome.lines]


def test_a_null_pointer() -> None:
    outcome = report(PF, PF_WRITE, 0x1D)
    assert outcome.lines[:5] == (
        (1, "BUG: kernel NULL pointer dereference, address: 000000000000001d"),
        (1, "#PF: supervisor write access in kernel mode"),
        (1, "#PF: error_code(0x0002) - not-present page"),
        (6, "PGD 0 P4D 0 "),
        (4, "Oops: 0002 [#1] PREEMPT SMP NOPTI"),
    )
    assert outcome.signal == SIGKILL


@pytest.mark.parametrize(
    ("code", "address", "head", "access", "why"),
    [
        (0, 0xFFF, NULL, "read access", "not-present page"),
        (0, 0x1000, OTHER, "read access", "not-present page"),
        (PF_WRITE | PF_PROT, 0xFFFFFFFF82000000, OTHER, "write access", "permissions violation"),
        (PF_INSTR | PF_PROT, 0xFFFF888005E65000, OTHER, "instruction fetch", "permissions violation"),
        (PF_PROT | PF_RSVD, 0xFFFF888005E65000, OTHER, "read access", "reserved bit violation"),
        (PF_PROT | 32, 0x5000, OTHER, "read access", "protection keys violation"),
    ],
)
def test_the_three_lines_of_a_page_fault(code: int, address: int, head: str, access: str, why: str) -> None:
    lines = texts(report(PF, code, address))
    at = next(number for number, line in enumerate(lines) if line.startswith("BUG: "))
    assert lines[at : at + 3] == [
        f"BUG: {head} address: {address:016x}",
        f"#PF: supervisor {access} in kernel mode",
        f"#PF: error_code({code:#06x}) - {why}",
    ]


def test_the_address_comes_again_before_the_end_marker() -> None:
    lines = texts(report(PF, 0, 0xDEAD000))
    assert lines[lines.index("---[ end trace 0000000000000000 ]---") - 1] == "CR2: 000000000dead000"
    assert any(line.startswith("CR2: 000000000dead000 CR3:") for line in lines)


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([("PGD", 0)], "PGD 0 P4D 0 "),
        ([("PGD", 0x6126067), ("PUD", 0x612C067), ("PMD", 0)], "PGD 6126067 P4D 6126067 PUD 612c067 PMD 0 "),
        ([("PGD", 0x6126067), ("P4D", 0x7067), ("PUD", 0)], "PGD 6126067 P4D 7067 PUD 0 "),
        ([("PGD", 0x67), ("PUD", 0x67), ("PMD", 0x67), ("PTE", 0)], "PGD 67 P4D 67 PUD 67 PMD 67 PTE 0"),
        (
            [("PGD", 0x67), ("PUD", 0x67), ("PMD", 0x67), ("PTE", 0x8000000005E65161)],
            "PGD 67 P4D 67 PUD 67 PMD 67 PTE 8000000005e65161",
        ),
        ([("PGD", 0x67), ("PUD", 0x67), ("PMD", 0x80000000054001E3)], "PGD 67 P4D 67 PUD 67 PMD 80000000054001e3 "),
        ([("PGD", 0x67), ("PUD", 0xC00000E7), ("PMD", 0x123)], "PGD 67 P4D 67 PUD c00000e7 "),
    ],
)
def test_the_page_tables_of_the_address(entries: list[tuple[str, int | None]], line: str) -> None:
    assert list(dump_pagetable(0x1000, lambda _: entries)) == [(6, line)]


def test_a_page_table_that_cannot_be_read() -> None:
    assert list(dump_pagetable(0, lambda _: [("PGD", 0x67), ("PUD", None)])) == [(6, "PGD 67 P4D 67 "), (6, "BAD")]
    assert list(dump_pagetable(0, lambda _: [("PGD", None)])) == [(6, "BAD")]


def test_a_jump_into_data_is_called_an_exploit_attempt() -> None:
    def data(_: int) -> list[tuple[str, int | None]]:
        return [("PGD", 0x67), ("PUD", 0x67), ("PMD", 0x80000000054001E3)]

    outcome = report(PF, PF_INSTR | PF_PROT, 0xFFFF888005E65000, data, uid=1000)
    assert outcome.lines[0] == (2, "kernel tried to execute NX-protected page - exploit attempt? (uid: 1000)")


def test_a_jump_into_user_space_is_stopped_by_smep() -> None:
    def user(_: int) -> list[tuple[str, int | None]]:
        return [("PGD", 0x67), ("PUD", 0x67), ("PMD", 0x67), ("PTE", 0x5E65067)]

    outcome = report(PF, PF_INSTR | PF_PROT, 0x401000, user, cr4=1 << 20)
    assert outcome.lines[0] == (2, "unable to execute userspace code (SMEP?) (uid: 0)")
    assert texts(report(PF, PF_INSTR | PF_PROT, 0x401000, user, cr4=0))[0].startswith("BUG: unable")


def test_reserved_bits_in_a_user_mapping_are_a_corrupted_page_table() -> None:
    lines = texts(report(PF, PF_RSVD | PF_PROT, 0x7000))
    assert lines[0] == "insmod: Corrupted page table at address 7000"
    assert lines[2] == "Bad pagetable: 0009 [#1] PREEMPT SMP NOPTI"
    assert not any(line == "CR2: 0000000000007000" for line in lines)


def test_a_page_fault_ends_with_interrupts_off() -> None:
    assert texts(report(PF))[-1] == "note: insmod[97] exited with irqs disabled"


@pytest.mark.parametrize("vector", [GP, UD, DE])
def test_other_faults_end_as_they_began(vector: int) -> None:
    assert not texts(report(vector, eflags=IF))[-1].startswith("note: ")
    assert texts(report(vector, eflags=0))[-1] == "note: insmod[97] exited with irqs disabled"


@pytest.mark.parametrize(
    ("code", "address", "line"),
    [
        (0, 0xA242CBCD176CEF9B, f"{GPF}, probably for non-canonical address 0xa242cbcd176cef9b: 0000 [#1]"),
        (0, 0xFFFF888005E65000, f"{GPF}, maybe for address 0xffff888005e65000: 0000 [#1]"),
        (0, 0, f"{GPF}: 0000 [#1]"),
        (0x1234, 0xA242CBCD176CEF9B, f"segment-related {GPF}: 1234 [#1]"),
    ],
)
def test_general_protection(code: int, address: int, line: str) -> None:
    outcome = report(GP, code, address)
    assert outcome.lines[0] == (4, line + " PREEMPT SMP NOPTI")
    assert outcome.signal == SIGSEGV


@pytest.mark.parametrize(
    ("vector", "name"), [(DE, "divide error"), (UD, "invalid opcode"), (12, "stack segment"), (4, "overflow")]
)
def test_traps_that_have_only_a_name(vector: int, name: str) -> None:
    assert texts(report(vector))[0] == f"{name}: 0000 [#1] PREEMPT SMP NOPTI"


def test_a_breakpoint_in_the_kernel_is_a_panic() -> None:
    outcome = report(BP)
    assert texts(outcome)[0] == "int3: 0000 [#1] PREEMPT SMP NOPTI"
    assert outcome.panic == "Fatal exception in interrupt"


def test_a_stack_overflow_with_room_for_the_exception_kills_the_task() -> None:
    outcome = report(PF, PF_WRITE, STACK[0] - 8, rsp=STACK[0] + 0x200)
    assert outcome.lines[:2] == (
        (0, "BUG: TASK stack guard page was hit at ffffc90000337ff8 (stack is ffffc90000338000..ffffc9000033c000)"),
        (4, "stack guard page: 0000 [#1] PREEMPT SMP NOPTI"),
    )
    assert outcome.panic == ""


@pytest.mark.parametrize(("vector", "rsp"), [(PF, STACK[0] + 8), (DF, STACK[0] + 0x200)])
def test_a_stack_overflow_without_room_is_a_panic(vector: int, rsp: int) -> None:
    outcome = report(vector, 0, STACK[0] - 8, rsp=rsp)
    assert texts(outcome)[0].startswith("BUG: TASK stack guard page was hit")
    assert outcome.panic == "Fatal exception in interrupt"


def test_an_address_below_the_guard_page_is_an_ordinary_fault() -> None:
    assert texts(report(PF, PF_WRITE, STACK[0] - 0x1008))[0].startswith("BUG: unable to handle page fault")


def test_pointers_of_the_stack_are_printed_as_percent_p() -> None:
    outcome = report(PF, PF_WRITE, STACK[0] - 8, pointer=lambda value: f"hash{value & 0xFFFF:04x}")
    assert "hit at hash7ff8 (stack is hash8000..hashc000)" in texts(outcome)[0]


def test_a_double_fault() -> None:
    outcome = report(DF)
    assert outcome.lines[0] == (0, "traps: PANIC: double fault, error_code: 0x0")
    assert texts(outcome)[1] == "double fault: 0000 [#1] PREEMPT SMP NOPTI"
    assert outcome.panic == "Fatal exception in interrupt"


@pytest.mark.parametrize(
    ("address", "size", "answer"),
    [
        (0x00007FFFFFFFFFFF, 1, False),
        (0x00007FFFFFFFFFF9, 8, True),
        (0x0000800000000000, 1, True),
        (0xFFFF7FFFFFFFFFFF, 1, True),
        (0xFFFF800000000000, 1, False),
        (0xFFFFFFFFFFFFFFFF, 8, False),
    ],
)
def test_where_addresses_are_not_canonical(address: int, size: int, answer: bool) -> None:
    assert non_canonical(address, size) is answer


@pytest.mark.parametrize(
    ("error", "vector", "code"),
    [
        (AccessFault(0, 8, "read"), PF, 0),
        (AccessFault(0xFFFF888000001000, 4, "write", present=True), PF, PF_WRITE | PF_PROT),
        (AccessFault(0x1000, 1, "exec"), PF, PF_INSTR),
        (AccessFault(0xA242CBCD176CEF9B, 8, "read"), GP, 0),
    ],
)
def test_an_access_of_the_model_becomes_the_fault_of_the_cpu(error: AccessFault, vector: int, code: int) -> None:
    fault = fault_of(error, Regs(rax=5))
    assert (fault.vector, fault.error_code, fault.address, fault.regs.rax) == (vector, code, error.address, 5)
