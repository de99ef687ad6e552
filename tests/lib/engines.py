"""The two engines side by side: entries of tests.lib.compiled_ops as compiled functions and as plain Python."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from kmem.lib.build import FAULTED, Loaded
from kmem.lib.cstruct import PRIVATE_SIZE, CoreFault, s64, u64
from kmem.lib.jit import ENTRIES
from kmem.lib.raw import FAULT_ADDR_AT, FAULT_SIZE_AT, FAULT_WRITE_AT, GAVE_UP_AT, Unwind
from kmem.machine.ram import Ram
from tests.lib import compiled_ops as compiled_ops  # registers the entries

MODEL = ("tests.lib.compiled_ops",)
Op = Callable[..., int]


@cache
def _loaded() -> Loaded:
    return Loaded("6.1", MODEL)


class Compiled:
    """Calls compiled entries on one RAM."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram

    def __getattr__(self, name: str) -> Op:
        function = _loaded().function(name)

        def call(*args: int) -> int:
            got = function(self.ram.base, *map(s64, args))
            if got == FAULTED and self._word(GAVE_UP_AT):
                self._forget()
                raise CoreFault(*self._fault())
            return got

        return call

    def _word(self, at: int) -> int:
        return int.from_bytes(self.ram.whole[PRIVATE_SIZE + at : PRIVATE_SIZE + at + 8], "little")

    def _forget(self) -> None:
        self.ram.whole[PRIVATE_SIZE + GAVE_UP_AT : PRIVATE_SIZE + GAVE_UP_AT + 8] = bytes(8)

    def _fault(self) -> tuple[int, int, bool]:
        address, size, write = map(self._word, (FAULT_ADDR_AT, FAULT_SIZE_AT, FAULT_WRITE_AT))
        return address, size, bool(write)


class Interpreted:
    """Calls the same entries as plain Python."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram

    def __getattr__(self, name: str) -> Op:
        function = ENTRIES[name][0]

        def call(*args: int) -> int:
            try:
                return u64(int(function(self.ram, *map(s64, args))))
            except Unwind:
                raise CoreFault(0, 0, False) from None

        return call


ENGINES = (Interpreted, Compiled)
