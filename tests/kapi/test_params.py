"""Module parameters: each type's set and get, arrays, strings, what set_param returns."""

from __future__ import annotations

import pytest

from kmem.kapi.params import free_params, set_param
from tests.kapi.fakehost import FakeHost

EINVAL, ENOSPC, ERANGE, EROFS, ENOMEM = -22, -28, -34, -30, -12


def param(k: FakeHost, ops: str | int, arg: int, name: str = "count") -> int:
    """A ``struct kernel_param``."""
    layout = k.layout["kernel_param"]
    kp = k.alloc(layout.size)
    k.mem.set_u64(kp + layout.offset("name"), k.put(name))
    k.mem.set_u64(kp + layout.offset("ops"), k.address_of(ops) if isinstance(ops, str) else ops)
    k.mem.set_u64(kp + layout.offset("arg"), arg)
    return kp


def set_value(k: FakeHost, kp: int, value: str | None) -> int:
    rax = k.drive(set_param(k, kp, value))
    return rax - (1 << 64) if rax >> 63 else rax


def get(k: FakeHost, kp: int) -> str:
    """What the parameter's own get function prints, as sysfs would."""
    function = k.mem.u64(k.mem.u64(kp + k.layout["kernel_param"].offset("ops")) + 16)
    page = k.alloc(4096)

    def call() -> object:
        from kmem.kapi.host import Call

        return (yield Call(function, (page, kp)))

    length = k.drive(call())  # type: ignore[arg-type]
    text = k.text(page)
    assert length == len(text)
    return text


@pytest.mark.parametrize(
    ("kind", "text", "size", "stored", "shown"),
    [
        ("int", "-5", 4, (1 << 32) - 5, "-5\n"),
        ("int", "0x10", 4, 16, "16\n"),
        ("uint", "4294967295", 4, (1 << 32) - 1, "4294967295\n"),
        ("long", "-1", 8, (1 << 64) - 1, "-1\n"),
        ("ulong", "18446744073709551615", 8, (1 << 64) - 1, "18446744073709551615\n"),
        ("ullong", "010", 8, 8, "8\n"),
        ("short", "-32768", 2, 0x8000, "-32768\n"),
        ("ushort", "65535", 2, 65535, "65535\n"),
        ("byte", "255", 1, 255, "255\n"),
        ("hexint", "255", 4, 255, "0x0000ff\n"),
        ("bool", "y", 1, 1, "Y\n"),
        ("bool", "off", 1, 0, "N\n"),
        ("invbool", "y", 1, 0, "Y\n"),
        ("invbool", "0", 1, 1, "N\n"),
        ("bint", "on", 4, 1, "1\n"),
        ("bool_enable_only", "1", 1, 1, "Y\n"),
    ],
)
def test_a_value_of_each_type(kind: str, text: str, size: int, stored: int, shown: str, k: FakeHost) -> None:
    arg = k.put(b"\xa5" * 16)
    if kind == "bool_enable_only":
        k.mem.set_u8(arg, 0)
    kp = param(k, f"param_ops_{kind}", arg)
    assert set_value(k, kp, text) == 0
    assert k.mem.read(arg, 16) == stored.to_bytes(size, "little").ljust(16, b"\xa5")
    assert get(k, kp) == shown


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("int", "2147483648", ERANGE),
        ("int", "1x", EINVAL),
        ("int", "", EINVAL),
        ("uint", "-1", EINVAL),
        ("byte", "256", ERANGE),
        ("bool", "maybe", EINVAL),
        ("bint", "", EINVAL),
        ("int", None, EINVAL),
        ("invbool", None, EINVAL),
    ],
)
def test_a_bad_value_is_refused_and_nothing_stored(kind: str, text: str | None, error: int, k: FakeHost) -> None:
    arg = k.put(b"\xa5" * 8)
    assert set_value(k, param(k, f"param_ops_{kind}", arg), text) == error
    assert k.mem.read(arg, 8) == b"\xa5" * 8


@pytest.mark.parametrize("kind", ["bool", "bint", "bool_enable_only"])
def test_a_switch_needs_no_value(kind: str, k: FakeHost) -> None:
    arg = k.alloc(8)
    assert set_value(k, param(k, f"param_ops_{kind}", arg), None) == 0
    assert k.mem.u8(arg) == 1


def test_enable_only_cannot_be_undone(k: FakeHost) -> None:
    arg = k.put(b"\x01")
    assert set_value(k, param(k, "param_ops_bool_enable_only", arg), "0") == EROFS
    assert k.mem.u8(arg) == 1


def test_a_string_is_copied_and_the_copy_before_freed(k: FakeHost) -> None:
    default = k.put("default")
    arg = k.put(default.to_bytes(8, "little"))
    kp = param(k, "param_ops_charp", arg, "name")
    assert get(k, kp) == "default\n"
    assert set_value(k, kp, "first") == 0
    assert get(k, kp) == "first\n"
    assert set_value(k, kp, "second") == 0
    assert get(k, kp) == "second\n"
    assert len(k.mm.live) == 1
    k.drive(free_params(k, kp, 1))
    assert k.mm.live == {}
    assert ("kfree", default) not in k.mm.calls


def test_a_string_may_be_1024_bytes(k: FakeHost) -> None:
    arg = k.alloc(8)
    kp = param(k, "param_ops_charp", arg, "name")
    assert set_value(k, kp, "x" * 1024) == 0
    assert set_value(k, kp, "x" * 1025) == ENOSPC
    assert k.log.records[-1].text == "name: string parameter too long"
    k.mm.fail = True
    assert set_value(k, kp, "x") == ENOMEM


def kparam_string(k: FakeHost, maxlen: int) -> tuple[int, int]:
    buffer = k.put(b"$" * (maxlen + 4))
    return k.put(maxlen.to_bytes(8, "little") + buffer.to_bytes(8, "little")), buffer


def test_a_string_of_fixed_size(k: FakeHost) -> None:
    kps, buffer = kparam_string(k, 4)
    kp = param(k, "param_ops_string", kps, "id")
    assert set_value(k, kp, "abc") == 0
    assert k.mem.read(buffer, 8) == b"abc\0$$$$"
    assert get(k, kp) == "abc\n"
    assert set_value(k, kp, "abcd") == ENOSPC
    assert k.log.records[-1].text == "id: string doesn't fit in 3 chars."


def kparam_array(k: FakeHost, maximum: int, elemsize: int, ops: str) -> tuple[int, int, int]:
    num, elements = k.alloc(4), k.put(b"\xa5" * (maximum * elemsize))
    words = [elemsize << 32 | maximum, num, k.address_of(ops), elements]
    return k.put(b"".join(word.to_bytes(8, "little") for word in words)), num, elements


def test_an_array(k: FakeHost) -> None:
    arr, num, elements = kparam_array(k, 3, 4, "param_ops_int")
    kp = param(k, "param_array_ops", arr, "irqs")
    assert set_value(k, kp, "1,-2") == 0
    assert k.mem.u32(num) == 2
    assert [k.mem.s32(elements + 4 * index) for index in range(2)] == [1, -2]
    assert k.mem.u32(elements + 8) == 0xA5A5A5A5
    assert get(k, kp) == "1,-2\n"
    assert set_value(k, kp, "1,2,3,4") == EINVAL
    assert k.log.records[-1].text == "irqs: can only take 3 arguments"
    assert k.mem.u32(num) == 3
    assert set_value(k, kp, "1,x,3") == EINVAL
    assert k.mem.u32(num) == 1


def test_an_array_of_strings_is_freed(k: FakeHost) -> None:
    arr, _, elements = kparam_array(k, 4, 8, "param_ops_charp")
    k.mem.write(elements, bytes(32))
    kp = param(k, "param_array_ops", arr, "names")
    assert set_value(k, kp, "a,b,c") == 0
    assert [k.text(k.mem.u64(elements + 8 * index)) for index in range(3)] == ["a", "b", "c"]
    assert len(k.mm.live) == 3
    k.drive(free_params(k, kp, 1))
    assert k.mm.live == {}


def test_a_module_may_bring_its_own_ops(k: FakeHost) -> None:
    seen: list[tuple[str, int]] = []

    def setter(val: int, kp: int) -> int:
        seen.append((k.text(val) if val else "", kp))
        return EINVAL

    ops = k.put(b"".join(word.to_bytes(8, "little") for word in (1, k.guest(setter), 0, 0)))
    kp = param(k, ops, 0)
    assert set_value(k, kp, "x=1") == EINVAL
    assert set_value(k, kp, None) == EINVAL
    assert seen == [("x=1", kp), ("", kp)]


def test_a_range_of_numbers(k: FakeHost) -> None:
    arg = k.alloc(4)
    kp = param(k, "param_ops_uint", arg)
    assert k.run("param_set_uint_minmax", "7", kp, 5, 9) == 0
    assert k.run("param_set_uint_minmax", "4", kp, 5, 9) == (1 << 64) - 22
    assert k.mem.u32(arg) == 7


def test_an_absurdly_long_value_is_refused(k: FakeHost) -> None:
    assert set_value(k, param(k, "param_ops_int", k.alloc(4)), "1" * 9000) == ENOSPC
