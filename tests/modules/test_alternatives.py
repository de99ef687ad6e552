"""Instructions chosen by CPU feature."""

from __future__ import annotations

import struct

import capstone
import pytest

from kmem.errors import ModuleFormatError
from kmem.modules.alternatives import CPU_FEATURES, X86_FEATURE_ALWAYS, X86_FEATURE_POPCNT, apply_alternatives
from tests.modules.elfmaker import ALLOC, EXEC, R_PC32, R_PLT32, UNDEF, Maker
from tests.modules.linking import CORE, staged

XENPV, SMAP = 8 * 32 + 16, 9 * 32 + 20
NOT = 0x8000
WORK = 0xFFFFFFFF81000000
REPLACEMENT = CORE + 64


def alternative(original: bytes, *choices: tuple[int, bytes], calls: bool = False) -> bytes:
    """The bytes of *original* after its alternatives (feature, replacement) were applied in order."""
    maker = Maker()
    text = maker.section(".text", original + b"\xcc" * (64 - len(original)), ALLOC | EXEC, align=64)
    replacement = maker.section(".altinstr_replacement", b"".join(code for _, code in choices), ALLOC | EXEC)
    table = b"".join(struct.pack("<iiHBB", 0, 0, feature, len(original), len(code)) for feature, code in choices)
    entries = maker.section(".altinstructions", table, ALLOC)
    here = maker.symbol("", text)
    at = 0
    for number, (_, code) in enumerate(choices):
        maker.rela(entries, 12 * number, R_PC32, here)
        maker.rela(entries, 12 * number + 4, R_PC32, maker.symbol("", replacement, at))
        if calls:
            maker.rela(replacement, at + 1, R_PLT32, maker.symbol("work", UNDEF), -4)
        at += len(code)
    staging, _ = staged(maker, {"work": WORK})
    apply_alternatives(staging, CPU_FEATURES)
    assert staging.core[len(original)] == 0xCC
    return bytes(staging.core[: len(original)])


def test_feature_that_the_cpu_has_is_used() -> None:
    assert alternative(b"\xe8\1\2\3\4", (X86_FEATURE_POPCNT, b"\xf3\x48\x0f\xb8\xc7")) == b"\xf3\x48\x0f\xb8\xc7"


def test_feature_that_the_cpu_lacks_is_not_used() -> None:
    assert alternative(b"\xe8\1\2\3\4", (XENPV, b"\x31\xc0")) == b"\xe8\1\2\3\4"


def test_inverted_feature_is_used_when_it_is_missing() -> None:
    """local_irq_disable(): a call through pv_ops that becomes cli where there is no Xen."""
    assert alternative(b"\xff\x15\0\0\0\0", (XENPV | NOT, b"\xfa")) == b"\xfa\x0f\x1f\x44\0\0"


def test_saved_flags_are_read_by_two_instructions() -> None:
    assert alternative(b"\xff\x15\0\0\0\0", (XENPV | NOT, b"\x9c\x58")) == b"\x9c\x58\x0f\x1f\x40\0"


def test_the_last_entry_that_fits_wins() -> None:
    original = b"\xeb\0\x90\x90\x90"
    assert alternative(original, (X86_FEATURE_ALWAYS, b"\x31\xc0"), (XENPV, b"\x31\xc9"))[:2] == b"\x31\xc0"
    assert (
        alternative(original, (X86_FEATURE_ALWAYS, b"\x31\xc0"), (X86_FEATURE_POPCNT, b"\x31\xd2"))[:2] == b"\x31\xd2"
    )


def test_nothing_as_a_replacement_leaves_nops() -> None:
    assert alternative(b"\xe9\1\2\3\4", (X86_FEATURE_ALWAYS, b"")) == b"\x0f\x1f\x44\0\0"


def test_place_holder_of_nops_is_joined() -> None:
    assert alternative(b"\x90\x90\x90", (XENPV, b"\x0f\x01\xcb")) == b"\x0f\x1f\0"


def test_a_cpu_with_smap_gets_stac() -> None:
    assert alternative(b"\x90\x90\x90", (SMAP, b"\x0f\x01\xcb")) == b"\x0f\x01\xcb"


@pytest.mark.parametrize(("opcode", "mnemonic"), [(0xE8, "call"), (0xE9, "jmp")])
def test_branch_in_a_replacement_keeps_its_target(opcode: int, mnemonic: str) -> None:
    code = alternative(b"\x90" * 5, (X86_FEATURE_ALWAYS, bytes((opcode, 0, 0, 0, 0))), calls=True)
    (line,) = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm(code, CORE)
    assert (line.mnemonic, line.op_str) == (mnemonic, hex(WORK))


@pytest.mark.parametrize(("distance", "size"), [(2, 2), (129, 2), (130, 5), (-1, 5)])
def test_short_jump_forward_is_made_short(distance: int, size: int) -> None:
    """The displacement of the replacement is from its own place, 64 bytes further on."""
    jump = b"\xe9" + struct.pack("<i", CORE + distance - REPLACEMENT - 5)
    code = alternative(b"\x90" * 5, (X86_FEATURE_ALWAYS, jump))
    line = next(capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm(code, CORE))
    assert (line.mnemonic, line.op_str, line.size) == ("jmp", hex(CORE + distance), size)


@pytest.mark.parametrize(("feature", "code"), [(0x7FFF, b"\x90"), (X86_FEATURE_ALWAYS, b"\x90" * 6)])
def test_entry_that_makes_no_sense_is_refused(feature: int, code: bytes) -> None:
    with pytest.raises(ModuleFormatError, match=r"\.altinstructions: entry 0 replaces 5 bytes"):
        alternative(b"\x90" * 5, (feature, code))
