from __future__ import annotations

import os
import random
import signal
import struct
import time
from pathlib import Path

import pytest

from kmem.commands.main import main
from kmem.trace import record
from kmem.trace.kallsyms import names_of
from kmem.trace.open import open_trace
from kmem.trace.replay import replay
from kmem.trace.result import accuracy
from kmem.trace.schema import KINDS, Columns, Info, site_name
from kmem.trace.simulated import RunTrace
from kmem.trace.store import Writer


def test_names_of_call_sites() -> None:
    text = "ffffffff81000000 T a\nffffffff81000100 t b\nffffffff82000000 D data\n"
    assert names_of([0xFFFFFFFF81000123, 0xFFFFFFFF80000000], text) == {0xFFFFFFFF81000123: "b+0x23"}
    assert names_of([1], "0000000000000000 T a\n") == {}
    assert names_of([0xFFFFFFFF81000123], "f\ufffdffffff81000000 T a\n" + text) != {}


def test_recording_without_root_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["record", "-o", os.devnull]) == 2
    assert "needs root" in capsys.readouterr().err


def test_a_simulated_run_is_the_same_kind_of_file(tmp_path: Path) -> None:
    import kmem

    with kmem.boot(ram="128M", config="plain") as kernel:
        trace = RunTrace(kernel, tmp_path / "t.kmem")
        cache = kernel.kmem_cache_create("mine", 100)
        objects = [kernel.kmem_cache_alloc(cache) for _ in range(50)]
        kernel.kfree(kernel.kmalloc(300))
        for p in objects[:20]:
            kernel.kmem_cache_free(cache, p)
        count = trace.close()
    recording = open_trace(tmp_path / "t.kmem")
    kinds = [KINDS[kind] for batch in recording.batches() for kind in batch["kind"]]
    assert len(kinds) == count == recording.info.events
    assert (kinds.count("kmem_cache_alloc"), kinds.count("kmem_cache_free"), kinds.count("kmalloc")) == (50, 20, 1)
    assert "mine" in recording.info.strings
    mine = next(c for c in replay(recording).caches if c.name == "mine")
    assert (mine.allocs, mine.frees, mine.live) == (50, 20, 30)


def test_what_a_killed_recorder_acknowledged_is_read_back(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / "t.kmem"
    for _ in range(200):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            columns = Columns(500)
            columns.n = 500
            out = Writer(path, Info(cpus=1))
            while True:
                columns.arrays["time"][:] += 500
                out.events(columns)
                os.write(writer, struct.pack("<Q", out.count))
        os.close(writer)
        os.read(reader, 8)
        time.sleep(rng.random() / 200)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged = 500
        while data := os.read(reader, 8):
            acknowledged = struct.unpack("<Q", data)[0]
        os.close(reader)
        recording = open_trace(path)
        assert sum(batch.n for batch in recording.batches()) >= acknowledged


@pytest.fixture
def live() -> None:
    if os.geteuid() != 0 or "tracefs" not in Path("/proc/filesystems").read_text():
        pytest.skip("recording the live kernel needs root and tracefs")


@pytest.mark.slow
@pytest.mark.usefixtures("live")
def test_the_running_kernel_is_recorded_and_replayed(tmp_path: Path) -> None:
    child = os.fork()  # a private mount of tracefs stays with the process
    if child == 0:
        try:
            work = "for i in 1 2 3 4 5 6 7 8; do ls -lR /usr/lib/python3* > /dev/null 2>&1; done"
            status = main(["record", "-o", str(tmp_path / "t.kmem"), "--", "sh", "-c", work])
        except BaseException:
            status = 99
        os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 2:
        pytest.skip("tracefs cannot be mounted here")
    assert status == 0
    recording = open_trace(tmp_path / "t.kmem")
    assert recording.info.torn == recording.info.unparsed == 0
    result = replay(recording)
    assert result.counts["events"] > 1000
    found = accuracy(result)
    if recording.info.lost == 0 and found is not None:
        assert found.close >= 0.9 * found.caches
    sites = [site_name(recording.info, site.key) for site in result.sites[1:]]
    assert sum("+0x" in name for name in sites) * 10 >= len(sites) * 9


def test_state_of_the_kernel_is_read_without_root() -> None:
    assert "meminfo" in record.read_state()
