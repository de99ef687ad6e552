"""Reads the reports in a real kernel's log into values, and has kmem print the values again.

`rebuild` walks a log without time stamps and yields (what, expected line, printed line or None). *what* is ``same`` or
``different`` for a line that kmem is to print, ``given`` for one that it only passes on (the Mem-Info block), ``other``
for a line of another origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from kmem.kapi import bug, fault
from kmem.kapi.dumpstack import CrashState, Outcome, Stack, dump_stack
from kmem.kapi.regs import TAINTS, Build, Frame, Line, LoadedModule, MachineState, PtRegs
from kmem.machine.fault import BP, DE, DF, GP, PF, AccessFault, Fault, Regs
from kmem.mm import slub_report
from kmem.mm.slub_report import AllocationFailure, CacheGeometry, SlabReport, SlabValues, Track

STAMP = re.compile(r"^\[ *\d+\.\d+\] ?")
SYMBOL = re.compile(r"^(\S+)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: \[(\S+)\])?$")
INFO = re.compile(r"^CPU: (\d+) PID: (\d+) Comm: (.*?) (Not tainted|Tainted: .{19}) (.*)$")
DIE = re.compile(r"^(.*): ([0-9a-f]{4}) \[#(\d+)\] (.*)$")
WARNING = re.compile(r"^WARNING: CPU: \d+ PID: \d+ at (\S+):(\d+) (.*)$")
KERNEL_BUG = re.compile(r"^kernel BUG at (\S+):(\d+)!$")
SLUB = re.compile(r"^BUG (\S+) \(((?:Not t|T)ainted.*?)\): (.*)$")
RANGE = re.compile(r"^0x(\w+)-0x(\w+) @offset=\d+\. First byte 0x(\w+) instead of 0x(\w+)$")
SLAB = re.compile(r"^Slab 0x(\w+) objects=(\d+) used=(\d+) fp=0x(\w+) flags=(.*)$")
OBJECT = re.compile(r"^Object 0x(\w+) @offset=(\d+) fp=0x(\w+)$")
TRACK = re.compile(r"^(Allocated|Freed) in (.*) age=(\d+) cpu=(\d+) pid=(\d+)$")
DUMP = re.compile(r"^(?:Redzone|Bytes b4|Object|Padding) +([0-9a-f]{16}): ((?:[0-9a-f]{2} )+)")
FAILED = re.compile(r"^(.*?): (.*), mode:0x(\w+)\((.*)\), nodemask=([^,]*)(?:,cpuset=(.*),mems_allowed=(.*))?$")
SLEEP = re.compile(r"^BUG: sleeping function called from invalid context at (\S+):(\d+)$")
SCHEDULE = re.compile(r"^BUG: scheduling while atomic: .*/(0x\w+)$")
GFP = re.compile(r"^Unexpected gfp: 0x(\w+) \((.*)\)\. Fixing up to gfp: 0x(\w+) \((.*)\)\. Fix your code!$")

KMALLOC_32_DEBUG = CacheGeometry("kmalloc-32", 160, 32, 40, 40, 32, 0x100 | 0x400 | 0x800 | 0x1000 | 0x10000)
"""Geometry of kmalloc-32 with slub_debug=FZPU, as Debian's 6.1 has it."""


@dataclass
class Name:
    """One symbol."""

    name: str
    addr: int
    size: int
    module: str | None


@dataclass
class Names:
    """A kallsyms that gives every function of the log an address of its own."""

    known: dict[tuple[str, int, str | None], Name] = field(default_factory=dict)

    def address(self, text: str) -> int:
        match = SYMBOL.match(text)
        if match is None:
            return int(text, 16)
        name, offset, size, module = match[1], int(match[2], 16), int(match[3], 16), match[4]
        key = (name, size, module)
        symbol = self.known.setdefault(key, Name(name, 0xFFFFFFFF81000000 + (len(self.known) << 20), size, module))
        return symbol.addr + offset

    def lookup(self, addr: int) -> Name | None:
        found = [symbol for symbol in self.known.values() if symbol.addr <= addr <= symbol.addr + symbol.size]
        return found[0] if found else None

    def sprint(self, addr: int) -> str:
        symbol = self.lookup(addr)
        if symbol is None:
            return f"{addr:#x}"
        return f"{symbol.name}+{addr - symbol.addr:#x}/{symbol.size:#x}" + (
            f" [{symbol.module}]" if symbol.module else ""
        )


class Log:
    """The lines of a log with a place to read on from."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.names = Names()
        self.memory: dict[int, bytes] = {}
        self.crash = CrashState()
        self.taint = 0

    def peek(self, ahead: int = 0) -> str:
        return self.lines[self.at + ahead] if self.at + ahead < len(self.lines) else ""

    def next(self) -> str:
        self.at += 1
        return self.lines[self.at - 1]

    def read(self, addr: int, n: int) -> bytes:
        if addr in self.memory and len(self.memory[addr]) >= n:
            return self.memory[addr][:n]
        content = b"".join(self.memory.get(addr + at, b"")[:1] for at in range(n))
        if len(content) != n:
            raise AccessFault(addr, n, "read")
        return content

    def state(self) -> MachineState:
        """CPU, task, kernel and machine, from "CPU:" to the line before the registers or the trace."""
        match = INFO.match(self.next())
        assert match is not None
        taint = sum(1 << bit for bit, letter in enumerate(TAINTS) if match[4][9:][bit : bit + 1] == letter)
        hardware = self.next().removeprefix("Hardware name: ") if self.peek().startswith("Hardware name") else ""
        work = self.next().removeprefix("Workqueue: ") if self.peek().startswith("Workqueue: ") else ""
        build = Build(match[5], hardware=hardware)
        return MachineState(
            self.read, self.names, build, int(match[1]), int(match[2]), match[3], taint=taint, workqueue=work
        )

    def regs(self) -> PtRegs:
        """The registers, short form."""
        cs, ip = re.match(r"RIP: (\w+):(.*)", self.next()).groups()  # type: ignore[union-attr]
        code = bytes.fromhex(re.sub("[<>]", "", self.next().removeprefix("Code: ")))
        words = dict(re.findall(r"(\w+): +([0-9a-f:]+)", " ".join(self.next() for _ in range(6))))
        ss, rsp = words.pop("RSP").split(":")
        values = {"rip": self.names.address(ip), "rsp": int(rsp, 16), "eflags": int(words.pop("EFLAGS"), 16)}
        orig = words.pop("ORIG_RAX", None)
        for word, value in words.items():
            values[{"R08": "r8", "R09": "r9"}.get(word, word.lower())] = int(value, 16)
        user = int(cs, 16) & 3 == 3
        if not user:
            self.memory[values["rip"] - 42] = code
        return PtRegs(
            Regs(**values), int(cs, 16), int(ss, 16), None if orig is None else int(orig, 16), code if user else None
        )

    def control(self, state: MachineState) -> None:
        """FS to PKRU, into *state*."""
        text = self.next() + " " + self.next() + " " + self.next()
        if self.peek().startswith("PKRU"):
            text += " " + self.next()
        words = dict(re.findall(r"(\w+): *([0-9a-f]{8,16})", text))
        state.fs_base, state.gs_base, state.kernel_gs_base = (int(words[key], 16) for key in ("FS", "GS", "knlGS"))
        state.cr0, state.cr2, state.cr3, state.cr4 = (int(words[key], 16) for key in ("CR0", "CR2", "CR3", "CR4"))
        state.pkru = int(words.get("PKRU", "0"), 16)

    def trace(self) -> list[Stack]:
        """Everything from "Call Trace:" to the last "</...>"."""
        assert self.next() == "Call Trace:"
        stacks = []
        while match := re.match(r"^ <(\S+)>$", self.peek()):
            self.next()
            entries: list[Frame | PtRegs] = []
            while self.peek() != f" </{match[1]}>":
                if self.peek().startswith("RIP: "):
                    entries.append(self.regs())
                    continue
                text = self.next()[1:]
                doubtful = text.startswith("? ")
                entries.append(Frame(self.names.address(text.removeprefix("? ")), not doubtful))
            self.next()
            stacks.append(Stack(entries, match[1]))
        return stacks

    def modules(self) -> list[LoadedModule]:
        words = re.findall(r" (\S+?)\((\w*)([+-]?)\)", self.next())
        states = {"+": "coming", "-": "going", "": "live"}
        return [
            LoadedModule(name, sum(1 << TAINTS.index(letter) for letter in flags), states[sign])
            for name, flags, sign in words
        ]


def rebuild(text: str) -> Iterator[tuple[str, str, str | None]]:
    """Every line of *text*; see above."""
    log = Log([STAMP.sub("", line) for line in text.splitlines()])
    while log.at < len(log.lines):
        start = log.at
        made = _report(log)
        if made is None:
            log.at = start
            yield "other", log.next(), None
            continue
        lines, given = made
        printed = [line for _, record in lines for line in record.split("\n")]
        expected = log.lines[start : log.at - given]
        for number in range(max(len(printed), len(expected))):
            want = expected[number] if number < len(expected) else ""
            got = printed[number] if number < len(printed) else None
            yield "same" if want == got and number < len(expected) else "different", want, got
        for line in log.lines[log.at - given : log.at]:
            yield "given", line, None


def _report(log: Log) -> tuple[list[Line], int] | None:
    line = log.peek()
    if line.startswith("------------[ cut here"):
        return _warn_or_bug(log), 0
    if line.startswith(("BUG: kernel NULL pointer", "BUG: unable to handle page fault")) or DIE.match(line):
        return _fault(log), 0
    if line.startswith("=====") and SLUB.match(log.peek(1)):
        return _slub(log), 0
    if match := SLEEP.match(line):
        return _sleeping(log, match), 0
    if match := SCHEDULE.match(line):
        log.next()
        modules = log.modules()
        state = log.state()
        state.modules = modules
        return list(bug.scheduling_while_atomic(state, log.trace(), preempt_count=int(match[1], 16))), 0
    if match := GFP.match(line):
        log.next()
        head = slub_report.unexpected_gfp(int(match[1], 16), match[2], int(match[3], 16), match[4])
        state = log.state()
        return [head, *dump_stack(state, log.trace())], 0
    if (match := FAILED.match(line)) and INFO.match(log.peek(1)):
        return _allocation_failure(log, match)
    if line.startswith("vmap allocation for size "):
        return [slub_report.vmap_exhausted(int(log.next().split()[4]))], 0
    if INFO.match(line):
        state = log.state()
        return list(dump_stack(state, log.trace())), 0
    return None


def _fatal(log: Log) -> tuple[MachineState, PtRegs, list[Stack]]:
    """What stands between the "[#1]" line and "Modules linked in:", both included."""
    header = DIE.match(log.next())
    assert header is not None
    state = log.state()
    state.build = replace(state.build, oops_options=header[4])
    regs = log.regs()
    log.control(state)
    trace = log.trace()
    state.modules = log.modules()
    if int(header[3]) == 1:
        log.crash = CrashState()
    log.crash.die_counter = int(header[3]) - 1
    return state, regs, trace


def _end(log: Log, state: MachineState) -> None:
    """Skips what follows the modules; the number of the panic tells whether the task was in an interrupt."""
    if log.peek().startswith("CR2: "):
        log.next()
    assert log.next().startswith("---[ end trace")
    log.regs()
    log.control(state)
    while log.peek().startswith(("note: ", "Kernel panic", "Kernel Offset")):
        if "in interrupt" in log.next():
            state.preempt_count = 0x100


def _fault(log: Log) -> list[Line]:
    address, error, walk = 0, 0, []
    while not DIE.match(log.peek()):
        line = log.next()
        if match := re.search(r" address: (\w{16})$", line):
            address = int(match[1], 16)
        walk += [(name, int(value, 16)) for name, value in re.findall(r"(P\w\w) (\w+)", line) if line.startswith("PGD")]
    header = DIE.match(log.peek())
    assert header is not None
    vector = {"Oops": PF, "divide error": DE, "int3": BP, "double fault": DF}.get(header[1], GP)
    error = int(header[2], 16)
    if vector == GP and (match := re.search(r"address (0x\w+)$", header[1])):
        address = int(match[1], 16)
    state, regs, trace = _fatal(log)
    _end(log, state)
    what = Fault(vector, error, address, regs.regs)
    return list(fault.fault_oops(state, log.crash, what, regs, trace, fault.Context(lambda _: walk)).lines)


def _warn_or_bug(log: Log) -> list[Line]:
    log.next()
    message = ""
    while not (WARNING.match(log.peek()) or KERNEL_BUG.match(log.peek())):
        message += log.next() + "\n"
    match = KERNEL_BUG.match(log.peek())
    if match is not None:
        log.next()
        state, regs, trace = _fatal(log)
        _end(log, state)
        made: Outcome = bug.kernel_bug(state, log.crash, regs, trace, match[1], int(match[2]))
        return list(made.lines)
    match = WARNING.match(log.next())
    assert match is not None
    modules = log.modules()
    state = log.state()
    state.modules = modules
    regs = log.regs()
    log.control(state)
    trace = log.trace()
    log.next()
    return bug.warning(state, regs, trace, match[1], int(match[2]), message)


def _sleeping(log: Log, match: re.Match[str]) -> list[Line]:
    log.next()
    off = int(re.search(r"irqs_disabled\(\): (\d)", log.next())[1])  # type: ignore[index]
    count = int(re.search(r"preempt_count: (\w+)", log.next())[1], 16)  # type: ignore[index]
    depth = int(re.search(r"depth: (\d+)", log.next())[1])  # type: ignore[index]
    state = log.state()
    state.irqs_disabled = bool(off)
    place = (match[1], int(match[2]))
    return list(bug.sleeping_function(state, log.trace(), *place, preempt_count=count, rcu_depth=depth))


def _allocation_failure(log: Log, match: re.Match[str]) -> tuple[list[Line], int]:
    log.next()
    state = log.state()
    trace = log.trace()
    given = 0
    if log.peek() == "Mem-Info:":
        while not re.fullmatch(r"\d+ pages reserved", log.next()):
            given += 1
        if log.peek().endswith(" pages hwpoisoned"):
            log.next()
            given += 1
        given += 1
    message = match[2]
    for pattern, make in MESSAGES:
        if found := re.fullmatch(pattern, message):
            message = make(*map(int, found.groups()))
    failure = AllocationFailure(
        match[1], message, int(match[3], 16), match[4], match[5], match[6] or "", match[7] or ""
    )
    return list(failure.lines(dump_stack(state, trace), ())), given


MESSAGES = (
    (r"page allocation failure: order:(\d+)", slub_report.page_allocation),
    (r"vmalloc error: size (\d+), exceeds total pages", slub_report.vmalloc_exceeds),
    (r"vmalloc error: size (\d+), vm_struct allocation failed", slub_report.vmalloc_no_area),
)


def _slub(log: Log) -> list[Line]:
    log.next()
    head = SLUB.match(log.next())
    assert head is not None
    tainted, message = head[2], head[3]
    log.next()
    log.next()
    damage = RANGE.match(log.peek())
    if damage is not None:
        log.next()
    jiffies = 1 << 32
    tracks: dict[str, Track] = {}
    while match := TRACK.match(log.peek()):
        log.next()
        stack = []
        while log.peek().startswith(" "):
            stack.append(log.names.address(log.next()[1:]))
        addr = log.names.address(match[2])
        tracks[match[1]] = Track(addr, int(match[4]), int(match[5]), jiffies - int(match[3]), stack)
    slab = SLAB.match(log.next())
    assert slab is not None
    obj, offset, free = 0, 0, 0
    if match := OBJECT.match(log.peek()):
        obj, offset, free = int(match[1], 16), int(match[2]), int(match[3], 16)
        log.next()
        log.next()
        while match := DUMP.match(log.peek()):
            log.next()
            for at, byte in enumerate(bytes.fromhex(match[2])):
                log.memory[int(match[1], 16) + at] = bytes([byte])
    state = log.state()
    trace = log.trace()
    notice = [(4, log.next())] if log.peek().startswith("Disabling lock") else []
    report = SlabReport(
        cache=KMALLOC_32_DEBUG,
        slab=SlabValues(int(slab[1], 16), obj - offset, int(slab[2]), int(slab[3]), int(slab[4], 16), slab[5]),
        read=log.read,
        free_pointer=lambda _: free,
        tracks=lambda _: (tracks.get("Allocated"), tracks.get("Freed")),
        jiffies=jiffies,
        tainted=tainted,
        symbol=log.names.sprint,
        dump_stack=list(dump_stack(state, trace)),
        taint_notice=notice,
    )
    if damage is not None:
        first, last, value = int(damage[1], 16), int(damage[2], 16), int(damage[4], 16)
        lines = list(report.overwritten(message.removesuffix(" overwritten"), obj, first, last, value))
        log.next()
    else:
        lines = list(report.slab_error(message) if not obj else report.object_error(obj, message))
    if match := re.fullmatch(r"FIX \S+: Object at 0x(\w+) not freed", log.peek()):
        log.next()
        lines.append(report.not_freed(int(match[1], 16)))
    elif log.peek().startswith("FIX "):
        lines.append(report.fix(log.next().split(": ", 1)[1]))
    return lines
