"""Watching a run for its page: the events, the moments that matter, and what memory looks like in the end."""

from __future__ import annotations

from typing import Any

from kmem.kernel import Kernel
from kmem.mm.mm_types import kmem_cache
from kmem.mm.stream import Event
from kmem.report.scene import scene
from kmem.report.timeline import Timeline

PAGES = "mm_page_"


class Watch:
    """A listener for one run (`kmem.runner.Watcher`)."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.moments: list[list[Any]] = []
        self._names: dict[int, str] = {}
        self._sites: dict[int, str] = {}

    def begin(self, kernel: Kernel) -> None:
        """The machine is there; events count from now on."""
        self._kernel = kernel
        kernel.events.drain()
        kernel.events.listen(self._event)

    def moment(self, name: str) -> None:
        """Something begins or ends."""
        self._kernel.events.drain()
        self.moments.append([name, self._kernel.clock.ns, self.timeline.count])

    def end(self) -> dict[str, Any]:
        """What was seen; memory as it is now, the module's own allocations first."""
        kernel, timeline = self._kernel, self.timeline
        kernel.events.drain()
        kernel.events.forget(self._event)
        near = [allocation.event.ptr for allocation in reversed(kernel.leaks.made)]
        found: dict[str, Any] = scene(kernel.mm.view, near)
        for area in found["areas"]:
            if "caller" in area:
                area["caller"] = kernel.kallsyms.sprint(int(area["caller"], 16))
        return {
            "timeline": timeline.series(),
            "steps": timeline.steps,
            "events": timeline.count,
            "sites": [vars(site) for site in timeline.sites.values()],
            "moments": self.moments,
            "memory": found,
        }

    def _event(self, event: Event) -> None:
        pages = event.kind.startswith(PAGES)
        given = 4096 << event.order if pages else event.allocated or event.requested
        cache = self._cache(event.cache, event.kind) if event.cache else "pages" if pages else event.kind.split("_")[0]
        if event.kind == "kmem_cache_destroy":
            self._names.pop(event.cache, None)
        site = self._site(event.call_site)
        self.timeline.event(
            *(event.time, event.kind, event.ptr, event.requested, given, cache, site),
            *(event.cpu, event.order, event.gfp, event.task),
            module=self._kernel.loader.is_code(event.call_site),
        )

    def _cache(self, cache: int, kind: str) -> str:
        name = self._names.get(cache)
        if name is None and kind != "kmem_cache_destroy":
            view = self._kernel.mm.view
            name = self._names[cache] = view.string(int(view.ptr(kmem_cache, cache).name))
        return name or "?"

    def _site(self, address: int) -> str:
        if address not in self._sites:
            if self._kernel.loader.is_code(address):
                self._sites[address] = str(self._kernel.site.call_site(address))
            else:
                self._sites[address] = self._kernel.kallsyms.sprint(address) if address else "the kernel"
        return self._sites[address]
