"""Calls from guest code to Python handlers and back."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Any

import pytest

from kmem.errors import InternalError
from kmem.machine.cpu import EndRun, Faulted, OutOfBudget, Returned, Stopped
from kmem.machine.fault import GP, PF, PF_INSTR, PF_PROT, PF_WRITE, AccessFault, Fault
from kmem.machine.trap import Call, Switch
from kmem.machine.trapcode import CALLER, R10, R11, RAX, RSP
from tests.machine.cpu_guest import (
    CODE,
    DIRECT,
    HEAP,
    IMAGE,
    MAILBOX,
    STACK2_TOP,
    STACK_TOP,
    Guest,
    call_to,
    calling,
    movabs,
)

Mailbox = memoryview
Guestly = Generator[Any, Any, int | None]
MASK = (1 << 64) - 1


@pytest.fixture
def guest() -> Iterator[Guest]:
    machine = Guest()
    yield machine
    machine.close()


def fault(outcome: object) -> Fault:
    assert isinstance(outcome, Faulted), outcome
    return outcome.fault


# Plain handlers


def test_a_handler_sees_six_arguments_the_stack_and_the_caller(guest: Guest) -> None:
    seen: list[list[int]] = []
    export = guest.export(lambda mailbox: seen.append(mailbox[:8].tolist()))
    args = (1, 2, 3, 4, 5, MASK)
    # call through a function, so that the return address is known: sub $8,%rsp; call; add $8,%rsp; ret
    code = bytes.fromhex("4883ec08") + call_to(export)
    assert guest.run(code + bytes.fromhex("4883c408 c3"), args) == Returned(0)
    assert seen == [[*args, DIRECT + STACK_TOP - 24, IMAGE + CODE + len(code)]]


@pytest.mark.parametrize(
    ("result", "rax"), [(0, 0), (5, 5), (-12, MASK - 11), (1 << 64, 0), (None, 0), (True, 1), (MASK, MASK)]
)
def test_results_are_cut_to_64_bits(guest: Guest, result: int | None, rax: int) -> None:
    assert guest.run(calling(guest.export(lambda _mailbox: result))) == Returned(rax)


def test_registers_that_c_preserves_are_preserved(guest: Guest) -> None:
    def clobber(mailbox: Mailbox) -> int:
        return mailbox[0]

    save = bytes.fromhex("53 55 4154 4155 4156 4157 4883ec08")  # push rbx rbp r12 r13 r14 r15; sub $8,%rsp
    load = b"".join(movabs(number, number * 0x0101_0101_0101_0101) for number in (3, 5, 12, 13, 14, 15))
    # xor them all into rax
    fold = bytes.fromhex("4831d8 4831e8 4c31e0 4c31e8 4c31f0 4c31f8")
    restore = bytes.fromhex("4883c408 415f 415e 415d 415c 5d 5b c3")
    want = 0x55
    for number in (3, 5, 12, 13, 14, 15):
        want ^= number * 0x0101_0101_0101_0101
    assert guest.run(save + load + call_to(guest.export(clobber)) + fold + restore, (0x55,)) == Returned(want)


def test_rax_is_there_for_variable_arguments(guest: Guest) -> None:
    seen = []
    export = guest.export(lambda mailbox: seen.append(mailbox[RAX]))
    guest.run(bytes.fromhex("50") + movabs(0, 0x1234_5678_9ABC_DEF0) + call_to(export) + bytes.fromhex("59 c3"))
    assert seen == [0x1234_5678_9ABC_DEF0]


def test_every_stub_has_its_own_handler(guest: Guest) -> None:
    exports = [guest.export(lambda mailbox, n=n: mailbox[0] * 100 + n) for n in range(300)]  # type: ignore[misc]
    for number in (0, 1, 127, 128, 255, 299):
        assert guest.call(exports[number], (7,)) == Returned(700 + number)


def test_exports_can_be_added_while_guest_code_runs(guest: Guest) -> None:
    def late(_mailbox: Mailbox) -> int:
        return guest.export(lambda mailbox: mailbox[0] + 1)

    # call late; mov %rax,%r10; mov %rbx,%rdi; call *%r10
    code = bytes.fromhex("53 4889fb") + call_to(guest.export(late)) + bytes.fromhex("4989c2 4889df 41ffd2 5b c3")
    assert guest.run(code, (41,)) == Returned(42)


def test_time_passes_with_every_trap(guest: Guest) -> None:
    times: list[int] = []
    export = guest.export(lambda _mailbox: times.append(guest.clock.ns))
    guest.run(calling(*[export] * 4))
    steps = [after - before for before, after in pairwise(times)]
    assert max(steps) - min(steps) <= 1, "time is counted in bytes of code and rounded"
    assert 10 <= min(steps) <= 60


# Errors


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("y"), KeyboardInterrupt(), SystemExit(3), IndexError("z")])
def test_what_a_handler_raises_comes_out_of_run(guest: Guest, error: BaseException) -> None:
    after: list[int] = []

    def raiser(_mailbox: Mailbox) -> int:
        raise error

    code = calling(guest.export(raiser), guest.export(lambda mailbox: after.append(mailbox[0])))
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            guest.run(code)
        assert caught.value is error
        assert caught.traceback[-1].name == "raiser"
    assert after == []
    assert guest.run("c3") == Returned(0)


def test_nothing_is_printed_by_ctypes(guest: Guest, capfd: pytest.CaptureFixture[str]) -> None:
    def raiser(_mailbox: Mailbox) -> int:
        raise ValueError("quiet")

    with pytest.raises(ValueError, match="quiet"):
        guest.run(calling(guest.export(raiser)))
    assert capfd.readouterr() == ("", "")


def test_an_error_passes_through_nested_runs(guest: Guest) -> None:
    def raiser(_mailbox: Mailbox) -> int:
        raise LookupError("inner")

    inner = guest.code(calling(guest.export(raiser)), CODE + 0x800)

    def outer(_mailbox: Mailbox) -> int:
        guest.call(inner, stack=DIRECT + STACK2_TOP)
        raise AssertionError("unreachable")

    with pytest.raises(LookupError, match="inner"):
        guest.run(calling(guest.export(outer)))
    assert guest.cpu.depth == 0


def test_a_handler_may_catch_the_error_of_a_nested_run(guest: Guest) -> None:
    def raiser(_mailbox: Mailbox) -> int:
        raise LookupError("inner")

    inner = guest.code(calling(guest.export(raiser)), CODE + 0x800)

    def outer(mailbox: Mailbox) -> int:
        try:
            guest.call(inner, (9, 9, 9), stack=DIRECT + STACK2_TOP)
        except LookupError:
            return mailbox[0] + 1
        return 0

    assert guest.run(calling(guest.export(outer)), (5,)) == Returned(6)


@pytest.mark.parametrize(
    ("error", "vector", "code"),
    [
        (AccessFault(0x18, 8, "read"), PF, 0),
        (AccessFault(0x18, 8, "write"), PF, PF_WRITE),
        (AccessFault(0xFFFF_C900_0000_1000, 1, "write", present=True), PF, PF_WRITE | PF_PROT),
        (AccessFault(0xFFFF_C900_0000_0000, 1, "exec", present=True), PF, PF_INSTR | PF_PROT),
        (AccessFault(0x6B6B_6B6B_6B6B_6B6B, 8, "read"), GP, 0),
    ],
)
def test_an_access_fault_is_a_fault_at_the_function(guest: Guest, error: AccessFault, vector: int, code: int) -> None:
    def toucher(_mailbox: Mailbox) -> int:
        raise error

    export = guest.export(toucher)
    program = bytes.fromhex("53") + movabs(3, 0x3333) + movabs(12, 0xCCCC) + call_to(export) + bytes.fromhex("5b c3")
    got = fault(guest.run(program, (1, 2, 3, 4, 5, 6)))
    assert (got.vector, got.error_code, got.address) == (vector, code, error.address)
    r = got.regs
    assert (r.rdi, r.rsi, r.rdx, r.rcx, r.r8, r.r9) == (1, 2, 3, 4, 5, 6)
    assert (r.rip, r.rbx, r.r12, r.r10, r.rsp) == (export, 0x3333, 0xCCCC, export, DIRECT + STACK_TOP - 24)
    assert guest.u64(r.rsp - DIRECT) == IMAGE + CODE + len(program) - 2
    assert guest.run("c3") == Returned(0)


def test_an_access_fault_in_a_generator_shows_the_registers_of_its_own_call(guest: Guest) -> None:
    other = guest.export(lambda mailbox: mailbox[0])

    def toucher(_mailbox: Mailbox) -> Guestly:
        yield Call(other, (77, 78, 79))
        raise AccessFault(0x10, 4, "read")

    export = guest.export(toucher)
    r = fault(guest.run(calling(export), (5, 6))).regs
    assert (r.rip, r.rdi, r.rsi) == (export, 5, 6)


def test_a_handler_can_end_the_run_with_an_outcome(guest: Guest) -> None:
    ending = Faulted(Fault(6))

    def bug(_mailbox: Mailbox) -> int:
        raise EndRun(ending)

    assert guest.run(calling(guest.export(bug))) is ending


def test_the_trap_port_cannot_be_abused(guest: Guest) -> None:
    for index in (0, 5, 0xFFFF_FFFF):
        # mov $index,%eax; out %eax,$0xeb; jmp .
        outcome = guest.run(b"\xb8" + index.to_bytes(4, "little") + bytes.fromhex("e7eb ebfe"), budget=1000)
        assert isinstance(outcome, Stopped), index
        assert outcome.reason == "the code wrote to the port of kmem's own traps"
    guest.write(MAILBOX, bytes(192))
    assert guest.run("c3") == Returned(0)


def test_registers_at_the_entry_of_what_is_served(guest: Guest) -> None:
    seen = []
    export = guest.export(lambda _mailbox: seen.append((guest.traps.stub, guest.traps.registers())))
    guest.run(calling(export), (0xAAAA, 0xBBBB))
    ((stub, regs),) = seen
    assert stub == regs.rip == export
    assert (regs.rdi, regs.rsi, regs.rbx) == (0xAAAA, 0xBBBB, 0xAAAA)
    assert guest.u64(regs.rsp - DIRECT) == guest.traps.words[CALLER]


# Handlers that call guest code


def test_a_generator_calls_guest_code(guest: Guest) -> None:
    double = guest.code("488d043f c3", CODE + 0x800)  # lea (%rdi,%rdi),%rax; ret

    def handler(mailbox: Mailbox) -> Guestly:
        first = yield Call(double, (mailbox[0],))
        second = yield Call(double, (first,))
        return first + second + mailbox[1]

    assert guest.run(calling(guest.export(handler)), (10, 7)) == Returned(20 + 40 + 7)


def test_a_call_passes_six_arguments_and_an_aligned_stack(guest: Guest) -> None:
    # the guest function returns what the six arguments and the stack pointer give
    target = guest.code("488d0477 488d0490 488d04c8 4d6bc010 4c01c0 4d6bc920 4c01c8 c3", CODE + 0x800)
    stack = guest.code("4889e0 c3", CODE + 0x900)

    def handler(_mailbox: Mailbox) -> Guestly:
        total = yield Call(target, (1, 10, 100, 1000, 10000, 100000))
        rsp = yield Call(stack)
        assert rsp % 16 == 8
        return total

    assert guest.run(calling(guest.export(handler))) == Returned(1 + 20 + 400 + 8000 + 160000 + 3200000)


def test_a_generator_that_yields_nothing_is_a_plain_handler(guest: Guest) -> None:
    def handler(mailbox: Mailbox) -> Guestly:
        if mailbox[0]:
            yield Call(0)
        return 3

    assert guest.run(calling(guest.export(handler)), (0,)) == Returned(3)


def test_anything_with_fn_and_args_is_a_call(guest: Guest) -> None:
    class Request:
        fn = guest.code("89f8 c3", CODE + 0x800)
        args = (-2,)

    def handler(_mailbox: Mailbox) -> Guestly:
        return (yield Request())

    assert guest.run(calling(guest.export(handler))) == Returned(0xFFFF_FFFE)


def test_a_call_may_trap_and_the_mailbox_is_still_the_handler_s_own(guest: Guest) -> None:
    leaf = guest.export(lambda mailbox: mailbox[0] + 1)
    callback = guest.code(calling(leaf, leaf), CODE + 0x800)

    def handler(mailbox: Mailbox) -> Guestly:
        before = mailbox[:8].tolist()
        value = yield Call(callback, (100,))
        assert mailbox[:8].tolist() == before
        return value + mailbox[0]

    assert guest.run(calling(guest.export(handler)), (7, 8, 9)) == Returned(101 + 7)


def test_callbacks_nest_to_depth_fifty_without_nesting_the_emulator(guest: Guest) -> None:
    depths = []

    def handler(mailbox: Mailbox) -> Guestly:
        depths.append(guest.cpu.depth)
        depth = mailbox[0]
        if depth == 50:
            return 1
        below = yield Call(recurse, (depth + 1,))
        assert mailbox[0] == depth
        return below + 1

    export = guest.export(handler)
    recurse = guest.code(calling(export), CODE + 0x800)
    assert guest.call(recurse, (1,)) == Returned(50)
    assert depths == [1] * 50


def test_recursion_without_end_runs_into_the_end_of_the_stack(guest: Guest) -> None:
    def handler(mailbox: Mailbox) -> Guestly:
        return (yield Call(recurse, (mailbox[0] + 1,)))

    export = guest.export(handler)
    recurse = guest.code(calling(export), CODE + 0x800)
    low, high = 0xFFFF_C900_0000_4000, 0xFFFF_C900_0000_5000
    got = fault(guest.call(recurse, (1,), stack=high))
    assert (got.vector, got.address) == (PF, low - 8)
    assert guest.traps.unwind(low, high) > 20
    assert guest.traps.unwind(low, high) == 0


def test_a_fault_in_a_callback_ends_the_run_there(guest: Guest) -> None:
    closed = []
    bad = guest.code("90 488b042518000000 c3", CODE + 0x800)

    def handler(_mailbox: Mailbox) -> Guestly:
        try:
            yield Call(bad)
        finally:
            closed.append(True)
        return 0

    got = fault(guest.run(calling(guest.export(handler))))
    assert (got.address, got.regs.rip) == (0x18, bad + 1)
    assert closed == []
    assert guest.traps.unwind(DIRECT + STACK_TOP - 0x1000, DIRECT + STACK_TOP) == 1
    assert closed == [True]


def test_a_callback_that_was_stopped_can_go_on(guest: Guest) -> None:
    warn = guest.code("0f0b b805000000 c3", CODE + 0x800)  # ud2; mov $5,%eax; ret
    slow = guest.code("b900100000 ffc9 75fc 89c8 c3", CODE + 0x900)

    def handler(_mailbox: Mailbox) -> Guestly:
        five = yield Call(warn)
        zero = yield Call(slow)
        return five * 10 + zero

    got = fault(guest.run(calling(guest.export(handler)), budget=1 << 20))
    assert got.vector == 6
    got.regs.rip += 2
    outcome = guest.cpu.resume(got.regs, budget=100)
    while isinstance(outcome, OutOfBudget):
        outcome = guest.cpu.resume(outcome.regs, budget=100)
    assert outcome == Returned(50)


def test_what_a_generator_raises_comes_out_of_run(guest: Guest) -> None:
    nothing = guest.code("c3", CODE + 0x800)

    def handler(_mailbox: Mailbox) -> Guestly:
        yield Call(nothing)
        raise LookupError("late")

    for _ in range(2):
        with pytest.raises(LookupError, match="late"):
            guest.run(calling(guest.export(handler)))


def test_plain_handlers_may_run_the_cpu_themselves(guest: Guest) -> None:
    leaf = guest.export(lambda mailbox: mailbox[0] * 2)
    callback = guest.code(calling(leaf), CODE + 0x800)

    def handler(mailbox: Mailbox) -> int:
        before = mailbox[:8].tolist()
        outcome = guest.call(callback, (21,), stack=DIRECT + STACK2_TOP)
        assert isinstance(outcome, Returned)
        assert mailbox[:8].tolist() == before
        return outcome.value

    assert guest.run(calling(guest.export(handler)), (3,)) == Returned(42)


def test_generators_and_nested_runs_mix(guest: Guest) -> None:
    double = guest.code("488d043f c3", CODE + 0x800)

    def inner(mailbox: Mailbox) -> Guestly:
        return (yield Call(double, (mailbox[0],)))

    inner_export = guest.export(inner)

    def outer(mailbox: Mailbox) -> Guestly:
        outcome = guest.call(inner_export, (mailbox[0],), stack=DIRECT + STACK2_TOP)
        assert isinstance(outcome, Returned)
        again = yield Call(inner_export, (outcome.value,))
        return again + mailbox[0]

    assert guest.run(calling(guest.export(outer)), (5,)) == Returned(25)


# Functions with registers of their own


def test_exact_stubs_change_no_register_but_rax(guest: Guest) -> None:
    seen = []

    def handler(mailbox: Mailbox) -> int:
        seen.append([mailbox[word] for word in (0, 1, 2, 3, 4, 5, RAX, R10, R11, RSP, CALLER)])
        return 0x1111

    export = guest.export(handler, exact=True)
    numbers = {7: 0, 6: 1, 2: 2, 1: 3, 8: 4, 9: 5, 0: 6, 10: 7, 11: 8}
    values = {register: 0x0101_0101_0101_0101 * (place + 1) for register, place in numbers.items()}
    load = b"".join(movabs(register, value) for register, value in values.items())
    call = b"\xe8" + (export - (IMAGE + CODE + 1 + len(load) + 5) & 0xFFFF_FFFF).to_bytes(4, "little")
    assert isinstance(guest.run(b"\x53" + load + call + b"\x0f\x0b"), Faulted)
    regs = fault(guest.run(b"\x53" + load + call + b"\x0f\x0b")).regs
    names = ("rdi", "rsi", "rdx", "rcx", "r8", "r9", "rax", "r10", "r11")
    want = [0x0101_0101_0101_0101 * (place + 1) for place in range(9)]
    rsp = DIRECT + STACK_TOP - 24
    assert seen[-1] == [*want, rsp, IMAGE + CODE + 1 + len(load) + 5]
    assert [getattr(regs, name) for name in names] == [*want[:6], 0x1111, *want[7:]]
    assert regs.rsp == rsp + 8


def test_exact_handlers_may_change_argument_registers(guest: Guest) -> None:
    def get_user(mailbox: Mailbox) -> int:
        mailbox[2] = 0x42
        return -14

    code = calling(guest.export(get_user, exact=True))[:-2] + bytes.fromhex("4889d0 5b c3")  # mov %rdx,%rax
    assert guest.run(code) == Returned(0x42)


def test_exact_functions_are_not_served_by_generators(guest: Guest) -> None:
    def handler(_mailbox: Mailbox) -> Guestly:
        yield Call(0)
        return 0

    with pytest.raises(InternalError, match="registers of its own"):
        guest.run(calling(guest.export(handler, exact=True)))


# Tasks


def new_thread(guest: Guest, fn: int, arg: int, top: int = STACK2_TOP) -> int:
    """Prepare a stack; returns its stack pointer."""
    frame = guest.traps.thread_stack(fn, arg)
    guest.write(top - len(frame), frame)
    assert top % 16 == 0
    return DIRECT + top - len(frame)


def test_two_tasks_take_turns(guest: Guest) -> None:
    """The main task and a thread hand the CPU to each other; each keeps its own stack, registers and handler."""
    log: list[object] = []
    main_sp, thread_sp = HEAP, HEAP + 8
    other = {"main": thread_sp, "thread": main_sp}
    mine = {"main": main_sp, "thread": thread_sp}

    def hand_over(mailbox: Mailbox) -> Guestly:
        who = "main" if mailbox[RSP] - DIRECT > STACK_TOP - 0x1000 and mailbox[RSP] - DIRECT <= STACK_TOP else "thread"
        argument = mailbox[0]
        log.append((who, argument))
        back = yield Switch(guest.u64(other[who]), DIRECT + mine[who])
        assert back is None
        assert mailbox[0] == argument
        log.append((who, "again", argument))
        return argument

    export = guest.export(hand_over)
    thread = guest.code(calling(export, export, export, export), CODE + 0x800)
    guest.write(thread_sp, new_thread(guest, thread, 7).to_bytes(8, "little"))
    assert guest.run(calling(export, export, export), (1,)) == Returned(1)
    turn = [("main", 1), ("thread", 7), ("main", "again", 1)]
    later = [("main", 1), ("thread", "again", 7), ("thread", 7), ("main", "again", 1)]
    assert log == [*turn, *later, *later]
    assert guest.traps.unwind(DIRECT + STACK2_TOP - 0x1000, DIRECT + STACK2_TOP) == 1


def test_a_thread_gets_its_argument_and_an_aligned_stack(guest: Guest) -> None:
    seen = []
    export = guest.export(lambda mailbox: seen.append((mailbox[0], mailbox[RSP] % 16)))
    rsp = new_thread(guest, export, 0xABCD)

    def start(_mailbox: Mailbox) -> Guestly:
        yield Switch(rsp, DIRECT + HEAP)
        return 0

    outcome = guest.run(calling(guest.export(start)))
    assert isinstance(outcome, Stopped)
    assert outcome.reason == "thread returned"
    assert seen == [(0xABCD, 8)]


def test_a_thread_s_return_value_reaches_who_handles_it(guest: Guest) -> None:
    results = []

    def finished(mailbox: Mailbox) -> Guestly:
        results.append(mailbox[9])
        yield Switch(guest.u64(HEAP))
        raise AssertionError("a dead task ran again")

    def start(_mailbox: Mailbox) -> Guestly:
        yield Switch(rsp, DIRECT + HEAP)
        return 5

    guest.traps.on_thread_return(finished)
    rsp = new_thread(guest, guest.code("8d4701 c3", CODE + 0x800), 41)  # lea 1(%rdi),%eax; ret
    assert guest.run(calling(guest.export(start))) == Returned(5)
    assert results == [42]
    assert guest.traps.unwind(0, MASK) == 0, "nothing waits for a dead task"


def test_a_run_ends_when_no_task_can_run_and_goes_on_when_one_can(guest: Guest) -> None:
    def wait(mailbox: Mailbox) -> Guestly:
        yield Switch(0, DIRECT + HEAP)
        return mailbox[0] + 1

    outcome = guest.run(calling(guest.export(wait)), (9,))
    assert isinstance(outcome, Stopped)
    assert outcome.reason == "idle"
    assert guest.run("89f8 c3", (3,), stack=DIRECT + STACK2_TOP) == Returned(3), "other code runs meanwhile"
    assert guest.cpu.resume(guest.traps.go(guest.u64(HEAP))) == Returned(10)


def test_a_task_may_wait_inside_a_callback(guest: Guest) -> None:
    """Call, then Switch in a trap of the callback, then back through both."""

    def wait(mailbox: Mailbox) -> Guestly:
        yield Switch(0, DIRECT + HEAP)
        return mailbox[0] * 2

    callback = guest.code(calling(guest.export(wait)), CODE + 0x800)

    def outer(mailbox: Mailbox) -> Guestly:
        value = yield Call(callback, (mailbox[0] + 1,))
        return value + mailbox[0]

    outcome = guest.run(calling(guest.export(outer)), (10,))
    assert isinstance(outcome, Stopped)
    assert guest.cpu.resume(guest.traps.go(guest.u64(HEAP))) == Returned(32)


def test_callee_saved_registers_belong_to_a_task(guest: Guest) -> None:
    def wait(_mailbox: Mailbox) -> Guestly:
        yield Switch(0, DIRECT + HEAP)
        return 0

    load = b"".join(movabs(number, number * 0x0101_0101_0101_0101) for number in (3, 5, 12, 13, 14, 15))
    code = b"\x50" + load + call_to(guest.export(wait)) + b"\x0f\x0b"
    assert isinstance(guest.run(code), Stopped)
    regs = fault(guest.cpu.resume(guest.traps.go(guest.u64(HEAP)))).regs
    got = (regs.rbx, regs.rbp, regs.r12, regs.r13, regs.r14, regs.r15)
    assert got == tuple(number * 0x0101_0101_0101_0101 for number in (3, 5, 12, 13, 14, 15))


# Several CPUs


def test_mailboxes_of_two_cpus(guest: Guest) -> None:
    export = guest.export(lambda mailbox: mailbox[0] + 1)
    assert guest.call(export, (1,)) == Returned(2)
    guest.cpu.set_gs_base(DIRECT + HEAP)
    guest.traps.use_mailbox(HEAP + 0x100)
    assert guest.call(export, (10,)) == Returned(11)
    assert guest.u64(HEAP + 0x100) == 10
    assert guest.u64(MAILBOX) == 1
