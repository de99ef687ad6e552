"""Text: what ftrace, ``perf script`` and ``trace-cmd report`` print."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import BinaryIO

import numpy as np

from kmem.abi import gfp
from kmem.errors import KmemError
from kmem.lib.jit import INTERPRETED
from kmem.trace import scan as s
from kmem.trace.chars import BEFORE, BEHIND, NEWLINE
from kmem.trace.engine import Strings, reader, words
from kmem.trace.scan_text import LONGEST_LINE, PAGE_KIND
from kmem.trace.schema import KINDS, NUMBER, OLD_NAMES, Array, Columns, Info

CHUNK = 1 << 22
SHORTEST_EVENT = 20
"""``1 [0] 1: kfree: ptr=1`` is longer."""
MOST_THREADS = 4
_PREFIX = re.compile(rb"^.{0,200}?\s\[\d+\]\s.{0,80}?\d[\d.]*:\s+(?:kmem:)?\w+:", re.MULTILINE)
_HEADER = re.compile(rb"\A\s*(?:# tracer:|version = \d|cpus=\d|CPU:\d+ \[)")


def is_text(head: bytes) -> bool:
    """Whether *head* begins such a trace."""
    return b"\0" not in head and bool(_HEADER.match(head) or _PREFIX.search(head))


def gfp_mask(text: str, names: Mapping[str, int]) -> int:
    """The bits of ``GFP_KERNEL|__GFP_ZERO``: as *names* has them, else as the modelled release; unknown names are 0."""
    value = 0
    for word in text.split("|"):
        if word in names:
            value |= names[word]
        elif re.fullmatch(r"0x[0-9a-fA-F]{1,8}", word):
            value |= int(word, 16)
        elif word and word != "none":
            try:
                value |= gfp.parse(word)
            except KmemError:
                continue
    return value & 0xFFFFFFFF


def site_value(text: str, number: int) -> int:
    """The call site: an address if that is what the text is (kernels before 4.20 print it so), else the number."""
    if re.fullmatch(r"(?:0x)?f{8}[0-9a-f]{8}", text):
        return int(text, 16)
    return number


class TextRecording:
    """Lines of a file. As many threads as there are processors, but few, each scan a piece of it."""

    def __init__(self, info: Info, path: Path, gfp_names: Mapping[str, int] | None = None) -> None:
        self.info, self._path, self._gfp_names = info, path, gfp_names or {}

    def batches(self) -> Iterator[Columns]:
        """The events in the order of the lines."""
        size = self._path.stat().st_size or CHUNK  # the kernel's own files tell none
        piece = min(CHUNK, size)
        count = 1 if INTERPRETED else min(len(os.sched_getaffinity(0)), MOST_THREADS, -(-size // piece))
        self.info.strings, self.info.events = [""], 0
        numbers: dict[str, int] = {}
        scanners = [_Scanner(self.info, piece, self._gfp_names, numbers) for _ in range(count)]
        with open(self._path, "rb", buffering=0) as file, ThreadPoolExecutor(count) as pool:
            lines, turn, ended = _Lines(file), _Turn(), False
            turn.fill.set()
            turn.number.set()
            idle, busy = deque(scanners), deque[tuple[_Scanner, Future[int]]]()
            while True:
                while idle and not ended:
                    scanner, following = idle.popleft(), _Turn()
                    busy.append((scanner, pool.submit(scanner.read, lines, turn, following)))
                    turn = following
                if not busy:
                    break
                scanner, done = busy.popleft()
                if not done.result():
                    ended = True
                    continue
                columns = scanner.columns
                if columns.n:
                    self.info.events += columns.n
                    self.info.cpus = max(self.info.cpus, int(columns["cpu"].max()) + 1)
                    self._count(scanners, lines)
                    yield columns
                idle.append(scanner)
            self._count(scanners, lines)

    def _count(self, scanners: Sequence[_Scanner], lines: _Lines) -> None:
        info = self.info
        info.unparsed = lines.too_long + sum(int(scanner.state[s.UNPARSED]) for scanner in scanners)
        info.skipped = sum(int(scanner.state[s.SKIPPED]) for scanner in scanners)
        info.lost = sum(int(scanner.state[s.LOST]) for scanner in scanners)


class _Lines:
    """Pieces of a file that end where a line ends."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._tail, self._ended = file, b"", False
        self.too_long = 0

    def fill(self, buffer: Array) -> int:
        """Put the next lines into *buffer*; how many bytes, 0 at the end."""
        view = memoryview(buffer.data)
        size = len(self._tail)
        view[:size] = self._tail
        self._tail = b""
        while not self._ended:
            got = self._file.readinto(view[size : len(view) - 1]) or 0  # type: ignore[attr-defined]
            self._ended = not got
            size += got
            if self._ended and size and view[size - 1] != NEWLINE:
                view[size] = NEWLINE
                size += 1
            begin = max(size - LONGEST_LINE, 0)
            last = begin + bytes(view[begin:size]).rfind(b"\n")
            if last < begin:
                last = bytes(view[:size]).rfind(b"\n")
            if last >= 0:
                self._tail = bytes(view[last + 1 : size])
                return last + 1
            if size >= len(view) - 1:
                self.too_long += 1
                size = 0
        return size


class _Scanner:
    """Turns lines into columns, with tables of strings of its own."""

    def __init__(self, info: Info, piece: int, gfp_names: Mapping[str, int], numbers: dict[str, int]) -> None:
        strings, sites, gfps = Strings(), Strings(1 << 16, 1 << 22), Strings()
        self.tables = _Tables(info, (strings, sites, gfps), gfp_names, numbers)
        self._names, self._kind_of = Strings(1 << 10, 1 << 14), np.zeros(1 << 10, np.uint8)
        for name in (*KINDS, *OLD_NAMES):
            kind = NUMBER[OLD_NAMES.get(name, name)] + 1
            self._kind_of[self._names.add(name)] = kind | (PAGE_KIND if name.startswith("mm_page") else 0)
        self.columns = Columns((piece + LONGEST_LINE) // SHORTEST_EVENT)
        self._room: Array = np.zeros(BEFORE + piece + LONGEST_LINE + BEHIND, np.uint8)
        self.buffer = self._room[BEFORE:-BEHIND]
        self.state = state = words(s.STATE_WORDS)
        state[s.CAPACITY], state[s.COLUMNS] = self.columns.capacity, self.columns.addresses.ctypes.data
        state[s.STRINGS], state[s.SITES], state[s.GFPS] = strings.address, sites.address, gfps.address
        state[s.KIND_OF], state[s.EVENT_NAMES] = self._kind_of.ctypes.data, self._names.address
        state[s.IN] = self.buffer.ctypes.data
        self._scan = reader("t_scan_text")

    def read(self, lines: _Lines, turn: _Turn, following: _Turn) -> int:
        """Take the next lines and fill the columns from them; how many bytes, 0 at the end. The lines are taken, and
        new strings numbered, in the order of the turns.
        """
        try:
            turn.fill.wait()
            size = lines.fill(self.buffer)
            following.fill.set()
            self.state[s.POS], self.state[s.IN_SIZE], self.state[s.N] = 0, size, 0
            self.columns.n = self._scan(self.state.ctypes.data)
            turn.number.wait()
            self.tables.number()
        finally:
            following.fill.set()
            following.number.set()
        self.tables.apply(self.columns)
        return size


class _Turn:
    """Whose turn it is to take lines, and to number strings."""

    def __init__(self) -> None:
        self.fill, self.number = Event(), Event()


class _Tables:
    """What numbers of strings mean, applied to whole columns. *numbers* are those of all strings of the trace."""

    def __init__(
        self, info: Info, tables: tuple[Strings, Strings, Strings], names: Mapping[str, int], numbers: dict[str, int]
    ) -> None:
        self._info, self._names, self._numbers = info, names, numbers
        self._strings, self._sites, self._gfps = tables
        self._cache_map: Array = np.zeros(1, np.uint32)
        self._site_map: Array = np.zeros(1, np.uint64)
        self._gfp_map: Array = np.zeros(1, np.uint32)

    def _number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self._info.strings))
        if number == len(self._info.strings):
            self._info.strings.append(text)
        return number

    def number(self) -> None:
        """Give numbers to the strings that are new."""
        new = self._strings.new()
        if new:
            self._cache_map = np.append(self._cache_map, np.array([self._number(t) for t in new], np.uint32))
        new = self._sites.new()
        if new:
            values = [site_value(text, 0) or self._number(text) for text in new]
            self._site_map = np.append(self._site_map, np.array(values, np.uint64))
        new = self._gfps.new()
        if new:
            masks = [gfp_mask(text, self._names) for text in new]
            self._gfp_map = np.append(self._gfp_map, np.array(masks, np.uint32))

    def apply(self, columns: Columns) -> None:
        """Replace table numbers by what the schema has."""
        columns["cache"][:] = self._cache_map[columns["cache"]]
        columns["call_site"][:] = self._site_map[columns["call_site"]]
        columns["gfp"][:] = self._gfp_map[columns["gfp"]]
