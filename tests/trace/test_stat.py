from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from kmem.commands import stat as stat_command
from kmem.commands.stat import main
from kmem.trace.open import open_trace
from kmem.trace.schema import KINDS, NUMBER, Recording, site_name
from kmem.trace.stat import SORTS, Who, stat
from tests.trace import made

EVENTS = made.workload(6000)
ALLOCS, FREES = ("kmalloc", "kmem_cache_alloc"), ("kfree", "kmem_cache_free")


def naive(events: list[made.Made], key: str) -> dict[int, list[int]]:
    """Requested, allocated, hits and ping-pongs by call site or by pointer."""
    sums: dict[int, list[int]] = {}
    last: dict[int, made.Made] = {}
    freed: set[int] = set()
    for e in events:
        if e.kind in ALLOCS:
            of = sums.setdefault(getattr(e, key), [0, 0, 0, 0])
            of[0], of[1], of[2] = of[0] + e.req, of[1] + e.alloc, of[2] + 1
            last[e.ptr] = e
            freed.discard(e.ptr)
        elif e.kind in FREES and e.ptr in last:
            if e.ptr in freed or last[e.ptr].cpu != e.cpu:
                sums[getattr(last[e.ptr], key)][3] += 1
            freed.add(e.ptr)
    return sums


def sums(rows: list[Who]) -> dict[int, list[int]]:
    return {row.key: [row.requested, row.allocated, row.hits, row.pingpong] for row in rows}


def test_sums_by_call_site_and_by_pointer(tmp_path: Path) -> None:
    again = [made.Made(e.time + 1, 1 - e.cpu, e.pid, e.kind, e.ptr, e.site) for e in EVENTS if e.kind == "kfree"]
    events = sorted([*EVENTS, *again[:50]], key=lambda e: e.time)  # freed twice, too
    found = stat(open_trace(made.directory(tmp_path / "raw", events)))
    assert sums(found.by_caller(0)) == naive(events, "site")
    assert sums(found.by_pointer(0)) == naive(events, "ptr")
    kinds = Counter(e.kind for e in events)
    assert found.allocs == kinds["kmalloc"] + kinds["kmem_cache_alloc"]
    assert found.frees == kinds["kfree"] + kinds["kmem_cache_free"]
    assert found.allocated == sum(e.alloc for e in events if e.kind in ALLOCS)
    assert found.unknown_frees == 0
    assert found.other_node == 0
    shares = [row.wasted for row in found.by_caller(0)]
    assert shares == sorted(shares, reverse=True)
    assert found.by_caller(3) == found.by_caller(0)[:3]
    assert SORTS == stat_command.SORTS
    for sort, field in (("hit", "hits"), ("bytes", "allocated"), ("pingpong", "pingpong")):
        values = [getattr(row, field) for row in found.by_pointer(0, sort)]
        assert values == sorted(values, reverse=True)


def test_pages(tmp_path: Path) -> None:
    old = made.Made(EVENTS[-1].time + 9, 0, 1, "mm_page_free", 0x99999, order=2)
    failed = made.Made(EVENTS[-1].time + 10, 0, 1, "mm_page_alloc", (1 << 64) - 1, order=3)
    pages = stat(open_trace(made.directory(tmp_path / "raw", [*EVENTS, old, failed]))).pages
    allocs = [e for e in EVENTS if e.kind == "mm_page_alloc"]
    frees = [e for e in EVENTS if e.kind == "mm_page_free"]
    assert (pages.allocs, pages.frees, pages.unknown, pages.failed) == (len(allocs) + 1, len(frees) + 1, 1, 1)
    assert pages.alloc_bytes == sum(4096 << e.order for e in allocs) + (4096 << 3)
    assert (pages.unknown_bytes, pages.failed_bytes) == (4096 << 2, 4096 << 3)
    assert pages.orders[:4] == tuple(Counter(e.order for e in allocs)[order] for order in range(4))


def test_nothing_is_freed_by_a_free_of_null(tmp_path: Path) -> None:
    common = {"cpu": 0, "pid": 1}
    failed = made.Made(10**9, kind="kmalloc", ptr=0, req=8 << 20, alloc=8 << 20, **common)
    frees = [made.Made(10**9 + n * 1000, kind="kfree", ptr=0, **common) for n in range(1, 4)]
    found = stat(open_trace(made.directory(tmp_path / "raw", [failed, *frees])))
    assert (found.allocated, found.freed, found.frees) == (8 << 20, 0, 3)
    assert [row.key for row in found.by_pointer(0)] == [0]


def test_from_and_to(tmp_path: Path) -> None:
    where = made.directory(tmp_path / "raw", EVENTS)
    half = EVENTS[len(EVENTS) // 2].time - EVENTS[0].time
    parts = [stat(open_trace(where), 0, half), stat(open_trace(where), half)]
    assert sum(part.allocs for part in parts) == stat(open_trace(where)).allocs
    assert parts[0].allocs == sum(e.kind in ALLOCS for e in EVENTS if e.time - EVENTS[0].time < half)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text(made.perf_script(EVENTS))
    assert main([str(tmp_path / "t.txt"), "--json", "--caller", "--alloc"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert {row["key"]: row["hits"] for row in value["pointers"]} == {k: v[2] for k, v in naive(EVENTS, "ptr").items()}
    assert main([str(tmp_path / "t.txt"), "--rows", "2"]) == 0
    text = capsys.readouterr().out
    assert f"requested {value['requested']:,} bytes in {value['allocs']:,} allocations" in text
    assert text.count("fn_") == 2
    assert "pointers" not in text


def of_perf(output: str) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, ...]], list[int]]:
    """Its rows of call sites and of pointers, and the numbers of its summary."""
    row = re.compile(r"^ (\S+) +\| *(\d+)/\d+ *\| *(\d+)/\d+ *\| *(\d+) *\| *(\d+) *\| *(-?[\d.]+)%", re.MULTILINE)
    callers, _, rest = output.partition("Alloc Ptr")
    numbers = re.findall(r"^(?:Total|Net|Cross).*?: *([\d/]+)$", rest, re.MULTILINE)
    return (
        Counter(row.findall(callers)),
        Counter(row.findall(rest)),
        [int(part) for number in numbers for part in number.split("/")],
    )


def ours(recording: Recording) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, ...]], list[int]]:
    """The same, as perf writes it."""
    found = stat(recording)

    def row(name: str, who: Who) -> tuple[str, ...]:
        numbers = (str(n) for n in (who.allocated, who.requested, who.hits, who.pingpong))
        return (name, *numbers, f"{who.wasted:.3f}")

    wasted, net = found.allocated - found.requested, found.allocated - found.freed
    return (
        Counter(row(site_name(found.info, w.key).replace("+0x", "+"), w) for w in found.by_caller(0)),
        Counter(row(hex(w.key), w) for w in found.by_pointer(0)),
        [found.requested, found.allocated, found.freed, net, wasted, found.other_node or 0, found.allocs],
    )


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("perf"), reason="perf records as root alone")
def test_perf_kmem_stat_has_the_same_numbers(tmp_path: Path) -> None:
    data = str(tmp_path / "perf.data")
    events = ",".join(f"kmem:{name}" for name in (*ALLOCS, *FREES))
    work = ["sh", "-c", "ls -lR /usr/lib/python3 /etc; sleep 0.2"]
    run = ["perf", "record", "-q", "-m", "16M", "-a", "-e", events, "-o", data, "--", *work]
    if subprocess.run(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False).returncode:
        pytest.skip("perf may not record here")
    told = subprocess.run(
        ["perf", "kmem", "-i", data, "--slab", "--caller", "--alloc", "stat"],
        capture_output=True,
        text=True,
        check=True,
    )
    with open(tmp_path / "script.txt", "wb") as out:
        subprocess.run(["perf", "script", "-i", data], stdout=out, stderr=subprocess.DEVNULL, check=True)
    recording = open_trace(tmp_path / "script.txt")
    if any((batch["ptr"][batch["kind"] == NUMBER["kmalloc"]] == 0).any() for batch in recording.batches()):
        pytest.skip("an allocation failed meanwhile, and perf counts frees of NULL then")
    assert recording.info.unparsed == 0
    assert {KINDS[kind] for batch in recording.batches() for kind in batch["kind"]} <= {*ALLOCS, *FREES}
    assert ours(recording) == of_perf(told.stdout)
