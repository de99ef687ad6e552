"""A copy of a machine's memory management, to try calls on that the machine itself must not notice."""

from __future__ import annotations

import copy

from kmem.abi.address import PAGE_OFFSET
from kmem.lib.cstruct import PRIVATE_SIZE
from kmem.machine.ram import Ram
from kmem.mm import codes
from kmem.mm.api import Mm

NAMES = {value: name for name, value in vars(codes).items() if name.startswith("UP_")}
QUIET = {"UP_SLAB_TRACK", "UP_CACHE_FLAGS", "UP_TLB_FLUSH", "UP_CTOR", "UP_MEMTYPE", "UP_SHRINK_SLAB"}
"""Upcalls that are no complaint."""


class Stopped(Exception):
    """The kernel stopped at a BUG; the argument is the place (kmem.mm.places)."""


def _copy(to: Ram, ram: Ram) -> None:
    """Take over all that RAM holds, the model's private area too."""
    to.whole[:PRIVATE_SIZE] = ram.whole[:PRIVATE_SIZE]
    for first, last in ram.populated():
        to.mem[first:last] = ram.mem[first:last]
    to.mem_map_phys, to.mem_map_size = ram.mem_map_phys, ram.mem_map_size


class Trial(Mm):
    """The mm of *mm* as it is now, on RAM of its own. `told` has what calls reported: the upcall and its arguments."""

    def __init__(self, mm: Mm) -> None:
        self.told: list[tuple[str, int, int, int, int]] = []
        self.context = self.cpu = 0
        super().__init__(mm.config, self._answer)
        private = self.core.private
        upcall = private.upcall
        _copy(self.ram, mm.ram)
        private.upcall, private.listening, private.events = upcall, 0, 0
        private.fail_after = private.fail_inner = -1
        self.boot = copy.copy(mm.boot)
        self.boot.ram, self.boot.core = self.ram, self.core
        self._kmalloc, self._kfree = self.core.k_kmalloc, self.core.k_kfree
        task, time = private.task, private.time
        self.moment = lambda: (0, self.context, task, self.cpu, time)
        self.ram.snapshot()

    def _answer(self, code: int, a: int, b: int, c: int, d: int) -> int:
        name = NAMES[code]
        if name == "UP_CACHE_FLAGS":
            return self.config.kmem_cache_flags(self.view.string(a), b)
        self.told.append((name, a, b, c, d))
        if name == "UP_BUG":
            raise Stopped(a)
        return 0

    def again(self) -> None:
        """Back to the copied state."""
        self.ram.rollback()
        self.told.clear()
        self.context = self.cpu = 0

    def complaints(self) -> list[tuple[str, int]]:
        """What was told since `again` that is a complaint: upcall and first argument."""
        return [(told[0], told[1]) for told in self.told if told[0] not in QUIET]

    def content(self, p: int, size: int) -> bytes:
        """The bytes at an address of the direct map."""
        return bytes(self.ram.mem[p - PAGE_OFFSET : p - PAGE_OFFSET + size])

    def put(self, p: int, data: bytes) -> None:
        """Store *data* at an address of the direct map."""
        self.ram.mem[p - PAGE_OFFSET : p - PAGE_OFFSET + len(data)] = data
