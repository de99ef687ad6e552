"""What a module allocated and did not free: a listener on the event stream that keeps the live allocations.

An allocation belongs to the module whose code made the call. Freed by whom does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kmem.mm.stream import Event

ALLOCATES = {
    "kmalloc": "kfree",
    "kmem_cache_alloc": "kmem_cache_free",
    "mm_page_alloc": "mm_page_free",
    "vmalloc": "vfree",
    "percpu_alloc_percpu": "percpu_free_percpu",
    "ioremap": "iounmap",
    "kmem_cache_create": "kmem_cache_destroy",
}
SPACE = {name: number for number, pair in enumerate(ALLOCATES.items()) for name in pair}
SPACE["kmem_cache_alloc"] = SPACE["kmem_cache_free"] = SPACE["kmalloc"]
"""By event, which kind of thing its pointer names: what may be freed by the other's call shares a number."""
FREES = frozenset(ALLOCATES.values())
ZERO_SIZE_PTR = 16
NOTHING = (0, ZERO_SIZE_PTR, (1 << 64) - 1)
"""What is no memory: NULL, ZERO_SIZE_PTR, a failed mapping."""


class Site(Protocol):
    """A place in a module's code."""

    def facts(self) -> dict[str, Any]:
        """function, offset, file and line, as a finding takes them."""


@dataclass(slots=True)
class Allocation:
    """One allocation: its event, what was found out about it, and where it was freed (0: not yet)."""

    event: Event
    number: int
    site: Site | None = None
    address: int = 0
    cache: str = ""
    region: str = ""
    pages: int = 0
    runs: int = 0
    freed_at: int = 0
    live: bool = True
    earlier: bool = False
    """Made before :meth:`Kmemleak.begin`."""


@dataclass
class Kmemleak:
    """Allocations of the code for which *mine(address)* holds; *describe* fills in an allocation while it is fresh."""

    mine: Callable[[int], bool]
    describe: Callable[[Allocation], None]
    made: list[Allocation] = field(default_factory=list)
    twice: Callable[[Allocation, Allocation], None] = lambda before, now: None
    """Told of memory that was given out while it was in use: the older allocation, the newer one."""
    _live: dict[tuple[int, int], list[Allocation]] = field(default_factory=dict)
    bytes: int = 0
    failed: int = 0

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        kind = event.kind
        key = (SPACE[kind], event.ptr)
        if kind in FREES:
            stack = self._live.get(key)
            if not stack and kind == "kfree" and not event.cache:  # of whole pages: all of them, wherever it points
                stack = self._live.get((key[0], event.ptr & -4096))
            if stack:
                gone = stack.pop()
                gone.live, gone.freed_at = False, event.call_site
        elif not self.mine(event.call_site):
            return
        elif event.ptr in (0, (1 << 64) - 1):
            self.failed += 1
        elif event.ptr != ZERO_SIZE_PTR:
            allocation = Allocation(event, len(self.made))
            self.describe(allocation)
            self.made.append(allocation)
            live = self._live.setdefault(key, [])
            if live and kind != "kmem_cache_create":  # aliases of one cache share its address
                before = live.pop()
                before.live = False
                self.twice(before, allocation)
            live.append(allocation)
            if kind != "kmem_cache_create":
                self.bytes += event.requested

    def mark(self) -> list[Allocation]:
        """What is live now, for :meth:`rewind`."""
        return self.live()

    def rewind(self, mark: list[Allocation]) -> None:
        """Memory is as it was at *mark*: what was allocated since is not there, what was freed since is."""
        for allocation in self.made:
            allocation.live = False
        self._live.clear()
        for allocation in mark:
            allocation.live, allocation.freed_at = True, 0
            self._live.setdefault((SPACE[allocation.event.kind], allocation.event.ptr), []).append(allocation)

    def begin(self) -> None:
        """From here on it counts: what was made up to now is of the modules that were loaded first."""
        for allocation in self.made:
            allocation.earlier = True
        self.bytes = self.failed = 0

    def counted(self) -> list[Allocation]:
        """What was made since :meth:`begin`."""
        return [allocation for allocation in self.made if not allocation.earlier]

    def restart(self) -> None:
        """Forget what is not live, and the sums: they were of tries that did not count."""
        self.made[:] = self.live()
        self.bytes = self.failed = 0

    def live(self) -> list[Allocation]:
        """What was not freed, oldest first."""
        return [allocation for allocation in self.made if allocation.live]

    def find(self, address: int) -> Allocation | None:
        """The newest allocation, live or not, that *address* lies in."""
        for allocation in reversed(self.made):
            start = allocation.event.ptr
            if start <= address < start + max(allocation.event.allocated, 1):
                return allocation
        return None
