"""Arguments and results are converted as the calling convention says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kmem.kapi.bind import bind, bind_export
from kmem.kapi.cproto import PrototypeError
from kmem.kapi.export import Export, faithful
from kmem.kapi.host import Call
from kmem.kapi.varargs import VaArgs
from tests.kapi.fakehost import STACK, FakeHost

ONES = (1 << 64) - 1
JUNK = 0xAAAAAAAABBBBBBBB


def bound(prototype: str, handler: Callable[..., Any]) -> Any:
    """*handler* behind *prototype*."""
    name = parse_name(prototype)
    return bind_export(Export(name, faithful, handler, prototype, ""))


def parse_name(prototype: str) -> str:
    return prototype[: prototype.index("(")].split()[-1].lstrip("*")


@pytest.mark.parametrize(
    ("ctype", "raw", "value"),
    [
        ("int", ONES, -1),
        ("int", JUNK << 32 & ONES | 5, 5),
        ("int", 0xFFFFFFFF80000000, -(1 << 31)),
        ("unsigned int", ONES, 0xFFFFFFFF),
        ("gfp_t", JUNK, 0xBBBBBBBB),
        ("long", ONES, -1),
        ("unsigned long", ONES, ONES),
        ("char", 0x1FF, -1),
        ("u8", 0x1FF, 255),
        ("short", 0x18000, -0x8000),
        ("u16", 0x18000, 0x8000),
        ("bool", 0x100, False),
        ("bool", 0x101, True),
        ("void *", ONES, ONES),
    ],
)
def test_an_argument_register_is_narrowed_to_its_type(ctype: str, raw: int, value: int, k: FakeHost) -> None:
    seen: list[object] = []
    bound(f"void f({ctype} x)", lambda k, x: seen.append(x))(k, [raw, 0, 0, 0, 0, 0, STACK])
    assert seen == [value]
    assert type(seen[0]) is type(value)


@pytest.mark.parametrize(
    ("ctype", "value", "rax"),
    [
        ("int", -22, ONES - 21),
        ("int", True, 1),
        ("bool", 5, 1),
        ("bool", False, 0),
        ("void *", 0xFFFF888000000000, 0xFFFF888000000000),
        ("void", None, 0),
        ("unsigned long", 1 << 64 | 7, 7),
    ],
)
def test_a_result_becomes_rax(ctype: str, value: object, rax: int, k: FakeHost) -> None:
    result = bound(f"{ctype} f(void)", lambda k: value)(k, [0] * 6 + [STACK])
    assert type(result) is int
    assert result == rax


def test_the_seventh_argument_is_above_the_return_address(k: FakeHost) -> None:
    k.mem.set_u64(STACK, JUNK)
    k.mem.set_u64(STACK + 8, ONES)
    k.mem.set_u64(STACK + 16, 8)
    seen: list[int] = []
    f = bound("void f(int a, int b, int c, int d, int e, int f, int g, size_t h)", lambda k, *args: seen.extend(args))
    f(k, [1, 2, 3, 4, 5, 6, STACK])
    assert seen == [1, 2, 3, 4, 5, 6, -1, 8]


@pytest.mark.parametrize("named", [1, 5, 6, 7])
def test_variable_arguments_go_on_in_registers_and_then_on_the_stack(named: int, k: FakeHost) -> None:
    words = list(range(100, 112))
    for index, word in enumerate(words[6:]):
        k.mem.set_u64(STACK + 8 + 8 * index, word)
    parameters = ", ".join(f"int p{index}" for index in range(named))
    left: list[int] = []

    def handler(k: FakeHost, *args: Any) -> None:
        left.extend(args[-1].next_u64() for _ in range(12 - named))

    bound(f"void f({parameters}, ...)", handler)(k, [*words[:6], STACK])
    assert left == words[named:]


@pytest.mark.parametrize("taken", [0, 2, 6, 8])
def test_a_va_list_is_read_from_where_it_stands(taken: int, k: FakeHost) -> None:
    words = list(range(200, 210))
    save = k.put(b"".join(word.to_bytes(8, "little") for word in words[:6]))
    overflow = k.put(b"".join(word.to_bytes(8, "little") for word in words[6:]))
    va_list = k.put(bytes(24))
    k.mem.set_u32(va_list, min(taken, 6) * 8)
    k.mem.set_u64(va_list + 8, overflow + max(0, taken - 6) * 8)
    k.mem.set_u64(va_list + 16, save)
    args = VaArgs.of_list(k.mem, va_list)
    assert [args.next_u64() for _ in range(10 - taken)] == words[taken:]
    again = VaArgs.of_list(k.mem, va_list)
    if taken < 10:
        assert again.next_u64() == words[taken]


def test_a_variable_argument_has_the_type_that_is_asked_for(k: FakeHost) -> None:
    args = VaArgs(k.mem, (ONES, ONES, ONES, ONES), STACK)
    assert (args.next_s32(), args.next_u32(), args.next_s64(), args.next_u64()) == (-1, 0xFFFFFFFF, -1, ONES)


def test_a_generator_runs_guest_code_and_its_value_is_the_result(k: FakeHost) -> None:
    def handler(k: FakeHost, fn: int, x: int) -> Any:
        first = yield Call(fn, (x,))
        second = yield Call(fn, (first, x))
        return second - 5

    double = k.guest(lambda a, b=0: 2 * a + b)
    result = bound("int f(void *fn, int x)", handler)(k, [double, 3, 0, 0, 0, 0, STACK])
    assert k.drive(result) == 10
    assert k.calls == [(double, 3), (double, 6, 3)]


def test_an_unknown_name_and_guest_code_have_no_handler() -> None:
    assert bind("no_such_function") is None
    assert bind("memcpy") is None
    assert bind("jiffies") is None


def test_a_prototype_that_does_not_fit_the_handler_is_refused() -> None:
    with pytest.raises(PrototypeError, match="takes 2 parameters, its prototype needs 3"):
        bound("void f(int a, int b)", lambda k, a: None)
    with pytest.raises(PrototypeError, match="is that of g"):
        bind_export(Export("f", faithful, lambda k: None, "void g(void)", ""))
