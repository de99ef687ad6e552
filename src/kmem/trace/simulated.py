"""A simulated run as a trace: a listener of the event stream that writes a ``.kmem`` file."""

from __future__ import annotations

from pathlib import Path

from kmem.kapi.recorder import Words
from kmem.kernel import Kernel
from kmem.mm.stream import Event
from kmem.trace.schema import HARDIRQ, NUMBER, SOFTIRQ, Columns, Info
from kmem.trace.store import Writer

EVENTS = 1 << 12


class RunTrace:
    """Writes every event of *kernel* from now on to *path*."""

    def __init__(self, kernel: Kernel, path: Path) -> None:
        self._kernel = kernel
        config = kernel.mm.config
        self.info = Info(source="a simulated run", release=config.release, cpus=config.cpus, clock="simulated")
        self.info.before = self._state()
        self._words = Words(kernel)
        self._names: dict[str, int] = {}
        self._columns = Columns(EVENTS)
        self._writer = Writer(path, self.info)
        kernel.events.drain()
        kernel.events.listen(self._event)

    def _state(self) -> dict[str, str]:
        return {name: self._kernel.proc(name) for name in ("slabinfo", "buddyinfo", "zoneinfo", "meminfo")}

    def _cache(self, event: Event) -> int:
        """The number of the name of an event's cache."""
        name = self._words.cache(event)
        if not name or event.kind == "kmem_cache_destroy":
            return 0
        if name not in self._names:
            self._names[name] = len(self.info.strings)
            self.info.strings.append(name)
        return self._names[name]

    def _event(self, event: Event) -> None:
        columns = self._columns
        n, arrays = columns.n, columns.arrays
        context = event.context
        arrays["time"][n], arrays["kind"][n], arrays["cpu"][n] = event.time, NUMBER[event.kind], event.cpu
        arrays["context"][n] = context & 0xF | (SOFTIRQ if context & 0xFF00 else 0) | (HARDIRQ if context >> 16 else 0)
        arrays["task"][n], arrays["call_site"][n] = event.task & 0xFFFFFFFF, event.call_site
        arrays["ptr"][n], arrays["requested"][n], arrays["allocated"][n] = event.ptr, event.requested, event.allocated
        arrays["gfp"][n], arrays["node"][n], arrays["order"][n] = event.gfp, event.node, event.order
        arrays["cache"][n] = self._cache(event)
        self._words.note(event)
        columns.n += 1
        if columns.n == EVENTS:
            self._flush()

    def _flush(self) -> None:
        if self._columns.n:
            self._writer.events(self._columns)
        self._columns.n = 0

    def close(self) -> int:
        """Write the rest; how many events there were."""
        self._kernel.events.drain()
        self._kernel.events.forget(self._event)
        self._flush()
        self.info.after = self._state()
        self.info.symbols, self.info.tasks = dict(self._words.sites()), self._words.tasks
        self._writer.close()
        return self._writer.count


__all__ = ["RunTrace"]
