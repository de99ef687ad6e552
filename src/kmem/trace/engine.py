"""The compiled readers and the compiled replay, from Python. ``python -m kmem.trace.engine`` compiles them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np

from kmem.abi.release import MODEL as RELEASE
from kmem.lib.jit import INTERPRETED
from kmem.trace import scan as s
from kmem.trace.schema import Array
from kmem.trace.table import GOLDEN

READERS = ("kmem.trace.first", "kmem.trace.scan", "kmem.trace.scan_text", "kmem.trace.slices", "kmem.trace.tally")
REPLAY = ("kmem.trace.replay_before", "kmem.trace.replay_core")
LINE = 64
_ONE = Lock()
"""Held while a compiled replay runs: one machine at a time."""
_NOWHERE: Array = np.zeros(8192, np.uint8)


def _interpreted(models: tuple[str, ...], name: str) -> Any:
    from kmem.lib.jit import ENTRIES

    for model in models:
        import_module(model)
    return ENTRIES[name][0]


@cache
def reader(name: str) -> Callable[..., int]:
    """The entry *name* of the readers."""
    if INTERPRETED:
        function = _interpreted(READERS, name)
        return lambda *args: int(function(None, *args))
    from kmem.lib.build import loaded

    compiled = loaded(RELEASE, READERS).function(name)
    base = _NOWHERE.ctypes.data + len(_NOWHERE)
    return lambda *args: int(compiled(base, *args))


def model(name: str, mm: Any) -> Callable[..., int]:
    """The entry *name* of the replay, for the machine *mm*."""
    if INTERPRETED:
        function = _interpreted(REPLAY, name)
        return lambda *args: int(function(mm.ram, *args))
    from kmem.lib.build import FAULTED, loaded

    compiled = loaded(mm.config.release, REPLAY).function(name)

    def call(*args: int) -> int:
        with _ONE:
            got = int(compiled(mm.ram.base, *args))
        if got == FAULTED:
            mm.core._odd()
        return got

    return call


def _lines(count: int, width: int) -> Array:
    """Rows of *width* bytes, all 0, that begin where a line of the cache begins."""
    room: Array = np.zeros(count * width + LINE, np.uint8)
    begin = -room.ctypes.data % LINE
    return room[begin : begin + count * width].view(np.int64).reshape(count, width // 8)


def words(count: int) -> Array:
    """Room for *count* words, a multiple of eight, in lines of the cache that no other thread writes to."""
    return _lines(count // 8, LINE).reshape(count)


class Table:
    """A hash table of compiled code that grows."""

    def __init__(self, width: int, capacity: int = 1 << 12) -> None:
        self.width, self.capacity, self.used = width, capacity, 0
        self.words = _lines(capacity, width)

    @property
    def address(self) -> int:
        """Where it is now."""
        return int(self.words.ctypes.data)

    def reserve(self, more: int) -> None:
        """Make room for *more* entries."""
        wanted = self.capacity
        while (self.used + more) * 2 > wanted:
            wanted *= 2
        if wanted != self.capacity:
            old = self.words
            self.words = _lines(wanted, self.width)
            reader("t_grow")(old.ctypes.data, self.capacity - 1, self.address, wanted - 1, self.width)
            self.capacity = wanted

    def put(self, key: int, value: int) -> None:
        """Set the second word of the entry of *key*."""
        self.reserve(1)
        mask = self.capacity - 1
        key = int(np.uint64(key & (1 << 64) - 1).astype(np.int64))
        slot = ((key * GOLDEN & (1 << 64) - 1) >> 24) & mask
        while self.words[slot, 0] not in (0, key):
            slot = slot + 1 & mask
        self.used += self.words[slot, 0] == 0
        self.words[slot, :2] = key, value


class Strings:
    """A table of strings that compiled code fills. Number 0 is the empty one."""

    def __init__(self, capacity: int = 1 << 14, room: int = 1 << 20) -> None:
        self._bytes: Array = np.zeros(room, np.uint8)
        self._entries: Array = np.zeros((capacity, 3), np.int64)
        self._slots: Array = np.zeros(capacity * 4, np.uint32)
        self._words = words(s.TABLE_WORDS)
        self._words[s.T_BYTES], self._words[s.T_BYTES_CAPACITY] = self._bytes.ctypes.data, room
        self._words[s.T_ENTRIES], self._words[s.T_CAPACITY] = self._entries.ctypes.data, capacity
        self._words[s.T_SLOTS], self._words[s.T_MASK] = self._slots.ctypes.data, len(self._slots) - 1
        self._words[s.T_COUNT] = 1
        self.address = int(self._words.ctypes.data)
        self.texts = [""]

    @property
    def dropped(self) -> int:
        """How often a string was not kept because the table was full."""
        return int(self._words[s.T_FULL])

    def add(self, text: str) -> int:
        """The number of *text*."""
        raw = np.frombuffer(text.encode() + bytes(8), np.uint8)
        intern = reader("t_intern")
        return intern(self.address, raw.ctypes.data, len(raw) - 8)

    def new(self) -> list[str]:
        """The strings that came since the last call."""
        begin, end = len(self.texts), int(self._words[s.T_COUNT])
        for _, place, size in self._entries[begin:end].tolist():
            self.texts.append(self._bytes[place : place + size].tobytes().decode(errors="replace"))
        return self.texts[begin:]


if __name__ == "__main__":
    from kmem.lib.build import build

    for models in (REPLAY, READERS):
        build(RELEASE, models)
