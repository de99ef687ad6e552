"""Guest code: the listing is the code, and the code does what the C function does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.abi.address import TASK_SIZE_MAX
from kmem.kapi.export import Code, all_exports

CODE, DATA, STACK, END = 0x10000, 0x20000, 0x40000, 0x50000
entries = [entry for entry in all_exports().values() if isinstance(entry, Code)]
REGISTERS = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()


@pytest.mark.parametrize("entry", entries, ids=lambda entry: entry.name)
def test_the_listing_is_the_disassembly(entry: Code) -> None:
    import capstone

    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    instructions = list(disassembler.disasm(entry.code, 0))
    assert sum(instruction.size for instruction in instructions) == len(entry.code)
    text = "\n".join(f"{instruction.mnemonic} {instruction.op_str}".rstrip() for instruction in instructions)
    assert text == entry.listing


class Machine:
    """A CPU with all the code from CODE on, data at DATA and no paging; `call` returns rax."""

    def __init__(self) -> None:
        import unicorn
        from unicorn import x86_const

        self.const = x86_const
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.uc.mem_map(CODE, END - CODE + 0x1000)
        self.at = {entry.name: CODE + 256 * number for number, entry in enumerate(entries)}
        for entry in entries:
            self.uc.mem_write(self.at[entry.name], entry.code)

    def reg(self, name: str) -> int:
        return getattr(self.const, f"UC_X86_REG_{name.upper()}")  # type: ignore[no-any-return]

    def call(self, name: str, **registers: int) -> int:
        self.uc.mem_write(STACK, END.to_bytes(8, "little"))
        self.uc.reg_write(self.reg("rsp"), STACK)
        for register, value in registers.items():
            self.uc.reg_write(self.reg(register), value)
        self.uc.emu_start(self.at[name], END)
        assert self.uc.reg_read(self.reg("rip")) == END
        return self.uc.reg_read(self.reg("rax"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine()


blocks = st.binary(max_size=70)
offsets = st.integers(0, 9)


@given(content=blocks, to=offsets, start=offsets)
def test_memcpy(machine: Machine, content: bytes, to: int, start: int) -> None:
    for name in ("memcpy", "__memcpy"):
        machine.uc.mem_write(DATA, b"$" * 256 + b"#" * 16 + content)
        assert machine.call(name, rdi=DATA + to, rsi=DATA + 272, rdx=len(content)) == DATA + to
        expected = (b"$" * to + content).ljust(256, b"$")
        assert machine.uc.mem_read(DATA, 256) == expected


@given(length=st.integers(0, 70), to=st.integers(0, 40), start=st.integers(0, 40))
def test_memmove_of_overlapping_areas(machine: Machine, length: int, to: int, start: int) -> None:
    area = bytes(range(128))
    machine.uc.mem_write(DATA, area)
    assert machine.call("memmove", rdi=DATA + to, rsi=DATA + start, rdx=length) == DATA + to
    expected = area[:to] + area[start : start + length] + area[to + length :]
    assert machine.uc.mem_read(DATA, 128) == expected
    assert not machine.uc.reg_read(machine.reg("eflags")) & 0x400, "the direction flag stays clear"


@given(length=st.integers(0, 70), to=offsets, byte=st.integers(0, 0x1FF))
def test_memset(machine: Machine, length: int, to: int, byte: int) -> None:
    machine.uc.mem_write(DATA, b"$" * 128)
    assert machine.call("memset", rdi=DATA + to, rsi=byte, rdx=length) == DATA + to
    assert machine.uc.mem_read(DATA, 128) == (b"$" * to + bytes([byte & 0xFF]) * length).ljust(128, b"$")
    assert machine.uc.reg_read(machine.reg("rsp")) == STACK + 8


def test_whole_pages(machine: Machine) -> None:
    page = bytes(range(256)) * 16
    machine.uc.mem_write(DATA, page + b"$" * 4097)
    machine.call("copy_page", rdi=DATA + 4096, rsi=DATA)
    assert machine.uc.mem_read(DATA + 4096, 4097) == page + b"$"
    for name in ("clear_page_orig", "clear_page_rep", "clear_page_erms"):
        machine.uc.mem_write(DATA, page + b"$")
        machine.call(name, rdi=DATA)
        assert machine.uc.mem_read(DATA, 4097) == bytes(4096) + b"$"


@given(st.integers(0, (1 << 64) - 1))
def test_population_counts_keep_all_other_registers(machine: Machine, value: int) -> None:
    kept = {
        register: 0x1111 * number for number, register in enumerate(REGISTERS) if register not in ("rax", "rsp", "rdi")
    }
    assert machine.call("__sw_hweight64", rdi=value, **kept) == value.bit_count()
    assert machine.call("__sw_hweight32", rdi=value, **kept) == (value & 0xFFFFFFFF).bit_count()
    assert {register: machine.uc.reg_read(machine.reg(register)) for register in kept} == kept


@pytest.mark.parametrize("register", [register for register in REGISTERS if register != "rsp"])
def test_an_indirect_thunk_jumps_to_its_register(register: str, machine: Machine) -> None:
    machine.call(f"__x86_indirect_thunk_{register}", **{register: END})


@pytest.mark.parametrize("name", ["__SCT__cond_resched", "__SCT__might_resched", "__static_call_return0"])
def test_calls_of_the_preemption_model_return_zero(name: str, machine: Machine) -> None:
    assert machine.call(name, rax=77) == 0


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_user_accesses_above_the_limit_fail(size: int, machine: Machine) -> None:
    for address in (TASK_SIZE_MAX - size + 1, TASK_SIZE_MAX, (1 << 64) - 1):
        assert machine.call(f"__get_user_{size}", rax=address, rdx=7) == (1 << 64) - 14
        assert machine.uc.reg_read(machine.reg("rdx")) == 0
        machine.call(f"__put_user_{size}", rax=5, rcx=address)
        assert machine.uc.reg_read(machine.reg("ecx")) == (1 << 32) - 14
