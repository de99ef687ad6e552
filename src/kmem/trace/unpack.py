"""What is compressed in traces; and pages in a trace.dat: as they are, or in compressed chunks."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, NamedTuple

from kmem.trace.errors import TraceError

LARGEST = 64 << 20
"""Nothing that is unpacked, or read at once, is larger."""
CODECS = ("none", "zlib", "zstd")
MOST_CHUNKS = 1 << 24


def zstd(stored: bytes, most: int) -> bytes:
    """What *stored* unpacks to, at most so many bytes of it; ValueError if it is damaged."""
    import zstandard

    try:
        return bytes(zstandard.ZstdDecompressor(max_window_size=LARGEST).stream_reader(stored).read(most))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def unpack(path: Path, codec: str, stored: bytes, size: int) -> bytes:
    """The *size* bytes that *stored* unpacks to; TraceError if it does not."""
    if size > LARGEST:
        raise TraceError(f"{path}: a part of {size:,} bytes", remedy="The trace.dat is damaged; record it again.")
    try:
        if codec == "zstd":
            found = zstd(stored, size)
        elif codec == "zlib":
            found = zlib.decompressobj().decompress(stored, size or 1)
        else:
            found = stored
    except (ValueError, zlib.error) as error:
        raise TraceError(f"{path}: a part cannot be unpacked: {error}", remedy="Record the trace again.") from None
    if len(found) != size:
        raise TraceError(f"{path}: a part has another size than it says", remedy="Record the trace again.")
    return found


class Place(NamedTuple):
    """Where bytes lie in a file."""

    offset: int
    size: int


class Part:
    """Some bytes of a file, to be read like one."""

    def __init__(self, path: Path, place: Any) -> None:
        self.size = int(place.size)
        self._left = self.size
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  the reader closes it
        self._file.seek(min(int(place.offset), path.stat().st_size))

    def readinto(self, target: memoryview) -> int:
        """Read what there is into *target*; how many bytes, 0 at the end."""
        got = self._file.readinto(target[: min(len(target), self._left)]) or 0
        self._left -= got
        return got

    def close(self) -> None:
        """End."""
        self._file.close()


class Chunks(Part):
    """Compressed chunks: their number, then each with its stored and its unpacked size before it."""

    def __init__(self, path: Path, codec: str, offset: int) -> None:
        super().__init__(path, Place(offset, 0))
        self._path, self._codec = path, codec
        self._places: list[tuple[Place, int]] = []
        end = path.stat().st_size
        count = int.from_bytes(self._file.read(4), "little")
        at = offset + 4
        for _ in range(min(count, MOST_CHUNKS)):
            if at + 8 > end:
                break
            self._file.seek(at)
            stored, whole = (int.from_bytes(self._file.read(4), "little") for _ in range(2))
            if stored > LARGEST or whole > LARGEST:
                raise TraceError(f"{path}: a chunk of {whole:,} bytes", remedy="The trace.dat is damaged.")
            self._places.append((Place(at + 8, stored), whole))
            at += 8 + stored
        self.size = sum(whole for _, whole in self._places)
        self._next, self._content = 0, b""

    def readinto(self, target: memoryview) -> int:
        """Read what there is into *target*; how many bytes, 0 at the end."""
        while not self._content:
            if self._next >= len(self._places):
                return 0
            place, whole = self._places[self._next]
            self._next += 1
            self._file.seek(place.offset)
            stored = self._file.read(place.size)
            if len(stored) < place.size:
                return 0
            self._content = unpack(self._path, self._codec, stored, whole)
        got = min(len(target), len(self._content))
        target[:got] = self._content[:got]
        self._content = self._content[got:]
        return got
