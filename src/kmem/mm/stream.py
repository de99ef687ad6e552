"""The event stream's reading end: records out of the ring, to whoever listens."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import NamedTuple

from kmem.lib.cstruct import PRIVATE_SIZE
from kmem.mm.binding import Core
from kmem.mm.events import KINDS
from kmem.mm.mm_types import EVENT_RING, event, private


class Event(NamedTuple):
    """One event (DESIGN: the one schema). *time* is nanoseconds since boot, *cache* a kmem_cache, *order* 0 unless
    pages.
    """

    time: int
    kind: str
    cpu: int
    context: int
    task: int
    call_site: int
    ptr: int
    requested: int
    allocated: int
    gfp: int
    node: int
    cache: int
    order: int


Listener = Callable[[Event], None]

_RECORD = struct.Struct("<QIHHQQQQQIiQQ")
assert _RECORD.size == event.size
_RING_AT = private.field("ring").offset


class EventStream:
    """Drains the ring of one machine. Nothing is recorded until somebody listens."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ring = core.ram.whole[_RING_AT : _RING_AT + EVENT_RING * event.size]
        self._listeners: list[Listener] = []
        self._digest = hashlib.sha256()
        self.count = 0
        assert _RING_AT < PRIVATE_SIZE

    def listen(self, listener: Listener) -> None:
        """Call *listener* for every event from now on."""
        self._listeners.append(listener)
        self._core.private.listening = 1

    def forget(self, listener: Listener) -> None:
        """Call *listener* no more."""
        self._listeners.remove(listener)

    def restart(self) -> None:
        """What was drained so far does not count."""
        self._digest = hashlib.sha256()
        self.count = 0

    def drain(self) -> None:
        """Hand out what the ring holds, in order, and empty it."""
        private = self._core.private
        n = private.events
        if not n:
            return
        raw = self._ring[: n * event.size]
        self._digest.update(raw)
        self.count += n
        private.events = 0
        for fields in _RECORD.iter_unpack(raw):
            record = Event(fields[0], KINDS[fields[1]], *fields[2:])
            for listener in self._listeners:
                listener(record)

    def digest(self) -> str:
        """SHA-256 of all events so far: equal for equal runs."""
        self.drain()
        return self._digest.hexdigest()
