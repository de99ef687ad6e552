"""Text: what ftrace, ``perf script`` and ``trace-cmd report`` print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kmem.abi import gfp
from kmem.errors import KmemError
from kmem.trace import scan as s
from kmem.trace.chars import BEFORE, BEHIND
from kmem.trace.engine import Strings, reader
from kmem.trace.scan_text import LONGEST_LINE, PAGE_KIND
from kmem.trace.schema import KINDS, NUMBER, OLD_NAMES, Array, Columns, Info

CHUNK = 1 << 20
EVENTS = 1 << 15
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
    """Lines of a file."""

    def __init__(self, info: Info, path: Path, gfp_names: Mapping[str, int] | None = None) -> None:
        self.info, self._path, self._gfp_names = info, path, gfp_names or {}

    def batches(self) -> Iterator[Columns]:
        """The events in the order of the lines."""
        with open(self._path, "rb", buffering=0) as file:
            yield from self._scan(file)

    def _scan(self, file: BinaryIO) -> Iterator[Columns]:
        info = self.info
        strings, sites, gfps = Strings(), Strings(1 << 16, 1 << 22), Strings()
        names = Strings(1 << 10, 1 << 14)
        kind_of: Array = np.zeros(1 << 10, np.uint8)
        for name in (*KINDS, *OLD_NAMES):
            kind = NUMBER[OLD_NAMES.get(name, name)] + 1
            kind_of[names.add(name)] = kind | (PAGE_KIND if name.startswith("mm_page") else 0)
        columns = Columns(EVENTS)
        state: Array = np.zeros(s.STATE_WORDS, np.int64)
        state[s.CAPACITY], state[s.COLUMNS] = EVENTS, columns.addresses.ctypes.data
        state[s.KIND_OF], state[s.STRINGS], state[s.SITES] = kind_of.ctypes.data, strings.address, sites.address
        state[s.GFPS], state[s.EVENT_NAMES] = gfps.address, names.address
        room: Array = np.zeros(BEFORE + CHUNK + LONGEST_LINE + BEHIND, np.uint8)
        buffer = room[BEFORE:-BEHIND]
        view = memoryview(buffer.data)
        state[s.IN] = buffer.ctypes.data
        scan = reader("t_scan_text")
        tables = _Tables(info, strings, sites, gfps, self._gfp_names)
        kept, info.events, ended = 0, 0, False
        while not ended or kept:
            if not ended:
                got = file.readinto(view[kept : len(buffer) - 1])  # type: ignore[attr-defined]
                ended = not got
                kept += got or 0
                if ended and kept and buffer[kept - 1] != 10:
                    buffer[kept] = 10
                    kept += 1
            state[s.POS], state[s.IN_SIZE] = 0, kept
            while True:
                state[s.N] = 0
                columns.n = scan(state.ctypes.data)
                info.unparsed, info.skipped = int(state[s.UNPARSED]), int(state[s.SKIPPED])
                info.lost = int(state[s.LOST])
                if columns.n == 0:
                    break
                tables.apply(columns)
                info.events += columns.n
                yield columns
            done = int(state[s.POS])
            if done == 0 and kept >= len(buffer) - 1:
                state[s.UNPARSED] += 1  # a line longer than any
                done = kept
            buffer[: kept - done] = buffer[done:kept].copy()
            kept -= done


class _Tables:
    """What numbers of strings mean, applied to whole columns."""

    def __init__(self, info: Info, strings: Strings, sites: Strings, gfps: Strings, names: Mapping[str, int]) -> None:
        self._info, self._strings, self._sites, self._gfps, self._names = info, strings, sites, gfps, names
        info.strings = [""]
        self._cache_map: Array = np.zeros(1, np.uint32)
        self._site_map: Array = np.zeros(1, np.uint64)
        self._gfp_map: Array = np.zeros(1, np.uint32)

    def _number(self, text: str) -> int:
        self._info.strings.append(text)
        return len(self._info.strings) - 1

    def apply(self, columns: Columns) -> None:
        """Replace table numbers by what the schema has."""
        info = self._info
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
        columns["cache"][:] = self._cache_map[columns["cache"]]
        columns["call_site"][:] = self._site_map[columns["call_site"]]
        columns["gfp"][:] = self._gfp_map[columns["gfp"]]
        info.cpus = max(info.cpus, int(columns["cpu"].max()) + 1)
