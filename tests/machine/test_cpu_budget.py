"""The instruction budget ends what would never return, at the same place every time."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Generator, Iterator

import pytest

from kmem.machine import meter, trapcode, uc
from kmem.machine.cpu import Cpu, Outcome, OutOfBudget, Returned
from kmem.machine.fault import Regs
from kmem.machine.meter import BYTES_PER_INSTRUCTION, Meter
from kmem.machine.ram import Ram
from kmem.machine.trap import Call
from tests.machine.cpu_guest import CODE, COMMON, DIRECT, HEAP, IMAGE, STACK2_TOP, STACK_TOP, Guest, call_to, calling

MASK = (1 << 64) - 1
ENDLESS = {
    "jmp to itself": "ebfe",
    "three instructions": "ffc0 90 ebfb",  # 1: inc %eax; nop; jmp 1b
    "pause": "f390 ebfc",
    "rep over a huge count": "48b9ffffffffffffff0f f3ac c3",  # movabs $…,%rcx; rep lodsb
    "repne over a huge count": "48b9ffffffffffffff0f 31d2 b8ff000000 f2ae c3",  # repne scasb
    "endless recursion of jumps": "4831c0 4885c0 74fb",
    "loop instruction": "48c7c1ffffffff e2fe",
    "waits for memory": "488b07 4885c0 74f8 c3",  # 1: mov (%rdi),%rax; test %rax,%rax; je 1b
}


@pytest.fixture
def guest() -> Iterator[Guest]:
    machine = Guest()
    yield machine
    machine.close()


def endless(guest: Guest, code: str, budget: int) -> Regs:
    guest.write(HEAP, bytes(4096))
    outcome = guest.run(code, (DIRECT + HEAP, DIRECT + HEAP), budget=budget)
    assert isinstance(outcome, OutOfBudget), outcome
    return outcome.regs


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_code_is_stopped(guest: Guest, name: str) -> None:
    before = guest.cpu.meter.instructions
    code = ENDLESS[name]
    if code.endswith("f3ac c3"):
        code = code.replace("f3ac", "31d2 f3ac")
    budget = 1000 if "rep" in name else 100_000
    regs = endless(guest, code, budget)
    assert IMAGE + CODE <= regs.rip < IMAGE + CODE + 32
    assert guest.cpu.meter.instructions - before == budget


@pytest.mark.parametrize("name", ENDLESS)
def test_the_same_budget_stops_at_the_same_instruction(name: str) -> None:
    """In new machines, and in one that has run the code before."""
    stops = []
    for _ in range(2):
        machine = Guest()
        stops += [endless(machine, ENDLESS[name], 777) for _ in range(2)]
        machine.close()
    assert all(stop == stops[0] for stop in stops)


def test_a_run_goes_on_with_a_new_budget(guest: Guest) -> None:
    # mov $1000,%ecx; xor %eax,%eax; 1: add %rcx,%rax; dec %ecx; jnz 1b; ret
    code = "b9e8030000 31c0 4801c8 ffc9 75f9 c3"
    outcome: Outcome = guest.run(code, budget=100)
    stops = 0
    while isinstance(outcome, OutOfBudget):
        stops += 1
        outcome = guest.cpu.resume(outcome.regs, budget=100)
    assert (outcome, stops) == (Returned(500500), 17)


def test_any_budget_gives_the_right_sum(guest: Guest) -> None:
    code = "b964000000 31c0 4801c8 ffc9 75f9 c3"
    for budget in range(4, 60, 7):
        outcome: Outcome = guest.run(code, budget=budget)
        while isinstance(outcome, OutOfBudget):
            outcome = guest.cpu.resume(outcome.regs, budget=budget)
        assert outcome == Returned(5050)


def test_a_budget_that_ends_with_the_function_is_enough(guest: Guest) -> None:
    for instructions in range(1, 20):
        assert guest.run("90" * (4 * instructions - 1) + "c3", budget=instructions) == Returned(0)
        assert isinstance(guest.run("90" * (4 * instructions) + "c3", budget=instructions), OutOfBudget)


def test_stopped_blocks_are_not_executed(guest: Guest) -> None:
    """Memory shows what ran: inc (%rdi) and jump, in a loop."""
    guest.write(HEAP, bytes(8))
    outcome = guest.run("48ff07 ebfb", (DIRECT + HEAP,), budget=500)
    assert isinstance(outcome, OutOfBudget)
    assert guest.u64(HEAP) == 500 * BYTES_PER_INSTRUCTION // 5


def test_a_nested_run_cannot_exceed_what_its_outer_run_has_left(guest: Guest) -> None:
    seen = []

    def handler(_mailbox: memoryview) -> None:
        seen.append(guest.call(IMAGE + CODE + 0x800, stack=DIRECT + STACK2_TOP, budget=1 << 40))

    guest.code("ebfe", CODE + 0x800)
    outcome = guest.run(calling(guest.export(handler)), budget=5000)
    assert isinstance(outcome, OutOfBudget)
    assert [type(inner) for inner in seen] == [OutOfBudget]


def test_a_nested_run_is_charged_to_the_outer_one(guest: Guest) -> None:
    guest.code("ebfe", CODE + 0x800)

    def handler(_mailbox: memoryview) -> None:
        guest.call(IMAGE + CODE + 0x800, stack=DIRECT + STACK2_TOP, budget=1000)

    code = calling(*[guest.export(handler)] * 8)
    assert isinstance(guest.run(code, budget=7500), OutOfBudget)
    assert guest.run(code, budget=9500) == Returned(0)


def test_a_loop_of_traps_is_stopped(guest: Guest) -> None:
    calls = 0

    def handler(_mailbox: memoryview) -> None:
        nonlocal calls
        calls += 1

    loop = call_to(guest.export(handler)) + b"\xeb" + (256 - 15).to_bytes(1, "little")
    outcome = guest.run(b"\x50" + loop, budget=100_000)
    assert isinstance(outcome, OutOfBudget)
    assert 1000 < calls < 10_000
    first = calls
    guest.run(b"\x50" + loop, budget=100_000)
    assert calls == 2 * first


def test_instructions_are_counted_over_all_runs(guest: Guest) -> None:
    cpu = guest.cpu
    start = cpu.meter.instructions
    guest.run("90" * 399 + "c3")  # and the hlt behind it
    assert cpu.meter.instructions - start == 100
    guest.run("90" * 799 + "c3")
    assert cpu.meter.instructions - start == 300


def test_a_second_of_budget_takes_about_a_second(guest: Guest) -> None:
    begin = time.perf_counter()
    endless(guest, "ebfe", 10_000_000)
    assert time.perf_counter() - begin < 5


def test_counting_in_python_gives_the_same_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def stops() -> list[Regs]:
        machine = Guest()
        regs = [endless(machine, ENDLESS[name], 300) for name in ("three instructions", "rep over a huge count")]
        machine.close()
        return regs

    native = stops()
    monkeypatch.setattr(meter, "_MACHINE_CODE", {})
    assert stops() == native


def test_counting_in_python_counts_the_same() -> None:
    code = "b9e8030000 31c0 4801c8 ffc9 75f9 c3"
    counts = []
    for native in (True, False):
        ram = Ram(2 << 20)
        ram.mem[0x1000 : 0x1000 + len(bytes.fromhex(code))] = bytes.fromhex(code)
        engine = uc.Engine(uc.ARCH_X86, uc.MODE_64, model=uc.CPU_X86_WESTMERE)
        engine.map_ram(0, ram.size, ram.base)
        count = Meter(engine, native=native)
        ram.mem[0x1000 + len(bytes.fromhex(code)) - 1] = 0xF4
        count.begin(1 << 30)
        engine.start(0x1000)
        counts.append(count.instructions)
        engine.close()
        ram.close()
    assert counts[0] == counts[1] > 1000


def test_machine_code_for_arm_hosts_counts_and_stops() -> None:
    """The aarch64 counter is run on an emulated aarch64; the stop function there notes that it was called."""
    code = meter._MACHINE_CODE["aarch64"]
    engine = uc.Engine(uc.ARCH_ARM64, uc.MODE_ARM)
    memory = ctypes.create_string_buffer(0x3000)
    host = (ctypes.addressof(memory) + 0xFFF) & ~0xFFF
    ctypes.memmove(host, code, len(code))
    stop = bytes.fromhex("7f0400f9 c0035fd6")  # str xzr,[x3,#8]; ret
    ctypes.memmove(host + 0x100, stop, len(stop))
    engine.map_ram(0x1000, 0x1000, host)
    counter = (ctypes.c_uint64 * 4).from_address(host + 0x800)
    low, length = 0xFFFF_FFFF_8010_0000, 0x200
    outside, inside = (low - 1, low + length, 0x1000), (low, low + length - 1)
    x0, x30 = 199, 2
    cases = [(address, 40, 100, 60, False) for address in outside + inside]
    cases += [(address, 60, 60, 0, False) for address in outside + inside]
    cases += [(address, 8, 5, -3, True) for address in outside]
    cases += [(address, 8, 5, -3, False) for address in inside]
    cases += [(address, 8, -4088, -4096, False) for address in inside]
    cases += [(address, 8, -4089, -4097, True) for address in inside]
    for address, size, left, result, stopped in cases:
        counter[:] = [left & MASK, 0x1100, low, length]
        for register, value in enumerate((1, address, 0xFFFF_FFFF_0000_0000 | size, 0x1800), x0):
            engine.set_reg(register, value)
        engine.set_reg(x30, 0x1200)
        assert engine.start(0x1000, until=0x1200) == 0
        assert (counter[0], counter[1] == 0) == (result & MASK, stopped), (hex(address), left)
    engine.close()


def test_no_budget_ends_inside_the_trap_code() -> None:
    """Whatever the budget, and whatever other code runs between the slices, calls give the right results."""
    machine = Guest()
    low, high = IMAGE + COMMON, IMAGE + COMMON + len(machine.traps.code)
    plain = machine.export(lambda mailbox: mailbox[0] * 3)

    def handler(mailbox: memoryview) -> Generator[Call, int, int]:
        value = yield Call(plain, (mailbox[0] + 1,))
        return value + mailbox[0]

    program = machine.code(calling(plain, machine.export(handler), plain, machine.export(handler)))
    noise = machine.export(lambda mailbox: 0xBAD)
    stops = set()
    for budget in range(8, 200):
        outcome: Outcome = machine.call(program, (5,), budget=budget)
        while isinstance(outcome, OutOfBudget):
            rip = outcome.regs.rip
            assert not low <= rip < high
            stops.add(rip)
            assert machine.call(noise, (1, 2, 3, 4, 5, 6), stack=DIRECT + STACK2_TOP) == Returned(0xBAD)
            outcome = machine.cpu.resume(outcome.regs, budget=budget)
        assert outcome == Returned(6 * 3 + 5)
    assert len(stops) > 5
    machine.close()


def test_code_that_never_leaves_the_trap_code_is_stopped(guest: Guest) -> None:
    """A stack that sends it in circles there: of the address of a return instruction, over and over."""
    ret = IMAGE + COMMON + trapcode.label("go")
    guest.write(HEAP, ret.to_bytes(8, "little") * 8192)
    outcome = guest.cpu.resume(Regs(rip=ret, rsp=DIRECT + HEAP), budget=100)
    assert isinstance(outcome, OutOfBudget)
    assert (outcome.regs.rsp - DIRECT - HEAP) // 8 == 400 + 4096


def test_the_budget_code_is_never_writable_and_executable(guest: Guest) -> None:
    address = guest.cpu.meter._code.address
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, permissions = line.split()[:2]
            low, high = (int(end, 16) for end in span.split("-"))
            if low <= address < high:
                assert permissions.startswith("r-x")
                return
    raise AssertionError("the code is not mapped")


def test_cpu_runs_are_alike_in_every_respect() -> None:
    """Two machines, the same program with traps, faults and budgets: the same clock, registers and memory."""

    def program() -> tuple[object, ...]:
        machine = Guest()
        log: list[object] = []

        def handler(mailbox: memoryview) -> int:
            log.append((machine.clock.ns, mailbox[:8].tolist()))
            return len(log)

        code = calling(*[machine.export(handler)] * 5)
        log.append(machine.run(code, (1, 2, 3)))
        log.append(machine.run("488b07", (8,)))
        log.append(machine.run("ebfe", budget=12345))
        log.append(machine.run("0f31 c3"))
        log.append((machine.clock.ns, machine.cpu.meter.instructions, machine.ram.hash()))
        machine.close()
        return tuple(log)

    assert program() == program()


def test_stack_top_is_where_the_run_began(guest: Guest) -> None:
    outcome = guest.run("ebfe", budget=10)
    assert isinstance(outcome, OutOfBudget)
    assert outcome.regs.rsp == DIRECT + STACK_TOP - 8
    assert isinstance(guest.cpu, Cpu)
