"""psutil, shown our directory instead of /proc: its figures are the model's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proc.reading import Worked, meminfo, work

psutil = pytest.importorskip("psutil", reason="psutil is missing: ./dev setup installs it")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worked]:
    worked = work(tmp_path_factory.mktemp("psutil"))
    yield worked
    worked.kernel.close()


@pytest.fixture(autouse=True)
def shown(machine: Worked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(machine.tree))


def test_memory(machine: Worked) -> None:
    info, seen = meminfo(machine.text("meminfo")), psutil.virtual_memory()
    for name, label in {
        "total": "MemTotal",
        "free": "MemFree",
        "available": "MemAvailable",
        "active": "Active",
        "inactive": "Inactive",
        "buffers": "Buffers",
        "shared": "Shmem",
        "slab": "Slab",
    }.items():
        assert getattr(seen, name) == info[label], name
    assert seen.cached == info["Cached"] + info["SReclaimable"] >= 8 << 20
    assert (psutil.swap_memory().total, psutil.swap_memory().sin) == (0, 0)


def test_processes(machine: Worked) -> None:
    pid = machine.process.pid
    assert psutil.pids() == [97, pid]
    seen = psutil.Process(pid)
    size, resident, shared, *_ = (4096 * int(word) for word in machine.process.proc("statm").split())
    memory = seen.memory_full_info()
    assert seen.name() == "clients"
    assert (memory.vms, memory.rss, memory.shared) == (size, resident, shared)
    assert memory.rss >= 2 << 20
    smaps = [line.split() for line in machine.process.proc("smaps").splitlines()]
    assert memory.uss == 1024 * sum(int(row[1]) for row in smaps if row[0].startswith("Private_"))
    assert memory.pss == 1024 * sum(int(row[1]) for row in smaps if row[0] == "Pss:")
    areas = {area.addr.split("-")[0]: area.rss for area in seen.memory_maps(grouped=False)}
    assert sum(areas.values()) == memory.rss
    assert len(areas) == len(machine.process.proc("maps").splitlines())


def test_time(machine: Worked) -> None:
    idle = machine.kernel.clock.ns / 1e9 * 2
    assert psutil.cpu_times().idle == pytest.approx(idle, abs=0.02)
    assert len(psutil.cpu_times(percpu=True)) == 2
    assert psutil.boot_time() == machine.kernel.ktime_get_real_seconds() - machine.kernel.clock.ns // 10**9
