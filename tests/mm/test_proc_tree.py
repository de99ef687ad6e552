"""The tree of /proc and /sys as files: every file, the text that Kernel.proc gives, and clear refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kmem
from kmem.errors import UsageError
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
    assert count == sum(path.is_file() for path in (tmp_path / "new").rglob("*") if ":" not in path.parts[-2]) + sum(
        len(list(path.iterdir())) for path in slab.iterdir() if path.name.startswith(":")
    )


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


def test_a_directory_that_holds_something_is_refused(kernel: kmem.Kernel, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match=r"is not empty: it holds mine"):
        kernel.write_proc(tmp_path)
    with pytest.raises(UsageError, match="cannot write there"):
        kernel.write_proc(tmp_path / "mine")


def test_kmem_boot_writes_it(kmem: Kmem, tmp_path: Path) -> None:
    done = kmem("boot", "--ram", "96M", "--proc-dir", tmp_path / "tree")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f" files in {tmp_path / 'tree'}\n")
    again = kmem("boot", "--ram", "96M", "--proc-dir", tmp_path / "tree")
    assert (again.returncode, "is not empty" in again.stderr) == (2, True)


@pytest.mark.needs_headers
def test_kmem_run_writes_it_at_the_end(kmem: Kmem, tmp_path: Path, root: Path) -> None:
    example = root / "examples" / "kmalloc_driver"
    done = kmem("run", example, "--ram", "96M", "--proc-dir", tmp_path / "tree")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == sorted([*NAMES, "sys"])
