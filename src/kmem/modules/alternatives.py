"""Instructions that depend on the CPU: ``apply_alternatives`` (arch/x86/kernel/alternative.c, 6.1 and 6.12).

Each entry of ``.altinstructions`` names an instruction, a replacement and a CPU feature; the replacement is copied over
the instruction when the CPU has the feature (or has not, for inverted entries). Interrupt flag operations, cache
flushes, ``static_cpu_has`` and SMAP are built this way, so modules are not right without it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from kmem.modules import insn
from kmem.modules.elf import malformed
from kmem.modules.staging import Staging

_PLAIN, _WITH_FLAGS = struct.Struct("<iiHBB"), struct.Struct("<iiHHBB")
_INVERTED = 0x8000
"""In the feature number, where an entry has no flags."""
_ALT_FLAG_NOT, _ALT_FLAG_DIRECT_CALL = 1, 2
_INDIRECT_CALL = b"\xff\x15"
_FEATURES = (22 + 2) * 32
"""Feature numbers end here: NCAPINTS + NBUGINTS words."""

X86_FEATURE_REP_GOOD = 3 * 32 + 16
X86_FEATURE_ALWAYS = 3 * 32 + 21
X86_FEATURE_POPCNT = 4 * 32 + 23
X86_FEATURE_HYPERVISOR = 4 * 32 + 31
X86_FEATURE_ERMS = 9 * 32 + 9
X86_FEATURE_SMAP = 9 * 32 + 20
X86_FEATURE_FSRM = 18 * 32 + 4

CPU_FEATURES = frozenset(
    (
        X86_FEATURE_ALWAYS,
        X86_FEATURE_REP_GOOD,
        X86_FEATURE_POPCNT,
        X86_FEATURE_HYPERVISOR,
        X86_FEATURE_ERMS,
        X86_FEATURE_SMAP,
        X86_FEATURE_FSRM,
    )
)
"""What the emulated CPU has, as 6.1 numbers it (arch/x86/include/asm/cpufeatures.h), of what changes a module's code.

Not there: Xen PV, five-level paging, RDTSCP, CLFLUSHOPT, every mitigation. SMAP is: the executor does what STAC and
CLAC do, which the emulator lacks.
"""


def _entry(raw: bytes) -> tuple[int, int, int, int, int, int]:
    """Offsets of instruction and replacement, feature, flags and both lengths of a ``struct alt_instr``."""
    if len(raw) == _WITH_FLAGS.size:
        site, source, cpuid, flags, length, new_length = _WITH_FLAGS.unpack(raw)
        return site, source, cpuid, flags, length, new_length
    site, source, cpuid, length, new_length = _PLAIN.unpack(raw)
    return site, source, cpuid & ~_INVERTED, _ALT_FLAG_NOT if cpuid & _INVERTED else 0, length, new_length


def apply_alternatives(
    staging: Staging,
    features: frozenset[int],
    size: int = _PLAIN.size,
    read_u64: Callable[[int], int] = lambda address: 0,
) -> int:
    """Patch every entry of ``.altinstructions`` in file order; returns the number of replacements.

    Differs in one thing without effect: of an instruction that stays, single-byte nops are joined only where it
    consists of nothing else (the kernel decodes the instructions before them).

    *size* is that of the release's ``struct alt_instr``. A call through a pointer that is to become direct
    (ALT_FLAG_DIRECT_CALL) goes where the pointer in the kernel, read by *read_u64*, leads; without one it stays.
    """
    what = ".altinstructions"
    table, count = staging.table(what, size)
    done = 0
    for number in range(count):
        entry = table + number * size
        site, source, feature, flags, length, new_length = _entry(staging.read(entry, size, what))
        site += entry
        if feature >= _FEATURES or new_length > length:
            raise malformed(f"{what}: entry {number} replaces {length} bytes by {new_length}, feature {feature}")
        if (feature in features) == bool(flags & _ALT_FLAG_NOT):
            if staging.read(site, length, what) == b"\x90" * length:
                staging.write(site, insn.nops(length), what)
            continue
        source += entry + 4
        if flags & _ALT_FLAG_DIRECT_CALL:
            old = staging.read(site, length, what)
            if length != 6 or old[:2] != _INDIRECT_CALL:
                raise malformed(f"{what}: entry {number} makes a direct call of {old.hex()}")
            target = read_u64(site + 6 + int.from_bytes(old[2:], "little", signed=True))
            if target:
                staging.write(site, insn.branch(insn.CALL, site, target) + insn.nops(1), what)
                done += 1
            continue
        code = _moved(staging.read(source, new_length, what), source, site)
        staging.write(site, code + insn.nops(length - len(code)), what)
        done += 1
    return done


def _moved(code: bytes, source: int, to: int) -> bytes:
    """The replacement with a relative call or jump corrected for its new place (``recompute_jump``)."""
    if len(code) != 5 or code[0] not in (insn.CALL, insn.JMP32):
        return code
    target = source + 5 + int.from_bytes(code[1:], "little", signed=True)
    if code[0] == insn.JMP32 and 0 <= target - to <= 129:
        return bytes((insn.JMP8, target - to - 2 & 0xFF)) + insn.nops(3)
    return insn.branch(code[0], to, target)
