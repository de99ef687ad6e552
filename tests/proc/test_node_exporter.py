"""Prometheus' node exporter scrapes our directory: what a monitoring system would store is what the model says."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.proc.reading import Worked, buddyinfo, counters, meminfo, slabinfo, work

EXPORTER = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
COLLECTORS = "meminfo meminfo_numa vmstat buddyinfo slabinfo zoneinfo stat loadavg".split()
Metrics = dict[tuple[str, frozenset[tuple[str, str]]], float]

pytestmark = pytest.mark.skipif(EXPORTER is None, reason="no exporter: apt-get install prometheus-node-exporter")


@contextmanager
def exporter(tree: Path) -> Iterator[str]:
    """An exporter that reads *tree*, on a port of the loopback interface that was free; its address."""
    words = [str(EXPORTER), f"--path.procfs={tree}", f"--path.sysfs={tree}/sys", "--web.listen-address=127.0.0.1:0"]
    words += ["--collector.disable-defaults", "--web.disable-exporter-metrics", "--collector.vmstat.fields=.*"]
    words += [f"--collector.{name}" for name in COLLECTORS]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r'msg="Listening on" address=(127\.0\.0\.1:\d+)', line):
                yield f"http://{found[1]}/metrics"
                break
        else:
            raise AssertionError("".join(said))
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worked]:
    worked = work(tmp_path_factory.mktemp("exporter"))
    yield worked
    worked.kernel.close()


def scrape(url: str) -> Metrics:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=30) as answer:
        text = answer.read().decode()
    found = {}
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? ([-+.\de]+)$", text, flags=re.MULTILINE):
        found[name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
    return found


@pytest.fixture(scope="module")
def seen(machine: Worked) -> Metrics:
    with exporter(machine.tree) as url:
        return scrape(url)


def of(seen: Metrics, prefix: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The metrics with *prefix*: value by the rest of the name and the values of *labels*."""
    return {
        (name.removeprefix(prefix), *(dict(having)[label] for label in labels)): value
        for (name, having), value in seen.items()
        if name.startswith(prefix) and {label for label, _ in having} == set(labels)
    }


def test_every_collector_was_content(seen: Metrics) -> None:
    assert of(seen, "node_scrape_collector_success", "collector") == {("", name): 1 for name in COLLECTORS}


def test_meminfo(machine: Worked, seen: Metrics) -> None:
    shown = {name: value for (name,), value in of(seen, "node_memory_").items() if not name.startswith("numa_")}
    wanted = {}
    for line in machine.text("meminfo").splitlines():
        name, rest = line.split(":")
        name = name.replace("(", "_").replace(")", "")
        wanted[f"{name}_bytes" if rest.endswith("kB") else name] = float(meminfo(line)[line.split(":")[0]])
    assert shown == wanted
    assert wanted["MemFree_bytes"] > wanted["Active_file_bytes"] + wanted["Inactive_file_bytes"] >= 8 << 20


def test_vmstat(machine: Worked, seen: Metrics) -> None:
    shown = {name: value for (name,), value in of(seen, "node_vmstat_").items()}
    assert shown == counters(machine.text("vmstat"))
    assert shown["pgfault"] >= 512


def test_buddyinfo(machine: Worked, seen: Metrics) -> None:
    shown = of(seen, "node_buddyinfo_blocks", "node", "zone", "size")
    wanted = buddyinfo(machine.text("buddyinfo"))
    assert {node for node, _ in wanted} == {"0", "1"}
    assert shown == {
        ("", node, zone, str(order)): count
        for (node, zone), counts in wanted.items()
        for order, count in enumerate(counts)
    }


def test_slabinfo(machine: Worked, seen: Metrics) -> None:
    shown = of(seen, "node_slabinfo_", "slab")
    names = ("active_objects", "objects", "object_size_bytes", "objects_per_slab", "pages_per_slab")
    wanted = slabinfo(machine.text("slabinfo"))
    assert "clients_test" in wanted
    assert shown == {
        (metric, cache): value for cache, row in wanted.items() for metric, value in zip(names, row, strict=False)
    }


def test_nodes(machine: Worked, seen: Metrics) -> None:
    for node in ("0", "1"):
        info = meminfo(machine.kernel.node_sysfs(int(node), "meminfo"))
        stat = counters(machine.kernel.node_sysfs(int(node), "numastat"))
        shown = {name: v for (name, nid), v in of(seen, "node_memory_numa_", "node").items() if nid == node}
        assert {name: shown[name] for name in ("MemTotal", "MemFree", "Slab", "FilePages")} == {
            name: info[f"Node {node} {name}"] for name in ("MemTotal", "MemFree", "Slab", "FilePages")
        }
        assert {name: shown[f"{name}_total"] for name in stat} == stat


def test_zoneinfo(machine: Worked, seen: Metrics) -> None:
    shown = of(seen, "node_zoneinfo_", "node", "zone")
    zones = re.split(r"^Node (\d), zone +(\w+)\n", machine.text("zoneinfo"), flags=re.MULTILINE)[1:]
    compared = 0
    for node, zone, text in zip(zones[::3], zones[1::3], zones[2::3], strict=True):
        for label in ("spanned", "present", "managed", "min", "low", "high", "nr_free_pages"):
            name = label if label == "nr_free_pages" else f"{label}_pages"
            for value in re.findall(rf"^ +{label} +(\d+)$", text, flags=re.MULTILINE)[:1]:
                assert shown[name, node, zone] == int(value), (label, node, zone)
                compared += int(value) > 0
    assert compared > 20


def test_the_next_scrape_sees_what_changed(tmp_path: Path) -> None:
    import kmem

    with kmem.boot(ram="96M") as k:
        k.write_proc(tmp_path)
        with exporter(tmp_path) as url:
            free = frozenset[tuple[str, str]]()
            before = scrape(url)["node_memory_MemFree_bytes", free]
            k.alloc_pages(kmem.GFP_KERNEL, 9)
            k.write_proc(tmp_path)
            assert scrape(url)["node_memory_MemFree_bytes", free] == before - (2 << 20)
