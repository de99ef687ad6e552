"""A whole trace against its Perfetto file, event by event: ``python -m tests.report.whole TRACE``.

The file is written, decoded packet by packet with Perfetto's descriptors, and compared with the trace read anew: each
allocation is a slice or a moment with its facts, each free of something known ends the slice of just that, and what a
counter says is what lives then.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb2

from kmem.report.perfetto import Wanted, export
from kmem.trace.open import open_trace
from kmem.trace.schema import KINDS, Recording, site_name

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
ALLOCATES = ("kmalloc", "kmem_cache_alloc", "mm_page_alloc", "vmalloc", "percpu_alloc_percpu", "ioremap")
FREES = ("kfree", "kmem_cache_free", "mm_page_free", "vfree", "percpu_free_percpu", "iounmap")


def packets(file: IO[bytes]) -> Iterator[Any]:
    """Every packet, one at a time."""
    while tag := file.read(1):
        assert tag == b"\x0a"
        size = shift = 0
        while True:
            byte = file.read(1)[0]
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        packet = pb2.TracePacket()
        packet.ParseFromString(file.read(size))
        yield packet


def events(recording: Recording) -> Iterator[dict[str, Any]]:
    """Every event that allocates or frees."""
    info = recording.info
    for batch in recording.batches():
        columns = {name: batch[name].tolist() for name in ("time", "kind", "ptr", "requested", "allocated", "order")}
        columns |= {name: batch[name].tolist() for name in ("cpu", "task", "call_site")}
        for i in range(batch.n):
            one = {name: values[i] for name, values in columns.items()}
            one["kind"] = KINDS[one["kind"]]
            none = ((1 << 64) - 1,)
            if one["kind"] in ("kmalloc", "kfree", "kmem_cache_alloc", "kmem_cache_free"):
                none = (*none, *range(17))
            if one["kind"] in (*ALLOCATES, *FREES) and one["ptr"] not in none:
                one["site"] = site_name(info, one["call_site"]) if one["call_site"] else "no call site"
                yield one


def key(one: dict[str, Any]) -> tuple[int, int]:
    """What an event is about."""
    kind = one["kind"]
    place = ALLOCATES.index(kind) if kind in ALLOCATES else FREES.index(kind)
    return (0 if place < 2 else place), one["ptr"]


class Check:
    """Goes through a file and a trace side by side."""

    def __init__(self, file: IO[bytes], recording: Recording) -> None:
        self._file, self._recording = file, recording
        self.names: dict[int, str] = {}
        self.arguments: dict[int, str] = {}
        self.texts: dict[int, str] = {}
        self.said: dict[int, int] = {}
        self.counts: Counter[str] = Counter()

    def happened(self) -> Iterator[dict[str, Any]]:
        """What the file tells, less the counters, which are kept."""
        for packet in packets(self._file):
            self.counts["packets"] += 1
            if packet.HasField("track_descriptor"):
                self.names[packet.track_descriptor.uuid] = packet.track_descriptor.name
            for argument in packet.interned_data.debug_annotation_names:
                self.arguments[argument.iid] = argument.name
            for text in packet.interned_data.debug_annotation_string_values:
                self.texts[text.iid] = text.str.decode()
            if not packet.HasField("track_event"):
                continue
            event = packet.track_event
            if event.type == COUNTER:
                self.said[event.track_uuid] = event.counter_value
                continue
            one = {"time": packet.timestamp, "type": event.type, "track": event.track_uuid}
            for argument in event.debug_annotations:
                what = argument.WhichOneof("value")
                value = getattr(argument, what)
                one[self.arguments[argument.name_iid]] = self.texts[value] if what == "string_value_iid" else value
            yield one

    def run(self) -> Counter[str]:
        """Compare; what was compared, by kind."""
        told, live, count = self.happened(), {}, self.counts
        for event in events(self._recording):
            count["events"] += 1
            known = live.pop(key(event), None)
            if known is not None and known[1]:
                self.ends(next(told), event, known[1])
            if event["kind"] in FREES:
                count["frees of what was not seen"] += known is None
                continue
            one = next(told)
            self.begins(one, event)
            live[key(event)] = event, one["track"] if one["type"] == BEGIN else 0
        assert next(told, None) is None
        byte = sum(e["allocated"] or e["requested"] for e, _ in live.values() if e["kind"] != "mm_page_alloc")
        page = sum(1 << e["order"] for e, _ in live.values() if e["kind"] == "mm_page_alloc")
        assert (self.said[4096], self.said[4097]) == (byte, page)
        count["bytes at the end"], count["pages at the end"] = byte, page
        return count

    def begins(self, one: dict[str, Any], event: dict[str, Any]) -> None:
        """An allocation is told as it was."""
        self.counts["slices" if one["type"] == BEGIN else "moments"] += 1
        assert one["type"] in (BEGIN, INSTANT)
        assert self.names[one["track"]].removesuffix(": lives not drawn") == event["site"]
        wanted = {name: event[name] for name in ("time", "cpu")} | {"call": event["kind"]}
        if event["kind"] == "mm_page_alloc":
            wanted |= {"pfn": event["ptr"], "order": event["order"]}
        else:
            wanted |= {"address": event["ptr"], "requested": event["requested"], "allocated": event["allocated"]}
        assert {name: one[name] for name in wanted} == wanted
        assert one["task"].endswith(f"({event['task']})")

    def ends(self, one: dict[str, Any], event: dict[str, Any], track: int) -> None:
        """A slice ends when what it is of ends."""
        self.counts["ends"] += 1
        assert (one["type"], one["time"], one["track"]) == (END, event["time"], track)


def main(path: Path) -> None:
    """Write, decode, compare."""
    with tempfile.TemporaryFile() as file:
        started = time.monotonic()
        written = export(open_trace(path), Wanted(slices=10**9), file)  # type: ignore[arg-type]
        print(f"{written.size:,} bytes in {time.monotonic() - started:.1f} s")
        file.seek(0)
        for what, count in Check(file, open_trace(path)).run().items():
            print(f"{count:>15,} {what}")
    print("all as in the trace")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
