"""slabtop, vmstat, free, numastat and lsmod of the distribution, with our files over /proc and /sys: they print our
values.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proc.reading import PAGE, Worked, beside, counters, jail, meminfo, slabinfo, work

PACKAGES = {"slabtop": "procps", "vmstat": "procps", "free": "procps", "uptime": "procps", "pmap": "procps"}
PACKAGES |= {"numastat": "numactl", "lsmod": "kmod"}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worked]:
    worked = work(tmp_path_factory.mktemp("procps"))
    yield worked
    worked.kernel.close()


def call(tree: Path, *words: str) -> list[str]:
    """What a program prints that finds *tree* at /proc, and what it has of /sys at /sys."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TERM": "dumb"}
    program = shutil.which(words[0], path=environment["PATH"])
    if program is None:
        pytest.skip(f"no {words[0]}: apt-get install {PACKAGES[words[0]]}")
    namespace = beside()
    with tempfile.TemporaryDirectory() as root:
        if not isinstance(namespace, str):
            script = 'mount --bind "$0/sys" /sys && mount --bind "$0" /proc && exec "$@"'
            before = [*namespace, "sh", "-c", script, str(tree)]
        elif os.geteuid() == 0:
            before = jail(Path(root), tree, program)
        else:
            pytest.skip(namespace)
        done = subprocess.run(
            [*before, program, *words[1:]], env=environment, check=False, capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_slabtop(machine: Worked) -> None:
    lines = call(machine.tree, "slabtop", "-o")
    caches = slabinfo(machine.text("slabinfo"))
    shown = {}
    for line in lines[lines.index("") + 2 :]:
        objects, active, use, size, slabs, per_slab, total, name = line.split()
        shown[name] = [int(active), int(objects), size, int(per_slab), total, int(slabs), use]
    assert len(shown) >= 30
    assert "clients_test" in shown
    for name, row in shown.items():
        active, objects, size, per_slab, pages, _, slabs = caches[name]
        used = f"{100 * active // objects if objects else 0}%"
        total = f"{slabs * pages * PAGE // 1024}K"
        assert row == [active, objects, f"{size / 1024:.2f}K", per_slab, total, slabs, used], name
    sums = [sum(cache[at] for cache in caches.values()) for at in (0, 1, 6)]
    assert re.search(rf"Objects .*: {sums[0]} / {sums[1]} ", lines[0])
    assert re.search(rf"Slabs .*: \d+ / {sums[2]} ", lines[1])


def test_vmstat_lists_the_caches(machine: Worked) -> None:
    rows = [line.split() for line in call(machine.tree, "vmstat", "-m") if not line.startswith("Cache ")]
    shown = {name: [int(word) for word in words] for name, *words in rows}
    caches = slabinfo(machine.text("slabinfo"))
    assert shown == {name: [row[0], row[1], row[2], row[3]] for name, row in caches.items()}


def test_vmstat_sums_up(machine: Worked) -> None:
    shown = {}
    for line in call(machine.tree, "vmstat", "-s"):
        number, label = line.strip().split(" ", 1)
        shown[label] = int(number)
    info = {name: value >> 10 for name, value in meminfo(machine.text("meminfo")).items()}
    assert shown["K total memory"] == info["MemTotal"]
    assert shown["K free memory"] == info["MemFree"]
    assert shown["K active memory"] == info["Active"]
    assert shown["K inactive memory"] == info["Inactive"] > 0
    assert shown["K swap cache"] == info["Buffers"] + info["Cached"] + info["SReclaimable"] > 8000
    [processes] = re.findall(r"processes (\d+)", machine.text("stat"))
    assert shown["forks"] == int(processes)
    [idle] = re.findall(r"cpu  0 0 0 (\d+)", machine.text("stat"))
    assert shown["idle cpu ticks"] == int(idle) > 0


def test_free(machine: Worked) -> None:
    head, row, swap = (line.split() for line in call(machine.tree, "free", "-b", "-w"))
    shown = dict(zip(head, row[1:], strict=True))
    info = meminfo(machine.text("meminfo"))
    assert int(shown["total"]) == info["MemTotal"]
    assert int(shown["free"]) == info["MemFree"]
    assert int(shown["available"]) == info["MemAvailable"]
    assert int(shown["cache"]) == info["Cached"] + info["SReclaimable"]
    assert swap == ["Swap:", "0", "0", "0"]


def test_numastat(machine: Worked) -> None:
    heads, *lines = call(machine.tree, "numastat")
    assert heads.split() == ["node0", "node1"]
    shown = {line.split()[0]: [int(word) for word in line.split()[1:]] for line in lines}
    for node in (0, 1):
        assert {name: row[node] for name, row in shown.items()} == counters(machine.kernel.node_sysfs(node, "numastat"))
    assert all(sum(column) > 0 for column in zip(*shown.values(), strict=True))


def test_numastat_of_the_memory(machine: Worked) -> None:
    lines = call(machine.tree, "numastat", "-m")
    shown = {line.split()[0]: [float(word) for word in line.split()[1:3]] for line in lines if len(line.split()) == 4}
    for node in (0, 1):
        info = meminfo(machine.kernel.node_sysfs(node, "meminfo"))
        for label in ("MemTotal", "MemFree", "Slab", "FilePages", "AnonPages"):
            assert shown[label][node] == pytest.approx(info[f"Node {node} {label}"] / (1 << 20), abs=0.006), label


def test_pmap_reads_a_process(machine: Worked) -> None:
    pid = machine.process.pid
    lines = call(machine.tree, "pmap", "-x", str(pid))
    assert lines[0].startswith(f"{pid}: ")
    total, resident = (int(word) for word in lines[-1].split()[2:4])
    pages, in_memory = (int(word) for word in machine.process.proc("statm").split()[:2])
    assert (total, resident) == (pages * 4, in_memory * 4)
    assert resident >= 2048


def test_uptime(machine: Worked) -> None:
    [line] = call(machine.tree, "uptime")
    assert line.endswith("load average: 0.00, 0.00, 0.00")
    assert " up 0 min" in line


@pytest.mark.needs_headers
def test_lsmod(tmp_path: Path) -> None:
    import kmem
    from tests.run.running import module

    with kmem.boot(ram="96M") as k:
        loaded = k.insmod(module("examples/notes_driver"))
        k.write_proc(tmp_path)
        head, line = call(tmp_path, "lsmod")
        assert head.split()[0] == "Module"
        assert line.split() == ["notes_driver", str(loaded.module.core.size), "0"]
        loaded.rmmod()
        k.write_proc(tmp_path)
        assert call(tmp_path, "lsmod") == [head]
