"""kmem run around a made-up runner: what it passes on, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kmem.commands import main as cli
from kmem.errors import ModuleFormatError, UnsupportedSymbol


@dataclass
class RunOptions:
    path: str
    parameters: dict[str, str | None]
    release: str
    config: str
    ram: int
    cpus: int
    numa: int
    seed: int
    budget: int
    proc: tuple[str, ...]
    core: str
    cmdline: str = ""
    proc_dir: str = ""
    trace: str = ""
    check: str = "fast"
    page_cache: int = 0
    fail_nth: int = 0
    fail_all: bool = False
    fail_each: bool = False
    allow_leak: tuple[tuple[str, str], ...] = ()
    faults: tuple[tuple[str, str], ...] = ()
    kmemleak: bool = False
    quarantine: bool = False
    schedules: int = 1


@dataclass
class RunResult:
    verdict: str = "clean"
    findings: list[dict[str, Any]] = field(default_factory=list)
    dmesg: list[dict[str, Any]] = field(default_factory=list)
    module: dict[str, str] = field(default_factory=lambda: {"name": "drv", "file": "drv.ko", "note": ""})
    init: int | None = 0
    exit: str | None = "done"
    allocations: dict[str, Any] = field(default_factory=lambda: {"count": 0, "bytes": 0, "live": 0})
    unsupported: list[dict[str, Any]] = field(default_factory=list)
    seed: int = 0
    release: str = "6.1.0"
    config: str = "debian"
    timings: dict[str, float] = field(default_factory=dict)
    proc: dict[str, str] = field(default_factory=dict)


Runner = Callable[[Callable[[RunOptions], RunResult]], None]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Puts a function in the place of kmem.runner.run_module."""

    def install(function: Callable[[RunOptions], RunResult]) -> None:
        module = ModuleType("kmem.runner")
        vars(module).update(RunOptions=RunOptions, run_module=function)
        monkeypatch.setitem(sys.modules, "kmem.runner", module)

    return install


@pytest.fixture
def ko(tmp_path: Path) -> str:
    path = tmp_path / "drv.ko"
    path.write_bytes(b"\x7fELF")
    return str(path)


@pytest.mark.parametrize(("verdict", "status"), [("clean", 0), ("findings", 1), ("unsupported", 3), ("error", 4)])
def test_the_exit_status_follows_the_verdict(
    runner: Runner, ko: str, verdict: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    runner(lambda options: RunResult(verdict=verdict))
    assert cli.main(["run", ko]) == status
    assert f"verdict: {verdict}" in capfd.readouterr().out


def test_options_and_parameters_reach_the_runner(runner: Runner, ko: str, capfd: pytest.CaptureFixture[str]) -> None:
    def show(options: RunOptions) -> RunResult:
        return RunResult(module={"name": repr(options)})

    runner(show)
    words = (
        "--ram 1G count=3 --cpus 4 --numa 2 flag --seed 7 --config plain --budget 1e6 --proc slabinfo --proc meminfo"
    )
    assert cli.main(["run", ko, *words.split(), "--json"]) == 0
    expected = RunOptions(
        path=ko,
        parameters={"count": "3", "flag": None},
        release="6.1",
        config="plain",
        ram=1 << 30,
        cpus=4,
        numa=2,
        seed=7,
        budget=1_000_000,
        proc=("slabinfo", "meminfo"),
        core="",
    )
    assert json.loads(capfd.readouterr().out)["module"]["name"] == repr(expected)


def test_an_error_in_the_child_is_message_remedy_and_status(
    runner: Runner, ko: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(options: RunOptions) -> RunResult:
        raise UnsupportedSymbol("foo is not there yet", remedy="Use bar.")

    runner(refuse)
    assert cli.main(["run", ko]) == 3
    assert capfd.readouterr() == ("", "kmem: foo is not there yet [unsupported-symbol]\n  Use bar.\n")


def test_an_error_of_the_file_names_the_file(runner: Runner, ko: str, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(options: RunOptions) -> RunResult:
        raise ModuleFormatError("truncated", remedy="Copy it again.")

    runner(refuse)
    assert cli.main(["run", ko]) == 2
    assert capfd.readouterr().err.startswith(f"kmem: {ko}: truncated [module-format]\n")


def test_json_is_printed_even_when_the_run_fails(runner: Runner, ko: str, capfd: pytest.CaptureFixture[str]) -> None:
    runner(lambda options: os.kill(os.getpid(), signal.SIGKILL))  # type: ignore[arg-type,return-value]
    assert cli.main(["run", ko, "--json", "--seed", "5"]) == 4
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert (document["verdict"], document["seed"], document["error"]["slug"]) == ("error", 5, "internal")
    assert "died of SIGKILL" in document["error"]["message"]
    assert "died of SIGKILL" in err


def test_an_exception_in_the_child_shows_its_traceback_only_when_asked(
    runner: Runner, ko: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(options: RunOptions) -> RunResult:
        raise KeyError("slab_cache")

    runner(stumble)
    monkeypatch.delenv("KMEM_DEBUG", raising=False)
    assert cli.main(["run", ko]) == 4
    quiet = capfd.readouterr().err
    assert "KeyError: 'slab_cache'" in quiet
    assert "in stumble" not in quiet
    monkeypatch.setenv("KMEM_DEBUG", "1")
    assert cli.main(["run", ko]) == 4
    assert "in stumble" in capfd.readouterr().err


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(tmp_path / "no.ko")]) == 2
    assert "no such file or directory [bad-input]" in capfd.readouterr().err
