"""``.kmem`` files: the schema in columns, in chunks that each have a checksum.

::

    "\\x89KMEM\\r\\n" version(u8)
    chunk*:  kind(4s) codec(u8) 0 0 0  size(u32)  stored size(u32)  crc32(u32) of what is before and of the content

Chunks: ``META`` (JSON: source, counts, clock), ``STRS`` (JSON: strings that are new), ``SYMS`` (JSON: addresses and
their names), ``STAT`` (JSON: when, name, text of a kernel's file), ``EVTS`` (columns), ``DONE`` (JSON: the counts).
A column is stored as its least value and the differences to that in 0, 1, 2, 4 or 8 bytes each. Each chunk is written
by one call and is complete or is the torn tail, which reading leaves out and counts. The codec is 0 for none, 1 for
zstd.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kmem.trace.errors import TraceError
from kmem.trace.schema import COLUMNS, KINDS, Columns, Info, Recording
from kmem.trace.unpack import zstd

MAGIC = b"\x89KMEM\r\n"
VERSION = 2
_HEAD = struct.Struct("<4sB3xIII")
_COLUMN = struct.Struct("<BQ")
PLAIN, ZSTD = 0, 1
LARGEST = 64 << 20
"""No chunk is larger, unpacked."""
CHUNK_EVENTS = 1 << 16
_MASK = (1 << 64) - 1


def _bad(path: Path, why: str) -> TraceError:
    return TraceError(f"{path}: {why}", remedy="The file is damaged, or is no trace of kmem; record it again.")


def pack(columns: Columns) -> bytes:
    """The events of *columns* as the content of a chunk."""
    parts = [struct.pack("<IB", columns.n, len(COLUMNS))]
    for column in COLUMNS:
        values = columns[column.name]
        least = int(values.min()) if columns.n else 0
        span = int(values.max()) - least if columns.n else 0
        width = next(w for w in (0, 1, 2, 4, 8) if span < 1 << (8 * w))
        parts.append(_COLUMN.pack(width, least & _MASK))
        if width:
            less = values.astype(np.uint64) - np.uint64(least & _MASK)
            parts.append(less.astype(f"<u{width}").tobytes())
    return b"".join(parts)


def unpack(content: bytes, columns: Columns) -> bool:
    """Put the events into *columns*; False if the content is malformed."""
    try:
        n, width_of_row = struct.unpack_from("<IB", content)
        if n > columns.capacity or width_of_row != len(COLUMNS):
            return False
        at = 5
        for column in COLUMNS:
            width, least = _COLUMN.unpack_from(content, at)
            at += _COLUMN.size
            if width not in (0, 1, 2, 4, 8) or at + n * width > len(content):
                return False
            target = columns.arrays[column.name][:n]
            base = np.array(least, np.uint64).astype(column.dtype)
            if width:
                np.copyto(target, np.frombuffer(content, f"<u{width}", n, at), casting="unsafe")
                np.add(target, base, out=target, casting="unsafe")
            else:
                target.fill(base)
            at += n * width
    except struct.error:
        return False
    if n and int(columns.arrays["kind"][:n].max()) >= len(KINDS):
        return False
    columns.n = n
    return at == len(content)


class Writer:
    """Appends chunks to a file. What :meth:`events` returned from is in the file, whatever happens afterwards."""

    def __init__(self, path: Path, info: Info, *, compress: bool = True) -> None:
        self._file: BinaryIO = open(path, "wb", buffering=0)  # noqa: SIM115  closed by close()
        import zstandard

        self._compress = compress
        self._pack = zstandard.ZstdCompressor(1)
        self._strings = 1
        self._info = info
        self._states: set[tuple[str, str]] = set()
        self.count = 0
        self._write(MAGIC + bytes([VERSION]))
        self.json(b"META", {name: getattr(info, name) for name in ("source", "release", "cpus", "clock", "hashed")})
        self.tables()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def chunk(self, kind: bytes, content: bytes) -> None:
        """Append one chunk."""
        stored, codec = content, PLAIN
        if self._compress:
            packed = self._pack.compress(content)
            if len(packed) < len(content):
                stored, codec = packed, ZSTD
        head = _HEAD.pack(kind, codec, len(content), len(stored), 0)
        self._write(_HEAD.pack(kind, codec, len(content), len(stored), zlib.crc32(stored, zlib.crc32(head))) + stored)

    def json(self, kind: bytes, value: Any) -> None:
        """Append a chunk of JSON."""
        self.chunk(kind, json.dumps(value, sort_keys=True).encode())

    def tables(self) -> None:
        """Append what is new of the strings and of the kernel's files."""
        info = self._info
        if len(info.strings) > self._strings:
            self.json(b"STRS", info.strings[self._strings :])
            self._strings = len(info.strings)
        for when in ("before", "after"):
            for name, text in getattr(info, when).items():
                if (when, name) not in self._states:
                    self._states.add((when, name))
                    self.json(b"STAT", [when, name, text])

    def events(self, columns: Columns) -> None:
        """Append events, in chunks."""
        self.tables()
        part = Columns(0)
        for begin in range(0, columns.n, CHUNK_EVENTS):
            part.n = min(CHUNK_EVENTS, columns.n - begin)
            part.arrays = {name: array[begin : begin + part.n] for name, array in columns.arrays.items()}
            self.chunk(b"EVTS", pack(part))
        self.count += columns.n

    def close(self) -> None:
        """Append the counts, and end."""
        info = self._info
        self.tables()
        if info.symbols or info.tasks:
            symbols: list[list[str | int]] = [[f"{address:x}", name] for address, name in info.symbols.items()]
            self.json(b"SYMS", symbols + [[pid, name] for pid, name in info.tasks.items()])
        counts = {name: getattr(info, name) for name in ("cpus", "lost", "unparsed", "skipped")}
        self.json(b"DONE", {"events": self.count, **counts})
        self._file.close()


class StoredRecording:
    """A ``.kmem`` file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.info = Info(source=str(path))
        self.complete = False
        for _ in self._chunks(self.info, events=False):
            pass

    def batches(self) -> Iterator[Columns]:
        """The events, a chunk at a time."""
        columns = Columns(CHUNK_EVENTS)
        count = 0
        for content in self._chunks(Info(), events=True):
            if not unpack(content, columns):
                raise _bad(self._path, "a chunk of events is malformed")
            if columns.n and int(columns["cache"].max()) >= len(self.info.strings):
                raise _bad(self._path, "an event names a cache that the file does not")
            count += columns.n
            self.info.events = count
            yield columns

    def _chunks(self, info: Info, *, events: bool) -> Iterator[bytes]:
        """The contents of the chunks of events, or else those of all others, put into *info*."""
        total = os.path.getsize(self._path)
        with open(self._path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise _bad(self._path, "this is no .kmem file")
            version = file.read(1)
            if version != bytes([VERSION]):
                raise TraceError(
                    f"{self._path}: this .kmem file has version {version.hex() or 'none'}, not {VERSION:02x}",
                    remedy="Another version of kmem wrote it: read it with that one, or record it again.",
                )
            at = len(MAGIC) + 1
            while at < total:
                head = file.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    break
                kind, codec, size, stored, checksum = _HEAD.unpack(head)
                if size > LARGEST or stored > LARGEST or codec not in (PLAIN, ZSTD):
                    if at + _HEAD.size + stored > total:
                        break
                    raise _bad(self._path, f"the chunk at {at} is malformed")
                end = at + _HEAD.size + stored
                if end > total:
                    break
                wanted = (kind == b"EVTS") == events
                if wanted or end == total:
                    content = file.read(stored)
                    if zlib.crc32(content, zlib.crc32(_HEAD.pack(kind, codec, size, stored, 0))) != checksum:
                        if end == total:
                            break
                        raise _bad(self._path, f"the chunk at {at} does not have its checksum")
                else:
                    file.seek(stored, 1)
                at = end
                if wanted:
                    content = self._content(codec, size, content, at)
                    if events:
                        yield content
                    else:
                        self._take(info, kind, content)
            if not events:
                info.torn = total - at

    def _content(self, codec: int, size: int, stored: bytes, at: int) -> bytes:
        if codec == ZSTD:
            try:
                stored = zstd(stored, size + 1)
            except ValueError:
                raise _bad(self._path, f"the chunk before {at} cannot be unpacked") from None
        if len(stored) != size:
            raise _bad(self._path, f"the chunk before {at} has another size than it says")
        return stored

    def _take(self, info: Info, kind: bytes, content: bytes) -> None:
        try:
            value = json.loads(content)
            if kind == b"STRS":
                info.strings += [str(text) for text in value]
            elif kind == b"STAT":
                when, name, text = value
                {"before": info.before, "after": info.after}[when][str(name)] = str(text)
            elif kind == b"SYMS":
                for key, text in value:
                    if isinstance(key, int):
                        info.tasks[key] = str(text)
                    else:
                        info.symbols[int(key, 16)] = str(text)
            elif kind == b"META":
                info.release, info.clock = str(value["release"]), str(value["clock"])
                info.cpus, info.hashed = int(value["cpus"]), bool(value["hashed"])
                info.source = str(value["source"])
            elif kind == b"DONE":
                self.complete = True
                info.events, info.lost = int(value["events"]), int(value["lost"])
                info.unparsed, info.skipped = int(value["unparsed"]), int(value["skipped"])
                info.cpus = int(value["cpus"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise _bad(self._path, f"a chunk {kind.decode(errors='replace')!r} is malformed") from None


def save(recording: Recording, path: Path, *, compress: bool = True) -> int:
    """Write *recording* to *path*; how many events."""
    writer = Writer(path, recording.info, compress=compress)
    for batch in recording.batches():
        writer.events(batch)
    writer.close()
    return writer.count
