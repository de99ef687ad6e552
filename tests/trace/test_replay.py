from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmem.commands.main import main
from kmem.trace.open import open_trace
from kmem.trace.replay import replay
from kmem.trace.result import Options, Result, accuracy
from tests.trace import made

SLABINFO = """slabinfo - version: 2.1
# name
"""


def slabinfo(**slabs: int) -> str:
    """A slabinfo with caches of 21 objects of 192 bytes, all in use."""
    rows = [f"{n} {21 * s} {21 * s} 192 21 1 : tunables 0 0 0 : slabdata {s} {s} 0" for n, s in slabs.items()]
    return SLABINFO + "\n".join(rows) + "\n"


def run(where: Path, events: list[made.Made], before: str = "", after: str = "", **options: int) -> Result:
    made.directory(where, events)
    if before:
        (where / "slabinfo.before").write_text(before)
        (where / "slabinfo.after").write_text(after)
    return replay(open_trace(where), Options.of({"ram": 256 << 20, **options}, "6.1"))


def dentry(kind: str, time: int, page: int, slot: int) -> made.Made:
    ptr = made.BASE + page * 4096 + slot * 192
    return made.Made(time * 1000, 0, 7, f"kmem_cache_{kind}", ptr, req=192, alloc=192, name="dentry")


def page(kind: str, time: int, pfn: int, order: int = 0) -> made.Made:
    return made.Made(time * 1000, 0, 7, f"mm_page_{kind}", pfn, order=order, gfp=made.GFP_KERNEL)


def cache(result: Result, name: str = "dentry") -> dict[str, int]:
    return next(vars(c) for c in result.caches if c.name == name)


def test_what_lives_at_the_end_is_what_the_trace_says(tmp_path: Path) -> None:
    events = made.workload(4000)
    result = run(tmp_path / "raw", events)
    live: dict[str, set[int]] = {}
    for e in events:
        if e.kind in ("kmalloc", "kmem_cache_alloc"):
            live.setdefault(e.name or f"kmalloc-{e.alloc}", set()).add(e.ptr)
        elif not e.kind.startswith("mm_page"):
            next(objects for objects in live.values() if e.ptr in objects).remove(e.ptr)
    for name, objects in live.items():
        assert cache(result, name)["live"] == len(objects), name
    assert result.counts["events"] == len(events)
    assert result.counts["inferred_by_reuse"] == result.counts["unknown_frees"] == 0
    assert sum(s.live for s in result.sites) == sum(map(len, live.values()))
    assert sum(t.allocs for t in result.tasks) == sum(e.kind in ("kmalloc", "kmem_cache_alloc") for e in events)


def test_slabs_of_the_model_are_those_of_its_own_allocator(tmp_path: Path) -> None:
    events = [page("alloc", 1, 100)] + [dentry("alloc", 2 + i, 100, i) for i in range(21)]
    assert cache(run(tmp_path / "a", events))["slabs"] == 1
    more = [*events, page("alloc", 40, 101), dentry("alloc", 41, 101, 0)]
    assert cache(run(tmp_path / "b", more))["slabs"] == 2


def test_an_address_handed_out_again_was_freed(tmp_path: Path) -> None:
    events = [page("alloc", 1, 100), dentry("alloc", 2, 100, 3), dentry("alloc", 3, 100, 3)]
    result = run(tmp_path / "raw", events)
    assert (cache(result)["live"], cache(result)["inferred"]) == (1, 1)
    assert result.counts["inferred_by_reuse"] == 1


def test_objects_of_a_slab_whose_pages_are_freed_were_freed(tmp_path: Path) -> None:
    events = [page("alloc", 1, 100), *(dentry("alloc", 2 + i, 100, i) for i in range(5)), page("free", 9, 100)]
    result = run(tmp_path / "raw", events)
    assert (cache(result)["live"], result.counts["inferred_by_page"]) == (0, 5)


def test_objects_of_a_site_that_frees_without_events_do_not_outlive_its_others(tmp_path: Path) -> None:
    events = [page("alloc", 1, 100)]
    for turn in range(50):  # one object at a time, never freed by an event; another slot now and then
        events += [dentry("alloc", 10 + turn, 100, 0), dentry("alloc", 1000 + turn, 100, 1 + turn % 19)]
    events = [events[0], *sorted(events[1:], key=lambda e: e.time), dentry("alloc", 900_000, 100, 20)]
    result = run(tmp_path / "raw", events)
    assert result.counts["inferred_by_silence"] > 0
    assert cache(result)["live"] == 1


def test_objects_of_a_site_that_frees_with_events_stay(tmp_path: Path) -> None:
    events = [page("alloc", 1, 100), dentry("alloc", 5, 100, 3)]
    for turn in range(50):
        events += [dentry("alloc", 10 + 2 * turn, 100, 0), dentry("free", 11 + 2 * turn, 100, 0)]
    result = run(tmp_path / "raw", [*events, dentry("alloc", 900_000, 100, 1)])
    assert (cache(result)["live"], result.counts["inferred_by_silence"]) == (2, 0)


def test_each_processor_begins_with_the_slab_from_which_it_takes_first(tmp_path: Path) -> None:
    events = [dentry("alloc", 1, 500, 0), dentry("alloc", 2, 501, 0)]
    events[1].cpu = 1
    result = run(tmp_path / "raw", events, slabinfo(dentry=2), slabinfo(dentry=2))
    assert (cache(result)["slabs_before"], cache(result)["slabs"]) == (2, 2)


def test_slabs_that_came_and_went_are_counted_by_their_pages(tmp_path: Path) -> None:
    events = [page("alloc", 1, 100), dentry("alloc", 2, 100, 0), page("alloc", 3, 101), dentry("alloc", 4, 101, 0)]
    events += [dentry("free", 5, 100, 0), page("free", 6, 100)]
    result = run(tmp_path / "raw", events, slabinfo(dentry=2), slabinfo(dentry=9))
    assert (cache(result)["came"], cache(result)["went"]) == (2, 1)
    found = accuracy(result)
    assert found is not None
    assert (found.untold, found.told) == (6, 1)


def test_pages_of_slabs_are_not_allocated_twice(tmp_path: Path) -> None:
    events = [page("alloc", 1, 100), dentry("alloc", 2, 100, 0)]
    result = run(tmp_path / "raw", events)
    assert result.counts["slab_pages"] == 1


def test_a_block_that_is_freed_in_parts(tmp_path: Path) -> None:
    events = [
        page("alloc", 1, 64, 3),
        page("free", 2, 66, 1),
        *(page("free", 3 + i, 64 + i) for i in (0, 1, 4, 5, 6, 7)),
    ]
    result = run(tmp_path / "raw", events)
    assert result.counts["unknown_pages"] == 0
    assert sum(n << o for o, n in enumerate(result.free_before["DMA32"])) - sum(
        n << o for o, n in enumerate(result.free_after["DMA32"])
    ) in range(64)  # what a CPU's lists keep


def test_objects_from_before_the_trace_are_known_by_their_frees(tmp_path: Path) -> None:
    events = [dentry("free", 1 + i, 500, i) for i in range(21)]
    result = run(tmp_path / "raw", events, slabinfo(dentry=4), slabinfo(dentry=3))
    assert result.counts["unknown_frees"] == 0
    assert cache(result)["live"] <= 63
    assert cache(result)["slabs_before"] == 4
    found = accuracy(result)
    assert found is not None
    assert (found.change, found.caches) == (1, 1)


def test_larger_slabs_are_tried_on_request(tmp_path: Path) -> None:
    events = made.workload(3000)
    small = run(tmp_path / "a", events, slub_max_order=0)
    large = run(tmp_path / "b", events, slub_max_order=3)
    assert cache(small, "kmalloc-512")["order"] == 0
    assert cache(large, "kmalloc-512")["order"] > 0


def test_equal_replays_are_equal(tmp_path: Path) -> None:
    made.directory(tmp_path / "raw", made.workload(2000))
    options = Options.of({"ram": 256 << 20}, "6.1")
    first, second = (replay(open_trace(tmp_path / "raw"), options) for _ in range(2))
    assert first.caches == second.caches
    assert first.free_after == second.free_after
    assert first.sites == second.sites


@pytest.mark.parametrize("form", [[], ["--json"], ["--folded"]], ids=["text", "json", "folded"])
def test_the_command(tmp_path: Path, form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    made.directory(tmp_path / "raw", made.workload(2000))
    kept = tmp_path / "t.kmem"
    words = ["replay", str(tmp_path / "raw"), "--set", "ram=268435456", "--release", "6.1", "--save", str(kept), *form]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert sum(batch.n for batch in open_trace(kept).batches()) == 2000
    if form == ["--json"]:
        value = json.loads(printed)
        assert value["events"] == value["counts"]["events"] == 2000
        assert {"caches", "sites", "tasks", "samples", "lifetimes_log2_ns"} <= value.keys()
    elif form:
        assert all(line.count(";") == 1 and int(line.rsplit(" ", 1)[1]) > 0 for line in printed.splitlines())
    else:
        assert "2,000 events on 2 CPUs\nnothing lost, nothing unread" in printed


def test_windows_count_only_what_is_in_them(tmp_path: Path) -> None:
    made.directory(tmp_path / "raw", made.workload(2000))
    whole, part = (
        replay(open_trace(tmp_path / "raw"), Options.of({"ram": 256 << 20}, "6.1", *window))
        for window in ((0, 0), (1_000_000, 2_000_000))
    )
    assert 0 < sum(s.allocs for s in part.sites) < sum(s.allocs for s in whole.sites)
    assert [c.slabs for c in part.caches] == [c.slabs for c in whole.caches]


def test_what_is_no_trace_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_bytes(b"\x7fELF" + bytes(100))
    assert main(["replay", str(tmp_path / "x")]) == 2
    assert "[trace-format]" in capsys.readouterr().err


@pytest.mark.needs_shared
def test_the_model_ends_where_a_real_machine_ended(shared: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra kmem[parquet]")
    result = replay(open_trace(shared / "traces" / "linux-6.18" / "events.parquet"), Options(release="6.1"))
    found = accuracy(result)
    assert found is not None
    assert found.close >= 0.95 * found.caches
    assert found.share < 0.1


@pytest.mark.needs_shared
def test_the_caches_of_a_real_guest(shared: Path) -> None:
    result = replay(open_trace(shared / "traces" / "linux-6.1-guest" / "trace_kmem.txt"))
    found = accuracy(result)
    assert found is not None
    assert found.close >= 0.95 * found.caches
    assert found.worst[0][0] == "kmalloc-64"  # the ring buffer was made between the snapshot and the first event
    assert found.told_error <= 0.1 * found.told


def test_the_command_writes_proc_as_the_model_has_it_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [page("alloc", 1, 100)] + [dentry("alloc", 2 + i, 100, i) for i in range(21)]
    made.directory(tmp_path / "raw", [*events, page("alloc", 40, 101), dentry("alloc", 3_500_000, 101, 0)])
    tree = tmp_path / "tree"
    words = ["replay", str(tmp_path / "raw"), "--set", "ram=256M", "--release", "6.1", "--proc-dir", str(tree)]
    assert main(words) == 0
    assert f"kmem: {tree} has the machine's /proc" in capsys.readouterr().err
    names = [line.split()[0] for line in (tree / "slabinfo").read_text().splitlines()[2:]]
    assert all(name == "dentry" or name.startswith(("kmalloc-", "model:")) for name in names)
    assert len(names) == len(set(names)) > 50
    [line] = [line for line in (tree / "slabinfo").read_text().splitlines() if line.startswith("dentry ")]
    assert line.split()[1:6] == ["42", "42", "192", "21", "1"]
    assert line.endswith(" : slabdata      2      2      0")
    assert (tree / "sys" / "kernel" / "slab" / "dentry" / "slabs").read_text() == "2 N0=2\n"
    assert (tree / "uptime").read_text().startswith("3.50 ")
    (tree / "mine").touch()
    assert main(words) == 2
