"""Module parameters: argument strings, ``struct kernel_param``, values by type (kernel/params.c, 6.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

EINVAL, ENOENT, ENOSPC, ERANGE = 22, 2, 28, 34

KERNEL_PARAM_SIZE = 40
KERNEL_PARAM_FL_UNSAFE, KERNEL_PARAM_FL_HWPARAM = 1, 2

_SPACES = " \t\n\v\f\r\xa0"

_INTEGERS = {
    "byte": (8, False), "short": (16, True), "ushort": (16, False), "int": (32, True), "uint": (32, False),
    "hexint": (32, False), "long": (64, True), "ulong": (64, False), "ullong": (64, False),
}  # fmt: skip


class KernelParam(NamedTuple):
    """One ``struct kernel_param`` of a loaded module; all but *name*, *perm*, *level* and *flags* are addresses."""

    address: int
    name: str
    module: int
    ops: int
    perm: int
    level: int
    flags: int
    arg: int


class Setting(NamedTuple):
    """An argument that found its parameter: the caller calls ``param.ops->set(value, param.address)``.

    *value* is None when the argument had no ``=``; then only a parameter with KERNEL_PARAM_OPS_FL_NOARG may be set.
    """

    param: KernelParam
    value: str | None


def parse_args(args: str) -> list[tuple[str, str | None]]:
    """Split ``a=1 b="x y" c`` into (name, value) pairs as the kernel does (``next_arg``); stops at ``--``."""
    pairs: list[tuple[str, str | None]] = []
    rest = args.lstrip(_SPACES)
    while rest:
        name, value, rest = _next_arg(rest)
        if value is None and name == "--":
            break
        pairs.append((name, value))
    return pairs


def _next_arg(args: str) -> tuple[str, str | None, str]:
    quoted = args[0] == '"'
    text = args[1:] if quoted else args
    in_quote, equals, end = quoted, 0, len(text)
    for at, char in enumerate(text):
        if char in _SPACES and not in_quote:
            end = at
            break
        if char == "=" and not equals:
            equals = at
        if char == '"':
            in_quote = not in_quote
    word, rest = text[:end], text[end + 1 :].lstrip(_SPACES)
    if quoted and word.endswith('"'):
        word = word[:-1]
    if not equals:
        return word, None, rest
    name, value = word[:equals], word[equals + 1 :]
    if value.startswith('"'):
        value = value[1:].removesuffix('"')
    return name, value, rest


def match(params: Iterable[KernelParam], wanted: Mapping[str, str | None]) -> tuple[list[Setting], list[str]]:
    """Find the parameter of each argument; return the settings in order and the names that no parameter has
    (``parse_one``).

    ``-`` and ``_`` are the same in a name.
    """
    known: dict[str, KernelParam] = {}
    for param in params:
        known.setdefault(param.name.replace("-", "_"), param)
    settings, unknown = [], []
    for name, value in wanted.items():
        found = known.get(name.replace("-", "_"))
        if found is not None:
            settings.append(Setting(found, value))
        elif name != "async_probe":
            unknown.append(name)
    return settings, unknown


def error_line(module: str, name: str, value: str | None, errno: int) -> str:
    """The kernel's line when ``ops->set`` returned -*errno* for an argument."""
    if errno == ENOENT:
        return f"{module}: Unknown parameter `{name}'"
    if errno == ENOSPC:
        return f"{module}: `{value or ''}' too large for parameter `{name}'"
    return f"{module}: `{value or ''}' invalid for parameter `{name}'"


def parse_value(kind: str, text: str | None) -> int | bool | str | list[int | bool | str]:
    """The value of *text* for a parameter of ``parmtype`` *kind*, by the rules of ``param_set_*`` and ``kstrto*``.

    Raises OSError with EINVAL or ERANGE as errno where the kernel returns them. Unknown kinds are taken as text.
    """
    if kind.startswith("array of "):
        if text is None:
            raise OSError(EINVAL, "an array parameter needs a value")
        return [_scalar(kind[9:], part) for part in text.split(",")]
    return _scalar(kind, text)


def _scalar(kind: str, text: str | None) -> int | bool | str:
    if text is None and kind in ("bool", "bint"):
        return True
    if text is None:
        raise OSError(EINVAL, f"a parameter of type {kind} needs a value")
    if kind in ("bool", "invbool", "bint"):
        return parse_bool(text) ^ (kind == "invbool")
    if kind in _INTEGERS:
        bits, signed = _INTEGERS[kind]
        return parse_integer(text, bits, signed=signed)
    return text


def parse_bool(text: str) -> bool:
    """``kstrtobool`` (lib/kstrtox.c): y, Y, t, T, 1, on are true; n, N, f, F, 0, off are false; the rest is EINVAL."""
    start = text[:2].lower()
    if start[:1] in ("y", "t", "1") or start == "on":
        return True
    if start[:1] in ("n", "f", "0") or start == "of":
        return False
    raise OSError(EINVAL, f"{text!r} is not a truth value")


def parse_integer(text: str, bits: int, *, signed: bool) -> int:
    """``kstrtoint`` and its family, base 0: one optional sign, 0x or 0 prefix, digits, one optional newline."""
    body = text.removesuffix("\n")
    negative = signed and body.startswith("-")
    digits = body[1:] if negative or body.startswith("+") else body
    lowered = digits.lower()
    base = 10
    if lowered.startswith("0x") and lowered[2:3] and lowered[2] in "0123456789abcdef":
        base, lowered = 16, lowered[2:]
    elif lowered.startswith("0"):
        base = 8
    if not lowered or any(char not in "0123456789abcdef"[:base] for char in lowered):
        raise OSError(EINVAL, f"{text!r} is not a number")
    lowered = lowered.lstrip("0")
    value = int(lowered or "0", base) if len(lowered) < 24 else 1 << 64
    if value >= (1 << (bits - signed)) + negative:
        raise OSError(ERANGE, f"{text!r} does not fit in {bits} bits")
    return -value if negative else value
