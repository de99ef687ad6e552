"""Lines of call traces, in every architecture's spelling."""

from __future__ import annotations

import re

from kmem.oops.report import Frame

_NAME = r"[A-Za-z_.$][\w.$]*"
_SYMBOL = rf"{_NAME}\+0x[0-9a-f]{{1,8}}(?:/0x[0-9a-f]{{1,8}})?"
_PLAIN = re.compile(
    rf"""^\s*(?:(?P<context></?[#\w]+>)\s*)*(?:\(?\[(?:<?\s*[0-9a-fx]*\s*>?)\]\)?\s+){{0,2}}
    (?P<guess>\?\s+|\(\?\s*)?\(?(?::(?P<before>[\w-]+):)?(?P<name>{_NAME})\+(?P<offset>0x[0-9a-f]{{1,8}})
    (?:/(?P<size>0x[0-9a-f]{{1,8}}))?(?:\s*\[(?P<module>[\w-]+)[^\]]{{0,60}}\])?\)?
    (?:\s+\(?(?P<where>[\w./+-]+\.[chS]:\d+))?""",
    re.VERBOSE,
)
_FROM = re.compile(
    rf"\((?P<callee>{_NAME})(?:\+(?P<coff>0x[0-9a-f]+)/(?P<csize>0x[0-9a-f]+))?(?:\s*\[(?P<cmod>[\w-]+)[^\]]*\])?\)"
    rf"\s+from\s+(?:\[[^\]]*\]\s*)?\((?P<name>{_NAME})\+(?P<offset>0x[0-9a-f]+)/(?P<size>0x[0-9a-f]+)"
    rf"(?:\s*\[(?P<module>[\w-]+)[^\]]*\])?\)"
)
_FROM_NEW = re.compile(
    rf"^\s*(?P<callee>{_NAME})(?: \[(?P<cmod>[\w-]+)\])? from "
    rf"(?P<name>{_NAME})\+(?P<offset>0x[0-9a-f]+)/(?P<size>0x[0-9a-f]+)"
    rf"(?:\s*\[(?P<module>[\w-]+)[^\]]*\])?"
)
_SOURCE = re.compile(
    rf"^\s*(?P<guess>\?\s+)?(?P<name>{_NAME}) \((?P<where>[\w./+-]+\.[chS]:\d+)[^)]*\)(?: "
    rf"\[?(?P<module>[\w-]+)\]?)?\s*$"
)
_INLINE = re.compile(rf"^\s*(?P<name>{_NAME}) (?P<where>[\w./+-]+\.[chS]:\d+) \[inline\]\s*$")
_SYMBOL_AT = re.compile(
    rf":?(?:(?P<before>[\w-]+):)?(?P<name>{_NAME})\+(?P<offset>0x[0-9a-f]+)(?:/(?P<size>0x[0-9a-f]+))?"
    rf"(?:\s*\[(?P<module>[\w-]+)[^\]]*\])?"
)
CONTEXT = re.compile(
    r"<(IRQ|SOFTIRQ|NMI|#DF|#DB|EXCEPTION|ENTRY_TRAMPOLINE|UNK)>|<(/IRQ|EOI|/SOFTIRQ|/NMI|/#DF|TASK|/TASK|<EOE>|EOE)>"
)


def symbol(text: str, line: int) -> Frame | None:
    """The first ``name+0x1c/0x40 [module]`` of *text* as a reliable frame."""
    found = _SYMBOL_AT.search(text)
    if found is None:
        return None
    return Frame(
        line,
        found["name"],
        int(found["offset"], 16),
        _hex(found["size"]),
        found["module"] or found["before"] or "",
        True,
        "",
        "",
    )


def frames(text: str, line: int, context: str) -> list[Frame]:
    """The frames of one trace line: none when it is no trace line, two on the first line of an arm trace."""
    if "+0x" not in text:
        if ".c:" not in text and ".h:" not in text and ".S:" not in text:
            return []
        found = _INLINE.match(text) or _SOURCE.match(text)
        return [_frame(found, line, context)] if found else []
    if " from " in text:
        found = _FROM.search(text) or _FROM_NEW.match(text)
        if found:
            callee = Frame(line, found["callee"], None, None, found["cmod"] or "", True, context, "")
            return [callee, _frame(found, line, context)]
    found = _PLAIN.match(text)
    return [_frame(found, line, context)] if found else []


def _frame(found: re.Match[str], line: int, context: str) -> Frame:
    groups = found.groupdict()
    return Frame(
        line,
        groups["name"],
        _hex(groups.get("offset")),
        _hex(groups.get("size")),
        groups.get("module") or groups.get("before") or "",
        not groups.get("guess"),
        context,
        groups.get("where") or "",
    )


def _hex(text: str | None) -> int | None:
    return int(text, 16) if text else None
