"""The operations that model code is made of: what they do, and that compiled code does the same as interpreted code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP, VMEMMAP_START
from kmem.lib.build import FAULTED
from kmem.lib.cstruct import CoreFault, s64, u64
from kmem.machine.ram import Ram
from tests.lib.engines import ENGINES, Compiled, Interpreted

MIB = 1 << 20
words = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-300, 300), st.integers(0, 63).map(lambda n: 1 << n)
)


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.__name__.lower())
def ops(request: pytest.FixtureRequest) -> Any:
    return request.param(fresh())


def fresh() -> Ram:
    ram = Ram(4 * MIB)
    ram.place_mem_map(1 * MIB, 64 << 10)
    return ram


class Both:
    """Runs one call on both engines and compares result, fault and memory."""

    def __init__(self) -> None:
        self.engines = [engine(fresh()) for engine in ENGINES]

    def call(self, name: str, *args: int) -> object:
        results: list[object] = []
        for engine in self.engines:
            try:
                results.append(getattr(engine, name)(*args))
            except CoreFault as fault:
                results.append((fault.address, fault.size, fault.write))
        assert results[0] == results[1], f"{name}{args}"
        return results[0]

    def same_memory(self) -> None:
        first, second = (bytes(engine.ram.mem) for engine in self.engines)
        assert first == second


both = Both()


@given(which=st.integers(0, 2), a=words)
@example(which=0, a=128)  # gives the word that also says that an entry gave up
def test_bits_of_one_word(which: int, a: int) -> None:
    got = both.call("op_unary", which, a)
    bits = u64(a)
    expected = (
        int.from_bytes(bits.to_bytes(8, "little"), "big"),
        next((n for n in range(64) if bits >> n & 1), 64),
        bits.bit_length(),
    )
    assert got == expected[which]


@given(which=st.integers(0, 3), a=words, b=words)
def test_arithmetic_on_two_words(which: int, a: int, b: int) -> None:
    if which in (1, 2):
        b &= 63
    expected = (u64(a) < u64(b), u64(a) >> (b & 63), u64(a << (b & 63)), u64(a * b))
    assume(expected[which] != FAULTED)  # which an entry cannot return
    assert both.call("op_binary", which, a, b) == expected[which]


@given(size=st.sampled_from((1, 2, 4, 8)), at=st.integers(0, 4 * MIB - 8), value=words)
def test_a_stored_number_is_loaded_again(size: int, at: int, value: int) -> None:
    addr = PAGE_OFFSET + at
    both.call("op_store", size, addr, value)
    assert both.call("op_load", size, addr) == u64(value) & (1 << 8 * size) - 1
    assert both.engines[0].ram.mem[at : at + 8] == both.engines[1].ram.mem[at : at + 8]


WINDOWS = (
    (PAGE_OFFSET, 0, 4 * MIB),
    (VMEMMAP_START, 1 * MIB, 64 << 10),
    (START_KERNEL_MAP, 0, 4 * MIB),
)


@pytest.mark.parametrize(("base", "phys", "size"), WINDOWS, ids=("direct", "vmemmap", "image"))
def test_each_window_leads_to_its_memory(ops: Any, base: int, phys: int, size: int) -> None:
    ops.op_store(8, base + 4096, 0x1234)
    assert ops.ram.mem[phys + 4096 : phys + 4104] == (0x1234).to_bytes(8, "little")
    ops.op_store(1, base + size - 1, 0x5A)
    assert ops.ram.mem[phys + size - 1] == 0x5A


@pytest.mark.parametrize(
    "addr",
    [
        0,
        8,
        PAGE_OFFSET - 1,
        PAGE_OFFSET + 4 * MIB,
        VMEMMAP_START - 1,
        VMEMMAP_START + (64 << 10),
        0xFFFFC90000000000,
        (1 << 64) - 8,
    ],
    ids=hex,
)
def test_a_wild_address_faults_and_says_where(ops: Any, addr: int) -> None:
    for name, args, write in (("op_load", (1, addr), False), ("op_store", (1, addr, 7), True)):
        with pytest.raises(CoreFault) as caught:
            getattr(ops, name)(*args)
        assert (caught.value.address, caught.value.size, caught.value.write) == (addr, 1, write)


def test_unwind_leaves_every_caller(ops: Any) -> None:
    with pytest.raises(CoreFault):
        ops.op_unwind()


@given(at=st.integers(0, 8192), n=st.integers(-1, 8192), byte=st.integers(0, 255))
def test_fill(at: int, n: int, byte: int) -> None:
    both.call("op_fill", PAGE_OFFSET + at, byte, n)
    both.same_memory()
    assert set(both.engines[0].ram.mem[at : at + max(n, 0)]) <= {byte}


@given(
    dest=st.integers(0, 600), src=st.integers(0, 600), n=st.integers(-1, 500), seed=st.binary(min_size=16, max_size=16)
)
def test_copy_is_memmove(dest: int, src: int, n: int, seed: bytes) -> None:
    pattern = bytes((i * 7 + seed[i % 16]) & 0xFF for i in range(1200))
    for engine in both.engines:
        engine.ram.mem[:1200] = pattern
    both.call("op_copy", PAGE_OFFSET + dest, PAGE_OFFSET + src, n)
    expected = bytearray(pattern)
    expected[dest : dest + max(n, 0)] = pattern[src : src + max(n, 0)]
    assert bytes(both.engines[0].ram.mem[:1200]) == expected
    both.same_memory()


@pytest.mark.parametrize(("name", "args"), [("op_fill", (1, 64)), ("op_copy", (PAGE_OFFSET, 64))])
def test_a_range_that_leaves_memory_faults(ops: Any, name: str, args: tuple[int, ...]) -> None:
    with pytest.raises(CoreFault):
        getattr(ops, name)(PAGE_OFFSET + 4 * MIB - 32, *args)


@given(inuse=st.integers(0, 1 << 17), objects=st.integers(0, 1 << 16), frozen=st.integers(0, 3))
def test_bit_fields_keep_to_their_bits(inuse: int, objects: int, frozen: int) -> None:
    got = both.call("op_bitfields", VMEMMAP_START + 640, inuse, objects, frozen)
    inuse, objects, frozen = inuse & 0xFFFF, objects & 0x7FFF, frozen & 1
    word = inuse | objects << 16 | frozen << 31
    assert got == u64(word + (inuse << 40) + (objects << 48) + (frozen << 62))


@given(value=words)
def test_narrow_members_are_truncated_and_extended(value: int) -> None:
    got = both.call("op_narrow", VMEMMAP_START + 64, value)
    signed = (u64(value) & 0xFFFFFFFF) - (1 << 32 if value >> 31 & 1 else 0)
    assert got == u64(signed + (u64(value) & 0xFFFFFFFF) * 3 + (value & 0xFF) * 5)


@given(n=st.integers(-8, 500))
def test_pointer_arithmetic(n: int) -> None:
    got = both.call("op_pointers", VMEMMAP_START + 64 * 10, n)
    equal = 100000 if n else 0
    assert got == u64(n * 1000 + 3 + equal + 200000 + 2 * 216)


def test_the_engines_are_two() -> None:
    assert isinstance(both.engines[0], Interpreted)
    assert isinstance(both.engines[1], Compiled)
    assert s64(u64(-5)) == -5
