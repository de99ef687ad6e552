"""Reports of a running kernel: log, taint and finding."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from kmem.kapi.bug import BUGFLAG_WARNING, BugEntry
from kmem.kapi.crash import (
    Blame,
    report_dump_stack,
    report_fault,
    report_kernel_bug,
    report_ud2,
    report_warning,
)
from kmem.kapi.dumpstack import CrashState, Trace, task_trace
from kmem.kapi.fault import Context
from kmem.kapi.kernel_text import MODULE_INIT, kernel_text
from kmem.kapi.logbuf import LogBuf
from kmem.kapi.regs import TAINT_DIE, TAINT_WARN, Build, Frame, MachineState, PtRegs
from kmem.machine.fault import GP, PF, PF_WRITE, AccessFault, Fault, Regs
from tests.golden.dump.rebuild import Name, Names

DRV_INIT = 0xFFFFFFFFC0206000
REGIONS = SimpleNamespace(
    page_offset=0xFFFF888000000000,
    page_offset_end=0xFFFFC88000000000,
    vmalloc_start=0xFFFFC90000000000,
    vmalloc_end=0xFFFFE90000000000,
    vmemmap_start=0xFFFFEA0000000000,
    vmemmap_end=0xFFFFEB0000000000,
    start_kernel_map=0xFFFFFFFF80000000,
    modules_vaddr=0xFFFFFFFFC0000000,
    modules_end=0xFFFFFFFFFF000000,
    task_size_max=0x7FFFFFFFF000,
)


class Kernel:
    """A kernel whose only module is called from insmod."""

    def __init__(self) -> None:
        self.log = LogBuf(SimpleNamespace(ns=0))  # type: ignore[arg-type]
        self.release: Any = SimpleNamespace(name="6.1")
        self.regions = REGIONS
        self.crash = CrashState()
        self.taint = 0
        self.findings: list[tuple[str, str, dict[str, Any]]] = []

    def function_at(self, addr: int) -> str:
        return ""

    def machine_state(self) -> MachineState:
        names = Names()
        names.known[("drv_init", 0x80, "drv")] = Name("drv_init", DRV_INIT, 0x80, "drv")
        return MachineState(unreadable, names, Build("6.1", "SMP"), pid=97, comm="insmod", taint=self.taint)

    def trace(self, regs: PtRegs | None, inner: Sequence[Frame]) -> Trace:
        outer = kernel_text("6.1").syscall(MODULE_INIT)
        return task_trace([(DRV_INIT + 0x2C, True)], inner=inner, outer=outer)

    def fault_context(self) -> Context:
        return Context(lambda _: [("PGD", 0)])

    def blame(self, regs: PtRegs | None) -> Blame:
        return Blame("drv_init", 0x2C, "drv.c", 41)

    def regs(self) -> Regs:
        return Regs(eflags=0x246)

    def add_taint(self, flag: int) -> None:
        self.taint |= 1 << flag

    def finding(self, kind: str, message: str, **facts: object) -> None:
        self.findings.append((kind, message, dict(facts)))

    def dmesg(self) -> list[str]:
        return [record.text for record in self.log.records]


def unreadable(addr: int, n: int) -> bytes:
    raise AccessFault(addr, n, "read")


def test_a_fault_is_logged_taints_and_becomes_a_finding() -> None:
    k = Kernel()
    report_fault(k, Fault(PF, PF_WRITE, 0, Regs(rip=DRV_INIT + 0x2C)))
    assert k.dmesg()[0] == "BUG: kernel NULL pointer dereference, address: 0000000000000000"
    assert [record.level for record in k.log.records[:5]] == [1, 1, 1, 6, 4]
    assert "Not tainted" in next(line for line in k.dmesg() if line.startswith("CPU: "))
    assert k.taint == 1 << TAINT_DIE
    [(kind, message, facts)] = k.findings
    assert (kind, message) == ("null-dereference", "write to 0x0 (NULL)")
    assert (facts["function"], facts["offset"], facts["file"], facts["line"]) == ("drv_init", 0x2C, "drv.c", 41)
    assert (facts["address"], facts["access"]) == (0, "write")
    assert facts["text"] == tuple(k.dmesg())


def test_a_fault_in_the_allocator_is_the_free_lists() -> None:
    k = Kernel()
    text = kernel_text("6.1")
    site = text.site("slub-freelist", "__kmem_cache_alloc_node")
    report_fault(k, Fault(GP, 0, 0xA242CBCD176CEF9B, Regs()), site, text.frames("__kmalloc", site.function))
    log = k.dmesg()
    assert log.count("RIP: 0010:__kmem_cache_alloc_node+0x12e/0x2a0") == 2
    assert log[log.index(" <TASK>") + 1 :][:3] == [
        " __kmalloc+0x49/0x150",
        " drv_init+0x2c/0x80 [drv]",
        " do_one_initcall+0x59/0x220",
    ]
    assert k.findings[0][0] == "freelist-corruption"


def test_a_warning_of_the_kernel_has_the_frames_of_the_call() -> None:
    k = Kernel()
    report_warning(k, "mm/vmalloc.c", 3227, "__vmalloc_node_range", export="vmalloc")
    log = k.dmesg()
    assert log[1] == "WARNING: CPU: 0 PID: 97 at mm/vmalloc.c:3227 __vmalloc_node_range+0x806/0x880"
    assert log[log.index(" <TASK>") + 1 :][:2] == [" __vmalloc_node+0x4a/0x60", " drv_init+0x2c/0x80 [drv]"]
    assert k.taint == 1 << TAINT_WARN
    assert k.findings[0][:2] == ("warning", "WARN in __vmalloc_node_range (mm/vmalloc.c:3227)")


def test_a_warning_at_an_unknown_place_names_the_function() -> None:
    k = Kernel()
    report_warning(k, "drivers/x.c", 1, "x_probe", "x is broken\n")
    assert k.dmesg()[1:3] == ["x is broken", "WARNING: CPU: 0 PID: 97 at drivers/x.c:1 x_probe"]
    assert k.findings[0][1] == "x is broken"


def test_a_double_free_that_slub_notices() -> None:
    k = Kernel()
    outcome = report_kernel_bug(k, "mm/slub.c", 419, "__kmem_cache_free", "kfree")
    assert outcome.signal == 11
    assert k.dmesg()[:2] == ["------------[ cut here ]------------", "kernel BUG at mm/slub.c:419!"]
    assert k.findings[0][0] == "double-free"


def test_a_ud2_of_the_module() -> None:
    k = Kernel()
    assert (
        report_ud2(k, Fault(6, regs=Regs(rip=DRV_INIT)), BugEntry("drv.c", 9, BUGFLAG_WARNING | 9 << 8)).kind == "warn"
    )
    assert report_ud2(k, Fault(6, regs=Regs(rip=DRV_INIT)), BugEntry("drv.c", 10, 0)).kind == "bug"
    assert report_ud2(k, Fault(6, regs=Regs(rip=DRV_INIT)), None).kind == "invalid-opcode"
    assert [found[:2] for found in k.findings] == [
        ("warning", "WARN()"),
        ("bug", "BUG()"),
        ("bug", "an invalid instruction"),
    ]
    assert k.taint == 1 << TAINT_WARN | 1 << TAINT_DIE


def test_dump_stack_is_no_finding() -> None:
    k = Kernel()
    report_dump_stack(k, kernel_text("6.1").frames("dump_stack", "show_stack"))
    assert " dump_stack_lvl+0x44/0x5c" in k.dmesg()
    assert k.findings == []
