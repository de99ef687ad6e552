"""Format files of tracefs (events/*/*/format): which field lies where, and what the bits of gfp_flags are called."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kmem.trace.errors import TraceError

_FIELD = re.compile(r"field:\s*(.*?);\s*offset:\s*(\d+);\s*size:\s*(\d+);(?:\s*signed:\s*(\d+);)?")
_PAIR = re.compile(r"\{\s*\(\s*unsigned\s+long\s*\)\s*(.*?),\s*\"(\w+)\"\s*\}")
_SAFE = re.compile(r"[0-9a-fA-FxXuUlL\s()|&~<+-]*")
BIGGEST_RECORD = 1 << 16


@dataclass(frozen=True)
class FormatField:
    """One field: *dynamic* if the record has its place and length in 32 bits (``__data_loc``)."""

    name: str
    offset: int
    size: int
    signed: bool
    dynamic: bool


@dataclass
class Format:
    """One event's format."""

    name: str
    number: int
    fields: dict[str, FormatField] = field(default_factory=dict)
    print_fmt: str = ""

    def gfp_names(self) -> dict[str, int]:
        """What ``print fmt`` says about the bits of ``gfp_flags``, in its order; empty if it says nothing."""
        found: dict[str, int] = {}
        for text, name in _PAIR.findall(self.print_fmt):
            value = evaluate(text)
            if value is not None:
                found.setdefault(name, value)
        return found


def evaluate(text: str) -> int | None:
    """The value of a C expression of constants, casts to gfp_t, ``|``, ``&``, ``~``, ``<<``; None if it is another."""
    plain = re.sub(r"\(\s*(?:__force\s+)?(?:gfp_t|unsigned\s+(?:long|int)|int)\s*\)", "", text)
    if len(plain) > 20000 or not _SAFE.fullmatch(plain):
        return None
    tokens = re.findall(r"0[xX][0-9a-fA-F]+|\d+|<<|[()|&~+-]", plain)
    try:
        value, at = _expression(tokens, 0, 0, 0)
    except (IndexError, ValueError, RecursionError):
        return None
    return value & 0xFFFFFFFF if at == len(tokens) else None


_LEVELS = (("|",), ("&",), ("<<",), ("+", "-"))


def _expression(tokens: list[str], at: int, level: int, depth: int) -> tuple[int, int]:
    """The value of the expression that begins at *at*, and where it ends."""
    if depth > 400:
        raise ValueError
    if level == len(_LEVELS):
        return _operand(tokens, at, depth + 1)
    value, at = _expression(tokens, at, level + 1, depth + 1)
    while at < len(tokens) and tokens[at] in _LEVELS[level]:
        operator = tokens[at]
        right, at = _expression(tokens, at + 1, level + 1, depth + 1)
        if operator == "|":
            value |= right
        elif operator == "&":
            value &= right
        elif operator == "<<":
            value = value << right if 0 <= right < 64 else 0
        else:
            value += right if operator == "+" else -right
    return value, at


def _operand(tokens: list[str], at: int, depth: int) -> tuple[int, int]:
    token = tokens[at]
    if token == "~":
        value, at = _operand(tokens, at + 1, depth + 1)
        return ~value, at
    if token == "(":
        value, at = _expression(tokens, at + 1, 0, depth + 1)
        if tokens[at] != ")":
            raise ValueError
        return value, at + 1
    return int(token, 0), at + 1


def parse_format(text: str) -> Format:
    """One ``format`` file; TraceError if it is none."""
    name = re.search(r"^name:\s*(\S+)", text, re.MULTILINE)
    number = re.search(r"^ID:\s*(\d{1,6})\s*$", text, re.MULTILINE)
    if name is None or number is None or int(number[1]) >= 1 << 16:
        raise TraceError("a format file has no name or no ID", remedy="Copy events/kmem/*/format of the same boot.")
    made = Format(name[1], int(number[1]))
    for declaration, offset, size, signed in _FIELD.findall(text):
        words = re.sub(r"\[\w*\]", "", declaration).replace("*", " ").split()
        if not words or int(offset) + int(size) > BIGGEST_RECORD:
            raise TraceError(f"the format of {made.name} has an impossible field", remedy="Copy the file again.")
        dynamic = words[0] == "__data_loc"
        made.fields[words[-1]] = FormatField(words[-1], int(offset), int(size), signed == "1", dynamic)
    found = re.search(r"^print fmt: (.*)$", text, re.MULTILINE)
    made.print_fmt = found[1] if found else ""
    return made


def parse_formats(text: str) -> list[Format]:
    """Format files one after the other."""
    parts = re.split(r"(?m)^(?=name:\s)", text)
    return [parse_format(part) for part in parts if part.startswith("name:")]


@dataclass(frozen=True)
class PageLayout:
    """Of a page of the ring buffer (events/header_page): where the time, the length and the data are."""

    timestamp: int = 0
    commit: int = 8
    commit_size: int = 8
    data: int = 16
    size: int = 4096


def parse_header_page(text: str) -> PageLayout:
    """The layout that ``header_page`` describes; TraceError if it describes none."""
    found: dict[str, tuple[int, int]] = {}
    for declaration, offset, size, _ in _FIELD.findall(text):
        found.setdefault(declaration.split()[-1], (int(offset), int(size)))
    try:
        (time, _), (commit, width), (data, length) = found["timestamp"], found["commit"], found["data"]
    except KeyError as missing:
        raise TraceError(f"header_page has no field {missing}", remedy="Copy events/header_page again.") from None
    size = data + length
    if width not in (4, 8) or not 256 <= size <= 1 << 20 or max(time + 8, commit + width) > data:
        raise TraceError("header_page describes an impossible page", remedy="Copy events/header_page again.")
    return PageLayout(time, commit, width, data, size)
