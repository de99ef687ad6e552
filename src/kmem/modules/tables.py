"""The tables that a module brings: bugs, exceptions, exports, parameters (include/asm-generic/bug.h, asm/extable.h,
6.1).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kmem.modules.params import KERNEL_PARAM_SIZE, KernelParam
from kmem.modules.staging import Staging

BUG_ENTRY_SIZE = 12
BUGFLAG_WARNING, BUGFLAG_ONCE, BUGFLAG_DONE, BUGFLAG_NO_CUT_HERE = 1, 2, 4, 8

EXTABLE_ENTRY_SIZE = 12
KERNEL_SYMBOL_SIZE = 12

_EXTABLE = struct.Struct("<iii")
_KSYM = struct.Struct("<iii")
_PARAM = struct.Struct("<QQQHbBxxxxQ")


class BugEntry(NamedTuple):
    """One BUG or WARN site. *entry* is the address of its ``struct bug_entry``; *flags* are BUGFLAG_* and the taint
    above bit 8.
    """

    entry: int
    address: int
    file: str
    line: int
    flags: int

    @property
    def warning(self) -> bool:
        """Whether it is a WARN (execution goes on) and not a BUG."""
        return bool(self.flags & BUGFLAG_WARNING)


class ExceptionEntry(NamedTuple):
    """An instruction that may fault, where to go on, and how (``EX_TYPE_*`` and register in *data*)."""

    insn: int
    fixup: int
    data: int


class Export(NamedTuple):
    """A symbol that the module exports. *namespace* is empty for most."""

    name: str
    address: int
    gpl_only: bool
    namespace: str


def sort_extable(staging: Staging) -> None:
    """Sort ``__ex_table`` by instruction, as ``search_extable`` needs it; its entries are self-relative."""
    table, count = staging.table("__ex_table", EXTABLE_ENTRY_SIZE)
    if count < 2:
        return
    buffer, at = staging.locate(table, count * EXTABLE_ENTRY_SIZE, "__ex_table")
    entries = []
    for number, (insn, fixup, data) in enumerate(_EXTABLE.iter_unpack(buffer[at : at + count * EXTABLE_ENTRY_SIZE])):
        here = number * EXTABLE_ENTRY_SIZE
        entries.append((insn + here, fixup + here + 4, data))
    entries.sort(key=lambda entry: entry[0])
    for number, (insn, fixup, data) in enumerate(entries):
        here = number * EXTABLE_ENTRY_SIZE
        # Distances may leave 32 bits only in a module made to do so; the kernel cuts them off.
        _EXTABLE.pack_into(buffer, at + here, _wrap(insn - here), _wrap(fixup - here - 4), data)


def _wrap(value: int) -> int:
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _text(staging: Staging, address: int, what: str) -> str:
    buffer, at = staging.locate(address, 1, what)
    end = buffer.find(b"\0", at, at + 512)
    return bytes(buffer[at : end if end >= 0 else at + 512]).decode("ascii", "backslashreplace")


def exports(staging: Staging) -> list[Export]:
    """The entries of ``__ksymtab`` and ``__ksymtab_gpl`` (``struct kernel_symbol`` with relative references)."""
    found = []
    for section in ("__ksymtab", "__ksymtab_gpl"):
        table, count = staging.table(section, KERNEL_SYMBOL_SIZE)
        for number in range(count):
            entry = table + number * KERNEL_SYMBOL_SIZE
            value, name, namespace = _KSYM.unpack(staging.read(entry, KERNEL_SYMBOL_SIZE, section))
            space = _text(staging, entry + 8 + namespace, section) if namespace else ""
            found.append(
                Export(_text(staging, entry + 4 + name, section), entry + value, section.endswith("_gpl"), space)
            )
    return found


def parameters(staging: Staging) -> list[KernelParam]:
    """The ``struct kernel_param`` records of ``__param``."""
    table, count = staging.table("__param", KERNEL_PARAM_SIZE)
    found = []
    for number in range(count):
        entry = table + number * KERNEL_PARAM_SIZE
        name, module, ops, perm, level, flags, arg = _PARAM.unpack(staging.read(entry, KERNEL_PARAM_SIZE, "__param"))
        found.append(KernelParam(entry, _text(staging, name, "__param"), module, ops, perm, level, flags, arg))
    return found
