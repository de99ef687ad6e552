from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmem.commands.main import main
from kmem.errors import UsageError
from kmem.trace import outcomes, settings
from kmem.trace.errors import TraceError
from kmem.trace.open import open_trace
from kmem.trace.replay import replay
from kmem.trace.result import Options, Result
from kmem.trace.sweep import Outcome, combinations, local, outcome, outcome_alone, run_here, run_on_cluster, sweep
from tests.trace import made

RAM = ("ram", 256 << 20)


def test_every_combination_once() -> None:
    assert combinations([("a", [1, 2]), ("b", [3])]) == [(("a", 1), ("b", 3)), (("a", 2), ("b", 3))]


def test_the_command_tries_all_and_puts_the_cheapest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = str(made.directory(tmp_path / "raw", made.workload(3000)))
    words = ["sweep", where, "--release", "6.1", "--set", "slub_max_order=0,3", "--set", "ram=256M", "--json"]
    assert main(words) == 0
    outcomes = json.loads(capsys.readouterr().out)["outcomes"]
    assert sorted(o["settings"]["slub_max_order"] for o in outcomes) == [0, 3]
    assert [o["pages"] for o in outcomes] == sorted(o["pages"] for o in outcomes)
    assert outcomes[0]["pages"] < outcomes[1]["pages"]
    assert outcomes[0]["live_bytes"] == outcomes[1]["live_bytes"] > 0
    assert all(o["slabs_made"] > o["slabs_freed"] >= 0 for o in outcomes)


def test_nothing_to_vary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(tmp_path)]) == 2
    assert "nothing to vary" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["slub_max_order", "colour=1", "cpus=x", "cpus=0", "size_classes=12", "nomerge=2"])
def test_settings_that_are_none(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "x", "--set", words])
    assert ended.value.code == 2
    assert words.split("=")[0] in capsys.readouterr().err


def played(where: Path, events: list[made.Made], **chosen: int | str) -> Result:
    return replay(open_trace(made.directory(where, events)), Options.of(dict([RAM]) | chosen, "6.1"))


def kmallocs(sizes: list[int], site: int = 0xFFFFFFFF81000000, pfn: int = 0x10000) -> list[made.Made]:
    """Allocations of kmalloc that stay, each in the slab where the recorded kernel had it."""
    found: list[made.Made] = []
    room: dict[int, list[int]] = {}
    for turn, size in enumerate(sizes):
        given = next(s for s in (64, 128, 256, 512, 1024, 2048, 4096, 8192) if s >= size)
        if not room.get(given):
            order = 3 if given > 1024 else 0
            found.append(made.Made(turn * 10 + 1, 0, 7, "mm_page_alloc", pfn, order=order, gfp=made.GFP_KERNEL))
            room[given] = [made.BASE + (pfn << 12) + i * given for i in range((4096 << order) // given)]
            pfn += 8
        ptr = room[given].pop(0)
        found.append(made.Made(turn * 10 + 2, 0, 7, "kmalloc", ptr, site, size, given, made.GFP_KERNEL))
    return found


def of(result: Result, name: str) -> tuple[int, int]:
    """Objects and slabs of a cache."""
    return next((c.live, c.slabs) for c in result.caches if c.name == name)


def test_other_size_classes_take_what_fits(tmp_path: Path) -> None:
    events = kmallocs([320] * 100 + [500] * 20)
    usual, other = (
        played(tmp_path / name, events, **chosen) for name, chosen in (("a", {}), ("b", {"size_classes": "320+512"}))
    )
    assert of(usual, "kmalloc-512")[0] == 120
    assert of(other, "kmalloc-512")[0] == 0
    assert (of(other, "kmalloc-320?")[0], of(other, "kmalloc-512?")[0]) == (100, 20)
    assert sum(c.pages for c in other.caches) < sum(c.pages for c in usual.caches)
    assert sum(c.bytes for c in other.caches) == sum(c.bytes for c in usual.caches) == 320 * 100 + 500 * 20


def test_call_sites_get_caches_of_their_own(tmp_path: Path) -> None:
    sites = [0xFFFFFFFF81000000 + 0x100 * i for i in range(3)]
    events = kmallocs([304] * 60, sites[0]) + kmallocs([40] * 9, sites[1], 0x20000)
    for time, event in enumerate(events):
        event.time = time
    result = played(tmp_path / "a", events, site_caches=1)
    assert of(result, f"{sites[0]:#x}?") == (60, -(-60 // 13))
    assert of(result, "kmalloc-512")[0] == 0
    assert of(result, "kmalloc-64")[0] == 9


def test_large_objects_become_single_pages(tmp_path: Path) -> None:
    events = kmallocs([8192] * 10 + [4097] * 4 + [4096] * 2)
    result = played(tmp_path / "a", events, kvmalloc_above=4096)
    assert result.counts["mapped_pages"] == 10 * 2 + 4 * 2
    assert of(result, "kmalloc-4k")[0] == 2
    frees = [made.Made(9000 + i, 0, 7, "kfree", e.ptr) for i, e in enumerate(events) if e.kind == "kmalloc"]
    assert played(tmp_path / "b", events + frees, kvmalloc_above=4096).counts["mapped_pages"] == 0


def test_blocks_of_pages_of_kmalloc_become_single_pages(tmp_path: Path) -> None:
    pfn = 0x10000
    events = [
        made.Made(1, 0, 7, "mm_page_alloc", pfn, order=4, gfp=made.GFP_KERNEL),
        made.Made(2, 0, 7, "kmalloc", made.BASE + (pfn << 12), 0xFFFFFFFF81000000, 40_000, 65536, made.GFP_KERNEL),
    ]
    assert played(tmp_path / "a", events, kvmalloc_above=8192).counts["mapped_pages"] == 10
    events.append(made.Made(3, 0, 7, "mm_page_free", pfn, order=4))
    assert played(tmp_path / "b", events, kvmalloc_above=8192).counts["mapped_pages"] == 0


def test_fewer_slabs_are_kept_when_min_partial_is_small(tmp_path: Path) -> None:
    events = kmallocs([500] * 200)
    events += [made.Made(9000 + i, 0, 7, "kfree", e.ptr) for i, e in enumerate(events) if e.kind == "kmalloc"]
    few, many = (played(tmp_path / str(n), events, min_partial=n, slub_cpu_partial=0) for n in (2, 1000))
    assert of(few, "kmalloc-512") == (0, 2)  # one of the node's and the CPU's own
    assert of(many, "kmalloc-512") == (0, 25)


def test_caches_are_merged_as_the_kernel_does(tmp_path: Path) -> None:
    events = made.workload(2000)
    apart, together = (played(tmp_path / str(n), events, nomerge=n) for n in (1, 0))
    assert sum(c.live for c in apart.caches) == sum(c.live for c in together.caches)
    assert sum(c.slabs for c in together.caches) <= sum(c.slabs for c in apart.caches)
    assert of(apart, "dentry")[1] > 0


def write(where: Path, count: int = 1500) -> str:
    return str(made.directory(where, made.workload(count)))


def test_a_sweep_that_was_stopped_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra kmem[parquet]")
    file, kept = write(tmp_path / "raw"), tmp_path / "out.parquet"
    work = [(file, (("min_partial", n), RAM), "6.1") for n in (1, 5)]
    turns: list[int] = []

    def run(rest: list[tuple[str, tuple[tuple[str, int], ...], str]]) -> list[Outcome]:
        turns.append(len(rest))
        return [outcome(*one) for one in rest]

    assert outcomes.load(kept) == []
    one = sweep(work[:1], [], run, lambda found: outcomes.save(found, kept))  # type: ignore[arg-type]
    assert outcomes.load(kept) == one
    both = sweep(work, outcomes.load(kept), run, lambda found: outcomes.save(found, kept))  # type: ignore[arg-type]
    assert turns == [1, 1]
    assert sorted(outcomes.load(kept), key=str) == sorted(both, key=str)
    kept.write_bytes(b"something else")
    with pytest.raises(TraceError, match="no outcomes"):
        outcomes.load(kept)


def test_what_cannot_be_replayed_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="65"):
        list(run_here([(write(tmp_path / "raw"), (("cpus", 65), RAM), "6.1")], 1))


def test_the_largest_machine(tmp_path: Path) -> None:
    work = write(tmp_path / "raw"), (("ram", 1 << 40),), "6.1"
    assert outcome(*work).live_bytes == outcome(work[0], (RAM,), "6.1").live_bytes


def test_a_replay_in_a_process_of_its_own_is_the_same(tmp_path: Path) -> None:
    work = (write(tmp_path / "raw"), (("slub_max_order", 1), RAM), "6.1")
    assert outcome_alone(*work) == outcome(*work)
    with pytest.raises(UsageError, match="No such file"):
        outcome_alone(str(tmp_path / "none"), (), "6.1")


def test_other_page_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # interpreted: compiling both would take minutes
    file = write(tmp_path / "raw", 150)
    usual, small = (outcome_alone(file, (("pageblock_order", n), RAM), "6.1") for n in (9, 6))
    assert usual.live_bytes == small.live_bytes
    assert usual.failures == small.failures == 0


def test_addresses_that_fsspec_knows(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the extra kmem[dask]")
    (tmp_path / "t.txt").write_text(made.ftrace(made.workload(100)))
    fsspec.filesystem("memory").put(str(tmp_path / "t.txt"), "/traces/t.txt")
    with local("memory://traces/t.txt") as path:
        assert sum(batch.n for batch in open_trace(path).batches()) == 100
    with pytest.raises(UsageError), local("memory://traces/none.txt"):
        pass


def test_a_cluster_gives_the_same_outcomes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra kmem[dask]")
    file = write(tmp_path / "raw")
    work = [(file, (("slub_max_order", n), RAM), "6.1") for n in (0, 3)]
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = list(run_on_cluster(work, cluster.scheduler_address))
        words = ["sweep", file, "--dask", cluster.scheduler_address, "--release", "6.1", "--set", "ram=256M"]
        assert main([*words, "--json"]) == 0
    assert sorted(found, key=str) == sorted((outcome(*one) for one in work), key=str)
    assert len(json.loads(capsys.readouterr().out)["outcomes"]) == 1


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra kmem[dask]")

    def refuse(*words: object, **more: object) -> None:
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(UsageError, match="timed out"):
        list(run_on_cluster([("x", (), "")], "tcp://127.0.0.1:1"))


@pytest.mark.parametrize(("text", "want"), [("64", 64), ("8K", 8192), ("0x10", 16), ("2g", 2 << 30)])
def test_numbers(text: str, want: int) -> None:
    assert settings.number(text) == want


def test_classes() -> None:
    assert settings.classes("64+16") == [16, 64, 8192]
    assert settings.value("size_classes", "64+16") == "16+64+8192"
