"""The tree of /proc and /sys: every file that there is, when it is read, with the text that Kernel.proc gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kmem
from kmem.mm.proc import NAMES
from kmem.mm.slub_sysfs import ATTRIBUTES
from tests.conftest import Kmem


@pytest.fixture(scope="module")
def kernel() -> Iterator[kmem.Kernel]:
    with kmem.boot(ram="96M") as k:
        yield k


def test_every_file_has_the_text_of_the_kernel(kernel: kmem.Kernel, tmp_path: Path) -> None:
    count = kernel.write_proc(tmp_path / "new")
    for name in NAMES:
        assert (tmp_path / "new" / name).read_text() == kernel.proc(name)
    slab = tmp_path / "new" / "sys" / "kernel" / "slab"
    for name in ("kmalloc-64", "kmem_cache"):
        assert sorted(path.name for path in (slab / name).iterdir()) == list(ATTRIBUTES)
        for attribute in ATTRIBUTES:
            assert (slab / name / attribute).read_text() == kernel.sysfs(name, attribute)
    assert count == len(kernel.proc_tree().files)


def test_nodes_have_their_directories(tmp_path: Path) -> None:
    with kmem.boot(ram="256M", numa=2) as k:
        k.write_proc(tmp_path)
        node = tmp_path / "sys" / "devices" / "system" / "node"
        assert (node / "online").read_text() == "0-1\n"
        for nid in (0, 1):
            for path in (node / f"node{nid}").iterdir():
                assert path.read_text() == k.node_sysfs(nid, path.name)
            assert f"Node {nid} MemTotal:" in (node / f"node{nid}" / "meminfo").read_text()


def test_every_cache_has_its_name(kernel: kmem.Kernel, tmp_path: Path) -> None:
    kernel.kmem_cache_create("mine", 200, 0, 0x2000)
    kernel.write_proc(tmp_path)
    slab = tmp_path / "sys" / "kernel" / "slab"
    assert (slab / "mine").is_symlink()
    assert (slab / "mine").readlink().name == ":0000256"
    assert (slab / "mine" / "object_size").read_text() == "200\n"


def test_sysctls(kernel: kmem.Kernel, tmp_path: Path) -> None:
    kernel.write_proc(tmp_path)
    vm = {path.name: path.read_text() for path in (tmp_path / "sys" / "vm").iterdir()}
    assert vm == {
        "lowmem_reserve_ratio": "256\t256\t32\t0\t0\n",
        "min_free_kbytes": f"{kernel.mm.view.kdata.min_free_kbytes}\n",
        "watermark_boost_factor": "15000\n",
        "watermark_scale_factor": "10\n",
    }


def test_a_file_of_the_tree_has_the_text_of_when_it_is_read(kernel: kmem.Kernel) -> None:
    meminfo = kernel.proc_tree().files["meminfo"]
    before = meminfo()
    page = kernel.alloc_pages(kmem.GFP_KERNEL, 9)
    during = meminfo()
    kernel.free_pages(page, 9)
    assert before != during == during
    assert meminfo() == before


def test_processes_have_their_directories() -> None:
    with kmem.boot(ram="96M", cpus=3) as k:
        process = k.process("app")
        at = process.mmap(40 << 12)
        process.touch(at, 10 << 12)
        tree = k.proc_tree()
        shown = {name: tree.files[f"{process.pid}/{name}"]() for name in ("comm", "maps", "smaps", "statm", "status")}
        assert shown == {"comm": "app\n"} | {n: process.proc(n) for n in ("maps", "smaps", "statm", "status")}
        fields = tree.files[f"{process.pid}/stat"]().split()
        pages, resident = process.proc("statm").split()[:2]
        assert len(fields) == 52
        assert fields[:3] == [str(process.pid), "(app)", "R"]
        assert (fields[22], fields[23]) == (str(int(pages) * 4096), resident)
        assert int(resident) >= 10
        assert tree.links["self"] == "97"
        assert tree.files["97/comm"]() == "insmod\n"
        assert tree.files["97/statm"]() == "0 0 0 0 0 0 0\n"
        process.exit()
        assert [name for name in k.proc_tree().files if name.endswith("/comm")] == ["97/comm"]


def test_time_and_tasks_are_the_machines(kernel: kmem.Kernel) -> None:
    kernel.clock.advance(41_230_000_000)
    now = kernel.clock.ns
    hundredths = now // 10_000_000
    assert kernel.proc("uptime") == f"{hundredths / 100:.2f} {2 * hundredths / 100:.2f}\n"
    stat = dict(line.split(" ", 1) for line in kernel.proc("stat").splitlines())
    assert stat["cpu1"] == f"0 0 0 {hundredths} 0 0 0 0 0 0"
    assert stat["cpu"].strip() == f"0 0 0 {2 * hundredths} 0 0 0 0 0 0"
    assert "cpu2" not in stat
    assert int(stat["btime"]) + now // 10**9 == kernel.ktime_get_real_seconds()
    before = int(stat["processes"])
    process = kernel.process("app")
    assert f"processes {before + 1}\n" in kernel.proc("stat")
    assert kernel.proc("loadavg") == f"0.00 0.00 0.00 1/2 {process.pid}\n"
    process.exit()


def test_version_is_what_the_log_begins_with() -> None:
    for release in ("6.1", "6.12"):
        with kmem.boot(release, ram="96M", cmdline="slab_nomerge quiet") as k:
            assert k.proc("version") == k.release.linux_banner + "\n"
            assert k.proc("cmdline") == "slab_nomerge quiet\n"


@pytest.mark.needs_headers
def test_modules_are_listed_while_they_are_loaded(kernel: kmem.Kernel, root: Path) -> None:
    from tests.run.running import module

    assert kernel.proc("modules") == ""
    loaded = kernel.insmod(module("examples/notes_driver"))
    name, size, count, users, state, address, taint = kernel.proc("modules").split()
    assert (name, count, users, state, taint) == ("notes_driver", "0", "-", "Live", "(OE)")
    assert int(size) == loaded.module.core.size
    assert int(address, 16) == loaded.module.core.base
    file = kernel.open("/dev/notes")
    assert kernel.proc("modules").split()[2] == "1"
    file.close()
    loaded.rmmod()
    assert kernel.proc("modules") == ""


def test_kmem_boot_writes_it(kmem: Kmem, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    done = kmem("boot", "--ram", "96M", "--proc-dir", tree)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"kmem: {tree} has the machine's /proc" in done.stderr
    small = (tree / "meminfo").read_text()
    assert kmem("boot", "--ram", "128M", "--proc-dir", tree).returncode == 0
    assert (tree / "meminfo").read_text() > small
    (tree / "notes").write_text("mine")
    again = kmem("boot", "--ram", "96M", "--proc-dir", tree)
    assert (again.returncode, "it holds notes, which is not kmem's" in again.stderr) == (2, True)
    assert "[usage]\n  Name a directory" in again.stderr


@pytest.mark.needs_headers
def test_kmem_run_writes_it_at_the_end(kmem: Kmem, tmp_path: Path, root: Path) -> None:
    example = root / "examples" / "kmalloc_driver"
    done = kmem("run", example, "--ram", "96M", "--proc-dir", tmp_path / "tree", "--proc", "slabinfo", "--json")
    assert done.returncode == 0, done.stderr
    import json

    assert (tmp_path / "tree" / "slabinfo").read_text() == json.loads(done.stdout)["proc"]["slabinfo"]
