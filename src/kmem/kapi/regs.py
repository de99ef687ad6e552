"""The values that a crash report is made of, and the lines for registers, opcodes and taint.

A report is a list of `Line`: one entry is one printk record (its text may hold newlines, and then dmesg stamps every
line of it with the same time), its level is the kernel's log level. Nothing here touches a machine: `MachineState` is a
snapshot of values, and guest memory is reached through its `read`.

Models arch/x86/kernel/process_64.c (``__show_regs``), arch/x86/kernel/dumpstack.c (``show_ip``, ``show_opcodes``) and
kernel/panic.c (``print_tainted``), release 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kmem.machine.fault import AccessFault, Regs

Line = tuple[int, str]
"""Log level and text of one printk record."""

KERN_EMERG, KERN_ALERT, KERN_CRIT, KERN_ERR, KERN_WARNING, KERN_INFO = 0, 1, 2, 3, 4, 6
KERN_DEFAULT = 4
"""CONFIG_MESSAGE_LOGLEVEL_DEFAULT: the level of a printk that names none."""

MASK = 0xFFFFFFFFFFFFFFFF

TAINTS = "PFSRMBUDAWCIOELKXTN"
"""Letter of every taint flag, by bit (``taint_flags[]``). A clear flag prints a space, a clear P prints G."""
MODULE_TAINTS = "PFCOEKXTN"
"""The flags that a single module can carry."""
TAINT_BAD_PAGE, TAINT_DIE, TAINT_WARN, TAINT_OOT_MODULE, TAINT_UNSIGNED_MODULE = 5, 7, 9, 12, 13

PROLOGUE_SIZE, EPILOGUE_SIZE = 42, 21
"""Bytes of code shown before and after the byte that rip points at."""

X86_CR4_PKE = 1 << 22


class Symbol(Protocol):
    """One entry of kallsyms; *module* is None for the kernel itself."""

    @property
    def name(self) -> str: ...
    @property
    def addr(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def module(self) -> str | None: ...


class Symbols(Protocol):
    """What reports need of kallsyms."""

    def lookup(self, addr: int) -> Symbol | None: ...
    def sprint(self, addr: int) -> str: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a call trace. *text* replaces the symbol of *address* where the model knows better than kallsyms."""

    address: int
    reliable: bool = True
    text: str = ""


@dataclass(frozen=True, slots=True)
class PtRegs:
    """``struct pt_regs``: what was on the CPU when it entered the kernel's exception or system call code.

    *orig_ax* is None where the kernel keeps -1 (no system call). *code* are the bytes around rip where they cannot be
    read from guest memory (user mode); *ip_text* names rip where the model acts for a kernel function.
    """

    regs: Regs
    cs: int = 0x10
    ss: int = 0x18
    orig_ax: int | None = None
    code: bytes | None = None
    ip_text: str = ""

    @property
    def user_mode(self) -> bool:
        """Whether the registers are those of a user program (``user_mode()``)."""
        return self.cs & 3 == 3


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """One word of "Modules linked in:". *taint* is the module's taint mask, *state* is live, coming or going."""

    name: str
    taint: int = 0
    state: str = "live"

    def __str__(self) -> str:
        """``char *module_flags(struct module *, char *, bool)``, kernel/module/main.c: ``bug(OE+)``."""
        flags = "".join(c for bit, c in enumerate(TAINTS) if c in MODULE_TAINTS and self.taint >> bit & 1)
        flags += {"going": "-", "coming": "+"}.get(self.state, "")
        return f"{self.name}({flags})" if flags else self.name


@dataclass(frozen=True, slots=True)
class Build:
    """What a report says about the kernel and its machine; the fields of the same name of `kmem.abi.release.Release`.

    *oops_version* ends the "CPU: …" line (release, build number, package), *oops_options* the "[#1]" line of an oops;
    without *hardware* there is no "Hardware name:" line.
    """

    oops_version: str
    oops_options: str = ""
    hardware: str = ""


def plain_pointer(value: int) -> str:
    """``%p`` of a kernel with no_hash_pointers (slub_debug implies it)."""
    return f"{value:016x}"


@dataclass(slots=True)
class MachineState:
    """The machine at the moment of a report.

    *read(addr, n)* reads guest virtual memory and raises `AccessFault` where it cannot; *pointer* prints ``%p``;
    *irqs_disabled* and *preempt_count* are those that hold when the dying task is cleaned up.
    """

    read: Callable[[int, int], bytes]
    symbols: Symbols
    build: Build
    cpu: int = 0
    pid: int = 1
    comm: str = "swapper/0"
    uid: int = 0
    taint: int = 0
    modules: Sequence[LoadedModule] = ()
    last_unloaded: str = ""
    workqueue: str = ""
    fs_base: int = 0
    gs_base: int = 0
    kernel_gs_base: int = 0
    cr0: int = 0x80050033
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    pkru: int = 0x55555554
    irqs_disabled: bool = False
    preempt_count: int = 0
    pointer: Callable[[int], str] = field(default=plain_pointer)


def print_tainted(mask: int) -> str:
    """``const char *print_tainted(void)``, kernel/panic.c: ``Tainted: G           OE     ``."""
    if not mask:
        return "Not tainted"
    return "Tainted: " + "".join(
        letter if mask >> bit & 1 else "G" if letter == "P" else " " for bit, letter in enumerate(TAINTS)
    )


def sprint_backtrace(symbols: Symbols, address: int) -> str:
    """``int sprint_backtrace(char *buffer, unsigned long address)``, kernel/kallsyms.c (``%pB``).

    The symbol is that of the byte before, because a return address may lie behind the end of its function.
    """
    symbol = symbols.lookup((address - 1) & MASK)
    if symbol is None:
        return f"{address:#x}"
    text = f"{symbol.name}+{address - symbol.addr:#x}/{symbol.size:#x}"
    return f"{text} [{symbol.module}]" if symbol.module else text


def show_opcodes(state: MachineState, regs: PtRegs) -> Line:
    """``void show_opcodes(struct pt_regs *regs, const char *loglvl)``, arch/x86/kernel/dumpstack.c: the Code: line."""
    start = (regs.regs.rip - PROLOGUE_SIZE) & MASK
    size = PROLOGUE_SIZE + 1 + EPILOGUE_SIZE
    code = regs.code
    if code is None and not regs.user_mode:
        try:
            code = state.read(start, size)
        except AccessFault:
            code = None
    if code is None or len(code) != size:
        return KERN_DEFAULT, f"Code: Unable to access opcode bytes at {start:#x}."
    before, at, after = code[:PROLOGUE_SIZE], code[PROLOGUE_SIZE], code[PROLOGUE_SIZE + 1 :]
    return KERN_DEFAULT, f"Code: {before.hex(' ')} <{at:02x}> {after.hex(' ')}"


def show_regs(state: MachineState, regs: PtRegs, *, short: bool = False) -> Iterator[Line]:
    """``void __show_regs(struct pt_regs *, enum show_regs_mode, const char *)``, arch/x86/kernel/process_64.c.

    *short* leaves out segments and control registers, as inside a call trace. Debug registers are not modelled: the
    kernel prints them only when they are in use.
    """
    r = regs.regs
    ip = (f"{r.rip:#x}" if regs.user_mode else "") or regs.ip_text or state.symbols.sprint(r.rip)
    yield KERN_DEFAULT, f"RIP: {regs.cs:04x}:{ip}"
    yield show_opcodes(state, regs)
    orig_ax = "" if regs.orig_ax is None else f" ORIG_RAX: {regs.orig_ax:016x}"
    yield KERN_DEFAULT, f"RSP: {regs.ss:04x}:{r.rsp:016x} EFLAGS: {r.eflags:08x}{orig_ax}"
    for row in (
        (("RAX", r.rax), ("RBX", r.rbx), ("RCX", r.rcx)),
        (("RDX", r.rdx), ("RSI", r.rsi), ("RDI", r.rdi)),
        (("RBP", r.rbp), ("R08", r.r8), ("R09", r.r9)),
        (("R10", r.r10), ("R11", r.r11), ("R12", r.r12)),
        (("R13", r.r13), ("R14", r.r14), ("R15", r.r15)),
    ):
        yield KERN_DEFAULT, " ".join(f"{name}: {value:016x}" for name, value in row)
    if short:
        return
    gs, kernel_gs = state.gs_base, state.kernel_gs_base
    yield KERN_DEFAULT, f"FS:  {state.fs_base:016x}(0000) GS:{gs:016x}(0000) knlGS:{kernel_gs:016x}"
    yield KERN_DEFAULT, f"CS:  {regs.cs:04x} DS: 0000 ES: 0000 CR0: {state.cr0:016x}"
    yield KERN_DEFAULT, f"CR2: {state.cr2:016x} CR3: {state.cr3:016x} CR4: {state.cr4:016x}"
    if state.cr4 & X86_CR4_PKE:
        yield KERN_DEFAULT, f"PKRU: {state.pkru:08x}"
