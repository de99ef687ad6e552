"""The machine of one test: booted as its markers say, and looked over at the end."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kmem
from kmem.errors import KmemError, UsageError
from kmem.faultinject import NEVER, Failing
from kmem.kapi.executor import TaskDied
from kmem.kapi.failslab import USERCOPY, Attributes, Faults
from kmem.kapi.insmod import InitFailed, LoadedModule
from kmem.kapi.process import SystemCallFailed
from kmem.runner import report_leaks
from kmem.sanitizers.allow import Allowance
from kmem.testing.failure import shown

if TYPE_CHECKING:
    from kmem.kernel import Kernel
    from kmem.modules.module import Module

OPTIONS = frozenset("release config cpus numa ram cmdline seed check quarantine budget page_cache".split())
DRIVER = ("Kbuild", "Makefile")
_built: dict[tuple[Path, str], Path] = {}


@dataclass(frozen=True)
class Try:
    """Allocation *number* of a test fails: only that one, or all after it, too; or that *copy* from or to the user."""

    number: int
    lasting: bool = False
    copy: bool = False


TRY = pytest.StashKey[Try]()
COUNT = pytest.StashKey[tuple[int, int]]()
"""Allocations of the last run, and its copies from and to user memory."""


@dataclass
class Bench:
    """The machine, what was loaded into it, and what of it is expected."""

    item: pytest.Item
    kernel: Kernel
    release: str
    allowed: list[Allowance]
    modules: list[LoadedModule] = field(default_factory=list)
    failing: Failing | None = None
    trying: Try | None = None
    over: bool = False
    _before: int = 0

    @classmethod
    def boot(cls, item: pytest.Item, seed: int) -> Bench:
        """Boot the machine that the markers of *item* describe."""
        wanted: dict[str, Any] = {}
        for marker in reversed(list(item.iter_markers("kernel"))):  # the nearest is the last and wins
            wanted |= marker.kwargs
        unknown = wanted.keys() - OPTIONS
        if unknown:
            pytest.fail(f"the marker kernel() has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(OPTIONS))}",
                        pytrace=False)  # fmt: skip
        release = wanted.pop("release", None) or item.config.getoption("--kmem-release")
        release = release or item.config.getini("kmem_release")
        page_cache = wanted.pop("page_cache", 0)
        kernel = kmem.boot(release=release, **{"seed": seed, "check": "fast", **wanted})
        if page_cache:
            kernel.fill_page_cache(page_cache)
        assert kernel.executor
        kernel.loader.exec_insmod()
        bench = cls(item, kernel, release, _allowances(item))
        bench._before = kernel.mm.core.private.allocations
        bench.trying = item.stash.get(TRY, None)
        copy = bench.trying.number if bench.trying and bench.trying.copy else 0
        kernel.faults = Faults(kernel, {USERCOPY: Attributes(bool(copy) * 100, interval=copy, times=1)}, seed)
        if bench.trying and not copy:
            bench.failing = Failing(kernel)
            bench.failing.arm(bench.trying.number, bench.trying.lasting)
        return bench

    def find_driver(self) -> Path:
        """What the setting kmem_driver names, or the nearest directory above the test with a Kbuild."""
        named = self.item.config.getini("kmem_driver")
        if named:
            return Path(self.item.config.rootpath, named)
        for directory in self.item.path.parents:
            for name in DRIVER:
                if (directory / name).is_file() and "obj-m" in (directory / name).read_text():
                    return directory
            if directory == self.item.config.rootpath:
                break
        raise UsageError(
            "there is no driver to load: no directory above the test has a Kbuild with obj-m",
            remedy="name it: kmem_driver in pytest's settings, or @pytest.mark.driver('path')",
        )

    def insmod(self, source: str | Path, **parameters: Any) -> LoadedModule:
        """Build, load, run init. *source* is meant from the test's directory, or from the root of the tests."""
        file = self._module(source)
        try:
            loaded = self.kernel.loader.init(self._load(file, parameters))
        except Exception as error:
            self.broken(error)
            raise
        self.modules.append(loaded)
        return loaded

    def _load(self, file: Path, parameters: dict[str, Any]) -> Module:
        """Load, and let nothing fail and nothing count of what loading takes."""
        private = self.kernel.mm.core.private
        count, left = private.allocations, private.fail_after
        private.fail_after = NEVER
        module = self.kernel.loader.load(file, **parameters)
        private.fail_after = left
        self._before += private.allocations - count
        return module

    def _module(self, source: str | Path) -> Path:
        from kmem.modules.kbuild import build, is_source

        places = (self.item.path.parent / source, self.item.config.rootpath / source, Path(source).absolute())
        path = next((place for place in places if place.exists()), None)
        if path is None:
            raise UsageError(f"{source}: no such file", remedy=f"paths are meant from {self.item.path.parent}")
        key = path, self.release
        if key not in _built:
            found = build(path, release=self.release).modules if is_source(path) else (path,)
            if len(found) != 1:
                raise UsageError(f"{path} makes {len(found)} modules", remedy="load them one by one, by their .ko")
            _built[key] = found[0]
        return _built[key]

    # the end

    def broken(self, error: Exception) -> None:
        """The test ended with *error*: what was found goes first, and says why."""
        for name, module in list(sys.modules.items()):
            if name.startswith("kmem.") and isinstance(error, KmemError | TaskDied):
                module.__dict__.setdefault("__tracebackhide__", True)
        if isinstance(error, TaskDied):
            self._end()
            self._judge()
            raise pytest.fail.Exception("the task died", pytrace=False) from None
        if self.trying and isinstance(error, SystemCallFailed | InitFailed):
            self.finish()
            return
        self.over = True
        self._log()
        findings = self._findings()
        if findings:
            self.item.add_report_section("call", "kmem", shown(findings))

    def finish(self) -> None:
        """The test is done: close, unload, look for what is left; a finding is its failure."""
        if self.over:
            return
        kernel = self.kernel
        died = False
        try:
            for file in list(kernel.open_files):
                file.close()
            for loaded in reversed(self.modules):
                if loaded.name in kernel.modules and loaded.module.exit_function:
                    loaded.rmmod()
        except TaskDied:
            died = True
        kernel.drain()
        if not died and not kernel.modules:
            report_leaks(kernel, self.allowed)
        self._end()
        self._judge()

    def _end(self) -> None:
        self.over = True
        faults = self.kernel.faults
        copies = faults.seen[USERCOPY] if faults else 0
        self.item.stash[COUNT] = self.kernel.mm.core.private.allocations - self._before, copies
        self._log()

    def _log(self) -> None:
        log = self.kernel.dmesg()
        if log:
            self.item.add_report_section("call", "kernel log", log)
        if self.trying:
            self.item.add_report_section("call", "kmem", self.circumstances())

    def circumstances(self) -> str:
        """Which allocation failed, in words."""
        assert self.trying
        if self.trying.copy:
            faults = self.kernel.faults
            done = [f"{call} at {site}" for _, call, site in faults.injected] if faults else []
            return f"copy {self.trying.number} failed: {', '.join(done)}"
        assert self.failing
        event = self.failing.failed
        what = f"{event.kind} at {self.failing.site}" if event else "one of the kernel's own"
        after = " and all after it" if self.trying.lasting else ""
        return f"allocation {self.trying.number}{after} failed: {what}"

    def _findings(self) -> list[Any]:
        self.kernel.drain()
        return list(self.kernel.findings)

    def _judge(self) -> None:
        findings = self._findings()
        if findings:
            raise pytest.fail.Exception(shown(findings), pytrace=False) from None

    def close(self) -> None:
        """The test is over; in a try that ended in a fixture it is looked over now."""
        try:
            if self.trying and not self.over:
                self.finish()
        finally:
            self.kernel.close()


def _allowances(item: pytest.Item) -> list[Allowance]:
    found = []
    for marker in item.iter_markers("allow_leak"):
        site, reason = marker.kwargs.get("site", ""), marker.kwargs.get("reason", "")
        if not reason:
            pytest.fail("allow_leak() needs a reason", pytrace=False)
        found.append(Allowance(site, reason))
    return found
