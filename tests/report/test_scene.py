"""What a page is made of: it must be what the machine's own files say."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kmem
from kmem.machine.paging import AddressSpace
from kmem.report.page import page
from kmem.report.scene import FREE, MODULE, SLAB, STATES, TABLE, VMALLOC, scene
from kmem.report.timeline import EVENTS, POINTS, Timeline
from kmem.trace.stepped import part

GFP_KERNEL = 0xCC0


@pytest.fixture(scope="module")
def seen() -> Any:
    """A machine with something in it, and what is seen of it."""
    with kmem.boot(ram="128M") as k:
        objects = [k.kmalloc(100, GFP_KERNEL) for _ in range(50)]
        for p in objects[::3]:
            k.kfree(p)
        area = k.vmalloc(5 * 4096)
        k.write(objects[1], b"seen")
        yield k, scene(k.mm.view, objects), objects, area


def test_the_frames_are_all_of_memory_without_gap_or_overlap(seen: Any) -> None:
    _, found, _, _ = seen
    at = 0
    for start, count, state, _ in found["frames"]:
        assert start == at
        assert count > 0
        assert 0 <= state < len(STATES)
        at += count
    assert at == found["pages"] == (128 << 20) // 4096


def test_free_frames_are_those_of_buddyinfo(seen: Any) -> None:
    k, found, _, _ = seen
    free = sum(count for _, count, state, _ in found["frames"] if state == FREE)
    expected = sum(
        int(n) << order for line in k.proc("buddyinfo").splitlines() for order, n in enumerate(line.split()[4:])
    )
    assert free == expected
    assert expected == sum(sum(n) << order for z in found["zones"] for order, n in enumerate(z["free"]))


def test_slabs_are_those_of_slabinfo_with_their_free_lists(seen: Any) -> None:
    k, found, objects, _ = seen
    rows = [line.split() for line in k.proc("slabinfo").splitlines()[2:]]
    listed = {row[0]: int(row[14]) for row in rows}
    counts: dict[str, int] = {}
    for number, _, total, _, _, free in found["slabs"].values():
        name = found["caches"][number]["name"]
        counts[name] = counts.get(name, 0) + 1
        assert all(0 <= n < total for chain in free for n in chain)
    assert counts == {name: n for name, n in listed.items() if n}
    frames = sum(count for _, count, state, _ in found["frames"] if state == SLAB)
    assert frames == sum(1 << slab[1] for slab in found["slabs"].values())
    head = found["near"][0]
    raw = base64.b64decode(found["bytes"][head])
    assert raw[objects[1] & 0xFFF :][:4] == b"seen" or b"seen" in raw


def test_areas_have_their_pages_and_their_guard(seen: Any) -> None:
    _, found, _, area = seen
    mine = next(one for one in found["areas"] if one["start"] == hex(area))
    assert (mine["pages"], mine["guard"], mine["size"]) == (5, 4096, 6 * 4096)
    assert sum(count for _, count, state, _ in found["frames"] if state == VMALLOC) >= 5
    assert not any(state == MODULE for _, _, state, _ in found["frames"])


def entry(found: dict[str, Any], table: int, index: int) -> int:
    """An entry of a page table, as the page's script reads it."""
    for first, count, value, step in found["tables"][table]:
        if first <= index < first + count:
            return int(value, 16) + (index - first) * int(step)
    return 0


def test_the_tables_lead_where_the_processor_goes(seen: Any) -> None:
    k, found, objects, area = seen
    space = AddressSpace(k.mm.ram, found["top"])
    for address in (objects[0], area, area + 4 * 4096 + 17, 0xFFFFEA0000000000):
        table, physical = found["top"], None
        for level in (3, 2, 1, 0):
            value = entry(found, table, address >> (12 + 9 * level) & 511)
            assert value & 1
            if level == 0 or value & 0x80:
                size = 4096 << 9 * level
                physical = (value & 0x000FFFFFFFFFF000 & -size) + address % size
                break
            table = value & 0x000FFFFFFFFFF000
        assert physical == space.translate(address)
    assert any(state == TABLE for _, _, state, _ in found["frames"])


def test_a_short_run_is_exact_and_a_long_one_bounded() -> None:
    line = Timeline()
    line.event(10, "kmalloc", 0x1000, 20, 32, "kmalloc-32", "a.c:1", 0, 0, module=True)
    line.event(20, "kmalloc", 0x2000, 60, 64, "kmalloc-64", "b.c:2", 0, 0)
    line.event(30, "kfree", 0x1000, 0, 0, "", "a.c:3", 0, 0, module=True)
    line.event(40, "kmalloc", 0, 60, 0, "kmalloc-64", "b.c:2", 0, 0)
    shown = line.series()
    assert shown["times"] == [10, 20, 30, 40]
    assert {row["name"]: row["values"] for row in shown["cache"]} == {
        "kmalloc-64": [0, 64, 64, 64],
        "kmalloc-32": [32, 32, 0, 0],
    }
    assert [row["name"] for row in shown["module"]] == ["a.c:1"]
    site = line.sites["a.c:1"]
    assert (site.allocs, site.frees, site.live, site.peak, site.life) == (1, 1, 0, 32, 20)
    assert line.sites["b.c:2"].failed == 1
    for n in range(20000):
        line.event(100 + n, "kmalloc", 0x10000 + n, 8, 8, f"cache{n % 40}", "c.c:4", 0, 0)
    assert len(line.series()["times"]) <= 2 * POINTS
    assert len(line.steps) == EVENTS
    assert line.count == 20004
    assert len(line.series()["cache"]) == 12


def test_no_text_of_a_run_ends_the_data_early() -> None:
    text = page("</title><script>alert(1)</script>", {"log": ["</script><!-- {{data}}"]})
    assert "<title>&lt;/title>" in text
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    assert json.loads(found[1])["log"] == ["</script><!-- {{data}}"]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run kmem."""
    return subprocess.run([sys.executable, "-m", "kmem", *words], check=False, capture_output=True, text=True)


@pytest.mark.needs_headers
def test_a_run_writes_its_page_beside_what_it_prints(tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    done = command("run", "examples/name_driver", "--html", str(file))
    assert done.returncode == 1
    assert str(file) in done.stderr
    found = re.search(r'id="data">(.*?)</script>', file.read_text(), re.S)
    assert found
    data = json.loads(found[1])
    assert [finding["kind"] for finding in data["findings"]] == ["out-of-bounds"]
    assert [name for name, _, _ in data["moments"]] == ["init", "init returned", "exit returned"]
    assert any(site["module"] for site in data["sites"])
    nowhere = command("run", "examples/name_driver", "--html", str(tmp_path / "no" / "run.html"))
    assert nowhere.returncode == 2
    assert "No such file or directory" in nowhere.stderr


def test_the_page_of_a_trace_counts_what_the_replay_counts(tmp_path: Path) -> None:
    from kmem.trace.simulated import RunTrace

    trace = tmp_path / "small.kmem"
    with kmem.boot(ram="128M") as k:
        recorded = RunTrace(k, trace)
        kept = [k.kmalloc(200, GFP_KERNEL) for _ in range(300)]
        for p in kept[:100]:
            k.kfree(p)
        recorded.close()
    done = command("report", str(trace), "-o", str(tmp_path / "small.html"))
    assert done.returncode == 0, done.stderr
    found = re.search(r'id="data">(.*?)</script>', (tmp_path / "small.html").read_text(), re.S)
    assert found
    data = json.loads(found[1])
    assert sum(site["allocs"] for site in data["sites"]) >= 300
    last = {row["name"]: row["values"][-1] for row in data["timeline"]["cache"]}
    assert last["kmalloc-256"] >= 200 * 256
    assert data["memory"]["frames"]


def test_the_page_of_a_trace_in_many_chunks_counts_all_events_and_shows_times_between(tmp_path: Path) -> None:
    from kmem.trace.schema import NUMBER, Columns, Info
    from kmem.trace.store import Writer

    columns = Columns(1000)
    columns.n = 1000
    columns.arrays["kind"][:] = NUMBER["kmalloc"]
    columns.arrays["time"][:] = range(1000, 2000)
    columns.arrays["ptr"][:] = [0xFFFF888001000000 + 64 * n for n in range(1000)]
    columns.arrays["requested"][:] = columns.arrays["allocated"][:] = 64
    columns.arrays["call_site"][:] = 0xFFFFFFFF81000000
    writer = Writer(tmp_path / "t.kmem", Info(cpus=1))
    for begin in (0, 900):
        writer.events(part(columns, begin, 900 if begin == 0 else 1000))
    writer.close()
    done = command("report", str(tmp_path / "t.kmem"), "-o", str(tmp_path / "t.html"))
    assert done.returncode == 0, done.stderr
    found = re.search(r'id="data">(.*?)</script>', (tmp_path / "t.html").read_text(), re.S)
    assert found
    data = json.loads(found[1])
    assert data["events"] == 1000
    assert len(data["steps"]) == 900
    assert len(data["timeline"]["times"]) > 300
    [row] = data["timeline"]["site"]
    assert row["values"][-1] == 64000
    assert row["values"] == sorted(row["values"])
