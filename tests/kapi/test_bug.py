"""ud2 in a module, and the kernel's own warnings."""

from __future__ import annotations

from dataclasses import replace

from kmem.kapi.bug import (
    BUGFLAG_DONE,
    BUGFLAG_NO_CUT_HERE,
    BUGFLAG_ONCE,
    BUGFLAG_WARNING,
    BugEntry,
    at_site,
    kernel_bug,
    report_bug,
    scheduling_while_atomic,
    sleeping_function,
    warn_printk,
    warning,
)
from kmem.kapi.dumpstack import CrashState
from kmem.kapi.kernel_text import kernel_text
from kmem.kapi.regs import TAINT_DIE, TAINT_WARN, Build, LoadedModule, MachineState, PtRegs
from kmem.machine.fault import AccessFault, Regs
from tests.golden.dump.rebuild import Name, Names

CUT = "------------[ cut here ]------------"
END = "---[ end trace 0000000000000000 ]---"
TAINT = TAINT_WARN << 8
REGS = PtRegs(Regs(rip=0xFFFFFFFFC0206010, eflags=0x246))


def unreadable(addr: int, n: int) -> bytes:
    raise AccessFault(addr, n, "read")


def state(**changes: object) -> MachineState:
    names = Names()
    names.known[("drv_init", 0x80, "drv")] = Name("drv_init", 0xFFFFFFFFC0206000, 0x80, "drv")
    modules = [LoadedModule("drv", 1 << 12 | 1 << 13, "coming")]
    start = MachineState(unreadable, names, Build("6.1", "SMP"), pid=97, comm="insmod", modules=modules)
    return replace(start, **changes)  # type: ignore[arg-type]


def texts(lines: object) -> list[str]:
    return [text for _, text in lines]  # type: ignore[attr-defined]


def test_a_bug_in_a_module() -> None:
    crash = CrashState()
    made = report_bug(state(), crash, REGS, [], BugEntry("drv.c", 88, 0))
    assert made.kind == "bug"
    assert made.lines[:3] == ((4, CUT), (2, "kernel BUG at drv.c:88!"), (4, "invalid opcode: 0000 [#1] SMP"))
    assert made.outcome is not None
    assert made.taint == TAINT_DIE
    assert crash.die_counter == 1


def test_a_warning_in_a_module() -> None:
    crash = CrashState()
    made = report_bug(state(), crash, REGS, [], BugEntry("drv.c", 90, BUGFLAG_WARNING | TAINT))
    assert made.kind == "warn"
    assert made.lines[:3] == (
        (4, CUT),
        (4, "WARNING: CPU: 0 PID: 97 at drv.c:90 drv_init+0x10/0x80 [drv]"),
        (4, "Modules linked in: drv(OE+)"),
    )
    assert texts(made.lines)[3].startswith("CPU: 0 PID: 97 Comm: insmod Not tainted")
    assert made.lines[-1] == (4, END)
    assert (made.taint, made.done, made.outcome) == (TAINT_WARN, False, None)
    assert crash.die_counter == 0


def test_a_warning_with_a_message_has_been_cut_already() -> None:
    made = report_bug(state(), CrashState(), REGS, [], BugEntry("drv.c", 90, BUGFLAG_WARNING | BUGFLAG_NO_CUT_HERE))
    assert texts(made.lines)[0].startswith("WARNING: ")


def test_warn_on_once_asks_to_be_marked_and_is_silent_then() -> None:
    flags = BUGFLAG_WARNING | BUGFLAG_ONCE | TAINT
    first = report_bug(state(), CrashState(), REGS, [], BugEntry("drv.c", 90, flags))
    assert first.done
    again = report_bug(state(), CrashState(), REGS, [], BugEntry("drv.c", 90, flags | BUGFLAG_DONE))
    assert (again.kind, again.lines, again.taint) == ("warn", (), None)


def test_ud2_without_an_entry_is_an_invalid_opcode() -> None:
    made = report_bug(state(), CrashState(), REGS, [], None)
    assert made.kind == "invalid-opcode"
    assert made.lines[0] == (4, "invalid opcode: 0000 [#1] SMP")


def test_a_bug_with_interrupts_off_leaves_a_note() -> None:
    off = replace(REGS, regs=Regs(eflags=0x46))
    made = report_bug(state(), CrashState(), off, [], BugEntry("drv.c", 88, 0))
    assert made.lines[-1] == (6, "note: insmod[97] exited with irqs disabled")


def test_what_warn_printk_prints() -> None:
    assert list(warn_printk("ioremap on RAM\n")) == [(4, CUT), (4, "ioremap on RAM")]


def test_a_warning_of_the_kernel_stands_at_its_place() -> None:
    site = kernel_text("6.1").site("vmalloc-zero-size")
    regs = at_site(Regs(rax=7, rip=0xFFFFFFFFC0206010), site)
    lines = texts(warning(state(), regs, [], site.file, site.line))
    assert lines[1] == "WARNING: CPU: 0 PID: 97 at mm/vmalloc.c:3227 __vmalloc_node_range+0x806/0x880"
    assert "RIP: 0010:__vmalloc_node_range+0x806/0x880" in lines
    assert "Code: Unable to access opcode bytes at 0xffffffff812f0f0c." in lines
    assert any(line.startswith("RAX: 0000000000000007") for line in lines)


def test_the_message_of_a_warning_keeps_its_level() -> None:
    lines = warning(state(), REGS, [], "mm/vmalloc.c", 2758, "Trying to vfree() nonexistent vm area\n", level=3)
    assert lines[:2] == [(4, CUT), (3, "Trying to vfree() nonexistent vm area")]


def test_a_double_free_is_a_bug_of_slub() -> None:
    site = kernel_text("6.1").site("slub-double-free", "__kmem_cache_free")
    outcome = kernel_bug(state(), CrashState(), at_site(Regs(eflags=0x246), site), [], site.file, site.line)
    lines = texts(outcome.lines)
    assert lines[1] == "kernel BUG at mm/slub.c:419!"
    assert lines.count("RIP: 0010:__kmem_cache_free+0x284/0x2a0") == 2


def test_sleeping_in_an_interrupt() -> None:
    lines = list(sleeping_function(state(irqs_disabled=True), [], "mm/x.c", 274, preempt_count=0x10001, rcu_depth=1))
    assert lines[:4] == [
        (3, "BUG: sleeping function called from invalid context at mm/x.c:274"),
        (3, "in_atomic(): 1, irqs_disabled(): 1, non_block: 0, pid: 97, name: insmod"),
        (3, "preempt_count: 10001, expected: 0"),
        (3, "RCU nest depth: 1, expected: 0"),
    ]


def test_scheduling_while_atomic() -> None:
    lines = list(scheduling_while_atomic(state(), [], preempt_count=2))
    assert lines[0] == (3, "BUG: scheduling while atomic: insmod/97/0x00000002")
    assert lines[1] == (4, "Modules linked in: drv(OE+)")
