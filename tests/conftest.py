"""What all tests share: real kernels' answers, whether modules can be built, how the kmem command is called."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("KMEM_SHARED", ROOT.parent / "shared"))
RELEASE = "6.1"

settings.register_profile("kmem", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("kmem")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what cannot run on this machine."""
    if item.get_closest_marker("needs_shared") and not SHARED.is_dir():
        pytest.skip(f"no recorded answers of real kernels at {SHARED} (KMEM_SHARED names the folder)")
    if item.get_closest_marker("needs_headers"):
        from kmem.modules.headers import find

        if find(RELEASE) is None:
            pytest.skip(f"no kernel headers to build against: kmem headers {RELEASE}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the recorded answers of real kernels; tests that use it are marked needs_shared."""
    return SHARED


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the repository."""
    return ROOT


Kmem = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def kmem() -> Kmem:
    """Calls the command as a user does, in a process of its own, and returns what it printed and its exit status."""

    def call(*words: str | Path, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kmem", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100", **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call
