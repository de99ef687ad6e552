"""How the printf family fills its buffer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kapi.fakehost import CALLER, FakeHost

FILL = b"$"


def filled(k: FakeHost, size: int) -> int:
    """A buffer of *size* bytes with 16 guard bytes behind it."""
    return k.put(FILL * (size + 16))


@given(size=st.integers(0, 12))
def test_snprintf_writes_what_fits_and_returns_the_whole_length(size: int) -> None:
    k = FakeHost()
    buf = filled(k, size)
    assert k.run("snprintf", buf, size, "%s-%d", "abcd", 42) == 7
    expected = b"abcd-42"[: size - 1] + b"\0" if size else b""
    assert k.mem.read(buf, size + 16) == expected.ljust(size + 16, FILL)


@given(size=st.integers(0, 12))
def test_scnprintf_returns_what_was_stored(size: int) -> None:
    k = FakeHost()
    buf = filled(k, size)
    assert k.run("scnprintf", buf, size, "%s-%d", "abcd", 42) == (0 if not size else min(7, size - 1))


def test_sprintf_is_unbounded(k: FakeHost) -> None:
    buf = k.alloc(100)
    assert k.run("sprintf", buf, "%s %s %s %s %s", "a", "b", "c", "d", "e") == 9
    assert k.text(buf) == "a b c d e"


def test_a_size_above_int_max_warns_and_prints_nothing(k: FakeHost) -> None:
    buf = filled(k, 4)
    assert k.run("snprintf", buf, -1, "x") == 0
    assert k.mem.read(buf, 4) == FILL * 4
    assert k.warnings == ["lib/vsprintf.c:2743 vsnprintf: "]


def va_list(k: FakeHost, *words: int) -> int:
    """A va_list whose arguments are all on the stack."""
    area = k.put(b"".join(word.to_bytes(8, "little") for word in words))
    return k.put((48).to_bytes(4, "little") + bytes(4) + area.to_bytes(8, "little") + bytes(8))


@pytest.mark.parametrize(("name", "bounded"), [("vsnprintf", True), ("vscnprintf", True), ("vsprintf", False)])
def test_the_forms_with_a_va_list(name: str, bounded: bool, k: FakeHost) -> None:
    buf = k.alloc(64)
    arguments = [buf, 64] if bounded else [buf]
    assert k.run(name, *arguments, "%d/%s", va_list(k, 7, k.put("x"))) == 3
    assert k.text(buf) == "7/x"


@pytest.mark.parametrize("name", ["kasprintf", "kvasprintf", "kvasprintf_const"])
def test_kasprintf_allocates_exactly(name: str, k: FakeHost) -> None:
    args = (7,) if name == "kasprintf" else (va_list(k, 7),)
    p = k.run(name, 0xCC0, "n%d", *args)
    assert k.text(p) == "n7"
    assert k.mm.live == {p: 3}
    assert k.mm.calls == [("kmalloc", 3, 0xCC0, -1, CALLER)]


def test_kasprintf_gives_null_without_memory(k: FakeHost) -> None:
    fmt = k.put("text")
    k.mm.fail = True
    assert k.run("kasprintf", 0xCC0, fmt) == 0


def test_sysfs_emit_wants_a_page(k: FakeHost) -> None:
    page = k.mm.allocate(8192, 4096)
    assert k.run("sysfs_emit", page, "%d\n", 5) == 2
    assert k.run("sysfs_emit_at", page, 2, "%d\n", 6) == 2
    assert k.text(page) == "5\n6\n"
    assert k.run("sysfs_emit", page + 8, "x") == 0
    assert k.run("sysfs_emit_at", page, 4096, "x") == 0
    assert [warning.split(": ")[1].split(":")[0] for warning in k.warnings] == [
        "invalid sysfs_emit",
        "invalid sysfs_emit_at",
    ]
    assert k.run("sysfs_emit", page, "%5000d", 1) == 4095


def test_sprint_symbol(k: FakeHost) -> None:
    k.kallsyms.add("kfree", 0xFFFFFFFF81001000, 0x140)
    buf = k.alloc(128)
    assert k.run("sprint_symbol", buf, 0xFFFFFFFF81001001) == len("kfree+0x1/0x140")
    assert k.text(buf) == "kfree+0x1/0x140"
    assert k.run("sprint_symbol_no_offset", buf, 0xFFFFFFFF81001001) == 5
