"""What the /proc texts need to know of symbols."""

from __future__ import annotations

from typing import Protocol


class Symbols(Protocol):
    """A symbol table (:class:`kmem.modules.kallsyms.Kallsyms` is one)."""

    def sprint(self, addr: int) -> str:
        """``%pS``: name+offset/size, or the address."""

    def address(self, name: str) -> int | None:
        """``kallsyms_lookup_name()``."""


def symbol(kallsyms: Symbols | None, addr: int) -> str:
    """``%pS`` with the table that there is, or without one."""
    return kallsyms.sprint(addr) if kallsyms else f"{addr:#x}"
