"""What the kernel changes in a module's code when it loads it (``module_finalize``, ftrace, static calls; x86-64, 6.1).

In the kernel's order: paravirt calls, retpolines, return sites, alternatives, the ``__fentry__`` calls of ftrace,
static calls. The CPU of the model needs no speculation mitigations, so retpolines become indirect branches and return
thunks become ``ret``. ``.smp_locks`` stay (the machine is SMP), and so does each jump label: its instruction is the one
for the key's initial state.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kmem.modules import insn
from kmem.modules.alternatives import apply_alternatives
from kmem.modules.staging import Staging

_REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{i}" for i in range(8, 16)))
_THUNK = "__x86_indirect_thunk_"
RETURN_THUNK = "__x86_return_thunk"
TRAMPOLINE = "__SCT__"

_PARAVIRT = struct.Struct("<QBB")
_PARAVIRT_SIZE = 16
_SITE = struct.Struct("<ii")
_IO_DELAY = 0
"""Number of ``cpu.io_delay`` among the operations of ``struct paravirt_patch_template``: its first."""


@dataclass(frozen=True, slots=True)
class StaticCallSite:
    """One call of a static call: *key* is its ``struct static_call_key``, or the kernel's trampoline."""

    address: int
    key: int
    tail: bool


@dataclass(slots=True)
class Patched:
    """How many sites of each kind were rewritten, and the static call sites for later updates."""

    paravirt: int = 0
    retpolines: int = 0
    returns: int = 0
    alternatives: int = 0
    fentry: int = 0
    static_calls: int = 0
    static_call_sites: list[StaticCallSite] = field(default_factory=list)


def apply_fixups(
    staging: Staging,
    imports: Mapping[str, int],
    read_u64: Callable[[int], int],
    features: frozenset[int],
    alt_instr: int = 12,
) -> Patched:
    """Patch the module's code in place.

    *imports* gives the address of each symbol that the module takes from outside, *read_u64* reads the kernel's memory
    (the paravirt operations, keys of other modules), *features* are the CPU's (`kmem.modules.alternatives`),
    *alt_instr* is the size of the release's struct of this name.
    """
    done = Patched()
    done.paravirt = _paravirt(staging, imports.get("pv_ops", 0), read_u64)
    thunks = {imports[_THUNK + name]: number for number, name in enumerate(_REGISTERS) if _THUNK + name in imports}
    done.retpolines = _retpolines(staging, thunks)
    done.returns = _returns(staging, imports.get(RETURN_THUNK))
    done.alternatives = apply_alternatives(staging, features, alt_instr, read_u64)
    done.fentry = _fentry(staging)
    done.static_call_sites = static_call_sites(staging)
    done.static_calls = _static_calls(staging, done.static_call_sites, imports, read_u64)
    return done


def _code(staging: Staging, address: int, what: str) -> bytes:
    """Up to six bytes of code at *address*; less at the end of a region."""
    buffer, offset = staging.locate(address, 1, what)
    return bytes(buffer[offset : offset + 6])


def _paravirt(staging: Staging, pv_ops: int, read_u64: Callable[[int], int]) -> int:
    """Calls through ``pv_ops`` become direct calls (``apply_paravirt``).

    An operation that ``pv_ops`` does not have is left as the call through the pointer; ``io_delay``, the only one that
    just waits, becomes a nop. Interrupt flag operations are alternatives as well and become single instructions there.
    """
    table, count = staging.table(".parainstructions", _PARAVIRT_SIZE)
    done = 0
    for number in range(count):
        entry = staging.read(table + number * _PARAVIRT_SIZE, _PARAVIRT.size, ".parainstructions")
        site, kind, length = _PARAVIRT.unpack(entry)
        function = read_u64(pv_ops + 8 * kind) if pv_ops else 0
        if function and length >= 5:
            code = insn.branch(insn.CALL, site, function) + insn.nops(length - 5)
        elif kind == _IO_DELAY:
            code = insn.nops(length)
        else:
            continue
        staging.write(site, code, ".parainstructions")
        done += 1
    return done


def _retpolines(staging: Staging, thunks: Mapping[int, int]) -> int:
    """``call __x86_indirect_thunk_rax`` becomes ``call *%rax`` (``patch_retpoline`` with spectre_v2=off)."""
    done = 0
    for site in staging.relative_pointers(".retpoline_sites"):
        found = insn.branch_target(site, _code(staging, site, ".retpoline_sites"))
        if found is None or found[2] not in thunks:
            continue
        opcode, length, target = found
        code = b""
        if opcode & 0xF0 == 0x80:
            # A conditional jump to the thunk: jump over an unconditional one.
            code = bytes((0x70 + (opcode & 15 ^ 1), length - 2))
            opcode = insn.JMP32
        code += insn.indirect(opcode, thunks[target])
        if opcode == insn.JMP32 and len(code) < length:
            code += bytes((insn.INT3,))
        staging.write(site, code + insn.nops(length - len(code)), ".retpoline_sites")
        done += 1
    return done


def _returns(staging: Staging, thunk: int | None) -> int:
    """``jmp __x86_return_thunk`` becomes ``ret`` (``patch_return``)."""
    done = 0
    for site in staging.relative_pointers(".return_sites"):
        found = insn.branch_target(site, _code(staging, site, ".return_sites"))
        if found is not None and found[0] == insn.JMP32 and found[2] == thunk:
            staging.write(site, insn.RETURN[: found[1]].ljust(found[1], bytes((insn.INT3,))), ".return_sites")
            done += 1
    return done


def _fentry(staging: Staging) -> int:
    """The ``call __fentry__`` at the start of each traceable function becomes a nop (``ftrace_init_nop``)."""
    table, count = staging.table("__mcount_loc", 8)
    done = 0
    for number in range(count):
        site = staging.u64(table + 8 * number, "__mcount_loc")
        buffer, offset = staging.locate(site, 5, "__mcount_loc")
        if buffer[offset] == insn.CALL:
            buffer[offset : offset + 5] = insn.NOPS[5]
            done += 1
    return done


def static_call_sites(staging: Staging) -> list[StaticCallSite]:
    """The entries of ``.static_call_sites``."""
    table, count = staging.table(".static_call_sites", _SITE.size)
    sites = []
    for number in range(count):
        entry = table + number * _SITE.size
        address, key = _SITE.unpack(staging.read(entry, _SITE.size, ".static_call_sites"))
        key += entry + 4
        sites.append(StaticCallSite(entry + address, key & ~3, bool(key & 1)))
    return sites


def _static_calls(
    staging: Staging, sites: list[StaticCallSite], imports: Mapping[str, int], read_u64: Callable[[int], int]
) -> int:
    """Each call of a static call goes to what its key holds now (``static_call_add_module``).

    Calls of the kernel's own static calls (``__SCT__might_resched`` …), whose keys are not exported, stay calls of the
    trampoline, which the kernel provides.
    """
    trampolines = {value for name, value in imports.items() if name.startswith(TRAMPOLINE)}
    returns_zero = imports.get("__static_call_return0")
    done = 0
    for site in sites:
        if site.key in trampolines:
            continue
        inside = staging.contains(site.key, 8)
        function = staging.u64(site.key, ".static_call_sites") if inside else read_u64(site.key)
        old = _code(staging, site.address, ".static_call_sites")
        code = static_call_code(site, function, old, returns_zero, imports.get(RETURN_THUNK))
        if code is not None:
            staging.write(site.address, code, ".static_call_sites")
            done += 1
    return done


def static_call_code(
    site: StaticCallSite, function: int, old: bytes, returns_zero: int | None, return_thunk: int | None
) -> bytes | None:
    """The instruction for *site* when its key holds *function* (0: nothing to call), or None to leave it as it is.

    ``__static_call_transform`` (arch/x86/kernel/static_call.c); *old* is what stands there now.
    """
    if site.tail and insn.is_jcc32(old):
        target = function or return_thunk
        return None if not target else old[:2] + insn.branch(insn.JMP32, site.address + 1, target)[1:]
    if site.tail:
        return insn.branch(insn.JMP32, site.address, function) if function else insn.RETURN
    if not function:
        return insn.NOPS[5]
    if function == returns_zero:
        return insn.XOR_RAX
    return insn.branch(insn.CALL, site.address, function)
