"""The same events as perf and as the ring buffer record them: a ``perf.data`` and raw pages, for benchmarks.

``python benchmarks/recorded.py TRACE DIR``, as root, writes the pages of any trace, for bench_trace.py.

The formats are the running kernel's. Of perf's file all is what perf wrote, but its samples; these stand in order of
time, in rounds, as perf likes them best.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kmem.trace.formats import Format, parse_format
from kmem.trace.open import open_trace
from kmem.trace.schema import KINDS, Recording

SLAB = ("kmalloc", "kfree", "kmem_cache_alloc", "kmem_cache_free")
PAGE = ("mm_page_alloc", "mm_page_free", "mm_page_free_batched", "mm_page_pcpu_drain", "mm_page_alloc_extfrag")
EVENTS = Path("/sys/kernel/tracing/events/kmem")
SAMPLE, FINISHED_ROUND = 9, 68
ROUND = 20_000
ROOM = 4080
_FIELDS = {"call_site": "call_site", "ptr": "ptr", "bytes_req": "requested", "bytes_alloc": "allocated"}
_FIELDS |= {"pfn": "ptr", "order": "order", "alloc_order": "order", "fallback_order": "requested"}
_COLUMNS = ("time", "kind", "cpu", "task", "call_site", "ptr", "requested", "allocated", "gfp", "cache", "order")
_FIXED = {1 << 16: "id", 1: "ip", 2: "tid", 4: "time", 8: "zero", 64: "id", 512: "id", 128: "cpu", 256: "one"}
"""Bits of sample_type, in the order in which a sample has what they stand for; raw data comes last."""
RAW = 1 << 10


class Record:
    """Makes the records of one event."""

    def __init__(self, format: Format) -> None:
        places = sorted(format.fields.values(), key=lambda f: f.offset)
        self.size = max(f.offset + f.size for f in places)
        self.number, self._name = format.number, format.fields.get("name")
        self._puts = [
            (f.offset, "<" + {1: "B", 2: "H", 4: "I", 8: "Q"}[f.size], _FIELDS.get(f.name, f.name))
            for f in places
            if not f.dynamic and f.size in (1, 2, 4, 8)
        ]

    def __call__(self, values: dict[str, int], name: bytes) -> bytes:
        """The record of an event."""
        raw = bytearray(self.size)
        for offset, form, field in self._puts:
            struct.pack_into(form, raw, offset, values.get(field, 0))
        if self._name is not None:
            struct.pack_into("<I", raw, self._name.offset, (len(name) + 1) << 16 | self.size)
            raw += name + b"\0"
        return bytes(raw) + bytes(-len(raw) % 4)


def formats(kinds: Sequence[str]) -> dict[str, Format]:
    """The running kernel's."""
    return {name: parse_format((EVENTS / name / "format").read_text()) for name in kinds}


def records(recording: Recording, kinds: Sequence[str]) -> Iterator[tuple[int, int, int, str, bytes]]:
    """Time, CPU, task, kind and record of each event of these kinds."""
    makers = {name: Record(format) for name, format in formats(kinds).items()}
    names: dict[int, bytes] = {}
    for batch in recording.batches():
        for time, number, cpu, task, site, ptr, requested, allocated, gfp, cache, order in zip(
            *(batch[name].tolist() for name in _COLUMNS), strict=True
        ):
            kind = KINDS[number]
            maker = makers.get(kind)
            if maker is None:
                continue
            if cache not in names:
                names[cache] = recording.info.strings[cache].encode()
            values = {"common_type": maker.number, "common_pid": task, "call_site": site, "ptr": ptr, "gfp_flags": gfp}
            values |= {"requested": requested, "allocated": allocated, "node": 0xFFFFFFFF, "order": order}
            yield time, cpu, task, kind, maker(values, names[cache])


class Pages:
    """Raw pages of each CPU, put into a directory with the format files."""

    def __init__(self, where: Path, kinds: Sequence[str]) -> None:
        self._where = where
        self._open: dict[int, tuple[bytearray, bytearray, int, int]] = {}
        where.mkdir()
        (where / "formats.txt").write_text("".join((EVENTS / name / "format").read_text() for name in kinds))

    def add(self, time: int, cpu: int, record: bytes) -> None:
        """Append an event to its CPU's pages."""
        done, page, begin, last = self._open.get(cpu, (bytearray(), bytearray(), time, time))
        if len(page) + len(record) + 12 > ROOM:
            done += struct.pack("<QQ", begin, len(page)) + page + bytes(ROOM - len(page))
            page, begin, last = bytearray(), time, time
        delta = time - last
        if delta >= 1 << 27:
            page += struct.pack("<II", 30 | (delta & (1 << 27) - 1) << 5, delta >> 27)
            delta = 0
        self._open[cpu] = (done, page, begin, time)
        page += struct.pack("<I", len(record) // 4 | delta << 5) + record

    def close(self) -> None:
        """Write all of it."""
        for cpu, (done, page, begin, _) in self._open.items():
            last = struct.pack("<QQ", begin, len(page)) + page + bytes(ROOM - len(page))
            (self._where / f"cpu{cpu}.pages").write_bytes(done + last)


class PerfData:
    """A ``perf.data`` in which perf's own samples are replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        events = ",".join(f"kmem:{name}" for name in SLAB)
        subprocess.run(["perf", "record", "-q", "-a", "-e", events, "-o", path, "--", "true"], check=True)
        self._old = path.read_bytes()
        head = struct.unpack_from("<8sQQQQQQQQ4Q", self._old)
        assert head[0] == b"PERFILE2"
        size, (self._at, self._length) = head[2], head[5:7]
        self._features = sum(bin(word).count("1") for word in head[9:])
        self._ids, self._layout = {}, []
        wanted = {format.number: name for name, format in formats(SLAB).items()}
        for at in range(head[3], head[3] + head[4], size):
            config, _, kinds = struct.unpack_from("<QQQ", self._old, at + 8)
            (where, _) = struct.unpack_from("<QQ", self._old, at + size - 16)
            if config in wanted:
                self._ids[wanted[config]] = struct.unpack_from("<Q", self._old, where)[0]
                self._layout = [(name, kinds & bit) for bit, name in _FIXED.items() if kinds & bit]
                assert kinds & ~sum(_FIXED) == RAW, hex(kinds)
        self._data = bytearray(b"".join(self._kept()))
        self._count = 0

    def _kept(self) -> Iterator[bytes]:
        """What perf wrote besides samples and rounds."""
        at, end = self._at, self._at + self._length
        while at < end:
            kind, _, size = struct.unpack_from("<IHH", self._old, at)
            if kind not in (SAMPLE, FINISHED_ROUND):
                yield self._old[at : at + size]
            at += size

    def add(self, time: int, cpu: int, task: int, kind: str, record: bytes) -> None:
        """Append a sample."""
        values = {"id": self._ids[kind], "tid": task << 32 | task, "time": time, "cpu": cpu, "one": 1}
        content = b"".join(struct.pack("<Q", values.get(name, 0)) for name, _ in self._layout)
        raw = record + bytes(-(len(record) + 4) % 8)
        content += struct.pack("<I", len(raw)) + raw
        self._data += struct.pack("<IHH", SAMPLE, 1, len(content) + 8) + content
        self._count += 1
        if self._count % ROUND == 0:
            self._data += struct.pack("<IHH", FINISHED_ROUND, 0, 8)

    def close(self) -> None:
        """Write all of it."""
        head = bytearray(self._old[: self._at])
        struct.pack_into("<QQ", head, 40, self._at, len(self._data))
        tail, end = bytearray(self._old[self._at + self._length :]), self._at + self._length
        for n in range(self._features):
            offset, size = struct.unpack_from("<QQ", tail, 16 * n)
            struct.pack_into("<QQ", tail, 16 * n, offset - end + self._at + len(self._data), size)
        self._path.write_bytes(head + self._data + tail)


def main() -> None:
    """Write the pages."""
    pages = Pages(Path(sys.argv[2]), SLAB + PAGE)
    for time, cpu, _, _, record in records(open_trace(Path(sys.argv[1])), SLAB + PAGE):
        pages.add(time, cpu, record)
    pages.close()


if __name__ == "__main__":
    main()
