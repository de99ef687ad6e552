"""The machine's /proc as a file system: what is read is what holds at that moment."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

import kmem
from kmem.errors import UsageError
from kmem.kernel import Kernel
from kmem.mm import proc_mount
from kmem.mm.proc import NAMES
from kmem.mm.proc_tree import Tree
from tests.conftest import ROOT
from tests.proc.reading import beside
from tests.proc.test_node_exporter import EXPORTER, exporter, scrape
from tests.trace import made


def missing() -> str:
    """Why nothing can be mounted here."""
    try:
        import mfusepy  # noqa: F401
    except (ImportError, OSError) as error:
        return f"no FUSE for Python ({error}): pip install 'kmem[fuse]', apt-get install fuse3"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "no /dev/fuse that this user may open"
    if os.geteuid() and shutil.which("fusermount3") is None:
        return "no fusermount3: apt-get install fuse3"
    return ""


mounted_only = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with kmem.boot(ram="96M") as k:
        yield k


@mounted_only
def test_every_file_has_the_text_of_the_kernel(kernel: Kernel, tmp_path: Path) -> None:
    tree = kernel.proc_tree()
    copy = tmp_path / "copy"
    with kernel.mount(tmp_path / "proc") as mount:
        subprocess.run(["cp", "-a", mount.path, copy], check=True)
        seen = {str(path.relative_to(copy)): path.read_text() for path in copy.rglob("*") if path.is_file()}
        links = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_symlink()}
        assert set(NAMES) < set(seen)
        assert {name for name in seen if name in tree.files} == set(tree.files)
        assert links == set(tree.links)
        assert {name: seen[name] for name in tree.files} == {name: give() for name, give in tree.files.items()}
        assert (mount.path / "self").readlink() == Path("97")
    assert list((tmp_path / "proc").iterdir()) == []


@mounted_only
def test_what_is_read_is_of_now_and_what_is_open_stays(kernel: Kernel, tmp_path: Path) -> None:
    with kernel.mount(tmp_path) as mount, (mount.path / "meminfo").open() as held:
        before = (mount.path / "meminfo").read_text()
        kernel.alloc_pages(kmem.GFP_KERNEL, 10)
        after = (mount.path / "meminfo").read_text()
        assert held.read() == before
        free = [int(re.findall(r"MemFree: +(\d+)", text)[0]) for text in (before, after)]
        assert free[0] - free[1] == 4096


@mounted_only
def test_caches_and_processes_come_and_go(kernel: Kernel, tmp_path: Path) -> None:
    with kernel.mount(tmp_path) as mount:
        cache = kernel.kmem_cache_create("mine", 200, 0, 0x2000)
        process = kernel.process("app")
        time.sleep(proc_mount.FRESH)
        slabs = mount.path / "sys" / "kernel" / "slab"
        assert (slabs / "mine" / "object_size").read_text() == "200\n"
        assert (mount.path / str(process.pid) / "comm").read_text() == "app\n"
        directory = mount.path / str(process.pid)
        kernel.kmem_cache_destroy(cache)
        process.exit()
        time.sleep(proc_mount.FRESH)
        assert not (slabs / "mine").exists()
        assert not directory.exists()


@mounted_only
def test_programs_read_it_and_cannot_write(kernel: Kernel, tmp_path: Path) -> None:
    with kernel.mount(tmp_path) as mount:
        done = subprocess.run(
            ["grep", "^kmalloc-64 ", mount.path / "slabinfo"], capture_output=True, text=True, check=True
        )
        assert done.stdout in kernel.proc("slabinfo")
        with pytest.raises(OSError, match="Read-only file system"):
            (mount.path / "meminfo").write_text("much")
        with pytest.raises(FileNotFoundError):
            (mount.path / "kcore").read_text()


@mounted_only
@pytest.mark.skipif(EXPORTER is None, reason="no exporter: apt-get install prometheus-node-exporter")
def test_an_exporter_sees_the_machine_change(kernel: Kernel, tmp_path: Path) -> None:
    with kernel.mount(tmp_path), exporter(tmp_path) as url:
        name = "node_memory_MemFree_bytes", frozenset[tuple[str, str]]()
        before = scrape(url)[name]
        kernel.alloc_pages(kmem.GFP_KERNEL, 9)
        assert scrape(url)[name] == before - (2 << 20)


@mounted_only
def test_procps_sees_the_machine_change(kernel: Kernel, tmp_path: Path) -> None:
    namespace = beside()
    if isinstance(namespace, str) or shutil.which("slabtop") is None:
        pytest.skip(f"no mount namespace, or no slabtop: {namespace}")
    with kernel.mount(tmp_path):
        shown = []
        for _ in range(2):
            words = ["sh", "-c", 'mount --bind "$0" /proc && exec slabtop -o', str(tmp_path)]
            done = subprocess.run([*namespace, *words], capture_output=True, text=True, check=True)
            [row] = [line.split() for line in done.stdout.splitlines() if line.split()[-1:] == ["kmalloc-4k"]]
            shown.append(int(row[0]))
            for _ in range(64):
                kernel.kmalloc(4096)
        assert shown == [0, 64]


@mounted_only
def test_a_directory_that_holds_something_is_refused(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match="is not empty: it holds mine"):
        kernel.mount(tmp_path)
    with kernel.mount(tmp_path / "proc"), pytest.raises(UsageError, match="is not empty: it holds"):
        kernel.mount(tmp_path / "proc")


def test_what_is_missing_is_said(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    with pytest.raises(UsageError, match="mounting needs mfusepy") as caught:
        kernel.mount(tmp_path)
    assert caught.value.remedy == "pip install 'kmem[fuse]'"


def start(*words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kmem", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # Whoever ran the tests in the background may have let them ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def stop(process: subprocess.Popen[str], where: Path) -> None:
    """Whatever has come of it, nothing is left."""
    process.kill()
    process.wait()
    if process.stderr:
        process.stderr.close()
    subprocess.run(["umount", "-l", where], check=False, capture_output=True)


def mounted(process: subprocess.Popen[str], path: Path) -> None:
    until = time.monotonic() + 60
    while not path.is_mount():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)
    assert process.stderr
    assert process.stderr.readline() == f"kmem: {path} is the machine's /proc, and {path}/sys its /sys, until Ctrl-C\n"


def long_reading(kernel: Kernel) -> str:
    """How many numbers of free pages are seen in a time that is longer than the interpreter lets one thread run."""
    seen = set()
    until = time.perf_counter() + 0.03
    while time.perf_counter() < until:
        seen.add(sum(int(z.vm_stat[0]) for z in kernel.mm.view.zones()))
    return f"{len(seen)}\n"


def use(kernel: Kernel, reader: subprocess.Popen[str]) -> int:
    """Allocate and free until the reader has ended; how often."""
    held: list[int] = []
    work, random = 0, Random(0)
    while reader.poll() is None:
        for _ in range(50):
            if len(held) > 12 or (held and random.random() < 0.5):
                kernel.free_pages(held.pop(), 9)
            else:
                held.append(kernel.alloc_pages(kmem.GFP_KERNEL, 9))
            work += 1
    return work


@mounted_only
def test_the_machine_stands_still_while_a_file_is_made(kernel: Kernel, tmp_path: Path) -> None:
    tree = Tree({"moments": lambda: long_reading(kernel)})
    with proc_mount.Mount(lambda: tree, tmp_path):
        words = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do cat moments; done"]
        reader = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        work = use(kernel, reader)
        assert reader.stdout
        assert reader.stdout.read() == "1\n" * 8
    assert work > 100


@mounted_only
def test_without_that_files_have_several_moments(kernel: Kernel, tmp_path: Path) -> None:
    tree = Tree({"moments": lambda: long_reading(kernel)})
    with proc_mount.Mount(lambda: tree, tmp_path, rest=lambda read: read()):
        words = ["sh", "-c", "for i in $(seq 100); do read n < moments; [ $n -gt 1 ] && exit 7; done"]
        reader = subprocess.Popen(words, cwd=tmp_path)
        use(kernel, reader)
        assert reader.returncode == 7


@mounted_only
def test_a_main_thread_that_waits_is_no_hindrance(kernel: Kernel, tmp_path: Path) -> None:
    tree = Tree({"moments": lambda: long_reading(kernel)})
    with proc_mount.Mount(lambda: tree, tmp_path) as mount:
        assert (mount.path / "moments").read_text() == "1\n"


@mounted_only
def test_a_mount_leaves_the_signals_of_the_process_alone(kernel: Kernel, tmp_path: Path) -> None:
    def handled() -> list[str]:
        return re.findall(r"^Sig(?:Ign|Cgt):.*", Path("/proc/self/status").read_text(), flags=re.MULTILINE)

    before = handled()
    with kernel.mount(tmp_path):
        assert handled() == before


@mounted_only
def test_the_process_stays_in_its_directory(kernel: Kernel, tmp_path: Path) -> None:
    before = Path.cwd()
    with kernel.mount(tmp_path):
        assert Path.cwd() == before
    assert Path.cwd() == before


@mounted_only
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_kmem_boot_mounts_until_it_is_told_to_stop(tmp_path: Path, ending: signal.Signals) -> None:
    where = tmp_path / "proc"
    process = start("boot", "--ram", "96M", "--mount", where)
    try:
        mounted(process, where)
        assert (where / "meminfo").read_text().startswith("MemTotal: ")
        process.send_signal(ending)
        assert process.wait(30) == 0, process.stderr and process.stderr.read()
        assert not where.is_mount()
    finally:
        stop(process, where)


@mounted_only
def test_kmem_replay_plays_into_the_mount(tmp_path: Path) -> None:
    raw = made.directory(tmp_path / "raw", made.workload(3000))
    where = tmp_path / "proc"
    process = start("replay", raw, "--release", "6.1", "--set", "ram=256M", "--mount", where, "--speed", "0.0001")
    try:
        mounted(process, where)
        seen = set()
        until = time.monotonic() + 60
        while len(seen) < 3 and time.monotonic() < until:
            seen.add((where / "slabinfo").read_text())
            time.sleep(0.05)
        assert len(seen) == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, process.stderr and process.stderr.read()
    finally:
        stop(process, where)
