"""How runs end, and what state they leave."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from kmem.errors import InternalError
from kmem.machine.cpu import DEFAULT_BUDGET, Cpu, Faulted, Outcome, OutOfBudget, Returned, Stopped
from kmem.machine.fault import BP, DB, DE, GP, PF, PF_INSTR, PF_PROT, PF_WRITE, UD, Fault, Regs
from kmem.machine.ram import Ram
from tests.machine.cpu_guest import (
    CODE,
    COMMON,
    CR3,
    DIRECT,
    HEAP,
    IMAGE,
    PAGES,
    PERCPU,
    STACK2_TOP,
    STACK_TOP,
    Guest,
    call_to,
    calling,
    movabs,
)

START = IMAGE + CODE
MASK = (1 << 64) - 1


@pytest.fixture
def guest() -> Iterator[Guest]:
    machine = Guest()
    yield machine
    machine.close()


def fault(outcome: Outcome) -> Fault:
    assert isinstance(outcome, Faulted), outcome
    return outcome.fault


def test_arguments_arrive_in_order_and_rax_comes_back(guest: Guest) -> None:
    # lea (%rdi,%rsi,2),%rax; lea (%rax,%rdx,4),%rax; lea (%rax,%rcx,8),%rax; imul $16,%r8,%r8; add %r8,%rax;
    # imul $32,%r9,%r9; add %r9,%rax; ret
    code = "488d0477 488d0490 488d04c8 4d6bc010 4c01c0 4d6bc920 4c01c8 c3"
    assert guest.run(code, (1, 10, 100, 1000, 10000, 100000)) == Returned(1 + 20 + 400 + 8000 + 160000 + 3200000)


def test_negative_arguments_are_two_s_complement(guest: Guest) -> None:
    assert guest.run("4889f8 c3", (-1,)) == Returned(MASK)  # mov %rdi,%rax; ret


def test_more_arguments_than_registers_lie_on_the_stack(guest: Guest) -> None:
    code = "488b442408 482b442410 c3"  # mov 8(%rsp),%rax; sub 16(%rsp),%rax; ret
    assert guest.run(code, (1, 2, 3, 4, 5, 6, 77, 11)) == Returned(66)


def test_the_stack_is_aligned_as_the_c_convention_says(guest: Guest) -> None:
    for stack in (STACK_TOP, STACK_TOP - 8, STACK_TOP - 15):
        outcome = guest.run("4889e0 c3", stack=DIRECT + stack)  # mov %rsp,%rax; ret
        assert isinstance(outcome, Returned)
        assert outcome.value % 16 == 8
        assert DIRECT + stack - 32 < outcome.value < DIRECT + stack


def test_a_stack_that_is_not_mapped_is_refused(guest: Guest) -> None:
    with pytest.raises(ValueError, match="no memory is mapped"):
        guest.run("c3", stack=PAGES + 0x3000)


def test_every_register_starts_as_zero(guest: Guest) -> None:
    assert guest.run(b"".join(movabs(n, 0x1111 * n) for n in (0, 1, 2, 3, 5, *range(8, 16))) + b"\xc3") == Returned(0)
    # xor %eax,%eax excluded: or all registers together but rsp; ret
    gather = "4809c8 4809d0 4809d8 4809e8 4809f0 4809f8 4c09c0 4c09c8 4c09d0 4c09d8 4c09e0 4c09e8 4c09f0 4c09f8 c3"
    assert guest.run(gather) == Returned(0)


def test_resume_runs_with_exactly_the_registers_given(guest: Guest) -> None:
    names = [name for name in Regs.__slots__ if name not in ("rip", "rsp", "eflags")]
    regs = Regs(rip=guest.code("0f0b"), rsp=DIRECT + STACK_TOP, eflags=0x246 | 0x8D5)
    for number, name in enumerate(names, 1):
        setattr(regs, name, 0x0101_0101_0101_0101 * number)
    got = fault(guest.cpu.resume(regs)).regs
    assert got.eflags == regs.eflags | 1 << 16, "the resume flag is set in what a fault saves"
    got.eflags = regs.eflags
    assert got == regs


def test_null_read_is_a_page_fault(guest: Guest) -> None:
    got = fault(guest.run("90 488b4718 c3", (0,)))  # nop; mov 0x18(%rdi),%rax
    assert (got.vector, got.error_code, got.address, got.regs.rip) == (PF, 0, 0x18, START + 1)


def test_write_to_a_page_that_is_not_present(guest: Guest) -> None:
    got = fault(guest.run("c60700 c3", (PAGES + 0x2FFF,)))  # movb $0,(%rdi)
    assert (got.vector, got.error_code, got.address) == (PF, PF_WRITE, PAGES + 0x2FFF)


def test_write_protection_holds_in_the_kernel(guest: Guest) -> None:
    address = PAGES + 0x1234
    assert guest.run("8a07 c3", (address,)) == Returned(0)  # mov (%rdi),%al
    got = fault(guest.run("8807 c3", (address,)))  # mov %al,(%rdi)
    assert (got.vector, got.error_code, got.address, got.regs.rip) == (PF, PF_PROT | PF_WRITE, address, START)


def test_no_execute_holds(guest: Guest) -> None:
    got = fault(guest.run("ffe7", (PAGES + 0x10,)))  # jmp *%rdi
    assert (got.vector, got.error_code) == (PF, PF_PROT | PF_INSTR)
    assert got.address == got.regs.rip == PAGES + 0x10


def test_jump_to_a_page_that_is_not_present(guest: Guest) -> None:
    got = fault(guest.run("ffe7", (0x6B6B,)))
    assert (got.vector, got.error_code, got.address, got.regs.rip) == (PF, PF_INSTR, 0x6B6B, 0x6B6B)


def test_reserved_bit_in_a_page_table_entry(guest: Guest) -> None:
    guest.set_page(9, 1 << 45 | 3)
    got = fault(guest.run("8a07 c3", (PAGES + 0x9000,)))
    assert (got.vector, got.error_code) == (PF, 8 | PF_PROT)


def test_faults_in_a_row_never_become_a_double_fault(guest: Guest) -> None:
    for turn in range(20):
        got = fault(guest.run("488b07 c3", (0x1000 * turn,)))
        assert (got.vector, got.address) == (PF, 0x1000 * turn)
        assert fault(guest.run("f7f1 c3")).vector == DE  # div %ecx
        assert fault(guest.run("488b07 c3", (1 << 63,))).vector == GP


def test_an_exception_that_seems_to_be_in_flight_makes_no_double_fault(guest: Guest) -> None:
    context, cpu = guest.cpu.save(), guest.cpu
    struct.pack_into("<i", context.raw(), cpu.exceptions.in_flight_at, PF)
    context.restore()
    got = fault(guest.run("90 488b07 c3", (0x18,)))
    assert (got.vector, got.error_code, got.address, got.regs.rip) == (PF, 0, 0x18, START + 1)


@pytest.mark.parametrize(
    ("address", "hint"), [(0x6B6B_6B6B_6B6B_6B6B, "poison"), (0x8000_0000_0000, "hole"), (1 << 63, "sign")]
)
def test_general_protection_knows_the_address(guest: Guest, address: int, hint: str) -> None:
    got = fault(guest.run("90 90 488b47f8 c3", (address + 8 & MASK,)))  # nop; nop; mov -8(%rdi),%rax
    assert (got.vector, got.error_code, got.address, got.regs.rip) == (GP, 0, address, START + 2), hint


def test_an_address_by_way_of_the_frame_pointer_is_a_stack_fault(guest: Guest) -> None:
    got = fault(guest.run(movabs(5, 0xDEAD_0000_0000_0122) + bytes.fromhex("488b4508 c3")))  # mov 8(%rbp),%rax
    assert (got.vector, got.error_code, got.address) == (12, 0, 0xDEAD_0000_0000_012A)


def test_a_bad_selector_is_a_general_protection_fault_with_an_error_code(guest: Guest) -> None:
    got = fault(guest.run("b833120000 8ee8 c3"))  # mov $0x1233,%eax; mov %eax,%gs
    assert (got.vector, got.error_code, got.address) == (GP, 0x1230, 0)


def test_ud2_and_going_on_behind_it(guest: Guest) -> None:
    got = fault(guest.run("bb07000000 0f0b 8d4301 c3"))  # mov $7,%ebx; ud2; lea 1(%rbx),%eax; ret
    assert (got.vector, got.error_code, got.address, got.regs.rip) == (UD, 0, 0, START + 5)
    got.regs.rip += 2
    assert guest.cpu.resume(got.regs) == Returned(8)


def test_instructions_that_the_cpu_does_not_have_are_undefined(guest: Guest) -> None:
    for name, code in {
        "rdrand": "0fc7f0",
        "rdseed": "0fc7f8",
        "rdtscp": "0f01f9",
        "vaddps ymm": "c5fc58c0",
        "clac": "0f01ca",
    }.items():
        assert fault(guest.run(code + "c3")).vector == UD, name


def test_sse_works(guest: Guest) -> None:
    # movq %rdi,%xmm0; paddq %xmm0,%xmm0; movq %xmm0,%rax; ret
    assert guest.run("66480f6ec7 660fd4c0 66480f7ec0 c3", (21,)) == Returned(42)


def test_divide_error(guest: Guest) -> None:
    got = fault(guest.run("31c9 89f8 99 f7f9 c3", (5,)))  # xor %ecx,%ecx; mov %edi,%eax; cltd; idiv %ecx
    assert (got.vector, got.error_code, got.regs.rip, got.regs.rax) == (DE, 0, START + 5, 5)


def test_int3_is_reported_behind_the_instruction(guest: Guest) -> None:
    got = fault(guest.run("90 cc c3"))
    assert (got.vector, got.regs.rip, got.regs.eflags & 1 << 16) == (BP, START + 2, 0)
    assert isinstance(guest.cpu.resume(got.regs), Returned)


def test_single_step_flag(guest: Guest) -> None:
    # pushf; orl $0x100,(%rsp); popf; nop; ret
    assert fault(guest.run("9c 810c2400010000 9d 90 c3")).vector == DB


@pytest.mark.parametrize("number", [0x0E, 0x0D, 0x80])
def test_software_interrupts_are_no_faults(guest: Guest, number: int) -> None:
    outcome = guest.run(bytes((0xCD, number, 0xC3)))
    assert isinstance(outcome, Stopped)
    assert (outcome.reason, outcome.regs.rip) == (f"int {number:#x}", START + 2)


@pytest.mark.parametrize(("code", "reason"), [("f4", "hlt"), ("0f05", "syscall"), ("0f34", "sysenter")])
def test_instructions_that_stop_a_run(guest: Guest, code: str, reason: str) -> None:
    outcome = guest.run("90" + code + "c3")
    assert isinstance(outcome, Stopped)
    assert outcome.reason == reason
    assert guest.run("c3") == Returned(0)


def test_changed_control_registers_are_reported_and_put_back(guest: Guest) -> None:
    outcome = guest.run("0f20c0 480fbaf010 0f22c0 c3")  # mov %cr0,%rax; btr $16,%rax; mov %rax,%cr0; ret
    assert isinstance(outcome, Stopped)
    assert outcome.reason == "the code changed CR0 from 0x80050033 to 0x80040033"
    assert fault(guest.run("8807 c3", (PAGES + 0x1000,))).error_code == PF_PROT | PF_WRITE


def test_page_tables_that_the_code_replaced_are_put_back_after_the_fault(guest: Guest) -> None:
    got = fault(guest.run("bf00a00000 0f22df 90 c3"))  # mov $0xa000,%edi; mov %rdi,%cr3: nothing is mapped there
    assert (got.vector, got.error_code, got.regs.rip) == (PF, PF_INSTR, START + 8)
    assert (guest.run("c3"), guest.cpu.cr3) == (Returned(0), CR3)


def test_swapgs_is_found_out(guest: Guest) -> None:
    outcome = guest.run("0f01f8 c3")
    assert isinstance(outcome, Stopped)
    assert outcome.reason == f"the code changed gs base from {DIRECT + PERCPU:#x} to 0x0"
    assert guest.cpu.gs_base == DIRECT + PERCPU


@pytest.mark.parametrize(
    "code", ["48c7c101000000 4883e0ff 480f07", "6a2b 57 6a02 6a33 57 48cf"], ids=["sysret", "iret"]
)
def test_code_that_leaves_the_kernel_s_privilege_level_does_not_harm_later_runs(guest: Guest, code: str) -> None:
    outcome = guest.run(code, (START,))
    assert isinstance(outcome, Faulted | Stopped)
    assert guest.run(movabs(0, 77) + b"\xc3") == Returned(77)
    got = fault(guest.run("488b07", (8,)))
    assert (got.vector, got.error_code) == (PF, 0), "the access was not the user's"


def test_device_memory_without_a_device_reads_as_ones(guest: Guest) -> None:
    guest.set_page(7, 0xFEE0_0000 | 0x13)
    # mov (%rdi),%rax; movl $5,8(%rdi); ret
    assert guest.run("488b07 c7470805000000 c3", (PAGES + 0x7000,)) == Returned(MASK)


def test_a_device_answers_memory_and_ports(guest: Guest) -> None:
    seen: list[tuple[object, ...]] = []

    class Device:
        def read(self, phys: int, size: int) -> int:
            seen.append(("read", phys, size))
            return 0x1234

        def write(self, phys: int, size: int, value: int) -> None:
            seen.append(("write", phys, size, value))

        def port_in(self, port: int, size: int) -> int:
            seen.append(("in", port, size))
            return 0x77

        def port_out(self, port: int, size: int, value: int) -> None:
            seen.append(("out", port, size, value))

    guest.cpu.bus = Device()
    guest.set_page(7, 0xFEE0_0000 | 0x13)
    assert guest.run("8b07 c6470805 c3", (PAGES + 0x7010,)) == Returned(0x1234)
    # mov $0x3f8,%edx; mov $0x41,%al; out %al,(%dx); xor %eax,%eax; in (%dx),%al; ret
    assert guest.run("baf8030000 b041 ee 31c0 ec c3") == Returned(0x77)
    assert seen == [
        ("read", 0xFEE0_0010, 4),
        ("write", 0xFEE0_0018, 1, 5),
        ("out", 0x3F8, 1, 0x41),
        ("in", 0x3F8, 1),
    ]


def test_what_a_device_raises_comes_out_of_run(guest: Guest) -> None:
    class Broken:
        def read(self, phys: int, size: int) -> int:
            raise LookupError("read")

        def write(self, phys: int, size: int, value: int) -> None:
            raise LookupError("write")

        def port_in(self, port: int, size: int) -> int:
            raise LookupError("in")

        def port_out(self, port: int, size: int, value: int) -> None:
            raise LookupError("out")

    guest.cpu.bus = Broken()
    guest.set_page(7, 0xFEE0_0000 | 0x13)
    for what, code in {"read": "8b07", "write": "8907", "in": "ec", "out": "ee"}.items():
        with pytest.raises(LookupError, match=what):
            guest.run(code + "ebfe", (PAGES + 0x7000,))
    assert guest.run("c3") == Returned(0)


def test_ports_without_a_device_read_as_ones(guest: Guest) -> None:
    assert guest.run("31c0 e570 c3") == Returned(0xFFFF_FFFF)  # in $0x70,%eax


def test_executing_device_memory_stops(guest: Guest) -> None:
    guest.set_page(7, 0xFEE0_0000 | 3)
    outcome = guest.run("ffe7", (PAGES + 0x7000,))
    assert isinstance(outcome, Stopped)
    assert outcome.reason == "instruction fetch from device memory"


def test_gs_reaches_the_per_cpu_area(guest: Guest) -> None:
    guest.write(PERCPU + 0x40, (77).to_bytes(8, "little"))
    code = "65488b042540000000 c3"  # mov %gs:0x40,%rax; ret
    assert guest.run(code) == Returned(77)
    guest.write(HEAP + 0x40, (88).to_bytes(8, "little"))
    guest.cpu.set_gs_base(DIRECT + HEAP)
    assert guest.run(code) == Returned(88)


def test_new_code_is_seen_once_it_is_announced(guest: Guest) -> None:
    for value in range(5):
        guest.write(CODE, movabs(0, value) + b"\xc3")
        guest.cpu.code_written(START, 11)
        assert guest.call(START) == Returned(value)


def test_code_is_forgotten_by_physical_page_whatever_its_address(guest: Guest) -> None:
    guest.set_page(10, CODE | 1)
    guest.write(CODE, movabs(0, 1) + b"\xc3")
    assert guest.call(PAGES + 0xA000) == Returned(1)
    guest.write(CODE, movabs(0, 2) + b"\xc3")
    guest.cpu.code_written(START, 11)
    assert guest.call(PAGES + 0xA000) == Returned(2)


def test_code_that_writes_code_is_seen_at_once(guest: Guest) -> None:
    target = guest.code(movabs(0, 1) + b"\xc3", CODE + 0x800)
    assert guest.call(target) == Returned(1)
    assert guest.run("c6470205" + "ffe7", (target,)) == Returned(5)  # movb $5,2(%rdi); jmp *%rdi


def test_announcing_addresses_that_are_not_executable_is_harmless(guest: Guest) -> None:
    def announce(_mailbox: memoryview) -> None:
        guest.cpu.code_written(PAGES - 0x2000, 0x8000)
        guest.cpu.code_written(0, 0x1000)

    assert guest.run(calling(guest.export(announce))) == Returned(0)


def test_code_can_be_replaced_from_a_trap_while_it_runs(guest: Guest) -> None:
    callee = guest.code(movabs(0, 1) + b"\xc3", CODE + 0x800)

    def replace(_mailbox: memoryview) -> None:
        guest.write(CODE + 0x800, movabs(0, 2) + b"\xc3")
        guest.cpu.code_written(callee, 11)

    assert guest.run(calling(callee, guest.export(replace), callee)) == Returned(2)


def test_rollback_needs_a_flush_and_nothing_else(guest: Guest) -> None:
    code = guest.code(movabs(0, 1) + b"\xc3", CODE + 0x800)
    guest.ram.snapshot()
    guest.code(movabs(0, 2) + b"\xc3", CODE + 0x800)
    guest.set_page(0, 0)
    guest.cpu.flush_tlb()
    assert guest.call(code) == Returned(2)
    assert fault(guest.run("8a07c3", (PAGES,))).vector == PF
    guest.ram.rollback()
    guest.cpu.flush_code()
    assert guest.call(code) == Returned(1)
    assert guest.run("8a07c3", (PAGES,)) == Returned(0)


def test_code_is_not_flushed_under_a_running_guest(guest: Guest) -> None:
    with pytest.raises(InternalError, match="flushed while it runs"):
        guest.run(calling(guest.export(lambda _mailbox: guest.cpu.flush_code())))
    guest.cpu.flush_code()


def test_the_tlb_keeps_entries_until_it_is_flushed(guest: Guest) -> None:
    assert guest.run("8a07c3", (PAGES,)) == Returned(0)
    guest.set_page(0, 0)
    guest.cpu.flush_tlb()
    got = fault(guest.call(START, (PAGES,)))
    assert (got.vector, got.address) == (PF, PAGES)


def test_virtual_cpus_share_the_engine(guest: Guest) -> None:
    one = guest.cpu.save()
    guest.cpu.set_gs_base(DIRECT + HEAP)
    guest.run("660f76c0 c3")  # pcmpeqd %xmm0,%xmm0: all ones
    two = guest.cpu.save()
    read = "66480f7ec0 c3"  # movq %xmm0,%rax; ret
    guest.cpu.restore(one)
    assert (guest.cpu.gs_base, guest.run(read)) == (DIRECT + PERCPU, Returned(0))
    guest.cpu.restore(two)
    assert (guest.cpu.gs_base, guest.run(read)) == (DIRECT + HEAP, Returned(MASK))


def test_cpus_are_not_switched_while_guest_code_runs(guest: Guest) -> None:
    context = guest.cpu.save()
    with pytest.raises(InternalError, match="switched while guest code runs"):
        guest.run(calling(guest.export(lambda _mailbox: guest.cpu.restore(context))))


def test_time_stamp_counter_is_the_simulated_one(guest: Guest) -> None:
    code = "0f31 48c1e220 4809d0 c3"  # rdtsc; shl $32,%rdx; or %rdx,%rax; ret
    guest.clock.set(5_000_000_000)
    outcome = guest.run(code)
    assert isinstance(outcome, Returned)
    assert 10_000_000_000 <= outcome.value < 10_000_000_100


def test_cpuid_names_no_features_that_are_missing(guest: Guest) -> None:
    # push %rbx; mov %edi,%eax; xor %ecx,%ecx; cpuid; mov %rcx,%rax; pop %rbx; ret
    outcome = guest.run("53 89f8 31c9 0fa2 4889c8 5b c3", (1,))
    assert isinstance(outcome, Returned)
    features = outcome.value
    for name, bit in {"sse3": 0, "sse4.2": 20, "popcnt": 23, "hypervisor": 31}.items():
        assert features >> bit & 1, name
    for name, bit in {"avx": 28, "xsave": 26, "rdrand": 30}.items():
        assert not features >> bit & 1, name


def test_two_machines_do_not_disturb_each_other() -> None:
    machines = [Guest(), Guest()]
    for turn in range(3):
        for number, machine in enumerate(machines):
            assert machine.run(movabs(0, 10 * turn + number) + b"\xc3") == Returned(10 * turn + number)
    for machine in machines:
        machine.close()


def test_a_cpu_works_without_clock_and_traps() -> None:
    ram = Ram(2 << 20)
    tables = {0x1000 + 8 * 511: 0x2003, 0x2000 + 8 * 510: 0x3003, 0x3000: 0x83}
    for at, entry in tables.items():
        ram.mem[at : at + 8] = entry.to_bytes(8, "little")
    ram.mem[0x5000:0x5004] = bytes.fromhex("89f8 c3 f4")  # mov %edi,%eax; ret; hlt
    cpu = Cpu(ram, cr3=0x1000, return_to=IMAGE + 0x5003)
    assert cpu.run(IMAGE + 0x5000, (9,), stack=IMAGE + 0x9000) == Returned(9)
    ram.mem[0x6000:0x6003] = bytes.fromhex("0f31 c3")
    assert cpu.run(IMAGE + 0x6000, stack=IMAGE + 0x9000) == Returned(0)
    cpu.close()
    ram.close()


def test_more_ram_than_address_lines_is_refused() -> None:
    class Huge:
        size = (1 << 40) + 1

    with pytest.raises(ValueError, match="40 address lines"):
        Cpu(Huge(), cr3=0)  # type: ignore[arg-type]


def test_default_budget_is_enough_for_long_loops(guest: Guest) -> None:
    # mov $3000000,%ecx; 1: dec %ecx; jnz 1b; mov %ecx,%eax; ret
    assert DEFAULT_BUDGET == 100_000_000
    assert guest.run("b9c0c62d00 ffc9 75fc 89c8 c3") == Returned(0)


def test_nested_runs_are_limited(guest: Guest) -> None:
    deepest = 0

    def handler(_mailbox: memoryview) -> int:
        nonlocal deepest
        deepest = max(deepest, guest.cpu.depth)
        outcome = guest.call(IMAGE + CODE, stack=DIRECT + STACK_TOP - 0x400 * guest.cpu.depth)
        assert isinstance(outcome, Returned)
        return outcome.value + 1

    with pytest.raises(InternalError, match="16 levels deep"):
        guest.run(calling(guest.export(handler)))
    assert (deepest, guest.cpu.depth) == (16, 0)
    assert guest.run("c3") == Returned(0)


def test_a_nested_run_leaves_the_outer_one_as_it_was(guest: Guest) -> None:
    inner = {
        "returns": "c3",
        "faults": "488b042500000000 c3",
        "halts": "f4",
        "loops": "ebfe",
        "undefined": "0f0b",
        "flags and xmm": "fd 660f76c0 31db 31ed 4d31e4 c3",
    }
    addresses = {name: guest.code(code, CODE + 0x800 + 0x20 * n) for n, (name, code) in enumerate(inner.items())}
    outcomes = []

    def handler(mailbox: memoryview) -> int:
        for address in addresses.values():
            outcomes.append(guest.call(address, stack=DIRECT + STACK2_TOP, budget=1000))
        return mailbox[0] + 1

    # mov $0x55,%ebx; mov $0x66,%ebp; mov $0x77,%r12d; movq %rbx,%xmm0; stc; call handler; setc kept; …
    code = bytes.fromhex("53 55 4154 bb55000000 bd66000000 41bc77000000 66480f6ec3") + call_to(guest.export(handler))
    # shl $8,%rax; or %rbx,%rax; shl $8; or %rbp; shl $8; or %r12; movq %xmm0,%rdx; shl $8,%rax; or %rdx,%rax
    code += bytes.fromhex("48c1e008 4809d8 48c1e008 4809e8 48c1e008 4c09e0 66480f7ec2 48c1e008 4809d0 415c 5d 5b c3")
    for _ in range(3):
        outcomes.clear()
        assert guest.run(code, (0x10,)) == Returned(0x11_55_66_77_55)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [Returned, Faulted, Stopped, OutOfBudget, Faulted, Returned]


def test_the_trap_code_stays_where_it_was_put(guest: Guest) -> None:
    size = len(guest.traps.code)
    assert bytes(guest.ram.mem[COMMON : COMMON + size]) == guest.traps.code
