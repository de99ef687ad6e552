"""The kmem command: dispatch, exit status, messages, and what it costs to start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmem.commands import main as cli
from kmem.errors import InputError, UnsupportedSymbol
from tests.conftest import Kmem

HEAVY = ("numpy", "numba", "llvmlite", "unicorn", "rich", "capstone", "elftools", "multiprocessing", "asyncio")


def test_help_lists_every_command(kmem: Kmem) -> None:
    done = kmem("--help")
    assert done.returncode == 0
    for name, line in cli.COMMANDS.items():
        assert f"  {name:9} {line}" in done.stdout


def test_each_command_file_is_listed_and_describes_itself() -> None:
    helpers = {"__init__", "main", "options", "isolate", "forkserver"}
    files = {p.stem for p in Path(cli.__file__).parent.glob("*.py")} - helpers
    assert files == set(cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_unknown_flags_are_errors(kmem: Kmem, name: str) -> None:
    needed = {
        "run": ["x.ko"],
        "drgn": ["x.core", "x.py"],
        "survey": ["dir"],
        "replay": ["x.kmem"],
        "stat": ["x.kmem"],
        "sweep": ["x.kmem"],
        "report": ["x.kmem"],
        "x": ["0x1000", "x.kmem"],
        "export": ["x.kmem", "--perfetto"],
    }
    words = [name, *needed.get(name, [])]
    done = kmem(*words, "--no-such-flag")
    assert done.returncode == 2
    assert "unrecognized arguments: --no-such-flag" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("flag", ["--js", "--conf=debug", "--check=full", "--config=xyz", "--ram=much", "--cpus=0"])
def test_flags_are_neither_abbreviated_nor_guessed(kmem: Kmem, flag: str) -> None:
    assert kmem("run", "x.ko", flag).returncode == 2


def test_unknown_command_suggests_the_nearest(kmem: Kmem) -> None:
    done = kmem("comprae")
    assert done.returncode == 2
    assert "did you mean: kmem compare" in done.stderr


def test_no_command_prints_the_overview_as_an_error(kmem: Kmem) -> None:
    done = kmem()
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: kmem COMMAND" in done.stderr


def loaded_by(*words: str) -> set[str]:
    """The top-level modules that are there after `kmem WORDS`."""
    script = (
        "import sys\nfrom kmem.commands.main import main\n"
        f"try: main({list(words)!r})\nexcept SystemExit: pass\nprint('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return {name.partition(".")[0] for name in done.stdout.split("MODULES")[1].split()}


def test_help_imports_nothing_heavy() -> None:
    assert not loaded_by("--help") & {*HEAVY, "argparse", "json", "dataclasses"}


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_command_help_imports_nothing_heavy(name: str) -> None:
    assert not loaded_by(name, "--help") & set(HEAVY)


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def raiser(words: object) -> int:
        raise error

    monkeypatch.setattr(cli, "dispatch", raiser)
    return cli.main(["run"])


def test_an_error_prints_message_remedy_and_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(monkeypatch, InputError("no such file: x.ko", remedy="Build it first.\nThen try again.")) == 2
    assert capsys.readouterr().err == "kmem: no such file: x.ko [bad-input]\n  Build it first.\n  Then try again.\n"


def test_unsupported_symbol_is_status_3(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail_with(monkeypatch, UnsupportedSymbol("foo() is not there yet", remedy="None.")) == 3


def test_an_unexpected_exception_is_a_short_report_and_status_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KMEM_DEBUG", raising=False)
    assert fail_with(monkeypatch, ZeroDivisionError("a / b")) == 4
    printed = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: a / b" in printed
    assert "KMEM_DEBUG=1" in printed
    assert "Traceback" not in printed


def test_debug_adds_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KMEM_DEBUG", "1")
    assert fail_with(monkeypatch, ZeroDivisionError("a / b")) == 4
    assert "Traceback" in capsys.readouterr().err


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail_with(monkeypatch, KeyboardInterrupt()) == 130


def test_a_closed_pipe_is_quiet() -> None:
    # `kmem --help | true`, with the reader gone before the first word.
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "kmem", "--help"], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""
