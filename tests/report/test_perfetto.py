"""The Perfetto file, decoded with Perfetto's own descriptors, says what the trace says."""

from __future__ import annotations

import io
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmem.commands.main import main
from kmem.report import proto
from kmem.report.perfetto import Wanted, Written, export, told
from kmem.trace.open import open_trace
from kmem.trace.replay import replay
from kmem.trace.schema import NUMBER, Columns, Info
from tests.trace import made

pb2 = pytest.importorskip(
    "perfetto.protos.perfetto.trace.perfetto_trace_pb2", reason="Perfetto's descriptors are missing: ./dev setup"
)
BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
EXACT = Wanted(points=10**9)


@dataclass
class Decoded:
    """A file, decoded: tracks by number, and what happened, in the order of the file."""

    tracks: dict[int, Any] = field(default_factory=dict)
    happened: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: int) -> list[dict[str, Any]]:
        return [one for one in self.happened if one["type"] == kind]

    def name(self, track: int) -> str:
        return str(self.tracks[track].name)


def decode(raw: bytes) -> Decoded:
    """Undo the interning, as a reader of the format does; a name that was not said before its use is a KeyError."""
    trace = pb2.Trace()
    trace.ParseFromString(raw)
    found = Decoded()
    events: dict[int, str] = {}
    names: dict[int, str] = {}
    texts: dict[int, str] = {}
    cleared = False
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid not in found.tracks
            assert track.parent_uuid in {0, *found.tracks}
            found.tracks[track.uuid] = track
        cleared |= packet.sequence_flags & 1 != 0
        if packet.HasField("interned_data"):
            assert cleared
            for into, said in (
                (events, packet.interned_data.event_names),
                (names, packet.interned_data.debug_annotation_names),
            ):
                into.update({one.iid: one.name for one in said})
            texts.update({t.iid: t.str.decode() for t in packet.interned_data.debug_annotation_string_values})
        if packet.HasField("track_event"):
            event = packet.track_event
            assert event.track_uuid in found.tracks
            one: dict[str, Any] = {"time": packet.timestamp, "type": event.type, "track": event.track_uuid}
            if event.type == COUNTER:
                one["value"] = event.counter_value
            elif event.type != END:
                one["name"] = events[event.name_iid]
            for argument in event.debug_annotations:
                what = argument.WhichOneof("value")
                value = getattr(argument, what)
                one[names[argument.name_iid]] = texts[value] if what == "string_value_iid" else value
            found.happened.append(one)
    return found


def write(where: Path, events: list[made.Made], wanted: Wanted = EXACT) -> tuple[Decoded, Written]:
    file = io.BytesIO()
    written = export(open_trace(made.directory(where, events)), wanted, file)
    assert written.size == len(file.getvalue())
    return decode(file.getvalue()), written


def naive(events: list[made.Made]) -> Iterator[tuple[made.Made, dict[str, int]]]:
    """After each event, the bytes and pages that live, by name of the counter."""
    live: dict[tuple[bool, int], made.Made] = {}
    value: Counter[str] = Counter()

    def change(e: made.Made, sign: int) -> None:
        pages = e.kind.startswith("mm_page")
        amount = sign * (1 << e.order if pages else e.alloc)
        group = f"order {e.order}: pages allocated" if pages else f"{e.name or f'kmalloc-{e.alloc}'}: live bytes"
        whole = "all pages: allocated since the beginning" if pages else "all objects: live bytes"
        value.update({group: amount, whole: amount})
        value[f"task {e.pid} {'pages' if pages else 'objects'}: live bytes"] += amount * (4096 if pages else 1)

    for e in events:
        key = (e.kind.startswith("mm_page"), e.ptr)
        if e.kind.endswith("free"):
            change(live.pop(key), -1)
        else:
            live[key] = e
            change(e, 1)
        yield e, dict(value)


def test_every_event_of_the_trace_is_in_the_file(tmp_path: Path) -> None:
    events = made.workload(3000)
    found, written = write(tmp_path / "raw", events)
    assert (written.events, written.crowded, written.left_out, written.unknown) == (len(events), 0, 0, 0)
    drawn = [one for one in found.happened if one["type"] in (BEGIN, END)]
    assert len(drawn) == len(events)
    open_at: dict[int, dict[str, Any]] = {}
    for event, one in zip(events, drawn, strict=True):
        assert one["time"] == event.time
        if one["type"] == END:
            begun = open_at.pop(one["track"])
            assert event.kind.endswith("free")
            assert begun.get("address", begun.get("pfn")) == event.ptr
            continue
        assert one["track"] not in open_at, "two slices of one lane overlap"
        open_at[one["track"]] = one
        site = "no call site" if event.kind == "mm_page_alloc" else f"{event.site:#x}"
        assert found.name(one["track"]) == site
        assert (one["call"], one["cpu"]) == (event.kind, event.cpu)
        assert (one["gfp"], one["task"]) == ("0xcc0 GFP_KERNEL", f"task {event.pid} ({event.pid})")
        if event.kind == "mm_page_alloc":
            assert (one["name"], one["pfn"], one["order"]) == (f"pages, order {event.order}", event.ptr, event.order)
        else:
            assert one["name"] == (event.name or f"kmalloc-{event.alloc}")
            assert (one["address"], one["requested"], one["allocated"]) == (event.ptr, event.req, event.alloc)
    assert len(open_at) == written.unfinished == sum(-1 if e.kind.endswith("free") else 1 for e in events)


def test_counters_are_what_lives_after_every_event(tmp_path: Path) -> None:
    events = made.workload(800)
    for number, event in enumerate(events):
        event.time = 10**9 + number * 1000
    found, _ = write(tmp_path / "raw", events)
    threads = {uuid: f"task {track.thread.tid} " for uuid, track in found.tracks.items() if track.HasField("thread")}
    changes = iter(found.of(COUNTER))
    said: dict[str, int] = {}
    one = next(changes, None)
    for event, wanted in naive(events):
        while one is not None and one["time"] == event.time:
            said[threads.get(found.tracks[one["track"]].parent_uuid, "") + found.name(one["track"])] = one["value"]
            one = next(changes, None)
        assert said == {name: value for name, value in wanted.items() if name in said}
        assert {name for name, value in wanted.items() if value} <= set(said)
    assert one is None


def objects(*actions: tuple[str, int], site: int = 0xFFFFFFFF81000000) -> list[made.Made]:
    """A page, and objects of 64 bytes in it that come and go, a microsecond apart."""
    found = [made.Made(10**9, 0, 7, "mm_page_alloc", 0x100, gfp=made.GFP_KERNEL)]
    for number, (kind, slot) in enumerate(actions):
        ptr = made.BASE + 0x100 * 4096 + slot * 64
        size = {"req": 60, "alloc": 64, "gfp": made.GFP_KERNEL} if kind == "kmalloc" else {}
        found.append(made.Made(10**9 + 1000 * (number + 1), 0, 7, kind, ptr, site=site, **size))
    return found


def test_an_address_handed_out_again_ends_the_slice(tmp_path: Path) -> None:
    found, written = write(tmp_path / "raw", objects(("kmalloc", 0), ("kmalloc", 0), ("kfree", 0)))
    assert (written.reused, written.slices, written.unfinished) == (1, 3, 1)
    assert [one["time"] for one in found.of(END)] == [10**9 + 2000, 10**9 + 3000]


def test_what_finds_no_lane_is_a_moment_and_said_first(tmp_path: Path) -> None:
    found, written = write(tmp_path / "raw", objects(*(("kmalloc", slot) for slot in range(64)), ("kmalloc", 64)))
    assert (written.slices, written.crowded) == (65, 1)
    (moment,) = found.of(INSTANT)
    assert moment["address"] == made.BASE + 0x100 * 4096 + 64 * 64
    assert found.name(moment["track"]) == "0xffffffff81000000: lives not drawn"
    lines = told(Info(), written)
    assert lines[3].startswith("LEFT OUT: 1 lives: the call site had 64 slices")


def test_a_bound_on_slices_leaves_out_evenly_and_counts_all(tmp_path: Path) -> None:
    events = made.workload(2000)
    whole, _ = write(tmp_path / "a", events)
    found, written = write(tmp_path / "b", events, Wanted(slices=100, points=10**9))
    allocations = sum("alloc" in e.kind for e in events)
    assert written.one_of == -(-allocations // 100)
    assert len(found.of(BEGIN)) == written.slices == allocations // written.one_of
    assert written.left_out == allocations - written.slices
    times = [one["time"] for one in found.of(BEGIN)]
    assert times[50] > events[900].time
    assert [c["value"] for c in found.of(COUNTER)] == [c["value"] for c in whole.of(COUNTER)]


def test_points_bound_how_often_counters_are_told(tmp_path: Path) -> None:
    events = made.workload(2000)
    found, _ = write(tmp_path / "raw", events, Wanted(points=10))
    assert len({one["time"] for one in found.of(COUNTER)}) == 10
    last: dict[str, int] = {found.name(one["track"]): one["value"] for one in found.of(COUNTER)}
    *_, (_, wanted) = naive(events)
    assert {name: last[name] for name in wanted if not name.startswith("task")} == {
        name: value for name, value in wanted.items() if not name.startswith("task")
    }


def test_a_window_writes_what_begins_in_it(tmp_path: Path) -> None:
    events = made.workload(2000)
    begin, end = events[500].time, events[900].time
    since = events[0].time
    found, _ = write(tmp_path / "raw", events, Wanted(begin - since, end - since, points=10**9))
    wanted = [e.time for e in events if begin <= e.time <= end and "alloc" in e.kind]
    assert [one["time"] for one in found.of(BEGIN)] == wanted
    assert {begin <= one["time"] <= end for one in found.of(COUNTER)} == {True}


def test_the_kernels_own_free_blocks_are_counters_at_both_ends(tmp_path: Path) -> None:
    events = made.workload(50)
    where = made.directory(tmp_path / "raw", events)
    (where / "buddyinfo.before").write_text("Node 0, zone DMA 1 2 3\nNode 0, zone Normal 10 20 30\n")
    (where / "buddyinfo.after").write_text("Node 0, zone DMA 1 2 3\nNode 0, zone Normal 9 20 40\n")
    file = io.BytesIO()
    export(open_trace(where), EXACT, file)
    found = decode(file.getvalue())
    free = [one for one in found.of(COUNTER) if "buddyinfo" in found.name(one["track"])]
    assert [(one["time"], one["value"]) for one in free] == [
        *((events[0].time, n) for n in (11, 22, 33)),
        *((events[-1].time, n) for n in (10, 22, 43)),
    ]


def test_a_replay_adds_free_blocks_and_slabs_over_time(tmp_path: Path) -> None:
    where = made.directory(tmp_path / "raw", made.workload(2000))
    file = io.BytesIO()
    export(open_trace(where), Wanted(model=True), file)
    found = decode(file.getvalue())
    samples = replay(open_trace(where)).samples
    assert samples
    slabs = [one for one in found.of(COUNTER) if found.name(one["track"]) == "pages of all slabs (model)"]
    assert [(one["time"], one["value"]) for one in slabs] == [(x.time, x.slab_pages) for x in samples]
    order3 = [one["value"] for one in found.of(COUNTER) if found.name(one["track"]) == "free blocks, order 3 (model)"]
    assert order3 == [x.free[3] for x in samples]


class Endless:
    """A trace of *batches* batches in which 100 objects come and go."""

    def __init__(self, batches: int) -> None:
        self.info = Info(source="made", cpus=1, strings=["", "site"])
        self._batches = batches

    def batches(self) -> Iterator[Columns]:
        columns = Columns(2000)
        for number in range(self._batches):
            columns.n = 2000
            columns.arrays["time"][:] = 10**9 + (number * 2000 + np.arange(2000)) * 100
            columns.arrays["kind"][:] = np.arange(2000) & 1
            columns.arrays["ptr"][:] = np.uint64(made.BASE) + np.arange(2000, dtype=np.uint64) // np.uint64(
                2
            ) % np.uint64(100) * np.uint64(64)
            columns.arrays["call_site"][:], columns.arrays["allocated"][:] = 1, 64
            yield columns


class Nowhere(io.RawIOBase):
    """A file that keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def peak(batches: int) -> int:
    tracemalloc.start()
    written = export(Endless(batches), Wanted(slices=10**9), Nowhere())  # type: ignore[arg-type]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written.slices == batches * 1000
    return most


def test_memory_does_not_grow_with_the_length_of_the_trace() -> None:
    assert NUMBER["kfree"] == 1
    peak(1)
    assert peak(80) < 1.1 * peak(8)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 1 << 32, (1 << 64) - 1])
def test_numbers_are_written_as_protobuf_reads_them(value: int) -> None:
    packet = pb2.TracePacket()
    packet.ParseFromString(proto.message((8, value), (10, 5)))
    assert (packet.timestamp, packet.trusted_packet_sequence_id) == (value, 5)


def test_negative_numbers_take_64_bits() -> None:
    track = pb2.TrackDescriptor()
    track.ParseFromString(proto.message((12, -1), (2, "é")))
    assert (track.sibling_order_rank, track.name) == (-1, "é")


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.directory(tmp_path / "raw", made.workload(300))
    out = tmp_path / "out.pftrace"
    assert main(["export", str(tmp_path / "raw"), "--perfetto", "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert f"{out} is a Perfetto trace" in said.out
    assert len(decode(out.read_bytes()).of(BEGIN)) > 100
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_a_trace_that_cannot_be_read_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"nothing of the kind")
    assert main(["export", str(bad), "--perfetto", "-o", str(tmp_path / "out")]) == 2
    assert "[trace-format]" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.directory(tmp_path / "raw", made.workload(20))
    assert main(["export", str(tmp_path / "raw"), "--perfetto", "-o", str(tmp_path / "no" / "out")]) == 2
    assert "[bad-input]" in capsys.readouterr().err
