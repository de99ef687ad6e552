"""What KUnit prints when an assertion or expectation fails (lib/kunit/assert.c), 6.1.

A module hands one of these functions to kunit_do_failed_assertion(), which never calls it through the CPU: the
function is known by its address.
"""

from __future__ import annotations

from collections.abc import Callable

from kmem.abi.layout import kunit_layout
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

_INDENT = "    "

Format = Callable[[Host, int], str]


class _Struct:
    """Members of one of KUnit's structs, read by name."""

    def __init__(self, k: Host, name: str, at: int) -> None:
        self._k, self._layout, self._at = k, kunit_layout(k.release.name)[name], at

    def u64(self, member: str) -> int:
        return self._k.mem.u64(self._at + self._layout.offset(member))

    def s64(self, member: str) -> int:
        return self._k.mem.s64(self._at + self._layout.offset(member))

    def u8(self, member: str) -> int:
        return self._k.mem.u8(self._at + self._layout.offset(member))

    def text(self, member: str) -> str:
        at = self.u64(member)
        return self._k.mem.cstr(at).decode("utf-8", "backslashreplace") if at else "(null)"


def _fail(_k: Host, _at: int) -> str:
    return ""


def _unary(k: Host, at: int) -> str:
    it = _Struct(k, "kunit_unary_assert", at)
    wanted, got = ("true", "false") if it.u8("expected_true") else ("false", "true")
    return f"{_INDENT}Expected {it.text('condition')} to be {wanted}, but is {got}\n"


def _ptr_not_err(k: Host, at: int) -> str:
    it = _Struct(k, "kunit_ptr_not_err_assert", at)
    value = it.s64("value")
    if not value:
        return f"{_INDENT}Expected {it.text('text')} is not null, but is\n"
    if -4095 <= value < 0:
        return f"{_INDENT}Expected {it.text('text')} is not error, but is: {value}\n"
    return ""


def _two_sides(k: Host, it: _Struct, left: str | None, right: str | None) -> str:
    """The lines of a comparison; a side that is None is not repeated."""
    text = _Struct(k, "kunit_binary_assert_text", it.u64("text"))
    left_text, right_text = text.text("left_text"), text.text("right_text")
    lines = f"{_INDENT}Expected {left_text} {text.text('operation')} {right_text}, but\n"
    if left is not None:
        lines += f"{_INDENT * 2}{left_text} == {left}\n"
    if right is not None:
        lines += f"{_INDENT * 2}{right_text} == {right}"
    return lines


def _binary(k: Host, at: int) -> str:
    it = _Struct(k, "kunit_binary_assert", at)
    text = _Struct(k, "kunit_binary_assert_text", it.u64("text"))

    def shown(side: str) -> str | None:
        value = str(it.s64(f"{side}_value"))
        return None if text.text(f"{side}_text") == value else value

    return _two_sides(k, it, shown("left"), shown("right"))


def _binary_ptr(k: Host, at: int) -> str:
    it = _Struct(k, "kunit_binary_ptr_assert", at)
    return _two_sides(k, it, f"{it.u64('left_value'):016x}", f"{it.u64('right_value'):016x}")


def _binary_str(k: Host, at: int) -> str:
    it = _Struct(k, "kunit_binary_str_assert", at)
    text = _Struct(k, "kunit_binary_assert_text", it.u64("text"))

    def shown(side: str) -> str | None:
        value = it.text(f"{side}_value")
        return None if text.text(f"{side}_text") == f'"{value}"' else f'"{value}"'

    return _two_sides(k, it, shown("left"), shown("right"))


_FORMATS: dict[str, Format] = {
    "kunit_fail_assert_format": _fail,
    "kunit_unary_assert_format": _unary,
    "kunit_ptr_not_err_assert_format": _ptr_not_err,
    "kunit_binary_assert_format": _binary,
    "kunit_binary_ptr_assert_format": _binary_ptr,
    "kunit_binary_str_assert_format": _binary_str,
}


def describe(k: Host, assert_format: int, assertion: int, message: str | None) -> str:
    """What was expected of *assertion*, and the test's own *message* on a line of its own."""
    symbol = k.kallsyms.lookup(assert_format)
    name = symbol.name if symbol else ""
    body = _FORMATS[name](k, assertion) if name in _FORMATS else ""
    if message is None:
        return body
    return message if name == "kunit_fail_assert_format" else f"{body}\n{message}"


def _declare(name: str) -> None:
    """A function that is passed around, and whose work `describe` does."""

    def handler(k: Host, assertion: int, message: int, stream: int) -> None:
        """Never called by a module."""

    handler.__name__ = name
    handler.__doc__ = (
        f"``void {name}(const struct kunit_assert *assert, const struct va_format *message, struct string_stream "
        "*stream)``\n\nlib/kunit/assert.c, 6.1. Passed to kunit_do_failed_assertion()."
    )
    export(faithful)(handler)


for _name in _FORMATS:
    _declare(_name)
