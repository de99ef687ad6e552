"""Recording a live kernel: a tracefs instance of our own, its raw pages, the kernel's files before and after.

Nothing global is touched: events, clock and buffer are those of the instance. The instance of a recorder that was
killed is removed by the next one.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from kmem.errors import UsageError
from kmem.trace.engine import Strings
from kmem.trace.formats import parse_format, parse_header_page
from kmem.trace.kallsyms import names_of
from kmem.trace.pages import PageScanner
from kmem.trace.schema import COLUMNS, NUMBER, OLD_NAMES, Array, Columns, Info
from kmem.trace.state import FILES
from kmem.trace.store import Writer

PREFIX = "kmem-"
BUFFER_KIB = 32 << 10
EVERY = 0.1
"""Seconds between two sweeps over the CPUs' buffers."""
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
PAGES_A_SWEEP = 4096


@contextmanager
def tracefs() -> Iterator[Path]:
    """Where tracefs is: mounted already, or mounted for this process alone."""
    if os.geteuid() != 0:
        raise UsageError("recording needs root", remedy="Call it with sudo, or replay a trace.")
    for place in (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing")):
        if (place / "instances").is_dir():
            yield place
            return
    if "tracefs" not in Path("/proc/filesystems").read_text():
        raise UsageError("this kernel has no tracefs", remedy="Record on a kernel with CONFIG_FTRACE.")
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory() as own:
        done = libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        if done or libc.mount(b"none", own.encode(), b"tracefs", 0, None):
            raise UsageError(
                f"tracefs cannot be mounted: {os.strerror(ctypes.get_errno())}",
                remedy="mount -t tracefs none /sys/kernel/tracing, outside of a container.",
            )
        try:
            yield Path(own)
        finally:
            libc.umount2(own.encode(), 2)


def read_state() -> dict[str, str]:
    """The kernel's files as they are now."""
    found = {}
    for name in FILES:
        with suppress(OSError):
            found[name] = Path("/proc", name).read_text()
    base = Path("/sys/kernel/slab")
    caches: dict[str, dict[str, str]] = {}
    links: dict[str, str] = {}
    with suppress(OSError):
        for cache in sorted(base.iterdir()):
            real = cache.resolve().name
            links[cache.name] = real
            if cache.name == real:
                caches[real] = _files(cache)
    if caches:
        found["slab"] = json.dumps({"caches": caches, "links": links})
    return found


_WANTED = (
    *("slab_size", "objs_per_slab", "order", "slabs", "objects", "object_size", "partial", "objects_partial"),
    *("cpu_slabs", "cpu_partial", "slabs_cpu_partial", "min_partial", "sheaf_capacity", "reclaim_account"),
)


def _files(cache: Path) -> dict[str, str]:
    found = {}
    for name in _WANTED:
        with suppress(OSError):
            found[name] = (cache / name).read_text().strip()
    return found


class Instance:
    """A tracefs instance that records the events of memory into a buffer of its own."""

    def __init__(self, place: Path) -> None:
        self._place = place
        for old in (place / "instances").glob(f"{PREFIX}*"):
            pid = old.name[len(PREFIX) :]
            if pid.isdecimal() and not Path("/proc", pid).exists():
                _remove(old)
        self.path = place / "instances" / f"{PREFIX}{os.getpid()}"
        self.path.mkdir()
        self._set("tracing_on", "0")
        self._set("trace_clock", "mono")
        self._set("buffer_size_kb", str(BUFFER_KIB))
        self.cpus = sorted(int(p.name[3:]) for p in (self.path / "per_cpu").glob("cpu*"))
        self.events = [name for name in (*NUMBER, *OLD_NAMES) if (self.path / "events" / "kmem" / name).is_dir()]

    def _set(self, name: str, value: str) -> None:
        (self.path / name).write_text(value)

    def start(self) -> None:
        """Begin to record."""
        for name in self.events:
            self._set(f"events/kmem/{name}/enable", "1")
        self._set("tracing_on", "1")

    def stop(self) -> None:
        """Record no more."""
        self._set("tracing_on", "0")

    def formats(self) -> list[str]:
        """The format files of the events."""
        return [(self.path / "events" / "kmem" / name / "format").read_text() for name in self.events]

    def header_page(self) -> str:
        """The layout of a page of the buffer."""
        return (self._place / "events" / "header_page").read_text()

    def lost(self) -> int:
        """Events that found no room."""
        count = 0
        for cpu in self.cpus:
            for line in (self.path / "per_cpu" / f"cpu{cpu}" / "stats").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in ("overrun", "commit overrun", "dropped events"):
                    count += int(value)
        return count

    def tasks(self) -> dict[int, str]:
        """Names of tasks, as far as the kernel remembers them."""
        found = {}
        with suppress(OSError, ValueError):
            for line in (self._place / "saved_cmdlines").read_text().splitlines():
                pid, _, name = line.partition(" ")
                found[int(pid)] = name
        return found

    def remove(self) -> None:
        """Take the instance away."""
        _remove(self.path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        (path / "tracing_on").write_text("0")
        (path / "events" / "enable").write_text("0")
    for _ in range(50):
        try:
            path.rmdir()
        except OSError:
            time.sleep(0.02)
        else:
            return


class _Cpu:
    """One CPU's buffer: its pages, turned into columns."""

    def __init__(self, path: Path, scanner: PageScanner, page: int) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._scanner, self._page = scanner, page
        self._buffer: Array = np.zeros(page + 64, np.uint8)
        self._view = memoryview(self._buffer.data)[:page]

    def sweep(self) -> Iterator[Columns]:
        """The events of every page that is there."""
        for _ in range(PAGES_A_SWEEP):
            try:
                got = os.readv(self._fd, [self._view])
            except BlockingIOError:
                return
            if got <= 0:
                return
            self._buffer[got : self._page] = 0
            self._scanner.give(self._buffer, self._page)
            if self._scanner.scan():
                yield self._scanner.columns

    def close(self) -> None:
        """End."""
        os.close(self._fd)


class Recorder:
    """Writes what an instance records to a ``.kmem`` file, in order of time."""

    def __init__(self, instance: Instance, path: Path) -> None:
        self._strings = Strings()
        formats = [parse_format(text) for text in instance.formats()]
        layout = parse_header_page(instance.header_page())
        self.info = Info(source="the kernel", release=os.uname().release, cpus=len(instance.cpus), clock="mono")
        self.info.strings = self._strings.texts
        self.info.before = read_state()
        self._cpus = [
            _Cpu(
                instance.path / "per_cpu" / f"cpu{cpu}" / "trace_pipe_raw",
                PageScanner(formats, layout, cpu, self._strings),
                layout.size,
            )
            for cpu in instance.cpus
        ]
        self.writer = Writer(path, self.info)
        self._kept: dict[str, list[Array]] = {column.name: [] for column in COLUMNS}
        self._sites: set[int] = set()

    def sweep(self, *, last: bool = False) -> None:
        """Read what there is; write what no CPU can have anything before."""
        limit = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for cpu in self._cpus:
            for columns in cpu.sweep():
                for name, parts in self._kept.items():
                    parts.append(columns[name].copy())
        self._strings.new()
        if not self._kept["time"]:
            return
        joined = {name: np.concatenate(parts) for name, parts in self._kept.items()}
        order = np.argsort(joined["time"], kind="stable")
        joined = {name: array[order] for name, array in joined.items()}
        n = len(order) if last else int(np.searchsorted(joined["time"], limit))
        if n:
            out = Columns(0)
            out.n, out.arrays = n, {name: array[:n] for name, array in joined.items()}
            self._sites.update(np.unique(out["call_site"]).tolist())
            self.writer.events(out)
        self._kept = {name: [array[n:]] for name, array in joined.items()}

    def finish(self, instance: Instance) -> None:
        """The end: the last events, the kernel's files, the names."""
        self.info.after = read_state()
        self.sweep(last=True)
        for cpu in self._cpus:
            cpu.close()
        self.info.lost = instance.lost()
        self.info.tasks = instance.tasks()
        with suppress(OSError):
            self.info.symbols = names_of(self._sites, Path("/proc/kallsyms").read_text())
        self.writer.close()


def record(path: Path, command: Sequence[str], stop: Callable[[], bool]) -> tuple[Info, int, int]:
    """Record until *command* ends, or *stop* says so; what is known of the recording, events, exit status."""
    with tracefs() as place:
        instance = Instance(place)
        try:
            recorder = Recorder(instance, path)
            instance.start()
            status = 0
            child = subprocess.Popen(command) if command else None
            while child.poll() is None if child else not stop():
                time.sleep(EVERY)
                recorder.sweep()
            if child:
                status = child.wait()
            instance.stop()
            recorder.finish(instance)
        finally:
            instance.remove()
    return recorder.info, recorder.writer.count, status
