"""Code that the kernel rewrites at load time. capstone says what the patched bytes mean."""

from __future__ import annotations

import capstone
import pytest

from kmem.errors import ModuleFormatError
from kmem.modules import insn
from kmem.modules.alternatives import CPU_FEATURES
from kmem.modules.fixups import Patched, StaticCallSite, apply_fixups, static_call_code
from kmem.modules.staging import Staging
from tests.modules.elfmaker import ALLOC, EXEC, GLOBAL, R_64, R_PC32, R_PLT32, UNDEF, WRITE, Maker
from tests.modules.linking import CORE, staged

RETURN_THUNK, FENTRY, PV_OPS, WORK = 0xFFFFFFFF81000000, 0xFFFFFFFF81000010, 0xFFFFFFFF82000000, 0xFFFFFFFF81000100
REGISTERS = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{number}" for number in range(8, 16))]
THUNKS = {f"__x86_indirect_thunk_{name}": 0xFFFFFFFF81000200 + 32 * number for number, name in enumerate(REGISTERS)}
EXPORTS = {
    "__x86_return_thunk": RETURN_THUNK, "__fentry__": FENTRY, "pv_ops": PV_OPS, "work": WORK,
    "__SCT__might_resched": 0xFFFFFFFF81000800, "__static_call_return0": 0xFFFFFFFF81000900, **THUNKS,
}  # fmt: skip


def code_module(code: bytes) -> tuple[Maker, int]:
    maker = Maker()
    return maker, maker.section(".text", code, ALLOC | EXEC, align=16)


def site(maker: Maker, table: str, at: int) -> None:
    """An entry in a table of relative pointers, for the instruction at *at* in section 1."""
    number = next((n for n, section in enumerate(maker.sections, 1) if section.name == table), 0)
    number = number or maker.section(table, b"", ALLOC)
    target = maker.symbol("", 1, at)
    maker.sections[number - 1].data += bytes(4)
    maker.rela(number, len(maker.sections[number - 1].data) - 4, R_PC32, target)


def no_memory(address: int) -> int:
    return 0


def patched(maker: Maker, read_u64=no_memory) -> tuple[Staging, Patched]:  # type: ignore[no-untyped-def]
    staging, imports = staged(maker, EXPORTS)
    return staging, apply_fixups(staging, imports, read_u64, CPU_FEATURES)


def listing(code: bytes, address: int = CORE) -> list[str]:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return [f"{line.mnemonic} {line.op_str}".strip() for line in decoder.disasm(code, address)]


@pytest.mark.parametrize("size", range(1, 40))
def test_nops_are_as_few_instructions_as_the_kernels(size: int) -> None:
    lines = listing(insn.nops(size))
    assert len(insn.nops(size)) == size
    assert all(line.startswith("nop") for line in lines)
    assert len(lines) == -(-size // 8)


def test_fentry_call_becomes_a_nop() -> None:
    maker, text = code_module(b"\xe8\0\0\0\0\x31\xc0" + bytes(25))
    maker.rela(text, 1, R_PLT32, maker.symbol("__fentry__", UNDEF), -4)
    table = maker.section("__mcount_loc", bytes(8), ALLOC)
    maker.rela(table, 0, R_64, maker.symbol("", text))
    staging, done = patched(maker)
    assert done.fentry == 1
    assert bytes(staging.core[:7]) == b"\x0f\x1f\x44\0\0\x31\xc0"


def test_return_thunk_becomes_ret() -> None:
    maker, text = code_module(b"\x90\xe9\0\0\0\0\xcc" + bytes(25))
    maker.rela(text, 2, R_PLT32, maker.symbol("__x86_return_thunk", UNDEF), -4)
    site(maker, ".return_sites", 1)
    staging, done = patched(maker)
    assert done.returns == 1
    assert bytes(staging.core[1:7]) == b"\xc3\xcc\xcc\xcc\xcc\xcc"


def test_jump_elsewhere_is_no_return() -> None:
    maker, text = code_module(b"\xe9\0\0\0\0" + bytes(27))
    maker.rela(text, 1, R_PLT32, maker.symbol("work", UNDEF), -4)
    site(maker, ".return_sites", 0)
    staging, done = patched(maker)
    assert done.returns == 0
    assert staging.core[0] == 0xE9


@pytest.mark.parametrize("register", [name for name in REGISTERS if name != "rsp"])
@pytest.mark.parametrize(
    ("code", "tail"), [(b"\xe8", "nop"), (b"\xe9", "int3"), (b"\x2e\xe8", "nop"), (b"\x2e\xe9", "int3")]
)
def test_retpoline_becomes_an_indirect_branch(register: str, code: bytes, tail: str) -> None:
    maker, text = code_module(code + bytes(4) + b"\xcc" * 20)
    maker.rela(text, len(code), R_PLT32, maker.symbol(f"__x86_indirect_thunk_{register}", UNDEF), -4)
    site(maker, ".retpoline_sites", 0)
    staging, done = patched(maker)
    lines = listing(bytes(staging.core[: len(code) + 4]))
    assert done.retpolines == 1
    assert lines[0] == f"{'call' if code[-1] == 0xE8 else 'jmp'} {register}"
    assert lines[1].startswith(tail)
    assert staging.core[len(code) + 4] == 0xCC


def test_conditional_retpoline_jumps_over_the_branch() -> None:
    """jne thunk_rax: only clang makes it."""
    maker, text = code_module(b"\x0f\x85\0\0\0\0" + b"\xcc" * 20)
    maker.rela(text, 2, R_PLT32, maker.symbol("__x86_indirect_thunk_r11", UNDEF), -4)
    site(maker, ".retpoline_sites", 0)
    staging, _ = patched(maker)
    assert listing(bytes(staging.core[:6]))[:2] == [f"je {CORE + 6:#x}", "jmp r11"]


def paravirt(kind: int, functions: dict[int, int]) -> list[str]:
    maker, text = code_module(b"\xff\x15\0\0\0\0" + b"\xcc" * 20)
    maker.rela(text, 2, R_PC32, maker.symbol("pv_ops", UNDEF), kind * 8 - 4)
    table = maker.section(".parainstructions", bytes(8) + bytes((kind, 6)) + bytes(6), ALLOC, align=8)
    maker.rela(table, 0, R_64, maker.symbol("", text))
    staging, _ = patched(maker, lambda address: functions.get((address - PV_OPS) // 8, 0))
    return listing(bytes(staging.core[:6]))


def test_paravirt_call_becomes_direct() -> None:
    assert paravirt(24, {24: WORK}) == [f"call {WORK:#x}", "nop"]


def test_paravirt_operation_that_is_missing_stays_a_call_through_the_pointer() -> None:
    assert paravirt(24, {})[0].startswith("call qword ptr [rip")


def test_io_delay_is_nothing() -> None:
    assert len(paravirt(0, {})) == 1
    assert paravirt(0, {})[0].startswith("nop")


@pytest.mark.parametrize(
    "table", [".return_sites", ".retpoline_sites", "__mcount_loc", ".static_call_sites", ".parainstructions"]
)
def test_table_that_points_out_of_the_module_is_refused(table: str) -> None:
    maker, _ = code_module(bytes(32))
    maker.symbol("pv_ops", UNDEF)
    maker.section(table, b"\x78\x56\x34\x12" * 4, ALLOC)
    with pytest.raises(ModuleFormatError, match=f"{table} points to 0x[0-9a-f]+, outside of the module"):
        patched(maker, lambda address: WORK)


def call_site(key_function: int | None, code: bytes, *, tail: bool = False, key: str = "") -> list[str]:
    """A static call through a key of the module's own that holds *key_function*, or through *key* of the kernel."""
    maker, text = code_module(code + b"\xcc" * 20)
    tramp = maker.symbol("__SCT__might_resched", UNDEF)
    maker.rela(text, len(code) - 4, R_PLT32, tramp, -4)
    held = (key_function or 0).to_bytes(8, "little")
    keys = maker.section(".data", held + bytes(8), ALLOC | WRITE, align=8)
    table = maker.section(".static_call_sites", bytes(8), ALLOC | WRITE)
    own = maker.symbol("__SCK__own", keys, bind=GLOBAL)
    maker.symbol("__static_call_return0", UNDEF)
    maker.rela(table, 0, R_PC32, maker.symbol("", text))
    maker.rela(table, 4, R_PC32, maker.symbol(key, UNDEF) if key else own, int(tail))
    staging, _ = patched(maker)
    return listing(bytes(staging.core[: len(code)]))


@pytest.mark.parametrize(
    ("function", "code", "tail", "lines"),
    [
        (WORK, b"\xe8\0\0\0\0", False, [f"call {WORK:#x}"]),
        (None, b"\xe8\0\0\0\0", False, ["nop dword ptr [rax + rax]"]),
        (WORK, b"\xe9\0\0\0\0", True, [f"jmp {WORK:#x}"]),
        (None, b"\xe9\0\0\0\0", True, ["ret", "int3", "int3", "int3", "int3"]),
        (0xFFFFFFFF81000900, b"\xe8\0\0\0\0", False, ["xor eax, eax"]),
        (WORK, b"\x0f\x84\0\0\0\0", True, [f"je {WORK:#x}"]),
    ],
)
def test_static_call_goes_where_its_key_says(function: int | None, code: bytes, tail: bool, lines: list[str]) -> None:
    assert call_site(function, code, tail=tail) == lines


def test_static_call_of_the_kernels_own_stays_a_call_of_the_trampoline() -> None:
    assert call_site(None, b"\xe8\0\0\0\0", key="__SCT__might_resched") == ["call 0xffffffff81000800"]


def test_conditional_tail_call_of_nothing_needs_a_place_to_return() -> None:
    at = StaticCallSite(CORE, 0, True)
    assert static_call_code(at, 0, b"\x0f\x84\0\0\0\0", None, None) is None
    assert listing(static_call_code(at, 0, b"\x0f\x84\0\0\0\0", None, RETURN_THUNK) or b"") == [f"je {RETURN_THUNK:#x}"]


def test_module_without_tables_stays_as_it_is() -> None:
    maker, _ = code_module(bytes(range(32)))
    staging, done = patched(maker)
    assert done == Patched()
    assert bytes(staging.core[:32]) == bytes(range(32))
