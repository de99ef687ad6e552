"""What a report's lines say: registers, code bytes, traces, stack words, and the facts of `patterns`."""

from __future__ import annotations

import re

from kmem.oops import frames
from kmem.oops.patterns import ALLOC_START, FAULTS, FREE_START, NEEDLES, OTHER_START, TRACE_START, fact_pattern
from kmem.oops.report import Code, Fact, Report

_X86_REG = re.compile(
    r"\b(R[A-D]X|R[SD]I|R[SB]P|R\d\d|CR2|E[A-D]X|E[SD]I|E[SB]P|e[a-d]x|e[sd]i|e[sb]p|EFLAGS): *"
    r"(?:\d{4}:)?([0-9a-f]{8,16})\b"
)
_ARM_REG = re.compile(r"(?<![\w:])(r\d{1,2}|sp|ip|fp|lr|pc|psr) ?: (?:\[<)?([0-9a-f]{8})(?:>\])?(?![0-9a-f])")
_ARM64_REG = re.compile(r"\b(x\d{1,2}|sp|lr|pc|ra|epc|gp|tp|t\d|s\d{1,2}|a\d)\s*: (?:\[<)?([0-9a-f]{16})\b")
_LOOSE_REG = re.compile(r"^\s*([xr]\d{1,2}) = (?:0x)?([0-9a-f]{1,16})\s*$")
_PPC_REG = re.compile(r"^(GPR\d\d): ((?:[0-9a-f]{8,16} ?)+)")
_SAVED = re.compile(r"\br\d{1,2}:([0-9a-f]{8})\b")
_USER = re.compile(r"\b[RE]?IP: (?:0033|0023|002b|0073|003b):|EIP: 0073")
_PC = (
    re.compile(r"^\s*RIP: +(?:[0-9a-f]{4}:)?(?P<rest>.*)"),
    re.compile(r"^\s*(?:EIP is at|PC is at|NIP \[[0-9a-f]+\]|IP:|EIP:|epc +:|Krnl PSW :) ?(?P<rest>.*)"),
    re.compile(r"^\s*(?:pc|PC) : (?P<rest>.*)"),
)
_LR = re.compile(r"^\s*(?:LR is at|lr :|LR \[[0-9a-f]+\]|ra +:) ?(?P<rest>.*)")
_LR_INSIDE = re.compile(r"\blr : (?P<rest>[A-Za-z_]\S+)")
_RELEASES = (
    re.compile(r"(?:Not tainted|Tainted: .{1,48}?)\s+\(?(\d\.\d+[\w.+~-]*)"),
    re.compile(r"\((\d\.\d+\.[\w.+~-]+) #\d+\)"),
    re.compile(r"Linux version (\d\.\d+\S*)"),
    re.compile(r"^(\d\.\d+\.\d+\S*) #\d+"),
    re.compile(r"^(\d\.\d+\.\d+) mm/"),
)
_TAINT = re.compile(r"Tainted: ([A-Z ()]+)")
_COMM = (
    re.compile(r"PID: (?P<pid>\d+) Comm: (?P<comm>.+?)(?: Kdump: loaded)? (?:Not tainted|Tainted)"),
    re.compile(r"[Pp]id: (?P<pid>\d+), comm: +(?P<comm>\S+)"),
    re.compile(r"Process (?P<comm>.{1,16}?) \(pid: (?P<pid>\d+)"),
    re.compile(r"by task (?P<comm>.{1,16}?)/(?P<pid>\d+)"),
    re.compile(r"pid: (?P<pid>\d+), name: (?P<comm>\S+)"),
)
_CPU = re.compile(r"\bCPU:? +(\d+)\b")
_ADDRESS = re.compile(
    r"(?:virtual address|data access(?: on (?:read|write))? at|instruction fetch at|"
    r"paging request at|dereference at|dereference, address:|fault for address:|(?<!instruction )address:|"
    r"fault address|data at address:?|memory address:?|non-canonical address|^FAR:|\) at|user memory at|"
    r"execution at)\s*"
    r"(?P<value>\(null\)|(?:0x)?[0-9a-f]{1,16})\b"
)
_OOPS = re.compile(
    r"(?:Oops|fault|opcode|Internal error): *(?:[\w :,-]*?: *)?(?P<code>[0-9a-f]{1,16}) \[#?(?P<n>\d+)\]"
)
_UNHANDLED = re.compile(r"\((?P<code>0x[0-9a-f]{3,8})\) at (?P<at>0x[0-9a-f]+)")
_STACK_ROW = re.compile(r"^\s*([0-9a-f]{4}): +((?:[0-9a-f]{8} ?){1,8})$")
_STACK_RANGE = re.compile(r"Stack: \(0x([0-9a-f]{8}) to 0x([0-9a-f]{8})\)")
_CODE = re.compile(r"^\s*Code: +(?:\.\.\. )?((?:[<(]?[0-9a-f]{2,8}[>)]?(?: |$))+)")
_ARCHES = (
    ("riscv", re.compile(r"\bepc ?: (?:[a-z_]\w*\+0x|[0-9a-f]{16} ra ?: )|\bsstatus|badaddr: [0-9a-f]{16}")),
    ("powerpc", re.compile(r"\bNIP \[|\bGPR00: |\bNIP: ")),
    ("s390", re.compile(r"Krnl PSW|Krnl GPRS")),
    ("mips", re.compile(r"\bCP0_|\$ 0 +: |Cause : [0-9a-f]{8}")),
    (
        "arm64",
        re.compile(
            r"\bpstate: |\bx29: [0-9a-f]{16}|aarch64|el0_svc|el1_sync|__arm64_sys|Mem abort info|\bESR: 0x|\bx\d\d = "
        ),
    ),
    (
        "arm",
        re.compile(
            r"\bpsr: ?[0-9a-f]{8}|ISA ARM|ISA Thumb|\bPC is at|armv[5-7]|-v7\+|\*ppte=|SMP ARM|PREEMPT ARM|"
            r"ret_fast_syscall|\) from \[|^\s*\w+ from \w+\+0x",
            re.MULTILINE,
        ),
    ),
    (
        "x86-64",
        re.compile(
            r"\bR[A-D]X: [0-9a-f]{16}|\bRIP: |x86_64|amd64|do_syscall_64|entry_SYSCALL_64|ret_from_fork_asm|"
            r"\[<ffffffff[89a-f][0-9a-f]{7}>\]|ffff88[01][0-9a-f]{9}|\bPGD [0-9a-f]+ P4D|system_call_fastpath|"
            r"Standard PC \(i440FX|Google Compute Engine|ff11[0-9a-f]{12}|ffff8[0-9a-f]{11}\b.*kmalloc"
        ),
    ),
    ("x86-32", re.compile(r"\bE[A-D]X: |\beax: |\bEIP\b|\*pde |sysenter_past_esp|sysenter_do_call|do_IRQ.*\[<c0")),
)


_WIDE = re.compile(r"\bf[0-9a-f]{15}\b")
_NARROW = re.compile(r"\[<[cdef][0-9a-f]{7}>\] ")


def fill(report: Report) -> None:
    """Reads *report*'s lines into its fields."""
    state = _State(report)
    for line in report.lines:
        text = line.text
        if not text:
            continue
        state.facts(text, line.number)
        state.machine(text, line.number)
        state.traces(text, line.number)
    state.finish()


class _State:
    """Where in a report the reader is."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.into = report.frames
        self.context = ""
        self.user = False
        self.in_trace = False
        self.code_more = False
        self.stack_low = self.stack_high = 0
        self.whole = "\n".join(line.text for line in report.lines[:400])
        for arch, pattern in _ARCHES:
            if pattern.search(self.whole):
                report.arch = arch
                break
        if not report.arch:
            report.arch = "x86-64" if _WIDE.search(self.whole) else "x86-32" if _NARROW.search(self.whole) else ""

    def facts(self, text: str, line: int) -> None:
        for name, needle in NEEDLES.items():
            if needle in text:
                found = fact_pattern(name).search(text)
                if found:
                    values = {key: value for key, value in found.groupdict().items() if value is not None}
                    self.report.facts.setdefault(name, []).append(Fact(line, values))

    def machine(self, text: str, line: int) -> None:
        report = self.report
        if _USER.search(text):
            self.user = True
            return
        if self.code_more and not self._code(f"Code: {text.strip()}", line, more=True):
            self.code_more = False
        if "Code:" in text:
            self._code(text, line)
        if not report.release and ("ainted" in text or " #" in text or "version" in text or " mm/" in text):
            for pattern in _RELEASES:
                found = pattern.search(text)
                if found:
                    report.release = found[1]
                    break
        if not report.taint and "Tainted: " in text:
            found = _TAINT.search(text)
            report.taint = "".join(found[1].split()) if found else ""
        if not report.comm and ("omm" in text or "pid" in text or "by task" in text):
            for pattern in _COMM:
                found = pattern.search(text)
                if found:
                    report.comm, report.pid = found["comm"].strip(), int(found["pid"])
                    break
        if report.cpu is None and "CPU" in text:
            found = _CPU.search(text)
            report.cpu = int(found[1]) if found and len(found[1]) < 6 else None
        self._fault(text)
        if not self.user:
            self._registers(text, line)
        self._counter(text, line)
        self._stack(text)

    def _fault(self, text: str) -> None:
        report = self.report
        if report.address is None and (
            report.kind in FAULTS or report.kind in ("insufficient", "double-fault", "bug", "trace")
        ):
            found = _ADDRESS.search(text) or _UNHANDLED.search(text)
            if found:
                value = found.groupdict().get("value") or found.groupdict().get("at") or ""
                report.address = 0 if value == "(null)" else int(value, 16)
        if report.number is None and "[" in text:
            found = _OOPS.search(text)
            if found and len(found["n"]) < 6:
                report.number = int(found["n"])
                report.error_code = int(found["code"], 16)
        if report.error_code is None:
            found = _UNHANDLED.search(text)
            if found:
                report.error_code = int(found["code"], 16)

    def _registers(self, text: str, line: int) -> None:
        report = self.report
        if ":" not in text and " = " not in text:
            return
        pattern = _X86_REG
        if report.arch == "arm":
            pattern = _ARM_REG
            report.saved += [(line, int(value, 16)) for value in _SAVED.findall(text)]
        elif report.arch in ("arm64", "riscv"):
            pattern = _ARM64_REG
        for name, value in pattern.findall(text):
            if name.lower() not in report.regs:
                report.regs[name.lower()] = int(value, 16)
                report.reg_line = report.reg_line or line
        loose = _LOOSE_REG.match(text)
        if loose and len(loose[2]) <= 16:
            report.regs.setdefault(loose[1], int(loose[2], 16))
            report.reg_line = report.reg_line or line

    def _counter(self, text: str, line: int) -> None:
        report = self.report
        if report.pc is None and not (self.in_trace and report.kind not in FAULTS and report.kind != "warning"):
            for pattern in _PC:
                found = pattern.match(text)
                if found:
                    self._set_pc(found["rest"], line)
                    break
        if report.lr is None and "l" in text.lower():
            found = _LR.match(text) or _LR_INSIDE.search(text)
            if found:
                report.lr = frames.symbol(found["rest"], line)

    def _set_pc(self, rest: str, line: int) -> None:
        report = self.report
        frame = frames.symbol(rest, line)
        if frame is not None:
            report.pc = frame
            return
        raw = re.search(r"(?:0x|\[<)?([0-9a-f]{1,16})\b", rest.replace("(null)", "0"))
        if raw and report.arch.startswith("x86") and "pc" not in report.regs:
            report.regs["pc"] = int(raw[1], 16)

    def _code(self, text: str, line: int, *, more: bool = False) -> bool:
        found = _CODE.match(text)
        if not found or "Bad" in text:
            return False
        words = found[1].split()
        bare = [word.strip("<>()") for word in words]
        width = len(bare[0]) // 2
        if width not in (1, 2, 4) or any(len(word) != width * 2 for word in bare[:-1]):
            return False
        kept = [word for word in bare if len(word) == width * 2]
        trap = next((index for index, word in enumerate(words[: len(kept)]) if word[0] in "<("), None)
        code = self.report.code
        if more and code is not None and code.width == width and len(code.units) < 256:
            trap = None if trap is None else len(code.units) + trap
            self.report.code = Code(
                code.line,
                code.units + tuple(int(word, 16) for word in kept),
                width,
                code.trap if code.trap is not None else trap,
            )
            return True
        if code is None and not more:
            self.report.code = Code(line, tuple(int(word, 16) for word in kept), width, trap)
            self.code_more = len(kept) < 64 // width
            return True
        return False

    def _stack(self, text: str) -> None:
        found = _STACK_RANGE.search(text)
        if found:
            self.stack_low, self.stack_high = int(found[1], 16), int(found[2], 16)
            return
        if not self.stack_high:
            return
        row = _STACK_ROW.match(text)
        if row is None:
            return
        words = row[2].split()
        base = (self.stack_low & 0xFFFF0000) | int(row[1], 16)
        # The first row is printed with blanks below the stack pointer; a paste may have lost them.
        if base < self.stack_low:
            base += 4 * (8 - len(words))
        for index, word in enumerate(words):
            self.report.stack[base + 4 * index] = int(word, 16)

    def traces(self, text: str, line: int) -> None:
        report = self.report
        if ALLOC_START.search(text) or "allocated by task" in text:
            self.into = report.alloc_frames
            return
        if FREE_START.search(text) or text.startswith("freed by"):
            self.into = report.free_frames
            return
        if TRACE_START.match(text):
            if self.in_trace and report.frames and report.kind not in ("lockdep", "sleep"):
                self.into = []
            else:
                self.into = report.frames
            if report.kind == "lockdep" and text.startswith("stack backtrace"):
                report.frames.clear()
                self.into = report.frames
            self.in_trace = True
            self.context = ""
            return
        if OTHER_START.match(text) and "kasan" not in text:
            if self.into is not report.frames:
                self.into = []
            return
        for found in frames.CONTEXT.finditer(text):
            self.context = found[1] or ""
        new = frames.frames(text, line, self.context)
        if not new or (report.kind == "warning" and not self.in_trace and report.arch == "x86-64"):
            return
        if len(new) == 2:
            self.into += new if not self.into else new[1:]
        elif len(self.into) < 400:
            self.into += new

    def finish(self) -> None:
        report = self.report
        if report.pc is not None:
            report.frames = [frame for frame in report.frames if frame[:4] != report.pc[:4]]
        self._access()
        if report.address is None and report.value("gpf-addr", "addr"):
            report.address = int(report.value("gpf-addr", "addr"), 16)
        if report.address is None and report.value("far", "addr"):
            report.address = int(report.value("far", "addr"), 16)

    def _access(self) -> None:
        report, code = self.report, self.report.error_code
        words = report.value("pf", "access") + report.value("pf", "old")
        if report.kind not in FAULTS:
            return
        if words:
            report.access = "fetch" if "instruction" in words else "write" if "write" in words else "read"
        elif code is None or report.kind == "gpf":
            return
        elif report.arch.startswith("x86"):
            report.access = "fetch" if code & 16 else "write" if code & 2 else "read"
        elif report.arch == "arm":
            report.access = "fetch" if code >> 31 else "write" if code & 0x800 else "read"
        elif report.arch == "arm64":
            report.access = "fetch" if code >> 26 in (0x20, 0x21) else "write" if code & 0x40 else "read"
