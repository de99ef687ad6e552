"""What the kernel prints when the CPU faults in kernel mode: page faults, protection faults, stack overflows, traps.

Models arch/x86/mm/fault.c and arch/x86/kernel/traps.c, release 6.1, on a machine with SMEP and SMAP. `fault_oops` is a
function of values; it knows no machine. Not modelled: exception fix-ups (a fault in ``copy_from_user`` is the business
of that function), errata, user-mode faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kmem.abi.address import PAGE_SIZE, TASK_SIZE_MAX, VMALLOC_END, VMALLOC_START
from kmem.kapi.dumpstack import SIGKILL, CrashState, Outcome, Trace, die
from kmem.kapi.regs import (
    KERN_ALERT,
    KERN_CRIT,
    KERN_DEFAULT,
    KERN_EMERG,
    KERN_INFO,
    Line,
    MachineState,
    PtRegs,
)
from kmem.machine.fault import (
    BP,
    DE,
    DF,
    GP,
    PF,
    PF_INSTR,
    PF_PROT,
    PF_RSVD,
    PF_USER,
    PF_WRITE,
    UD,
    AccessFault,
    Fault,
    Regs,
)

PF_PK = 32
"""Protection keys bit of the page fault error code."""

X86_EFLAGS_IF = 1 << 9
X86_CR4_SMEP = 1 << 20
VIRTUAL_MASK = (1 << 47) - 1
NMI_OFFSET = 1 << 20

PRESENT, USER, PSE, PROTNONE, NX = 1, 4, 1 << 7, 1 << 8, 1 << 63
"""Bits of page table entries (arch/x86/include/asm/pgtable_types.h)."""

EXCEPTION_FRAME = 48
"""Bytes that the CPU pushes on the running stack to deliver an exception with an error code."""

STRINGS = {DE: "divide error", BP: "int3", 4: "overflow", 5: "bounds", UD: "invalid opcode", DF: "double fault"} | {
    10: "invalid TSS",
    11: "segment not present",
    12: "stack segment",
}
"""Name of the oops of an exception that gets no text of its own, by vector."""

Walk = Callable[[int], Sequence[tuple[str, int | None]]]
"""The page table entries of an address from the top: level name (PGD, P4D, PUD, PMD, PTE) and value, None for an entry
in memory that cannot be read. With four levels P4D may be left out; it is the PGD then."""


@dataclass(frozen=True, slots=True)
class Context:
    """What else a fault report needs: the page tables, and the stack that the task runs on (begin, end)."""

    walk: Walk
    stack: tuple[int, int] | None = None
    stack_name: str = "TASK"
    stack_end_corrupted: bool = False


def fault_oops(
    state: MachineState, crash: CrashState, fault: Fault, regs: PtRegs, trace: Trace, context: Context
) -> Outcome:
    """The report of *fault*: what the kernel prints, and how the task ends."""
    if fault.vector == PF:
        return page_fault_oops(state, crash, fault, regs, trace, context)
    if fault.vector == GP:
        return general_protection(state, crash, fault, regs, trace)
    if fault.vector == DF:
        return double_fault(state, crash, fault, regs, trace, context)
    what = STRINGS.get(fault.vector, f"trap {fault.vector}")
    if fault.vector == BP:
        return die(in_nmi(state), crash, regs, trace, what)
    return die(after_enable(state, regs), crash, regs, trace, what, fault.error_code)


def after_enable(state: MachineState, regs: PtRegs) -> MachineState:
    """``cond_local_irq_enable()``: the handler runs with interrupts as they were at the fault."""
    return replace(state, irqs_disabled=not regs.regs.eflags & X86_EFLAGS_IF)


def in_nmi(state: MachineState) -> MachineState:
    """``irqentry_nmi_enter()``: the handler runs as in an NMI, where an oops is a panic."""
    return replace(state, irqs_disabled=True, preempt_count=state.preempt_count + NMI_OFFSET)


def page_fault_oops(
    state: MachineState, crash: CrashState, fault: Fault, regs: PtRegs, trace: Trace, context: Context
) -> Outcome:
    """``static void page_fault_oops(struct pt_regs *, unsigned long error_code, unsigned long address)``.

    arch/x86/mm/fault.c. Also ``pgtable_bad`` (a reserved bit is set in the tables of a user address) and
    ``handle_stack_overflow`` (the address lies in the guard page of the stack).
    """
    state = replace(state, cr2=fault.address, irqs_disabled=True)
    if in_guard_page(fault.address, context.stack) and VMALLOC_START <= fault.address <= VMALLOC_END:
        return stack_overflow(state, crash, fault, regs, trace, context)
    if fault.error_code & PF_RSVD and fault.address < TASK_SIZE_MAX:
        corrupted = (KERN_ALERT, f"{state.comm}: Corrupted page table at address {fault.address:x}")
        before = [corrupted, *dump_pagetable(fault.address, context.walk)]
        return die(state, crash, regs, trace, "Bad pagetable", fault.error_code, before=before, signal=SIGKILL)
    before = list(show_fault_oops(state, fault, context.walk))
    if context.stack_end_corrupted:
        before.append((KERN_EMERG, "Thread overran stack, or stack corrupted"))
    after = [(KERN_DEFAULT, f"CR2: {fault.address:016x}")]
    return die(state, crash, regs, trace, "Oops", fault.error_code, before=before, after=after, signal=SIGKILL)


def show_fault_oops(state: MachineState, fault: Fault, walk: Walk) -> Iterator[Line]:
    """``static void show_fault_oops(struct pt_regs *, unsigned long, unsigned long)``, arch/x86/mm/fault.c."""
    code, address = fault.error_code, fault.address
    if code & PF_INSTR:
        yield from _exec_hint(state, walk(address))
    what = "kernel NULL pointer dereference," if address < PAGE_SIZE else "unable to handle page fault for"
    yield KERN_ALERT, f"BUG: {what} address: {address:016x}"
    who = "user" if code & PF_USER else "supervisor"
    access = "instruction fetch" if code & PF_INSTR else "write access" if code & PF_WRITE else "read access"
    yield KERN_ALERT, f"#PF: {who} {access} in kernel mode"
    if not code & PF_PROT:
        why = "not-present page"
    elif code & PF_RSVD:
        why = "reserved bit violation"
    else:
        why = "protection keys violation" if code & PF_PK else "permissions violation"
    yield KERN_ALERT, f"#PF: error_code({code:#06x}) - {why}"
    yield from dump_pagetable(address, walk)


def _exec_hint(state: MachineState, entries: Sequence[tuple[str, int | None]]) -> Iterator[Line]:
    """The line about an instruction fetch from a page that is mapped but must not be executed."""
    top, leaf = (entries[0][1], entries[-1][1]) if entries else (None, None)
    if top is None or leaf is None or not leaf & (PRESENT | PROTNONE):
        return
    if leaf & NX:
        hint = "kernel tried to execute NX-protected page - exploit attempt?"
    elif top & USER and state.cr4 & X86_CR4_SMEP:
        hint = "unable to execute userspace code (SMEP?)"
    else:
        return
    yield KERN_CRIT, f"{hint} (uid: {state.uid})"


def dump_pagetable(address: int, walk: Walk) -> Iterator[Line]:
    """``static void dump_pagetable(unsigned long address)``, arch/x86/mm/fault.c, for four-level page tables.

    The top level always counts as present there, which is why a NULL pointer prints "PGD 0 P4D 0".
    """
    entries = {name.upper(): value for name, value in walk(address)}
    entries.setdefault("P4D", entries.get("PGD"))
    text = ""
    for name in ("PGD", "P4D", "PUD", "PMD", "PTE"):
        if name not in entries:
            break
        value = entries[name]
        if value is None:
            if text:
                yield KERN_INFO, text
            yield KERN_INFO, "BAD"
            return
        text += f"{name} {value:x}" + (" " if name != "PTE" else "")
        present = value & (PRESENT | PROTNONE | PSE) if name == "PMD" else value & PRESENT
        large = name in ("PUD", "PMD") and value & PSE
        if name != "PGD" and (not present or large):
            break
    yield KERN_INFO, text


def in_guard_page(address: int, stack: tuple[int, int] | None) -> bool:
    """``get_stack_guard_info()``: the next page is the lowest one of *stack*."""
    return stack is not None and stack[0] - PAGE_SIZE <= address < stack[0]


def stack_overflow(
    state: MachineState, crash: CrashState, fault: Fault, regs: PtRegs, trace: Trace, context: Context
) -> Outcome:
    """``void handle_stack_overflow(struct pt_regs *, unsigned long, struct stack_info *)``, arch/x86/kernel/traps.c.

    When the stack has no room even for the exception frame the CPU raises a double fault, and the machine panics.
    """
    begin, end = context.stack or (0, 0)
    hit = (
        KERN_EMERG,
        f"BUG: {context.stack_name} stack guard page was hit at {state.pointer(fault.address)} "
        f"(stack is {state.pointer(begin)}..{state.pointer(end)})",
    )
    if fault.vector == DF or regs.regs.rsp - EXCEPTION_FRAME < begin:
        state = in_nmi(state)
    return die(state, crash, regs, trace, "stack guard page", before=[hit])


def double_fault(
    state: MachineState, crash: CrashState, fault: Fault, regs: PtRegs, trace: Trace, context: Context
) -> Outcome:
    """``DEFINE_IDTENTRY_DF(exc_double_fault)``, arch/x86/kernel/traps.c. *fault.address* is CR2."""
    if in_guard_page(fault.address, context.stack):
        return stack_overflow(replace(state, cr2=fault.address), crash, fault, regs, trace, context)
    before = [(KERN_EMERG, f"traps: PANIC: double fault, error_code: {fault.error_code:#x}")]
    return die(in_nmi(state), crash, regs, trace, "double fault", fault.error_code, before=before)


def general_protection(state: MachineState, crash: CrashState, fault: Fault, regs: PtRegs, trace: Trace) -> Outcome:
    """``DEFINE_IDTENTRY_ERRORCODE(exc_general_protection)``, arch/x86/kernel/traps.c.

    *fault.address* is the address of the instruction's memory operand, 0 when it has none or is not known.
    """
    what = "general protection fault"
    if fault.error_code:
        what = f"segment-related {what}"
    elif fault.address:
        hint = "probably for non-canonical address" if non_canonical(fault.address) else "maybe for address"
        what = f"{what}, {hint} {fault.address:#x}"
    return die(after_enable(state, regs), crash, regs, trace, what, fault.error_code)


def non_canonical(address: int, size: int = 1) -> bool:
    """Whether an access of *size* bytes leaves the lower half and is not in the upper (``get_kernel_gp_address``)."""
    return address < ~VIRTUAL_MASK & 0xFFFFFFFFFFFFFFFF and address + size - 1 > VIRTUAL_MASK


def fault_of(error: AccessFault, regs: Regs) -> Fault:
    """The CPU fault that the access of *error* would have caused, with *regs* as the registers at that instruction."""
    if non_canonical(error.address, error.size):
        return Fault(GP, address=error.address, regs=regs)
    code = (PF_PROT if error.present else 0) | {"write": PF_WRITE, "exec": PF_INSTR}.get(error.access, 0)
    return Fault(PF, code, error.address, regs)
