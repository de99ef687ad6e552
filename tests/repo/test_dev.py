"""./dev works with a bare Python and refuses what it does not know."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEM_PYTHONS = [p for p in ("/usr/bin/python3", sys.executable) if Path(p).exists()]


def dev(root: Path, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    # -I and -S: no site-packages, so nothing but the standard library is there.
    return subprocess.run(
        [python, "-I", "-S", str(root / "dev"), *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("python", SYSTEM_PYTHONS)
def test_help_needs_only_the_standard_library(root: Path, python: str) -> None:
    done = dev(root, "--help", python=python)
    assert done.returncode == 0, done.stderr
    for command in ("setup", "demo", "test", "check", "bench", "doctor", "differential", "page", "site"):
        assert re.search(rf"^  {command}\s+[A-Z]", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("words", [("nonsense",), ("setup", "more"), ()])
def test_unknown_words_are_errors(root: Path, words: tuple[str, ...]) -> None:
    done = dev(root, *words)
    assert done.returncode == 2
    assert "error:" in done.stderr


def test_old_python_gets_a_message_and_no_syntax_error(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.py"
    # What an old interpreter would see: the guard is reached before any import that it lacks.
    old.write_text(
        "import sys\nsys.version_info = (3, 9, 2, 'final', 0)\n"
        + (root / "dev").read_text().replace("#!/usr/bin/env python3", "", 1)
    )
    done = subprocess.run([sys.executable, "-I", str(old)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "this is Python 3.9; kmem needs 3.11 or newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_venv_module_names_the_command_that_mends_it(root: Path, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("dev", "pyproject.toml"):
        shutil.copy(root / name, clone / name)
    # A Python whose ensurepip is gone, as on a Debian without python3-venv.
    script = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'ensurepip' else find(name, *rest)\n"
        f"sys.argv = ['dev', 'setup']\nrunpy.run_path({str(clone / 'dev')!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        env={**os.environ, "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert not (clone / ".venv").exists()


def test_ci_is_one_valid_executable_script(root: Path) -> None:
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], timeout=60, check=False).returncode == 0
