"""Keeping a machine's events: with names while they are fresh, for `Kernel.x` and for traces of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kmem.abi.address import PAGE_OFFSET, PAGE_SIZE
from kmem.abi.flags import flag_names, format_flags
from kmem.kapi.history import CACHES, OUTSIDE, History, Step, UnknownAddress, region
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import kmem_cache
from kmem.mm.proc_maps import comm
from kmem.mm.proc_system import tasks
from kmem.mm.stream import Event
from kmem.sanitizers.kmemleak import FREES, NOTHING, SPACE

if TYPE_CHECKING:
    from kmem.kernel import Kernel


class Words:
    """Names of caches, call sites and tasks of a machine. Ask when an event is fresh: a module may go, and its names
    with it.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._caches: dict[int, str] = {}
        self._sites: dict[int, tuple[str, Any]] = {}
        self.tasks: dict[int, str] = {}

    def cache(self, event: Event) -> str:
        """The name of the event's cache, nothing if it has none."""
        if not event.cache:
            return ""
        name = self._caches.get(event.cache)
        if name is None and event.kind != "kmem_cache_destroy":
            view = self._kernel.mm.view
            name = self._caches[event.cache] = view.string(int(view.ptr(kmem_cache, event.cache).name))
        if event.kind == "kmem_cache_destroy":
            self._caches.pop(event.cache, None)
        return name or "?"

    def note(self, event: Event) -> None:
        """Remember who called."""
        if event.call_site not in self._sites and event.call_site:
            kernel = self._kernel
            at = kernel.site.call_site(event.call_site) if kernel.loader.is_code(event.call_site) else None
            self._sites[event.call_site] = kernel.kallsyms.sprint(event.call_site), at
        if event.task not in self.tasks:
            mm = self._kernel.mm
            self.tasks |= {int(task.pid): comm(mm.view, u64(task._addr)).strip() for task in tasks(mm)}
            self.tasks.setdefault(event.task, f"task {event.task}")

    def site(self, address: int) -> str:
        """``name+0x1c/0x40 [module] (drv.c:41)``; nothing for 0."""
        if not address:
            return ""
        symbol, at = self._sites.get(address) or (self._kernel.kallsyms.sprint(address), None)
        if symbol.startswith("0x"):
            return "the kernel"
        file, line = at.source() if at else ("", 0)
        return f"{symbol} ({file}:{line})" if file else symbol

    def sites(self) -> Mapping[int, str]:
        """Every call site that was noted."""
        return {address: self.site(address) for address in sorted(self._sites)}


class Recorder:
    """Keeps every event of a machine from now on, for `Kernel.x`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._words = kernel, Words(kernel)
        self._events: list[tuple[Event, str]] = []
        self._names = flag_names("gfp", kernel.release.name)

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        self._words.note(event)
        self._events.append((event, self._words.cache(event)))

    def mark(self) -> int:
        """How many events there are, for :meth:`rewind`."""
        return len(self._events)

    def rewind(self, mark: int) -> None:
        """Memory is as it was at *mark*: forget what came then."""
        del self._events[mark:]

    def history(self, address: int) -> History:
        """What happened at *address*. UnknownAddress if nothing did."""
        steps = (self._step(number, event, cache) for number, (event, cache) in enumerate(self._events, 1))
        until = f"after {len(self._events)} events"
        found = History.of(address, steps, source="this machine", until=until, region=region(address))
        if not found.lives:
            raise UnknownAddress(
                f"{address:#x}: nothing was allocated or freed there ({region(address)})",
                remedy="k.live and k.areas list what there is; only events since the boot are known.",
            )
        return found

    def live(self) -> list[Step]:
        """What was allocated and lives, the oldest first."""
        now: dict[tuple[int, int], int] = {}
        for number, (event, _) in enumerate(self._events):
            key = SPACE[event.kind], event.ptr
            if event.kind in FREES:
                now.pop(key, None)
            elif event.ptr not in NOTHING and key[0] != CACHES:
                now.pop(key, None)
                now[key] = number
        return [self._step(number + 1, *self._events[number]) for number in now.values()]

    def _step(self, number: int, event: Event, cache: str) -> Step:
        pages = event.kind.startswith("mm_page")
        size = PAGE_SIZE << event.order if pages else event.allocated or event.requested
        what = cache or (f"pages of order {event.order}" if pages else event.kind.split("_")[0])
        return Step(
            number,
            event.time,
            event.kind,
            event.cpu,
            f"{self._words.tasks.get(event.task, 'task')} ({event.task})",
            self._words.site(event.call_site) or OUTSIDE,
            PAGE_OFFSET + (event.ptr << 12) if pages else event.ptr,
            size,
            event.requested,
            format_flags(event.gfp, self._names) if event.gfp else "",
            what,
        )
