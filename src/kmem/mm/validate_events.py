"""Invariants of the event stream, and of what is live by it: B9, S16, S18, T3, T4.

`EventWatch` is a listener. It knows what was handed out and is live from the events alone, and compares it with RAM.
"""

from __future__ import annotations

from kmem.abi.address import PAGE_OFFSET
from kmem.abi.slab_flags import slab_flags
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import track
from kmem.mm.stream import Event
from kmem.mm.validate_memory import PAGE_SIZE, Violation
from kmem.mm.view import View

GFP_DMA, GFP_DMA32, ZERO_SIZE_PTR = 0x01, 0x04, 16
DMA_END, DMA32_END = 16 << 20, 4 << 30
NONE = (1 << 64) - 1
TRACK_ALLOC, TRACK_FREE = 0, 1
JIFFIES_AT_BOOT, NS_PER_JIFFY = 4294892296, 4_000_000
_FREES = {"kfree": "kmalloc", "kmem_cache_free": "kmem_cache_alloc", "vfree": "vmalloc", "mm_page_free": "pages"}


class EventWatch:
    """What is live by the events, and which of them cannot be."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.objects: dict[int, int] = {}
        """Live slab objects and large kmallocs, by address, with the size that was asked for."""
        self.freed: set[int] = set()
        """Objects that were live once."""
        self.pages: dict[int, int] = {}
        """Blocks of pages that were handed out, by pfn, with their order; parts of a split block are strangers."""
        self.areas: dict[int, int] = {}
        """Live vmalloc areas, by address, with their size."""
        self.violations: list[Violation] = []
        self.strangers: list[int] = []
        """Addresses that were freed and are not known to be live: the caller's fault, if not the recording's."""
        self.last: dict[tuple[int, int], Event] = {}
        """The last allocation (0) and the last free (1) of each slab object."""
        self._time = 0

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        if event.time < self._time:
            self.violations.append(Violation("T4", f"{event.kind} at {event.time} after an event at {self._time}"))
        self._time = event.time
        if event.kind in _FREES:
            self._freed(event)
        elif event.ptr not in (0, NONE, ZERO_SIZE_PTR):
            if event.kind in ("kmalloc", "kmem_cache_alloc"):
                self._object(event)
            elif event.kind == "mm_page_alloc":
                self._pages(event)
            elif event.kind == "vmalloc":
                self._area(event)

    def _freed(self, event: Event) -> None:
        live = {"vfree": self.areas, "mm_page_free": self.pages}.get(event.kind, self.objects)
        if event.ptr in live:
            del live[event.ptr]
            if live is self.objects:
                self.freed.add(event.ptr)
                self.last[event.ptr, TRACK_FREE] = event
        elif event.ptr > ZERO_SIZE_PTR and event.ptr != NONE:
            self.strangers.append(event.ptr)

    def _object(self, event: Event) -> None:
        if event.ptr in self.objects:
            self.violations.append(Violation("T3", f"{event.kind} gave out {event.ptr:#x}, which is live"))
        if event.requested > event.allocated:
            self.violations.append(Violation("T3", f"{event.kind}: {event.allocated} bytes for {event.requested}"))
        self.objects[event.ptr] = event.requested or event.allocated
        self.last[event.ptr, TRACK_ALLOC] = event

    def _pages(self, event: Event) -> None:
        pfn, order = event.ptr, event.order
        limit = DMA_END if event.gfp & GFP_DMA else DMA32_END if event.gfp & GFP_DMA32 else 1 << 62
        if pfn % (1 << order) or (pfn + (1 << order)) * PAGE_SIZE > limit:
            self.violations.append(
                Violation("B9", f"gfp {event.gfp:#x} order {order}: pfn {pfn} is misaligned or in a wrong zone")
            )
        self.pages[pfn] = order

    def _area(self, event: Event) -> None:
        if event.ptr in self.areas:
            self.violations.append(Violation("T3", f"{event.kind} gave out {event.ptr:#x}, which is live"))
        self.areas[event.ptr] = event.requested

    def live_in_ram(self) -> list[Violation]:
        """S18: what is live by the events is in use by RAM: its page is not free."""
        found = []
        for obj in self.objects:
            at = obj - PAGE_OFFSET
            if 0 <= at < self.view.ram.size:
                head = self.view.page_of(obj)
                if u64(head.page_type) & 0xF0000080 == 0xF0000000:
                    found.append(Violation("S18", f"object {obj:#x} is live, but its page is free"))
        return found

    def tracks_in_ram(self) -> list[Violation]:
        """S16: the tracks that slub_debug=U keeps of a live object name its last allocation, and its last free or
        none (a new slab remembers nothing).
        """
        found = []
        store_user = slab_flags(self.view.ram.release).SLAB_STORE_USER
        for (obj, which), event in self.last.items():
            if obj not in self.objects or not 0 <= obj - PAGE_OFFSET < self.view.ram.size:
                continue
            head = self.view.page_of(obj)
            s = self.view.slab(head).slab_cache
            if not self.view.is_slab(head) or not s.flags & store_user:
                continue
            info = int(s.inuse) + (8 if s.offset >= s.inuse else 0)
            at = self.view.ptr(track, obj + info + which * self.view.struct(track).size)
            told = (u64(at.addr), int(at.cpu), int(at.pid), u64(at.when))
            right = (event.call_site, event.cpu, event.task, JIFFIES_AT_BOOT + event.time // NS_PER_JIFFY)
            if told != right and (which == TRACK_ALLOC or any(told)):
                what = ("allocation", "last free")[which]
                found.append(
                    Violation("S16", f"object {obj:#x}: its track of the last {what} says {told}, not {right}")
                )
        return found
