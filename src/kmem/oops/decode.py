"""The machine code of a ``Code:`` line: the trapping instruction, and how its address came about (Capstone)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kmem.oops.report import Report


@dataclass(slots=True)
class Step:
    """One decoded instruction."""

    text: str
    mnemonic: str
    trap: bool
    target: str = ""
    """The register that it loads or writes, if one."""
    base: str = ""
    index: str = ""
    scale: int = 1
    offset: int = 0
    memory: bool = False
    store: bool = False


@dataclass(slots=True)
class Decoded:
    """What the code bytes say."""

    line: int
    steps: list[Step] = field(default_factory=list)

    @property
    def trap(self) -> Step | None:
        """The instruction that trapped, if it could be decoded."""
        return next((step for step in self.steps if step.trap), None)

    def before(self) -> list[Step]:
        """The instructions before the trapping one, in order."""
        return [step for step in self.steps if not step.trap][: self._trap_index()]

    def _trap_index(self) -> int:
        return next((index for index, step in enumerate(self.steps) if step.trap), len(self.steps))


def decode(report: Report) -> Decoded | None:
    """The instructions of *report*'s ``Code:`` line, or None when it has none or Capstone cannot read them."""
    code = report.code
    if code is None or code.trap is None:
        return None
    try:
        engine = _engine(report)
    except ImportError:
        return None
    if engine is None:
        return None
    data = b"".join(unit.to_bytes(code.width, "little") for unit in code.units)
    at = code.trap * code.width
    found = Decoded(code.line)
    after = [_step(each, False) for each in engine.disasm(data[at:], at)]
    if not after:
        return None
    after[0].trap = True
    found.steps = [*_leading(engine, data[:at], code.width), *after[:12]]
    return found


def _engine(report: Report) -> Any:
    """The disassembler for *report*'s machine, or None when its code bytes are not of that machine."""
    code = report.code
    if code is None or report.arch.startswith("x86") != (code.width == 1):
        return None
    return _disassembler(report.arch, report.arch == "arm" and code.width == 2)


@cache
def _disassembler(arch: str, thumb: bool) -> Any:
    import capstone as cs

    modes = {
        "x86-64": (cs.CS_ARCH_X86, cs.CS_MODE_64),
        "x86-32": (cs.CS_ARCH_X86, cs.CS_MODE_32),
        "arm": (cs.CS_ARCH_ARM, cs.CS_MODE_THUMB if thumb else cs.CS_MODE_ARM),
        "arm64": (cs.CS_ARCH_ARM64, cs.CS_MODE_ARM),
    }
    if arch not in modes:
        return None
    engine = cs.Cs(*modes[arch])
    engine.detail = True
    return engine


def _leading(engine: Any, data: bytes, width: int) -> list[Step]:
    """The instructions that end exactly where *data* ends: the latest start from which decoding falls into step."""
    if width > 1:
        return [_step(each, False) for each in engine.disasm(data, 0)]
    for start in range(min(len(data), 16)):
        decoded = list(engine.disasm(data[start:], start))
        if decoded and decoded[-1].address + decoded[-1].size == len(data):
            return [_step(each, False) for each in decoded]
    return []


def _step(instruction: Any, trap: bool) -> Step:
    step = Step(f"{instruction.mnemonic} {instruction.op_str}".strip(), instruction.mnemonic, trap)
    arm = re.match(r"(\w+), \[(\w+)(?:, (?:#(-?\w+)|(\w+)(?:, lsl #(\d+))?))?\]", instruction.op_str)
    if arm:
        step.memory, step.base, step.index = True, arm[2], arm[4] or ""
        step.offset = int(arm[3], 0) if arm[3] else 0
        step.scale = 1 << int(arm[5]) if arm[5] else 1
        step.store = instruction.mnemonic.startswith("st")
        step.target = "" if step.store else arm[1]
        return step
    intel = re.search(r"\[([^\]]+)\]", instruction.op_str)
    if intel and instruction.mnemonic not in ("lea", "nop"):
        step.memory = True
        step.store = instruction.op_str.find("[") < (
            instruction.op_str.find(",") + 1 or 999
        ) and instruction.mnemonic not in ("cmp", "test", "call", "jmp", "push")
        for sign, part in re.findall(r"([+-]?) ?([^+-]+)", intel[1]):
            part = part.strip()
            if re.fullmatch(r"0x[0-9a-f]+|\d+", part):
                step.offset = -int(part, 0) if sign == "-" else int(part, 0)
            elif "*" in part:
                step.index, _, scale = part.partition("*")
                step.scale = int(scale)
            elif not step.base:
                step.base = part
            else:
                step.index = part
    first = instruction.op_str.split(",")[0].strip()
    step.target = "" if step.store else first
    return step


def register(report: Report, name: str) -> int | None:
    """The value of register *name*, a part of a register included."""
    name = {"r8": "r08", "r9": "r09"}.get(name, name) if report.arch == "x86-64" else name
    aliases = (
        {"sb": "r9", "sl": "r10", "r12": "ip", "r11": "fp", "r13": "sp", "r14": "lr"} if report.arch == "arm" else {}
    )
    for candidate in (name, aliases.get(name, "")):
        if candidate in report.regs:
            return report.regs[candidate]
    if report.arch == "arm64" and name.startswith("w"):
        return report.regs.get("x" + name[1:])
    if report.arch == "x86-64":
        wide = re.sub(r"^e?([abcd])x$", r"r\1x", re.sub(r"^e?(sp|bp|si|di)$", r"r\1", name))
        wide = re.sub(r"^r([89]|1\d)[dwb]$", lambda found: f"r{int(found[1]):02}", wide)
        return report.regs.get(wide)
    return None


def effective(report: Report, step: Step) -> int | None:
    """The address that *step* accesses, from the printed registers."""
    base = register(report, step.base) if step.base else 0
    index = register(report, step.index) if step.index else 0
    if base is None or index is None or step.base == "rip":
        return None
    return (base + index * step.scale + step.offset) & ((1 << report.bits) - 1)
