"""Call traces, registers, and the frame of every report, against values and against what a real 6.1 printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kmem.kapi.dumpstack import (
    CrashState,
    Stack,
    add_taint_lines,
    die,
    dump_stack,
    panic,
    print_modules,
    show_trace,
    task_trace,
)
from kmem.kapi.regs import (
    Build,
    Frame,
    LoadedModule,
    MachineState,
    PtRegs,
    print_tainted,
    show_opcodes,
    show_regs,
    sprint_backtrace,
)
from kmem.machine.fault import AccessFault, Regs
from tests.golden.dump.rebuild import Name, Names, rebuild

GOLDEN = Path(__file__).parent.parent / "golden" / "dump"
BUILD = Build("6.1.0-56-amd64 #1  Debian 6.1.192-2", "PREEMPT SMP NOPTI", "QEMU Standard PC")
OUT_OF_TREE = 1 << 12 | 1 << 13


def names() -> Names:
    known = Names()
    known.known[("drv_init", 0x80, "drv")] = Name("drv_init", 0xFFFFFFFFC0206000, 0x80, "drv")
    known.known[("schedule", 0x40, None)] = Name("schedule", 0xFFFFFFFF81000000, 0x40, None)
    return known


def nothing(addr: int, n: int) -> bytes:
    raise AccessFault(addr, n, "read")


def state(**changes: object) -> MachineState:
    start = MachineState(nothing, names(), BUILD, cpu=1, pid=97, comm="insmod", taint=OUT_OF_TREE, cr4=0x750EF0)
    return replace(start, **changes)  # type: ignore[arg-type]


def texts(lines: object) -> list[str]:
    return [text for _, text in lines]  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.txt")), ids=lambda file: file.stem)
def test_a_real_report_comes_out_as_the_kernel_printed_it(file: Path) -> None:
    made = list(rebuild(file.read_text()))
    assert [(want, got) for what, want, got in made if what != "same"] == []
    assert len(made) == len(file.read_text().splitlines())


@pytest.mark.needs_shared
def test_every_recorded_report_comes_out_as_the_kernel_printed_it(shared: Path) -> None:
    logs = sorted(shared.glob("truth/*/serial.log"))
    same = 0
    for log in logs:
        better = log.with_name("dmesg.txt")
        for what, want, got in rebuild((better if better.exists() else log).read_text(errors="replace")):
            assert what != "different", (log, want, got)
            same += what == "same"
    assert same > 3500


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (0, "Not tainted"),
        (OUT_OF_TREE, "Tainted: G           OE     "),
        (OUT_OF_TREE | 1 << 9, "Tainted: G        W  OE     "),
        (OUT_OF_TREE | 1 << 7 | 1 << 5, "Tainted: G    B D    OE     "),
        (1, "Tainted: P                  "),
    ],
)
def test_taint(mask: int, text: str) -> None:
    assert print_tainted(mask) == text


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (LoadedModule("bug", OUT_OF_TREE, "coming"), "bug(OE+)"),
        (LoadedModule("bug", OUT_OF_TREE, "going"), "bug(OE-)"),
        (LoadedModule("atomic", 1 << 12), "atomic(O)"),
        (LoadedModule("ext4"), "ext4"),
        (LoadedModule("ext4", 0, "coming"), "ext4(+)"),
        (LoadedModule("old", 1 << 9 | 1), "old(P)"),
    ],
)
def test_flags_of_a_module(module: LoadedModule, text: str) -> None:
    assert str(module) == text


def test_modules_end_with_the_last_one_that_was_unloaded() -> None:
    loaded = [LoadedModule("b", OUT_OF_TREE), LoadedModule("a")]
    assert print_modules(state(modules=loaded)) == (4, "Modules linked in: b(OE) a")
    assert print_modules(state(last_unloaded="old(O)")) == (4, "Modules linked in: [last unloaded: old(O)]")


def test_a_return_address_behind_the_end_belongs_to_the_function_that_called() -> None:
    assert sprint_backtrace(names(), 0xFFFFFFFF81000040) == "schedule+0x40/0x40"


def test_a_return_address_never_starts_a_function() -> None:
    assert sprint_backtrace(names(), 0xFFFFFFFFC0206000) == "0xffffffffc0206000"


def test_code_shows_42_bytes_before_and_21_after() -> None:
    memory = bytes(range(64))
    rip = 0xFFFFFFFFC0206040

    def read(addr: int, n: int) -> bytes:
        assert (addr, n) == (rip - 42, 64)
        return memory

    level, text = show_opcodes(state(read=read), PtRegs(Regs(rip=rip)))
    words = text.removeprefix("Code: ").split()
    assert level == 4
    assert words[42] == "<2a>"
    assert words[41] == "29"
    assert len(words) == 64


def test_code_that_cannot_be_read_names_where_it_would_begin() -> None:
    assert show_opcodes(state(), PtRegs(Regs(rip=0)))[1] == "Code: Unable to access opcode bytes at 0xffffffffffffffd6."


def test_user_code_is_not_read_from_kernel_memory() -> None:
    seen: list[int] = []

    def read(addr: int, n: int) -> bytes:
        seen.append(addr)
        return bytes(n)

    text = show_opcodes(state(read=read), PtRegs(Regs(rip=0x47FBE9), cs=0x33))[1]
    assert text == "Code: Unable to access opcode bytes at 0x47fbbf."
    assert seen == []


def test_all_registers() -> None:
    regs = Regs(rax=1, rbx=2, r15=15, rsp=0xFFFFC900007CF9D0, rip=0xFFFFFFFFC0206010, eflags=0x10246)
    given = state(fs_base=0x3AB63C0, gs_base=0xFFFF88801D000000, cr2=0x10, cr3=0x575A000)
    assert texts(show_regs(given, PtRegs(regs))) == [
        "RIP: 0010:drv_init+0x10/0x80 [drv]",
        "Code: Unable to access opcode bytes at 0xffffffffc0205fe6.",
        "RSP: 0018:ffffc900007cf9d0 EFLAGS: 00010246",
        "RAX: 0000000000000001 RBX: 0000000000000002 RCX: 0000000000000000",
        "RDX: 0000000000000000 RSI: 0000000000000000 RDI: 0000000000000000",
        "RBP: 0000000000000000 R08: 0000000000000000 R09: 0000000000000000",
        "R10: 0000000000000000 R11: 0000000000000000 R12: 0000000000000000",
        "R13: 0000000000000000 R14: 0000000000000000 R15: 000000000000000f",
        "FS:  0000000003ab63c0(0000) GS:ffff88801d000000(0000) knlGS:0000000000000000",
        "CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033",
        "CR2: 0000000000000010 CR3: 000000000575a000 CR4: 0000000000750ef0",
        "PKRU: 55555554",
    ]


def test_without_protection_keys_there_is_no_pkru() -> None:
    assert texts(show_regs(state(cr4=0x3506E0), PtRegs(Regs())))[-1].startswith("CR2: ")


def test_dump_stack_of_a_worker() -> None:
    stack = Stack([Frame(0xFFFFFFFF81000010), Frame(0xFFFFFFFFC0206008, False)])
    assert list(dump_stack(state(comm="kworker/0:1", workqueue="events drv_work"), [stack])) == [
        (4, "CPU: 1 PID: 97 Comm: kworker/0:1 Tainted: G           OE      6.1.0-56-amd64 #1  Debian 6.1.192-2"),
        (4, "Hardware name: QEMU Standard PC"),
        (4, "Workqueue: events drv_work"),
        (4, "Call Trace:"),
        (4, " <TASK>"),
        (4, " schedule+0x10/0x40"),
        (4, " ? drv_init+0x8/0x80 [drv]"),
        (4, " </TASK>"),
    ]


def test_a_trace_goes_through_the_interrupt_to_the_task() -> None:
    interrupted = PtRegs(Regs(rip=0xFFFFFFFF81000004))
    stacks = [Stack([Frame(0xFFFFFFFFC0206008)], "IRQ"), Stack([interrupted, Frame(0xFFFFFFFF81000010)])]
    shown = texts(show_trace(state(), stacks))
    assert [line for line in shown if line.startswith(" ")] == [
        " <IRQ>",
        " drv_init+0x8/0x80 [drv]",
        " </IRQ>",
        " <TASK>",
        " schedule+0x10/0x40",
        " </TASK>",
    ]
    assert shown[shown.index(" <TASK>") + 1] == "RIP: 0010:schedule+0x4/0x40"


def test_a_task_trace_stands_between_the_kernels_own_frames() -> None:
    user = PtRegs(Regs(rip=0x47FBE9), cs=0x33, ss=0x2B, orig_ax=0x139)
    trace = task_trace(
        [(0xFFFFFFFFC0206008, True)],
        inner=[Frame(0, True, "__kmalloc+0x49/0x150")],
        outer=[Frame(0, True, "do_one_initcall+0x59/0x220")],
        user=user,
    )
    shown = texts(show_trace(state(), trace))
    assert shown[2:5] == [" __kmalloc+0x49/0x150", " drv_init+0x8/0x80 [drv]", " do_one_initcall+0x59/0x220"]
    assert shown[5] == "RIP: 0033:0x47fbe9"
    assert shown[7].endswith(" ORIG_RAX: 0000000000000139")


def test_every_oops_ends_with_the_registers_of_the_first() -> None:
    crash = CrashState()
    first, second = PtRegs(Regs(rax=0x111, rip=0x1000)), PtRegs(Regs(rax=0x222, rip=0x2000))
    die(state(), crash, first, [], "Oops", 2)
    lines = texts(die(state(), crash, second, [], "Oops", 2).lines)
    assert lines[0] == "Oops: 0002 [#2] PREEMPT SMP NOPTI"
    summary = lines[lines.index("---[ end trace 0000000000000000 ]---") :]
    assert summary[1] == "RIP: 0010:0x1000"
    assert any(line.startswith("RAX: 0000000000000111") for line in summary)


def test_a_task_that_dies_holding_a_lock_leaves_notes() -> None:
    outcome = die(state(irqs_disabled=True, preempt_count=1), CrashState(), PtRegs(Regs()), [], "Oops")
    assert outcome.lines[-2:] == (
        (6, "note: insmod[97] exited with irqs disabled"),
        (6, "note: insmod[97] exited with preempt_count 1"),
    )
    assert outcome.panic == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"preempt_count": 0x100}, "Fatal exception in interrupt"),
        ({"preempt_count": 0x10000}, "Fatal exception in interrupt"),
        ({"pid": 0}, "Attempted to kill the idle task!"),
        ({"pid": 1}, "Attempted to kill init! exitcode=0x0000000b"),
    ],
)
def test_some_deaths_are_a_panic(changes: dict[str, int], reason: str) -> None:
    outcome = die(state(**changes), CrashState(), PtRegs(Regs()), [], "Oops")
    assert outcome.panic == reason
    assert texts(outcome.lines)[-2:] == [f"Kernel panic - not syncing: {reason}", "Kernel Offset: disabled"]


def test_a_panic_that_halts_says_so_at_the_end() -> None:
    assert texts(panic("out of tea", [(4, "Call Trace:")], halts=True)) == [
        "Kernel panic - not syncing: out of tea",
        "Call Trace:",
        "Kernel Offset: disabled",
        "---[ end Kernel panic - not syncing: out of tea ]---",
    ]


def test_lock_debugging_is_switched_off_once() -> None:
    crash = CrashState()
    assert list(add_taint_lines(crash)) == [(4, "Disabling lock debugging due to kernel taint")]
    assert list(add_taint_lines(crash)) == []


def test_an_oops_switches_lock_debugging_off_without_a_word() -> None:
    crash = CrashState()
    die(state(), crash, PtRegs(Regs()), [], "Oops")
    assert list(add_taint_lines(crash)) == []
