"""``trace.dat`` of trace-cmd, versions 6 and 7: pages of the ring buffer with the formats and names beside them.

Version 6 is one thing after the other. Version 7 has sections that lists of options point to; sections and the pages
may be compressed. What trace-cmd.dat(5) says is the source; files of another byte order are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from kmem.trace.errors import TraceError
from kmem.trace.formats import Format, PageLayout, parse_format, parse_header_page
from kmem.trace.kallsyms import names_of
from kmem.trace.pages import PageRecording
from kmem.trace.schema import NUMBER, OLD_NAMES, Columns, Info
from kmem.trace.unpack import CODECS, LARGEST, Chunks, Part, unpack

MAGIC = b"\x17\x08\x44tracing"
DONE, CPU_COUNT, BUFFER, HEADER_INFO, EVENT_FORMATS, KALLSYMS, CMDLINES, BUFFER_TEXT = 0, 8, 3, 16, 18, 19, 21, 22
COMPRESSED = 1
MOST_CPUS, MOST_OPTIONS, MOST_SECTIONS = 1 << 13, 1 << 16, 1 << 10


class Cpu(NamedTuple):
    """Where the pages of one CPU lie, and whether they are compressed."""

    number: int
    offset: int
    size: int
    compressed: bool


def bad(path: Path, why: str) -> TraceError:
    """The error of a file that is damaged."""
    return TraceError(f"{path}: {why}", remedy="The trace.dat is damaged or incomplete; record it again.")


class Data:
    """Numbers and strings out of bytes, one after the other."""

    def __init__(self, path: Path, content: bytes | memoryview) -> None:
        self._path, self._content, self._at = path, memoryview(content), 0

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return len(self._content) - self._at

    def take(self, size: int) -> bytes:
        """The next *size* bytes."""
        if size > self.left:
            raise bad(self._path, f"it ends in the middle of {size:,} bytes")
        self._at += size
        return bytes(self._content[self._at - size : self._at])

    def number(self, size: int) -> int:
        """The next number of *size* bytes."""
        return int.from_bytes(self.take(size), "little")

    def string(self) -> str:
        """The next string, which a zero ends."""
        rest = bytes(self._content[self._at : self._at + 4096])
        end = rest.find(0)
        if end < 0:
            raise bad(self._path, "a name has no end")
        self._at += end + 1
        return rest[:end].decode(errors="replace")

    def tagged(self, tag: bytes) -> bytes:
        """What has a tag and its size before it."""
        if self.take(len(tag)) != tag:
            raise bad(self._path, f"there is no {tag.rstrip(bytes(1)).decode()} where it should be")
        return self.take(self.number(8))


class TraceDat:
    """What a file says of itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layout = PageLayout()
        self.formats: list[Format] = []
        self.cpus: list[Cpu] = []
        self.kallsyms = ""
        self.tasks: dict[int, str] = {}
        self.clock = ""
        self.codec = "none"
        with open(path, "rb") as file:
            self._file = file
            self._size = path.stat().st_size
            head = Data(path, file.read(min(self._size, 512)))
            head.take(len(MAGIC))
            version = head.string()
            if head.number(1) != 0:
                raise TraceError(f"{path}: a big-endian machine's trace.dat", remedy="Read it with trace-cmd report.")
            head.number(1)
            head.number(4)
            if version == "6":
                self._version6(self._size - 512 + head.left if self._size > 512 else head.left)
            elif version == "7":
                self.codec = head.string()
                head.string()
                self._version7(head.number(8))
            else:
                raise TraceError(f"{path}: trace.dat of version {version!r}", remedy="Versions 6 and 7 are read.")
        if not self.formats:
            raise TraceError(f"{path}: no formats of kmem events", remedy="Record with trace-cmd record -e kmem.")
        if not self.cpus:
            raise TraceError(f"{path}: no pages of events", remedy="Only flyrecord data is read, not a tracer's text.")

    def _at(self, offset: int, size: int) -> Data:
        """At most *size* bytes at *offset*."""
        if not 0 <= offset <= self._size:
            raise bad(self.path, f"it has nothing at {offset:,}")
        self._file.seek(offset)
        return Data(self.path, self._file.read(min(size, self._size - offset, LARGEST)))

    def _version6(self, left: int) -> None:
        data = self._at(self._size - left, left)
        self._header(data)
        for _ in range(data.number(4)):
            data.take(data.number(8))
        self._events(data)
        self.kallsyms = data.take(data.number(4)).decode(errors="replace")
        data.take(data.number(4))
        self._cmdlines(data.take(data.number(8)))
        count = data.number(4)
        kind = data.take(10)
        if kind == b"options  \0":
            while (option := data.number(2)) != 0:
                content = data.take(data.number(4))
                if option == CPU_COUNT and len(content) == 4:
                    count = int.from_bytes(content, "little")
            kind = data.take(10)
        if kind != b"flyrecord\0":
            return
        for number in range(min(count, MOST_CPUS)):
            self.cpus.append(Cpu(number, data.number(8), data.number(8), False))

    def _section(self, offset: int, wanted: int) -> tuple[Data, bool]:
        """The content of the section at *offset*, and whether it says that it is compressed."""
        head = self._at(offset, 16)
        kind, flags, _, size = head.number(2), head.number(2), head.number(4), head.number(8)
        if kind != wanted:
            raise bad(self.path, f"the section at {offset:,} is {kind}, not {wanted}")
        if wanted == BUFFER:
            return Data(self.path, b""), bool(flags & COMPRESSED)
        data = self._at(offset + 16, size)
        if not flags & COMPRESSED:
            return data, False
        stored, whole = data.number(4), data.number(4)
        return Data(self.path, unpack(self.path, self.codec, data.take(stored), whole)), True

    def _version7(self, offset: int) -> None:
        if self.codec not in CODECS:
            raise TraceError(f"{self.path}: compressed by {self.codec!r}", remedy=f"Read are {', '.join(CODECS)}.")
        found: list[tuple[int, bytes]] = []
        for _ in range(MOST_SECTIONS):
            data, _ = self._section(offset, 0)
            offset = 0
            while data.left and len(found) < MOST_OPTIONS:
                option, content = data.number(2), data.take(data.number(4))
                if option == DONE:
                    offset = int.from_bytes(content[:8], "little")
                    break
                found.append((option, content))
            if not offset:
                break
        for option, content in found:
            data = Data(self.path, content)
            if option == HEADER_INFO:
                self._header(self._section(data.number(8), option)[0])
            elif option == EVENT_FORMATS:
                self._events(self._section(data.number(8), option)[0])
            elif option == KALLSYMS:
                part = self._section(data.number(8), option)[0]
                self.kallsyms = part.take(part.number(4)).decode(errors="replace")
            elif option == CMDLINES:
                part = self._section(data.number(8), option)[0]
                self._cmdlines(part.take(part.number(8)))
            elif option == BUFFER:
                self._buffer(data)

    def _buffer(self, data: Data) -> None:
        compressed = self._section(data.number(8), BUFFER)[1]
        data.string()
        self.clock = data.string()
        page = data.number(4)
        if 256 <= page <= 1 << 20 and page & (page - 1) == 0:
            self.layout = replace(self.layout, size=page)
        for _ in range(min(data.number(4), MOST_CPUS)):
            self.cpus.append(Cpu(data.number(4), data.number(8), data.number(8), compressed))

    def _header(self, data: Data) -> None:
        self.layout = parse_header_page(data.tagged(b"header_page\0").decode(errors="replace"))
        data.tagged(b"header_event\0")

    def _events(self, data: Data) -> None:
        for _ in range(data.number(4)):
            system = data.string()
            for _ in range(data.number(4)):
                content = data.take(data.number(8))
                if system != "kmem":
                    continue
                format = parse_format(content.decode(errors="replace"))
                if OLD_NAMES.get(format.name, format.name) in NUMBER:
                    self.formats.append(format)

    def _cmdlines(self, content: bytes) -> None:
        for line in content.decode(errors="replace").splitlines():
            pid, _, name = line.partition(" ")
            if pid.isascii() and pid.isdecimal() and len(pid) < 10:
                self.tasks[int(pid)] = name

    def streams(self) -> list[tuple[int, BinaryIO, int]]:
        """The pages of each CPU that has some."""
        found: list[tuple[int, BinaryIO, int]] = []
        for cpu in self.cpus:
            if not cpu.size:
                continue
            part: Part = Chunks(self.path, self.codec, cpu.offset) if cpu.compressed else Part(self.path, cpu)
            found.append((cpu.number & 0xFFFF, part, part.size))  # type: ignore[arg-type]
        return found


class DatRecording(PageRecording):
    """The events of a trace.dat; call sites get the names that its kallsyms tell."""

    def __init__(self, info: Info, path: Path) -> None:
        self._dat = TraceDat(path)
        super().__init__(info, self._dat.formats, self._dat.layout, self._dat.streams)
        info.clock, info.tasks = self._dat.clock, self._dat.tasks
        self._named = not self._dat.kallsyms

    def batches(self) -> Iterator[Columns]:
        """The events of all CPUs in order of time."""
        sites: set[int] = set()
        for batch in super().batches():
            if not self._named:
                sites.update(np.unique(batch["call_site"]).tolist())
            yield batch
        if not self._named:
            self.name_sites(sites)
            self._named = True

    def name_sites(self, sites: Iterable[int]) -> None:
        """As the kallsyms that were recorded tell."""
        self.info.symbols = names_of(set(sites), self._dat.kallsyms)


__all__ = ["MAGIC", "DatRecording", "TraceDat"]
