from __future__ import annotations

import json
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard

from kmem.trace.errors import TraceError
from kmem.trace.formats import evaluate, parse_format
from kmem.trace.open import open_trace
from kmem.trace.schema import COLUMNS, KINDS, Recording, site_name
from kmem.trace.store import MAGIC, VERSION, Writer, save
from tests.trace import made, naive_text

EVENTS = made.workload(3000)


def read(recording: Recording) -> dict[str, np.ndarray]:
    parts = [{c.name: batch[c.name].copy() for c in COLUMNS} for batch in recording.batches()]
    return {c.name: np.concatenate([part[c.name] for part in parts]) for c in COLUMNS}


def check(recording: Recording, events: list[made.Made], *, names: bool, addresses: bool) -> None:
    """What was read is what was written."""
    got = read(recording)
    assert [KINDS[kind] for kind in got["kind"]] == [e.kind for e in events]
    for column, field in (("time", "time"), ("ptr", "ptr"), ("cpu", "cpu"), ("task", "pid"), ("requested", "req")):
        assert got[column].tolist() == [getattr(e, field) for e in events], column
    assert got["order"].tolist() == [e.order for e in events]
    assert got["gfp"].tolist() == [e.gfp for e in events]
    assert got["allocated"].tolist() == [4096 << e.order if "page" in e.kind else e.alloc for e in events]
    strings = recording.info.strings
    free = [strings[c] for c, e in zip(got["cache"], events, strict=True) if names or e.kind == "kmem_cache_free"]
    assert free == [e.name for e in events if names or e.kind == "kmem_cache_free"]
    sites = [site_name(recording.info, int(s)) for s in got["call_site"]]
    for site, event in zip(sites, events, strict=True):
        if not event.kind.startswith("mm_page"):
            assert site == (f"{event.site:#x}" if addresses else f"fn_{event.site & 0xFF}+0x{event.site >> 8 & 0xFF:x}")


@pytest.mark.parametrize("reverse", [False, True], ids=["usual", "fields elsewhere"])
def test_pages_of_the_ring_buffer_are_read_by_the_names_of_the_fields(tmp_path: Path, reverse: bool) -> None:
    recording = open_trace(made.directory(tmp_path / "raw", EVENTS, reverse))
    check(recording, EVENTS, names=True, addresses=True)
    assert recording.info.cpus == 2
    assert recording.info.unparsed == recording.info.lost == recording.info.torn == 0


@pytest.mark.parametrize("tool", ["ftrace", "perf_script", "trace_cmd"])
def test_the_text_of_each_tool_is_read(tmp_path: Path, tool: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(getattr(made, tool)(EVENTS))
    recording = open_trace(path)
    check(recording, EVENTS, names=False, addresses=False)
    assert recording.info.lost == (7 if tool == "trace_cmd" else 0)
    assert recording.info.unparsed == (1 if tool == "trace_cmd" else 0)  # its first line, cpus=2


FILES = {"6": made.trace_dat6, "7": made.trace_dat7, "7 zlib": lambda e: made.trace_dat7(e, zlib.compress, "zlib")}


@pytest.mark.parametrize("form", FILES)
def test_a_trace_dat_is_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(FILES[form](EVENTS))
    recording = open_trace(path)
    assert len(read(recording)["time"]) == len(EVENTS)
    symbols = recording.info.symbols
    assert all(name == f"start_of_all+{site - 0xFFFFFFFF81000000:#x}" for site, name in symbols.items())
    assert recording.info.tasks[400] == "make"
    recording.info.symbols = {}
    check(recording, EVENTS, names=True, addresses=True)
    assert recording.info.lost == recording.info.torn == recording.info.unparsed == 0


def test_a_trace_dat_compressed_by_zstd_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(made.trace_dat7(EVENTS, zstandard.ZstdCompressor().compress, "zstd"))
    assert len(read(open_trace(path))["time"]) == len(EVENTS)


def test_pages_that_a_trace_dat_says_it_has_and_has_not_are_counted_as_torn(tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    data = made.trace_dat6(EVENTS)
    path.write_bytes(data[:-5000])
    recording = open_trace(path)
    assert 0 < len(read(recording)["time"]) < len(EVENTS)
    assert recording.info.torn == 5000 + (8192 - 5000)  # two pages are not whole


@pytest.mark.parametrize(
    ("at", "value", "why"), [(10, b"9", "version"), (12, b"\1", "big-endian"), (0, b"\x17\x08\x44trax", "no trace")]
)
def test_a_trace_dat_of_another_kind_is_refused(tmp_path: Path, at: int, value: bytes, why: str) -> None:
    path = tmp_path / "trace.dat"
    data = made.trace_dat6(EVENTS[:50])
    path.write_bytes(data[:at] + value + data[at + len(value) :])
    with pytest.raises(TraceError, match=why):
        open_trace(path)


def test_context_of_pages_and_of_text(tmp_path: Path) -> None:
    raw = read(open_trace(made.directory(tmp_path / "raw", EVENTS[:1])))
    assert raw["context"].tolist() == [0x102]
    (tmp_path / "t.txt").write_text(made.ftrace(EVENTS[:1]))
    assert read(open_trace(tmp_path / "t.txt"))["context"].tolist() == [0x101]


def test_events_of_old_kernels(tmp_path: Path) -> None:
    line = "sh-96 [000] .... 6.5: kmalloc_node: call_site=ffffffff81234567 ptr=ffff888004bfe228 bytes_req=8"
    (tmp_path / "t.txt").write_text(f"{line} bytes_alloc=16 gfp_flags=GFP_KERNEL node=1\n")
    recording = open_trace(tmp_path / "t.txt")
    got = read(recording)
    assert KINDS[got["kind"][0]] == "kmalloc"
    assert (got["call_site"][0], got["node"][0], got["time"][0]) == (0xFFFFFFFF81234567, 1, 6_500_000_000)


@pytest.mark.parametrize("length", range(1, 17))
def test_keys_are_whole_words_wherever_lines_end(tmp_path: Path, length: int) -> None:
    other = "bytes_rex=1 xbytes_req=2 bytes_reqs=3 ptrs=4 nodes=5 orderly=6 bytes_alloca=7 bytes_req"
    line = f"sh-1 [000] .... 7.0: kmalloc: {other} call_site=a=b ptr=0x{'f' * 8}80001000 bytes_req=8 bytes_alloc=16"
    (tmp_path / "t.txt").write_text(f"{line} gfp_flags=none node=-1 name={'n' * length}\n" * 5)
    recording = open_trace(tmp_path / "t.txt")
    got = read(recording)
    assert got["requested"].tolist() == [8] * 5
    assert got["allocated"].tolist() == [16] * 5
    assert got["ptr"].tolist() == [0xFFFFFFFF80001000] * 5
    assert {recording.info.strings[c] for c in got["cache"]} == {"n" * length}
    assert {site_name(recording.info, int(s)) for s in got["call_site"]} == {"a=b"}


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["newlines", "carriage returns"])
def test_lines_of_all_shapes_are_read_as_by_regular_expressions(tmp_path: Path, end: str) -> None:
    rng = random.Random(end)
    lines = [naive_text.line(rng) for _ in range(4000)]
    (tmp_path / "t.txt").write_text("# tracer: nop\n" + end.join(lines), newline="")
    recording = open_trace(tmp_path / "t.txt")
    got, want = read(recording), [naive_text.event(line) for line in lines]
    assert recording.info.unparsed == recording.info.skipped == 0
    strings = recording.info.strings
    for column in ("time", "task", "cpu", "ptr", "requested", "allocated", "node", "order"):
        assert got[column].tolist() == [event[column] for event in want], column
    assert [KINDS[kind] for kind in got["kind"]] == [event["kind"] for event in want]
    assert [strings[cache] for cache in got["cache"]] == [event["cache"] for event in want]
    assert [strings[site] for site in got["call_site"]] == [event["site"] for event in want]


@pytest.mark.parametrize("piece", [1 << 10, 1 << 16, 1 << 22])
@pytest.mark.parametrize("processors", [1, 3])
def test_text_is_the_same_however_many_threads_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int, piece: int
) -> None:
    rng = random.Random(7)
    lines = [naive_text.line(rng) for _ in range(3000)]
    lines[1500] = "x" * 200_000
    (tmp_path / "t.txt").write_text("# tracer: nop\n" + "\n".join(lines))
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(processors)))
    monkeypatch.setattr("kmem.trace.text.CHUNK", piece)
    recording = open_trace(tmp_path / "t.txt")
    got, want = read(recording), [naive_text.event(line) for line in lines if line[0] != "x" or len(line) < 1000]
    assert recording.info.unparsed > 0
    assert recording.info.events == len(want)
    strings = recording.info.strings
    assert len(strings) == len(set(strings))
    for column in ("time", "ptr", "requested"):
        assert got[column].tolist() == [event[column] for event in want], column
    assert [strings[cache] for cache in got["cache"]] == [event["cache"] for event in want]
    assert [strings[site] for site in got["call_site"]] == [event["site"] for event in want]


def test_lost_and_unknown_lines_are_counted(tmp_path: Path) -> None:
    good = made.ftrace(EVENTS[:2])
    (tmp_path / "t.txt").write_text(
        good + "CPU:1 [LOST 12 EVENTS]\nnonsense\nsh-1 [000] .... 7.0: sched_switch: a=b\n"
        "sh-1 [000] .... 7.0: kfree: call_site=x ptr=????\n" + "x" * 100_000 + "\n"
    )
    recording = open_trace(tmp_path / "t.txt")
    assert len(read(recording)["time"]) == 2
    assert (recording.info.lost, recording.info.unparsed, recording.info.skipped) == (12, 3, 1)


def test_lost_events_of_a_page_are_counted(tmp_path: Path) -> None:
    where = made.directory(tmp_path / "raw", EVENTS[:1])
    page = bytearray((where / "cpu0.pages").read_bytes() if EVENTS[0].cpu == 0 else (where / "cpu1.pages").read_bytes())
    used = int.from_bytes(page[8:16], "little")
    page[8:16] = (used | 3 << 30).to_bytes(8, "little")
    page[16 + used : 24 + used] = (33).to_bytes(8, "little")
    (where / f"cpu{EVENTS[0].cpu}.pages").write_bytes(page)
    recording = open_trace(where)
    assert len(read(recording)["time"]) == 1
    assert recording.info.lost == 33


@pytest.mark.parametrize("compress", [True, False])
def test_a_kmem_file_gives_back_what_was_put_in(tmp_path: Path, compress: bool) -> None:
    first = open_trace(made.directory(tmp_path / "raw", EVENTS))
    first.info.before["slabinfo"], first.info.after["buddyinfo"] = "before", "after"
    assert save(first, tmp_path / "t.kmem", compress=compress) == len(EVENTS)
    again = open_trace(tmp_path / "t.kmem")
    check(again, EVENTS, names=True, addresses=True)
    assert again.info.before == {"slabinfo": "before"}
    assert again.info.after == {"buddyinfo": "after"}
    assert (again.info.events, again.info.torn, again.info.cpus) == (len(EVENTS), 0, 2)


def test_a_kmem_file_of_another_version_is_refused_with_both(tmp_path: Path) -> None:
    path = tmp_path / "t.kmem"
    save(open_trace(made.directory(tmp_path / "raw", EVENTS)), path)
    path.write_bytes(MAGIC + b"\x01" + path.read_bytes()[len(MAGIC) + 1 :])
    with pytest.raises(TraceError, match=f"version 01, not {VERSION:02x}") as caught:
        open_trace(path)
    assert "Another version of kmem" in caught.value.remedy


def test_every_chunk_that_was_written_is_read_wherever_the_file_ends(tmp_path: Path) -> None:
    recording = open_trace(made.directory(tmp_path / "raw", EVENTS))
    path, marks = tmp_path / "t.kmem", []
    writer = Writer(path, recording.info)
    for batch in recording.batches():
        part = batch.cut(np.arange(batch.n) < 100)
        for _ in range(3):
            writer.events(part)
            marks.append((path.stat().st_size, writer.count))
    writer.close()
    data = path.read_bytes()
    for end in range(8, len(data), 7):
        path.write_bytes(data[:end])
        torn = open_trace(path)
        got = sum(batch.n for batch in torn.batches())
        assert got >= max((count for size, count in marks if size <= end), default=0)
        assert torn.info.torn < end


def test_a_damaged_chunk_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.kmem"
    save(open_trace(made.directory(tmp_path / "raw", EVENTS)), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(TraceError, match="checksum"):
        read(open_trace(path))


def test_parquet_both_ways(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra kmem[parquet]")
    from kmem.trace.parquet import save_parquet

    first = open_trace(made.directory(tmp_path / "raw", EVENTS))
    assert save_parquet(first, tmp_path / "t.parquet") == len(EVENTS)
    check(open_trace(tmp_path / "t.parquet"), EVENTS, names=True, addresses=True)


def test_the_value_of_a_constant_expression() -> None:
    assert evaluate("(( gfp_t)(0x400u|0x800u)) | (( gfp_t)((((1UL))) << (6)))") == 0xC40
    assert evaluate("((0x7u) & ~(( gfp_t)(0x2u)))") == 5
    assert evaluate("__import__('os')") is None
    assert evaluate("(" * 5000) is None


def test_a_format_that_is_none() -> None:
    with pytest.raises(TraceError):
        parse_format("name: x\nID: 99999999\n")


@pytest.mark.needs_shared
def test_pages_and_parquet_of_a_real_machine_agree(shared: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra kmem[parquet]")
    where = shared / "traces" / "linux-6.18"
    pages, table = open_trace(where), open_trace(where / "events.parquet")
    raw, all_of_it = read(pages), read(table)
    assert len(raw["time"]) == 201_556
    for cpu in (0, 1):
        mine = raw["cpu"] == cpu
        same = np.flatnonzero(all_of_it["cpu"] == cpu)[: np.count_nonzero(mine)]
        for column in ("time", "call_site", "ptr", "requested", "allocated", "gfp", "task", "kind", "order"):
            assert np.array_equal(raw[column][mine], all_of_it[column][same]), column
        names = np.array(pages.info.strings)[raw["cache"][mine]]
        assert np.array_equal(names, np.array(table.info.strings)[all_of_it["cache"][same]])


@pytest.mark.needs_shared
def test_gfp_names_of_real_formats(shared: Path) -> None:
    where = shared / "traces" / "linux-6.18"
    names = parse_format((where / "format.kmalloc").read_text()).gfp_names()
    assert names["GFP_KERNEL"] == 0xCC0
    assert names["__GFP_ACCOUNT"] == 0x400000


@pytest.mark.needs_shared
def test_every_line_of_a_real_trace_is_read(shared: Path) -> None:
    recording = open_trace(shared / "traces" / "linux-6.1-guest" / "trace_kmem.txt")
    assert len(read(recording)["time"]) + recording.info.skipped == 38_293
    assert recording.info.unparsed == 0
    assert json.dumps(recording.info.strings)
