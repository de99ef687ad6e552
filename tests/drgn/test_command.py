"""``kmem drgn``, and what it says of files that are no cores."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kmem
from kmem.commands import drgn as command
from kmem.errors import InputError, UsageError
from kmem.modules.vmcoreinfo import dump_core

needs_drgn = pytest.mark.skipif(
    importlib.util.find_spec("drgn") is None, reason="drgn is not installed: pip install 'kmem[drgn]'"
)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("core") / "machine.core"
    with kmem.boot(config="plain", ram="96M", seed=1) as k:
        dump_core(path, k.mm, k.kallsyms)
    return path


@needs_drgn
def test_code_runs_with_prog_and_the_helpers(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(core), "-e", "print(find_slab_cache('kmalloc-64').object_size.value_())"]) == 0
    assert capsys.readouterr().out == "64\n"


@needs_drgn
def test_a_script_gets_its_arguments(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "look.py"
    script.write_text("import sys\nprint(prog['max_pfn'].value_(), sys.argv[1:])\n")
    assert command.main([str(core), str(script), "x", "y"]) == 0
    assert capsys.readouterr().out == "24576 ['x', 'y']\n"


@needs_drgn
def test_code_that_raises_is_the_users_fault(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(core), "-e", "prog['no_such_variable']"]) == 1
    assert "no_such_variable" in capsys.readouterr().err


@needs_drgn
def test_the_prompt_has_prog(core: Path) -> None:
    code = f"from kmem.commands.drgn import main; main([{str(core)!r}])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="print('frames', prog['max_pfn'].value_())\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert "frames 24576" in done.stdout
    assert "help(drgn)" in done.stderr + done.stdout


def test_code_and_script_exclude_each_other(core: Path) -> None:
    with pytest.raises(UsageError):
        command.main([str(core), "-e", "1", "script.py"])


def test_a_missing_script_is_named(core: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.py"):
        command.main([str(core), "nowhere.py"])


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "not an ELF"), (b"\x7fELF\x02\x01\x01" + bytes(57), "no x86-64 core"), (b"x" * 100, "not an ELF")],
)
def test_what_is_no_core_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        command.main([str(path)])


def test_no_file_and_half_a_file_are_refused(tmp_path: Path, core: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        command.main([str(tmp_path / "nothing")])
    half = tmp_path / "half"
    raw = core.read_bytes()
    for length in (100, 4096, len(raw) // 2, len(raw) - 1):
        half.write_bytes(raw[:length])
        with pytest.raises(InputError, match="cut short"):
            command.main([str(half)])


def test_a_core_of_somebody_else_is_refused(tmp_path: Path) -> None:
    from kmem.machine.coredump import Note, write_core
    from kmem.machine.ram import Ram

    path = tmp_path / "other"
    write_core(path, Ram(2 << 20), [], [Note("CORE", 1, b"abc")])
    with pytest.raises(InputError, match="none that this kmem wrote"):
        command.main([str(path)])


def test_without_drgn_the_remedy_is_said(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drgn", None)
    with pytest.raises(InputError, match="drgn is not installed") as error:
        command.main([str(core), "-e", "1"])
    assert "pip install" in error.value.remedy
